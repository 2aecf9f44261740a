//! OpenID4VCI 1.0 §5: a wallet's authorization code is worth something to this wallet alone, and opens one request that its person still decides.

use super::Ask;
use super::refresh::{App, REDIRECT, VERIFIER};
use crate::support::Server;
use baton::person::Person;
use baton_protocol::b64;
use baton_protocol::signer::Signer as _;
use baton_sdk::Error;
use baton_sdk::http::Request;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

/// A wallet asks as an app does.
struct Wallet<'a>(App<'a>);

impl<'a> Wallet<'a> {
    fn new(server: &'a Server) -> Self {
        Self(App::new(server))
    }

    async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Value, Error> {
        let identity = self.0.identity();
        let body = Some(("application/json", body.to_string().into_bytes()));
        let request = Request { method: "POST", url: format!("{identity}{path}"), service: &identity, token: token.map(Into::into), body };
        self.0.server.http().proven(&request, &self.0.key).await
    }

    async fn redeem(&self, code: &str) -> Result<Value, Error> {
        self.0.redeem_with(code, VERIFIER, REDIRECT).await
    }

    async fn token(&self, person: &mut Person, more: &[(&str, &str)]) -> String {
        let code = self.0.code_for(person, more).await;
        self.redeem(&code).await.unwrap()["access_token"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, token: &str, named: &Value) -> Result<Value, Error> {
        let nonce = self.post("/nonce", None, &json!({})).await.unwrap()["c_nonce"].clone();
        let header = json!({"alg": "ES256", "typ": "openid4vci-proof+jwt", "jwk": self.0.key.key().jwk_value()});
        let claims = json!({"aud": self.0.identity(), "iat": self.0.server.http().now().secs(), "nonce": nonce});
        let input = format!("{}.{}", b64::encode(header.to_string()), b64::encode(claims.to_string()));
        let mut body = named.clone();
        body["proofs"] = json!({"jwt": [format!("{input}.{}", b64::encode(self.0.key.sign_now(input.as_bytes())))]});
        self.post("/credential", Some(token), &body).await
    }

    async fn fetch(&self, token: &str, transaction: &Value) -> Result<Value, Error> {
        self.post("/deferred_credential", Some(token), &json!({"transaction_id": transaction})).await
    }
}

fn code_of(answer: Result<Value, Error>) -> String {
    match answer {
        Err(Error::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

const SCOPE: &[(&str, &str)] = &[("scope", "baton_device unheard-of")];
const DETAILS: &str = r#"[{"type": "openid_credential", "credential_configuration_id": "baton_device", "unheard": "of"}]"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_gets_its_credential_by_a_code_and_its_person_types_nothing() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let by_configuration = json!({"credential_configuration_id": "baton_device"});
        let by_identifier = json!({"credential_identifier": "baton_device"});
        for (asked, named, otherwise, refused) in [
            (SCOPE, &by_configuration, &by_identifier, "unknown_credential_identifier"),
            (&[("scope", ""), ("authorization_details", DETAILS)], &by_identifier, &by_configuration, "invalid_credential_request"),
        ] {
            let wallet = Wallet::new(&server);
            let token = wallet.token(&mut person, asked).await;
            assert_eq!(code_of(wallet.ask(&token, otherwise).await), refused);
            let transaction = wallet.ask(&token, named).await.unwrap()["transaction_id"].clone();
            assert_eq!(wallet.fetch(&token, &transaction).await.unwrap()["transaction_id"], transaction, "nobody has decided");
            let waiting = person.get("/v1/requests").await.unwrap()["requests"].clone();
            let shown = person.open_waiting(&waiting[0]).await.unwrap();
            // Whoever sends a code means the request that it was made for.
            assert!(person.approve(&shown, Some("123456")).await.is_err());
            person.approve(&shown, None).await.unwrap();
            let issued = wallet.fetch(&token, &transaction).await.unwrap();
            assert!(issued["credentials"][0]["credential"].as_str().unwrap().ends_with('~'));
            // Another key asks for nothing with it.
            let thief = Wallet::new(&server);
            assert_eq!(code_of(thief.fetch(&token, &transaction).await), "invalid_token");
        }
        let kinds = person.get("/v1/activity").await.unwrap().to_string();
        assert_eq!(kinds.matches("wallet.allowed").count(), 2, "{kinds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_s_code_is_worth_nothing_to_anybody_else() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let (wallet, thief) = (Wallet::new(&server), Wallet::new(&server));
    let code = wallet.0.code_for(&mut person, SCOPE).await;
    let before = server.dump(&[]).await;
    assert_eq!(code_of(thief.redeem(&code).await), "invalid_grant", "another key");
    assert_eq!(code_of(wallet.0.redeem_with(&code, "another verifier, of forty-three characters or so", REDIRECT).await), "invalid_grant");
    assert_eq!(code_of(wallet.0.redeem_with(&code, VERIFIER, "http://127.0.0.1:1/callback").await), "invalid_grant");
    assert_eq!(server.dump(&[]).await, before);
    let token = wallet.redeem(&code).await.unwrap()["access_token"].as_str().unwrap().to_owned();
    let named = json!({"credential_configuration_id": "baton_device"});
    let transaction = wallet.ask(&token, &named).await.unwrap()["transaction_id"].clone();
    let waiting = person.get("/v1/requests").await.unwrap()["requests"].clone();
    let shown = person.open_waiting(&waiting[0]).await.unwrap();
    // Seen by two: whatever the first one got ends.
    assert_eq!(code_of(wallet.redeem(&code).await), "invalid_grant");
    assert_eq!(code_of(wallet.fetch(&token, &transaction).await), "invalid_token");
    assert!(person.approve(&shown, None).await.is_err(), "nothing is left to approve");
}

/// Whoever had the person's passkey may be behind any wallet: signing out everywhere ends what none of them has yet.
#[tokio::test(flavor = "multi_thread")]
async fn signing_out_everywhere_ends_what_wallets_ask_for() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (wallet, other) = (Wallet::new(&server), Wallet::new(&server));
        let (token, unused) = (wallet.token(&mut person, SCOPE).await, other.token(&mut person, SCOPE).await);
        let named = json!({"credential_configuration_id": "baton_device"});
        let transaction = wallet.ask(&token, &named).await.unwrap()["transaction_id"].clone();
        assert_eq!(wallet.fetch(&token, &transaction).await.unwrap()["transaction_id"], transaction);
        // What the person approved before is theirs to fetch.
        let approved = Wallet::new(&server);
        let kept = approved.token(&mut person, SCOPE).await;
        let theirs = approved.ask(&kept, &named).await.unwrap()["transaction_id"].clone();
        let waiting = person.get("/v1/requests").await.unwrap()["requests"].clone();
        let shown = person.open_waiting(&waiting[1]).await.unwrap();
        person.approve(&shown, None).await.unwrap();
        let offered = person.post("/v1/credential-offers", &json!({"client_id": "baton-cli"})).await.unwrap();
        let offer = offered["credential_offer_uri"].as_str().unwrap();
        assert_eq!(reqwest::get(offer).await.unwrap().status(), 200);
        person.unlock().await.unwrap();
        person.post("/v1/account/sign-out", &json!({"everywhere": true})).await.unwrap();
        assert_eq!(code_of(wallet.fetch(&token, &transaction).await), "invalid_token");
        assert_eq!(code_of(other.ask(&unused, &named).await), "invalid_token");
        assert_eq!(reqwest::get(offer).await.unwrap().status(), 404);
        assert!(approved.fetch(&kept, &theirs).await.unwrap()["credentials"].is_array());
        person.unlock().await.unwrap();
        assert_eq!(person.get("/v1/requests").await.unwrap()["requests"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wallet_may_not_ask_for_is_refused_when_it_is_pushed() {
    let server = Server::start(On::Sqlite).await;
    let wallet = Wallet::new(&server);
    let identity = format!("{}/identity", server.public_url);
    let here = format!(r#"[{{"type": "openid_credential", "credential_configuration_id": "baton_device", "locations": ["{identity}"]}}]"#);
    for good in [DETAILS, &here] {
        assert!(wallet.0.push(&[("scope", ""), ("authorization_details", good)]).await.is_ok(), "{good}");
    }
    for bad in [
        r#"[{"type": "openid_credential", "credential_configuration_id": "another"}]"#.to_owned(),
        r#"[{"type": "openid_credential"}]"#.to_owned(),
        format!("[{0}, {0}]", DETAILS.trim_matches(['[', ']'])),
        here.replace(&identity, "https://elsewhere.example"),
        DETAILS.trim_matches(['[', ']']).to_owned(),
        "nothing".to_owned(),
    ] {
        assert_eq!(code_of(wallet.0.push(&[("scope", ""), ("authorization_details", &bad)]).await), "invalid_authorization_details", "{bad}");
    }
    let unknown = r#"[{"type": "unheard_of"}]"#;
    assert_eq!(code_of(wallet.0.push(&[("scope", "session:read"), ("authorization_details", unknown)]).await), "invalid_authorization_details");
}

/// §4.1.1: a wallet that comes from an offer by a code takes that offer, whose person alone can let it.
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_taken_by_a_code_too() {
    for on in [On::Sqlite, On::Postgres] {
        let clock = ManualClock::start();
        let server = Server::start_at(on, clock.clock()).await;
        let (mut person, mut other) = (server.person().await, server.person().await);
        let offer = async |person: &Person| person.post("/v1/credential-offers", &json!({"client_id": "baton-cli"})).await.unwrap();
        let state = |offer: &Value| offer["credential_offer"]["grants"]["authorization_code"]["issuer_state"].as_str().unwrap().to_owned();
        let made = offer(&person).await;
        let issuer_state = state(&made);
        let from_offer = [SCOPE[0], ("issuer_state", issuer_state.as_str())];
        let wallet = Wallet::new(&server);
        // Somebody else is not asked.
        let pushed = wallet.0.push(&from_offer).await.unwrap();
        let opened = other.post("/v1/sign-ins/open", &json!({"request_uri": pushed["request_uri"]})).await;
        assert_eq!(baton::person::code(&opened.unwrap_err()), Some("enrol.code"));
        let code = wallet.0.code_for(&mut person, &from_offer).await;
        let second = wallet.0.code_for(&mut person, &from_offer).await;
        let token = wallet.redeem(&code).await.unwrap()["access_token"].as_str().unwrap().to_owned();
        assert!(wallet.ask(&token, &json!({"credential_configuration_id": "baton_device"})).await.unwrap()["transaction_id"].is_string());
        // Once, whichever way it is taken.
        assert_eq!(code_of(wallet.redeem(&second).await), "invalid_grant");
        assert_eq!(reqwest::get(made["credential_offer_uri"].as_str().unwrap()).await.unwrap().status(), 404);
        for bad in [issuer_state.clone(), format!("{issuer_state}A"), "unheard-of".into(), state(&offer(&other).await).replace("off_", "ses_")] {
            assert_eq!(code_of(wallet.0.push(&[SCOPE[0], ("issuer_state", &bad)]).await), "invalid_request", "{bad}");
        }
        let late = state(&offer(&person).await);
        assert!(wallet.0.push(&[SCOPE[0], ("issuer_state", &late)]).await.is_ok());
        clock.advance_secs(601);
        server.running.identity.pump().await.unwrap();
        assert_eq!(code_of(wallet.0.push(&[SCOPE[0], ("issuer_state", &late)]).await), "invalid_request", "too late");
        other.unlock().await.unwrap();
    }
}

/// RFC 7009: what a wallet has asked for ends with its token, and nobody else ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_gives_its_token_back() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let wallet = Wallet::new(&server);
    let token = wallet.token(&mut person, SCOPE).await;
    let named = json!({"credential_configuration_id": "baton_device"});
    let transaction = wallet.ask(&token, &named).await.unwrap()["transaction_id"].clone();
    let revoke = async |client: &str, token: &str| {
        Ask::new("POST", format!("{}/identity/revoke", server.public_url)).form(&[("client_id", client), ("token", token)]).send().await
    };
    assert_eq!(revoke("unheard-of", &token).await.code, "invalid_client");
    assert_eq!(revoke("baton-cli", "guess").await.status, 200);
    assert_eq!(wallet.fetch(&token, &transaction).await.unwrap()["transaction_id"], transaction);
    assert_eq!(revoke("baton-cli", &token).await.status, 200);
    assert_eq!(code_of(wallet.fetch(&token, &transaction).await), "invalid_token");
    assert_eq!(person.get("/v1/requests").await.unwrap()["requests"], json!([]));
}
