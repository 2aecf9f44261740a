//! OpenID for Verifiable Credential Issuance 1.0: the key proof of type `jwt` (appendix F.1), and whom a response is encrypted to (§10).

use crate::jose::{Typ, Unverified};
use crate::json::Node;
use crate::jwe::{Enc, Recipient};
use crate::key::{Did, PublicKey};
use crate::refusal::Vci;
use crate::time::{Millis, is_fresh};

/// What a wallet wants its answer sealed to (§8.2, §10): the key with its own `alg`, and `enc`.
pub fn response_encryption(wanted: &Node<'_>) -> Result<Recipient, Vci> {
    let wanted = wanted.as_members().ok_or(Vci::Encryption)?;
    let jwk = wanted.get("jwk").ok_or(Vci::Encryption)?;
    let own = jwk.as_members().ok_or(Vci::Encryption)?;
    let for_this = own.text("alg") == Some("ECDH-ES") && own.get("use").is_none_or(|used| used.as_str() == Some("enc"));
    if !for_this || wanted.get("zip").is_some() {
        return Err(Vci::Encryption);
    }
    Ok(Recipient {
        key: PublicKey::from_jwk_node(jwk).map_err(|_| Vci::Encryption)?,
        kid: own.text("kid").map(str::to_owned),
        enc: wanted.text("enc").and_then(Enc::parse).ok_or(Vci::Encryption)?,
    })
}

/// A proof that holds by itself; its nonce is still to be consumed.
#[derive(Debug)]
pub struct Proof {
    /// The key that the credential is to bind.
    pub key: PublicKey,
    /// The issuer's `c_nonce`.
    pub nonce: String,
}

impl Proof {
    /// Checks everything but that the nonce was this issuer's and is used for the first time. The key is `jwk`, or the `did:key` of `kid`: exactly one.
    pub fn check(jws: &str, audience: &str, now: Millis) -> Result<Self, Vci> {
        let jws = Unverified::parse(jws, Typ::CredentialProof).map_err(|_| Vci::Proof)?;
        let header = jws.unverified_header();
        let key = match (&header.jwk, &header.kid) {
            (Some(jwk), None) => jwk.clone(),
            (None, Some(kid)) => Did::from_url(kid).and_then(|did| did.key()).map_err(|_| Vci::Proof)?,
            _ => return Err(Vci::Proof),
        };
        let verified = jws.verify(&key).map_err(|_| Vci::Proof)?;
        let claims = verified.members();
        let fresh = claims.get("iat").and_then(Node::as_i64).is_some_and(|iat| is_fresh(iat, now));
        if claims.text("aud") != Some(audience) || !fresh {
            return Err(Vci::Proof);
        }
        let nonce = claims.text("nonce").ok_or(Vci::Proof)?.to_owned();
        Ok(Self { key, nonce })
    }
}
