//! Replacing the root: every app's log goes on under the new root's issuer key, and every live device gets a new credential, all at once.

use crate::credential::Template;
use crate::jose::{Draft, Typ, Unverified};
use crate::key::{Did, Jwk, PublicKey};
use crate::refusal::Wrap;
use crate::root::fingerprint;
use serde::{Deserialize, Serialize};

/// "That root replaces mine", by the account key of the one before: how a browser that knew the old one learns of it. Asked for as
/// [`Typ::RootRequest`], which leads nobody anywhere; signed as [`Typ::RootStatement`] in the switch itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RootStatement {
    /// Version: 1.
    pub v: u8,
    /// Fingerprint of the root so far.
    pub from: String,
    /// Fingerprint of the new one.
    pub to: String,
}

impl RootStatement {
    /// What to sign with the account key of the root so far.
    pub fn draft(&self, typ: Typ, account: &PublicKey) -> Draft {
        Draft::new(typ, &account.did().url(), self)
    }
    /// Reads one; it must be by the key whose fingerprint it names.
    pub fn check(jws: &str, typ: Typ) -> Result<Self, Wrap> {
        let jws = Unverified::parse(jws, typ).map_err(|_| Wrap::Proof)?;
        let key = jws.unverified_header().kid.as_deref().and_then(|kid| Did::from_url(kid).ok()).and_then(|did| did.key().ok()).ok_or(Wrap::Proof)?;
        let statement: Self = jws.verify(&key).and_then(|verified| verified.exact()).map_err(|_| Wrap::Proof)?;
        if statement.v == 1 && statement.from == fingerprint(&key) && statement.to != statement.from { Ok(statement) } else { Err(Wrap::Proof) }
    }
}

/// Whether these statements, one after the other, lead from a root that was known to another.
pub fn continues(statements: &[String], known: &str, now: &str) -> bool {
    let led = statements.iter().try_fold(known.to_owned(), |at, jws| {
        RootStatement::check(jws, Typ::RootStatement).map(|statement| if statement.from == at { statement.to } else { at })
    });
    led.is_ok_and(|led| led == now)
}

/// One device's credential, to be signed anew by the new issuer key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Anew {
    /// The credential it has.
    pub before: String,
    /// The claims to sign.
    pub template: Template,
    /// The device key the credential binds.
    pub device_jwk: Jwk,
}

/// What identity asks to be signed for one app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AppChange {
    /// The app.
    pub app: String,
    /// Payloads of the log entries, as exact JSON texts: `replace_root` by the issuer key so far, then, by the new one, `revoke` for each device that was
    /// revoked meanwhile and `renew` for each that was not.
    pub entries: Vec<String>,
    /// The devices that `renew` names, in that order.
    pub devices: Vec<Anew>,
}

/// What goes back for one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AppSigned {
    /// The app.
    pub app: String,
    /// The signed entries.
    pub entries: Vec<String>,
    /// The signed credentials, with all disclosures.
    pub credentials: Vec<String>,
    /// The new account key's statement of the app's new issuer.
    pub issuer_statement: String,
}
