//! Keys and tokens for tests. Everything is signed for real; what is wrong is wrong in one place.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use baton_protocol::b64;
use baton_protocol::credential::{StatusEntry, Template, Tier, VCT, Visible};
use baton_protocol::jose::Draft;
use baton_protocol::key::PublicKey;
use baton_protocol::status_list::StatusRef;
use baton_protocol::time::Millis;
use serde_json::{Map, Value, json};

pub const NOW: Millis = Millis(1_790_000_000_000);

/// A key that signs.
pub struct Key {
    pair: EcdsaKeyPair,
    pub public: PublicKey,
}

impl Key {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = PublicKey::from_sec1(pair.public_key().as_ref().try_into().unwrap()).unwrap();
        Self { pair, public }
    }
    pub fn raw(&self, input: &[u8]) -> [u8; 64] {
        self.pair.sign(&SystemRandom::new(), input).unwrap().as_ref().try_into().unwrap()
    }
    pub fn sign(&self, draft: Draft) -> String {
        let signature = self.raw(draft.signing_input());
        draft.signed(&signature)
    }
    /// A token with any header and payload, rightly signed.
    pub fn jws(&self, header: &Value, payload: &Value) -> String {
        self.jws_text(&header.to_string(), &payload.to_string())
    }
    pub fn jws_text(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64::encode(header), b64::encode(payload));
        let signature = self.raw(input.as_bytes());
        format!("{input}.{}", b64::encode(signature))
    }
}

/// Changes one member of an object.
pub fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

/// Leaves one member out.
pub fn without(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove(name);
    object
}

/// A device with its credential.
pub struct Holder {
    pub issuer: Key,
    pub device: Key,
    pub template: Template,
}

impl Holder {
    pub fn new() -> Self {
        let (issuer, device) = (Key::new(), Key::new());
        let visible = Visible {
            iss: issuer.public.did(),
            sub: device.public.did(),
            vct: VCT.into(),
            iat: NOW.secs(),
            exp: NOW.secs() + 1000,
            client_id: "player".into(),
            tier: Tier::Full,
            log: b64::encode([7; 32]),
            status: StatusEntry { status_list: StatusRef { idx: 5, uri: "https://id.example/v1/status-lists/1".into() } },
            status_issuer: "did:web:id.example".into(),
        };
        let claims = json!({"name": "Laptop", "kind": "laptop", "platform": "Linux", "model": "X1", "capabilities": ["screen"], "integrity": "none",
            "enrolled_at": NOW.secs(), "agreement_jwk": Key::new().public.jwk_value()});
        let disclosable: Map<String, Value> = claims.as_object().unwrap().clone();
        Self { issuer, device, template: Template { visible, disclosable } }
    }

    /// The credential with all its disclosures.
    pub fn credential(&self) -> String {
        let salts: Vec<[u8; 16]> = (0..self.template.disclosable.len()).map(|i| [i as u8 + 1; 16]).collect();
        let (draft, disclosures) = self.template.draft(&self.device.public, &salts).unwrap();
        let mut out = self.issuer.sign(draft) + "~";
        for disclosure in disclosures {
            out.push_str(disclosure.as_str());
            out.push('~');
        }
        out
    }

    /// Header and payload of the credential's JWT, to be changed and signed again.
    pub fn parts(&self) -> (Value, Value) {
        let credential = self.credential();
        let jwt = credential.split('~').next().unwrap().to_owned();
        let part = |n: usize| serde_json::from_slice(&b64::decode(jwt.split('.').nth(n).unwrap()).unwrap()).unwrap();
        (part(0), part(1))
    }
}

/// Remembers every signature that was verified.
#[derive(Default)]
pub struct Memory(std::cell::RefCell<Vec<[u8; 32]>>);

impl Memory {
    pub fn seen(&self) -> Vec<[u8; 32]> {
        self.0.borrow().clone()
    }
}

impl baton_protocol::jose::SignatureMemory for Memory {
    fn verified(&self, digest: &[u8; 32], _: Millis) -> bool {
        self.0.borrow().contains(digest)
    }
    fn remember(&self, digest: [u8; 32], _: Millis) {
        self.0.borrow_mut().push(digest);
    }
}
