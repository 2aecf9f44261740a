//! Who is trusted for what.

use serde::Deserialize;

/// How a trusted issuer may sign: JOSE algorithms and Data Integrity cryptosuites.
pub const KNOWN: [&str; 4] = ["ES256", "EdDSA", "ecdsa-rdfc-2019", "eddsa-rdfc-2022"];

/// The policy file. An issuer that is not in it is not trusted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Each issuer once.
    #[serde(default)]
    pub issuer: Vec<Trusted>,
}

/// One issuer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// Its `did:key` or `did:jwk`.
    pub id: String,
    /// Types it may issue, beside `VerifiableCredential`.
    pub types: Vec<String>,
    /// How it may sign.
    pub algorithms: Vec<String>,
    /// Contexts of its credentials after the first, in their order: exactly these, where a proof is inside. What a context calls things is up to it, so
    /// read it before it is named here.
    #[serde(default)]
    pub contexts: Vec<String>,
}

impl Policy {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        for (n, one) in self.issuer.iter().enumerate() {
            if !one.id.starts_with("did:key:") && !one.id.starts_with("did:jwk:") {
                return Err(format!("{}: neither did:key nor did:jwk", one.id));
            }
            if self.issuer[..n].iter().any(|other| other.id == one.id) {
                return Err(format!("{} is named twice", one.id));
            }
            if let Some(unknown) = one.algorithms.iter().find(|name| !KNOWN.contains(&name.as_str())) {
                return Err(format!("{unknown}: no such algorithm; known are {}", KNOWN.join(", ")));
            }
        }
        Ok(())
    }

    /// The contexts that an issuer's credentials have after the first.
    pub(crate) fn contexts(&self, issuer: &str) -> &[String] {
        self.issuer.iter().find(|one| one.id == issuer).map_or(&[], |one| &one.contexts)
    }

    /// Whether this issuer may say this, signed like that.
    pub(crate) fn allows(&self, issuer: &str, types: &[String], algorithm: &str) -> Result<(), &'static str> {
        let trusted = self.issuer.iter().find(|one| one.id == issuer).ok_or("the issuer is not trusted")?;
        if !types.iter().all(|name| name == "VerifiableCredential" || trusted.types.contains(name)) {
            return Err("the issuer is not trusted for this type");
        }
        if !trusted.algorithms.iter().any(|name| name == algorithm) {
            return Err("the issuer is not trusted to sign like this");
        }
        Ok(())
    }
}
