//! Who is trusted for what, and where may be asked.

use crate::fetch::{self, plain};
use crate::{certificate, did, issuer};
use serde::Deserialize;

/// How a trusted issuer may sign: JOSE algorithms and Data Integrity cryptosuites.
pub const KNOWN: [&str; 4] = ["ES256", "EdDSA", "ecdsa-rdfc-2019", "eddsa-rdfc-2022"];
/// Longest that a host's silence is bridged.
const MAX_STALE_SECS: i64 = 24 * 3600;

/// The policy file. An issuer that is not in it is not trusted, and a host that is not in it is not asked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Each issuer once.
    #[serde(default)]
    pub issuer: Vec<Trusted>,
    /// Each host once.
    #[serde(default)]
    pub host: Vec<Host>,
    /// How old a fetched key or status list may be, in seconds, while its host does not answer. While it answers, none is older than a minute.
    #[serde(default)]
    pub stale_secs: i64,
}

/// One issuer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// Its `did:key`, `did:jwk` or `did:web`; or its `https` URL, for SD-JWT VCs.
    pub id: String,
    /// Types it may issue, beside `VerifiableCredential`.
    pub types: Vec<String>,
    /// How it may sign.
    pub algorithms: Vec<String>,
    /// Contexts of its credentials after the first, in their order: exactly these, where a proof is inside. What a context calls things is up to it, so
    /// read it before it is named here.
    #[serde(default)]
    pub contexts: Vec<String>,
    /// URLs its status lists are beneath, each with a slash at its end. Without one, what names a status is refused.
    #[serde(default)]
    pub status: Vec<String>,
    /// Certificates, as PEM, that vouch for the keys of an `https` issuer (`x5c`). Without one, its keys are in its metadata.
    #[serde(default)]
    pub roots: String,
}

/// A host that may be asked, over https.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `name`, or `name:port`.
    pub name: String,
    /// Whether its addresses may be private ones.
    #[serde(default)]
    pub private: bool,
    /// Certificates, as PEM, instead of those of the system.
    #[serde(default)]
    pub roots: String,
}

impl Policy {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        if !(0..=MAX_STALE_SECS).contains(&self.stale_secs) {
            return Err(format!("stale_secs: from 0 to {MAX_STALE_SECS}"));
        }
        for (n, host) in self.host.iter().enumerate() {
            let right = plain(&format!("https://{}/", host.name)).and_then(|url| fetch::host(&url)).is_ok_and(|name| name == host.name);
            if !right {
                return Err(format!("{}: a host name, in small letters, with its port where that is not 443", host.name));
            }
            if self.host[..n].iter().any(|other| other.name == host.name) {
                return Err(format!("{} is named twice", host.name));
            }
        }
        self.issuer.iter().enumerate().try_for_each(|(n, one)| {
            if self.issuer[..n].iter().any(|other| other.id == one.id) {
                return Err(format!("{} is named twice", one.id));
            }
            self.check_issuer(one).map_err(|why| format!("{}: {why}", one.id))
        })
    }

    fn check_issuer(&self, one: &Trusted) -> Result<(), String> {
        let certified = !one.roots.is_empty();
        if one.id.starts_with("did:web:") {
            self.may_ask(&issuer::did_web_url(&one.id)?)?;
        } else if one.id.starts_with("https://") {
            let metadata = issuer::metadata_url(&one.id)?;
            if !certified {
                self.may_ask(&metadata)?;
            }
        } else if !did::is_carried(&one.id) {
            return Err("none of did:key, did:jwk, did:web and https".into());
        }
        if certified {
            certificate::roots(&one.roots)?;
            if !one.id.starts_with("https://") {
                return Err("roots: for an https issuer alone".into());
            }
        }
        for prefix in &one.status {
            if !prefix.ends_with('/') || plain(prefix)?.as_str() != prefix {
                return Err(format!("status: {prefix} must be an https URL with a slash at its end"));
            }
            self.may_ask(prefix)?;
        }
        match one.algorithms.iter().find(|name| !KNOWN.contains(&name.as_str())) {
            Some(unknown) => Err(format!("{unknown}: no such algorithm; known are {}", KNOWN.join(", "))),
            None => Ok(()),
        }
    }

    fn may_ask(&self, url: &str) -> Result<(), String> {
        let name = fetch::host(&plain(url)?)?;
        if self.host.iter().any(|host| host.name == name) {
            Ok(())
        } else {
            Err(format!("{name} is not among the hosts that may be asked ([[host]])"))
        }
    }

    /// What is said of this issuer.
    pub(crate) fn trusted(&self, issuer: &str) -> Option<&Trusted> {
        self.issuer.iter().find(|one| one.id == issuer)
    }

    /// Whether this issuer may say this, signed like that.
    pub(crate) fn allows(&self, issuer: &str, types: &[String], algorithm: &str) -> Result<&Trusted, &'static str> {
        let trusted = self.trusted(issuer).ok_or("the issuer is not trusted")?;
        if !types.iter().all(|name| name == "VerifiableCredential" || trusted.types.contains(name)) {
            return Err("the issuer is not trusted for this type");
        }
        trusted.signs(algorithm).map(|()| trusted)
    }
}

impl Trusted {
    /// Whether it may sign like that.
    pub(crate) fn signs(&self, algorithm: &str) -> Result<(), &'static str> {
        if self.algorithms.iter().any(|name| name == algorithm) { Ok(()) } else { Err("the issuer is not trusted to sign like this") }
    }

    /// Whether its status lists may be there.
    pub(crate) fn has_list(&self, url: &str) -> bool {
        plain(url).is_ok_and(|url| url.query().is_none() && self.status.iter().any(|prefix| url.as_str().starts_with(prefix.as_str())))
    }
}
