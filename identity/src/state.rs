//! Identity's parts, and how it is opened.

use crate::clients::Clients;
use crate::passkeys::Passkeys;
use crate::peers::StandingPeer;
use baton_protocol::key::PublicKey;
use baton_service::base::Base;
use baton_service::guard::TokenIssuer;
use baton_service::limits::Rate;
use serde::{Deserialize, Serialize};
use sqlx::migrate::Migrator;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Its PostgreSQL schema.
pub const SCHEMA: &str = "identity";

/// Its migrations.
pub fn migrations() -> &'static Migrator {
    static OWN: Migrator = sqlx::migrate!("./migrations");
    &OWN
}

/// Somebody the operator lets introspect tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Its name.
    pub name: String,
    /// base64url SHA-256 of its API key; the key itself is never kept.
    pub key_sha256: String,
}

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the pages are: the one origin passkeys are made for, and the one that may post to the pages' API.
    pub page_origin: String,
    /// Whether that is a static origin of its own, and not where this service is.
    pub pages_are_elsewhere: bool,
    /// Registered clients.
    pub clients: Clients,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// Most devices of one account.
    pub max_devices: i64,
    /// The verifier, whose tokens for audience identity are taken.
    pub verifier_url: String,
    /// Its keys by name.
    pub verifier_keys: Vec<(String, PublicKey)>,
    /// Who may introspect tokens.
    pub operators: Vec<Operator>,
    /// The broker, for which the pages' tokens are.
    pub broker_url: String,
}

/// The service.
pub struct Identity {
    pub(crate) base: Base,
    pub(crate) config: Config,
    pub(crate) passkeys: Passkeys,
    pub(crate) peers: Vec<Arc<dyn StandingPeer>>,
    pub(crate) own_tokens: TokenIssuer,
    pub(crate) verifier_tokens: TokenIssuer,
    pub(crate) pump: Mutex<()>,
    pub(crate) starts: Rate,
    /// Of what a wallet asks with one token: again until it is there, and says afterwards.
    pub(crate) collections: Rate,
    pub(crate) sign_ins: Rate,
    pub(crate) prompts: Rate,
}

impl Identity {
    /// Puts it together. Fails when the page origin cannot be a passkey's.
    pub fn new(base: Base, config: Config, peers: Vec<Arc<dyn StandingPeer>>) -> Result<Self, String> {
        let passkeys = Passkeys::new(&config.page_origin)?;
        let own_tokens = TokenIssuer::new(base.url.clone(), base.keys.verifying());
        let verifier_tokens = TokenIssuer::new(config.verifier_url.clone(), config.verifier_keys.clone());
        let (starts, collections, sign_ins, prompts) = (Rate::new(120, 60), Rate::new(120, 60), Rate::new(120, 60), Rate::new(30, 3600));
        Ok(Self { base, config, passkeys, peers, own_tokens, verifier_tokens, pump: Mutex::new(()), starts, collections, sign_ins, prompts })
    }

    /// What must stand in the database before the first request, the status list, and what must be known from it: registered clients.
    pub async fn prepare(&self) -> Result<(), baton_service::database::Error> {
        let mut tx = self.base.db.begin().await?;
        crate::store::status::ensure(&mut tx).await?;
        // Whoever registered before stays known, also when nobody may any more.
        self.config.clients.set_registered(crate::store::clients::all(&mut tx).await?);
        tx.commit().await
    }

    /// Forgets what has lapsed.
    pub async fn sweep(&self) -> Result<(), baton_service::database::Error> {
        let (now, db) = (self.base.now(), &self.base.db);
        crate::store::requests::sweep(db, now).await?;
        crate::store::credential_offers::sweep(db, now).await?;
        crate::store::sign_ins::sweep(db, now).await
    }

    /// The URL of the one status list.
    pub(crate) fn status_uri(&self) -> String {
        format!("{}/v1/status-lists/1", self.base.url)
    }

    /// Whether its database answers.
    pub async fn is_ready(&self) -> bool {
        self.base.db.is_ready().await
    }

    /// Its base, for the process that runs it.
    pub fn base(&self) -> &Base {
        &self.base
    }
}
