//! What is said live: the cost of each delivery against a bare relay over TCP, and what an idle stream keeps of memory.

use super::fleet::{Member, fleet};
use super::{Results, Round, Server, median};
use baton_protocol::b64;
use baton_protocol::event::Said;
use baton_protocol::id::SessionId;
use baton_protocol::session::{Kind, Place, SealedUpdate};
use baton_protocol::signer::Signer as _;
use baton_sdk::{system_clock, system_entropy};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use sqlx::Connection as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

const DEVICES: usize = 63;
const STREAMS: usize = 16;
pub const RECEIVERS: usize = DEVICES * STREAMS;
pub const MESSAGES: usize = 50;
pub const ROUNDS: usize = 5;
/// Idle streams whose memory is measured, and how many are there before, so that what is there once is not counted.
pub const IDLE: usize = 10_000;
const BEFORE: usize = 400;

/// Counts what arrives, and tells when all of it has.
#[derive(Default)]
pub struct Arrived {
    count: AtomicUsize,
    changed: Notify,
}

impl Arrived {
    pub fn one(&self, until: usize) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == until {
            self.changed.notify_one();
        }
    }
    pub async fn all(&self, until: usize) {
        while self.count.load(Ordering::Relaxed) < until {
            let _ = tokio::time::timeout(Duration::from_millis(50), self.changed.notified()).await;
        }
        self.count.store(0, Ordering::Relaxed);
    }
}

/// `live.fanout`: server CPU for each delivery of a sealed message of 1 KiB to a thousand receivers, beside a relay that writes each message once to each.
pub async fn fanout(results: &mut Results) {
    let server = Server::start(0).await;
    let mut members = fleet(&server, 1, DEVICES + 1).await;
    let mut speaker = members.pop().unwrap();
    let session = session(&server, &speaker).await;
    let receivers = RECEIVERS;
    let arrived = Arc::new(Arrived::default());
    for member in &mut members {
        for _ in 0..STREAMS {
            let mut stream = member.listen(&server).await;
            let arrived = arrived.clone();
            tokio::spawn(async move {
                while let Some(Ok(message)) = stream.next().await {
                    if message.is_text() && message.to_text().unwrap().starts_with(r#"{"type":"volatile""#) {
                        arrived.one(receivers);
                    }
                }
            });
        }
    }
    let frame = frame(&session, 1);
    let floor = Relay::start(frame.len());
    let mut floored = floor.receivers(receivers, &arrived);
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        // Each round says as much as a device may at once.
        let mut stream = speaker.listen(&server).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = server.cpu();
        for n in 0..MESSAGES {
            stream.send(Message::text(self::frame(&session, (round * MESSAGES + n + 1) as i64))).await.unwrap();
            arrived.all(receivers).await;
        }
        let ours = (server.cpu() - before) / (MESSAGES * receivers) as f64;
        let before = floor.cpu();
        for _ in 0..MESSAGES {
            floored.write_all(frame.as_bytes()).unwrap();
            arrived.all(receivers).await;
        }
        rounds.push(Round { ours, raw: (floor.cpu() - before) / (MESSAGES * receivers) as f64 });
    }
    results.cost("live.fanout", &rounds, "a bare relay", 1.4);
    if std::env::var_os("PEERS").is_some() {
        super::peers::peers(results, frame.as_bytes(), median(rounds.iter().map(|round| round.raw).collect())).await;
    }
}

/// `live.return`: the server is killed under ten thousand streams, and started again: milliseconds until it serves all of them.
pub async fn come_back(results: &mut Results) {
    let mut server = Server::start(0).await;
    let mut members = fleet(&server, IDLE.div_ceil(STREAMS * 4), 4).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        for member in &mut members {
            streams.push(member.listen(&server).await);
        }
    }
    server.restart().await;
    let (count, start) = (streams.len(), Instant::now());
    drop(streams);
    let server = &server;
    // A thousand come at once, and the others as soon as one of them is in.
    let waits: Vec<_> = members
        .iter_mut()
        .map(|member| async move {
            let mut back = Vec::new();
            for _ in 0..STREAMS {
                back.push(member.listen(server).await);
            }
            back
        })
        .collect();
    let back: Vec<_> = futures_util::future::join_all(waits).await.into_iter().flatten().collect();
    assert_eq!(back.len(), count);
    results.plain("live.return", start.elapsed().as_secs_f64(), "s until all of 10,000 streams are served; wanted at most 30");
}

/// `live.memory`: resident KiB of an idle authenticated stream.
pub async fn memory(results: &mut Results) {
    let server = Server::start(0).await;
    let mut members = fleet(&server, IDLE.div_ceil(STREAMS * 4) + BEFORE, 4).await;
    let mut streams = Vec::new();
    for member in members.iter_mut().take(BEFORE) {
        streams.push(member.listen(&server).await);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = server.resident();
    'all: for member in members.iter_mut().skip(BEFORE) {
        for _ in 0..STREAMS {
            if streams.len() == BEFORE + IDLE {
                break 'all;
            }
            streams.push(member.listen(&server).await);
        }
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let each = (server.resident() - before) / IDLE as f64;
    println!("{:<20} {each:>9.2} KiB for each of {IDLE} idle streams; wanted at most 5", "live.memory");
    results.0.push(json!({"name": "live.memory", "value": each, "unit": "KiB", "against": null, "ratio": null}));
}

/// A session that the speaker holds, as far as the broker looks at it to pass something on.
pub async fn session(server: &Server, speaker: &Member) -> SessionId {
    let id = SessionId::new(system_clock().now(), system_entropy().bytes());
    let mut db = sqlx::AnyConnection::connect(&format!("sqlite://{}/broker.db", server.dir.path().display())).await.unwrap();
    sqlx::query(
        "INSERT INTO sessions (session_id, log, app, mode, state, chain, chain_head, chain_n, epoch, holder, lease_until, key_version, head_epoch, head_seq, head_hash, created_at)
         VALUES ($1, $2, 'baton', 'exclusive', 'live', '{}', 'h', 1, 1, $3, $4, 1, 1, 0, 'h', 0)",
    )
    .bind(id.as_str())
    .bind(&speaker.log)
    .bind(speaker.key.key().did().as_str())
    .bind(i64::MAX)
    .execute(&mut db)
    .await
    .unwrap();
    // Its subject has events, as whoever opened one.
    sqlx::query("INSERT INTO event_heads (log, seq) VALUES ($1, 0) ON CONFLICT DO NOTHING").bind(&speaker.log).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    id
}

/// What a device says: nobody opens it here.
fn frame(session: &SessionId, seq: i64) -> String {
    let entropy = system_entropy();
    let place = Place { session: session.clone(), epoch: 1, seq, prev: entropy.token(), key_version: 1, kind: Kind::Volatile };
    let sealed = [entropy.bytes::<1024>().to_vec(), entropy.bytes::<16>().to_vec()].concat();
    let update = SealedUpdate { place, iv: b64::encode(entropy.bytes::<12>()), ct: b64::encode(sealed) };
    serde_json::to_string(&Said::Volatile { update }).unwrap()
}

/// The floor, in a process of its own.
struct Relay {
    child: Child,
    port: u16,
    length: usize,
}

impl Relay {
    fn start(length: usize) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let this = std::env::current_exe().unwrap();
        let mut relay = Command::new("taskset");
        let child = relay.arg("-c").arg("0").arg(this).args(["relay", &port.to_string(), &length.to_string()]).stdin(Stdio::null()).spawn().unwrap();
        Self { child, port, length }
    }

    fn connect(&self) -> TcpStream {
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(socket) => {
                    socket.set_nodelay(true).unwrap();
                    return socket;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// So many who receive; gives who speaks.
    fn receivers(&self, count: usize, arrived: &Arc<Arrived>) -> TcpStream {
        for _ in 0..count {
            let mut socket = self.connect();
            socket.write_all(b"r").unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut socket = tokio::net::TcpStream::from_std(socket).unwrap();
            let (arrived, length) = (arrived.clone(), self.length);
            tokio::spawn(async move {
                let mut buffer = vec![0; length];
                while socket.read_exact(&mut buffer).await.is_ok() {
                    arrived.one(count);
                }
            });
        }
        let mut socket = self.connect();
        socket.write_all(b"s").unwrap();
        socket
    }

    fn cpu(&self) -> f64 {
        super::cpu_of(self.child.id())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the relay's process does: whoever says `r` receives, whoever says `s` speaks.
pub fn relay(port: u16, length: usize) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut receivers = Vec::new();
    for socket in listener.incoming() {
        let (mut socket, mut is) = (socket.unwrap(), [0]);
        socket.set_nodelay(true).unwrap();
        socket.read_exact(&mut is).unwrap();
        if is == *b"r" {
            receivers.push(socket);
            continue;
        }
        let mut message = vec![0; length];
        while socket.read_exact(&mut message).is_ok() {
            for receiver in &mut receivers {
                receiver.write_all(&message).unwrap();
            }
        }
        return;
    }
}
