//! DCQL (OpenID4VP 1.0 §6): what is asked for, and whether what came is it. Unknown members are ignored.

use crate::b64;
use crate::refusal::Vp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most credentials, claims and sets of one query.
const MOST: usize = 32;

/// A query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// The credentials.
    pub credentials: Vec<CredentialQuery>,
    /// Which of them will do; all, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_sets: Option<Vec<CredentialSet>>,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CredentialQuery {
    /// Its name in the answer.
    pub id: String,
    /// `dc+sd-jwt`.
    pub format: String,
    /// Which types will do.
    pub meta: Meta,
    /// What is to be disclosed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Vec<ClaimQuery>>,
    /// Which of the claims will do, most wanted first; all, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_sets: Option<Vec<Vec<String>>>,
    /// Under whom the issuer must be, by one of these; under anybody, without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_authorities: Option<Vec<TrustedAuthority>>,
    /// More than one will do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiple: bool,
}

/// An authority that issuers may be under (§6.1.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrustedAuthority {
    /// `aki`; other kinds are refused, as nobody here could tell.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of `aki`: key identifiers of authorities, in base64url, one of which stands in a certificate of the credential's chain.
    pub values: Vec<String>,
}

impl TrustedAuthority {
    fn is_sound(&self) -> bool {
        let values = (1..=MOST).contains(&self.values.len()) && self.values.iter().all(|value| b64::decode(value).is_ok_and(|id| !id.is_empty()));
        self.kind == "aki" && values
    }
}

/// What a type must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// SD-JWT VC types.
    pub vct_values: Vec<String>,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimQuery {
    /// Its name in `claim_sets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it stands (§7): names, indexes, or `null` for every element.
    pub path: Vec<Value>,
    /// Which values will do; any, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Value>>,
}

/// Combinations of credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CredentialSet {
    /// Each a list of ids.
    pub options: Vec<Vec<String>>,
    /// Whether one of them must come.
    #[serde(default = "yes")]
    pub required: bool,
}

const fn yes() -> bool {
    true
}

impl Query {
    /// Refuses what could not be asked.
    pub fn check(&self) -> Result<(), Vp> {
        let ids: BTreeSet<_> = self.credentials.iter().map(|one| one.id.as_str()).collect();
        let named = !ids.is_empty() && ids.len() == self.credentials.len() && ids.len() <= MOST && ids.iter().all(|id| is_id(id));
        let sets = self.credential_sets.iter().flatten().all(|set| {
            !set.options.is_empty()
                && set.options.len() <= MOST
                && set.options.iter().all(|option| !option.is_empty() && option.iter().all(|id| ids.contains(id.as_str())))
        });
        let some = self.credential_sets.as_ref().is_none_or(|sets| !sets.is_empty() && sets.len() <= MOST);
        if named && sets && some && self.credentials.iter().all(CredentialQuery::is_sound) { Ok(()) } else { Err(Vp::Query) }
    }

    /// Whether the credentials that came are what was asked for: none that was not, and a whole option of each required set.
    pub fn is_answered_by(&self, came: &BTreeSet<&str>) -> bool {
        let known = came.iter().all(|id| self.credentials.iter().any(|one| one.id == *id));
        let whole = match &self.credential_sets {
            None => self.credentials.iter().all(|one| came.contains(one.id.as_str())),
            Some(sets) => {
                sets.iter().filter(|set| set.required).all(|set| set.options.iter().any(|option| option.iter().all(|id| came.contains(id.as_str()))))
            }
        };
        known && whole && !came.is_empty()
    }

    /// What a wallet answers that has one credential, with these claims: the name of each query it stands for, with the claims it shows for it, no more than
    /// are wanted. `also` are to be among them. `None` when that is no answer.
    pub fn answer_with<'a>(&'a self, claims: &Value, also: &BTreeSet<&'a str>) -> Option<BTreeMap<&'a str, BTreeSet<&'a str>>> {
        let names = |wanted: Vec<&'a ClaimQuery>| wanted.into_iter().filter_map(|claim| claim.path.first()?.as_str()).collect::<BTreeSet<_>>();
        let met = self.credentials.iter().filter(|one| one.is_met_by(claims, &[]));
        let able: BTreeMap<_, _> = met.filter_map(|one| Some((one.id.as_str(), names(one.wanted_of(claims)?)))).collect();
        let fits = |set: &'a CredentialSet| set.options.iter().find(|option| option.iter().all(|id| able.contains_key(id.as_str())));
        let mut ids = also.clone();
        match &self.credential_sets {
            None => ids.extend(self.credentials.iter().map(|one| one.id.as_str())),
            Some(sets) => {
                for set in sets.iter().filter(|set| set.required) {
                    ids.extend(fits(set)?.iter().map(String::as_str));
                }
                if ids.is_empty() {
                    ids.extend(sets.iter().find_map(fits)?.iter().map(String::as_str));
                }
            }
        }
        ids.into_iter().map(|id| Some((id, able.get(id)?.clone()))).collect()
    }
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

impl CredentialQuery {
    fn is_sound(&self) -> bool {
        if !self.trusted_authorities.as_ref().is_none_or(|all| (1..=MOST).contains(&all.len()) && all.iter().all(TrustedAuthority::is_sound)) {
            return false;
        }
        let claims = self.claims.as_deref().unwrap_or_default();
        let ids: BTreeSet<_> = claims.iter().filter_map(|claim| claim.id.as_deref()).collect();
        let paths = claims
            .iter()
            .all(|claim| (1..=16).contains(&claim.path.len()) && claim.path.iter().all(|step| step.is_string() || step.is_null() || step.is_u64()));
        let values = claims.iter().all(|claim| {
            claim
                .values
                .as_ref()
                .is_none_or(|values| !values.is_empty() && values.iter().all(|value| value.is_string() || value.is_i64() || value.is_boolean()))
        });
        let sets = self.claim_sets.as_ref().is_none_or(|sets| {
            !sets.is_empty() && ids.len() == claims.len() && sets.iter().all(|set| !set.is_empty() && set.iter().all(|id| ids.contains(id.as_str())))
        });
        let named = self.claims.as_ref().is_none_or(|claims| !claims.is_empty() && claims.len() <= MOST);
        self.format == "dc+sd-jwt" && !self.meta.vct_values.is_empty() && named && paths && values && sets
    }

    /// Whether these claims, all that a presentation shows, are what was asked for; with what its issuer is under (`aki`).
    pub fn is_met_by(&self, claims: &Value, authorities: &[String]) -> bool {
        if let Some(wanted) = &self.trusted_authorities
            && !wanted.iter().flat_map(|one| &one.values).any(|value| authorities.contains(value))
        {
            return false;
        }
        let vct = claims.get("vct").and_then(Value::as_str).is_some_and(|vct| self.meta.vct_values.iter().any(|wanted| wanted == vct));
        vct && self.wanted_of(claims).is_some()
    }

    /// What is asked of these claims, if they meet it: the most wanted set of it that they do (§6.4.1).
    fn wanted_of(&self, claims: &Value) -> Option<Vec<&ClaimQuery>> {
        let asked = self.claims.as_deref().unwrap_or_default();
        let met = |wanted: Vec<_>| Some(wanted).filter(|wanted: &Vec<&ClaimQuery>| wanted.iter().all(|claim| claim.is_met_by(claims)));
        let named = |id: &String| asked.iter().find(|claim| claim.id.as_ref() == Some(id));
        match &self.claim_sets {
            None => met(asked.iter().collect()),
            Some(sets) => sets.iter().find_map(|set| met(set.iter().map(named).collect::<Option<_>>()?)),
        }
    }
}

impl ClaimQuery {
    fn is_met_by(&self, claims: &Value) -> bool {
        let mut found = vec![claims];
        for step in &self.path {
            found = found.into_iter().flat_map(|at| select(at, step)).collect();
        }
        match &self.values {
            None => !found.is_empty(),
            Some(values) => found.iter().any(|one| values.contains(one)),
        }
    }
}

fn select<'a>(at: &'a Value, step: &Value) -> Vec<&'a Value> {
    match (step, at) {
        (Value::String(name), Value::Object(members)) => members.get(name).into_iter().collect(),
        (Value::Null, Value::Array(items)) => items.iter().collect(),
        (Value::Number(index), Value::Array(items)) => index.as_u64().and_then(|index| items.get(usize::try_from(index).ok()?)).into_iter().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(value: Value) -> Query {
        serde_json::from_value(value).unwrap()
    }
    fn one(more: &Value) -> Value {
        let mut one = json!({"id": "device", "format": "dc+sd-jwt", "meta": {"vct_values": ["v"]}, "unheard_of": 1});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one
    }

    #[test]
    fn claims_are_found_by_path_and_value() {
        let shown = json!({"vct": "v", "kind": "tv", "n": 4, "list": [{"a": 1}, {"a": 2}], "deep": {"er": true}});
        let met = |claims: Value| query(json!({"credentials": [one(&json!({"claims": claims}))]})).credentials[0].is_met_by(&shown, &[]);
        for yes in [
            json!([{"path": ["kind"]}]),
            json!([{"path": ["kind"], "values": ["phone", "tv"]}]),
            json!([{"path": ["n"], "values": [4]}]),
            json!([{"path": ["list", null, "a"], "values": [2]}]),
            json!([{"path": ["list", 0, "a"], "values": [1]}]),
            json!([{"path": ["deep", "er"], "values": [true]}]),
        ] {
            assert!(met(yes.clone()), "{yes}");
        }
        for no in [
            json!([{"path": ["name"]}]),
            json!([{"path": ["kind"], "values": ["phone"]}]),
            json!([{"path": ["n"], "values": ["4"]}]),
            json!([{"path": ["list", 2, "a"]}]),
            json!([{"path": ["list", 0, "a"], "values": [2]}]),
            json!([{"path": ["kind", null]}]),
            json!([{"path": ["kind"]}, {"path": ["name"]}]),
        ] {
            assert!(!met(no.clone()), "{no}");
        }
        let sets = |shown: Value| {
            let claims = json!({"claims": [{"id": "a", "path": ["a"]}, {"id": "b", "path": ["b"]}], "claim_sets": [["a", "b"], ["b"]]});
            query(json!({"credentials": [one(&claims)]})).credentials[0].is_met_by(&shown, &[])
        };
        assert!(sets(json!({"vct": "v", "b": 1})) && !sets(json!({"vct": "v", "a": 1})) && !sets(json!({"vct": "other", "b": 1})));
    }

    #[test]
    fn an_issuer_is_under_one_of_those_who_are_trusted() {
        let wanted = json!({"trusted_authorities": [{"type": "aki", "values": ["AQ"]}, {"type": "aki", "values": ["Ag", "Aw"]}]});
        let asked = query(json!({"credentials": [one(&wanted)]}));
        assert_eq!(asked.check(), Ok(()));
        let met = |under: &[&str]| asked.credentials[0].is_met_by(&json!({"vct": "v"}), &under.iter().map(|&id| id.to_owned()).collect::<Vec<_>>());
        assert!(met(&["AQ"]) && met(&["BA", "Aw"]) && !met(&["BA"]) && !met(&[]));
    }

    #[test]
    fn sets_of_credentials() {
        let asked = query(json!({"credentials": [one(&json!({"id": "x"})), one(&json!({"id": "y"})), one(&json!({"id": "z"}))],
            "credential_sets": [{"options": [["x"], ["y", "z"]]}, {"options": [["z"]], "required": false}]}));
        assert_eq!(asked.check(), Ok(()));
        let answered = |came: &[&str]| asked.is_answered_by(&came.iter().copied().collect());
        assert!(answered(&["x"]) && answered(&["y", "z"]) && answered(&["x", "z"]));
        assert!(!answered(&["y"]) && !answered(&["z"]) && !answered(&[]) && !answered(&["x", "other"]));
        let all = query(json!({"credentials": [one(&json!({"id": "x"})), one(&json!({"id": "y"}))]}));
        assert!(all.is_answered_by(&["x", "y"].into()) && !all.is_answered_by(&["x"].into()));
    }

    /// `fixtures/dcql-v1.json`, which the TypeScript SDK reads too.
    #[test]
    fn what_one_credential_answers() {
        let vectors: Value = serde_json::from_str(include_str!("../../fixtures/dcql-v1.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let credentials: Vec<_> = case["credentials"].as_array().unwrap().iter().map(one).collect();
            let mut asked = json!({"credentials": credentials});
            if let Some(sets) = case.get("credential_sets") {
                asked["credential_sets"] = sets.clone();
            }
            let asked = query(asked);
            asked.check().unwrap();
            let also: Vec<String> = case.get("also").map(|ids| serde_json::from_value(ids.clone()).unwrap()).unwrap_or_default();
            let answer = asked.answer_with(&vectors["claims"], &also.iter().map(String::as_str).collect());
            let came: Option<BTreeSet<_>> = answer.as_ref().map(|answer| answer.keys().copied().collect());
            assert!(came.is_none_or(|came| asked.is_answered_by(&came)), "{case}");
            assert_eq!(json!(answer), case["answer"], "{case}");
        }
    }

    #[test]
    fn what_could_not_be_asked_is_refused() {
        let check = |value: Value| serde_json::from_value::<Query>(value).map_or(Err(Vp::Query), |query| query.check());
        assert_eq!(check(json!({"credentials": [one(&json!({}))], "unheard_of": {}})), Ok(()));
        for bad in [
            json!({}),
            json!({"credentials": []}),
            json!({"credentials": [one(&json!({})), one(&json!({}))]}),
            json!({"credentials": [one(&json!({"id": "no spaces"}))]}),
            json!({"credentials": [one(&json!({"format": "mso_mdoc"}))]}),
            json!({"credentials": [one(&json!({"trusted_authorities": []}))]}),
            json!({"credentials": [one(&json!({"trusted_authorities": [{"type": "aki", "values": []}]}))]}),
            json!({"credentials": [one(&json!({"trusted_authorities": [{"type": "aki", "values": ["no base64url"]}]}))]}),
            json!({"credentials": [one(&json!({"trusted_authorities": [{"type": "aki", "values": ["AQ"]}, {"type": "etsi_tl", "values": ["AQ"]}]}))]}),
            json!({"credentials": [one(&json!({"meta": {}}))]}),
            json!({"credentials": [one(&json!({"meta": {"vct_values": []}}))]}),
            json!({"credentials": [one(&json!({"claims": []}))]}),
            json!({"credentials": [one(&json!({"claims": [{"path": []}]}))]}),
            json!({"credentials": [one(&json!({"claims": [{"path": [-1]}]}))]}),
            json!({"credentials": [one(&json!({"claims": [{"path": ["a"], "values": []}]}))]}),
            json!({"credentials": [one(&json!({"claims": [{"path": ["a"]}], "claim_sets": [["a"]]}))]}),
            json!({"credentials": [one(&json!({}))], "credential_sets": []}),
            json!({"credentials": [one(&json!({}))], "credential_sets": [{"options": [["other"]]}]}),
        ] {
            assert_eq!(check(bad.clone()), Err(Vp::Query), "{bad}");
        }
    }
}
