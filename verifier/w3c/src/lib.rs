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
#[cfg(debug_assertions)]
mod issue;
mod issuer;
mod jwt;
mod key;
mod policy;
mod presentation;
mod report;
mod sd_jwt;
mod status;
mod visit;

#[cfg(debug_assertions)]
pub use issue::{Issuing, issue};
pub use policy::{Host, Policy, Trusted};
pub use presentation::Occasion;
pub use report::{Check, Report};
pub use visit::{Desk, Sources, Visit};

use fetch::Hosts;
use serde_json::Value;
use std::pin::Pin;
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

    /// What a try rests on, at a time in Unix seconds.
    pub fn desk<'a>(&'a self, visit: &'a Visit, now: i64) -> Desk<'a> {
        self.kept.desk(visit, now)
    }

    /// For a try at this desk.
    pub fn world<'a>(&'a self, desk: &'a Desk<'a>) -> World<'a> {
        World { policy: &self.policy, sources: desk, now: desk.now() }
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

/// A verification under way. It waits for nothing, and is boxed because ssi's types are deep.
pub type Verifying<'a> = Pin<Box<dyn Future<Output = Report> + 'a>>;

/// Verifies a credential.
pub fn verify_credential<'a>(given: &'a Value, world: &'a World<'a>) -> Verifying<'a> {
    match sd_jwt::is_one(given) {
        Some(text) => Box::pin(sd_jwt::verify(text, world, None)),
        None => Box::pin(credential::verify(given, world)),
    }
}

/// Verifies a presentation made for this occasion, and every credential in it.
pub fn verify_presentation<'a>(given: &'a Value, world: &'a World<'a>, occasion: &'a Occasion<'a>) -> Verifying<'a> {
    match sd_jwt::is_one(given) {
        Some(text) => Box::pin(sd_jwt::verify(text, world, Some(occasion))),
        None => Box::pin(presentation::verify(given, world, occasion)),
    }
}
