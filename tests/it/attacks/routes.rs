//! HTTP-05: every route of the three routers, and who is refused there. The table is held against the routers' own text: a route without a line fails.

use super::enrolment::device_authorization;
use super::{Answer, Ask, Proof, Rig};
use crate::support::Server;
use baton_protocol::handoff::machine::Target;
use baton_protocol::id::SignInId;
use baton_sdk::keys::SoftKey;
use baton_sdk::{Device, system_entropy};
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Who may ask. `browser`: whoever opens a page. `anyone`: a client, a wallet or a browser that nothing is known of; what it sends says the rest. `page`: the cookie of a person.
/// `device`: a token bound to its key; at the broker with the scope it takes, and `full` where a limited device is told that it is one. `manage`: a page's token. `token`: an app's or a wallet's. `relying`, `operator`: their API key. `ticket`: what a
/// device got for one stream. Then a body, where `{}` would be refused before anybody asks who sent it; `-`: whose right body takes a ceremony to make, so
/// that the shape is what refuses here (their own tests have them right and by a stranger).
const TABLE: &str = include_str!("routes.txt");

/// One line of it.
struct Row {
    service: &'static str,
    method: &'static str,
    path: &'static str,
    who: &'static str,
    scope: Option<&'static str>,
    full: bool,
    body: &'static str,
}

impl Row {
    fn json(&self) -> Value {
        serde_json::from_str(self.body).unwrap_or_else(|_| json!({}))
    }
}

fn table() -> Vec<Row> {
    let row = |line: &'static str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [service, method, path, who] = *words.first_chunk().unwrap_or_else(|| panic!("{line}"));
        let mut says = who.split('/');
        let (who, scope, full) = (says.next().unwrap(), says.next(), says.next() == Some("full"));
        Row { service, method, path, who, scope, full, body: words.get(4).copied().unwrap_or("{}") }
    };
    TABLE.lines().filter(|line| !line.is_empty()).map(row).collect()
}

/// Method and full path of a service's routes, each with who may ask.
pub fn who_may(service: &str) -> impl Iterator<Item = ((String, String), String)> {
    table().into_iter().filter(move |row| row.service == service).map(|row| {
        let own = format!("/{}", row.service);
        let path = match row.who {
            _ if row.path.contains("{path}") => row.path.replace("{path}", &own),
            "browser" => row.path.to_owned(),
            _ => format!("{own}{}", row.path),
        };
        ((row.method.to_owned(), path), row.who.to_owned())
    })
}

/// What the routers' text says.
fn written() -> BTreeSet<String> {
    let sources = [
        ("identity", include_str!("../../../identity/src/routes/mod.rs")),
        ("verifier", include_str!("../../../verifier/src/routes/mod.rs")),
        ("broker", include_str!("../../../broker/src/routes/mod.rs")),
    ];
    let mut all = BTreeSet::new();
    for (service, source) in sources {
        for route in source.split(".route(").skip(1) {
            let mut parts = route.splitn(3, '"');
            let (path, handlers) = (parts.nth(1).unwrap(), parts.next().unwrap());
            let handlers = handlers.split([';', '\n']).next().unwrap();
            for (call, method) in [("get(", "GET"), ("post(", "POST")] {
                if handlers.contains(call) {
                    all.insert(format!("{service} {method} {path}"));
                }
            }
        }
    }
    all
}

#[test]
fn every_route_has_its_line() {
    let lines: BTreeSet<_> = table().iter().map(|row| format!("{} {} {}", row.service, row.method, row.path)).collect();
    assert_eq!(lines, written());
    let known = ["anyone", "browser", "page", "device", "manage", "token", "relying", "operator", "ticket"];
    assert!(table().iter().all(|row| known.contains(&row.who)), "somebody unknown");
}

/// Ids of the person's own things, in the place of what a path takes.
#[derive(Clone)]
pub struct Ids {
    session: String,
    handoff: String,
    device: String,
    did: String,
    grant: String,
    passkey: String,
    request: String,
    sign_in: String,
}

impl Ids {
    pub async fn of(rig: &Rig) -> Self {
        let session = rig.session().await;
        let handoff = session.offer(Target::Device(rig.tv.did().clone())).await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let grants = rig.person.get("/v1/grants").await.unwrap();
        let passkeys = rig.person.get("/v1/passkeys").await.unwrap();
        let entropy = system_entropy();
        let started = rig.allow(&device_authorization(rig, &SoftKey::generate(&entropy), "Tablet").await).await;
        let shown = rig.person.open_elsewhere(started["user_code"].as_str().unwrap()).await.unwrap();
        Self {
            session: session.id().to_string(),
            handoff: handoff.id().to_string(),
            device: rig.laptop.enrolled().device_id,
            did: rig.laptop.did().to_string(),
            grant: text(&grants["grants"][0]["grant"]),
            passkey: text(&passkeys["passkeys"][0]["credential_id"]),
            request: shown.request.to_string(),
            sign_in: SignInId::new(rig.server.http().now(), entropy.bytes()).to_string(),
        }
    }

    /// Of the same form, and nobody's.
    fn nowhere(&self) -> Self {
        let turned = |id: &String| format!("{}{}", &id[..id.len() - 1], if id.ends_with('0') { '1' } else { '0' });
        Self { session: turned(&self.session), handoff: turned(&self.handoff), ..self.clone() }
    }

    pub fn fill(&self, path: &str) -> String {
        let id = match path.split('/').nth(2) {
            // The pages end and ask for sessions alone.
            Some("sessions" | "manage") => &self.session,
            Some("handoffs") => &self.handoff,
            Some("devices") => &self.device,
            Some("grants") => &self.grant,
            Some("passkeys") => &self.passkey,
            Some("requests") => &self.request,
            Some("sign-ins") => &self.sign_in,
            _ => "unknown",
        };
        path.replace("{id}", id).replace("{device}", &self.did).replace("{app}", "baton").replace("{reference}", "unknown")
    }

    fn stand_in(&self, text: &str) -> bool {
        [&self.session, &self.handoff, &self.device, &self.did, &self.grant, &self.passkey].iter().any(|id| text.contains(id.as_str()))
    }
}

/// Nobody, somebody else's page, somebody else's device, and a device that was revoked: at every route that is not for anyone.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_whom_it_is_not_for() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let ids = Ids::of(&rig).await;
        let mut stranger = rig.server.person().await;
        let theirs = rig.server.full(&mut stranger, "Laptop").await;
        // What only counts, or says when somebody was seen.
        let but = ["nonces", "counters", "used_once", "proofs"];
        let guarded = || table().into_iter().filter(|row| !matches!(row.who, "anyone" | "browser"));
        let before = rig.server.dump(&but).await;
        for row in guarded() {
            let url = format!("{}/{}{}", rig.server.public_url, row.service, ids.fill(row.path));
            let mut ask = Ask::new(row.method, url).header("origin", rig.server.public_url.clone()).header("sec-fetch-site", "same-origin");
            if row.who == "operator" {
                ask = ask.form(&[("token", "guess")]);
            } else if row.method == "POST" {
                ask = ask.json(&row.json());
            }
            let expected = match (row.who, row.body) {
                (_, "-") => 400,
                ("ticket", _) => 403,
                _ => 401,
            };
            for ask in [ask.clone(), ask.header("authorization", "Bearer guess").header("cookie", "baton=guess")] {
                let answer = ask.send().await;
                assert_eq!(answer.status, expected, "nobody at {} {}: {}", row.method, row.path, answer.body);
            }
        }
        for row in guarded().filter(|row| row.who == "page" && (row.method == "GET" || row.path.contains('{'))) {
            let path = ids.fill(row.path);
            let answer = if row.method == "GET" { stranger.get(&path).await } else { stranger.post(&path, &row.json()).await };
            match answer {
                // Everybody has a log of their own in every app.
                Ok(answer) if !row.path.contains('{') || row.path == "/v1/logs/{app}" => {
                    assert!(!ids.stand_in(&answer.to_string()), "{path} tells a stranger");
                }
                Ok(answer) => panic!("{path} answers a stranger: {answer}"),
                Err(error) => assert_ne!(baton::person::code(&error), Some("internal"), "{path}"),
            }
            // Whose it is reads all of it.
            assert!(row.method == "POST" || rig.person.get(&path).await.is_ok(), "{path} refuses its person");
        }
        assert_eq!(before, rig.server.dump(&but).await, "a refusal changed something");

        // Each with a token for all there is, and a proof for exactly this request.
        let rows: Vec<_> = guarded().filter(|row| row.service == "broker" && row.who == "device").collect();
        let nowhere = ids.nowhere();
        for row in &rows {
            let ask = right(&rig, &theirs, row, &ids).await;
            let answer = ask.send().await;
            let stands = row.path.contains('{');
            // BRK-10: what is somebody else's is as if it were not there, to the last byte.
            if stands {
                let unknown = right(&rig, &theirs, row, &nowhere).await.send().await;
                let shows = |answer: &Answer| (answer.status, answer.headers.clone(), answer.text.clone());
                assert_eq!(shows(&answer), shows(&unknown), "{} {}", row.method, row.path);
                for method in ["HEAD", "OPTIONS"] {
                    let (here, unknown) =
                        (by_another_method(&rig, &theirs, row, &ids, method).await, by_another_method(&rig, &theirs, row, &nowhere, method).await);
                    assert_eq!(shows(&here), shows(&unknown), "{method} {}", row.path);
                    // A preflight is answered to everybody, of whatever path.
                    assert!(method == "OPTIONS" || (400..500).contains(&here.status), "{method} {}: {}", row.path, here.status);
                }
            }
            assert!(stands || answer.status != 200 || !ids.stand_in(&answer.body.to_string()), "{} tells a stranger", row.path);
            assert!(!stands || (400..500).contains(&answer.status), "{} {} answers a stranger: {}", row.method, row.path, answer.status);
        }
        let mut asks = Vec::new();
        for row in &rows {
            if row.method == "GET" {
                rig.allow(&right(&rig, &rig.laptop, row, &ids).await).await;
            }
            asks.push((right(&rig, &rig.laptop, row, &ids).await, row.path));
        }
        rig.person.revoke(&rig.laptop.enrolled().device_id).await.unwrap();
        let before = rig.server.dump(&but).await;
        for (ask, path) in asks {
            let answer = ask.send().await;
            assert!([401, 403].contains(&answer.status), "{path} answers a revoked device: {} {}", answer.status, answer.body);
        }
        assert_eq!(before, rig.server.dump(&but).await, "a revoked device changed something");
    }
}

/// A request, right in every respect but that it is made by this method.
async fn by_another_method(rig: &Rig, device: &Device, row: &Row, ids: &Ids, method: &'static str) -> Answer {
    let mut ask = right(rig, device, row, ids).await;
    let token = device.token(&device.servers().broker, SCOPES, None).await.unwrap();
    // What it is asked of says the nonce; an answer to HEAD says nothing.
    let nonce = rig.dpop_nonce(device.signer(), &ask.url, row.method, &ask, Some(&token)).await;
    ask.method = method;
    ask = ask.header("authorization", format!("DPoP {token}"));
    let proof = Proof::new(rig, device.signer(), method, &ask.url, Some(&token), &nonce).text();
    ask.header("dpop", proof).send().await
}

/// Every scope of the broker's.
const SCOPES: &str = "session:read session:write handoff:offer handoff:accept presence";

async fn right(rig: &Rig, device: &Device, row: &Row, ids: &Ids) -> Ask {
    with_scopes(rig, device, row, ids, SCOPES).await
}

async fn with_scopes(rig: &Rig, device: &Device, row: &Row, ids: &Ids, scopes: &str) -> Ask {
    let url = rig.broker(&ids.fill(row.path));
    let token = device.token(&device.servers().broker, scopes, None).await.unwrap();
    let mut ask = Ask::new(row.method, url.clone()).header("authorization", format!("DPoP {token}"));
    if row.method == "POST" {
        ask = ask.json(&row.json());
    }
    let nonce = rig.dpop_nonce(device.signer(), &url, row.method, &ask, Some(&token)).await;
    ask.header("dpop", Proof::new(rig, device.signer(), row.method, &url, Some(&token), &nonce).text())
}

/// A token of every scope but the one, a limited device where only a full one may, a token that is over, and consent that was withdrawn: each beside what
/// is not refused for that.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_takes_its_scope_its_tier_and_a_token_that_lives() {
    let clock = ManualClock::start();
    let rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    let ids = Ids::of(&rig).await;
    let rows: Vec<_> = table().into_iter().filter(|row| row.service == "broker" && row.who == "device").collect();
    let but = ["nonces", "counters", "used_once", "proofs"];
    let unchanged = rig.server.dump(&but).await;
    for row in &rows {
        let scope = row.scope.unwrap_or_else(|| panic!("{} has no scope", row.path));
        let others = SCOPES.split(' ').filter(|other| *other != scope).collect::<Vec<_>>().join(" ");
        let answer = with_scopes(&rig, &rig.laptop, row, &ids, &others).await.send().await;
        assert_eq!((answer.status, answer.code.as_str()), (403, "insufficient_scope"), "{} {} without {scope}", row.method, row.path);
        // A limited device may read what it is told of, and decline what is offered to it: that is no refusal.
        if row.full || row.method == "GET" {
            let limited = with_scopes(&rig, &rig.tv, row, &ids, scope).await.send().await;
            assert_eq!(limited.code == "insufficient_scope", row.full, "{} {} by a limited device: {}", row.method, row.path, limited.body);
        }
    }
    assert_eq!(unchanged, rig.server.dump(&but).await, "a refusal changed something");
    let mut old = Vec::new();
    for row in &rows {
        old.push(right(&rig, &rig.laptop, row, &ids).await);
        // With its scope alone it is not for its scope that anything is refused.
        if row.method == "GET" {
            rig.allow(&with_scopes(&rig, &rig.laptop, row, &ids, row.scope.unwrap()).await).await;
        }
    }
    clock.advance_secs(301);
    rig.server.running.identity.pump().await.unwrap();
    for (row, ask) in rows.iter().zip(&old) {
        assert_eq!(ask.send().await.status, 401, "{} {} with a token that is over", row.method, row.path);
        if row.method == "GET" {
            rig.allow(&right(&rig, &rig.laptop, row, &ids).await).await;
        }
    }
    let mut withdrawn = Vec::new();
    for row in &rows {
        withdrawn.push(right(&rig, &rig.laptop, row, &ids).await);
    }
    rig.person.post(&format!("/v1/grants/{}/withdraw", ids.grant), &json!({})).await.unwrap();
    let unchanged = rig.server.dump(&but).await;
    for (row, ask) in rows.iter().zip(withdrawn) {
        let answer = ask.send().await;
        assert!([401, 403].contains(&answer.status), "{} {} after consent was withdrawn: {}", row.method, row.path, answer.status);
    }
    assert_eq!(unchanged, rig.server.dump(&but).await, "a refusal changed something");
}
