//! A presentation: made by whoever holds the credentials, for this very occasion.

use crate::credential::{self, Secured, id_of, numeric, subjects, texts};
use crate::data_integrity::{self, Proof};
use crate::issuer::Keys;
use crate::{MAX, Report, World, did};
use serde_json::{Map, Value};

/// Most credentials in one.
const MOST: usize = 8;

/// What it must have been made for.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// `challenge` of a proof, `nonce` of a token.
    pub challenge: &'a str,
    /// `domain` of a proof, `aud` of a token.
    pub domain: &'a str,
}

struct Said {
    holder: String,
    challenge: Option<String>,
    domain: Vec<String>,
    content: Map<String, Value>,
}

/// Verifies.
pub async fn verify(given: &Value, world: &World<'_>, occasion: &Occasion<'_>) -> Report {
    let mut report = Report::default();
    let secured = Secured::read(given, "Presentation", "application/vp+jwt", MAX);
    let read = secured.and_then(|secured| Ok((said(&secured, world.now)?, secured)));
    let Some((said, secured)) = report.note("form", read) else { return report };
    report.by = Some(said.holder.clone());
    report.types = texts(said.content.get("type")).into_iter().map(str::to_owned).collect();
    let here = if said.challenge.as_deref() != Some(occasion.challenge) {
        Err("it was made for another occasion")
    } else if said.domain != [occasion.domain] {
        Err("it was made for somebody else")
    } else {
        Ok(())
    };
    if report.note("occasion", here).is_none() {
        return report;
    }
    let proven = match &secured {
        Secured::Jwt(jwt) => jwt.check(&Keys::Carried).await,
        Secured::DataIntegrity(document) => data_integrity::check_presentation(document, world.policy, world.now).await,
    };
    if report.note("proof", proven).is_none() {
        return report;
    }
    let inside = match said.content.get("verifiableCredential") {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let few = if inside.is_empty() || inside.len() > MOST { Err("none, or too many") } else { Ok(()) };
    if report.note("credentials", few).is_none() {
        return report;
    }
    for one in inside {
        report.credentials.push(credential::verify(one, world).await);
    }
    let all_hold = if report.credentials.iter().all(|one| one.verified) { Ok(()) } else { Err("one of them does not hold") };
    if report.note("credentials", all_hold).is_none() {
        return report;
    }
    // One that names nobody could be shown by anybody.
    let theirs = |subject: &&Value| id_of(subject) == Some(said.holder.as_str());
    let held = report.credentials.iter().all(|one| subjects(one.subject.as_ref()).iter().all(theirs));
    let held = if held { Ok(()) } else { Err("one of them is not about whoever shows it") };
    report.verified = report.note("holder", held).is_some();
    report
}

fn said(secured: &Secured<'_>, now: i64) -> Result<Said, &'static str> {
    let (content, kid, challenge, domain) = match secured {
        Secured::DataIntegrity(document) => {
            let proof = Proof::of(document, "authentication")?;
            proof.check_dates(now)?;
            let content = document.as_object().ok_or("no object")?;
            let domain = proof.text("domain").map(str::to_owned).into_iter().collect();
            (content, proof.method, proof.text("challenge").map(str::to_owned), domain)
        }
        Secured::Jwt(jwt) => {
            let kid = jwt.kid.as_deref().filter(|_| jwt.x5c.is_empty()).ok_or("the key is named by no DID URL")?;
            let content = match jwt.claims.get("vp") {
                None if jwt.typ.as_deref() == Some("vp+jwt") => &jwt.claims,
                Some(inside) if jwt.typ.as_deref().is_none_or(|typ| typ == "JWT") => {
                    if jwt.claims.get("iss").is_some_and(|iss| iss.as_str() != did::of_url(kid).ok()) {
                        return Err("two holders");
                    }
                    inside.as_object().ok_or("vp is no object")?
                }
                _ => return Err("the token is of another type"),
            };
            if numeric(&jwt.claims, "exp")?.is_some_and(|exp| exp <= now) || numeric(&jwt.claims, "nbf")?.is_some_and(|nbf| nbf > now) {
                return Err("it is not valid now");
            }
            let nonce = jwt.claims.get("nonce").and_then(Value::as_str).map(str::to_owned);
            let domain = texts(jwt.claims.get("aud")).into_iter().map(str::to_owned).collect();
            (content, kid, nonce, domain)
        }
    };
    if !texts(content.get("type")).contains(&"VerifiablePresentation") {
        return Err("it is no presentation");
    }
    let holder = did::of_url(kid)
        .and_then(|did| if did::is_carried(did) { Ok(did.to_owned()) } else { Err("the holder is named by neither did:key nor did:jwk") })?;
    // Whoever signs is whoever says that they hold it.
    if content.get("holder").is_some_and(|named| id_of(named) != Some(&holder)) {
        return Err("two holders");
    }
    Ok(Said { holder, challenge, domain, content: content.clone() })
}
