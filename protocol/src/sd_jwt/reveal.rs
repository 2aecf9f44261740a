//! Putting disclosed claims back (RFC 9901 §7.1), with every check of that section: no digest twice anywhere, no reserved or colliding
//! name, no disclosure unused, bounded depth.

use super::Disclosure;
use crate::json::{MAX_DEPTH, Members, Node};
use crate::refusal::Vc;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Replaces digests in `claims` by what `disclosures` say. `fixed` names top-level claims that must not be selectively disclosable.
pub fn reveal<'a>(claims: &'a Members<'_>, disclosures: &'a [Disclosure], fixed: &'a [&'a str]) -> Result<Members<'a>, Vc> {
    if claims.get("_sd_alg").is_some_and(|alg| alg.as_str() != Some("sha-256")) {
        return Err(Vc::SdAlg);
    }
    let by_digest: BTreeMap<&str, &Disclosure> = disclosures.iter().map(|disclosure| (disclosure.digest(), disclosure)).collect();
    if by_digest.len() != disclosures.len() {
        return Err(Vc::DupDigest);
    }
    let mut walk = Walk { by_digest, seen: BTreeSet::new(), used: 0, fixed };
    let revealed = walk.members(claims, 0)?;
    if walk.used == disclosures.len() { Ok(revealed) } else { Err(Vc::Unused) }
}

struct Walk<'a> {
    by_digest: BTreeMap<&'a str, &'a Disclosure>,
    seen: BTreeSet<&'a str>,
    used: usize,
    fixed: &'a [&'a str],
}

impl<'a> Walk<'a> {
    fn value(&mut self, value: &'a Node<'_>, depth: usize) -> Result<Node<'a>, Vc> {
        if depth > MAX_DEPTH {
            return Err(Vc::Limit);
        }
        match value {
            Node::Object(members) => self.members(members, depth).map(Node::Object),
            Node::Array(items) => self.items(items, depth).map(Node::Array),
            Node::Text(text) => Ok(Node::Text(Cow::Borrowed(text))),
            Node::Number(number) => Ok(Node::Number(number.clone())),
            Node::Bool(bool) => Ok(Node::Bool(*bool)),
            Node::Null => Ok(Node::Null),
        }
    }

    fn members(&mut self, members: &'a Members<'_>, depth: usize) -> Result<Members<'a>, Vc> {
        let digests: &'a [Node<'_>] = members.get("_sd").and_then(Node::as_items).unwrap_or_default();
        let mut out = Members::with_capacity(members.len() + digests.len());
        for (name, value) in members.iter() {
            match (name, value) {
                ("_sd", Node::Array(_)) => {}
                ("_sd", _) => return Err(Vc::Placeholder),
                ("...", _) => return Err(Vc::Reserved),
                // Where it may stand, `reveal` has read it.
                ("_sd_alg", _) if depth == 0 => {}
                ("_sd_alg", _) => return Err(Vc::SdAlg),
                _ => out.push(name, self.value(value, depth + 1)?),
            }
        }
        for digest in digests {
            let Some(disclosure) = self.find(digest.as_str().ok_or(Vc::Placeholder)?)? else { continue };
            let name = disclosure.name().ok_or(Vc::Disclosure)?;
            if out.get(name).is_some() {
                return Err(Vc::Collision);
            }
            if depth == 0 && self.fixed.contains(&name) {
                return Err(Vc::NonSdClaim);
            }
            out.push(name, self.value(disclosure.value(), depth + 1)?);
        }
        Ok(out)
    }

    fn items(&mut self, items: &'a [Node<'_>], depth: usize) -> Result<Vec<Node<'a>>, Vc> {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let Some(digest) = placeholder(item)? else {
                out.push(self.value(item, depth + 1)?);
                continue;
            };
            let Some(disclosure) = self.find(digest)? else { continue };
            if disclosure.name().is_some() {
                return Err(Vc::Disclosure);
            }
            out.push(self.value(disclosure.value(), depth + 1)?);
        }
        Ok(out)
    }

    /// Notes a digest as seen and gives its disclosure, if it was disclosed.
    fn find(&mut self, digest: &'a str) -> Result<Option<&'a Disclosure>, Vc> {
        if !self.seen.insert(digest) {
            return Err(Vc::DupDigest);
        }
        let found = self.by_digest.get(digest).copied();
        self.used += usize::from(found.is_some());
        Ok(found)
    }
}

fn placeholder<'a>(item: &'a Node<'_>) -> Result<Option<&'a str>, Vc> {
    let Some((object, digest)) = item.as_members().and_then(|object| Some((object, object.get("...")?))) else { return Ok(None) };
    match digest.as_str() {
        Some(digest) if object.len() == 1 => Ok(Some(digest)),
        _ => Err(Vc::Placeholder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    fn reveal(claims: &Value, disclosures: &[Disclosure], fixed: &[&str]) -> Result<Map<String, Value>, Vc> {
        super::reveal(&crate::json::members(claims.to_string().as_bytes(), 1 << 16).unwrap(), disclosures, fixed).map(|all| all.to_map())
    }
    fn member(n: u8, name: &str, value: &Value) -> Disclosure {
        Disclosure::member([n; 16], name, value)
    }
    fn element(value: &Value) -> Disclosure {
        Disclosure::parse(&crate::b64::encode(json!(["_26bc4LT-ac6q2KI6cBW5es", value]).to_string())).unwrap()
    }

    /// RFC 9901 §4.2.1 and §4.2.3.
    #[test]
    fn the_rfc_s_own_disclosure_has_the_rfc_s_own_digest() {
        let text = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0";
        let disclosure = Disclosure::parse(text).unwrap();
        assert_eq!((disclosure.name(), disclosure.value().to_value()), (Some("family_name"), json!("Möbius")));
        assert_eq!(disclosure.digest(), "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0");
    }

    #[test]
    fn claims_come_back_where_they_were_at_any_depth() {
        let inner = member(1, "street", &json!("Rua"));
        let outer = member(2, "address", &json!({"_sd": [inner.digest()], "country": "PT"}));
        let item = element(&json!("DE"));
        let claims =
            &json!({"_sd": [outer.digest(), "undisclosed"], "_sd_alg": "sha-256", "nationalities": [{"...": item.digest()}, "FR", {"...": "decoy"}]});
        let revealed = reveal(claims, &[outer, inner, item], &[]).unwrap();
        assert_eq!(Value::Object(revealed), json!({"address": {"street": "Rua", "country": "PT"}, "nationalities": ["DE", "FR"]}));
    }

    #[test]
    fn each_rule_of_section_7_1_refuses_and_its_twin_passes() {
        let name = member(1, "name", &json!("x"));
        let good = json!({"_sd": [name.digest()], "sub": "s"});
        assert!(reveal(&good, std::slice::from_ref(&name), &["sub"]).is_ok());
        let try_with = |claims: Value, disclosures: &[Disclosure]| reveal(&claims, disclosures, &["cnf"]).unwrap_err();

        assert_eq!(try_with(json!({"_sd": [name.digest(), name.digest()]}), std::slice::from_ref(&name)), Vc::DupDigest);
        assert_eq!(try_with(json!({"_sd": ["u", "u"]}), &[]), Vc::DupDigest, "undisclosed");
        assert_eq!(try_with(json!({"_sd": ["u"], "a": [{"...": "u"}]}), &[]), Vc::DupDigest, "object and array");
        assert_eq!(try_with(good.clone(), &[name.clone(), name.clone()]), Vc::DupDigest, "disclosed twice");
        let nested = member(3, "n", &json!({"_sd": [name.digest()]}));
        assert_eq!(try_with(json!({"_sd": [nested.digest(), name.digest()]}), &[nested, name.clone()]), Vc::DupDigest, "nested");
        let sub = member(2, "sub", &json!("attacker"));
        assert_eq!(try_with(json!({"_sd": [sub.digest()], "sub": "s"}), &[sub]), Vc::Collision);
        let cnf = member(2, "cnf", &json!({}));
        assert_eq!(try_with(json!({"_sd": [cnf.digest()]}), &[cnf]), Vc::NonSdClaim);
        for alg in [json!("md5"), json!("sha-1"), json!("none"), json!(5)] {
            assert_eq!(try_with(json!({"_sd_alg": alg}), &[]), Vc::SdAlg);
        }
        assert_eq!(try_with(json!({"a": {"_sd_alg": "sha-256"}}), &[]), Vc::SdAlg);
        assert_eq!(try_with(json!({"a": [{"...": "h", "x": 1}]}), &[]), Vc::Placeholder);
        assert_eq!(try_with(json!({"a": [{"...": 5}]}), &[]), Vc::Placeholder);
        assert_eq!(try_with(json!({"_sd": [5]}), &[]), Vc::Placeholder);
        assert_eq!(try_with(json!({"...": "h"}), &[]), Vc::Reserved);
        assert_eq!(try_with(json!({}), std::slice::from_ref(&name)), Vc::Unused);
        assert_eq!(try_with(json!({"a": [{"...": name.digest()}]}), std::slice::from_ref(&name)), Vc::Disclosure, "member form in an array");
        let item = element(&json!(1));
        assert_eq!(try_with(json!({"_sd": [item.digest()]}), &[item]), Vc::Disclosure, "element form in an object");
    }

    #[test]
    fn forms_of_a_disclosure_that_are_not_one() {
        let salt = "_26bc4LT-ac6q2KI6cBW5es";
        let parse = |value: Value| Disclosure::parse(&crate::b64::encode(value.to_string())).unwrap_err();
        for bad in
            [json!({}), json!([]), json!([salt]), json!([salt, "a", 1, 2]), json!([1, "a", 1]), json!([salt, 1, 1]), json!(["c2hvcnQ", "a", 1])]
        {
            assert_eq!(parse(bad.clone()), Vc::Disclosure, "{bad}");
        }
        assert_eq!(parse(json!([salt, "_sd", []])), Vc::Reserved);
        assert_eq!(parse(json!([salt, "...", 1])), Vc::Reserved);
        assert_eq!(parse(json!([salt, "_sd_alg", "md5"])), Vc::Reserved);
    }

    #[test]
    fn a_chain_of_nested_disclosures_is_bounded() {
        let mut disclosures = vec![member(0, "leaf", &json!(1))];
        for _ in 0..40 {
            let inner = disclosures.last().unwrap().digest().to_owned();
            disclosures.push(member(0, "deeper", &json!({"_sd": [inner]})));
        }
        let top = disclosures.last().unwrap().digest().to_owned();
        assert_eq!(reveal(&json!({"_sd": [top]}), &disclosures, &[]), Err(Vc::Limit));
    }
}
