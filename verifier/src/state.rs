//! The verifier's parts.

use crate::gate::Gate;
use crate::request_certificate::RequestCertificate;
use crate::settled::Settled;
use baton_protocol::standing::{Change, Feed};
use baton_service::base::Base;
use baton_service::database::Error;
use baton_service::standing::{self, Freshness};
use baton_service::verified::Verified;
use serde::{Deserialize, Serialize};
use sqlx::migrate::Migrator;
use std::sync::Arc;

/// Its PostgreSQL schema.
pub const SCHEMA: &str = "verifier";

/// Its migrations.
pub fn migrations() -> &'static Migrator {
    static OWN: Migrator = sqlx::migrate!("./migrations");
    &OWN
}

/// A service that may ask what presentations are worth.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelyingService {
    /// Its name.
    pub name: String,
    /// base64url SHA-256 of its API key; the key itself is never kept.
    pub key_sha256: String,
    /// Whether it may ask wallets without a signature (`redirect_uri:`): whoever passes such a request on can change what it says.
    #[serde(default)]
    pub unsigned: bool,
}

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker's URL: an audience tokens are minted for.
    pub broker_url: String,
    /// Identity's URL: the other audience.
    pub identity_url: String,
    /// How many verified issuer signatures are remembered.
    pub issuer_memory: usize,
    /// Who may ask.
    pub relying_services: Vec<RelyingService>,
    /// What wallets may know its requests by, beside its DID.
    pub request_certificate: Option<Arc<RequestCertificate>>,
    /// Whose credentials are trusted, beside those of Baton's own people.
    #[cfg(feature = "w3c")]
    pub trust: Arc<baton_w3c::Trust>,
}

/// The service.
pub struct Verifier {
    pub(crate) base: Arc<Base>,
    pub(crate) config: Config,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) issuers: Verified,
    pub(crate) gate: Gate,
    pub(crate) settled: Settled,
}

impl Verifier {
    /// Puts it together.
    pub fn new(base: Base, config: Config) -> Self {
        let (base, freshness) = (Arc::new(base), Arc::new(Freshness::default()));
        let gate = Gate::new(base.clone(), freshness.clone());
        let issuers = Verified::new(config.issuer_memory);
        Self { base, config, freshness, issuers, gate, settled: Settled::default() }
    }

    /// Takes identity's news in.
    pub async fn take(&self, feed: &Feed) -> Result<(), Error> {
        let now = self.base.now();
        for change in &feed.changes {
            // Of who has left nothing is kept here but what refuses their devices.
            let Change::Standing(change) = change else { continue };
            // One at a time: who holds one row alone makes nobody wait who waits for it.
            let mut tx = self.base.db.begin().await?;
            standing::take(&mut tx, change).await?;
            tx.commit().await?;
        }
        self.freshness.renew(feed.fresh_until, now);
        Ok(())
    }

    /// Forgets what has lapsed.
    pub async fn sweep(&self) -> Result<(), Error> {
        crate::store::sweep(&self.base.db, self.base.now()).await
    }

    /// Whether its database answers and its feed is fresh.
    pub async fn is_ready(&self) -> bool {
        self.freshness.is_fresh(self.base.now()) && self.base.db.is_ready().await
    }

    /// Ends all streams, for a stop.
    pub fn close_streams(&self) {
        self.settled.close();
    }

    /// Its base, for the process that runs it.
    pub fn base(&self) -> &Base {
        &self.base
    }
}
