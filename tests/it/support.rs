//! A server of one's own for each test: real HTTP on a free port, a fresh database.

use baton::config::{Config, Flags};
use baton::serve::{self, Running};
use baton_service::base::{system_clock, system_entropy};
use baton_service::testing::{On, urls};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::net::TcpListener;

/// A running server and what it stands on.
pub struct Server {
    pub public_url: String,
    pub database: String,
    pub running: Running,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts one.
    pub async fn start(on: On) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = urls(on, dir.path()).await("broker");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public_url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let database_url = (on == On::Postgres).then(|| database.clone());
        let flags = Flags { data_dir: Some(dir.path().to_path_buf()), public_url: Some(public_url.clone()), database_url, ..Flags::default() };
        let config = Config::load(flags).unwrap();
        let running = serve::start(&config, listener, None, system_clock(), system_entropy()).await.unwrap();
        Self { public_url, database, running, _dir: dir }
    }

    /// Every row the broker has stored, as text.
    pub async fn dump_broker(database: String) -> anyhow::Result<Vec<u8>> {
        let mut db = sqlx::AnyConnection::connect(&database).await?;
        let sqlite = database.starts_with("sqlite");
        let tables = if sqlite {
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        } else {
            "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'broker'"
        };
        let tables: Vec<(String,)> = sqlx::query_as(tables).fetch_all(&mut db).await?;
        let mut all = Vec::new();
        for (table,) in tables.into_iter().filter(|(table,)| !table.starts_with('_')) {
            if sqlite {
                let names: Vec<(String,)> = sqlx::query_as("SELECT name FROM pragma_table_info($1)").bind(&table).fetch_all(&mut db).await?;
                for (name,) in names {
                    let sql = AssertSqlSafe(format!("SELECT CAST({name} AS TEXT) FROM {table} WHERE {name} IS NOT NULL"));
                    for row in sqlx::query(sql).fetch_all(&mut db).await? {
                        all.extend_from_slice(row.try_get::<String, _>(0)?.as_bytes());
                    }
                }
            } else {
                for row in sqlx::query(AssertSqlSafe(format!("SELECT CAST(row_to_json(t) AS TEXT) FROM broker.{table} t"))).fetch_all(&mut db).await?
                {
                    all.extend_from_slice(row.try_get::<String, _>(0)?.as_bytes());
                }
            }
        }
        db.close().await?;
        Ok(all)
    }
}
