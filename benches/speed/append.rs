//! `durable.append`: what a durable update costs on a stream, and posted, alone and among a thousand writers, beside bare inserts of the same rows into SQLite.

use super::fleet::{Member, fleet};
use super::live::session;
use super::{Results, Server, median};
use baton_protocol::b64;
use baton_protocol::event::Said;
use baton_protocol::id::SessionId;
use baton_protocol::session::{Kind, Place, SealedUpdate};
use baton_sdk::{system_clock, system_entropy};
use sqlx::{AnyConnection, Connection as _, Executor as _};
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

const LONE: usize = 200;
const WRITERS: usize = 1000;
/// How often all write, and what each writes then.
const ROUNDS: usize = 5;
const EACH: usize = 5;
/// Rows of one raw transaction.
const BATCH: usize = 64;

const INSERT: &str = "INSERT INTO updates (session_id, seq, epoch, prev, hash, key_version, kind, device, iv, ct, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

pub async fn append(results: &mut Results) {
    let server = Server::start(0).await;
    let mut raw = raw(&server).await;
    on_streams(results, &server, &mut raw).await;
    posted(results, &server, &mut raw).await;
    raw.close().await.unwrap();
}

/// A thousand people write, each on a stream of their own.
async fn on_streams(results: &mut Results, server: &Server, raw: &mut AnyConnection) {
    let mut writers = Vec::new();
    for mut member in fleet(server, WRITERS + 1, 1).await {
        let session = session(server, &member).await;
        let updates = updates(&session, if writers.is_empty() { LONE } else { ROUNDS * EACH });
        writers.push((member.listen(server).await.into_inner(), updates.into_iter().map(frame).collect::<Vec<_>>()));
    }
    let (mut stream, lone) = writers.remove(0);
    let mut times = Alone::default();
    for frame in lone {
        let start = Instant::now();
        say(&mut stream, &frame).await;
        times.beside(start, raw, "lone").await;
    }
    times.told(results, "durable.append.lone", "at most 2");
    let mut times = Together::default();
    for _ in 0..ROUNDS {
        let many = writers.into_iter().map(|(mut stream, mut frames)| async move {
            let later = frames.split_off(EACH);
            for frame in frames {
                say(&mut stream, &frame).await;
            }
            (stream, later)
        });
        writers = times.beside(server, many, raw, "many").await;
    }
    times.told(results, "durable.append", 0.5);
}

/// The same, each update a request with a proof of its own.
async fn posted(results: &mut Results, server: &Server, raw: &mut AnyConnection) {
    let mut members = fleet(server, WRITERS / 20, 20).await;
    let mut lines = Vec::new();
    for member in &mut members {
        lines.push((connect(server).await, requests(server, member, ROUNDS * EACH).await));
    }
    let mut lone = members.pop().unwrap();
    let mut socket = connect(server).await;
    let mut times = Alone::default();
    for request in requests(server, &mut lone, LONE).await {
        let start = Instant::now();
        exchange(&mut socket, &request).await;
        times.beside(start, raw, "posted").await;
    }
    times.told(results, "durable.post.lone", "no more than that");
    let mut times = Together::default();
    for _ in 0..ROUNDS {
        let many = lines.into_iter().map(|(mut socket, mut requests)| async move {
            let later = requests.split_off(EACH);
            for request in requests {
                exchange(&mut socket, &request).await;
            }
            (socket, later)
        });
        lines = times.beside(server, many, raw, "posts").await;
    }
    times.told(results, "durable.post", 0.2);
}

/// One by one, each beside a bare insert: what a disk takes differs from one moment to the next.
#[derive(Default)]
struct Alone {
    ours: Vec<f64>,
    bare: Vec<f64>,
}

impl Alone {
    async fn beside(&mut self, start: Instant, raw: &mut AnyConnection, name: &str) {
        self.ours.push(start.elapsed().as_secs_f64() * 1000.0);
        let (update, session) = (update(&a_session(), 1, "h"), format!("{name} {}", self.bare.len()));
        let start = Instant::now();
        insert(raw, &update, &session, 1).await;
        self.bare.push(start.elapsed().as_secs_f64() * 1000.0);
    }

    fn told(self, results: &mut Results, name: &str, wanted: &str) {
        results.times(name, median(self.ours), median(self.bare), "a lone committed insert", wanted);
    }
}

/// Rounds in which all write at once, each beside as many rows inserted in batches.
#[derive(Default)]
struct Together {
    ours: Vec<f64>,
    bare: Vec<f64>,
    cpu: Vec<f64>,
}

impl Together {
    /// What the writers leave.
    async fn beside<T: Send + 'static>(
        &mut self,
        server: &Server,
        writers: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
        raw: &mut AnyConnection,
        name: &str,
    ) -> Vec<T> {
        let count = (WRITERS * EACH) as f64;
        let (start, cpu) = (Instant::now(), server.cpu());
        let left = writers.collect::<tokio::task::JoinSet<_>>().join_all().await;
        self.ours.push(start.elapsed().as_secs_f64() * 1000.0 / count);
        self.cpu.push((server.cpu() - cpu) / count / 1000.0);
        self.bare.push(batched_inserts(raw, &format!("{name} {}", self.bare.len())).await);
        left
    }

    fn told(self, results: &mut Results, name: &str, wanted: f64) {
        results.plain(&format!("{name}.cpu"), median(self.cpu), "us of server CPU");
        results.reach(&format!("{name}.many"), median(self.ours), median(self.bare), "raw batched inserts", wanted);
    }
}

async fn batched_inserts(raw: &mut AnyConnection, name: &str) -> f64 {
    let (update, batches) = (update(&a_session(), 1, "h"), WRITERS * EACH / BATCH);
    let start = Instant::now();
    for n in 0..batches {
        insert(raw, &update, &format!("{name} {n}"), BATCH).await;
    }
    start.elapsed().as_secs_f64() * 1000.0 / (batches * BATCH) as f64
}

fn a_session() -> SessionId {
    SessionId::new(system_clock().now(), system_entropy().bytes())
}

/// A bare table like the broker's, in a file beside it.
async fn raw(server: &Server) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let mut db = AnyConnection::connect(&format!("sqlite://{}/raw.db?mode=rwc", server.dir.path().display())).await.unwrap();
    db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000").await.unwrap();
    let table = "CREATE TABLE updates (session_id TEXT NOT NULL, seq BIGINT NOT NULL, epoch BIGINT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL, key_version BIGINT NOT NULL,
        kind TEXT NOT NULL, device TEXT NOT NULL, iv TEXT NOT NULL, ct TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (session_id, seq))";
    db.execute(table).await.unwrap();
    db
}

async fn insert(db: &mut AnyConnection, update: &SealedUpdate, session: &str, rows: usize) {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let hash = update.hash();
    for seq in 0..rows as i64 {
        sqlx::query(INSERT)
            .bind(session)
            .bind(seq)
            .bind(1_i64)
            .bind(&update.place.prev)
            .bind(&hash)
            .bind(1_i64)
            .bind("update")
            .bind(&update.place.prev)
            .bind(&update.iv)
            .bind(&update.ct)
            .bind(0_i64)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

fn update(session: &SessionId, seq: i64, prev: &str) -> SealedUpdate {
    let entropy = system_entropy();
    let place = Place { session: session.clone(), epoch: 1, seq, prev: prev.into(), key_version: 1, kind: Kind::Update };
    let sealed = [entropy.bytes::<1024>().to_vec(), entropy.bytes::<16>().to_vec()].concat();
    SealedUpdate { place, iv: b64::encode(entropy.bytes::<12>()), ct: b64::encode(sealed) }
}

/// The next writes into a session that is at its beginning.
fn updates(session: &SessionId, count: usize) -> Vec<SealedUpdate> {
    let mut prev = "h".to_owned();
    let next = |seq| {
        let update = update(session, seq, &prev);
        prev = update.hash();
        update
    };
    (1..=count as i64).map(next).collect()
}

/// A member's next writes, ready to be sent: each with a proof of its own.
async fn requests(server: &Server, member: &mut Member, count: usize) -> Vec<Vec<u8>> {
    let session = session(server, member).await;
    drop(member.listen(server).await);
    let (address, path) = (server.url.strip_prefix("http://").unwrap(), format!("/broker/v1/sessions/{session}/updates"));
    let request = |update| {
        let body = serde_json::to_string(&update).unwrap();
        let proof = member.proof("POST", &format!("{}{path}", server.url));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: DPoP {}\r\ndpop: {proof}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            member.token,
            body.len()
        );
        (head + &body).into_bytes()
    };
    updates(&session, count).into_iter().map(request).collect()
}

/// An update as it goes over a client's connection: masked by nothing but zeros.
fn frame(update: SealedUpdate) -> Vec<u8> {
    let text = serde_json::to_string(&Said::Update { update }).unwrap();
    let mut out = Vec::new();
    let mut frame = Frame::message(text, OpCode::Data(Data::Text), true);
    frame.header_mut().mask = Some([0; 4]);
    frame.format(&mut out).unwrap();
    out
}

/// Says an update, and hears that it stands.
async fn say(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(frame).await.unwrap();
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        heard.extend_from_slice(&buffer[..read]);
        let has = |word: &[u8]| heard.windows(word.len()).any(|some| some == word);
        assert!(read > 0 && !has(b"\"unwritten\""));
        if has(b"{\"type\":\"written\"") {
            return;
        }
    }
}

async fn connect(server: &Server) -> TcpStream {
    let address = server.url.strip_prefix("http://localhost").unwrap();
    let socket = TcpStream::connect(format!("127.0.0.1{address}")).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Sends one, and reads a whole answer that is right.
async fn exchange(socket: &mut TcpStream, request: &[u8]) {
    socket.write_all(request).await.unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = socket.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        if body.len() == length {
            return;
        }
    }
}
