//! HTTP-07, HTTP-09, HTTP-10, HTTP-12 and HTTP-13, WRP-07 and WRP-08: what the pages' API takes, from whom, and what its answers carry.

use super::{Ask, Proof, Rig};
use crate::support::Server;
use baton::demo::SCOPES;
use baton::person::Person;
use baton_protocol::enrolment::DETAILS_TYPE;
use baton_protocol::signer::Signer as _;
use baton_sdk::keys::SoftKey;
use baton_sdk::root::RecoveryCode;
use baton_sdk::system_entropy;
use baton_service::base::system_clock;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn http_07_the_pages_api_is_for_the_pages() {
    let rig = Rig::new(On::Sqlite).await;
    let right = rig.signed_in("/v1/account/recovery/confirm", &json!({}));
    let without = |name: &str| {
        let mut ask = right.clone();
        ask.headers.retain(|(known, _)| *known != name);
        ask
    };
    for wrong in [
        without("origin"),
        without("sec-fetch-site"),
        without("content-type"),
        right.clone().header("origin", "http://evil.example"),
        right.clone().header("origin", "null"),
        right.clone().header("sec-fetch-site", "cross-site"),
        right.clone().header("sec-fetch-site", "same-site"),
        right.clone().header("sec-fetch-site", "none"),
        right.clone().header("content-type", "text/plain"),
        right.clone().header("content-type", "application/x-www-form-urlencoded"),
    ] {
        rig.refuse(&wrong, 403, "input.csrf", "csrf").await;
    }
    // No header and no field makes another request of a request.
    let before = rig.server.dump(&[]).await;
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let path = "/v1/account/delete";
        for query in ["", "?_method=POST"] {
            let mut ask = rig.signed_in(&format!("{path}{query}"), &json!({})).header(name, "POST");
            ask.method = "GET";
            assert_eq!(ask.send().await.status, 405, "{name}");
        }
    }
    assert_eq!(before, rig.server.dump(&[]).await);
    rig.allow(&right).await;
    // ENR-14: nor is it for devices.
    let token = rig.laptop.token(&rig.laptop.servers().identity, "log:read", None).await.unwrap();
    let ask = Ask::new("GET", rig.identity("/v1/account/wraps")).header("authorization", format!("DPoP {token}"));
    rig.refuse(&ask, 401, "invalid_token", "missing").await;
}

/// A code goes where the client said it may, to the letter.
#[tokio::test(flavor = "multi_thread")]
async fn http_09_no_code_goes_anywhere_else() {
    let rig = Rig::new(On::Sqlite).await;
    let key = SoftKey::generate(&system_entropy());
    let agreement = SoftKey::generate(&system_entropy());
    let details = json!([{"type": DETAILS_TYPE, "agreement_jwk": agreement.key().jwk(), "claims": {"name": "Laptop", "kind": "laptop"}}]).to_string();
    let url = rig.identity("/par");
    let push = async |redirect_uri: &str| {
        let ask = Ask::new("POST", url.clone()).form(&[
            ("response_type", "code"),
            ("client_id", "baton-cli"),
            ("scope", SCOPES),
            ("redirect_uri", redirect_uri),
            ("code_challenge", &baton_protocol::key::hash(b"verifier")),
            ("code_challenge_method", "S256"),
            ("authorization_details", &details),
        ]);
        let nonce = rig.dpop_nonce(&key, &url, "POST", &ask, None).await;
        ask.header("dpop", Proof::new(&rig, &key, "POST", &url, None, &nonce).text())
    };
    for wrong in [
        "//evil.example/callback",
        "https:evil.example",
        "https://evil.example/callback",
        "\\\\evil.example/callback",
        "/\\evil.example",
        "/%2f%2fevil.example",
        "http://127.0.0.1:1/callback/../elsewhere",
        "http://127.0.0.1:1/callback%2f..",
        "http://127.0.0.1:1@evil.example/callback",
        "http://127.0.0.1:1/callback#code",
        "http://127.0.0.1:1/Callback",
        "javascript:alert(1)//http://127.0.0.1/callback",
        "",
    ] {
        rig.refuse(&push(wrong).await, 400, "invalid_request", "request").await;
    }
    rig.allow(&push("http://127.0.0.1:1/callback").await).await;
}

/// A redirect that carries method and body along would give away what was posted (RFC 9700 §4.12). No answer in any test is one: `documents` holds
/// each against that, and the one redirect there is says to get.
#[tokio::test(flavor = "multi_thread")]
async fn http_10_nothing_is_sent_on_with_what_was_posted() {
    let elsewhere = "http://pages.localhost:1";
    let server = Server::start_with(On::Sqlite, system_clock(), |config| config.approval_url = Some(elsewhere.into())).await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(format!("{}/identity/authorize?request_uri=x", server.public_url)).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (303, &format!("{elsewhere}/identity/authorize?request_uri=x").parse().unwrap())
    );
}

/// TLS is the proxy's; what is said to the browser behind it is ours.
#[tokio::test(flavor = "multi_thread")]
async fn http_12_behind_https() {
    let server = Server::start_with(On::Sqlite, system_clock(), |config| config.public_url = config.public_url.replace("http:", "https:")).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, body: &Value| {
        let url = format!("{}/identity{path}", server.direct());
        let request = client.post(url).header("origin", &server.public_url).header("sec-fetch-site", "same-origin");
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
    };
    let mut person = Person::new(&server.public_url, system_entropy()).unwrap();
    let started = post("/v1/sign-up/start", &json!({})).await;
    let started: Value = serde_json::from_slice(&started.bytes().await.unwrap()).unwrap();
    let (body, _) = person.sign_up_answer(&started, |_| ()).await.unwrap();
    let answer = post("/v1/sign-up/finish", &body).await;
    assert_eq!(answer.status(), 201);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-baton=") && pair.len() > 40, "{pair}");
    let attributes: Vec<_> = attributes.split("; ").collect();
    assert_eq!(attributes, ["Path=/", "HttpOnly", "SameSite=Strict", "Secure", "Max-Age=43200"]);
    for path in ["/", "/identity/jwks", "/verifier/jwks", "/broker/jwks", "/docs", "/identity/v1/devices"] {
        let answer = client.get(format!("{}{path}", server.direct())).send().await.unwrap();
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=63072000", "{path}");
    }
    // Without TLS the header means nothing, and there is none.
    let plain = Server::start(On::Sqlite).await;
    let answer = client.get(format!("{}/identity/jwks", plain.public_url)).send().await.unwrap();
    assert!(!answer.headers().contains_key("strict-transport-security"));
}

/// Tokens, copies of the root, sealed state and refusals are kept by nobody on the way.
#[tokio::test(flavor = "multi_thread")]
async fn http_13_nothing_is_kept_on_the_way() {
    let rig = Rig::new(On::Sqlite).await;
    let session = rig.session().await;
    let own = |path: &str| Ask::new("GET", rig.identity(path)).header("cookie", rig.person.cookie());
    let state = format!("/v1/sessions/{}/updates", session.id());
    for (what, ask, status) in [
        ("a token", rig.exchange(&rig.laptop, rig.laptop.signer(), &[]).await, 200),
        ("copies of the root", own("/v1/account/wraps"), 200),
        ("all there is", own("/v1/account/export"), 200),
        ("sealed state", rig.to_broker(&rig.laptop, "GET", &state, "session:read", None).await, 200),
        ("a refusal", Ask::new("GET", rig.identity("/v1/devices")), 401),
    ] {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.request(ask.method.parse().unwrap(), &ask.url).body(ask.body.clone());
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["cache-control"].to_str().unwrap()), (status, "no-store"), "{what}");
    }
}

/// A code has 128 bits, so that guessing is hopeless; whoever tries all the same is not answered any more.
#[tokio::test(flavor = "multi_thread")]
async fn wrp_07_recovery_codes_are_not_guessed() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let server = Server::start_at(on, clock.clock()).await;
        let mut person = Person::new(&server.public_url, system_entropy()).unwrap();
        let code = person.sign_up().await.unwrap();
        let mut rig = Rig::at(server).await;
        let start = |rig: &Rig, code: &RecoveryCode| rig.page("/v1/recovery/start", &json!({"recovery_id": code.id()}));
        for _ in 0..5 {
            let guess = start(&rig, &RecoveryCode::generate(&system_entropy()));
            rig.refuse_but(&guess, 404, "not_found", "not found", &["wrong_recoveries"]).await;
        }
        let sixth = RecoveryCode::generate(&system_entropy());
        rig.refuse(&start(&rig, &sixth), 429, "limit.rate", "rate").await;
        rig = Rig { server: rig.server.restart().await, ..rig };
        rig.refuse(&start(&rig, &sixth), 429, "limit.rate", "rate").await;
        // Nobody who has their code is locked out by a guesser next door.
        rig.allow(&start(&rig, &code)).await;
        clock.advance_secs(24 * 3600);
        rig.server.running.identity.pump().await.unwrap();
        rig.refuse_but(&start(&rig, &sixth), 404, "not_found", "not found", &["wrong_recoveries"]).await;
    }
}

/// The sealed copies go to somebody who was verified just now, and to no device.
#[tokio::test(flavor = "multi_thread")]
async fn wrp_08_copies_go_to_who_is_there() {
    let clock = ManualClock::start();
    let mut rig = Rig::at(Server::start_at(On::Sqlite, clock.clock()).await).await;
    for path in ["/v1/account/wraps", "/v1/account/export"] {
        let ask = |rig: &Rig| Ask::new("GET", rig.identity(path)).header("cookie", rig.person.cookie());
        clock.advance_secs(301);
        rig.server.running.identity.pump().await.unwrap();
        rig.refuse(&ask(&rig), 403, "wrap.reauth", "reauth").await;
        rig.person.unlock().await.unwrap();
        rig.allow(&ask(&rig)).await;
    }
    for device in [&rig.tv, &rig.laptop] {
        let token = device.token(&device.servers().identity, "log:read", None).await.unwrap();
        let ask = Ask::new("GET", rig.identity("/v1/account/wraps")).header("authorization", format!("DPoP {token}"));
        rig.refuse(&ask, 401, "invalid_token", "missing").await;
    }
}
