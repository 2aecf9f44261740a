//! The certificate that requests to wallets may be signed with (OpenID4VP 1.0 §5.9.3, `x509_hash`): the operator's, with a key of its own.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_protocol::jose::{Draft, Typ};
use baton_protocol::key;
use serde_json::Value;
use std::fmt;
use x509_cert::Certificate;
use x509_cert::der::{Encode as _, pem};

/// A chain and the key of its first certificate.
pub struct RequestCertificate {
    x5c: Vec<String>,
    hash: String,
    key: EcdsaKeyPair,
}

impl fmt::Debug for RequestCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestCertificate({})", self.hash)
    }
}

impl RequestCertificate {
    /// From PEM texts: the chain, leaf first and without its root, and the leaf's P-256 key (PKCS #8 or SEC 1).
    pub fn read(chain: &str, key: &str) -> Result<Self, &'static str> {
        let chain = Certificate::load_pem_chain(chain.as_bytes()).map_err(|_| "chain: PEM certificates, the verifier's own first")?;
        let leaf = chain.first().ok_or("chain: no certificate")?;
        if chain.iter().any(|one| one.tbs_certificate().issuer() == one.tbs_certificate().subject()) {
            return Err("chain: a root is what wallets have already (OpenID4VP §5.9.3, HAIP): leave it out");
        }
        let der = chain.iter().map(|one| one.to_der().map_err(|_| "chain: PEM certificates")).collect::<Result<Vec<_>, _>>()?;
        let (_, key) = pem::decode_vec(key.as_bytes()).map_err(|_| "key: one PEM private key")?;
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &key).map_err(|_| "key: a P-256 private key")?;
        let named = leaf.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
        if named != key.public_key().as_ref() {
            return Err("key: the first certificate has another");
        }
        Ok(Self { hash: key::hash(&der[0]), x5c: der.iter().map(|one| STANDARD.encode(one)).collect(), key })
    }

    /// base64url SHA-256 of the first certificate.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Signs a request.
    pub fn sign(&self, claims: &Value) -> String {
        let draft = Draft::certified(Typ::AuthorizationRequest, &self.x5c, claims);
        let signature = self.key.sign(&SystemRandom::new(), draft.signing_input()).expect("an in-memory key signs");
        draft.signed(signature.as_ref().try_into().expect("64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::b64;
    use baton_protocol::key::PublicKey;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use serde_json::json;

    fn named(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = named("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_request_is_signed_by_the_certificate_s_key_and_known_by_its_hash() {
        let (authority, key) = (authority(), KeyPair::generate().unwrap());
        let leaf = named("verifier").signed_by(&key, &authority).unwrap();
        let own = RequestCertificate::read(&leaf.pem(), &key.serialize_pem()).unwrap();
        assert_eq!(own.hash(), key::hash(leaf.der()));
        let signed = own.sign(&json!({"client_id": "x"}));
        let (input, signature) = signed.rsplit_once('.').unwrap();
        let public = PublicKey::from_sec1(key.public_key_raw().try_into().unwrap()).unwrap();
        public.verify(input.as_bytes(), &b64::decode_array(signature).unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&b64::decode(input.split('.').next().unwrap()).unwrap()).unwrap();
        assert_eq!(header, json!({"alg": "ES256", "typ": "oauth-authz-req+jwt", "x5c": [STANDARD.encode(leaf.der())]}));
        assert!(!format!("{own:?}").contains(&key.serialize_pem()));

        let refused = |chain: &str, key: &str| RequestCertificate::read(chain, key).unwrap_err();
        assert!(refused(&leaf.pem(), &KeyPair::generate().unwrap().serialize_pem()).contains("has another"));
        assert!(refused(&format!("{}{}", leaf.pem(), authority.pem()), &key.serialize_pem()).contains("leave it out"));
        assert!(refused("", &key.serialize_pem()).starts_with("chain"));
        assert!(refused(&leaf.pem(), "").starts_with("key"));
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let leaf = named("verifier").signed_by(&other, &authority).unwrap();
        assert!(refused(&leaf.pem(), &other.serialize_pem()).contains("P-256"));
    }
}
