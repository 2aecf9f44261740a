//! OpenID4VCI 1.0: a wallet gets its credential, and the negative cases of issuance, each beside what passes.

use super::{Answer, Ask};
use crate::support::Server;
use baton::person::Person;
use baton_protocol::b64;
use baton_protocol::credential::{Tier, VCT};
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::jwe::{Enc, Opener, Recipient};
use baton_protocol::key::PublicKey;
use baton_protocol::sd_jwt::Compact;
use baton_protocol::signer::Signer as _;
use baton_sdk::keys::SoftKey;
use baton_sdk::system_entropy;
use baton_service::testing::{ManualClock, On};
use serde_json::{Value, json};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:pre-authorized_code";

pub(super) struct Wallet<'a> {
    server: &'a Server,
    key: SoftKey,
    pub(super) token: String,
}

impl<'a> Wallet<'a> {
    pub(super) fn new(server: &'a Server) -> Self {
        Self { server, key: SoftKey::generate(&system_entropy()), token: String::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/identity{path}", self.server.public_url)
    }

    async fn form(&self, path: &str, body: String) -> Answer {
        let mut ask = Ask::new("POST", self.url(path)).header("content-type", "application/x-www-form-urlencoded");
        ask.body = body.into_bytes();
        ask.send().await
    }

    async fn redeem(&self, offer: &Value, tx_code: &str) -> Answer {
        let code = offer["grants"][GRANT]["pre-authorized_code"].as_str().unwrap();
        self.form("/token", format!("grant_type={GRANT}&pre-authorized_code={code}&tx_code={tx_code}")).await
    }

    /// A wallet that took an offer of this person.
    pub(super) async fn with_token(server: &'a Server, person: &mut Person) -> (Self, String) {
        let made = person.post("/v1/credential-offers", &json!({"client_id": "baton-cli"})).await.unwrap();
        let mut wallet = Self::new(server);
        let tx_code = made["tx_code"].as_str().unwrap().to_owned();
        let answer = wallet.redeem(&made["credential_offer"], &tx_code).await;
        assert_eq!((answer.status, &answer.body["token_type"]), (200, &json!("Bearer")), "{}", answer.body);
        answer.body["access_token"].as_str().unwrap().clone_into(&mut wallet.token);
        (wallet, tx_code)
    }

    pub(super) async fn nonce(&self) -> String {
        let answer = Ask::new("POST", self.url("/nonce")).send().await;
        answer.body["c_nonce"].as_str().unwrap().to_owned()
    }

    /// A key proof with this header and these claims, signed by this wallet's key.
    pub(super) fn proof_of(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", b64::encode(header.to_string()), b64::encode(claims.to_string()));
        format!("{input}.{}", b64::encode(self.key.sign_now(input.as_bytes())))
    }

    pub(super) fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "openid4vci-proof+jwt", "jwk": self.key.key().jwk_value()})
    }

    pub(super) fn claims(&self, nonce: &str) -> Value {
        json!({"aud": self.url(""), "iat": self.server.http().now().secs(), "nonce": nonce})
    }

    async fn ask(&self, path: &str, body: &Value) -> Answer {
        Ask::new("POST", self.url(path)).header("authorization", format!("Bearer {}", self.token)).json(body).send().await
    }

    pub(super) async fn credential(&self, proof: &str) -> Answer {
        self.ask("/credential", &json!({"credential_configuration_id": "baton_device", "proofs": {"jwt": [proof]}, "unheard_of": true})).await
    }

    pub(super) async fn request(&self) -> Answer {
        let nonce = self.nonce().await;
        self.credential(&self.proof_of(&self.header(), &self.claims(&nonce))).await
    }

    pub(super) async fn deferred(&self, transaction: &Value) -> Answer {
        self.ask("/deferred_credential", &json!({"transaction_id": transaction})).await
    }
}

/// §10: what the wallet asks and gets is sealed on the way, and its own key is believed where nobody could have put another in its place.
#[tokio::test(flavor = "multi_thread")]
async fn requests_and_responses_are_encrypted_where_the_wallet_wants_it() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let (wallet, tx_code) = Wallet::with_token(&server, &mut person).await;
    let metadata = Ask::new("GET", format!("{}/.well-known/openid-credential-issuer/identity", server.public_url)).send().await.body;
    let offered = &metadata["credential_request_encryption"];
    let jwk = &offered["jwks"]["keys"][0];
    assert_eq!((&jwk["use"], &jwk["alg"]), (&json!("enc"), &json!("ECDH-ES")));
    assert_eq!(metadata["credential_response_encryption"]["enc_values_supported"], json!(["A128GCM", "A256GCM"]));
    let issuer = |enc| Recipient { key: PublicKey::from_jwk(jwk).unwrap(), kid: jwk["kid"].as_str().map(str::to_owned), enc };
    let entropy = system_entropy();
    let seal = |body: &Value, enc| issuer(enc).seal(body.to_string().as_bytes(), &Opener::from_scalar(&[3; 32]).unwrap(), entropy.bytes()).unwrap();
    let sealed = async |path: &str, text: String| {
        let mut ask = Ask::new("POST", wallet.url(path)).header("authorization", format!("Bearer {}", wallet.token));
        ask.body = text.into_bytes();
        ask.header("content-type", "application/jwt").send().await
    };
    let own = Opener::from_scalar(&[5; 32]).unwrap();
    let mut to = own.public().unwrap().jwk_value();
    (to["alg"], to["kid"], to["use"]) = (json!("ECDH-ES"), json!("mine"), json!("enc"));
    let wanted = json!({"jwk": to, "enc": "A256GCM"});
    let nonce = wallet.nonce().await;
    let proof = wallet.proof_of(&wallet.header(), &wallet.claims(&nonce));
    let body = |encryption: &Value| json!({"credential_configuration_id": "baton_device", "proofs": {"jwt": [proof]}, "credential_response_encryption": encryption});
    // Each refused for its encryption alone: the proof stays unused.
    assert_eq!(wallet.ask("/credential", &body(&wanted)).await.code, "invalid_encryption_parameters", "in clear");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut other = wanted.clone();
        change(&mut other);
        other
    };
    for (encryption, why) in [
        (with(&|w| w["enc"] = json!("A128CBC-HS256")), "another content encryption"),
        (with(&|w| w["jwk"]["alg"] = json!("ECDH-ES+A128KW")), "another key management"),
        (with(&|w| drop(w["jwk"].as_object_mut().unwrap().remove("alg"))), "no algorithm"),
        (with(&|w| w["jwk"]["use"] = json!("sig")), "a key for something else"),
        (with(&|w| w["jwk"]["d"] = json!("AAAA")), "a private key"),
        (with(&|w| w["jwk"]["x"] = w["jwk"]["y"].clone()), "a point off the curve"),
        (with(&|w| w["zip"] = json!("DEF")), "compression"),
        (json!("mine"), "no object"),
    ] {
        assert_eq!(sealed("/credential", seal(&body(&encryption), Enc::A128Gcm)).await.code, "invalid_encryption_parameters", "{why}");
    }
    let good = seal(&body(&wanted), Enc::A128Gcm);
    assert_eq!(sealed("/credential", format!("{}AA", &good[..good.len() - 2])).await.code, "invalid_encryption_parameters", "another tag");
    let answer = sealed("/credential", good).await;
    assert_eq!((answer.status, answer.body), (202, Value::Null));
    let opened = |text: &str| serde_json::from_slice::<Value>(&own.open(text).unwrap()).unwrap();
    let transaction = opened(&answer.text)["transaction_id"].clone();
    assert!(!answer.text.contains(transaction.as_str().unwrap()));
    approve(&mut person, &tx_code).await.unwrap();
    let again = json!({"transaction_id": transaction, "credential_response_encryption": {"jwk": to, "enc": "A128GCM"}});
    assert_eq!(wallet.ask("/deferred_credential", &again).await.code, "invalid_encryption_parameters", "in clear");
    let answer = sealed("/deferred_credential", seal(&again, Enc::A256Gcm)).await;
    let credential = opened(&answer.text)["credentials"][0]["credential"].clone();
    assert!(answer.status == 200 && Compact::parse(credential.as_str().unwrap()).is_ok());
    // Each request says anew whether its answer is to be sealed.
    let plain = sealed("/deferred_credential", seal(&json!({"transaction_id": transaction}), Enc::A256Gcm)).await;
    assert_eq!(plain.body["credentials"][0]["credential"], credential);
}

pub(super) async fn approve(person: &mut Person, tx_code: &str) -> anyhow::Result<()> {
    let waiting = person.get("/v1/requests").await?["requests"].clone();
    let shown = person.open_waiting(&waiting[0]).await?;
    person.approve(&shown, Some(tx_code)).await.map(|_| ())
}

/// The whole way, on both databases: offer, token, nonce, proof, deferred until approved, notification; and the credential is one of Baton's.
#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_gets_its_credential() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let (wallet, tx_code) = Wallet::with_token(&server, &mut person).await;
        let asked = wallet.request().await;
        assert_eq!((asked.status, &asked.body["interval"]), (202, &json!(5)));
        let transaction = &asked.body["transaction_id"];
        assert_eq!(wallet.request().await.body["transaction_id"], *transaction, "asked again after a lost answer");
        assert_eq!(wallet.deferred(transaction).await.status, 202, "the person has not decided");
        assert_eq!(baton::person::code(&approve(&mut person, "000000").await.unwrap_err()), Some("enrol.proximity"));
        approve(&mut person, &tx_code).await.unwrap();
        let issued = wallet.deferred(transaction).await;
        assert_eq!(issued.status, 200, "{}", issued.body);
        let text = issued.body["credentials"][0]["credential"].as_str().unwrap();
        let compact = Compact::parse(text).unwrap();
        let credential = baton_protocol::credential::check(&compact, &(), server.http().now()).unwrap();
        assert_eq!((&credential.key, credential.visible.vct.as_str(), credential.visible.tier), (wallet.key.key(), VCT, Tier::Limited));
        assert_eq!(wallet.deferred(transaction).await.body["credentials"], issued.body["credentials"], "a lost answer is given again");

        let id = &issued.body["notification_id"];
        let notify = async |id: &Value, event: &str| wallet.ask("/notification", &json!({"notification_id": id, "event": event})).await;
        assert_eq!(notify(id, "credential_accepted").await.status, 204);
        assert_eq!(notify(id, "credential_accepted").await.status, 204);
        assert_eq!(notify(&json!("unknown"), "credential_accepted").await.code, "invalid_notification_id");
        assert_eq!(notify(id, "credential_burnt").await.code, "invalid_notification_request");
        let events = person.get("/v1/activity").await.unwrap()["events"].clone();
        assert_eq!(events.as_array().unwrap().iter().filter(|event| event["kind"] == "wallet.accepted").count(), 1);

        // A second wallet is a device of the same log; a key that is bound already is none.
        let (mut second, _) = Wallet::with_token(&server, &mut person).await;
        second.key = wallet.key.clone();
        assert_eq!(second.request().await.code, "credential_request_denied");
        second.key = SoftKey::generate(&system_entropy());
    }
}

/// Metadata as the wallet library wants it, plain and signed.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_served_plain_and_signed() {
    let server = Server::start(On::Sqlite).await;
    let url = format!("{}/.well-known/openid-credential-issuer/identity", server.public_url);
    let plain = Ask::new("GET", &url).send().await.body;
    assert_eq!(plain["credential_issuer"], json!(format!("{}/identity", server.public_url)));
    let signed = reqwest::Client::new().get(&url).header("accept", "application/jwt").send().await.unwrap();
    assert_eq!(signed.headers()["content-type"], "application/jwt");
    let token = signed.text().await.unwrap();
    let jwks = Ask::new("GET", format!("{}/identity/jwks", server.public_url)).send().await.body;
    let key = PublicKey::from_jwk(&jwks["keys"][0]).unwrap();
    let claims = Unverified::parse(&token, Typ::IssuerMetadata).unwrap().verify(&key).unwrap().members().to_map();
    assert_eq!(
        (&claims["sub"], &claims["credential_configurations_supported"]),
        (&plain["credential_issuer"], &plain["credential_configurations_supported"])
    );
}

/// What SD-JWT VC and did:web have a service publish; the type's document has the digest that its tag says.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_publishes_of_itself() {
    let server = Server::start(On::Sqlite).await;
    let get = async |path: &str| Ask::new("GET", format!("{}{path}", server.public_url)).send().await.body;
    let (issuer, jwks) = (get("/.well-known/jwt-vc-issuer/identity").await, get("/identity/jwks").await);
    assert_eq!((&issuer["issuer"], &issuer["jwks"]), (&json!(format!("{}/identity", server.public_url)), &jwks));
    for service in ["identity", "verifier"] {
        let document = get(&format!("/{service}/did.json")).await;
        let did = format!("did:web:{}:{service}", server.public_url.strip_prefix("http://").unwrap().replace(':', "%3A"));
        assert_eq!((&document["id"], &document["assertionMethod"][0]), (&json!(did), &document["verificationMethod"][0]["id"]));
        assert_eq!(document["verificationMethod"][0]["publicKeyJwk"]["x"], get(&format!("/{service}/jwks")).await["keys"][0]["x"]);
    }
    let answer = reqwest::get(format!("{}/identity/v1/credential-types/device-binding", server.public_url)).await.unwrap();
    let tag = answer.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned();
    let text = answer.text().await.unwrap();
    let digest = tag.strip_prefix("sha256-").unwrap().trim_end_matches('=').replace('+', "-").replace('/', "_");
    assert_eq!(baton_protocol::key::hash(text.as_bytes()), digest);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(metadata["vct"], VCT);
    // Every claim of a credential that is issued is in it, and disclosed as it says.
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let credential = laptop.enrolled().credential;
    let compact = Compact::parse(&credential).unwrap();
    let visible = Unverified::parse(compact.jwt, Typ::Credential).unwrap().unverified_claims().to_map();
    let says =
        |name: &str| metadata["claims"].as_array().unwrap().iter().find(|claim| claim["path"] == json!([name])).map(|claim| claim["sd"].clone());
    for name in visible.keys().filter(|name| !["_sd", "_sd_alg", "vct"].contains(&name.as_str())) {
        assert_eq!(says(name), Some(json!("never")), "{name}");
    }
    for disclosure in &compact.disclosures {
        assert_eq!(says(disclosure.name().unwrap()), Some(json!("always")), "{:?}", disclosure.name());
    }
}

/// Nonce missing, foreign, reused, expired; proof of another type, audience, time, algorithm, key, signature.
#[tokio::test(flavor = "multi_thread")]
async fn proofs_that_are_not_right() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (wallet, _) = Wallet::with_token(&server, &mut person).await;
    let nonce = wallet.nonce().await;
    let (header, claims) = (wallet.header(), wallet.claims(&nonce));
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name)
        } else {
            claims.as_object_mut().unwrap().insert(name.into(), value)
        };
        wallet.proof_of(&header, &claims)
    };
    let under = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header);
        wallet.proof_of(&header, &claims)
    };
    let stranger = SoftKey::generate(&system_entropy());
    let now = server.http().now().secs();
    let good = wallet.proof_of(&header, &claims);
    for (proof, code, why) in [
        (with("nonce", Value::Null), "invalid_proof", "no nonce"),
        (with("nonce", json!("foreign")), "invalid_nonce", "another's nonce"),
        (with("nonce", json!(b64::encode([1; 40]))), "invalid_nonce", "one nobody gave"),
        (with("aud", json!("https://other.example")), "invalid_proof", "for another issuer"),
        (with("aud", Value::Null), "invalid_proof", "for nobody"),
        (with("iat", json!(now - 365 * 24 * 3600)), "invalid_proof", "a year old"),
        (with("iat", json!(now + 365 * 24 * 3600)), "invalid_proof", "a year ahead"),
        (with("iat", Value::Null), "invalid_proof", "of no time"),
        (under(&|header| header["typ"] = json!("JWT")), "invalid_proof", "another type"),
        (under(&|header| header["alg"] = json!("none")), "invalid_proof", "no algorithm"),
        (under(&|header| header["alg"] = json!("HS256")), "invalid_proof", "another algorithm"),
        (under(&|header| header["jwk"] = stranger.key().jwk_value()), "invalid_proof", "another key"),
        (under(&|header| header["jwk"]["d"] = json!("x")), "invalid_proof", "a private key"),
        (under(&|header| header["kid"] = json!(stranger.key().did().url())), "invalid_proof", "two keys"),
        (under(&|header| drop(header.as_object_mut().unwrap().remove("jwk"))), "invalid_proof", "no key"),
        (format!("{}AA", &good[..good.len() - 2]), "invalid_proof", "another signature"),
        ("x".into(), "invalid_proof", "no JWT"),
    ] {
        let answer = wallet.credential(&proof).await;
        assert_eq!((answer.status, answer.code.as_str()), (400, code), "{why}");
    }
    for (body, code) in [
        (json!({"proofs": {"jwt": [good]}}), "invalid_credential_request"),
        (
            json!({"credential_configuration_id": "baton_device", "credential_identifier": "x", "proofs": {"jwt": [good]}}),
            "invalid_credential_request",
        ),
        (json!({"credential_configuration_id": "diploma", "proofs": {"jwt": [good]}}), "unknown_credential_configuration"),
        (json!({"credential_identifier": "x", "proofs": {"jwt": [good]}}), "unknown_credential_identifier"),
        (json!({"credential_configuration_id": "baton_device"}), "invalid_proof"),
        (json!({"credential_configuration_id": "baton_device", "proofs": {"jwt": []}}), "invalid_proof"),
        (json!({"credential_configuration_id": "baton_device", "proofs": {"jwt": [good, good]}}), "invalid_proof"),
        (json!({"credential_configuration_id": "baton_device", "proofs": {"jwt": [good], "di_vp": []}}), "invalid_proof"),
        (
            json!({"credential_configuration_id": "baton_device", "proofs": {"jwt": [good]}, "credential_response_encryption": {}}),
            "invalid_encryption_parameters",
        ),
    ] {
        assert_eq!(wallet.ask("/credential", &body).await.code, code, "{body}");
    }
    let by_kid = json!({"alg": "ES256", "typ": "openid4vci-proof+jwt", "kid": wallet.key.key().did().url()});
    assert_eq!(wallet.credential(&wallet.proof_of(&by_kid, &claims)).await.status, 202, "did:key");
    assert_eq!(wallet.credential(&good).await.code, "invalid_nonce", "reused");
    let old = wallet.nonce().await;
    clock.advance_secs(301);
    server.running.identity.pump().await.unwrap();
    assert_eq!(wallet.credential(&wallet.proof_of(&header, &wallet.claims(&old))).await.code, "invalid_nonce", "expired");
    let answer = wallet.request().await;
    assert_eq!(answer.status, 202);
    // Another key than the one that asked.
    let other = Wallet { server: &server, key: stranger, token: wallet.token.clone() };
    assert_eq!(other.request().await.code, "invalid_credential_request");
    assert_eq!(wallet.deferred(&json!("unknown")).await.code, "invalid_transaction_id");
    // Tokens: none, another scheme, unknown, in the query.
    let asked = |header: Option<&str>, query: &str| {
        let ask = Ask::new("POST", format!("{}{query}", wallet.url("/credential"))).json(&json!({}));
        header.map_or(ask.clone(), |value| ask.header("authorization", value))
    };
    for header in [None, Some("Basic x"), Some("Bearer unknown"), Some("DPoP unknown")] {
        assert_eq!(asked(header, "").send().await.status, 401, "{header:?}");
    }
    let answer = asked(Some(&format!("Bearer {}", wallet.token)), &format!("?access_token={}", wallet.token)).send().await;
    assert_eq!((answer.status, answer.code.as_str()), (400, "input.token_in_url"));
}

/// An offer is taken once, with the right code, within five tries and ten minutes; what it opened ends with the person's no.
#[tokio::test(flavor = "multi_thread")]
async fn offers_are_taken_once() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let wallet = Wallet::new(&server);
    let make = async |person: &Person| person.post("/v1/credential-offers", &json!({"client_id": "baton-cli"})).await.unwrap();
    let made = make(&person).await;
    let (offer, tx_code) = (&made["credential_offer"], made["tx_code"].as_str().unwrap());
    let uri = made["credential_offer_uri"].as_str().unwrap();
    assert_eq!(Ask::new("GET", uri).send().await.body, *offer, "by reference");
    assert_eq!(wallet.form("/token", format!("grant_type={GRANT}&pre-authorized_code=unknown&tx_code={tx_code}")).await.code, "invalid_grant");
    let code = offer["grants"][GRANT]["pre-authorized_code"].as_str().unwrap();
    assert_eq!(wallet.form("/token", format!("grant_type={GRANT}&pre-authorized_code={code}")).await.code, "invalid_request", "no transaction code");
    assert_eq!(wallet.redeem(offer, "000000").await.code, "invalid_grant");
    let (one, two) = tokio::join!(wallet.redeem(offer, tx_code), wallet.redeem(offer, tx_code));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(Ask::new("GET", uri).send().await.status, 404, "taken");

    let guessed = make(&person).await;
    for _ in 0..5 {
        assert_eq!(wallet.redeem(&guessed["credential_offer"], "000000").await.code, "invalid_grant");
    }
    assert_eq!(wallet.redeem(&guessed["credential_offer"], guessed["tx_code"].as_str().unwrap()).await.code, "invalid_grant", "void after five");
    let late = make(&person).await;
    clock.advance_secs(601);
    server.running.identity.pump().await.unwrap();
    assert_eq!(wallet.redeem(&late["credential_offer"], late["tx_code"].as_str().unwrap()).await.code, "invalid_grant", "too late");
    assert_eq!(
        baton::person::code(&person.post("/v1/credential-offers", &json!({"client_id": "baton-cli"})).await.unwrap_err()),
        Some("enrol.reauth")
    );
    person.unlock().await.unwrap();
    assert_eq!(baton::person::code(&person.post("/v1/credential-offers", &json!({"client_id": "nobody"})).await.unwrap_err()), Some("not_found"));

    let (wallet, _) = Wallet::with_token(&server, &mut person).await;
    let asked = wallet.request().await;
    let waiting = person.get("/v1/requests").await.unwrap()["requests"].clone();
    let other = server.person().await;
    assert_eq!(other.get("/v1/requests").await.unwrap()["requests"], json!([]), "another's");
    person.post(&format!("/v1/requests/{}/deny", waiting[0].as_str().unwrap()), &json!({})).await.unwrap();
    assert_eq!(wallet.deferred(&asked.body["transaction_id"]).await.code, "credential_request_denied");
}

/// A person who decides late, after the ten minutes of the token, has not enrolled a wallet that nobody can reach.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_approval_is_collected() {
    let clock = ManualClock::start();
    let server = Server::start_at(On::Sqlite, clock.clock()).await;
    let mut person = server.person().await;
    let (wallet, tx_code) = Wallet::with_token(&server, &mut person).await;
    clock.advance_secs(290);
    let transaction = wallet.request().await.body["transaction_id"].clone();
    clock.advance_secs(330);
    server.running.identity.pump().await.unwrap();
    person.unlock().await.unwrap();
    approve(&mut person, &tx_code).await.unwrap();
    assert_eq!(wallet.deferred(&transaction).await.status, 200);
    let kinds: Vec<_> = person.get("/v1/activity").await.unwrap()["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert!(kinds.contains(&json!("wallet.offer_taken")), "{kinds:?}");
}
