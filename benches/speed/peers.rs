//! Other people's servers beside ours (`PEERS=1`): what a delivery to a thousand receivers costs them, what an idle connection keeps of memory, how long they carry a state. They speak over
//! bare TCP, without TLS or authentication, and keep nothing either; each is pinned to one CPU as ours is.

use super::live::{Arrived, IDLE, MESSAGES, RECEIVERS, ROUNDS};
use super::{Results, cpu_of, median, resident};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How one of them is spoken to.
struct Dialect {
    name: &'static str,
    /// Starts it on a port; configuration goes into the folder.
    start: fn(u16, &Path) -> Option<Command>,
    /// What who receives says first, and how the answer to that ends.
    receives: (Vec<u8>, &'static [u8]),
    /// The same of who speaks.
    speaks: (Vec<u8>, &'static [u8]),
    /// A message as it is sent, and how long it is as it arrives.
    message: fn(&[u8]) -> (Vec<u8>, usize),
}

fn dialects() -> [Dialect; 3] {
    // MQTT 3.1.1 §3.1, §3.8: CONNECT without a name, SUBSCRIBE to "t" at QoS 0.
    let connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00".to_vec();
    let subscribe = b"\x82\x06\x00\x01\x00\x01t\x00";
    let nats = |more: &str| format!("CONNECT {{\"verbose\":false}}\r\n{more}PING\r\n").into_bytes();
    let upgrade = b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".to_vec();
    [
        Dialect {
            name: "mosquitto",
            start: mosquitto,
            receives: ([&connect[..], subscribe].concat(), b"\x90\x03\x00\x01\x00"),
            speaks: (connect, b"\x20\x02\x00\x00"),
            message: |text| {
                let mut whole = vec![0x30];
                // §2.2.3: seven bits at a time.
                let mut rest = 3 + text.len();
                while rest >= 128 {
                    whole.push(0x80 | (rest % 128) as u8);
                    rest /= 128;
                }
                whole.push(rest as u8);
                whole.extend([b"\x00\x01t", text].concat());
                let length = whole.len();
                (whole, length)
            },
        },
        Dialect {
            name: "nats",
            start: |port, _| {
                let mut server = Command::new(found("nats-server")?);
                server.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
                Some(server)
            },
            receives: (nats("SUB t 1\r\n"), b"PONG\r\n"),
            speaks: (nats(""), b"PONG\r\n"),
            message: |text| {
                let said = [format!("PUB t {}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat();
                (said, format!("MSG t 1 {}\r\n", text.len()).len() + text.len() + 2)
            },
        },
        Dialect {
            name: "ws",
            start: |port, _| {
                let mut server = Command::new(found("node")?);
                server.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/ws.mjs")).arg(port.to_string());
                Some(server)
            },
            receives: (upgrade.clone(), b"\r\n\r\n"),
            speaks: (upgrade, b"\r\n\r\n"),
            // RFC 6455 §5.2: a text frame, masked by zeros one way and not at all the other.
            message: |text| {
                let (kind, length) = match u16::try_from(text.len()) {
                    Ok(short) => (126, short.to_be_bytes().to_vec()),
                    Err(_) => (127, (text.len() as u64).to_be_bytes().to_vec()),
                };
                ([&[0x81, 0x80 | kind][..], &length, &[0; 4], text].concat(), 2 + length.len() + text.len())
            },
        },
    ]
}

fn mosquitto(port: u16, dir: &Path) -> Option<Command> {
    let config = dir.join("mosquitto.conf");
    std::fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\n")).unwrap();
    let mut server = Command::new(found("mosquitto")?);
    server.arg("-c").arg(config);
    Some(server)
}

/// Where a program is, also where only root usually looks.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|dir| dir.join(program)).find(|file| file.exists())
}

/// One that runs.
struct Peer {
    child: Child,
    port: u16,
    dialect: Dialect,
    _dir: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(dialect: Dialect) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let server = (dialect.start)(port, dir.path())?;
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "0"]).arg(server.get_program()).args(server.get_args());
        let child = pinned.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { child, port, dialect, _dir: dir })
    }

    async fn greeted(&self, (says, until): &(Vec<u8>, &[u8])) -> TcpStream {
        let mut socket = loop {
            match TcpStream::connect(("127.0.0.1", self.port)).await {
                Ok(socket) => break socket,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        socket.set_nodelay(true).unwrap();
        socket.write_all(says).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(until) {
            answer.push(socket.read_u8().await.unwrap());
        }
        socket
    }

    /// CPU nanoseconds of each delivery of a text.
    async fn fanout(&self, text: &[u8]) -> f64 {
        let arrived = Arc::new(Arrived::default());
        let (said, length) = (self.dialect.message)(text);
        for _ in 0..RECEIVERS {
            let mut socket = self.greeted(&self.dialect.receives).await;
            let arrived = arrived.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; length];
                while socket.read_exact(&mut buffer).await.is_ok() {
                    arrived.one(RECEIVERS);
                }
            });
        }
        let mut speaker = self.greeted(&self.dialect.speaks).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let before = cpu_of(self.child.id());
            for _ in 0..MESSAGES {
                speaker.write_all(&said).await.unwrap();
                arrived.all(RECEIVERS).await;
            }
            rounds.push((cpu_of(self.child.id()) - before) / (MESSAGES * RECEIVERS) as f64);
        }
        median(rounds)
    }

    /// Resident KiB of each idle connection.
    async fn memory(&self) -> f64 {
        let mut idle = vec![self.greeted(&self.dialect.receives).await];
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = resident(self.child.id());
        for _ in 0..IDLE {
            idle.push(self.greeted(&self.dialect.receives).await);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        (resident(self.child.id()) - before) / IDLE as f64
    }
}

/// What carrying so many bytes from one to another takes those that are at hand: without an offer, a check, a seal or a disk. Beside a handoff, not against it.
pub async fn carried(results: &mut Results, bytes: usize) {
    for dialect in dialects().into_iter().filter(|dialect| dialect.name != "mosquitto") {
        let name = dialect.name;
        let Some(peer) = Peer::start(dialect) else {
            println!("{name}: not at hand");
            continue;
        };
        let (said, length) = (peer.dialect.message)(&vec![b'7'; bytes]);
        let (mut hears, mut speaks) = (peer.greeted(&peer.dialect.receives).await, peer.greeted(&peer.dialect.speaks).await);
        let (mut times, mut buffer) = (Vec::new(), vec![0; length]);
        for _ in 0..60 {
            let start = Instant::now();
            let (_, heard) = tokio::join!(speaks.write_all(&said), hears.read_exact(&mut buffer));
            heard.unwrap();
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        results.plain(&format!("handoff.cold.{name}"), median(times), "ms to carry as many bytes, and no more");
    }
}

/// Measures those that are at hand, against what a delivery costs a bare relay.
pub async fn peers(results: &mut Results, text: &[u8], floor: f64) {
    for dialect in dialects() {
        let name = dialect.name;
        let Some(peer) = Peer::start(dialect) else {
            println!("{name}: not at hand");
            continue;
        };
        let each = peer.fanout(text).await;
        let ratio = each / floor;
        println!("{:<20} {:>8.1} us  {ratio:.2} times a bare relay", format!("live.fanout.{name}"), each / 1000.0);
        results
            .0
            .push(json!({"name": format!("live.fanout.{name}"), "value": each / 1000.0, "unit": "us", "against": "a bare relay", "ratio": ratio}));
        drop(peer);
        let Some(peer) = dialects().into_iter().find(|dialect| dialect.name == name).and_then(Peer::start) else { continue };
        results.plain(&format!("live.memory.{name}"), peer.memory().await, "KiB for each idle connection");
    }
}
