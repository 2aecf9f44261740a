//! Parties that issue and hold, and what they sign: here by ssi; by libraries nobody here wrote in tests/clients.

use baton_w3c::{Occasion, Policy, Report, Sources, Trusted, World};
use serde_json::{Value, json};
use ssi::JWK;
use ssi::claims::data_integrity::{AnySuite, CryptographicSuite as _, ProofOptions};
use ssi::claims::jws::JwsPayload as _;
use ssi::claims::vc::AnyJsonCredential;
use ssi::dids::resolution::{self, Metadata, Options, Output};
use ssi::dids::{AnyDidMethod, DID, DIDJWK, DIDKey, DIDResolver};
use ssi::verification_methods::SingleSecretSigner;
use std::collections::HashMap;
use std::pin::Pin;

pub const NOW: i64 = 1_800_000_000;

/// What other people's hosts have.
#[derive(Default)]
pub struct Shelf(pub HashMap<String, Vec<u8>>);

impl Shelf {
    pub fn with(url: &str, document: &(impl ToString + ?Sized)) -> Self {
        Self(HashMap::from([(url.to_owned(), document.to_string().into_bytes())]))
    }
}

impl Sources for Shelf {
    fn get(&self, url: &str, _: &'static str) -> Result<Vec<u8>, &'static str> {
        self.0.get(url).cloned().ok_or("it could not be fetched")
    }
    fn accept(&self, _: &str, _: Option<i64>) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Where nothing is fetched.
pub async fn verify_credential(given: &Value, policy: &Policy, now: i64) -> Report {
    verify_with(given, policy, &Shelf::default(), now).await
}

pub fn verify_with<'a>(given: &'a Value, policy: &'a Policy, sources: &'a Shelf, now: i64) -> Pin<Box<dyn Future<Output = Report> + 'a>> {
    Box::pin(async move { baton_w3c::verify_credential(given, &World { policy, sources, now }).await })
}

pub async fn verify_presentation(given: &Value, policy: &Policy, occasion: &Occasion<'_>, now: i64) -> Report {
    baton_w3c::verify_presentation(given, &World { policy, sources: &Shelf::default(), now }, occasion).await
}

pub struct Party {
    pub key: JWK,
    pub did: String,
    pub url: String,
}

pub fn by_key(key: JWK) -> Party {
    let did = DIDKey::generate(&key).unwrap().to_string();
    let url = DIDKey::generate_url(&key).unwrap().to_string();
    let mut key = key;
    key.key_id = Some(url.clone());
    Party { key, did, url }
}

pub fn by_jwk(key: JWK) -> Party {
    let url = DIDJWK::generate_url(&key.to_public()).to_string();
    let mut key = key;
    key.key_id = Some(url.clone());
    Party { did: url.split('#').next().unwrap().into(), url, key }
}

pub fn parties() -> [Party; 4] {
    let (p256, ed) = (JWK::generate_p256, || JWK::generate_ed25519().unwrap());
    [by_key(p256()), by_key(ed()), by_jwk(p256()), by_jwk(ed())]
}

pub fn trusting(issuer: &Party) -> Policy {
    let algorithms = ["ES256", "EdDSA", "ecdsa-rdfc-2019", "eddsa-rdfc-2022"].map(str::to_owned).to_vec();
    let contexts = vec!["https://www.w3.org/ns/credentials/examples/v2".into()];
    let types = vec!["ExampleAlumniCredential".into()];
    Policy { issuer: vec![Trusted { id: issuer.did.clone(), types, algorithms, contexts, ..Trusted::default() }], ..Policy::default() }
}

pub fn content(issuer: &Party, subject: &str) -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"],
        "id": "urn:uuid:36245ee9-9074-4b05-a777-febff2e69757",
        "type": ["VerifiableCredential", "ExampleAlumniCredential"],
        "issuer": issuer.did,
        "validFrom": "2020-01-01T00:00:00Z",
        "validUntil": "2040-01-01T00:00:00Z",
        "credentialSubject": {"id": subject, "alumniOf": {"id": "did:example:c276e12ec21ebfeb1f712ebc6f1", "name": "Example University"}},
    })
}

pub struct Text {
    pub typ: Option<&'static str>,
    pub content: Value,
}

impl ssi::claims::jws::JwsPayload for Text {
    fn typ(&self) -> Option<&str> {
        self.typ
    }
    fn payload_bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        self.content.to_string().into_bytes().into()
    }
}

pub async fn jwt(by: &Party, typ: Option<&'static str>, content: Value) -> String {
    Text { typ, content }.sign(&by.key).await.unwrap().into_string()
}

pub fn with_proof(by: &Party, content: Value) -> Pin<Box<impl Future<Output = Value> + '_>> {
    Box::pin(proven(by, content))
}

async fn proven(by: &Party, content: Value) -> Value {
    let credential: AnyJsonCredential = serde_json::from_value(content).unwrap();
    let resolver = Own(by).into_vm_resolver();
    let signer = SingleSecretSigner::new(by.key.clone()).into_local();
    let suite = suite_of(&by.key);
    let options = ProofOptions::from_method(ssi::json_ld::iref::IriBuf::new(by.url.clone()).unwrap().into());
    serde_json::to_value(suite.sign(credential, &resolver, &signer, options).await.unwrap()).unwrap()
}

/// Who signs knows their own key: ssi looks it up.
struct Own<'p>(&'p Party);

impl DIDResolver for Own<'_> {
    async fn resolve_representation<'a>(&'a self, did: &'a DID, options: Options) -> Result<Output<Vec<u8>>, resolution::Error> {
        if did.method_name() != "web" {
            return AnyDidMethod::default().resolve_representation(did, options).await;
        }
        let multibase = DIDKey::generate(&self.0.key).unwrap().to_string().trim_start_matches("did:key:").to_owned();
        let method = json!({"id": self.0.url, "type": "Multikey", "controller": did.as_str(), "publicKeyMultibase": multibase});
        let document = json!({"id": did.as_str(), "verificationMethod": [method], "assertionMethod": [self.0.url]});
        let read = Metadata::from_content_type(Some("application/did+json".into()));
        Ok(Output::new(document.to_string().into_bytes(), ssi::dids::document::Metadata::default(), read))
    }
}

pub fn suite_of(key: &JWK) -> AnySuite {
    if key.algorithm == Some(ssi::jwk::Algorithm::EdDSA) || matches!(key.params, ssi::jwk::Params::OKP(_)) {
        AnySuite::EdDsaRdfc2022
    } else {
        AnySuite::EcdsaRdfc2019
    }
}

pub fn push(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().push(item);
}

pub type Change = Box<dyn Fn(&mut Value)>;

pub fn failed(report: &Report) -> (&'static str, &'static str) {
    assert!(!report.verified && report.subject.is_none());
    let last = report.checks.last().unwrap();
    assert!(!last.ok);
    (last.check, last.reason.unwrap())
}
