//! attacks.md over real HTTP. Each row: the exact refusal, no effect on any row of any database, one security event with the precise
//! reason and no secret in any log, and the same request with only the attacked bit mended goes through.

mod answering;
mod approvals;
mod askers;
mod broker;
mod dpop;
mod edge;
mod enrolment;
mod events;
mod exchange;
mod holders;
mod moves;
mod on_stream;
mod pages;
mod presentations;
mod pull;
mod refresh;
mod register;
pub mod routes;
mod sealing;
mod wallet_codes;
mod wallet_turns;
mod wallets;
mod webauthn;

use crate::support::{Server, logs};
use baton::person::Person;
use baton_protocol::b64;
use baton_protocol::dpop::token_hash;
use baton_protocol::signer::Signer as _;
use baton_sdk::keys::SoftKey;
use baton_sdk::{Device, Session};
use baton_service::testing::On;
use serde_json::{Value, json};
use std::sync::Arc;

/// A server with a person, a laptop, a television and a session on the laptop.
pub struct Rig {
    pub server: Server,
    pub person: Person,
    pub laptop: Arc<Device>,
    pub tv: Arc<Device>,
}

/// A request as an attacker makes it.
#[derive(Clone)]
pub struct Ask {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub code: String,
    pub nonce: Option<String>,
    /// Its header fields, but for the time and the nonce, in order.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub text: String,
    pub body: Value,
}

impl Ask {
    pub fn new(method: &'static str, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new() }
    }
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.header("content-type", "application/json")
    }
    #[must_use]
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        self.body = baton_sdk::http::form(pairs);
        self.header("content-type", "application/x-www-form-urlencoded")
    }
    pub async fn send(&self) -> Answer {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.request(self.method.parse().unwrap(), &self.url).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.unwrap();
        let nonce = answer.headers().get("dpop-nonce").map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let fields = answer.headers().iter().filter(|(name, _)| !["date", "dpop-nonce"].contains(&name.as_str()));
        let mut headers: Vec<_> = fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        headers.sort();
        let text = answer.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let code = body["code"].as_str().or(body["error"].as_str()).unwrap_or_default().to_owned();
        Answer { status, code, nonce, headers, text, body }
    }
}

/// A DPoP proof with anything in it.
pub struct Proof<'a> {
    pub key: &'a SoftKey,
    pub header: Value,
    pub claims: Value,
}

impl<'a> Proof<'a> {
    pub fn new(rig: &Rig, key: &'a SoftKey, method: &str, url: &str, token: Option<&str>, nonce: &str) -> Self {
        let header = json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": key.key().jwk_value()});
        let url = url.split('?').next().unwrap();
        let mut claims = json!({"jti": b64::encode(rig.server.running.broker.base().entropy.bytes::<16>()), "htm": method, "htu": url,
            "iat": rig.server.running.broker.base().now().secs(), "nonce": nonce});
        if let Some(token) = token {
            claims["ath"] = token_hash(token).into();
        }
        Self { key, header, claims }
    }
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims[name] = value;
        self
    }
    pub fn text(&self) -> String {
        let input = format!("{}.{}", b64::encode(self.header.to_string()), b64::encode(self.claims.to_string()));
        format!("{input}.{}", b64::encode(self.key.sign_now(input.as_bytes())))
    }
}

impl Rig {
    pub async fn new(on: On) -> Self {
        Self::at(Server::start(on).await).await
    }

    /// On a server of one's own making.
    pub async fn at(server: Server) -> Self {
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let tv = server.limited(&mut person, "Television").await;
        Self { server, person, laptop, tv }
    }

    pub fn broker(&self, path: &str) -> String {
        format!("{}/broker{path}", self.server.public_url)
    }
    pub fn verifier(&self, path: &str) -> String {
        format!("{}/verifier{path}", self.server.public_url)
    }
    pub fn identity(&self, path: &str) -> String {
        format!("{}/identity{path}", self.server.public_url)
    }

    /// A nonce of a service for a key, got as clients get it: by asking without one.
    pub async fn dpop_nonce(&self, key: &SoftKey, url: &str, method: &'static str, ask: &Ask, token: Option<&str>) -> String {
        let mut proof = Proof::new(self, key, method, url, token, "");
        proof.claims.as_object_mut().unwrap().remove("nonce");
        let answer = ask.clone().header("dpop", proof.text()).send().await;
        assert_eq!(answer.code, "use_dpop_nonce", "{}", answer.body);
        answer.nonce.unwrap()
    }

    /// A request to the broker, right in every respect.
    pub async fn to_broker(&self, device: &Device, method: &'static str, path: &str, scope: &str, body: Option<&Value>) -> Ask {
        let url = self.broker(path);
        let token = device.token(&device.servers().broker, scope, None).await.unwrap();
        let mut ask = Ask::new(method, url.clone()).header("authorization", format!("DPoP {token}"));
        if let Some(body) = body {
            ask = ask.json(body);
        }
        let nonce = self.dpop_nonce(device.signer(), &url, method, &ask, Some(&token)).await;
        ask.header("dpop", Proof::new(self, device.signer(), method, &url, Some(&token), &nonce).text())
    }

    /// A token exchange, right in every respect but for the given pairs, with a presentation of the device.
    pub async fn exchange(&self, device: &Device, key: &SoftKey, change: &[(&'static str, &str)]) -> Ask {
        let verifier = &device.servers().verifier;
        let nonce = device.nonce(verifier).await.unwrap();
        let presentation = device.present(verifier, &nonce, &[], &[]).await.unwrap();
        self.exchange_of(key, &presentation, &device.servers().broker, change).await
    }

    pub async fn exchange_of(&self, key: &SoftKey, presentation: &str, audience: &str, change: &[(&'static str, &str)]) -> Ask {
        let mut pairs = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:baton:token-type:device-presentation"),
            ("subject_token", presentation),
            ("audience", audience),
            ("scope", "session:read"),
        ];
        for (name, value) in change {
            pairs.retain(|(known, _)| known != name);
            pairs.push((name, value));
        }
        let url = self.verifier("/token");
        let ask = Ask::new("POST", url.clone()).form(&pairs);
        let nonce = self.dpop_nonce(key, &url, "POST", &ask, None).await;
        ask.header("dpop", Proof::new(self, key, "POST", &url, None, &nonce).text())
    }

    /// A post to the pages' API, as a page makes it.
    pub fn page(&self, path: &str, body: &Value) -> Ask {
        let ask = Ask::new("POST", self.identity(path)).header("origin", self.server.public_url.clone());
        ask.header("sec-fetch-site", "same-origin").json(body)
    }
    /// The same, by the person who is signed in.
    pub fn signed_in(&self, path: &str, body: &Value) -> Ask {
        self.page(path, body).header("cookie", self.person.cookie())
    }

    /// The four assertions' first three.
    pub async fn refuse(&self, ask: &Ask, status: u16, code: &str, reason: &str) -> Answer {
        self.refuse_but(ask, status, code, reason, &[]).await
    }

    /// The same, where the row names counters that may change.
    pub async fn refuse_but(&self, ask: &Ask, status: u16, code: &str, reason: &str, counters: &[&str]) -> Answer {
        self.server.running.audit.take();
        let before = self.server.dump(counters).await;
        let answer = ask.send().await;
        assert_eq!((answer.status, answer.code.as_str()), (status, code), "{} {}: {}", ask.method, ask.url, answer.body);
        let after = self.server.dump(counters).await;
        assert_eq!(before, after, "a refusal changed something");
        let events = self.server.running.audit.take();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!((events[0].refusal.code(), events[0].refusal.reason(), events[0].status), (code, reason, status));
        Self::no_secret_logged(ask);
        answer
    }

    fn no_secret_logged(ask: &Ask) {
        let logged = logs();
        let logged = logged.lock().unwrap();
        let text = String::from_utf8_lossy(&logged);
        for (name, value) in &ask.headers {
            if ["authorization", "dpop", "cookie"].contains(name) {
                let secret = value.rsplit([' ', '=']).next().unwrap();
                assert!(secret.len() < 16 || !text.contains(secret), "{name} was logged");
            }
        }
        let body = String::from_utf8_lossy(&ask.body).into_owned();
        for word in body.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.~".contains(c))).filter(|word| word.len() > 40) {
            assert!(!text.contains(word), "part of the body was logged");
        }
    }

    /// The fourth: what was refused goes through once it is mended.
    pub async fn allow(&self, ask: &Ask) -> Value {
        let answer = ask.send().await;
        assert!((200..300).contains(&answer.status), "{} {}: {} {}", ask.method, ask.url, answer.status, answer.body);
        answer.body
    }

    pub async fn session(&self) -> Session {
        Session::open(&self.laptop, b"The General, 00:43").await.unwrap()
    }
}

/// Sends copies at once and gives all answers.
pub async fn race(copies: Vec<Ask>) -> Vec<Answer> {
    let mut tasks = tokio::task::JoinSet::new();
    for ask in copies {
        tasks.spawn(async move { ask.send().await });
    }
    tasks.join_all().await
}
