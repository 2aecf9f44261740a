//! Keys, and one reader for each of the three SD-JWT libraries, so that tests can ask all of them the same question.

use baton_protocol::key::PublicKey;
use baton_protocol::sd_jwt::{Compact, Disclosure, reveal};
use baton_protocol::{b64, json as strict};
use jsonwebtoken::{DecodingKey, EncodingKey};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use p256::pkcs8::EncodePrivateKey;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use sd_jwt_payload::{SdJwt, Sha256Hasher};
use sd_jwt_rs::{SDJWTSerializationFormat, SDJWTVerifier};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

/// Fresh at each run and printed when a test fails; `ORACLE_SEED` repeats one (but for the salts others draw).
pub fn rng() -> StdRng {
    let seed = std::env::var("ORACLE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    println!("ORACLE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// jsonwebtoken reads the real clock.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// A P-256 key made by a library that is neither ours nor an oracle.
pub struct Key {
    pub signing: SigningKey,
    pub public: PublicKey,
}

impl Key {
    pub fn new(rng: &mut StdRng) -> Self {
        loop {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            if let Ok(signing) = SigningKey::from_slice(&bytes) {
                let public = PublicKey::from_sec1(&sec1(&signing)).unwrap();
                return Self { signing, public };
            }
        }
    }
    pub fn raw(&self, input: &[u8]) -> [u8; 64] {
        let signature: Signature = self.signing.sign(input);
        signature.to_bytes().into()
    }
    /// A token of any header and payload text.
    pub fn jws(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64::encode(header), b64::encode(payload));
        let signature = self.raw(input.as_bytes());
        format!("{input}.{}", b64::encode(signature))
    }
    pub fn encoding(&self) -> EncodingKey {
        EncodingKey::from_ec_der(self.signing.to_pkcs8_der().unwrap().as_bytes())
    }
    pub fn decoding(&self) -> DecodingKey {
        let jwk = self.public.jwk();
        DecodingKey::from_ec_components(&jwk.x, &jwk.y).unwrap()
    }
}

pub fn sec1(signing: &SigningKey) -> [u8; 65] {
    signing.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap()
}

/// What a library says of an input. A panic is an answer too, and not ours to mend.
#[derive(Debug, Clone, PartialEq)]
pub enum Says<T> {
    Yes(T),
    No(String),
    Panics,
}

impl<T> Says<T> {
    pub fn ask<E: ToString>(question: impl FnOnce() -> Result<T, E>) -> Self {
        match quietly(question) {
            None => Self::Panics,
            Some(Ok(answer)) => Self::Yes(answer),
            Some(Err(why)) => Self::No(why.to_string()),
        }
    }
    pub fn yes(self) -> Option<T> {
        if let Self::Yes(answer) = self { Some(answer) } else { None }
    }
    pub fn word(&self) -> &'static str {
        match self {
            Self::Yes(_) => "accepts",
            Self::No(_) => "refuses",
            Self::Panics => "panics",
        }
    }
}

/// Runs others' code; nothing if it panics, without a word on the terminal.
pub fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                usual(panic)
            }
        }));
    });
    QUIET.set(true);
    let answer = catch_unwind(AssertUnwindSafe(run)).ok();
    QUIET.set(false);
    answer
}

/// A refusal's own name, without what it carries: the first `words` of how it prints.
pub fn name(why: &impl std::fmt::Debug, words: usize) -> String {
    format!("{why:?}").split(['(', ')']).take(words).collect::<Vec<_>>().join(" ")
}

/// Ours, as `credential::check` goes about it, but for any kind of claims.
pub fn ours(text: &str, key: &PublicKey, fixed: &[&str]) -> Result<Map<String, Value>, String> {
    let compact = Compact::parse(text).map_err(|why| name(&why, 1))?;
    let payload = signed(compact.jwt, key)?;
    let payload = serde_json::to_vec(&payload).expect("JSON");
    let claims = baton_protocol::json::members(&payload, 1 << 20).map_err(|why| name(&why, 1))?;
    reveal(&claims, &compact.disclosures, fixed).map(|claims| claims.to_map()).map_err(|why| name(&why, 1))
}

/// The payload of a JWT whose signature our key verifies; its header is not looked at.
pub fn signed(jwt: &str, key: &PublicKey) -> Result<Map<String, Value>, String> {
    let (input, signature) = jwt.rsplit_once('.').ok_or("Form")?;
    let signature = b64::decode_array(signature).map_err(|why| name(&why, 1))?;
    key.verify(input.as_bytes(), &signature).map_err(|why| name(&why, 1))?;
    let (_, payload) = input.split_once('.').ok_or("Form")?;
    let payload = b64::decode(payload).map_err(|why| name(&why, 1))?;
    strict::object(&payload, 1 << 16).map_err(|why| name(&why, 1))
}

/// sd-jwt-rs, which wants `iss` and `exp` and checks the signature.
pub fn rs(text: &str, key: &Key) -> Says<Map<String, Value>> {
    rs_bound(text, key, None)
}

/// sd-jwt-rs with key binding for an audience and a nonce.
pub fn rs_bound(text: &str, key: &Key, occasion: Option<(&str, &str)>) -> Says<Map<String, Value>> {
    let decoding = key.decoding();
    let (aud, nonce) = occasion.map(|(aud, nonce)| (aud.to_owned(), nonce.to_owned())).unzip();
    Says::ask(|| {
        SDJWTVerifier::new(text.to_owned(), Box::new(move |_, _| decoding.clone()), aud, nonce, SDJWTSerializationFormat::Compact)
            .map(|verified| verified.verified_claims.as_object().unwrap().clone())
    })
}

/// sd-jwt-payload, which checks no signature.
pub fn payload(text: &str) -> Says<Map<String, Value>> {
    Says::ask(|| SdJwt::parse(text)?.into_disclosed_object(&Sha256Hasher::new()))
}

/// An SD-JWT of these parts, ending in a tilde.
pub fn join<'a>(jwt: &str, disclosures: impl IntoIterator<Item = &'a str>) -> String {
    disclosures.into_iter().fold(format!("{jwt}~"), |out, disclosure| out + disclosure + "~")
}

pub fn texts(disclosures: &[Disclosure]) -> impl Iterator<Item = &str> {
    disclosures.iter().map(Disclosure::as_str)
}
