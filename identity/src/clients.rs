//! Public OAuth clients, by registration (RFC 6749 §2). A fresh install knows one: `baton-cli`, with loopback redirects of any port (RFC 8252 §7.3).

use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError, RwLock};

/// Scopes that exist.
pub const SCOPES: &[&str] = &["session:read", "session:write", "handoff:offer", "handoff:accept", "presence"];

/// One client of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its id.
    pub client_id: String,
    /// The app it belongs to.
    pub app: String,
    /// What persons see.
    pub name: String,
    /// Where codes may go. A loopback address stands for any port on it.
    pub redirect_uris: Vec<String>,
}

/// All clients: the operator's, and those that registered themselves since.
#[derive(Debug, Clone)]
pub struct Clients {
    configured: Vec<Client>,
    registered: Arc<RwLock<Vec<Client>>>,
}

impl Default for Clients {
    fn default() -> Self {
        let cli = Client {
            client_id: "baton-cli".into(),
            app: "baton".into(),
            name: "Baton command line".into(),
            redirect_uris: vec!["http://127.0.0.1/callback".into(), "http://[::1]/callback".into()],
        };
        Self::new(vec![cli])
    }
}

impl Clients {
    /// From a registry.
    pub fn new(clients: Vec<Client>) -> Self {
        Self { configured: clients, registered: Arc::default() }
    }
    /// The client of that id; one that the operator named comes first.
    pub fn get(&self, client_id: &str) -> Option<Client> {
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        self.configured.iter().chain(registered.iter()).find(|client| client.client_id == client_id).cloned()
    }
    /// The ids of those that the operator named.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.configured.iter().map(|client| client.client_id.as_str())
    }
    /// One that has just registered.
    pub(crate) fn add(&self, client: Client) {
        self.registered.write().unwrap_or_else(PoisonError::into_inner).push(client);
    }
    /// All that registered before.
    pub(crate) fn set_registered(&self, clients: Vec<Client>) {
        *self.registered.write().unwrap_or_else(PoisonError::into_inner) = clients;
    }
}

/// Whether a client may name this URI for itself: https with a host, or a loopback address (RFC 8252 §7.3), no fragment (RFC 6749 §3.1.2).
pub fn is_registrable(uri: &str) -> bool {
    let plain = uri.len() <= 512 && uri.bytes().all(|byte| byte.is_ascii_graphic()) && !uri.contains(['#', '@', '\\', '*']);
    let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://127.0.0.1/")).or_else(|| uri.strip_prefix("http://[::1]/"));
    plain && rest.is_some_and(|rest| !uri.starts_with("https://") || rest.starts_with(|first: char| first.is_ascii_alphanumeric()))
}

impl Client {
    /// Whether a code may go there: exactly a registered URI, the port of a loopback address aside.
    pub fn allows_redirect(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|registered| registered == uri || without_loopback_port(uri).as_deref() == Some(registered))
    }
}

fn without_loopback_port(uri: &str) -> Option<String> {
    ["http://127.0.0.1", "http://[::1]"].iter().find_map(|host| {
        let rest = uri.strip_prefix(host)?.strip_prefix(':')?;
        let (port, path) = rest.split_once('/')?;
        port.parse::<u16>().ok().filter(|parsed| parsed.to_string() == port)?;
        Some(format!("{host}/{path}"))
    })
}

/// Whether a scope string names known scopes, each once.
pub fn is_scope(scope: &str) -> bool {
    let mut seen = std::collections::HashSet::new();
    !scope.is_empty() && scope.split(' ').all(|one| SCOPES.contains(&one) && seen.insert(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_port_of_the_loopback_and_nothing_else() {
        let clients = Clients::default();
        let cli = clients.get("baton-cli").unwrap();
        for good in ["http://127.0.0.1:49152/callback", "http://[::1]:1/callback", "http://127.0.0.1/callback"] {
            assert!(cli.allows_redirect(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1:49152/callback/x",
            "http://127.0.0.1:49152/callback?x",
            "http://127.0.0.1:0x1/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:80@evil.example/callback",
            "http://localhost:1/callback",
            "https://127.0.0.1:1/callback",
            "http://127.0.0.1.evil.example/callback",
        ] {
            assert!(!cli.allows_redirect(bad), "{bad}");
        }
        assert!(
            is_registrable("https://app.example/callback?x")
                && is_registrable("http://127.0.0.1/callback")
                && is_registrable("http://[::1]/callback")
        );
        for bad in [
            "http://app.example/callback",
            "https:///callback",
            "https://app.example/#x",
            "https://app.example@evil.example/",
            "https://app.example\\@evil.example/",
            "https://*.example/",
            "javascript:alert(1)",
            "com.example:/callback",
            "http://127.0.0.1:1/callback",
            "http://127.0.0.1.evil.example/",
            "https://app.example/ x",
            "",
        ] {
            assert!(!is_registrable(bad), "{bad}");
        }
        assert!(
            is_scope("session:read presence")
                && !is_scope("")
                && !is_scope("admin")
                && !is_scope("presence presence")
                && !is_scope("presence  session:read")
        );
    }
}
