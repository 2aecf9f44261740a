//! The pages' token for one app's sessions: what it opens, and everything it does not.

use crate::support::Server;
use baton_protocol::access_token::Confirmation;
use baton_protocol::handoff::machine::Target;
use baton_protocol::manage::ManageToken;
use baton_protocol::signer::Signer as _;
use baton_sdk::http::Request;
use baton_sdk::keys::SoftKey;
use baton_sdk::{Error, Session, system_entropy};
use baton_service::testing::On;
use serde_json::Value;

/// A person's page with its token.
pub struct Page<'a> {
    server: &'a Server,
    key: SoftKey,
    pub token: ManageToken,
}

impl Page<'_> {
    pub async fn ask(&self, method: &str, path: &str) -> Result<Value, Error> {
        self.ask_with(method, path, &self.token, &self.key).await
    }

    pub async fn tell(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.send("POST", path, Some(body), &self.token, &self.key).await
    }

    async fn ask_with(&self, method: &str, path: &str, token: &ManageToken, key: &SoftKey) -> Result<Value, Error> {
        self.send(method, path, None, token, key).await
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>, token: &ManageToken, key: &SoftKey) -> Result<Value, Error> {
        let keys = &self.server.running.identity.base().keys;
        let broker = format!("{}/broker", self.server.public_url);
        let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
        let request = Request { method, url: format!("{broker}{path}"), service: &broker, token: Some(keys.sign(token.draft(keys.kid()))), body };
        self.server.http().proven(&request, key).await
    }
}

/// A page of the person with this log, who was verified just before.
pub fn page<'a>(server: &'a Server, log: &str) -> Page<'a> {
    let key = SoftKey::generate(&system_entropy());
    let now = server.http().now().secs();
    let url = &server.public_url;
    let cnf = Confirmation { jkt: key.key().thumbprint() };
    let token = ManageToken {
        v: 1,
        iss: format!("{url}/identity"),
        aud: format!("{url}/broker"),
        sub: log.into(),
        iat: now,
        exp: now + 300,
        jti: "j".into(),
        ends: true,
        cnf,
    };
    Page { server, key, token }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_list_ask_and_end() {
    for on in [On::Sqlite, On::Postgres] {
        let server = Server::start(on).await;
        let mut person = server.person().await;
        let laptop = server.full(&mut person, "Laptop").await;
        let mut session = Session::open(&laptop, b"00:43").await.unwrap();
        let page = page(&server, laptop.subject());
        let listed = page.ask("GET", "/v1/manage/sessions").await.unwrap();
        assert_eq!(listed["sessions"][0]["session"], session.id().as_str());
        assert_eq!(listed["sessions"][0]["holder"], laptop.did().as_str());

        assert_eq!(listed["there"], serde_json::json!([]), "nobody has a stream open");
        let mut events = laptop.events(None).await.unwrap();
        let there = page.ask("GET", "/v1/manage/sessions").await.unwrap()["there"].clone();
        assert_eq!(there, serde_json::json!([{"device": laptop.did(), "in_sync": true, "status": "online", "session": null}]));
        page.ask("POST", &format!("/v1/manage/sessions/{}/ask", session.id())).await.unwrap();
        assert_eq!(events.next().await.unwrap().kind, "session.asked");
        let tv = server.limited(&mut person, "Television").await;
        let offered = session.offer(Target::Device(tv.did().clone())).await.unwrap();
        session.cancel(&offered).await.unwrap();
        let past = page.ask("GET", "/v1/manage/handoffs").await.unwrap()["handoffs"].clone();
        assert_eq!((&past[0]["handoff"], past.as_array().unwrap().len()), (&serde_json::json!(offered.id()), 1));
        assert_eq!(
            (&past[0]["state"], &past[0]["from"], &past[0]["to"]),
            (&"cancelled".into(), &serde_json::json!(laptop.did()), &serde_json::json!(tv.did()))
        );
        let before = format!("/v1/manage/handoffs?before={}", past[0]["at"]);
        assert_eq!(page.ask("GET", &before).await.unwrap()["handoffs"], serde_json::json!([]));
        while events.next().await.unwrap().kind != "handoff.cancelled" {}
        // It has been told all there is; the broker notes that right after it has told it.
        let in_sync = async || page.ask("GET", "/v1/manage/sessions").await.unwrap()["there"][0]["in_sync"] == true;
        let mut tries = 0;
        while !in_sync().await {
            tries += 1;
            assert!(tries < 100, "it stays behind");
        }
        for _ in 0..2 {
            page.ask("POST", &format!("/v1/manage/sessions/{}/end", session.id())).await.unwrap();
        }
        assert_eq!(events.next().await.unwrap().kind, "session.ended");
        assert!(session.write(b"late").await.is_err());
        assert!(page.ask("POST", &format!("/v1/manage/sessions/{}/ask", session.id())).await.unwrap_err().is("handoff.state"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn and_nothing_else() {
    let server = Server::start(On::Sqlite).await;
    let mut person = server.person().await;
    let laptop = server.full(&mut person, "Laptop").await;
    let session = Session::open(&laptop, b"00:43").await.unwrap();
    let mine = page(&server, laptop.subject());
    let end = format!("/v1/manage/sessions/{}/end", session.id());

    let refused = async |token: ManageToken, key: &SoftKey| mine.ask_with("POST", &end, &token, key).await.unwrap_err();
    let mut other = server.person().await;
    let theirs = server.full(&mut other, "Theirs").await;
    assert!(refused(ManageToken { sub: theirs.subject().into(), ..mine.token.clone() }, &mine.key).await.is("not_found"), "another person's");
    assert!(refused(mine.token.clone(), &SoftKey::generate(&system_entropy())).await.is("invalid_token"), "another key");
    assert!(refused(ManageToken { aud: format!("{}/identity", server.public_url), ..mine.token.clone() }, &mine.key).await.is("invalid_token"));
    assert!(refused(ManageToken { iss: format!("{}/verifier", server.public_url), ..mine.token.clone() }, &mine.key).await.is("invalid_token"));
    assert!(refused(ManageToken { exp: mine.token.iat, ..mine.token.clone() }, &mine.key).await.is("invalid_token"), "over");
    assert!(refused(ManageToken { exp: mine.token.iat + 301, ..mine.token.clone() }, &mine.key).await.is("invalid_token"), "too long");
    assert!(refused(ManageToken { ends: false, ..mine.token.clone() }, &mine.key).await.is("insufficient_scope"), "without the person there");
    // It opens nothing of a device's, and a device's token nothing of the pages'.
    for path in ["/v1/sessions".to_owned(), format!("/v1/sessions/{}/updates?after=0", session.id())] {
        assert!(mine.ask("GET", &path).await.unwrap_err().is("invalid_token"), "{path}");
    }
    let broker = laptop.servers().broker.clone();
    let token = laptop.token(&broker, "session:read session:write", None).await.unwrap();
    let request = Request { method: "GET", url: format!("{broker}/v1/manage/sessions"), service: &broker, token: Some(token), body: None };
    assert!(laptop.http().proven(&request, laptop.signer()).await.unwrap_err().is("invalid_token"));
    mine.ask("POST", &end).await.unwrap();
}
