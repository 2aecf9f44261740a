//! What is fetched from other people's hosts: only from those the policy names, over TLS, from public addresses, no redirects, little, and soon.

use crate::Policy;
use crate::policy::Host;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// Longest answer.
pub const MAX_ANSWER: usize = 512 * 1024;
/// How long one may take, all of it.
const TIME: Duration = Duration::from_secs(5);
/// How long an answer is good before it is asked for again.
pub const FRESH_SECS: i64 = 60;
/// Most answers kept.
const MOST: usize = 128;

/// An answer's bytes, or why there are none.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, &'static str>> + Send + 'a>>;

/// Whoever fetches.
pub trait Fetch: Send + Sync {
    /// What is at this URL, at most [`FRESH_SECS`] old; where it cannot be asked for now, at most as old as the policy says. `now` in Unix seconds.
    fn get<'a>(&'a self, url: &'a str, accept: &'static str, now: i64) -> Fetched<'a>;
}

#[derive(Debug)]
struct Copy {
    at: i64,
    bytes: Vec<u8>,
}

/// The real one.
#[derive(Debug)]
pub struct Fetcher {
    hosts: HashMap<String, reqwest::Client>,
    stale_secs: i64,
    copies: Mutex<HashMap<String, Copy>>,
}

impl Fetcher {
    /// For the hosts of a policy.
    pub fn new(policy: &Policy) -> Result<Self, String> {
        let client = |host: &Host| Ok((host.name.clone(), client(host).map_err(|why| format!("host {}: {why}", host.name))?));
        let hosts = policy.host.iter().map(client).collect::<Result<_, String>>()?;
        Ok(Self { hosts, stale_secs: policy.stale_secs, copies: Mutex::default() })
    }

    async fn ask(&self, url: Url, accept: &'static str) -> Result<Vec<u8>, &'static str> {
        let failed = "it could not be fetched";
        let client = self.hosts.get(&host(&url)?).ok_or("its host is not in the policy")?;
        let mut answer = client.get(url).header("accept", accept).send().await.map_err(|why| {
            tracing::warn!(target: "baton", error = ?why.without_url(), "another issuer's host did not answer");
            failed
        })?;
        // A redirect is one of the answers that are none.
        if answer.status() != reqwest::StatusCode::OK {
            return Err(failed);
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| failed)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err("it is too long");
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn copy(&self, url: &Url, now: i64, at_most: i64) -> Option<Vec<u8>> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes no copy younger.
        copies.get(url.as_str()).filter(|copy| (0..at_most).contains(&(now - copy.at))).map(|copy| copy.bytes.clone())
    }

    fn keep(&self, url: &Url, now: i64, bytes: Vec<u8>) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.len() >= MOST && !copies.contains_key(url.as_str()) {
            let oldest = copies.iter().min_by_key(|(_, copy)| copy.at).map(|(url, _)| url.clone());
            oldest.and_then(|url| copies.remove(&url));
        }
        copies.insert(url.to_string(), Copy { at: now, bytes });
    }
}

impl Fetch for Fetcher {
    fn get<'a>(&'a self, url: &'a str, accept: &'static str, now: i64) -> Fetched<'a> {
        Box::pin(async move {
            let url = plain(url)?;
            if let Some(bytes) = self.copy(&url, now, FRESH_SECS) {
                return Ok(bytes);
            }
            match self.ask(url.clone(), accept).await {
                Ok(bytes) => {
                    self.keep(&url, now, bytes.clone());
                    Ok(bytes)
                }
                Err(why) => self.copy(&url, now, self.stale_secs).ok_or(why),
            }
        })
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
    let roots = reqwest::Certificate::from_pem_bundle(host.roots.as_bytes()).map_err(|why| why.to_string())?;
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

/// Resolves, and keeps what may be asked: so a name that is made to point at something inside reaches nothing.
struct Addresses {
    private: bool,
}

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let found: Vec<_> = found.into_iter().filter(|address| private || is_public(address.ip())).collect();
            if found.is_empty() {
                return Err("no public address".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the internet at large (the IANA special-purpose registries say which are not).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), embedded(address)) {
            (Some(inside), _) | (_, Some(inside)) => is_public_v4(inside),
            _ => is_public_v6(address),
        },
    }
}

/// The IPv4 address that a translator would go on to: NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99))
}

/// 2000::/3 is what is given out; of it, not documentation, nor what is for tunnels and tests.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && !(first == 0x2001 && (second == 0xdb8 || second & 0xfe00 == 0)) && !(first == 0x3fff && second & 0xf000 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_asked() {
        for inside in [
            "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1",
            "192.0.2.1", "192.0.0.8", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::7f00:1",
            "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:db8::1", "2001::1", "100::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "198.20.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2a00::1"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn only_plain_urls_are_asked() {
        assert_eq!(host(&plain("https://status.example:8443/1").unwrap()).unwrap(), "status.example:8443");
        assert_eq!(host(&plain("https://STATUS.example:443/1").unwrap()).unwrap(), "status.example");
        for bad in ["http://status.example/", "https://10.0.0.1/", "https://[::1]/", "https://0x7f000001/", "https://a@status.example/", "https://status.example/#a", "x"] {
            assert!(plain(bad).is_err(), "{bad}");
        }
    }
}
