//! OAuth's form bodies (RFC 6749 §3.2): each parameter once, none in the query, unknown ones ignored.

use crate::problem::Problem;
use axum::http::{HeaderMap, Uri};
use baton_protocol::refusal::Oauth;
use std::collections::HashMap;

/// The parameters of a request.
pub struct Form(HashMap<String, String>);

impl Form {
    /// Parses a body.
    pub fn parse(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        let bad = || Problem::oauth(Oauth::Request);
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if uri.query().is_some() || !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(bad());
        }
        let mut map = HashMap::new();
        for pair in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let mut parts = pair.splitn(2, |b| *b == b'=');
            let name = decode(parts.next().unwrap_or_default()).ok_or_else(bad)?;
            let value = decode(parts.next().unwrap_or_default()).ok_or_else(bad)?;
            if map.insert(name, value).is_some() {
                return Err(bad());
            }
        }
        Ok(Self(map))
    }
    /// A parameter, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
    /// A parameter that must be there.
    pub fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::oauth(Oauth::Request))
    }
}

fn decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [*bytes.next()?, *bytes.next()?];
                hex.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    // No parameter has a NUL (RFC 6749 appendix A), and no database takes one in a text.
    String::from_utf8(out).ok().filter(|text| !text.contains('\0'))
}
