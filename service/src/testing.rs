//! Databases and time for tests. SQLite in a fresh folder; PostgreSQL in a fresh database of the cluster that `make test` starts.

use crate::database::Database;
use baton_protocol::ports::Clock;
use baton_protocol::time::Millis;
use sqlx::Connection as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that a test moves.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Starts at the system's time, so that it may be mixed with real peers.
    pub fn start() -> Self {
        Self(Arc::new(AtomicI64::new(crate::base::system_clock().now().0)))
    }
    /// As a clock.
    pub fn clock(&self) -> Clock {
        let at = self.0.clone();
        Clock::new(move || Millis(at.load(Ordering::SeqCst)))
    }
    /// Moves on.
    pub fn advance_secs(&self, secs: i64) {
        self.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A function that gives each service its database URL: files below `dir`, or schemas of one fresh PostgreSQL database.
pub async fn urls(on: On, dir: &Path) -> impl Fn(&'static str) -> String + Send + Sync + Clone + 'static {
    let base = match on {
        On::Sqlite => dir.to_string_lossy().into_owned(),
        On::Postgres => fresh_postgres().await,
    };
    move |service| match on {
        On::Sqlite => Database::sqlite_url(&Path::new(&base).join(format!("{service}.db"))),
        On::Postgres => base.clone(),
    }
}

async fn fresh_postgres() -> String {
    sqlx::any::install_default_drivers();
    let admin = std::env::var("BATON_TEST_POSTGRES").expect("BATON_TEST_POSTGRES names the cluster: run the tests with `make test`");
    let name =
        format!("t{}", baton_protocol::key::hash(crate::base::system_entropy().token().as_bytes())[..16].to_lowercase().replace(['-', '_'], "x"));
    let mut connection = sqlx::AnyConnection::connect(&admin).await.expect("the test cluster answers");
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.expect("a fresh database");
    connection.close().await.expect("closes");
    admin.replacen("/postgres?", &format!("/{name}?"), 1)
}
