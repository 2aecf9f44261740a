//! Development builds alone: an issuer for other people's test suites (VC-API `/credentials/issue`), with a key that lives as long as the process. No policy
//! trusts it unless somebody writes it there.

use serde_json::{Value, json};
use ssi::JWK;
use ssi::claims::data_integrity::{AnySuite, CryptographicSuite as _, ProofOptions};
use ssi::claims::vc::AnyJsonCredential;
use ssi::dids::{AnyDidMethod, DIDKey, DIDResolver as _};
use ssi::json_ld::iref::IriBuf;
use ssi::verification_methods::SingleSecretSigner;
use std::pin::Pin;
use std::sync::OnceLock;

fn key() -> &'static JWK {
    static KEY: OnceLock<JWK> = OnceLock::new();
    KEY.get_or_init(JWK::generate_p256)
}

/// Issued, or why not. Boxed because ssi's types are deep.
pub type Issuing = Pin<Box<dyn Future<Output = Result<Value, &'static str>>>>;

/// Signs a credential with a Data Integrity proof (`ecdsa-rdfc-2019`), as its issuer.
pub fn issue(credential: Value) -> Issuing {
    Box::pin(signed(credential))
}

async fn signed(mut credential: Value) -> Result<Value, &'static str> {
    let bad = "no credential that can be signed";
    let did = DIDKey::generate(key()).map_err(|_| bad)?;
    match credential.get_mut("issuer") {
        Some(Value::Object(issuer)) => drop(issuer.insert("id".into(), json!(did.as_str()))),
        _ => drop(credential.as_object_mut().ok_or(bad)?.insert("issuer".into(), json!(did.as_str()))),
    }
    let credential: AnyJsonCredential = serde_json::from_value(credential).map_err(|_| bad)?;
    let method = DIDKey::generate_url(key()).map_err(|_| bad)?;
    let options = ProofOptions::from_method(IriBuf::new(method.to_string()).map_err(|_| bad)?.into());
    let (resolver, signer) = (AnyDidMethod::default().into_vm_resolver(), SingleSecretSigner::new(key().clone()).into_local());
    let issued = AnySuite::EcdsaRdfc2019.sign(credential, &resolver, &signer, options).await.map_err(|_| bad)?;
    serde_json::to_value(issued).map_err(|_| bad)
}
