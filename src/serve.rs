//! All three services in one process: databases, keys, routes, the feed between them, and an orderly stop.

use crate::config::Config;
use crate::docs;
use crate::listener::listen;
use crate::peers::local::{LocalBroker, LocalVerifier};
use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use baton_broker::Broker;
use baton_identity::Identity;
use baton_protocol::nonce::NonceKey;
use baton_protocol::ports::{Clock, Entropy};
use baton_service::audit::Audit;
use baton_service::base::Base;
use baton_service::database::Database;
use baton_service::key_ring::KeyRing;
use baton_service::{clock as steady, edge, once};
use baton_verifier::Verifier;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqlx::migrate::Migrator;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often the feed says that there is no news.
const PUMP_EVERY: Duration = Duration::from_secs(1);
/// How often those who have left are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(20);
/// How often what has lapsed is swept out.
const SWEEP_EVERY: u32 = 60;

/// A running server.
pub struct Running {
    /// Identity.
    pub identity: Arc<Identity>,
    /// The verifier.
    pub verifier: Arc<Verifier>,
    /// The broker.
    pub broker: Arc<Broker>,
    /// What was refused lately.
    pub audit: Audit,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    _lock: Option<File>,
}

impl Running {
    /// Stops: no new connections, streams told to go, what is under way finished, databases closed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.broker.close_streams();
        self.verifier.close_streams();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(20), all).await.is_err() {
            self.tasks.abort_all();
        }
        for base in [self.identity.base(), self.verifier.base(), self.broker.base()] {
            if let Err(error) = sweep(base).await {
                tracing::warn!(target: "baton", %error, "the last sweep failed");
            }
            base.db.close().await;
        }
    }
}

/// As many files as this process may have open: each stream is one, and the usual limit is a thousand.
fn open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(target: "baton", %error, "no more open files than before");
    }
}

/// Opens everything and begins to serve on `listener`.
pub async fn start(config: &Config, listener: TcpListener, admin: Option<TcpListener>, clock: Clock, entropy: Entropy) -> anyhow::Result<Running> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir).with_context(|| format!("{}", config.data_dir.display()))?;
    let lock = lock(&config.data_dir)?;
    open_files();
    let services = open(config, &clock, &entropy).await?;
    let Services { identity, verifier, broker } = services;

    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    // Once before the first request, so that nothing is refused for want of news.
    identity.pump().await.map_err(|_| anyhow::anyhow!("the first feed was not taken"))?;
    tasks.spawn(pump(identity.clone(), verifier.clone(), broker.clone(), stopped.clone()));
    tasks.spawn(forget(broker.clone(), stopped.clone()));
    if config.trust_clock {
        broker.forget_far_leases().await?;
    }
    clock.begin();
    let audit = Audit::default();
    let routes = router(&identity, &verifier, &broker, &audit);
    tasks.spawn(listen(listener, routes, stopped.clone()));
    if let Some(admin) = admin {
        let health = health(&identity, &verifier, &broker);
        tasks.spawn(listen(admin, health, stopped));
    }
    Ok(Running { identity, verifier, broker, audit, stop, tasks, _lock: Some(lock) })
}

struct Services {
    identity: Arc<Identity>,
    verifier: Arc<Verifier>,
    broker: Arc<Broker>,
}

async fn open(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Services> {
    let base = |name: &'static str, migrations: &'static Migrator, rests_on: &'static str| {
        base(config, name, migrations, rests_on, clock.clone(), entropy.clone())
    };
    let identity = base(baton_identity::SCHEMA, baton_identity::migrations(), "SELECT COUNT(*) FROM accounts").await?;
    let verifier = base(baton_verifier::SCHEMA, baton_verifier::migrations(), "SELECT COUNT(*) FROM standing").await?;
    let broker = base(baton_broker::SCHEMA, baton_broker::migrations(), "SELECT COUNT(*) FROM standing").await?;
    check_ledger(&identity).await?;

    let verifier_keys = verifier.keys.verifying();
    let (verifier_url, broker_url, identity_url) = (verifier.url.clone(), broker.url.clone(), identity.url.clone());
    let verifier_config = baton_verifier::Config {
        broker_url: broker_url.clone(),
        identity_url: identity_url.clone(),
        issuer_memory: config.issuer_memory,
        relying_services: config.relying_services.clone(),
        request_certificate: config.request_certificate.clone(),
        #[cfg(feature = "w3c")]
        trust: config.trust.clone(),
    };
    let verifier = Arc::new(Verifier::new(verifier, verifier_config));
    let broker_config = baton_broker::Config {
        verifier_url: verifier_url.clone(),
        verifier_keys: verifier_keys.clone(),
        identity_url: identity_url.clone(),
        identity_keys: identity.keys.verifying(),
        tick: config.stream_tick,
    };
    let broker = Arc::new(Broker::new(broker, broker_config));
    let identity_config = baton_identity::Config {
        page_origin: config.approval_url.clone().unwrap_or_else(|| config.public_url.clone()),
        pages_are_elsewhere: config.approval_url.is_some(),
        clients: config.clients.clone(),
        operators: config.operators.clone(),
        registration: config.registration,
        max_devices: config.max_devices,
        verifier_url,
        verifier_keys,
        broker_url,
    };
    let peers: Vec<Arc<dyn baton_identity::StandingPeer>> = vec![Arc::new(LocalVerifier(verifier.clone())), Arc::new(LocalBroker(broker.clone()))];
    let identity = Identity::new(identity, identity_config, peers).map_err(anyhow::Error::msg)?;
    identity.prepare().await?;
    Ok(Services { identity: Arc::new(identity), verifier, broker })
}

async fn base(
    config: &Config,
    name: &'static str,
    migrations: &'static Migrator,
    rests_on: &'static str,
    clock: Clock,
    entropy: Entropy,
) -> anyhow::Result<Base> {
    let url = config.database_url.clone().unwrap_or_else(|| Database::sqlite_url(&config.data_dir.join(format!("{name}.db"))));
    let db = Database::open(&url, name, migrations).await.with_context(|| format!("the database of {name}"))?;
    if config.trust_clock {
        tracing::warn!(target: "baton", database = name, "the clock counts, whatever was before (--trust-clock): start without it next time");
        let mut tx = db.begin().await?;
        steady::forget(&mut tx).await?;
        tx.commit().await?;
    }
    steady::go_on(&db, &clock).await?.with_context(|| format!("the database of {name}"))?;
    let rows: i64 = sqlx::query_scalar(rests_on).fetch_one(db.reader()).await?;
    let keys = KeyRing::open(&config.data_dir.join(format!("{name}.key")), rows == 0)?;
    let nonces = NonceKey::new(keys.nonce_secret());
    Ok(Base { url: format!("{}/{name}", config.public_url), db, keys, nonces, clock, entropy })
}

async fn check_ledger(identity: &Base) -> anyhow::Result<()> {
    let mut db = identity.db.reader().acquire().await?;
    match baton_identity::verify_ledger(&mut db).await? {
        Ok(()) => Ok(()),
        Err(tampered) => bail!("{tampered}: refusing to serve; restore identity from a backup"),
    }
}

/// One process for a data directory (faults.md F16).
fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
    file.try_lock().map_err(|_| anyhow::anyhow!("{}: another process serves this data directory", data_dir.display()))?;
    Ok(file)
}

fn router(identity: &Arc<Identity>, verifier: &Arc<Verifier>, broker: &Arc<Broker>, audit: &Audit) -> Router {
    Router::new()
        .merge(edge::wrap(docs::router(), "root", identity.base(), audit))
        .merge(edge::wrap(baton_identity::router(identity.clone(), "/identity"), "identity", identity.base(), audit))
        .merge(edge::wrap(baton_verifier::router(verifier.clone(), "/verifier"), "verifier", verifier.base(), audit))
        .merge(edge::wrap(baton_broker::router(broker.clone(), "/broker"), "broker", broker.base(), audit))
}

type Health = (Arc<Identity>, Arc<Verifier>, Arc<Broker>);

fn health(identity: &Arc<Identity>, verifier: &Arc<Verifier>, broker: &Arc<Broker>) -> Router {
    Router::new().route("/health/live", get(|| async { "live\n" })).route("/health/ready", get(ready)).with_state((
        identity.clone(),
        verifier.clone(),
        broker.clone(),
    ))
}

async fn ready(State((identity, verifier, broker)): State<Health>) -> (StatusCode, &'static str) {
    if identity.is_ready().await && verifier.is_ready().await && broker.is_ready().await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Keeps verifier and broker in the know, and sweeps.
async fn pump(identity: Arc<Identity>, verifier: Arc<Verifier>, broker: Arc<Broker>, mut stopped: watch::Receiver<bool>) {
    let mut turns = 0u32;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PUMP_EVERY) => {}
            _ = stopped.changed() => return,
        }
        if identity.pump().await.is_err() {
            tracing::warn!(target: "baton", "the feed could not be read");
        }
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(SWEEP_EVERY) {
            if let Err(error) = identity.sweep().await {
                tracing::warn!(target: "baton", %error, "sweep failed");
            }
            if let Err(error) = verifier.sweep().await {
                tracing::warn!(target: "baton", %error, "sweep failed");
            }
            if let Err(error) = broker.sweep().await {
                tracing::warn!(target: "baton", %error, "sweep failed");
            }
            for base in [identity.base(), verifier.base(), broker.base()] {
                if let Err(error) = sweep(base).await {
                    tracing::warn!(target: "baton", %error, "sweep failed");
                }
            }
        }
    }
}

/// Sweeps out those who have left, beside everything else: the feed waits for nobody's history.
async fn forget(broker: Arc<Broker>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            _ = stopped.changed() => return,
        }
        while !*stopped.borrow() {
            match broker.forget_some().await {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(target: "baton", %error, "forgetting failed");
                    break;
                }
            }
        }
    }
}

async fn sweep(base: &Base) -> Result<(), sqlx::Error> {
    let mut tx = base.db.begin().await?;
    once::sweep(&mut tx, base.now()).await?;
    steady::note(&mut tx, base.now()).await?;
    tx.commit().await
}
