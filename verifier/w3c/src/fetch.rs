//! One request to another party's host: only to those the policy names, over TLS, to public addresses, no redirects, little, and soon.

use crate::Policy;
use crate::address::Addresses;
use crate::certificate;
use crate::policy::Host;
use reqwest::{StatusCode, redirect};
use std::collections::HashMap;
use std::time::Duration;
use url::Url;

/// Longest answer.
pub const MAX_ANSWER: usize = 512 * 1024;
/// How long one may take, all of it.
const TIME: Duration = Duration::from_secs(3);

/// Why there is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// Nobody answered, or not for now: what was said before may still count.
    Silent,
    /// It is not there.
    Gone,
}

/// The hosts that may be asked.
#[derive(Debug)]
pub struct Hosts(HashMap<String, reqwest::Client>);

impl Hosts {
    /// Of a policy.
    pub fn new(policy: &Policy) -> Result<Self, String> {
        let client = |host: &Host| Ok((host.name.clone(), client(host).map_err(|why| format!("host {}: {why}", host.name))?));
        policy.host.iter().map(client).collect::<Result<_, String>>().map(Self)
    }

    /// Asks.
    pub fn ask(&self, url: Url, accept: &'static str) -> impl Future<Output = Result<Vec<u8>, Failed>> + Send + 'static {
        let client = host(&url).ok().and_then(|name| self.0.get(&name).cloned());
        async move {
            let client = client.ok_or(Failed::Gone)?;
            let mut answer = client.get(url).header("accept", accept).send().await.map_err(|why| {
                tracing::warn!(target: "baton", error = ?why.without_url(), "another issuer's host did not answer");
                Failed::Silent
            })?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::TOO_MANY_REQUESTS => return Err(Failed::Silent),
                status if status.is_server_error() => return Err(Failed::Silent),
                // A redirect is one of the answers that are none.
                _ => return Err(Failed::Gone),
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|_| Failed::Silent)? {
                if bytes.len() + chunk.len() > MAX_ANSWER {
                    return Err(Failed::Gone);
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        }
    }
}

/// An https URL of a name, with nothing in it that a reader might overlook.
pub fn plain(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is at no URL")?;
    let named = matches!(url.host(), Some(url::Host::Domain(_)));
    if url.scheme() != "https" || !named || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() || text.len() > 1024 {
        return Err("it is at no https URL of a named host");
    }
    Ok(url)
}

/// `name`, or `name:port` where the port is not 443.
pub fn host(url: &Url) -> Result<String, &'static str> {
    let name = url.host_str().ok_or("it is at no URL")?;
    Ok(url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")))
}

fn client(host: &Host) -> Result<reqwest::Client, String> {
    let roots = if host.roots.is_empty() { Vec::new() } else { certificate::roots(&host.roots)? };
    let roots = roots.iter().map(|der| reqwest::Certificate::from_der(der).map_err(|why| why.to_string())).collect::<Result<Vec<_>, _>>()?;
    let builder = reqwest::Client::builder()
        .https_only(true)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(TIME)
        .connect_timeout(TIME)
        .pool_max_idle_per_host(2)
        .user_agent("baton")
        .dns_resolver(Addresses { private: host.private });
    let builder = if roots.is_empty() { builder } else { builder.tls_certs_only(roots) };
    builder.build().map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_asked() {
        assert_eq!(host(&plain("https://status.example:8443/1").unwrap()).unwrap(), "status.example:8443");
        assert_eq!(host(&plain("https://STATUS.example:443/1").unwrap()).unwrap(), "status.example");
        for bad in [
            "http://status.example/",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://0x7f000001/",
            "https://a@status.example/",
            "https://status.example/#a",
            "x",
        ] {
            assert!(plain(bad).is_err(), "{bad}");
        }
    }
}
