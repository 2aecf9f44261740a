//! Other people's credentials: W3C VCDM 1.1 and 2.0, as JWT (`jwt_vc_json`, `vc+jwt`, enveloped) or with a Data Integrity proof
//! (`ecdsa-rdfc-2019`, `eddsa-rdfc-2022`), and presentations of them; and SD-JWT VCs of other issuers, with and without key binding.
//!
//! Nothing is fetched: keys come from `did:key` and `did:jwk`, contexts from those that ssi carries. Nothing is trusted by silence: a [`Policy`]
//! names issuers, what they may say and how they sign. ssi checks signatures and nothing else is left to it; its types stay in here.

mod credential;
mod data_integrity;
mod did;
mod jwt;
mod policy;
mod presentation;
mod report;
mod sd_jwt;

pub use policy::{Policy, Trusted};
pub use presentation::Occasion;
pub use report::{Check, Report};

use serde_json::Value;

/// Longest credential or presentation, as text.
pub const MAX: usize = 64 * 1024;

/// Verifies a credential at a time, in Unix seconds.
pub async fn verify_credential(given: &Value, policy: &Policy, now: i64) -> Report {
    match sd_jwt::is_one(given) {
        Some(text) => sd_jwt::verify(text, policy, None, now).await,
        None => credential::verify(given, policy, now).await,
    }
}

/// Verifies a presentation made for this occasion, and every credential in it.
pub async fn verify_presentation(given: &Value, policy: &Policy, occasion: &Occasion<'_>, now: i64) -> Report {
    match sd_jwt::is_one(given) {
        Some(text) => sd_jwt::verify(text, policy, Some(occasion), now).await,
        None => presentation::verify(given, policy, occasion, now).await,
    }
}
