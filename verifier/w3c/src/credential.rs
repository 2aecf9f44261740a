//! A credential: its form, who may say so, the proof, its dates, its status.

use crate::data_integrity::{self, Proof};
use crate::fetch::MAX_ANSWER;
use crate::issuer::{Named, keys};
use crate::jwt::Jwt;
use crate::policy::Trusted;
use crate::{MAX, Report, World, status};
use chrono::DateTime;
use serde_json::{Map, Value};

pub const V1: &str = "https://www.w3.org/2018/credentials/v1";
pub const V2: &str = "https://www.w3.org/ns/credentials/v2";

/// How far ahead of ours the clock of whoever signed may be.
pub const SKEW_SECS: i64 = 60;

/// How something is secured.
pub enum Secured<'a> {
    /// As a JWT.
    Jwt(Box<Jwt<'a>>),
    /// With a proof inside.
    DataIntegrity(&'a Value),
}

impl<'a> Secured<'a> {
    /// Finds out. `kind` is `Credential` or `Presentation`, `media` the media type of an envelope of it, `max` how long it may be.
    pub fn read(given: &'a Value, kind: &str, media: &str, max: usize) -> Result<Self, &'static str> {
        match given {
            Value::String(text) => Ok(Self::Jwt(Box::new(Jwt::parse_long(text, max)?))),
            Value::Object(members) if texts(members.get("type")).iter().any(|name| *name == format!("EnvelopedVerifiable{kind}")) => {
                let id = members.get("id").and_then(Value::as_str).ok_or("the envelope is empty")?;
                let jwt = id.strip_prefix("data:").and_then(|data| data.strip_prefix(media)).and_then(|rest| rest.strip_prefix(','));
                let jwt = Jwt::parse_long(jwt.ok_or("the envelope is of another type")?, max)?;
                if jwt.typ.as_deref() == media.strip_prefix("application/") {
                    Ok(Self::Jwt(Box::new(jwt)))
                } else {
                    Err("the envelope is of another type")
                }
            }
            Value::Object(members) if members.contains_key("proof") => {
                if given.to_string().len() > max {
                    return Err("too long");
                }
                Ok(Self::DataIntegrity(given))
            }
            Value::Object(_) => Err("nothing secures it"),
            _ => Err("neither an object nor a JWT"),
        }
    }
}

/// What a credential says, whichever way it is secured.
pub struct Said {
    issuer: String,
    types: Vec<String>,
    algorithm: &'static str,
    kid: Option<String>,
    /// All of it.
    pub content: Map<String, Value>,
    /// From the JWT around it.
    not_before: Option<i64>,
    ends: Option<i64>,
}

/// What is being verified.
#[derive(Clone, Copy)]
pub enum What<'a> {
    /// A credential of whoever is trusted for it.
    Credential,
    /// A status list, by the issuer of what it is about.
    List(&'a Trusted),
}

impl<'a> What<'a> {
    /// Who may say so, and how.
    fn allowed(self, world: &World<'a>, said: &Said) -> Result<&'a Trusted, &'static str> {
        match self {
            Self::Credential => world.policy.allows(&said.issuer, &said.types, said.algorithm),
            Self::List(trusted) if said.issuer != trusted.id => Err("the issuer is another"),
            Self::List(_) if !said.types.iter().any(|name| name == "BitstringStatusListCredential") => Err("it is no status list"),
            Self::List(trusted) => trusted.signs(said.algorithm).map(|()| trusted),
        }
    }
}

/// Verifies.
pub async fn verify(given: &Value, world: &World<'_>) -> Report {
    let mut report = Report::default();
    let Some(said) = proven(&mut report, given, world, What::Credential).await else { return report };
    let Some(trusted) = world.policy.trusted(&said.issuer) else { return report };
    if report.note("status", status::of_vcdm(world, trusted, &said.content).await).is_none() {
        return report;
    }
    report.subject = said.content.get("credentialSubject").cloned();
    report.verified = true;
    report
}

/// Everything but its status.
pub async fn proven(report: &mut Report, given: &Value, world: &World<'_>, what: What<'_>) -> Option<Said> {
    let max = if matches!(what, What::List(_)) { MAX_ANSWER } else { MAX };
    let secured = Secured::read(given, "Credential", "application/vc+jwt", max);
    let (said, secured) = report.note("form", secured.and_then(|secured| Ok((said(&secured)?, secured))))?;
    (report.by, report.types) = (Some(said.issuer.clone()), said.types.clone());
    let trusted = report.note("policy", what.allowed(world, &said))?;
    let named = Named { key: said.kid.as_deref(), x5c: if let Secured::Jwt(jwt) = &secured { &jwt.x5c } else { &[] } };
    let by = report.note("key", keys(world, &said.issuer, named))?;
    let proven = match &secured {
        Secured::Jwt(jwt) => jwt.check(&by).await,
        Secured::DataIntegrity(document) => match Proof::of(document, "assertionMethod").and_then(|proof| proof.check_dates(world.now)) {
            Ok(()) => {
                // A list may do without those of the credentials that it is for.
                let bare = matches!(what, What::List(_)) && document["@context"].as_array().is_some_and(|all| all.len() == 1);
                let contexts = if bare { &[][..] } else { &trusted.contexts };
                data_integrity::check_credential(document, contexts, by, world.now).await
            }
            Err(why) => Err(why),
        },
    };
    report.note("proof", proven)?;
    report.note("dates", said.check_dates(world.now))?;
    Some(said)
}

fn said(secured: &Secured<'_>) -> Result<Said, &'static str> {
    match secured {
        Secured::DataIntegrity(document) => {
            let proof = Proof::of(document, "assertionMethod")?;
            let content = document.as_object().ok_or("no object")?.clone();
            Said::of(content, proof.suite, Some(proof.method))
        }
        Secured::Jwt(jwt) => match jwt.claims.get("vc") {
            None => {
                if jwt.typ.as_deref() != Some("vc+jwt") || context(&jwt.claims) != Some(V2) {
                    return Err("the token is of another type");
                }
                let said = Said::of(jwt.claims.clone(), jwt.algorithm, jwt.kid.as_deref())?;
                // What a JWT says beside its credential (VC-JOSE-COSE §3.1.3) must be the same, and counts.
                let text = |name: &str| jwt.claims.get(name).map(|value| value.as_str().ok_or("a claim has the wrong type")).transpose();
                if text("iss")?.is_some_and(|iss| iss != said.issuer) {
                    return Err("two issuers");
                }
                if text("sub")?.is_some_and(|sub| said.content.get("credentialSubject").and_then(id_of) != Some(sub)) {
                    return Err("two subjects");
                }
                if text("jti")?.is_some_and(|jti| said.content.get("id").and_then(Value::as_str) != Some(jti)) {
                    return Err("two ids");
                }
                Ok(Said { not_before: numeric(&jwt.claims, "nbf")?, ends: numeric(&jwt.claims, "exp")?, ..said })
            }
            Some(inside) => {
                if jwt.typ.as_deref().is_some_and(|typ| typ != "JWT") {
                    return Err("the token is of another type");
                }
                inside_jwt(jwt, inside)
            }
        },
    }
}

/// VCDM 1.1 §6.3.1: what the token says beside `vc` and what `vc` says are one.
fn inside_jwt(jwt: &Jwt<'_>, inside: &Value) -> Result<Said, &'static str> {
    let mut content = inside.as_object().ok_or("vc is no object")?.clone();
    // What would end it must be where it is looked for.
    if ["status", "credentialStatus", "validFrom", "validUntil", "issuanceDate", "expirationDate"].iter().any(|name| jwt.claims.contains_key(*name)) {
        return Err("something is said beside vc that belongs inside");
    }
    if context(&content) != Some(V1) {
        return Err("the first context is another");
    }
    let issuer = jwt.claims.get("iss").and_then(Value::as_str).ok_or("no issuer")?;
    match content.get("issuer").map(id_of) {
        None => drop(content.insert("issuer".into(), issuer.into())),
        Some(named) if named == Some(issuer) => {}
        Some(_) => return Err("two issuers"),
    }
    if let Some(sub) = jwt.claims.get("sub") {
        if !sub.is_string() {
            return Err("a claim has the wrong type");
        }
        let subject = content.entry("credentialSubject").or_insert_with(|| Value::Object(Map::new()));
        let subject = subject.as_object_mut().ok_or("one subject is named, and not one is there")?;
        if subject.entry("id").or_insert_with(|| sub.clone()) != sub {
            return Err("two subjects");
        }
    }
    if let Some(jti) = jwt.claims.get("jti") {
        if !jti.is_string() {
            return Err("a claim has the wrong type");
        }
        if content.entry("id").or_insert_with(|| jti.clone()) != jti {
            return Err("two ids");
        }
    }
    let (not_before, ends) = (numeric(&jwt.claims, "nbf")?, numeric(&jwt.claims, "exp")?);
    if not_before.is_none() && !content.contains_key("issuanceDate") {
        return Err("it has no date of issue");
    }
    Ok(Said { not_before, ends, ..Said::of(content, jwt.algorithm, jwt.kid.as_deref())? })
}

/// A NumericDate (RFC 7519 §2).
pub fn numeric(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, &'static str> {
    claims.get(name).map(|value| value.as_i64().ok_or("a date does not parse")).transpose()
}

impl Said {
    fn of(content: Map<String, Value>, algorithm: &'static str, kid: Option<&str>) -> Result<Self, &'static str> {
        if !matches!(context(&content), Some(V1 | V2)) {
            return Err("the first context is another");
        }
        let types: Vec<_> = texts(content.get("type")).into_iter().map(str::to_owned).collect();
        if !types.iter().any(|name| name == "VerifiableCredential") {
            return Err("it is no credential");
        }
        let subjects = subjects(content.get("credentialSubject"));
        let right = |subject: &&Value| subject.is_object() && subject.get("id").is_none_or(Value::is_string);
        if subjects.is_empty() || !subjects.iter().all(right) {
            return Err("it has no subject");
        }
        let issuer = content.get("issuer").and_then(id_of).ok_or("no issuer")?.to_owned();
        Ok(Self { issuer, types, algorithm, kid: kid.map(str::to_owned), content, not_before: None, ends: None })
    }

    fn check_dates(&self, now: i64) -> Result<(), &'static str> {
        let date = |name: &str| self.content.get(name).map(|value| time(value).ok_or("a date does not parse")).transpose();
        let starts = [date("validFrom")?, date("issuanceDate")?, self.not_before];
        let ends = [date("validUntil")?, date("expirationDate")?, self.ends];
        if starts.into_iter().flatten().any(|start| start > now + SKEW_SECS) {
            return Err("it is not valid yet");
        }
        if ends.into_iter().flatten().any(|end| end <= now) { Err("it has expired") } else { Ok(()) }
    }
}

/// All that it is about.
pub fn subjects(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

/// The first context.
pub fn context(content: &Map<String, Value>) -> Option<&str> {
    content.get("@context")?.as_array()?.first()?.as_str()
}

/// `"x"`, or `{"id": "x"}`.
pub fn id_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("id")?.as_str())
}

/// One text or several.
pub fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// An XML Schema dateTimeStamp, in Unix seconds.
pub fn time(value: &Value) -> Option<i64> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|at| at.timestamp())
}
