//! Where an issuer's key comes from: its own name (`did:key`, `did:jwk`), a document on its host (`did:web`, SD-JWT VC's issuer metadata), or a
//! certificate. What is fetched is read for one key, and nothing else of it counts.

use crate::certificate::Certified;
use crate::fetch::{self, plain};
use crate::key::Key;
use crate::{World, certificate, did};
use baton_protocol::json;
use serde_json::{Map, Value};
use url::Url;

/// How a signature names its key.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// `kid`, or a proof's `verificationMethod`.
    pub key: Option<&'a str>,
    /// Certificates.
    pub x5c: &'a [Vec<u8>],
}

/// What checks a signature.
#[derive(Debug, Clone)]
pub enum Keys {
    /// The DID in the key's name carries it.
    Carried,
    /// This one, by that name.
    One {
        /// A DID URL, or what the issuer calls it.
        name: String,
        /// The key.
        key: Key,
        /// Whom the certificates that say so are under; without certificates, nobody.
        authorities: Vec<String>,
    },
}

impl Keys {
    /// Whom the issuer is under.
    pub fn authorities(self) -> Vec<String> {
        match self {
            Self::Carried => Vec::new(),
            Self::One { authorities, .. } => authorities,
        }
    }
}

/// The keys of this issuer that this name may mean.
pub fn keys(world: &World<'_>, issuer: &str, named: Named<'_>) -> Result<Keys, &'static str> {
    let trusted = world.policy.trusted(issuer).ok_or("the issuer is not trusted")?;
    let certified = issuer.starts_with("https://") && !trusted.roots.is_empty();
    if certified {
        let Certified { key, authorities } = certificate::key(named.x5c, &trusted.roots, issuer, world.now)?;
        return Ok(Keys::One { name: named.key.unwrap_or_default().to_owned(), key, authorities });
    }
    // Certificates beside a key that is known otherwise are nobody's word, and not looked at.
    if issuer.starts_with("https://") {
        return Ok(Keys::One {
            name: named.key.unwrap_or_default().to_owned(),
            key: of_metadata(world, issuer, named.key)?,
            authorities: Vec::new(),
        });
    }
    let name = named.key.ok_or("no key is named")?;
    let name = if name.starts_with('#') { format!("{issuer}{name}") } else { name.to_owned() };
    did::is_of(&name, issuer)?;
    if !issuer.starts_with("did:web:") {
        return Ok(Keys::Carried);
    }
    let key = of_did_document(world, issuer, &name)?;
    Ok(Keys::One { name, key, authorities: Vec::new() })
}

fn document(world: &World<'_>, url: &str, accept: &'static str) -> Result<Map<String, Value>, &'static str> {
    let bytes = world.sources.get(url, accept).map_err(|_| "its key could not be fetched")?;
    json::object(&bytes, fetch::MAX_ANSWER).map_err(|_| "where its key should be is something else")
}

/// did:web: the key is the issuer's for assertions.
fn of_did_document(world: &World<'_>, issuer: &str, name: &str) -> Result<Key, &'static str> {
    let url = did_web_url(issuer)?;
    let found = document(world, &url, "application/did+json, application/json")?;
    if found.get("id").and_then(Value::as_str) != Some(issuer) {
        return Err("where its key should be is something else");
    }
    let whole = |id: &str| if id.starts_with('#') { format!("{issuer}{id}") } else { id.to_owned() };
    let is_it = |value: &Value| value.as_str().or_else(|| value.get("id")?.as_str()).is_some_and(|id| whole(id) == name);
    let list = |member: &str| found.get(member).and_then(Value::as_array).into_iter().flatten();
    let asserts = list("assertionMethod").find(|value| is_it(value)).ok_or("the key is not the issuer's for this")?;
    let method = if asserts.is_object() { Some(asserts) } else { list("verificationMethod").find(|value| value.is_object() && is_it(value)) };
    let method = method.filter(|method| method["controller"] == issuer).ok_or("the key is not the issuer's for this")?;
    let ended = |member: &str| method.get(member).is_some_and(|at| crate::credential::time(at).is_none_or(|at| at <= world.now));
    if ended("revoked") || ended("expires") {
        return Err("the key has ended");
    }
    let key = match (method.get("publicKeyJwk"), method.get("publicKeyMultibase").and_then(Value::as_str)) {
        (Some(jwk), None) => Key::from_jwk(jwk),
        (None, Some(text)) => Key::from_multibase(text),
        _ => None,
    };
    let key = key.ok_or("the key is of another kind")?;
    world.sources.accept(&url, None).map(|()| key)
}

/// SD-JWT VC §5 (`jwt-vc-issuer`).
fn of_metadata(world: &World<'_>, issuer: &str, name: Option<&str>) -> Result<Key, &'static str> {
    let at = metadata_url(issuer)?;
    let found = document(world, &at, "application/json")?;
    if found.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("where its key should be is something else");
    }
    let fetched;
    let mut set_at = at.clone();
    let set = match (found.get("jwks"), found.get("jwks_uri").and_then(Value::as_str)) {
        (Some(set), None) => set.as_object(),
        (None, Some(url)) => {
            // Where an issuer sends whoever verifies is its own host.
            let own = plain(url).and_then(|url| fetch::host(&url)) == plain(&at).and_then(|at| fetch::host(&at));
            if !own {
                return Err("the issuer's keys are on another host");
            }
            url.clone_into(&mut set_at);
            fetched = document(world, url, "application/jwk-set+json, application/json")?;
            Some(&fetched)
        }
        _ => None,
    };
    let set = set.and_then(|set| set.get("keys")).and_then(Value::as_array).ok_or("where its key should be is something else")?;
    // Unnamed, it is the only one.
    let mut named = set.iter().filter(|jwk| name.is_none_or(|name| jwk["kid"] == name));
    let key = match (named.next(), named.next()) {
        (Some(jwk), None) => Key::from_jwk(jwk).ok_or("the key is of another kind")?,
        _ => return Err("the issuer has no such key, or several"),
    };
    world.sources.accept(&at, None)?;
    world.sources.accept(&set_at, None).map(|()| key)
}

/// did:web's document (did:web §3.2).
pub fn did_web_url(did: &str) -> Result<String, &'static str> {
    let bad = "no did:web";
    let mut parts = did.strip_prefix("did:web:").ok_or(bad)?.split(':');
    let host = parts.next().ok_or(bad)?.replace("%3A", ":").replace("%3a", ":");
    let right = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) && part != "." && part != "..";
    let path: Vec<_> = parts.collect();
    if !host.split(':').all(right) || !path.iter().all(|part| right(part)) {
        return Err(bad);
    }
    let path = if path.is_empty() { ".well-known".into() } else { path.join("/") };
    let url = format!("https://{host}/{path}/did.json");
    plain(&url).map(|_| url)
}

/// The well-known part goes between host and path.
pub fn metadata_url(issuer: &str) -> Result<String, &'static str> {
    let url: Url = plain(issuer)?;
    if url.query().is_some() {
        return Err("it is at no https URL of a named host");
    }
    Ok(format!("https://{}/.well-known/jwt-vc-issuer{}", fetch::host(&url)?, url.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_where_the_standards_put_them() {
        assert_eq!(did_web_url("did:web:a.example").unwrap(), "https://a.example/.well-known/did.json");
        assert_eq!(did_web_url("did:web:a.example%3A8443:user:alice").unwrap(), "https://a.example:8443/user/alice/did.json");
        for bad in [
            "did:web:",
            "did:web:a.example:",
            "did:web:a.example:..:x",
            "did:web:a.example%2Fx",
            "did:web:10.0.0.1",
            "did:web:a@b.example",
            "did:web:a.example#x",
        ] {
            assert!(did_web_url(bad).is_err(), "{bad}");
        }
        assert_eq!(metadata_url("https://a.example/").unwrap(), "https://a.example/.well-known/jwt-vc-issuer");
        assert_eq!(metadata_url("https://a.example/tenant").unwrap(), "https://a.example/.well-known/jwt-vc-issuer/tenant");
        assert!(metadata_url("https://a.example/?x").is_err());
    }
}
