//! OpenID4VP's askers (§5.9.3): who may ask by which prefix, and that an answer to one is none to another. That a transaction has moved is told to who asked.

use super::holders::query;
use super::{Answer, Ask, Rig};
use crate::support::{OTHER_RELYING_KEY, RELYING_KEY};
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};
use std::collections::BTreeMap;

async fn ask(rig: &Rig, key: &str, prefix: &str) -> Answer {
    ask_with(rig, key, prefix, json!({"device": rig.laptop.did()})).await
}

async fn ask_with(rig: &Rig, key: &str, prefix: &str, mut body: Value) -> Answer {
    body["dcql_query"] = query(&json!([{"path": ["kind"]}]));
    body["client_id_prefix"] = prefix.into();
    Ask::new("POST", rig.verifier("/v1/transactions")).header("authorization", format!("Bearer {key}")).json(&body).send().await
}

fn parameters(link: &str) -> BTreeMap<String, String> {
    url::Url::parse(link).unwrap().query_pairs().into_owned().collect()
}

/// Without a signature anybody on the way can change what is asked: only whom the operator lets asks so, and nobody fetches it as a signed request.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask_without_a_signature() {
    let rig = Rig::new(On::Sqlite).await;
    let refused = ask(&rig, OTHER_RELYING_KEY, "redirect_uri").await;
    assert_eq!((refused.status, refused.code.as_str()), (400, "vp.prefix"), "the operator has not let it");
    let refused = ask(&rig, RELYING_KEY, "x509_hash").await;
    assert_eq!((refused.status, refused.code.as_str()), (400, "vp.prefix"), "there is no certificate");
    assert_eq!(ask(&rig, RELYING_KEY, "x509_san_dns").await.code, "input.invalid");

    // Whose answer it may be has to be said otherwise, and nothing is agreed to by what anybody could have written; signed, both may be asked.
    let agreed = json!([{"type": "purchase", "credential_ids": ["device"]}]);
    for body in [json!({"cross_device": true}), json!({"device": rig.laptop.did(), "transaction_data": agreed})] {
        assert_eq!(ask_with(&rig, RELYING_KEY, "redirect_uri", body.clone()).await.code, "vp.prefix", "{body}");
        assert_eq!(ask_with(&rig, RELYING_KEY, "decentralized_identifier", body).await.status, 201);
    }

    let made = ask(&rig, RELYING_KEY, "redirect_uri").await;
    let asked = parameters(made.body["authorization_request"].as_str().unwrap());
    assert_eq!((made.status, &made.body["request_uri"]), (201, &Value::Null));
    assert_eq!((asked["client_id"].as_str(), asked["response_uri"].as_str()), (made.body["client_id"].as_str().unwrap(), &asked["client_id"][13..]));
    assert!(asked["client_metadata"].contains("dc+sd-jwt") && !asked.contains_key("request_uri"), "{asked:?}");
    let reference = asked["response_uri"].rsplit('/').next().unwrap();
    assert!(!rig.server.dump(&[]).await.contains(reference), "who has the database can answer");
    let fetched = Ask::new("GET", rig.verifier(&format!("/oid4vp/requests/{reference}"))).send().await;
    assert_eq!((fetched.status, fetched.code.as_str()), (404, "vp.state"), "nobody signs it");

    // An answer is to who asked, by the name that was asked by.
    let by_did = format!("decentralized_identifier:did:web:{}:verifier", rig.server.public_url.strip_prefix("http://").unwrap().replace(':', "%3A"));
    let answer = async |audience: &str| {
        let shown = rig.laptop.present(audience, &asked["nonce"], &[], &["kind"]).await.unwrap();
        let token = json!({"device": [shown]}).to_string();
        Ask::new("POST", &asked["response_uri"]).form(&[("vp_token", &token), ("state", &asked["state"])]).send().await
    };
    assert_eq!(answer(&by_did).await.code, "kb.invalid");
    assert_eq!(answer(&asked["response_uri"]).await.code, "kb.invalid");
    assert_eq!(answer(&asked["client_id"]).await.status, 200);
}

/// Events of a stream until it ends, as `(name, data)`.
async fn events(mut stream: reqwest::Response, mut between: impl AsyncFnMut(&str)) -> Vec<(String, Value)> {
    let (mut text, mut told) = (String::new(), Vec::new());
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned())) {
            text = rest;
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
            let Some(name) = field("event:") else { continue };
            between(&name).await;
            told.push((name, serde_json::from_str(&field("data:").unwrap()).unwrap()));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_transaction_has_moved_is_told_to_who_asked() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let made = ask(&rig, RELYING_KEY, "redirect_uri").await.body;
        let (id, asked) = (made["transaction"].as_str().unwrap(), parameters(made["authorization_request"].as_str().unwrap()));
        let url = rig.verifier(&format!("/v1/transactions/{id}/events"));
        let listen = async |key: &str| reqwest::Client::new().get(&url).header("authorization", format!("Bearer {key}")).send().await.unwrap();
        assert_eq!(listen("guess").await.status(), 401);
        assert_eq!(listen(OTHER_RELYING_KEY).await.status(), 404, "another's");
        let stream = listen(RELYING_KEY).await;
        assert_eq!((stream.status().as_u16(), &stream.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
        // The wallet answers once the stream has said that there is nothing yet.
        let told = events(stream, async |name| {
            if name == "waiting" {
                let no = [("error", "access_denied"), ("state", asked["state"].as_str())];
                assert_eq!(Ask::new("POST", &asked["response_uri"]).form(&no).send().await.status, 200);
            }
        });
        let said = |state: &str| (state.to_owned(), json!({"transaction": id, "state": state}));
        assert_eq!(told.await, [said("waiting"), said("refused")]);
        // Whoever comes later hears how it stands, once.
        assert_eq!(events(listen(RELYING_KEY).await, async |_| ()).await, [said("refused")]);
    }
}

/// A transaction that lapses is told as well; a server that stops waits for no stream.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end() {
    let clock = ManualClock::start();
    let mut rig = Rig::at(crate::support::Server::start_at(On::Sqlite, clock.clock()).await).await;
    let made = async |rig: &Rig| ask(rig, RELYING_KEY, "decentralized_identifier").await.body["transaction"].as_str().unwrap().to_owned();
    let listen = async |rig: &Rig, id: &str| {
        let url = rig.verifier(&format!("/v1/transactions/{id}/events"));
        reqwest::Client::new().get(&url).header("authorization", format!("Bearer {RELYING_KEY}")).send().await.unwrap()
    };
    let names = |told: Vec<(String, Value)>| told.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let id = made(&rig).await;
    let stream = listen(&rig, &id).await;
    // However much moves meanwhile that is not its own.
    let others = async {
        for _ in 0..2000 {
            let made = ask(&rig, RELYING_KEY, "redirect_uri").await.body;
            let asked = parameters(made["authorization_request"].as_str().unwrap());
            let no = [("error", "access_denied"), ("state", asked["state"].as_str())];
            // 404: the clock went on between the two.
            let status = Ask::new("POST", &asked["response_uri"]).form(&no).send().await.status;
            assert!([200, 404].contains(&status), "{status}");
        }
    };
    let told = tokio::select! {
        told = events(stream, async |_| clock.advance_secs(301)) => told,
        () = others => panic!("it was never told"),
    };
    assert_eq!(names(told), ["waiting", "expired"]);
    assert_eq!(listen(&rig, &id).await.status(), 404);

    rig.server.running.identity.pump().await.unwrap();
    let id = made(&rig).await;
    let stream = listen(&rig, &id).await;
    let told = tokio::spawn(events(stream, async |_| ()));
    rig = Rig { server: rig.server.restart().await, ..rig };
    assert_eq!(names(told.await.unwrap()), ["waiting"]);
    assert_eq!(listen(&rig, &id).await.status(), 200, "and is there afterwards");
}
