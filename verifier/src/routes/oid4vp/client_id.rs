//! Who asks (§5.9.3): a client identifier, by one of its prefixes.

use crate::request_certificate::RequestCertificate;
use crate::state::{RelyingService, Verifier};
use crate::store::Transaction;
use baton_protocol::refusal::Vp;
use serde::Deserialize;

/// How a wallet knows the verifier.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefix {
    /// By the key in its DID's document.
    #[default]
    DecentralizedIdentifier,
    /// By the certificate that the request is signed with.
    X509Hash,
    /// By where the answer goes, and by nothing else: such a request is not signed.
    RedirectUri,
}

const REDIRECT_URI: &str = "redirect_uri:";
const X509_HASH: &str = "x509_hash:";

impl Prefix {
    /// What a transaction keeps of it. Of the last, no more than the prefix: the link's secret is part of the rest.
    pub fn kept(self, verifier: &Verifier, relying: &RelyingService) -> Result<String, Vp> {
        match self {
            Self::DecentralizedIdentifier => Ok(by_did(verifier)),
            Self::X509Hash => verifier.config.request_certificate.as_ref().map(|own| by_certificate(own)).ok_or(Vp::Prefix),
            Self::RedirectUri if relying.unsigned => Ok(REDIRECT_URI.into()),
            Self::RedirectUri => Err(Vp::Prefix),
        }
    }

    /// Of a client identifier.
    pub fn of(client_id: &str) -> Self {
        match client_id {
            _ if client_id.starts_with(X509_HASH) => Self::X509Hash,
            _ if client_id.starts_with(REDIRECT_URI) => Self::RedirectUri,
            _ => Self::DecentralizedIdentifier,
        }
    }
}

/// Of a verifier with this certificate.
pub fn by_certificate(own: &RequestCertificate) -> String {
    format!("{X509_HASH}{}", own.hash())
}

fn by_did(verifier: &Verifier) -> String {
    format!("decentralized_identifier:{}", verifier.base.did_web())
}

/// A transaction's client identifier, which is its answers' audience.
pub fn of(verifier: &Verifier, asked: &Transaction, reference: &str) -> String {
    match asked.client_id.as_deref() {
        Some(REDIRECT_URI) => format!("{REDIRECT_URI}{}", response_uri(verifier, reference)),
        Some(kept) => kept.to_owned(),
        None => by_did(verifier),
    }
}

/// Where the answer goes.
pub fn response_uri(verifier: &Verifier, reference: &str) -> String {
    format!("{}/oid4vp/responses/{reference}", verifier.base.url)
}
