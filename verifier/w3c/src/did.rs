//! Keys from DIDs that carry them. ssi knows methods that ask a network: they are not asked.

use ssi::dids::resolution::{self, Options, Output};
use ssi::dids::{DID, DIDJWK, DIDKey, DIDMethodResolver as _, DIDResolver};

/// `did:key` and `did:jwk`.
#[derive(Debug, Clone, Copy)]
pub struct Carried;

impl DIDResolver for Carried {
    async fn resolve_representation<'a>(&'a self, did: &'a DID, options: Options) -> Result<Output<Vec<u8>>, resolution::Error> {
        match did.method_name() {
            "key" => DIDKey.resolve_method_representation(did.method_specific_id(), options).await,
            "jwk" => DIDJWK.resolve_method_representation(did.method_specific_id(), options).await,
            other => Err(resolution::Error::MethodNotSupported(other.to_owned())),
        }
    }
}

/// Longest DID URL: a P-256 JWK as did:jwk, twice, and room.
const MAX_URL: usize = 1024;

/// Whether a DID URL names a key of this issuer's.
pub fn is_of(url: &str, issuer: &str) -> Result<(), &'static str> {
    if of_url(url)? == issuer { Ok(()) } else { Err("the key is not the issuer's") }
}

/// The DID of a DID URL.
pub fn of_url(url: &str) -> Result<&str, &'static str> {
    if url.len() > MAX_URL {
        return Err("the key is named by no DID URL");
    }
    let (did, _) = url.split_once('#').ok_or("the key is named by no DID URL")?;
    if did.starts_with("did:key:") || did.starts_with("did:jwk:") { Ok(did) } else { Err("the key is named by neither did:key nor did:jwk") }
}
