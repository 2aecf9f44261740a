//! DIDs for ssi. It knows methods that ask a network: they are not asked here, and what `issuer.rs` fetched is handed to it.

use crate::issuer::Keys;
use serde_json::json;
use ssi::dids::document::representation::MediaType;
use ssi::dids::resolution::{self, Metadata, Options, Output};
use ssi::dids::{DID, DIDJWK, DIDKey, DIDMethodResolver as _, DIDResolver, document};

impl DIDResolver for Keys {
    async fn resolve_representation<'a>(&'a self, did: &'a DID, options: Options) -> Result<Output<Vec<u8>>, resolution::Error> {
        match (self, did.method_name()) {
            (Self::Carried, "key") => DIDKey.resolve_method_representation(did.method_specific_id(), options).await,
            (Self::Carried, "jwk") => DIDJWK.resolve_method_representation(did.method_specific_id(), options).await,
            (Self::One { name, key, .. }, "web") if of_url(name) == Ok(did.as_str()) => {
                let method = json!({"id": name, "type": "Multikey", "controller": did.as_str(), "publicKeyMultibase": key.multibase()});
                let document = json!({"id": did.as_str(), "verificationMethod": [method], "assertionMethod": [name]});
                let read = Metadata::from_content_type(Some(MediaType::Json.to_string()));
                Ok(Output::new(document.to_string().into_bytes(), document::Metadata::default(), read))
            }
            (_, other) => Err(resolution::Error::MethodNotSupported(other.to_owned())),
        }
    }
}

/// Longest DID URL: a P-256 JWK as did:jwk, twice, and room.
const MAX_URL: usize = 1024;

/// Whether a DID URL names a key of this issuer's.
pub fn is_of(url: &str, issuer: &str) -> Result<(), &'static str> {
    if of_url(url)? == issuer { Ok(()) } else { Err("the key is not the issuer's") }
}

/// Whether a key's DID carries it, as a holder's must.
pub fn is_carried(did: &str) -> bool {
    did.starts_with("did:key:") || did.starts_with("did:jwk:")
}

/// The DID of a DID URL.
pub fn of_url(url: &str) -> Result<&str, &'static str> {
    if url.len() > MAX_URL {
        return Err("the key is named by no DID URL");
    }
    let (did, _) = url.split_once('#').ok_or("the key is named by no DID URL")?;
    if is_carried(did) || did.starts_with("did:web:") { Ok(did) } else { Err("the key is named by none of did:key, did:jwk and did:web") }
}
