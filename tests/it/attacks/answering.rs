//! A device answers relying services (OpenID4VP 1.0): what they ask for and no more, to its own verifier and to nobody else (KB-14).

use super::holders::query;
use super::{Ask, Rig};
use crate::middle::{Deed, Seen};
use crate::support::{RELYING_KEY, Server};
use baton_protocol::credential::VCT;
use baton_protocol::jose::{Draft, Typ, Unverified};
use baton_protocol::signer::Signer as _;
use baton_sdk::keys::SoftKey;
use baton_sdk::{PresentationRequest, system_entropy};
use baton_service::base::system_clock;
use baton_service::testing::On;
use serde_json::{Map, Value, json};
use std::net::TcpListener;

struct Asked {
    link: String,
    transaction: String,
}

/// What the example relying service of the tests asks.
async fn ask(rig: &Rig, more: &Value) -> Asked {
    let mut body = json!({"dcql_query": query(&json!([{"path": ["kind"]}])), "cross_device": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let url = format!("{}/verifier/v1/transactions", rig.server.public_url);
    let made = Ask::new("POST", url).header("authorization", format!("Bearer {RELYING_KEY}")).json(&body).send().await;
    assert_eq!(made.status, 201, "{}", made.body);
    let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
    Asked { link: text("authorization_request"), transaction: text("transaction") }
}

async fn result(rig: &Rig, asked: &Asked, more: &str) -> Value {
    let url = format!("{}/verifier/v1/transactions/{}{more}", rig.server.public_url, asked.transaction);
    Ask::new("GET", url).header("authorization", format!("Bearer {RELYING_KEY}")).send().await.body
}

async fn refused(rig: &Rig, link: &str) -> String {
    PresentationRequest::read(&rig.laptop, link, &["purchase"]).await.err().and_then(|why| why.code().map(str::to_owned)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_shown_and_no_more() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        for mode in ["direct_post", "direct_post.jwt"] {
            let asked = ask(&rig, &json!({"response_mode": mode})).await;
            let request = PresentationRequest::read(&rig.laptop, &asked.link, &[]).await.unwrap();
            assert_eq!((request.relying(), request.discloses()), (Some("shop"), json!({"kind": "laptop"}).as_object().unwrap().clone()));
            assert_eq!(request.agrees_to().count(), 0);
            assert_eq!(request.answer().await.unwrap(), None);
            let told = result(&rig, &asked, "").await;
            assert_eq!((&told["state"], &told["credentials"]["device"][0]["claims"]), (&json!("answered"), &json!({"kind": "laptop"})), "{mode}");
            assert_eq!(request.answer().await.unwrap_err().code(), Some("vp.state"), "once");
        }
        // What is agreed to is shown first, and the browser goes on where the relying service said.
        let agreed = json!({"type": "purchase", "credential_ids": ["device"], "amount": "12.00"});
        let asked = ask(&rig, &json!({"transaction_data": [agreed], "redirect_uri": "https://shop.example/back"})).await;
        let request = PresentationRequest::read(&rig.laptop, &asked.link, &["purchase"]).await.unwrap();
        assert_eq!(request.agrees_to().collect::<Vec<_>>(), [agreed.as_object().unwrap()]);
        let back = request.answer().await.unwrap().unwrap();
        let told = result(&rig, &asked, back.strip_prefix("https://shop.example/back").unwrap()).await;
        assert_eq!((&told["state"], told["transaction_data"].as_array().unwrap().len()), (&json!("answered"), 1));
        // No is an answer, too.
        let asked = ask(&rig, &json!({"response_mode": "direct_post.jwt"})).await;
        let request = PresentationRequest::read(&rig.laptop, &asked.link, &[]).await.unwrap();
        request.decline().await.unwrap();
        let told = result(&rig, &asked, "").await;
        assert_eq!((&told["state"], &told["error"]), (&json!("refused"), &json!("access_denied")));
    }
}

/// What a device cannot or must not answer: told to its app, and to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_answered() {
    let rig = Rig::new(On::Sqlite).await;
    let purchase = |kind: &str| json!({"transaction_data": [{"type": kind, "credential_ids": ["device"]}]});
    let either = json!({"dcql_query": {"credentials": [{"id": "device", "format": "dc+sd-jwt", "meta": {"vct_values": [VCT]},
        "claims": [{"id": "m", "path": ["model"]}, {"id": "k", "path": ["kind"]}], "claim_sets": [["m"], ["k"]]}]}});
    for (more, code) in [
        (json!({}), ""),
        (either, ""),
        (json!({"dcql_query": query(&json!([{"path": ["model"]}]))}), "vp.unmet"),
        (json!({"dcql_query": query(&json!([{"path": ["kind"], "values": ["tv"]}]))}), "vp.unmet"),
        (purchase("purchase"), ""),
        (purchase("transfer"), "vp.request"),
        (purchase("baton.handoff"), "vp.request"),
    ] {
        let asked = ask(&rig, &more).await;
        assert_eq!(refused(&rig, &asked.link).await, code, "{more}");
        assert_eq!(result(&rig, &asked, "").await["state"], "waiting");
    }
    // Nobody could check who asks.
    let unsigned = ask(&rig, &json!({"client_id_prefix": "redirect_uri", "device": rig.laptop.did()})).await;
    assert_eq!(refused(&rig, &unsigned.link).await, "vp.request");
}

/// Somewhere that nobody of Baton's has a reason to go; says whether somebody came.
struct Elsewhere {
    url: String,
    listener: TcpListener,
}

impl Elsewhere {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { url: format!("http://localhost:{}/take", listener.local_addr().unwrap().port()), listener }
    }
    fn was_visited(&self) -> bool {
        self.listener.accept().is_ok()
    }
}

/// KB-14: by the link, by what the verifier itself signs, and by a redirect, a device sends nothing anywhere else.
#[tokio::test(flavor = "multi_thread")]
async fn kb_14_nothing_goes_to_another_address() {
    let elsewhere = Elsewhere::new();
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let rig = Rig::at(server).await;
    let verifier = format!("{}/verifier", rig.server.public_url);
    let percent = |text: &str| text.replace(':', "%3A").replace('/', "%2F");

    // The link: another address of any kind, another asker.
    let asked = ask(&rig, &json!({})).await;
    let with = |from: &str, to: &str| {
        let other = asked.link.replace(&percent(from), &percent(to));
        assert_ne!(other, asked.link, "{from}");
        other
    };
    for link in [
        with(&format!("{verifier}/oid4vp/requests/"), &format!("{}/", elsewhere.url)),
        with(&format!("{verifier}/oid4vp"), &format!("{}/verifier/oid4vp", rig.server.direct())),
        with("http://localhost", "https://localhost"),
        with("/oid4vp/requests/", "/oid4vp/requests/../../../"),
        with("did:web:localhost", "did:web:evil.example"),
        with("decentralized_identifier:", "x509_hash:"),
        format!("{}&client_id=another", asked.link),
    ] {
        assert_eq!(refused(&rig, &link).await, "vp.request", "{link}");
    }
    assert_eq!(refused(&rig, &asked.link).await, "");

    // What is signed: by the verifier itself, with one thing changed.
    let base = rig.server.running.verifier.base();
    let kid = format!("{}#{}", base.did_web(), base.keys.kid());
    let signed_by_verifier = |change: Change| {
        let (verifier, kid) = (rig.server.running.verifier.clone(), kid.clone());
        middle.meddle(signed_anew(change, move |claims| verifier.base().keys.sign(Draft::new(Typ::AuthorizationRequest, &kid, &claims))));
    };
    for (name, value, code) in [
        ("x", json!("ignored"), ""),
        ("response_uri", json!(elsewhere.url), "vp.request"),
        ("response_uri", json!(format!("{verifier}/oid4vp/responses/../../x")), "vp.request"),
        ("redirect_uri", json!(elsewhere.url), "vp.request"),
        ("client_id", json!("decentralized_identifier:did:web:evil.example"), "vp.request"),
        ("aud", json!("https://evil.example"), "vp.request"),
        ("wallet_nonce", json!("another"), "vp.request"),
        ("exp", json!(1), "vp.request"),
        ("iat", json!(32_503_680_000_i64), "vp.request"),
        ("response_mode", json!("fragment"), "vp.request"),
        ("response_type", json!("code"), "vp.request"),
        ("dcql_query", json!({"credentials": []}), "vp.query"),
        ("nonce", json!(1), "jose.invalid"),
    ] {
        signed_by_verifier(Box::new(move |claims| drop(claims.insert(name.into(), value.clone()))));
        assert_eq!(refused(&rig, &asked.link).await, code, "{name}");
    }
    // By somebody else, under whichever name.
    let own = SoftKey::generate(&system_entropy());
    for (kid, code) in [(kid.clone(), "jose.invalid"), (format!("{kid}x"), "jose.invalid"), (format!("{}#0", own.key().did()), "vp.request")] {
        let own = SoftKey::generate(&system_entropy());
        let sign = move |claims: Map<String, Value>| {
            let draft = Draft::new(Typ::AuthorizationRequest, &kid, &claims);
            let signature = own.sign_now(draft.signing_input());
            draft.signed(&signature)
        };
        middle.meddle(signed_anew(Box::new(|_| ()), sign));
        assert_eq!(refused(&rig, &asked.link).await, code);
    }

    // A redirect of the request, and of the answer.
    for status in [301, 302, 303, 307, 308] {
        let to = |path: &'static str| {
            let url = elsewhere.url.clone();
            middle.meddle(move |seen| if seen.path.contains(path) { Deed::Redirect(status, url.clone()) } else { Deed::Pass });
        };
        let asked = ask(&rig, &json!({})).await;
        to("/oid4vp/requests/");
        assert_eq!(refused(&rig, &asked.link).await, "unknown", "{status}");
        middle.meddle(|_| Deed::Pass);
        let request = PresentationRequest::read(&rig.laptop, &asked.link, &[]).await.unwrap();
        to("/oid4vp/responses/");
        assert!(request.answer().await.is_err(), "{status}");
        let asked = ask(&rig, &json!({})).await;
        middle.meddle(|_| Deed::Pass);
        PresentationRequest::read(&rig.laptop, &asked.link, &[]).await.unwrap().answer().await.unwrap();
    }
    assert!(!elsewhere.was_visited());
    assert!(reqwest::Client::new().get(&elsewhere.url).timeout(std::time::Duration::from_millis(50)).send().await.is_err());
    assert!(elsewhere.was_visited(), "had anybody come, it would have been seen");
}

type Change = Box<dyn Fn(&mut Map<String, Value>) + Send>;

/// Changes what a request says and signs it again.
fn signed_anew(change: Change, sign: impl Fn(Map<String, Value>) -> String + Send + 'static) -> impl FnMut(&Seen) -> Deed + Send + 'static {
    move |seen| {
        if !seen.path.contains("/oid4vp/requests/") {
            return Deed::Pass;
        }
        let token = Unverified::parse(std::str::from_utf8(&seen.answer).unwrap(), Typ::AuthorizationRequest).unwrap();
        let mut claims = token.unverified_claims().to_map();
        change(&mut claims);
        Deed::Replace(sign(claims).into_bytes())
    }
}
