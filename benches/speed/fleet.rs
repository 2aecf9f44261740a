//! Many devices at once: known to the broker as identity would have told it, with tokens as the verifier makes them. Enrolling them one by one is measured
//! elsewhere, and a person may have thirty in an hour.

use super::Server;
use baton_protocol::access_token::{AccessToken, Confirmation};
use baton_protocol::credential::Tier;
use baton_protocol::dpop;
use baton_protocol::signer::Signer as _;
use baton_sdk::keys::SoftKey;
use baton_sdk::{system_clock, system_entropy};
use baton_service::key_ring::KeyRing;
use sqlx::Connection as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};

/// A device with a token.
pub struct Member {
    pub key: SoftKey,
    pub log: String,
    pub token: String,
    nonce: Option<String>,
}

/// So many people with so many full devices each.
pub async fn fleet(server: &Server, people: usize, devices: usize) -> Vec<Member> {
    sqlx::any::install_default_drivers();
    let keys = KeyRing::read(&server.dir.path().join("verifier.key")).unwrap();
    let mut db = sqlx::AnyConnection::connect(&format!("sqlite://{}/broker.db", server.dir.path().display())).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let (entropy, now) = (system_entropy(), system_clock().now());
    let mut members = Vec::new();
    for _ in 0..people {
        let log = entropy.token();
        for _ in 0..devices {
            let key = SoftKey::generate(&entropy);
            let (did, jkt) = (key.key().did(), key.key().thumbprint());
            sqlx::query(
                "INSERT INTO standing (device, jkt, app, iss, log, client_id, tier, credential_hash, dev_epoch, grant_id, scopes, grant_until)
                 VALUES ($1, $2, 'baton', $1, $3, 'baton-cli', 'full', 'hash', 1, 'grt', 'session:read session:write', $4)",
            )
            .bind(did.as_str())
            .bind(jkt.as_str())
            .bind(&log)
            .bind(now.0 + 86_400_000)
            .execute(&mut *tx)
            .await
            .unwrap();
            let token = AccessToken {
                iss: format!("{}/verifier", server.url),
                aud: format!("{}/broker", server.url),
                sub: log.clone(),
                iat: now.secs(),
                exp: now.secs() + 300,
                nbf: None,
                jti: entropy.token(),
                client_id: "baton-cli".into(),
                scope: "session:read session:write".into(),
                cnf: Confirmation { jkt },
                device: did,
                tier: Tier::Full,
                grant: "grt".into(),
                dev_epoch: 1,
                authorization_details: None,
            };
            members.push(Member { token: keys.sign(token.draft(keys.kid())), log: log.clone(), key, nonce: None });
        }
    }
    tx.commit().await.unwrap();
    db.close().await.unwrap();
    members
}

impl Member {
    /// A proof with the nonce it has.
    pub fn proof(&self, method: &str, url: &str) -> String {
        let claims = dpop::Claims {
            jti: system_entropy().token(),
            htm: method.into(),
            htu: url.into(),
            iat: system_clock().now().secs(),
            ath: Some(dpop::token_hash(&self.token)),
            nonce: self.nonce.clone(),
        };
        let draft = dpop::draft(self.key.key(), &claims);
        draft.clone().signed(&self.key.sign_now(draft.signing_input()))
    }

    /// Opens an event stream, as a device does: token, proof, the broker's nonce.
    pub async fn listen(&mut self, server: &Server) -> WebSocketStream<TcpStream> {
        loop {
            let url = format!("{}/broker/v1/events", server.url);
            let proof = self.proof("GET", &url);
            let mut request = format!("ws{}?volatile=true", &url["http".len()..]).into_client_request().unwrap();
            request.headers_mut().insert("authorization", format!("DPoP {}", self.token).parse().unwrap());
            request.headers_mut().insert("dpop", proof.parse().unwrap());
            let address = server.url.strip_prefix("http://localhost").unwrap();
            let socket = TcpStream::connect(format!("127.0.0.1{address}")).await.unwrap();
            socket.set_nodelay(true).unwrap();
            let small = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
            match tokio_tungstenite::client_async_with_config(request, socket, Some(small)).await {
                Ok((stream, _)) => return stream,
                Err(tungstenite::Error::Http(answer)) => {
                    let nonce = answer.headers().get("dpop-nonce").expect("refused for want of a nonce alone");
                    self.nonce = Some(nonce.to_str().unwrap().to_owned());
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}
