//! What was checked, in order, and why the first that fails does.

use serde::Serialize;
use serde_json::Value;

/// One check.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Check {
    /// `form`, `policy`, `key`, `proof`, `disclosures`, `dates`, `status`, `occasion`, `holder`, `credentials`.
    pub check: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// The verdict. Nothing after the first check that fails was looked at.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Whether all of it holds.
    pub verified: bool,
    /// Who issued it, or who holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Its types.
    pub types: Vec<String>,
    /// Of an SD-JWT VC that was shown: thumbprint (RFC 7638) of the key that its holder has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jkt: Option<String>,
    /// Of an SD-JWT VC whose key is in `x5c`: key identifiers of those that its certificates are under (RFC 5280 §4.2.1.1), in base64url.
    #[serde(skip)]
    pub authorities: Vec<String>,
    /// Its subjects' claims; none of what does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Value>,
    /// In order.
    pub checks: Vec<Check>,
    /// Of a presentation: each of its credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Self>,
}

impl Report {
    /// Notes a check and gives what it found.
    pub(crate) fn note<T>(&mut self, check: &'static str, found: Result<T, &'static str>) -> Option<T> {
        self.checks.push(Check { check, ok: found.is_ok(), reason: found.as_ref().err().copied() });
        found.ok()
    }
}
