//! One database per service, SQLite or PostgreSQL, one SQL text for both (sqlx `Any`).
//!
//! Every write happens in a transaction ended by `commit`: a lone `.. RETURNING` may report a row whose commit failed. SQLite has one
//! writer connection and begins with `BEGIN IMMEDIATE`; PostgreSQL locks what it read first with [`locked!`].

use baton_protocol::time::Millis;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::migrate::{Migration, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Transaction};
use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

pub use sqlx::Error;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One file, one process.
    Sqlite,
    /// One schema.
    Postgres,
}

/// A SELECT whose rows no one else may change before this transaction ends.
#[derive(Debug, Clone, Copy)]
pub struct Locked {
    /// SQLite's text: `BEGIN IMMEDIATE` holds the one write lock already.
    pub sqlite: &'static str,
    /// PostgreSQL's.
    pub postgres: &'static str,
}

impl Locked {
    /// The text for this connection.
    pub fn on(self, connection: &AnyConnection) -> &'static str {
        if connection.backend_name() == "SQLite" { self.sqlite } else { self.postgres }
    }
}

/// `locked!("SELECT ..")` locks rows against change, `locked!("SELECT ..", share)` lets others read-lock them too.
#[macro_export]
macro_rules! locked {
    ($sql:literal) => {
        $crate::database::Locked { sqlite: $sql, postgres: concat!($sql, " FOR UPDATE") }
    };
    ($sql:literal, share) => {
        $crate::database::Locked { sqlite: $sql, postgres: concat!($sql, " FOR SHARE") }
    };
}

static COMMON: Migrator = sqlx::migrate!("./migrations");

/// A service's database.
#[derive(Clone)]
pub struct Database {
    backend: Backend,
    write: AnyPool,
    read: AnyPool,
}

/// A failure to open a database.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database said no.
    #[error("database: {0}")]
    Sql(#[from] Error),
    /// A migration failed or the schema is newer than this program.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl Database {
    /// Opens and migrates. `schema` names the PostgreSQL schema; `own` are the service's migrations, after the common ones.
    pub async fn open(url: &str, schema: &'static str, own: &Migrator) -> Result<Self, OpenError> {
        install_default_drivers();
        let backend = if url.starts_with("sqlite:") { Backend::Sqlite } else { Backend::Postgres };
        let url = match backend {
            Backend::Sqlite => url.to_owned(),
            Backend::Postgres => format!("{url}{}options[search_path]={schema}", if url.contains('?') { '&' } else { '?' }),
        };
        let options: AnyConnectOptions = url.parse()?;
        let options = options.disable_statement_logging();
        let writers = if backend == Backend::Sqlite { 1 } else { 8 };
        let write = pool(backend, writers, false).connect_with(options.clone()).await?;
        // Its own connection: on PostgreSQL a failed run keeps the advisory lock until its session ends.
        let mut connection = AnyConnection::connect_with(&options).await?;
        let migrations: Vec<Migration> = COMMON.migrations.iter().chain(own.migrations.iter()).cloned().collect();
        let mut migrator = Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT };
        if backend == Backend::Postgres {
            migrator.create_schema(schema.to_owned());
        }
        let outcome = migrator.run(&mut connection).await;
        connection.close().await?;
        outcome?;
        let read = pool(backend, 4, true).connect_with(options).await?;
        Ok(Self { backend, write, read })
    }

    /// The URL of a SQLite file.
    pub fn sqlite_url(path: &Path) -> String {
        let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        format!("sqlite://{path}?mode=rwc")
    }

    /// Begins a transaction that may write.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, Error> {
        match self.backend {
            Backend::Sqlite => self.write.begin_with("BEGIN IMMEDIATE").await,
            Backend::Postgres => self.write.begin().await,
        }
    }

    /// The same for one that others wait behind: it gives up where somebody else holds what it needs for more than a moment.
    pub async fn begin_briefly(&self) -> Result<Transaction<'static, Any>, Error> {
        let mut tx = self.begin().await?;
        if self.backend == Backend::Postgres {
            sqlx::query("SET LOCAL lock_timeout = '100ms'").execute(&mut *tx).await?;
        }
        Ok(tx)
    }

    /// Forgets what had lapsed by then: each DELETE in a transaction of its own, so that none holds rows of one table while it waits for another's.
    pub async fn forget(&self, lapsed: &[(&'static str, Millis)]) -> Result<(), Error> {
        for (delete, by) in lapsed {
            let mut tx = self.begin().await?;
            sqlx::query(*delete).bind(by.0).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// For lone reads.
    pub fn reader(&self) -> &AnyPool {
        &self.read
    }

    /// Whether it answers.
    pub async fn is_ready(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.read).await.is_ok()
    }

    /// Which database it is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.write.close().await;
        self.read.close().await;
    }
}

fn pool(backend: Backend, size: u32, reader: bool) -> AnyPoolOptions {
    // A file in this process is always there: to ask before each use would be one more turn of its thread.
    let options = AnyPoolOptions::new().test_before_acquire(backend == Backend::Postgres);
    options.max_connections(size).acquire_timeout(Duration::from_secs(5)).idle_timeout(None).max_lifetime(None).after_connect(
        move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                let setup = match (backend, reader) {
                    (Backend::Sqlite, false) => {
                        // Statement journals in memory: in a file, each group commit would make and delete one.
                        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                         PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000"
                    }
                    (Backend::Sqlite, true) => "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON",
                    (Backend::Postgres, _) => "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '30s'; SET synchronous_commit = on",
                };
                connection.execute(setup).await?;
                Ok(())
            })
        },
    )
}

/// Whether an insert met a key that is taken.
pub fn is_taken(error: &Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
