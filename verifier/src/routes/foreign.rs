//! Other issuers' credentials in a wallet's answer: SD-JWT VCs whose type is not ours, held against the operator's policy, and shown by their holder for
//! this request.

use super::vc_api;
use crate::state::Verifier;
use baton_protocol::b64;
use baton_protocol::credential::VCT;
use baton_protocol::json;
use baton_protocol::refusal::Vp;
use baton_protocol::sd_jwt::Compact;
use baton_service::problem::Problem;
use serde_json::{Value, json as object};

/// Whether its type is another than ours; nothing of it has been checked.
pub fn is_one(shown: &str) -> bool {
    let payload = || {
        let jwt = Compact::parse(shown).ok()?.jwt;
        let bytes = b64::decode(jwt.split('.').nth(1)?).ok()?;
        json::object(&bytes, shown.len()).ok()
    };
    payload().is_some_and(|claims| claims.get("vct").is_some_and(|vct| vct != VCT))
}

/// What it is worth, and what of it the query is asked about.
pub struct Worth {
    /// For the relying service.
    pub told: Value,
    /// With its type and issuer, as the query names them.
    pub shown: Value,
    /// What its issuer is under.
    pub authorities: Vec<String>,
}

/// Verifies what was shown for this nonce, to this audience.
pub async fn check(verifier: &Verifier, shown: &str, nonce: String, audience: String) -> Result<Worth, Problem> {
    let report = vc_api::presentation(verifier, shown.into(), nonce, audience).await?;
    let (Some(subject), Some(issuer), [vct]) = (report.subject, report.by, &report.types[..]) else { return Err(Vp::Invalid.into()) };
    let mut known = subject.clone();
    (known["iss"], known["vct"]) = (issuer.clone().into(), vct.clone().into());
    let told = object!({"issuer": issuer, "vct": vct, "jkt": report.jkt, "claims": subject, "checks": report.checks,
        "checked_at": verifier.base.now().secs()});
    Ok(Worth { told, shown: known, authorities: report.authorities })
}
