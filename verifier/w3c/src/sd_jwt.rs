//! SD-JWT VCs (`dc+sd-jwt`) of other issuers. Disclosures and key binding are `baton_protocol`'s, which is strict about both; the issuer's signature is
//! ssi's, so that EdDSA counts as well. A holder's key is P-256.

use crate::credential::{SKEW_SECS, numeric};
use crate::issuer::{Named, keys};
use crate::jwt::Jwt;
use crate::{Occasion, Report, World, status};
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::json;
use baton_protocol::key::PublicKey;
use baton_protocol::presentation::KeyBinding;
use baton_protocol::sd_jwt::{Compact, reveal};
use baton_protocol::time::{Millis, is_fresh};
use serde_json::{Map, Value};

/// Claims that are never disclosed selectively (SD-JWT VC §3.2.2.2).
const FIXED: &[&str] = &["iss", "nbf", "exp", "cnf", "vct", "vct#integrity", "status"];
/// Claims about the credential rather than its subject.
const OWN: [&str; 9] = ["iss", "iat", "nbf", "exp", "cnf", "vct", "vct#integrity", "status", "aud"];

/// Whether this text is one, rather than a JWT.
pub fn is_one(given: &Value) -> Option<&str> {
    given.as_str().filter(|text| text.contains('~'))
}

/// Verifies. With an occasion, it must be shown by its holder for that.
pub async fn verify(text: &str, world: &World<'_>, occasion: Option<&Occasion<'_>>) -> Report {
    let mut report = Report::default();
    let read = || {
        let compact = Compact::parse(text).map_err(|_| "no SD-JWT")?;
        let jwt = Jwt::parse(compact.jwt)?;
        if jwt.typ.as_deref() != Some("dc+sd-jwt") {
            return Err("the token is of another type");
        }
        let named = |name: &str| jwt.claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let (issuer, vct) = (named("iss").ok_or("no issuer")?, named("vct").ok_or("it has no type")?);
        Ok((compact, jwt, issuer, vct))
    };
    let Some((compact, jwt, issuer, vct)) = report.note("form", read()) else { return report };
    (report.by, report.types) = (Some(issuer.clone()), vec![vct]);
    let allowed = world.policy.allows(&issuer, &report.types, jwt.algorithm);
    let Some(trusted) = report.note("policy", allowed) else { return report };
    let by = keys(world, &issuer, Named { key: jwt.kid.as_deref(), x5c: &jwt.x5c });
    let Some(by) = report.note("key", by) else { return report };
    if report.note("proof", jwt.check(&by).await).is_none() {
        return report;
    }
    let revealed = || {
        let payload = jwt.payload()?;
        let claims = json::members(&payload, crate::MAX).map_err(|_| "the payload does not parse")?;
        reveal(&claims, &compact.disclosures, FIXED).map(|all| all.to_map()).map_err(|_| "a disclosure does not belong where it would go")
    };
    let Some(claims) = report.note("disclosures", revealed()) else { return report };
    if report.note("dates", dates(&claims, world.now)).is_none() {
        return report;
    }
    if report.note("status", status::of_token(world, trusted, claims.get("status")).await).is_none() {
        return report;
    }
    let held = match (occasion, compact.kb) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err("it was shown on an occasion that is not named"),
        (Some(_), None) => Err("nobody shows that they hold it"),
        (Some(occasion), Some(kb)) => held(&compact, &claims, kb, occasion, world.now).map(Some),
    };
    let Some(jkt) = report.note("holder", held) else { return report };
    (report.jkt, report.authorities) = (jkt, by.authorities());
    report.subject = Some(claims.into_iter().filter(|(name, _)| !OWN.contains(&name.as_str())).collect());
    report.verified = true;
    report
}

fn dates(claims: &Map<String, Value>, now: i64) -> Result<(), &'static str> {
    let starts = [numeric(claims, "nbf")?, numeric(claims, "iat")?];
    if starts.into_iter().flatten().any(|start| start > now + SKEW_SECS) {
        return Err("it is not valid yet");
    }
    if numeric(claims, "exp")?.is_some_and(|exp| exp <= now) { Err("it has expired") } else { Ok(()) }
}

/// The key-binding JWT (RFC 9901 §4.3): by the key the issuer named, over exactly this, now, for this occasion. Gives that key's thumbprint.
fn held(compact: &Compact<'_>, claims: &Map<String, Value>, kb: &str, occasion: &Occasion<'_>, now: i64) -> Result<String, &'static str> {
    let cnf = claims.get("cnf").and_then(|cnf| cnf.get("jwk")).ok_or("it is bound to no key")?;
    let key = PublicKey::from_jwk(cnf).map_err(|_| "it is bound to no P-256 key")?;
    let kb = Unverified::parse(kb, Typ::KeyBinding).map_err(|_| "the key binding does not parse")?;
    let kb: KeyBinding = kb.verify(&key).map_err(|_| "somebody else shows it")?.claims().map_err(|_| "the key binding does not parse")?;
    if kb.sd_hash != compact.sd_hash() {
        return Err("something else was shown");
    }
    if kb.nonce != occasion.challenge {
        return Err("it was made for another occasion");
    }
    if kb.aud != occasion.domain {
        return Err("it was made for somebody else");
    }
    // What it would agree to, nobody here asked for.
    if kb.transaction_data_hashes.is_some() {
        return Err("it agrees to something that was not asked for");
    }
    if is_fresh(kb.iat, Millis::from_secs(now)) { Ok(key.thumbprint().0) } else { Err("it was made at another time") }
}
