//! `fixtures/recorded-handoff-v1.json`: a whole handoff as two devices and the services said it over HTTP, byte for byte, for whoever writes a third implementation.
//! Signatures are random, so what stands is not made anew each time: it is held against what is said today, and everything in it is read and checked.

use crate::support::Server;
use baton_protocol::access_token;
use baton_protocol::dpop;
use baton_protocol::handoff::machine::Target;
use baton_protocol::key::PublicKey;
use baton_protocol::signer::Signer as _;
use baton_protocol::time::Millis;
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::wire::{Came, Carrying, Network, Sent, Wire};
use baton_sdk::{Device, Error, Http, Session, Waiting, Written, system_entropy};
use baton_service::testing::{ManualClock, On};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request and its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Exchange {
    by: String,
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    status: u16,
    dpop_nonce: Option<String>,
    answer: String,
}

/// All that was said, and what opens it.
#[derive(Serialize, Deserialize)]
struct Recording {
    /// When, in Unix milliseconds: no time passes meanwhile.
    at: i64,
    /// What each device keeps before it begins: its keys, its credential, its services.
    devices: BTreeMap<String, Value>,
    /// The keys by which the services sign.
    jwks: BTreeMap<String, Value>,
    session: String,
    /// What the session's content is in the end.
    content: String,
    exchanges: Vec<Exchange>,
}

/// Writes down what passes.
struct Recorder {
    by: &'static str,
    network: Network,
    /// One request after another, so that two that may be asked at once have an order.
    all: Arc<tokio::sync::Mutex<Vec<Exchange>>>,
}

impl Wire for Recorder {
    fn carry(&self, request: Sent) -> Carrying<'_, Result<Came, Error>> {
        Box::pin(async move {
            let mut all = self.all.lock().await;
            let came = self.network.carry(request.clone()).await?;
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            all.push(Exchange {
                by: self.by.into(),
                method: request.method,
                url: request.url,
                headers: request.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                body: request.body.map(text),
                status: came.status,
                dpop_nonce: came.nonce.clone(),
                answer: text(came.body.clone()),
            });
            Ok(came)
        })
    }

    fn pause(&self, time: Duration) -> Carrying<'_, ()> {
        self.network.pause(time)
    }
}

/// Answers from a recording.
struct Player {
    at: i64,
    answers: Mutex<BTreeMap<(String, String), VecDeque<Exchange>>>,
}

impl Wire for Player {
    fn carry(&self, request: Sent) -> Carrying<'_, Result<Came, Error>> {
        let next = self.answers.lock().unwrap().get_mut(&(request.method.clone(), request.url.clone())).and_then(VecDeque::pop_front);
        Box::pin(async move {
            let one = next.unwrap_or_else(|| panic!("{} {} was not recorded", request.method, request.url));
            Ok(Came { status: one.status, date: Some(self.at / 1000), nonce: one.dpop_nonce, body: one.answer.into_bytes() })
        })
    }

    fn pause(&self, _: Duration) -> Carrying<'_, ()> {
        Box::pin(async {})
    }
}

fn started(kept: &Value, http: Http) -> Arc<Device> {
    let kept: Kept = serde_json::from_value(kept.clone()).unwrap();
    Arc::new(Device::from_kept(Keystore::memory(), kept, http).unwrap().unwrap())
}

/// The laptop opens a session, writes, and hands it to the television; what it writes after that goes beside; then the television reads everything anew.
async fn record() -> Recording {
    let clock = ManualClock::start();
    let at = clock.clock().now().0;
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (laptop, tv) = (server.full(&mut person, "Laptop").await, server.limited(&mut person, "Television").await);
    let devices: BTreeMap<_, _> =
        [("laptop", &laptop), ("television", &tv)].map(|(name, one)| (name.to_owned(), serde_json::to_value(one.kept()).unwrap())).into();
    let all = Arc::new(tokio::sync::Mutex::new(Vec::new()));
    let start = |by: &'static str| {
        let wire = Recorder { by, network: Network::new().unwrap(), all: all.clone() };
        started(&devices[by], Http::over(Arc::new(wire), clock.clock(), system_entropy()))
    };
    let mut jwks = BTreeMap::new();
    for service in ["identity", "verifier", "broker"] {
        let answer = reqwest::get(format!("{}/{service}/jwks", server.public_url)).await.unwrap();
        jwks.insert(service.to_owned(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap());
    }
    let (laptop, tv) = (start("laptop"), start("television"));
    let mut session = Session::open(&laptop, b"The General, 00:42").await.unwrap();
    session.write(b"The General, 00:43").await.unwrap();
    let offered = session.offer(Target::Device(tv.did().clone())).await.unwrap();
    let waiting = Waiting::list(&tv).await.unwrap().pop().unwrap();
    waiting.accept().await.unwrap();
    session.seal(&offered).await.unwrap();
    let mut watching = waiting.complete().await.unwrap();
    watching.write(b"The General, 00:44").await.unwrap();
    assert_eq!(session.write(b"too late").await.unwrap(), Written::Branch { epoch: 2 });
    let read = Session::load(&start("television"), session.id()).await.unwrap();
    let content = String::from_utf8(read.content().to_vec()).unwrap();
    let exchanges = all.lock().await.clone();
    Recording { at, devices, jwks, session: session.id().to_string(), content, exchanges }
}

/// What is said, without what is random in it.
fn shape(exchange: &Exchange) -> String {
    let path = exchange.url.splitn(4, '/').nth(3).unwrap_or_default();
    let path: Vec<_> =
        path.split('/').map(|part| if part.len() > 30 && part.contains('_') { "{id}" } else { part.split('?').next().unwrap_or_default() }).collect();
    let names = |text: &str| match serde_json::from_str(text) {
        Ok(Value::Object(members)) => members.keys().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let sent: Vec<_> = exchange.headers.keys().map(String::as_str).collect();
    let Exchange { by, method, status, body, answer, .. } = exchange;
    format!("{by} {method} {} [{}] ({}) -> {status} ({})", path.join("/"), sent.join(" "), names(body.as_deref().unwrap_or_default()), names(answer))
}

fn file() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/recorded-handoff-v1.json"))
}

/// What stands in the fixture is what is said today; `BATON_WRITE=1` records it anew where it is not.
#[tokio::test]
async fn drift_of_the_recorded_handoff() {
    let now = record().await;
    let shapes = |recording: &Recording| recording.exchanges.iter().map(shape).collect::<Vec<_>>();
    let stands = std::fs::read(file()).ok().and_then(|text| serde_json::from_slice::<Recording>(&text).ok());
    if std::env::var_os("BATON_WRITE").is_some() && stands.as_ref().map(shapes) != Some(shapes(&now)) {
        std::fs::write(file(), serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
        return;
    }
    let (stands, now) = (shapes(&stands.expect("`make schemas` writes it")), shapes(&now));
    assert!(stands == now, "what is said has changed: `make schemas` records it anew, if that is meant\n{}\n\n{}", stands.join("\n"), now.join("\n"));
}

fn stands() -> Recording {
    serde_json::from_slice(&std::fs::read(file()).unwrap()).unwrap()
}

/// Every proof in it is by its device's key over what it was sent with, and every token by the verifier's.
#[test]
fn its_proofs_and_tokens_stand() {
    let recording = stands();
    let now = Millis(recording.at);
    let key_of = |by: &str| serde_json::from_value::<Kept>(recording.devices[by].clone()).unwrap().signing().unwrap().key().clone();
    let verifier = |kid: &str| {
        let keys = recording.jwks["verifier"]["keys"].as_array().unwrap();
        PublicKey::from_jwk(keys.iter().find(|key| key["kid"] == kid)?).ok()
    };
    let (mut proofs, mut tokens) = (0, 0);
    for one in &recording.exchanges {
        let servers = serde_json::from_value::<Kept>(recording.devices[&one.by].clone()).unwrap().servers;
        let Some(proof) = one.headers.get("dpop") else { continue };
        let token = one.headers.get("authorization").map(|value| value.strip_prefix("DPoP ").unwrap());
        let url = one.url.split('?').next().unwrap();
        let expected = dpop::Expected { method: &one.method, url, access_token: token };
        let checked = dpop::check(proof, expected, now).unwrap();
        assert_eq!(checked.key, key_of(&one.by), "{}", shape(one));
        proofs += 1;
        if let Some(token) = token {
            let audience = if url.starts_with(&servers.broker) { &servers.broker } else { &servers.identity };
            let token = access_token::check(token, &servers.verifier, audience, verifier, now).unwrap();
            assert_eq!(token.cnf.jkt, checked.key.thumbprint());
            tokens += 1;
        }
    }
    assert!(proofs > 15 && tokens > 10, "{proofs} {tokens}");
}

/// Whoever has the television's keys reads the session from what was recorded, with every check of the SDK: chain, acceptances, keys, updates.
#[tokio::test]
async fn it_is_read_as_it_was() {
    let recording = stands();
    let clock = baton_protocol::ports::Clock::new(move || Millis(recording.at));
    // The reading comes last: of each request, what was answered then.
    let last = recording.exchanges.iter().rposition(|one| one.by == "laptop").unwrap();
    let mut answers: BTreeMap<_, VecDeque<_>> = BTreeMap::new();
    for one in &recording.exchanges[last + 1..] {
        answers.entry((one.method.clone(), one.url.clone())).or_default().push_back(one.clone());
    }
    let player = Player { at: recording.at, answers: Mutex::new(answers) };
    let tv = started(&recording.devices["television"], Http::over(Arc::new(player), clock, system_entropy()));
    let session = baton_protocol::id::SessionId::parse(&recording.session).unwrap();
    let read = Session::load(&tv, &session).await.unwrap();
    assert_eq!((read.content(), read.epoch(), read.is_held()), (recording.content.as_bytes(), 2, true));
    assert_eq!(recording.content, "The General, 00:44");
}
