//! RFC 7591: a client registers itself where the operator lets it, and is known from then on.

use super::Ask;
use crate::support::Server;
use baton_sdk::system_clock;
use baton_service::testing::On;
use serde_json::{Value, json};

async fn register(server: &Server, body: &Value) -> super::Answer {
    Ask::new("POST", format!("{}/identity/register", server.public_url)).json(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_registers_itself_where_it_may() {
    let closed = Server::start(On::Sqlite).await;
    let good =
        json!({"redirect_uris": ["https://app.example/callback"], "client_name": "App", "token_endpoint_auth_method": "none", "unheard_of": {}});
    assert_eq!(register(&closed, &good).await.status, 404);
    let metadata =
        async |server: &Server| Ask::new("GET", format!("{}/.well-known/oauth-authorization-server/identity", server.public_url)).send().await.body;
    assert!(metadata(&closed).await["registration_endpoint"].is_null());
    for on in [On::Sqlite, On::Postgres] {
        let mut server = Server::start_with(on, system_clock(), |config| config.registration = true).await;
        assert_eq!(metadata(&server).await["registration_endpoint"], json!(format!("{}/identity/register", server.public_url)));
        let with = |name: &str, value: Value| {
            let mut body = good.clone();
            body[name] = value;
            body
        };
        for (body, code) in [
            (with("redirect_uris", json!([])), "invalid_redirect_uri"),
            (with("redirect_uris", Value::Null), "invalid_client_metadata"),
            (with("redirect_uris", json!(["http://app.example/callback"])), "invalid_redirect_uri"),
            (with("redirect_uris", json!(["https://app.example/#x"])), "invalid_redirect_uri"),
            (with("redirect_uris", json!("https://app.example/")), "invalid_client_metadata"),
            (with("token_endpoint_auth_method", json!("client_secret_basic")), "invalid_client_metadata"),
            (with("grant_types", json!(["password"])), "invalid_client_metadata"),
            (with("response_types", json!(["token"])), "invalid_client_metadata"),
            (with("client_name", json!("\u{202e}evil")), "invalid_client_metadata"),
            (json!([]), "invalid_client_metadata"),
        ] {
            let answer = register(&server, &body).await;
            assert_eq!((answer.status, answer.code.as_str()), (400, code), "{body}");
        }
        let made = register(&server, &good).await;
        assert_eq!((made.status, &made.body["client_name"], &made.body["token_endpoint_auth_method"]), (201, &json!("App"), &json!("none")));
        let id = made.body["client_id"].as_str().unwrap().to_owned();
        assert_ne!(register(&server, &good).await.body["client_id"], made.body["client_id"]);
        // Known at once, and after a restart: what fails is what the request lacks, not the client.
        for _ in 0..2 {
            let mut ask = Ask::new("POST", format!("{}/identity/par", server.public_url)).header("content-type", "application/x-www-form-urlencoded");
            ask.body = format!("client_id={id}&scope=openid").into_bytes();
            assert_eq!(ask.send().await.code, "invalid_request");
            ask.body = b"client_id=cli_unknown&scope=openid".to_vec();
            assert_eq!(ask.send().await.code, "invalid_client");
            server = server.restart().await;
        }
    }
}
