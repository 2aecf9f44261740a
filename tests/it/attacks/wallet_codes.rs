//! OpenID4VCI 1.0 §5: a wallet's authorization code is worth something to this wallet alone, and opens one request that its person still decides.

use super::refresh::{App, REDIRECT, VERIFIER};
use crate::support::Server;
use baton::person::Person;
use baton_protocol::b64;
use baton_protocol::signer::Signer as _;
use baton_sdk::Error;
use baton_sdk::http::Request;
use baton_service::testing::On;
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
        assert_eq!(code_of(wallet.0.push(&[("scope", ""), ("authorization_details", &bad)]).await), "invalid_request", "{bad}");
    }
}
