//! OpenID4VP 1.0: what a relying service asked for comes back, and the negative cases of presentation, KB-12 to KB-16, each beside what passes.

use super::{Answer, Ask, Rig};
use crate::support::{OTHER_RELYING_KEY, RELYING_KEY};
use baton_protocol::b64;
use baton_protocol::credential::VCT;
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::key::PublicKey;
use baton_protocol::presentation::TransactionData;
use baton_sdk::Device;
use baton_sdk::http::form;
use baton_service::testing::On;
use serde_json::{Map, Value, json};

/// A transaction as a wallet sees it.
struct Asked<'a> {
    rig: &'a Rig,
    id: String,
    request: Map<String, Value>,
    uri: String,
}

pub fn query(claims: &Value) -> Value {
    json!({"credentials": [{"id": "device", "format": "dc+sd-jwt", "meta": {"vct_values": [VCT]}, "claims": claims}]})
}

impl<'a> Asked<'a> {
    async fn try_create(rig: &Rig, key: &str, body: &Value) -> Answer {
        let url = format!("{}/verifier/v1/transactions", rig.server.public_url);
        Ask::new("POST", url).header("authorization", format!("Bearer {key}")).json(body).send().await
    }

    async fn create(rig: &'a Rig, mut body: Value) -> Self {
        if body["redirect_uri"].is_null() && body["device"].is_null() {
            body["cross_device"] = json!(true);
        }
        let made = Self::try_create(rig, RELYING_KEY, &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let uri = made.body["request_uri"].as_str().unwrap().to_owned();
        let request = Self::request_of(rig, &reqwest::get(&uri).await.unwrap().text().await.unwrap()).await;
        Self { rig, id: made.body["transaction"].as_str().unwrap().to_owned(), request, uri }
    }

    /// The signed request, checked under the key of the verifier's DID document.
    async fn request_of(rig: &Rig, token: &str) -> Map<String, Value> {
        let document = Ask::new("GET", format!("{}/verifier/did.json", rig.server.public_url)).send().await.body;
        let method = &document["verificationMethod"][0];
        let jws = Unverified::parse(token, Typ::AuthorizationRequest).unwrap();
        assert_eq!(jws.unverified_header().kid.as_deref(), method["id"].as_str());
        jws.verify(&PublicKey::from_jwk(&method["publicKeyJwk"]).unwrap()).unwrap().members().to_map()
    }

    fn text(&self, name: &str) -> &str {
        self.request[name].as_str().unwrap()
    }

    async fn present(&self, device: &Device, disclose: &[&str]) -> String {
        device.present(self.text("client_id"), self.text("nonce"), &[], disclose).await.unwrap()
    }

    async fn post(&self, pairs: &[(&str, &str)]) -> Answer {
        let mut ask = Ask::new("POST", self.text("response_uri")).header("content-type", "application/x-www-form-urlencoded");
        ask.body = form(pairs);
        ask.send().await
    }

    async fn answer(&self, token: &Value) -> Answer {
        self.post(&[("vp_token", &token.to_string()), ("state", self.text("state"))]).await
    }

    async fn result(&self, more: &str) -> Answer {
        self.result_by(RELYING_KEY, more).await
    }

    async fn result_by(&self, key: &str, more: &str) -> Answer {
        let url = format!("{}/verifier/v1/transactions/{}{more}", self.rig.server.public_url, self.id);
        Ask::new("GET", url).header("authorization", format!("Bearer {key}")).send().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_comes_back() {
    for on in [On::Sqlite, On::Postgres] {
        let rig = Rig::new(on).await;
        let asked = Asked::create(&rig, json!({"dcql_query": query(&json!([{"path": ["kind"], "values": ["laptop", "phone"]}]))})).await;
        assert!(asked.text("client_id").starts_with("decentralized_identifier:did:web:localhost%3A"));
        assert_eq!((asked.text("response_mode"), asked.text("aud")), ("direct_post", "https://self-issued.me/v2"));
        // Fetched again, with the wallet's own nonce.
        let again = reqwest::Client::new().post(&asked.uri).header("content-type", "application/x-www-form-urlencoded").body("wallet_nonce=mine");
        let again = Asked::request_of(&rig, &again.send().await.unwrap().text().await.unwrap()).await;
        assert_eq!((&again["wallet_nonce"], &again["nonce"]), (&json!("mine"), &asked.request["nonce"]));
        assert_eq!(asked.result("").await.body["state"], "waiting");
        let shown = asked.present(&rig.laptop, &["kind"]).await;
        let answer = asked.answer(&json!({"device": [shown]})).await;
        assert_eq!((answer.status, &answer.body), (200, &json!({})));
        let result = asked.result("").await.body;
        let device = &result["credentials"]["device"][0];
        assert_eq!((&result["state"], &device["claims"], &device["tier"]), (&json!("answered"), &json!({"kind": "laptop"}), &json!("full")));
        assert_eq!(device["device"], json!(rig.laptop.did()));
        assert_eq!(asked.answer(&json!({"device": [shown]})).await.code, "vp.state", "answered once");

        // The wallet says no, and the relying service hears it.
        let asked = Asked::create(&rig, json!({"dcql_query": query(&json!([{"path": ["kind"]}]))})).await;
        assert_eq!(asked.post(&[("error", "access_denied"), ("state", asked.text("state"))]).await.status, 200);
        let result = asked.result("").await.body;
        assert_eq!((&result["state"], &result["error"]), (&json!("refused"), &json!("access_denied")));
    }
}

/// Signature, sd_hash, nonce, audience, time, another's query, extra and missing credentials, another state, two holders: nothing of it is an answer.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_right() {
    let rig = Rig::new(On::Sqlite).await;
    let (laptop, tv) = (&rig.laptop, &rig.tv);
    let body = json!({"dcql_query": query(&json!([{"path": ["kind"], "values": ["laptop"]}]))});
    let (asked, other) = (Asked::create(&rig, body.clone()).await, Asked::create(&rig, body).await);
    let good = asked.present(laptop, &["kind"]).await;
    let (client, nonce) = (asked.text("client_id"), asked.text("nonce"));
    let last = good.rfind('~').unwrap();
    let kb = &good[last + 1..];
    let claims: Value = serde_json::from_slice(&b64::decode(kb.split('.').nth(1).unwrap()).unwrap()).unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        let input = format!("{}.{}", kb.split('.').next().unwrap(), b64::encode(claims.to_string()));
        format!("{}{input}.{}", &good[..=last], b64::encode(laptop.signer().sign_now(input.as_bytes())))
    };
    let year = 365 * 24 * 3600;
    let now = claims["iat"].as_i64().unwrap();
    let more = asked.present(laptop, &["name"]).await;
    for (shown, code, why) in [
        (with("nonce", other.request["nonce"].clone()), "kb.invalid", "another transaction's nonce"),
        (with("aud", json!(&client["decentralized_identifier:".len()..])), "kb.invalid", "without the prefix"),
        (with("iat", json!(now - year)), "kb.invalid", "a year old"),
        (with("iat", json!(now + year)), "kb.invalid", "a year ahead"),
        (with("sd_hash", json!(b64::encode([1; 32]))), "kb.invalid", "another sd_hash"),
        (format!("{}AA", &good[..good.len() - 2]), "kb.invalid", "another signature"),
        (good[..=last].to_owned(), "kb.missing", "without key binding"),
        (laptop.present("https://other.example", nonce, &[], &["kind"]).await.unwrap(), "kb.invalid", "for somebody else"),
        (
            laptop.present(client, nonce, &[TransactionData::new(&json!({"x": 1}))], &["kind"]).await.unwrap(),
            "kb.invalid",
            "KB-16: agreeing to what was not asked",
        ),
        (laptop.present(client, nonce, &[], &[]).await.unwrap(), "vp.invalid", "without the claim"),
        (more, "vp.invalid", "another claim"),
        (asked.present(tv, &["kind"]).await, "vp.invalid", "another value"),
    ] {
        let answer = asked.answer(&json!({"device": [shown]})).await;
        assert_eq!((answer.status, answer.code.as_str()), (400, code), "{why}");
    }
    for (token, why) in [
        (json!({}), "none"),
        (json!({"device": []}), "an empty list"),
        (json!({"device": good}), "no list"),
        (json!({"device": [good, good]}), "KB-15: twice"),
        (json!({"device": [good], "other": [good]}), "KB-15: one that was not asked for"),
        (json!({"other": [good]}), "KB-15: another name"),
        (json!([good]), "no object"),
    ] {
        assert_eq!(asked.answer(&token).await.code, "vp.invalid", "{why}");
    }
    let token = json!({"device": [good]}).to_string();
    assert_eq!(asked.post(&[("vp_token", &token), ("state", other.text("state"))]).await.code, "vp.invalid", "another's state");
    assert_eq!(asked.post(&[("vp_token", &token)]).await.code, "vp.invalid", "no state");
    assert_eq!(other.answer(&json!({"device": [good]})).await.code, "kb.invalid", "replayed to another transaction");
    assert_eq!(asked.result("").await.body["state"], "waiting", "nothing has changed");
    assert_eq!(asked.answer(&json!({"device": [good]})).await.status, 200);
    assert_eq!(asked.answer(&json!({"device": [good]})).await.code, "vp.state", "replayed");

    // KB-15: two devices, each right by itself.
    let two = json!({"credentials": [query(&json!([{"path": ["kind"]}]))["credentials"][0], {"id": "second", "format": "dc+sd-jwt", "meta": {"vct_values": [VCT]}}]});
    let asked = Asked::create(&rig, json!({"dcql_query": two})).await;
    let (one, theirs) = (asked.present(laptop, &["kind"]).await, asked.present(tv, &["kind"]).await);
    assert_eq!(asked.answer(&json!({"device": [one], "second": [theirs]})).await.code, "vp.invalid");
    assert_eq!(asked.answer(&json!({"device": [one], "second": [one]})).await.status, 200);
    // A revoked device answers nothing.
    let asked = Asked::create(&rig, json!({"dcql_query": query(&json!([{"path": ["kind"]}]))})).await;
    let late = asked.present(tv, &["kind"]).await;
    rig.person.revoke(&tv.enrolled().device_id).await.unwrap();
    assert_eq!(asked.answer(&json!({"device": [late]})).await.code, "status.revoked");
}

/// KB-12, KB-13: a result is its asker's, and with a redirect only for whoever came back; KB-16: what is agreed to is what was asked.
#[tokio::test(flavor = "multi_thread")]
async fn whose_result_it_is() {
    let rig = Rig::new(On::Sqlite).await;
    let agreed = json!({"type": "purchase", "credential_ids": ["device"], "amount": "12.00"});
    let body = json!({"dcql_query": query(&json!([{"path": ["kind"]}])), "redirect_uri": "https://shop.example/back", "transaction_data": [agreed]});
    let asked = Asked::create(&rig, body.clone()).await;
    let data = TransactionData::from_text(asked.request["transaction_data"][0].as_str().unwrap());
    let (client, nonce) = (asked.text("client_id"), asked.text("nonce"));
    let without = asked.present(&rig.laptop, &["kind"]).await;
    assert_eq!(asked.answer(&json!({"device": [without]})).await.code, "kb.invalid", "KB-16: without agreeing");
    let shown = rig.laptop.present(client, nonce, &[data], &["kind"]).await.unwrap();
    let answer = asked.answer(&json!({"device": [shown]})).await;
    let back = answer.body["redirect_uri"].as_str().unwrap().to_owned();
    let code = back.strip_prefix("https://shop.example/back?response_code=").unwrap();
    for (more, expected) in [("", 403), ("?response_code=guess", 403), (&*format!("?response_code={code}"), 200)] {
        let answer = asked.result(more).await;
        assert_eq!(answer.status, expected, "{more}");
        assert!(expected == 200 || answer.code == "vp.session");
    }
    assert_eq!(asked.result_by("another key of nobody's", "").await.status, 401);
    let theirs = asked.result_by(OTHER_RELYING_KEY, &format!("?response_code={code}")).await;
    assert_eq!((theirs.status, theirs.code.as_str()), (404, "vp.state"), "KB-13: of another service");
    let unknown = Asked { rig: &rig, id: "vpt_01900000000070008000000000000000".into(), request: Map::new(), uri: String::new() };
    assert_eq!((unknown.result("").await.status, unknown.result("").await.code.as_str()), (404, "vp.state"));
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    for (body, code) in [
        (with("dcql_query", json!({"credentials": []})), "vp.query"),
        (with("transaction_data", json!([{"type": "x", "credential_ids": ["other"]}])), "vp.query"),
        (with("transaction_data", json!([{"type": "x", "credential_ids": ["device", "device"]}])), "vp.query"),
        (with("transaction_data", json!([{"credential_ids": ["device"]}])), "vp.query"),
        (with("redirect_uri", Value::Null), "input.invalid"),
        (with("redirect_uri", json!("javascript:alert(1)")), "input.invalid"),
        (with("redirect_uri", json!("http://localhost.evil.example/")), "input.invalid"),
        (with("redirect_uri", json!("https://shop.example/#back")), "input.invalid"),
        (with("response_mode", json!("query")), "input.invalid"),
    ] {
        assert_eq!(Asked::try_create(&rig, RELYING_KEY, &body).await.code, code, "{body}");
    }
    assert_eq!(Asked::try_create(&rig, "wrong", &body).await.status, 401);
}

/// KB-12: with a device named, or a browser to come back to, whoever was sent the request by somebody else answers for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_answer() {
    let rig = Rig::new(On::Sqlite).await;
    let body = json!({"dcql_query": query(&json!([{"path": ["kind"]}])), "device": rig.laptop.did()});
    let asked = Asked::create(&rig, body).await;
    assert_eq!(asked.request["client_metadata"]["client_name"], "shop");
    let theirs = json!({"device": [asked.present(&rig.tv, &["kind"]).await]});
    let answer = asked.answer(&theirs).await;
    assert_eq!((answer.status, answer.code.as_str()), (403, "vp.session"));
    assert_eq!(asked.result("").await.body["state"], "waiting");
    let right = json!({"device": [asked.present(&rig.laptop, &["kind"]).await]});
    assert_eq!(asked.answer(&right).await.status, 200);
    assert!(asked.result("").await.body["credentials"]["device"][0]["checked_at"].is_i64());
}

/// KB-16: what is to be agreed to is agreed to, whichever of the credentials come; and the result says what that was.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_agreed_to() {
    let rig = Rig::new(On::Sqlite).await;
    let one = |id: &str| json!({"id": id, "format": "dc+sd-jwt", "meta": {"vct_values": [VCT]}});
    let body = json!({"dcql_query": {"credentials": [one("device"), one("second")], "credential_sets": [{"options": [["device"], ["second"]]}]},
        "transaction_data": [{"type": "purchase", "credential_ids": ["device"], "amount": "12.00"}]});
    let asked = Asked::create(&rig, body).await;
    let text = asked.request["transaction_data"][0].clone();
    let without = asked.present(&rig.laptop, &[]).await;
    assert_eq!(asked.answer(&json!({"second": [without]})).await.code, "vp.invalid", "nobody agreed");
    let data = TransactionData::from_text(text.as_str().unwrap());
    let with = rig.laptop.present(asked.text("client_id"), asked.text("nonce"), &[data], &[]).await.unwrap();
    assert_eq!(asked.answer(&json!({"device": [with]})).await.status, 200);
    assert_eq!(asked.result("").await.body["transaction_data"], json!([text]));
}

/// Where answers are sealed nothing comes in clear but a wallet's no (§8.3.1).
#[tokio::test(flavor = "multi_thread")]
async fn sealed_answers_only() {
    let rig = Rig::new(On::Sqlite).await;
    let body = json!({"dcql_query": query(&json!([{"path": ["kind"]}])), "response_mode": "direct_post.jwt"});
    let asked = Asked::create(&rig, body).await;
    let token = json!({"device": [asked.present(&rig.laptop, &["kind"]).await]});
    assert_eq!(asked.answer(&token).await.code, "vp.invalid", "in clear");
    for sealed in ["", "x.y.z", "e30.e30.e30.e30.e30"] {
        assert_eq!(asked.post(&[("response", sealed)]).await.code, "vp.invalid", "{sealed}");
    }
    assert_eq!(asked.post(&[("error", "access_denied"), ("state", "another")]).await.code, "vp.invalid");
    assert_eq!(asked.post(&[("error", "access_denied"), ("state", asked.text("state"))]).await.status, 200);
    assert_eq!(asked.result("").await.body["state"], "refused");
}
