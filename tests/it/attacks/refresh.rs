//! RFR-01 to RFR-08: an app's sign-in and its rotating refresh tokens.

use crate::support::Server;
use baton::config::Config;
use baton::person::Person;
use baton_protocol::b64;
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::key::{PublicKey, hash};
use baton_protocol::signer::Signer as _;
use baton_sdk::Error;
use baton_sdk::http::{Request, form};
use baton_sdk::keys::SoftKey;
use baton_sdk::system_entropy;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

pub const VERIFIER: &str = "a code verifier of at least forty-three characters";
pub const REDIRECT: &str = "http://127.0.0.1:49152/callback";
const OPERATOR: &str = "canary-operator-key-0123456789";

/// An app, or a wallet, which is a key and no more.
pub struct App<'a> {
    pub server: &'a Server,
    pub key: SoftKey,
    client: &'static str,
}

impl<'a> App<'a> {
    pub fn new(server: &'a Server) -> Self {
        Self { server, key: SoftKey::generate(&system_entropy()), client: "baton-cli" }
    }

    pub fn identity(&self) -> String {
        format!("{}/identity", self.server.public_url)
    }

    async fn post_by(&self, key: &SoftKey, path: &str, pairs: &[(&str, &str)]) -> Result<Value, Error> {
        let identity = self.identity();
        let body = Some(("application/x-www-form-urlencoded", form(pairs)));
        let request = Request { method: "POST", url: format!("{identity}{path}"), service: &identity, token: None, body };
        self.server.http().proven(&request, key).await
    }

    async fn post(&self, path: &str, pairs: &[(&str, &str)]) -> Result<Value, Error> {
        self.post_by(&self.key, path, pairs).await
    }

    pub async fn push(&self, more: &[(&str, &str)]) -> Result<Value, Error> {
        let challenge = hash(VERIFIER.as_bytes());
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", self.client),
            ("redirect_uri", REDIRECT),
            ("scope", "openid offline_access unheard-of"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", "a state"),
            ("nonce", "a nonce"),
        ];
        for (name, value) in more {
            pairs.retain(|(known, _)| known != name);
            pairs.push((name, value));
        }
        self.post("/par", &pairs).await
    }

    /// The code of a sign-in that the person allowed.
    async fn code(&self, person: &mut Person) -> String {
        self.code_for(person, &[]).await
    }

    /// The same, of a request that asks for something else.
    pub async fn code_for(&self, person: &mut Person, more: &[(&str, &str)]) -> String {
        let pushed = self.push(more).await.unwrap();
        let back = person.sign_in_to(pushed["request_uri"].as_str().unwrap()).await.unwrap();
        assert!(back.starts_with(REDIRECT) && back.contains("state=a%20state") && back.contains("iss="), "{back}");
        back.split(['?', '&']).find_map(|pair| pair.strip_prefix("code=")).unwrap().to_owned()
    }

    async fn redeem(&self, code: &str) -> Result<Value, Error> {
        self.redeem_with(code, VERIFIER, REDIRECT).await
    }

    pub async fn redeem_with(&self, code: &str, verifier: &str, redirect: &str) -> Result<Value, Error> {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", self.client),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
        ];
        self.post("/token", &pairs).await
    }

    async fn sign_in(&self, person: &mut Person) -> Value {
        self.redeem(&self.code(person).await).await.unwrap()
    }

    async fn refresh(&self, token: &str) -> Result<Value, Error> {
        self.refresh_by(&self.key, self.client, token).await
    }

    async fn refresh_by(&self, key: &SoftKey, client: &str, token: &str) -> Result<Value, Error> {
        self.post_by(key, "/token", &[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)]).await
    }

    async fn userinfo_by(&self, key: &SoftKey, token: &str) -> Result<Value, Error> {
        let identity = self.identity();
        let request = Request { method: "GET", url: format!("{identity}/userinfo"), service: &identity, token: Some(token.into()), body: None };
        self.server.http().proven(&request, key).await
    }

    async fn userinfo(&self, token: &str) -> Result<Value, Error> {
        self.userinfo_by(&self.key, token).await
    }

    async fn introspect(&self, key: &str, token: &str) -> (u16, Value) {
        let request = reqwest::Client::new()
            .post(format!("{}/introspect", self.identity()))
            .bearer_auth(key)
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(format!("token={token}")).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("{name} in {answer}"))
}

fn with_operator(config: &mut Config) {
    config.operators = vec![baton_identity::Operator { name: "audit".into(), key_sha256: hash(OPERATOR.as_bytes()) }];
    let second = baton_identity::Client { client_id: "shop".into(), app: "shop".into(), name: "Shop".into(), redirect_uris: vec![REDIRECT.into()] };
    let cli = config.clients.get("baton-cli").unwrap();
    config.clients = baton_identity::Clients::new(vec![cli, second]);
}

/// The whole of it: code, ID token, userinfo, refresh, introspection, revocation, on both databases.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_signs_a_person_in() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let server = Server::start_with(on, clock.clock(), with_operator).await;
        let mut person = server.person().await;
        let app = App::new(&server);
        let first = app.sign_in(&mut person).await;
        assert_eq!((text(&first, "token_type"), text(&first, "scope"), &first["expires_in"]), ("DPoP", "openid offline_access", &json!(300)));
        let identity = reqwest::get(format!("{}/jwks", app.identity())).await.unwrap().bytes().await.unwrap();
        let jwks: Value = serde_json::from_slice(&identity).unwrap();
        let key = PublicKey::from_jwk(&jwks["keys"][0]).unwrap();
        let id_token = Unverified::parse(text(&first, "id_token"), Typ::IdToken).unwrap().verify(&key).unwrap().members().to_map();
        assert_eq!((&id_token["iss"], &id_token["aud"], &id_token["nonce"]), (&json!(app.identity()), &json!("baton-cli"), &json!("a nonce")));
        let sub = app.userinfo(text(&first, "access_token")).await.unwrap();
        assert_eq!(sub, json!({"sub": id_token["sub"]}));
        assert!(
            app.userinfo_by(&SoftKey::generate(&system_entropy()), text(&first, "access_token")).await.unwrap_err().is("invalid_token"),
            "another key"
        );
        assert!(app.userinfo(&b64::encode([1; 32])).await.unwrap_err().is("invalid_token"), "a token nobody gave");

        // The same person in the same app has the same name, in another app or as another person another one.
        let again = app.sign_in(&mut person).await;
        assert_eq!(app.userinfo(text(&again, "access_token")).await.unwrap(), sub);
        let shop = App { client: "shop", ..App::new(&server) };
        let in_shop = shop.sign_in(&mut person).await;
        assert_ne!(shop.userinfo(text(&in_shop, "access_token")).await.unwrap(), sub, "another app");
        let mut other = server.person().await;
        let theirs = app.sign_in(&mut other).await;
        assert_ne!(app.userinfo(text(&theirs, "access_token")).await.unwrap(), sub);

        let (status, known) = app.introspect(OPERATOR, text(&first, "access_token")).await;
        let jkt = app.key.key().thumbprint();
        assert_eq!((status, &known["active"], &known["sub"], &known["cnf"]), (200, &json!(true), &sub["sub"], &json!({"jkt": jkt})));
        assert_eq!(app.introspect("wrong", text(&first, "access_token")).await.0, 401);
        assert_eq!(app.introspect(OPERATOR, "unknown").await, (200, json!({"active": false})));
        assert_eq!(app.introspect(OPERATOR, text(&first, "refresh_token")).await.1["active"], true);

        clock.advance_secs(301);
        server.running.identity.pump().await.unwrap();
        assert!(app.userinfo(text(&first, "access_token")).await.unwrap_err().is("invalid_token"), "expired");
        let second = app.refresh(text(&first, "refresh_token")).await.unwrap();
        assert_eq!(app.userinfo(text(&second, "access_token")).await.unwrap(), sub);
        assert_eq!(app.introspect(OPERATOR, text(&first, "refresh_token")).await.1, json!({"active": false}), "used");
        // One consent for each client.
        let grants = person.get("/v1/grants").await.unwrap()["grants"].clone();
        assert_eq!((grants.as_array().unwrap().len(), &grants[0]["purpose"]), (2, &json!("sign-in")));

        let revoke = async |client: &str, token: &str| app.post("/revoke", &[("client_id", client), ("token", token)]).await;
        assert!(revoke("shop", text(&second, "access_token")).await.unwrap_err().is("unauthorized_client"), "another client's");
        assert!(revoke("nobody", text(&second, "access_token")).await.unwrap_err().is("invalid_client"));
        revoke("baton-cli", text(&second, "access_token")).await.unwrap();
        assert!(app.userinfo(text(&second, "access_token")).await.unwrap_err().is("invalid_token"));
        let third = app.refresh(text(&second, "refresh_token")).await.unwrap();
        revoke("baton-cli", text(&third, "refresh_token")).await.unwrap();
        revoke("baton-cli", text(&third, "refresh_token")).await.unwrap();
        assert!(app.userinfo(text(&third, "access_token")).await.unwrap_err().is("invalid_token"), "with its refresh token");
        assert!(app.refresh(text(&third, "refresh_token")).await.unwrap_err().is("invalid_grant"));
        app.refresh(text(&again, "refresh_token")).await.unwrap();
    }
}

/// RFR-01, RFR-03: a used token ends the whole family with its access tokens, also after a restart; its person can see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_used_token_ends_the_family() {
    let clock = ManualClock::start();
    let mut server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let app = App::new(&server);
    let first = app.sign_in(&mut person).await;
    let other = app.sign_in(&mut person).await;
    clock.advance_secs(1);
    let second = app.refresh(text(&first, "refresh_token")).await.unwrap();
    let key = app.key;
    server = server.restart().await;
    clock.advance_secs(11);
    server.running.identity.pump().await.unwrap();
    let app = App { server: &server, key, client: "baton-cli" };
    app.userinfo(text(&second, "access_token")).await.unwrap();
    assert!(app.refresh(text(&first, "refresh_token")).await.unwrap_err().is("invalid_grant"));
    assert!(app.userinfo(text(&second, "access_token")).await.unwrap_err().is("invalid_token"));
    assert!(app.refresh(text(&second, "refresh_token")).await.unwrap_err().is("invalid_grant"));
    app.refresh(text(&other, "refresh_token")).await.unwrap();
    let events = person.get("/v1/activity").await.unwrap()["events"].clone();
    assert_eq!(events[0]["kind"], "app.token_reused");
}

/// RFR-02: of many at the same instant one gets the successor; RFR-04: a lost answer is given again for ten seconds, to the same key.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_and_a_lost_answer() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let server = Server::start_at(on, clock.clock()).await;
        let mut person = server.person().await;
        let app = App::new(&server);
        let first = app.sign_in(&mut person).await;
        let token = text(&first, "refresh_token");
        let outcomes = futures_util::future::join_all((0..32).map(|_| app.refresh(token))).await;
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(won.len(), 1);
        assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|refused| refused.is("invalid_grant")));

        clock.advance_secs(9);
        let thief = SoftKey::generate(&system_entropy());
        assert!(app.refresh_by(&thief, "baton-cli", token).await.unwrap_err().is("invalid_grant"), "another key");
        let retried = app.refresh(token).await.unwrap();
        assert_eq!(retried["refresh_token"], won[0]["refresh_token"], "the same successor");
        app.userinfo(text(&retried, "access_token")).await.unwrap();
        clock.advance_secs(1);
        let next = app.refresh(text(&retried, "refresh_token")).await.unwrap();
        // The successor was used: whoever comes with the first one now is somebody else.
        assert!(app.refresh(token).await.unwrap_err().is("invalid_grant"));
        assert!(app.refresh(text(&next, "refresh_token")).await.unwrap_err().is("invalid_grant"));
    }
}

/// RFR-06: nothing is refreshed past its month, or after what it rests on has gone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_what_it_rests_on() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let app = App::new(&server);
    let grant = async |person: &Person| {
        let grants = person.get("/v1/grants").await.unwrap()["grants"].clone();
        let live = grants.as_array().unwrap().iter().find(|grant| grant["withdrawn_at"].is_null()).unwrap();
        live["grant"].as_str().unwrap().to_owned()
    };
    let over = async |token: &Value| {
        assert!(app.refresh(text(token, "refresh_token")).await.unwrap_err().is("invalid_grant"));
        assert!(app.userinfo(text(token, "access_token")).await.unwrap_err().is("invalid_token"));
    };
    let signed_in = app.sign_in(&mut person).await;
    person.withdraw(&grant(&person).await).await.unwrap();
    over(&signed_in).await;
    let signed_in = app.sign_in(&mut person).await;
    let second = person.add_passkey().await.unwrap();
    person.post(&format!("/v1/passkeys/{second}/remove"), &json!({})).await.unwrap();
    over(&signed_in).await;
    person.forget_passkey(&second).unwrap();
    let signed_in = app.sign_in(&mut person).await;
    let (next, _) = person.ask_for_root().await.unwrap();
    person.switch_root(&next).await.unwrap();
    over(&signed_in).await;
    let signed_in = app.sign_in(&mut person).await;
    let unredeemed = app.code(&mut person).await;
    person.post("/v1/account/sign-out", &json!({"everywhere": true})).await.unwrap();
    over(&signed_in).await;
    assert!(app.redeem(&unredeemed).await.unwrap_err().is("invalid_grant"), "a code that was out when everything ended");
    let late = app.code(&mut person).await;
    clock.advance_secs(60);
    server.running.identity.pump().await.unwrap();
    assert!(app.redeem(&late).await.unwrap_err().is("invalid_grant"), "a code lives a minute");

    // A month, however often it is refreshed.
    let mut last = app.sign_in(&mut person).await;
    for _ in 0..2 {
        clock.advance_secs(14 * 24 * 3600);
        server.running.identity.pump().await.unwrap();
        last = app.refresh(text(&last, "refresh_token")).await.unwrap();
    }
    clock.advance_secs(2 * 24 * 3600);
    server.running.identity.pump().await.unwrap();
    over(&last).await;
    let signed_in = app.sign_in(&mut person).await;
    person.post("/v1/account/delete", &json!({})).await.unwrap();
    over(&signed_in).await;
}

/// Everything about a request that is not right, and a code that is not the asker's: each refused beside what passes.
#[tokio::test(flavor = "multi_thread")]
async fn requests_and_codes() {
    let server = Server::start_with(On::Sqlite, baton_sdk::system_clock(), with_operator).await;
    let mut person = server.person().await;
    let app = App::new(&server);
    app.push(&[]).await.unwrap();
    let long = "x".repeat(513);
    for (pair, code) in [
        (("response_type", "token"), "invalid_request"),
        (("response_mode", "fragment"), "invalid_request"),
        (("redirect_uri", "https://evil.example/callback"), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("request_uri", "urn:x"), "invalid_request"),
        (("request", "eyJ"), "invalid_request"),
        (("dpop_jkt", "another"), "invalid_request"),
        (("state", long.as_str()), "invalid_request"),
        (("nonce", long.as_str()), "invalid_request"),
        (("max_age", "-1"), "invalid_request"),
        (("client_id", "nobody"), "invalid_client"),
        (("prompt", "none"), "interaction_required"),
    ] {
        assert!(app.push(&[pair]).await.unwrap_err().is(code), "{pair:?}");
    }
    // A code is its asker's: client, key, verifier, way back. A wrong try costs nothing but itself; a second use ends what the first one gave.
    let code = app.code(&mut person).await;
    let stranger = App::new(&server);
    assert!(stranger.redeem(&code).await.unwrap_err().is("invalid_grant"), "another key");
    // RFR-08: by body, as a form, each parameter once.
    let plain = async |method: reqwest::Method, url: &str, kind: &str, body: &str| {
        let request = reqwest::Client::new().request(method, format!("{}{url}", app.identity())).header("content-type", kind).body(body.to_owned());
        request.send().await.unwrap().status().as_u16()
    };
    let form_kind = "application/x-www-form-urlencoded";
    assert_eq!(plain(reqwest::Method::GET, "/token", form_kind, "").await, 405);
    assert_eq!(plain(reqwest::Method::POST, "/token?grant_type=refresh_token", form_kind, "grant_type=refresh_token").await, 400);
    assert_eq!(plain(reqwest::Method::POST, "/token", "application/json", "{}").await, 400);
    assert_eq!(plain(reqwest::Method::POST, "/token", form_kind, "grant_type=refresh_token&grant_type=refresh_token").await, 400);
    let with = async |name: &str, value: &str| {
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("client_id", "baton-cli"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        pairs.retain(|(known, _)| *known != name);
        pairs.push((name, value));
        app.post("/token", &pairs).await
    };
    for (name, value) in
        [("client_id", "shop"), ("redirect_uri", "http://127.0.0.1:1/callback"), ("code_verifier", "another verifier, long enough to be one")]
    {
        assert!(with(name, value).await.unwrap_err().is("invalid_grant"), "{name}");
    }
    let signed_in = app.redeem(&code).await.unwrap();
    assert!(stranger.redeem(&code).await.unwrap_err().is("invalid_grant"), "a spent code by another key ends nothing");
    app.userinfo(text(&signed_in, "access_token")).await.unwrap();
    assert!(app.redeem(&code).await.unwrap_err().is("invalid_grant"));
    assert!(app.refresh(text(&signed_in, "refresh_token")).await.unwrap_err().is("invalid_grant"), "ended with its code");
    // RFR-07: of another client.
    let signed_in = app.sign_in(&mut person).await;
    assert!(app.refresh_by(&app.key, "shop", text(&signed_in, "refresh_token")).await.unwrap_err().is("invalid_grant"));
    let narrow = [
        ("grant_type", "refresh_token"),
        ("client_id", "baton-cli"),
        ("refresh_token", text(&signed_in, "refresh_token")),
        ("scope", "openid admin"),
    ];
    assert!(app.post("/token", &narrow).await.unwrap_err().is("invalid_scope"));
    app.refresh(text(&signed_in, "refresh_token")).await.unwrap();

    // How recent the person's verification must be: for this very request is always recent enough.
    for more in [("max_age", "0"), ("prompt", "login"), ("max_age", "1000")] {
        let pushed = app.push(&[more]).await.unwrap();
        person.sign_in_to(text(&pushed, "request_uri")).await.unwrap();
    }

    // The person says no, and the app is told; a request is one person's, and open for ten minutes.
    let pushed = app.push(&[]).await.unwrap();
    let uri = json!({"request_uri": pushed["request_uri"]});
    let id = person.post("/v1/sign-ins/open", &uri).await.unwrap()["sign_in"].as_str().unwrap().to_owned();
    let other = server.person().await;
    assert_eq!(baton::person::code(&other.post("/v1/sign-ins/open", &uri).await.unwrap_err()), Some("enrol.code"));
    assert_eq!(baton::person::code(&other.post(&format!("/v1/sign-ins/{id}/allow"), &json!({})).await.unwrap_err()), Some("not_found"));
    let told = person.post(&format!("/v1/sign-ins/{id}/deny"), &json!({})).await.unwrap();
    assert!(text(&told, "redirect_to").contains("error=access_denied") && text(&told, "redirect_to").contains("state=a%20state"));
    assert_eq!(baton::person::code(&person.post(&format!("/v1/sign-ins/{id}/allow"), &json!({})).await.unwrap_err()), Some("enrol.state"));
}
