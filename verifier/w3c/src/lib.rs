//! Other people's credentials: W3C VCDM 1.1 and 2.0, as JWT (`jwt_vc_json`, `vc+jwt`, enveloped) or with a Data Integrity proof
//! (`ecdsa-rdfc-2019`, `eddsa-rdfc-2022`), and presentations of them; and SD-JWT VCs of other issuers, with and without key binding.
//!
//! Nothing is trusted by silence: a [`Policy`] names issuers, what they may say and how they sign, and the hosts that may be asked for keys and status
//! lists. Contexts are those that ssi carries. ssi checks signatures and nothing else is left to it; its types stay in here.

mod address;
mod certificate;
mod credential;
mod data_integrity;
mod did;
mod fetch;
mod issuer;
mod jwt;
mod key;
mod policy;
mod presentation;
mod report;
mod sd_jwt;
mod status;
mod visit;

pub use policy::{Host, Policy, Trusted};
pub use presentation::Occasion;
pub use report::{Check, Report};
pub use visit::{Sources, Visit};

use fetch::Hosts;
use serde_json::Value;
use visit::Kept;

/// Longest credential or presentation, as text.
pub const MAX: usize = 64 * 1024;

/// A policy, and what the hosts that it names said lately.
#[derive(Debug)]
pub struct Trust {
    /// Who is trusted for what.
    pub policy: Policy,
    kept: Kept,
}

impl Trust {
    /// Where the policy is one that can be kept; or what is wrong with it.
    pub fn new(policy: Policy) -> Result<Self, String> {
        policy.check()?;
        let hosts = Hosts::new(&policy)?;
        let kept = Kept::new(hosts, policy.stale_secs);
        Ok(Self { policy, kept })
    }

    /// Tries, at a time in Unix seconds: nothing is waited for.
    pub async fn attempt(&self, visit: &Visit, now: i64, check: impl AsyncFn(&World<'_>) -> Report) -> Report {
        let sources = self.kept.desk(visit, now);
        check(&World { policy: &self.policy, sources: &sources, now }).await
    }

    /// Fetches what a try missed; false when there is nothing to try again for, and what was said last stands.
    pub async fn fetch(&self, visit: &Visit, now: i64) -> bool {
        self.kept.fetch(visit, now).await
    }
}

/// What a verdict rests on beside what is verified.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Who is trusted for what.
    pub policy: &'a Policy,
    /// Where keys and status lists come from.
    pub sources: &'a dyn Sources,
    /// Unix seconds.
    pub now: i64,
}

/// Verifies a credential.
pub async fn verify_credential(given: &Value, world: &World<'_>) -> Report {
    match sd_jwt::is_one(given) {
        Some(text) => sd_jwt::verify(text, world, None).await,
        None => credential::verify(given, world).await,
    }
}

/// Verifies a presentation made for this occasion, and every credential in it.
pub async fn verify_presentation(given: &Value, world: &World<'_>, occasion: &Occasion<'_>) -> Report {
    match sd_jwt::is_one(given) {
        Some(text) => sd_jwt::verify(text, world, Some(occasion)).await,
        None => Box::pin(presentation::verify(given, world, occasion)).await,
    }
}
