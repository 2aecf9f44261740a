//! `make bench`: how fast, as ratios against raw operations taken side by side in this run. Writes `bench-results.json`.
//!
//! L is two raw aws-lc-rs P-256 verifies of the same bytes. Server figures are per CPU second of the server's process, all its threads.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says so by panicking")]
#![expect(clippy::cast_precision_loss, reason = "nanoseconds fit")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod append;
mod fleet;
mod handoff;
mod live;
mod peers;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey};
use baton::demo::{claims, enrol_here};
use baton::person::Person;
use baton_protocol::credential::{StatusEntry, Template, Tier, VCT, Visible};
use baton_protocol::enrolment::Kind;
use baton_protocol::jose::{SignatureMemory, Typ, Unverified};
use baton_protocol::presentation::{self, Expected};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::signer::Signer as _;
use baton_protocol::status_list::{self, Bits, StatusRef};
use baton_protocol::time::Millis;
use baton_sdk::http::{Http, Request, form};
use baton_sdk::keys::SoftKey;
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::root::sign_credential;
use baton_sdk::{Device, Servers, system_clock, system_entropy};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustix::time::ClockId;
use serde_json::{Value, json};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AUD: &str = "https://shop.example";
const RELYING_KEY: &str = "bench-relying-key-0123456789";

struct Results(Vec<Value>);

impl Results {
    /// A throughput ratio: how much of what the raw operation reaches, the median over rounds of both; higher is better.
    fn ratio(&mut self, name: &str, rounds: &[Round], raw: &str, at_least: f64) {
        let us = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect()) / 1000.0;
        let (ours_us, raw_us, ratio) =
            (us(|round| round.ours), us(|round| round.raw), median(rounds.iter().map(|round| round.raw / round.ours).collect()));
        println!("{name:<20} {ours_us:>9.1} us   {ratio:.2} of {raw} ({raw_us:.1} us); wanted at least {at_least}");
        self.0.push(json!({"name": name, "value": ours_us, "unit": "us", "against": raw, "ratio": ratio}));
    }
    /// A cost ratio: how many times the raw operation's; lower is better.
    fn cost(&mut self, name: &str, rounds: &[Round], raw: &str, at_most: f64) {
        let us = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect()) / 1000.0;
        let (ours_us, raw_us, ratio) =
            (us(|round| round.ours), us(|round| round.raw), median(rounds.iter().map(|round| round.ours / round.raw).collect()));
        println!("{name:<20} {ours_us:>9.1} us   {ratio:.2} times {raw} ({raw_us:.1} us); wanted at most {at_most}");
        self.0.push(json!({"name": name, "value": ours_us, "unit": "us", "against": raw, "ratio": ratio}));
    }
    /// How many times the raw operation's time.
    fn times(&mut self, name: &str, ours: f64, raw: f64, against: &str, wanted: &str) {
        println!("{name:<20} {ours:>9.2} ms   {:.2} times {against} ({raw:.2} ms); wanted {wanted}", ours / raw);
        self.0.push(json!({"name": name, "value": ours, "unit": "ms", "against": against, "ratio": ours / raw}));
    }
    /// How much of the raw operation's rate is reached.
    fn reach(&mut self, name: &str, ours: f64, raw: f64, against: &str, at_least: f64) {
        println!("{name:<20} {ours:>9.3} ms   {:.2} of {against} ({raw:.3} ms); wanted at least {at_least}", raw / ours);
        self.0.push(json!({"name": name, "value": ours, "unit": "ms", "against": against, "ratio": raw / ours}));
    }
    fn plain(&mut self, name: &str, value: f64, unit: &str) {
        println!("{name:<20} {value:>9.2} {unit}");
        self.0.push(json!({"name": name, "value": value, "unit": unit, "against": null, "ratio": null}));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One round: nanoseconds of each, measured one right after the other, because the machine itself does not stay as fast as it was.
struct Round {
    ours: f64,
    raw: f64,
}

/// CPU nanoseconds of this thread per turn.
fn time(turns: u32, f: &mut dyn FnMut()) -> f64 {
    let spent = || Duration::try_from(rustix::time::clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let start = spent();
    (0..turns).for_each(|_| f());
    spent().checked_sub(start).unwrap().as_nanos() as f64 / f64::from(turns)
}

fn side_by_side(turns: u32, mut ours: impl FnMut(), mut raw: impl FnMut()) -> Vec<Round> {
    (0..15).map(|_| Round { ours: time(turns, &mut ours), raw: time(turns, &mut raw) }).collect()
}

struct Remembers;
impl SignatureMemory for Remembers {
    fn verified(&self, digest: &[u8; 32], _: Millis) -> bool {
        black_box(digest)[0] == digest[0]
    }
    fn remember(&self, _: [u8; 32], _: Millis) {}
}

fn verify_in_process(results: &mut Results) {
    let entropy = system_entropy();
    let now = system_clock().now();
    let (issuer, device) = (SoftKey::generate(&entropy), SoftKey::generate(&entropy));
    let visible = Visible {
        iss: issuer.key().did(),
        sub: device.key().did(),
        vct: VCT.into(),
        iat: now.secs(),
        exp: now.secs() + 100_000,
        client_id: "player".into(),
        tier: Tier::Full,
        log: entropy.token(),
        status: StatusEntry { status_list: StatusRef { idx: 5, uri: "https://id.example/v1/status-lists/1".into() } },
        status_issuer: "did:web:id.example".into(),
    };
    let eight = json!({"name": "Laptop", "kind": "laptop", "platform": "Linux", "model": "X1", "capabilities": ["screen"], "integrity": "none",
        "enrolled_at": now.secs(), "agreement_jwk": device.key().jwk_value()});
    let template = Template { visible, disclosable: eight.as_object().unwrap().clone() };
    let credential = sign_credential(&template, device.key(), &issuer, &entropy).unwrap();
    let draft = presentation::draft(&credential, AUD, "nonce", &[], now);
    let kb = draft.clone().signed(&device.sign_now(draft.signing_input()));
    let shown = format!("{credential}{kb}");
    let list_token = status_list::draft("k", "https://id.example/v1/status-lists/1", &Bits::all_valid(), 300, now);
    let list_token = list_token.clone().signed(&issuer.sign_now(list_token.signing_input()));
    let list = status_list::check(&list_token, "https://id.example/v1/status-lists/1", issuer.key(), 0, now).unwrap();

    let expected = Expected { audience: AUD, nonce: &|nonce, _| nonce == "nonce", transaction_data: &[], required_claims: &["name"] };
    let check = |memory: &dyn Fn() -> bool| {
        let status = |c: &baton_protocol::credential::Credential| list.status(c.visible.status.status_list.idx).map_err(Into::into);
        let verdict = if memory() {
            presentation::check(&shown, &expected, &Remembers, status, now)
        } else {
            presentation::check(&shown, &expected, &(), status, now)
        };
        assert_eq!(black_box(verdict).unwrap().claims.len(), 8);
    };
    let jwt = Compact::parse(&credential).unwrap().jwt.to_owned();
    let raw = |text: &str, typ: Typ, key: &SoftKey| {
        let jws = Unverified::parse(text, typ).unwrap();
        (jws.signing_input().as_bytes().to_vec(), *jws.signature(), *key.key().sec1())
    };
    let both = [raw(&jwt, Typ::Credential, &issuer), raw(&kb, Typ::KeyBinding, &device)];
    let l = || {
        for (input, signature, point) in &both {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(black_box(input), signature).unwrap();
        }
    };
    results.ratio("verify.cold", &side_by_side(500, || check(&|| false), l), "L", 0.85);
    results.ratio("verify.warm", &side_by_side(500, || check(&|| true), l), "L", 1.5);
}

struct Server {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start(issuer_memory: usize) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (dir, url) = (tempfile::tempdir().unwrap(), format!("http://localhost:{port}"));
        let relying = format!("[[relying_service]]\nname = \"bench\"\nkey_sha256 = \"{}\"\n", baton_protocol::key::hash(RELYING_KEY.as_bytes()));
        std::fs::write(dir.path().join("baton.toml"), format!("max_devices = 1000\nissuer_memory = {issuer_memory}\n{relying}")).unwrap();
        let server = Self { child: Self::spawn(dir.path(), port), url, dir };
        server.answers().await;
        server
    }

    fn spawn(dir: &Path, port: u16) -> Child {
        // One CPU, one runtime thread: busy hardware threads of one core slow each other down, and CPU time would measure that.
        Command::new("taskset")
            .args(["-c", "0", env!("CARGO_BIN_EXE_baton"), "serve", "--listen", &format!("127.0.0.1:{port}"), "--admin-listen", "127.0.0.1:0"])
            .args(["--public-url", &format!("http://localhost:{port}"), "--data-dir"])
            .arg(dir)
            // Signatures are counted by their trace, which costs the other figures one disabled event.
            .env("BATON_LOG", "error,baton::signature=trace")
            .env("TOKIO_WORKER_THREADS", "1")
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap()
    }

    async fn answers(&self) {
        while reqwest::get(format!("{}/broker/jwks", self.url)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills it, and starts it again on what it left.
    async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let port = self.url.rsplit(':').next().unwrap().parse().unwrap();
        self.child = Self::spawn(self.dir.path(), port);
        self.answers().await;
    }

    /// CPU time of the server so far, in nanoseconds, over all its threads.
    fn cpu(&self) -> f64 {
        cpu_of(self.child.id())
    }

    /// Memory that is resident, in KiB.
    fn resident(&self) -> f64 {
        resident(self.child.id())
    }

    /// Signatures the server has made so far.
    fn signatures(&self) -> u64 {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap().lines().count() as u64
    }

    /// Counts the server's fsyncs from here on, where strace is at hand.
    fn count_fsyncs(&self) -> Option<Strace> {
        let out = self.dir.path().join("fsyncs");
        let child = Command::new("strace")
            .args(["-f", "-e", "trace=fsync,fdatasync", "-p", &self.child.id().to_string(), "-o"])
            .arg(&out)
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut strace = Strace { child, out };
        let mut said = [0; 64];
        // It says that it is attached.
        let read = strace.child.stderr.as_mut()?.read(&mut said).ok()?;
        std::str::from_utf8(&said[..read]).ok()?.contains("attached").then_some(strace)
    }

    async fn device(&self, person: &mut Person, name: &str) -> Arc<Device> {
        let kept = Kept::fresh(Servers::at(&self.url), "baton-cli", &system_entropy());
        let http = Http::new(system_clock(), system_entropy()).unwrap();
        enrol_here(person, http, Keystore::memory(), kept, &claims(name, Kind::Laptop)).await.unwrap()
    }
}

/// CPU time of a process so far, in nanoseconds, over all its threads.
fn cpu_of(process: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let spent = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse::<f64>().ok();
    tasks.filter_map(Result::ok).filter_map(spent).sum()
}

/// Memory of a process that is resident, in KiB.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A count of fsyncs under way.
struct Strace {
    child: Child,
    out: std::path::PathBuf,
}

impl Strace {
    fn finish(mut self) -> u64 {
        // SIGINT: it lets go of the server and writes what it has.
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        self.child.wait().unwrap();
        let text = std::fs::read_to_string(&self.out).unwrap();
        text.lines().filter(|line| line.contains("sync(")).count() as u64
    }
}

/// How many callers a server is asked by at once.
const CALLERS: usize = 32;

/// Server CPU nanoseconds for each of `asks`, with [`CALLERS`] under way at once, as a server is used.
async fn cpu_each<T, F: Future<Output = ()>>(server: &Server, asks: Vec<T>, ask: impl Fn(T) -> F) -> f64 {
    let (count, mut asks, before) = (asks.len() as f64, asks.into_iter(), server.cpu());
    let mut under_way: FuturesUnordered<F> = asks.by_ref().take(CALLERS).map(&ask).collect();
    while under_way.next().await.is_some() {
        under_way.extend(asks.next().map(&ask));
    }
    (server.cpu() - before) / count
}

/// Server CPU for one `presentations/verify`, beside two raw verifies. The caller sends as many at once as there are connections and
/// then only waits: where busy threads slow each other down, its own work would show in the server's.
async fn verify_over_http(server: &Server, devices: &[Arc<Device>], raw: &Raw) -> Vec<Round> {
    let address = server.url.strip_prefix("http://localhost").unwrap();
    let mut connections: Vec<_> = (0..CALLERS).map(|_| TcpStream::connect(format!("127.0.0.1{address}")).unwrap()).collect();
    let mut rounds = Vec::new();
    for round in 1..=9 {
        let mut requests = Vec::new();
        for n in 0..512 {
            let nonce = format!("a bench nonce {round} {n:06}");
            let shown = devices[n % devices.len()].present(AUD, &nonce, &[], &["name", "kind"]).await.unwrap();
            let body = json!({"presentation": shown, "audience": AUD, "nonce": nonce}).to_string();
            requests.push(format!(
                "POST /verifier/v1/presentations/verify HTTP/1.1\r\nhost: localhost{address}\r\nauthorization: Bearer {RELYING_KEY}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
        let before = server.cpu();
        for some in requests.chunks(CALLERS) {
            for (request, connection) in some.iter().zip(&mut connections) {
                connection.write_all(request.as_bytes()).unwrap();
            }
            for connection in &mut connections {
                assert!(answer(connection).starts_with("HTTP/1.1 200"));
            }
        }
        let ours = (server.cpu() - before) / requests.len() as f64;
        rounds.push(Round { ours, raw: 2.0 * raw.verify() });
    }
    rounds
}

/// One whole answer.
fn answer(connection: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        if body.len() == length {
            return text;
        }
    }
}

async fn enrolled(server: &Server, count: usize) -> Vec<Arc<Device>> {
    let mut person = Person::new(&server.url, system_entropy()).unwrap();
    person.sign_up().await.unwrap();
    let mut devices = Vec::new();
    for n in 0..count {
        devices.push(server.device(&mut person, &format!("Device {n}")).await);
    }
    devices
}

/// Raw P-256 operations by aws-lc-rs.
struct Raw {
    key: SoftKey,
    signature: [u8; 64],
    pair: EcdsaKeyPair,
}

impl Raw {
    fn new() -> Self {
        let key = SoftKey::generate(&system_entropy());
        Self { signature: key.sign_now(b"input"), key, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }
    fn verify(&self) -> f64 {
        time(400, &mut || UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.key().sec1()).verify(b"input", &self.signature).unwrap())
    }
    fn sign(&self) -> f64 {
        time(400, &mut || {
            black_box(self.pair.sign(&SystemRandom::new(), b"input").unwrap());
        })
    }
}

async fn http_verify(results: &mut Results, raw: &Raw) {
    let forgetful = Server::start(0).await;
    let cold = verify_over_http(&forgetful, &enrolled(&forgetful, 3).await, raw).await;
    results.ratio("http.verify.cold", &cold, "L", 0.65);
    drop(forgetful);
    let server = Server::start(100_000).await;
    let warm = verify_over_http(&server, &enrolled(&server, 8).await, raw).await;
    results.ratio("http.verify.warm", &warm, "L", 1.0);
}

async fn token_exchange(results: &mut Results, raw: &Raw) {
    let server = Server::start(100_000).await;
    let device = enrolled(&server, 1).await.remove(0);
    let (verifier, broker) = (device.servers().verifier.clone(), device.servers().broker.clone());
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let mut shown = Vec::new();
        for _ in 0..100 {
            let nonce = device.nonce(&verifier).await.unwrap();
            shown.push(device.present(&verifier, &nonce, &[], &[]).await.unwrap());
        }
        let exchange = |presentation: String| {
            let (device, verifier, broker) = (device.clone(), verifier.clone(), broker.clone());
            async move {
                let pairs = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                    ("subject_token_type", "urn:baton:token-type:device-presentation"),
                    ("subject_token", &presentation),
                    ("audience", &broker),
                    ("scope", "session:read"),
                ];
                let body = Some(("application/x-www-form-urlencoded", form(&pairs)));
                let request = Request { method: "POST", url: format!("{verifier}/token"), service: &verifier, token: None, body };
                device.http().proven(&request, device.signer()).await.unwrap();
            }
        };
        rounds.push(Round { ours: cpu_each(&server, shown, exchange).await, raw: 3.0 * raw.verify() + raw.sign() });
    }
    results.ratio("token.exchange", &rounds, "3 verifies + 1 sign", 0.5);
}

/// `cargo bench --bench speed -- [verify] [http] [token] [handoff] [live] [append]`: all, or those named. The results file is for all of them.
fn main() {
    if let ["relay", port, length] = std::env::args().skip(1).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()[..] {
        live::relay(port.parse().unwrap(), length.parse().unwrap());
        return;
    }
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |group: &str| named.is_empty() || named.iter().any(|name| name == group);
    tracing_subscriber::registry().with(handoff::CountSignatures).init();
    let mut results = Results(Vec::new());
    if wanted("verify") {
        verify_in_process(&mut results);
    }
    let raw = Raw::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("http") {
            http_verify(&mut results, &raw).await;
        }
        if wanted("token") {
            token_exchange(&mut results, &raw).await;
        }
        if wanted("handoff") {
            handoff::handoff(&mut results).await;
        }
        if wanted("live") || wanted("fanout") {
            live::fanout(&mut results).await;
        }
        if wanted("live") || wanted("memory") {
            live::memory(&mut results).await;
        }
        if wanted("live") {
            live::come_back(&mut results).await;
        }
        if wanted("append") {
            append::append(&mut results).await;
        }
    });
    if named.is_empty() {
        std::fs::write("bench-results.json", serde_json::to_string_pretty(&results.0).unwrap() + "\n").unwrap();
    }
}
