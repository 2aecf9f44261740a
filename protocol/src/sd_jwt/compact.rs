//! `<JWT>~<disclosure>~..~[<KB-JWT>]` (RFC 9901 §4).

use super::{Disclosure, MAX_DISCLOSURES};
use crate::jose::MAX_TOKEN;
use crate::key;
use crate::refusal::{Jose, Vc};
use serde_json::Value;

/// The parts of an SD-JWT or SD-JWT+KB, nothing of it verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compact<'a> {
    /// The issuer-signed JWT.
    pub jwt: &'a str,
    /// The disclosures, in their order.
    pub disclosures: Vec<Disclosure>,
    /// The key-binding JWT, if there is one.
    pub kb: Option<&'a str>,
    /// Everything the KB-JWT's `sd_hash` covers, with its last tilde.
    bound: &'a str,
}

impl<'a> Compact<'a> {
    /// Splits; bounded before anything is decoded.
    pub fn parse(text: &'a str) -> Result<Self, Vc> {
        if text.len() > MAX_TOKEN {
            return Err(Vc::Limit);
        }
        let (rest, kb) = text.rsplit_once('~').ok_or(Vc::Jose(Jose::Form))?;
        let mut parts = rest.split('~');
        let jwt = parts.next().ok_or(Vc::Jose(Jose::Form))?;
        if parts.clone().nth(MAX_DISCLOSURES).is_some() {
            return Err(Vc::Limit);
        }
        let mut disclosures = Vec::with_capacity(8);
        for part in parts {
            disclosures.push(Disclosure::parse(part)?);
        }
        Ok(Self { jwt, disclosures, kb: (!kb.is_empty()).then_some(kb), bound: &text[..=rest.len()] })
    }

    /// The `sd_hash` a KB-JWT over this must carry (RFC 9901 §4.3.1).
    pub fn sd_hash(&self) -> String {
        key::hash(self.bound.as_bytes())
    }

    /// What is said under this name, to whoever has no need to know who says it; nothing of it is verified.
    pub fn disclosed(&self, name: &str) -> Option<Value> {
        self.disclosures.iter().find(|one| one.name() == Some(name)).map(|one| one.value().to_value())
    }

    /// Keeps the issuer-signed JWT and the disclosures of the named top-level claims: what a holder shows.
    pub fn select(&self, keep: impl Fn(&str) -> bool) -> String {
        let kept = self.disclosures.iter().filter(|d| d.name().is_some_and(&keep));
        let mut out = format!("{}~", self.jwt);
        for disclosure in kept {
            out.push_str(disclosure.as_str());
            out.push('~');
        }
        out
    }
}
