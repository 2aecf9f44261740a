//! Configuration: flags over `BATON_*` over `baton.toml` over defaults.

use anyhow::{Context as _, bail};
use baton_identity::{Client, Clients, Operator};
#[cfg(feature = "w3c")]
use baton_verifier::{Policy, Trust};
use baton_verifier::{RelyingService, RequestCertificate};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What flags and environment say.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Configuration file; `baton.toml` in the data directory by default
    #[arg(long, env = "BATON_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where databases and keys are kept
    #[arg(long, env = "BATON_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, env = "BATON_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address for health checks; loopback only
    #[arg(long, env = "BATON_ADMIN_LISTEN", value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// The URL people and devices use; https unless it is localhost
    #[arg(long, env = "BATON_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// A static origin of its own for the pages; passkeys are then made for its host
    #[arg(long, env = "BATON_APPROVAL_URL", value_name = "URL")]
    pub approval_url: Option<String>,
    /// PostgreSQL instead of SQLite: `postgres://..`; give it by environment or file, not as a flag
    #[arg(env = "BATON_DATABASE_URL", long, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// The clock was wrong, ahead, when these databases were used last, and is right now: what had expired by then may be good again
    #[arg(long)]
    pub trust_clock: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    public_url: Option<String>,
    approval_url: Option<String>,
    database_url: Option<String>,
    max_devices: Option<i64>,
    issuer_memory: Option<usize>,
    #[serde(default)]
    registration: bool,
    #[serde(default)]
    client: Vec<Client>,
    #[serde(default)]
    relying_service: Vec<RelyingService>,
    #[serde(default)]
    operator: Vec<Operator>,
    /// What wallets may know the verifier by: files, beside this one unless their paths are absolute.
    request_certificate: Option<CertificateFiles>,
    /// Whose credentials the verifier trusts beside Baton's own: a file, beside this one unless its path is absolute.
    trust_policy: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
}

/// What is in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where databases and keys are kept.
    pub data_dir: PathBuf,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address for health checks.
    pub admin_listen: SocketAddr,
    /// The public URL, without a trailing slash.
    pub public_url: String,
    /// Where the pages are, if somewhere else: an origin.
    pub approval_url: Option<String>,
    /// PostgreSQL, if not SQLite.
    pub database_url: Option<String>,
    /// Whether the clock counts, whatever the databases say.
    pub trust_clock: bool,
    /// Most devices of one account.
    pub max_devices: i64,
    /// How many verified issuer signatures the verifier remembers.
    pub issuer_memory: usize,
    /// OAuth clients.
    pub clients: Clients,
    /// Relying services.
    pub relying_services: Vec<RelyingService>,
    /// What wallets may know the verifier by.
    pub request_certificate: Option<Arc<RequestCertificate>>,
    /// Who may introspect tokens.
    pub operators: Vec<Operator>,
    /// Whether OAuth clients may register themselves.
    pub registration: bool,
    /// How often a stream looks at what it knows. Nothing an operator decides: tests have less time.
    pub stream_tick: Duration,
    /// Whose credentials are trusted, beside those of Baton's own people.
    #[cfg(feature = "w3c")]
    pub trust: Arc<Trust>,
}

impl Config {
    /// Puts the layers together and refuses what cannot be safe.
    pub fn load(flags: Flags) -> anyhow::Result<Self> {
        let data_dir = flags.data_dir.unwrap_or_else(|| PathBuf::from("data"));
        let path = flags.config.clone().unwrap_or_else(|| data_dir.join("baton.toml"));
        let file: File = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{}", path.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && flags.config.is_none() => File::default(),
            Err(e) => return Err(e).with_context(|| format!("{}", path.display())),
        };
        let default_listen = SocketAddr::from(([127, 0, 0, 1], 7777));
        let default_admin = SocketAddr::from(([127, 0, 0, 1], 7778));
        let config = Self {
            data_dir,
            listen: flags.listen.or(file.listen).unwrap_or(default_listen),
            admin_listen: flags.admin_listen.or(file.admin_listen).unwrap_or(default_admin),
            public_url: flags.public_url.or(file.public_url).unwrap_or_else(|| "http://localhost:7777".into()).trim_end_matches('/').to_owned(),
            approval_url: flags.approval_url.or(file.approval_url).map(|url| url.trim_end_matches('/').to_owned()),
            database_url: flags.database_url.or(file.database_url),
            trust_clock: flags.trust_clock,
            max_devices: file.max_devices.unwrap_or(50),
            issuer_memory: file.issuer_memory.unwrap_or(100_000),
            clients: if file.client.is_empty() { Clients::default() } else { Clients::new(file.client) },
            relying_services: file.relying_service,
            request_certificate: file.request_certificate.map(|files| request_certificate(&files, &path)).transpose()?,
            operators: file.operator,
            registration: file.registration,
            stream_tick: baton_broker::TICK,
            #[cfg(feature = "w3c")]
            trust: trust(file.trust_policy.as_deref(), &path)?,
        };
        #[cfg(not(feature = "w3c"))]
        if file.trust_policy.is_some() {
            bail!("trust_policy: this build reads no other people's credentials (feature w3c)");
        }
        config.check()?;
        Ok(config)
    }

    /// TLS is the proxy's; a public URL in clear is only for this machine.
    pub fn check(&self) -> anyhow::Result<()> {
        let host = url::Url::parse(&self.public_url).context("public_url")?;
        let local = host.host_str() == Some("localhost");
        if host.scheme() != "https" && !(host.scheme() == "http" && local) {
            bail!("public_url must be https unless its host is localhost (passkeys need a host name, so 127.0.0.1 will not do)");
        }
        if let Some(approval) = &self.approval_url {
            check_approval(approval, &host)?;
        }
        let keys = self.relying_services.iter().map(|service| (&service.name, &service.key_sha256));
        for (name, key) in keys.chain(self.operators.iter().map(|operator| (&operator.name, &operator.key_sha256))) {
            if baton_protocol::b64::decode_array::<32>(key).is_err() {
                bail!("key_sha256 of {name:?} is not base64url of 32 bytes");
            }
        }
        if !self.admin_listen.ip().is_loopback() {
            bail!("admin_listen must be a loopback address");
        }
        Ok(())
    }

    /// What is in force, secrets hidden, as TOML.
    pub fn shown(&self) -> anyhow::Result<String> {
        #[derive(Serialize)]
        struct Shown<'a> {
            data_dir: &'a PathBuf,
            listen: SocketAddr,
            admin_listen: SocketAddr,
            public_url: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            approval_url: Option<&'a str>,
            database: String,
            max_devices: i64,
            issuer_memory: usize,
            registration: bool,
            relying_services: Vec<&'a str>,
            operators: Vec<&'a str>,
            clients: Vec<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_certificate: Option<&'a str>,
            #[cfg(feature = "w3c")]
            trusted_issuers: Vec<&'a str>,
        }
        let database = match &self.database_url {
            None => "sqlite in the data directory".to_owned(),
            Some(url) => hide_password(url),
        };
        let relying_services = self.relying_services.iter().map(|service| service.name.as_str()).collect();
        let Self { data_dir, listen, admin_listen, public_url, max_devices, issuer_memory, .. } = self;
        let (listen, admin_listen, max_devices, issuer_memory) = (*listen, *admin_listen, *max_devices, *issuer_memory);
        let approval_url = self.approval_url.as_deref();
        let shown = Shown {
            data_dir,
            listen,
            admin_listen,
            public_url,
            approval_url,
            database,
            max_devices,
            issuer_memory,
            registration: self.registration,
            relying_services,
            operators: self.operators.iter().map(|operator| operator.name.as_str()).collect(),
            clients: self.clients.ids().collect(),
            request_certificate: self.request_certificate.as_deref().map(RequestCertificate::hash),
            #[cfg(feature = "w3c")]
            trusted_issuers: self.trust.policy.issuer.iter().map(|trusted| trusted.id.as_str()).collect(),
        };
        Ok(toml::to_string(&shown)?)
    }
}

/// A file that the configuration names, and where it is.
fn read(named: &Path, beside: &Path) -> anyhow::Result<(PathBuf, String)> {
    let path = beside.parent().unwrap_or(Path::new(".")).join(named);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    Ok((path, text))
}

fn request_certificate(files: &CertificateFiles, beside: &Path) -> anyhow::Result<Arc<RequestCertificate>> {
    let (_, chain) = read(&files.chain, beside)?;
    let (_, key) = read(&files.key, beside)?;
    RequestCertificate::read(&chain, &key).map(Arc::new).map_err(anyhow::Error::msg).context("request_certificate")
}

/// Reads the policy file, if one is named.
#[cfg(feature = "w3c")]
fn trust(named: Option<&Path>, beside: &Path) -> anyhow::Result<Arc<Trust>> {
    let new = |policy| Trust::new(policy).map(Arc::new).map_err(anyhow::Error::msg);
    let Some(named) = named else { return new(Policy::default()) };
    let (path, text) = read(named, beside)?;
    let policy: Policy = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
    new(policy).with_context(|| format!("{}", path.display()))
}

/// The pages' own origin keeps a taken-over identity service away from the passkeys: so identity is neither that host nor beneath it.
fn check_approval(approval: &str, public: &url::Url) -> anyhow::Result<()> {
    let url = url::Url::parse(approval).context("approval_url")?;
    let (Some(url::Host::Domain(host)), Some(identity)) = (url.host(), public.host_str()) else { bail!("approval_url must have a host name") };
    let local = host == "localhost" || host.ends_with(".localhost");
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        bail!("approval_url must be https unless its host is localhost or beneath it");
    }
    if url.origin().ascii_serialization() != approval {
        bail!("approval_url must be an origin: scheme, host and port alone");
    }
    if identity == host || identity.ends_with(&format!(".{host}")) {
        bail!("identity must be neither at approval_url's host nor beneath it: passkeys made there would work here");
    }
    Ok(())
}

fn hide_password(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut parsed) => {
            if parsed.password().is_some() && parsed.set_password(Some("hidden")).is_err() {
                return "hidden".into();
            }
            parsed.set_query(None);
            parsed.into()
        }
        Err(_) => "hidden".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(url: &str) -> Flags {
        Flags { public_url: Some(url.into()), data_dir: Some("/nonexistent".into()), ..Flags::default() }
    }

    #[test]
    fn clear_text_is_for_this_machine_alone() {
        assert!(Config::load(flags("https://baton.example")).is_ok());
        assert!(Config::load(flags("http://localhost:7777/")).is_ok_and(|config| config.public_url == "http://localhost:7777"));
        assert!(Config::load(flags("http://baton.example")).is_err());
        let public_admin = Flags { admin_listen: Some(SocketAddr::from(([0, 0, 0, 0], 1))), ..flags("https://baton.example") };
        assert!(Config::load(public_admin).is_err());
    }

    #[test]
    fn the_pages_own_origin_is_away_from_identity() {
        let with = |public: &str, approval: &str| Config::load(Flags { approval_url: Some(approval.into()), ..flags(public) }).is_ok();
        assert!(with("https://id.baton.example", "https://approve.example"));
        assert!(with("https://id.baton.example", "https://approve.baton.example/"), "beside it");
        assert!(with("http://localhost:7777", "http://approve.localhost:7779"));
        for wrong in [
            "https://id.baton.example",
            "https://id.baton.example:8443",
            "https://baton.example",
            "http://approve.example",
            "https://approve.example/x",
            "https://192.0.2.1",
            "x",
        ] {
            assert!(!with("https://id.baton.example", wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_hides_the_password() {
        let with_password = Flags { database_url: Some("postgres://baton:canary@db/baton?password=canary".into()), ..flags("https://baton.example") };
        let shown = Config::load(with_password).unwrap().shown().unwrap();
        assert!(!shown.contains("canary") && shown.contains("postgres://baton"), "{shown}");
    }
}
