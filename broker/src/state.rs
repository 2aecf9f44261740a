//! The broker's parts.

use crate::presence::Presence;
use crate::store::{handoffs, sessions};
use crate::streams::Bell;
use crate::writer;
use baton_protocol::handoff::chain::Accepted;
use baton_protocol::id::SessionId;
use baton_protocol::key::PublicKey;
use baton_protocol::session::LEASE_SECS;
use baton_protocol::time::Millis;
use baton_service::base::Base;
use baton_service::database::Error;
use baton_service::gather::Gather;
use baton_service::guard::TokenIssuer;
use baton_service::standing::Freshness;
use sqlx::migrate::Migrator;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Its PostgreSQL schema.
pub const SCHEMA: &str = "broker";

/// Its migrations.
pub fn migrations() -> &'static Migrator {
    static OWN: Migrator = sqlx::migrate!("./migrations");
    &OWN
}

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// The verifier, whose tokens are taken.
    pub verifier_url: String,
    /// Its keys by name.
    pub verifier_keys: Vec<(String, PublicKey)>,
    /// Identity, whose tokens for the pages are taken.
    pub identity_url: String,
    /// Its keys by name.
    pub identity_keys: Vec<(String, PublicKey)>,
    /// How often a stream looks at what it knows: [`TICK`](crate::TICK).
    pub tick: Duration,
}

/// The service.
pub struct Broker {
    pub(crate) base: Base,
    pub(crate) tokens: TokenIssuer,
    /// The pages' tokens.
    pub(crate) pages: TokenIssuer,
    pub(crate) freshness: Freshness,
    pub(crate) bell: Bell,
    pub(crate) presence: Presence,
    pub(crate) closing: watch::Sender<bool>,
    /// Updates that wait for a commit.
    pub(crate) writes: Gather<writer::Job>,
    pub(crate) tick: Duration,
    /// How many were written in a commit that others could share.
    pub(crate) gathered: AtomicU64,
}

impl Broker {
    /// Puts it together.
    pub fn new(base: Base, config: Config) -> Self {
        let tokens = TokenIssuer::new(config.verifier_url, config.verifier_keys);
        let pages = TokenIssuer::new(config.identity_url, config.identity_keys);
        let presence = Presence::new(base.clock.clone());
        Self {
            base,
            tokens,
            pages,
            freshness: Freshness::default(),
            bell: Bell::default(),
            presence,
            closing: watch::Sender::new(false),
            writes: Gather::default(),
            tick: config.tick,
            gathered: AtomicU64::new(0),
        }
    }

    /// How many updates were written in commits that others could share, since it started: to be looked at, never decided by.
    pub fn gathered(&self) -> u64 {
        self.gathered.load(Ordering::Relaxed)
    }

    /// The broker's acceptance of a statement: from here on it counts.
    pub(crate) fn accept(&self, session: &SessionId, statement: &str) -> String {
        let accepted = Accepted { v: 1, session: session.clone(), statement: statement.into(), at: self.base.now() };
        self.base.keys.sign(accepted.draft(self.base.keys.kid()))
    }

    /// The time by which leases have lapsed. None has within one of the broker's start, or of its clock being set forward: their holders could not say that
    /// they are there.
    pub fn leases_now(&self, now: Millis) -> Millis {
        if now < self.base.clock.unbroken_since().plus_secs(LEASE_SECS) { Millis(0) } else { now }
    }

    /// Leases that end later than any could that was given now lapse as if they were: the clock was wrong when they were given.
    pub async fn forget_far_leases(&self) -> Result<(), Error> {
        let mut tx = self.base.db.begin().await?;
        sessions::shorten_leases(&mut tx, self.base.now().plus_secs(LEASE_SECS)).await?;
        tx.commit().await
    }

    /// Whether its database answers and its feed is fresh.
    pub async fn is_ready(&self) -> bool {
        self.freshness.is_fresh(self.base.now()) && self.base.db.is_ready().await
    }

    /// Ends handoffs whose time is over, so that nobody waits for what does not come: whoever touches the session does so as well.
    pub async fn sweep(&self) -> Result<(), Error> {
        let now = self.base.now();
        let mut db = self.base.db.reader().acquire().await?;
        let old = handoffs::old(&mut db, now).await?;
        drop(db);
        for (handoff, session, log) in old {
            let Ok(session) = SessionId::parse(&session) else { continue };
            let mut tx = self.base.db.begin().await?;
            let open = sessions::hold(&mut tx, &session, &log).await?.and_then(|session| session.open_handoff);
            if open.as_deref() != Some(&handoff) {
                continue;
            }
            let Some(row) = handoffs::hold(&mut tx, &handoff, &log).await? else { continue };
            let ended = handoffs::settle(&mut tx, &row, &log, now).await?;
            tx.commit().await?;
            if ended {
                self.bell.ring(&log);
            }
        }
        Ok(())
    }

    /// Forgets a piece of those who have left; false when nobody is left to forget.
    pub async fn forget_some(&self) -> Result<bool, Error> {
        let mut tx = self.base.db.begin().await?;
        let more = crate::store::everything::forget_some(&mut tx).await?;
        tx.commit().await?;
        Ok(more)
    }

    /// Ends open streams, so that a server can stop.
    pub fn close_streams(&self) {
        self.closing.send_replace(true);
    }

    /// Its base, for the process that runs it.
    pub fn base(&self) -> &Base {
        &self.base
    }
}
