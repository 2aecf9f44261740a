//! A server of one's own for each test: real HTTP on a free port, a fresh database, and people and devices to go with it.

use crate::documents::Documented;
use crate::middle::Middle;
use baton::config::{Config, Flags};
use baton::demo::{SCOPES, Story, claims, enrol_here};
use baton::person::Person;
use baton::serve::{self, Running};
use baton_protocol::enrolment::Kind;
use baton_protocol::ports::Clock;
use baton_sdk::enroll::Enrolling;
use baton_sdk::http::Request;
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Device, Error, Http, Servers};
use baton_service::base::{system_clock, system_entropy};
use baton_service::testing::{On, urls};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::net::TcpListener;

/// A running server and what it stands on.
pub struct Server {
    pub public_url: String,
    port: u16,
    pub running: Running,
    urls: BTreeMap<&'static str, String>,
    config: Config,
    clock: Clock,
    /// Gone with the server.
    dir_kept: tempfile::TempDir,
    documented: Documented,
}

/// A server that does not run, and what it stands on.
pub struct Stopped {
    public_url: String,
    port: u16,
    urls: BTreeMap<&'static str, String>,
    config: Config,
    dir_kept: tempfile::TempDir,
    documented: Documented,
}

impl Stopped {
    /// Tries to start by this clock; what it stands on is kept when it does not.
    pub async fn try_start(&self, clock: &Clock, trust_clock: bool) -> anyhow::Result<Running> {
        let listener = TcpListener::bind(format!("127.0.0.1:{}", self.port)).await.unwrap();
        let config = Config { trust_clock, ..self.config.clone() };
        serve::start(&config, listener, None, clock.clone(), system_entropy()).await
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir_kept.path().join(name)
    }

    /// Starts by this clock.
    pub async fn start(self, clock: Clock, trust_clock: bool) -> anyhow::Result<Server> {
        let running = self.try_start(&clock, trust_clock).await?;
        let Self { public_url, port, urls, config, dir_kept, documented } = self;
        Ok(Server { public_url, port, running, urls, config, clock, dir_kept, documented })
    }
}

const SERVICES: [&str; 3] = ["identity", "verifier", "broker"];

impl Server {
    /// Starts one.
    pub async fn start(on: On) -> Self {
        Self::start_at(on, system_clock()).await
    }

    /// Starts one with a clock of the test's own.
    pub async fn start_at(on: On, clock: Clock) -> Self {
        Self::start_with(on, clock, |_| {}).await
    }

    /// Starts one that everybody talks to through somebody in the middle.
    pub async fn behind(on: On, clock: Clock) -> (Self, Middle) {
        let middle = Middle::listen().await;
        let server = Self::start_with(on, clock, |config| config.public_url.clone_from(&middle.url)).await;
        middle.before(server.direct());
        (server, middle)
    }

    /// Starts one with another configuration than usual; a public URL of one's own leads to [`Self::direct`].
    pub async fn start_with(on: On, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        logs();
        baton_service::witness::call(crate::documents::hold);
        let dir = tempfile::tempdir().unwrap();
        let url = urls(on, dir.path()).await;
        let urls: BTreeMap<_, _> = SERVICES.map(|name| (name, url(name))).into();
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let public_url = format!("http://localhost:{port}");
        let database_url = (on == On::Postgres).then(|| urls["broker"].clone());
        let flags = Flags { data_dir: Some(dir.path().to_path_buf()), public_url: Some(public_url), database_url, ..Flags::default() };
        let mut config = Config::load(flags).unwrap();
        config.relying_services = [("shop", RELYING_KEY), ("cinema", OTHER_RELYING_KEY)]
            .map(|(name, key)| baton_verifier::RelyingService {
                name: name.into(),
                key_sha256: baton_protocol::key::hash(key.as_bytes()),
                unsigned: name == "shop",
            })
            .into();
        config.operators = vec![baton_identity::Operator { name: "console".into(), key_sha256: baton_protocol::key::hash(OPERATOR_KEY.as_bytes()) }];
        change(&mut config);
        let running = serve::start(&config, listener, None, clock.clone(), system_entropy()).await.unwrap();
        Self { public_url: config.public_url.clone(), port, running, urls, config, clock, dir_kept: dir, documented: Documented }
    }

    /// Stops, and starts again on the same databases and port.
    pub async fn restart(self) -> Self {
        let clock = self.clock.clone();
        self.stop().await.start(clock, false).await.unwrap()
    }

    /// Stops, to be started again.
    pub async fn stop(self) -> Stopped {
        self.running.stop().await;
        Stopped {
            public_url: self.public_url,
            port: self.port,
            urls: self.urls,
            config: self.config,
            dir_kept: self.dir_kept,
            documented: self.documented,
        }
    }

    /// Where it listens, whatever its public URL says.
    pub fn direct(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir_kept.path()
    }

    /// Where a service's keys are.
    pub fn key_file(&self, service: &str) -> PathBuf {
        self.dir_kept.path().join(format!("{service}.key"))
    }

    /// The URL of a service's database.
    pub fn database(&self, service: &'static str) -> String {
        self.urls[service].clone()
    }

    /// All rows of all services but those of the named tables, as text.
    pub async fn dump(&self, but: &[&str]) -> String {
        let mut all = String::new();
        for service in SERVICES {
            all += &dump(&self.urls[service], service, but).await.unwrap();
        }
        all
    }

    /// The demo's story, told here.
    pub fn story(&self) -> Story {
        let database = self.database("broker");
        let dumped = move || {
            let database = database.clone();
            async move { Ok(dump(&database, "broker", &[]).await?.into_bytes()) }
        };
        let title = "The General".into();
        Story { public_url: self.public_url.clone(), title, entropy: system_entropy(), dump: Box::new(move || Box::pin(dumped())) }
    }

    /// A person with an account.
    pub async fn person(&self) -> Person {
        let mut person = Person::new(&self.public_url, system_entropy()).unwrap();
        person.sign_up().await.unwrap();
        person
    }

    /// An HTTP client for a device that lives at the server's time.
    pub fn http(&self) -> Http {
        Http::new(self.clock.clone(), system_entropy()).unwrap()
    }

    /// Keys for a device that is not enrolled yet.
    pub fn kept(&self) -> Kept {
        Kept::fresh(Servers::at(&self.public_url), "baton-cli", &system_entropy())
    }

    /// A full device of a person.
    pub async fn full(&self, person: &mut Person, name: &str) -> Arc<Device> {
        enrol_here(person, self.http(), Keystore::memory(), self.kept(), &claims(name, Kind::Laptop)).await.unwrap()
    }

    /// A limited device of a person.
    pub async fn limited(&self, person: &mut Person, name: &str) -> Arc<Device> {
        let (mut asking, screen) = Enrolling::elsewhere(self.http(), Keystore::memory(), self.kept(), &claims(name, Kind::Tv), SCOPES).await.unwrap();
        let shown = person.open_elsewhere(&screen.user_code).await.unwrap();
        person.approve(&shown, Some(&screen.check_code)).await.unwrap();
        asking.redeem(None).await.unwrap();
        Arc::new(asking.into_device().unwrap())
    }
}

/// The API key of the tests' relying service.
pub const RELYING_KEY: &str = "canary-relying-key-0123456789";
/// The API key of the tests' operator.
pub const OPERATOR_KEY: &str = "canary-operator-key-0123456789";
/// And of another relying service.
pub const OTHER_RELYING_KEY: &str = "canary-relying-key-9876543210";

/// A free port below those the system gives outgoing connections, so that a server that comes back finds it free again.
pub fn free_port() -> u16 {
    loop {
        let port = 20_000 + u16::from_be_bytes(system_entropy().bytes()) % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What a device posts to the broker, whatever the SDK would.
pub async fn posts(device: &Device, path: &str, scope: &str, body: &Value) -> Result<Value, Error> {
    let broker = &device.servers().broker;
    let token = device.token(broker, scope, None).await?;
    let body = Some(("application/json", body.to_string().into_bytes()));
    let request = Request { method: "POST", url: format!("{broker}{path}"), service: broker, token: Some(token), body };
    device.http().proven(&request, device.signer()).await
}

/// An HTTP client for a device.
pub fn http() -> Http {
    Http::new(system_clock(), system_entropy()).unwrap()
}

/// Every row a service has stored, as text, table by table.
pub async fn dump(database: &str, schema: &str, but: &[&str]) -> anyhow::Result<String> {
    let mut db = sqlx::AnyConnection::connect(database).await?;
    let sqlite = database.starts_with("sqlite");
    let tables = if sqlite {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> $1 ORDER BY name"
    } else {
        "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = $1 ORDER BY 1"
    };
    let tables: Vec<(String,)> = sqlx::query_as(tables).bind(schema).fetch_all(&mut db).await?;
    let mut all = String::new();
    for (table,) in tables.into_iter().filter(|(table,)| !table.starts_with('_') && !but.contains(&table.as_str())) {
        let row = if sqlite {
            let names: Vec<(String,)> = sqlx::query_as("SELECT name FROM pragma_table_info($1)").bind(&table).fetch_all(&mut db).await?;
            let parts: Vec<_> = names
                .iter()
                .map(|(name,)| format!("COALESCE(CASE WHEN typeof({name}) = 'blob' THEN hex({name}) ELSE CAST({name} AS TEXT) END, '-')"))
                .collect();
            format!("SELECT {} AS row_text FROM {table} ORDER BY 1", parts.join(" || '|' || "))
        } else {
            format!("SELECT CAST(row_to_json(t) AS TEXT) FROM {schema}.{table} t ORDER BY 1")
        };
        for row in sqlx::query(AssertSqlSafe(row)).fetch_all(&mut db).await? {
            writeln!(all, "{schema}.{table}: {}", row.try_get::<String, _>(0)?)?;
        }
    }
    db.close().await?;
    Ok(all)
}

/// Everything all servers of this process have logged.
pub fn logs() -> Arc<Mutex<Vec<u8>>> {
    static LOGS: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let buffer = LOGS.get_or_init(|| {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let writer = buffer.clone();
        tracing_subscriber::fmt().json().with_env_filter("trace").with_writer(move || Shared(writer.clone())).try_init().unwrap();
        buffer
    });
    buffer.clone()
}

struct Shared(Arc<Mutex<Vec<u8>>>);
impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The program under test.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_baton").into()
}
