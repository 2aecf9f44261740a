//! One disclosure (RFC 9901 §4.2): `[salt, name, value]` for a member, `[salt, value]` for an array element.

use crate::json::{self, Node};
use crate::refusal::Vc;
use crate::{b64, key};
use serde_json::Value;

/// Longest disclosure in bytes.
const MAX_DISCLOSURE: usize = 8 * 1024;
/// RFC 9901 §9.3: a salt has at least 128 bits, or low-entropy claims could be guessed from their digests.
const MIN_SALT_BYTES: usize = 16;

/// A disclosure of the right form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    text: String,
    digest: String,
    name: Option<String>,
    value: Node<'static>,
}

impl Disclosure {
    /// A disclosed object member.
    pub fn member(salt: [u8; 16], name: &str, value: &Value) -> Self {
        let array = Value::Array(vec![b64::encode(salt).into(), name.into(), value.clone()]);
        let text = b64::encode(array.to_string());
        Self { digest: key::hash(text.as_bytes()), text, name: Some(name.into()), value: value.into() }
    }

    /// Parses.
    pub fn parse(text: &str) -> Result<Self, Vc> {
        let bytes = b64::decode(text).map_err(|_| Vc::Disclosure)?;
        let Ok(Node::Array(items)) = json::node(&bytes, MAX_DISCLOSURE) else { return Err(Vc::Disclosure) };
        let mut items = items.into_iter();
        let parts = (items.next(), items.next(), items.next(), items.next());
        let (salt, name, value) = match parts {
            (Some(Node::Text(salt)), Some(Node::Text(name)), Some(value), None) => (salt, Some(name.into_owned()), value),
            (Some(Node::Text(salt)), Some(value), None, None) => (salt, None, value),
            _ => return Err(Vc::Disclosure),
        };
        if matches!(name.as_deref(), Some("_sd" | "..." | "_sd_alg")) {
            return Err(Vc::Reserved);
        }
        if b64::decoded_len(&salt).map_err(|_| Vc::Disclosure)? < MIN_SALT_BYTES {
            return Err(Vc::Disclosure);
        }
        Ok(Self { text: text.to_owned(), digest: key::hash(text.as_bytes()), name, value: value.into_owned() })
    }

    /// As it stands in the SD-JWT.
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// The member's name; none for an array element.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    /// The disclosed value.
    pub fn value(&self) -> &Node<'static> {
        &self.value
    }
    /// The digest that stands for it in the issuer's JWT.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}
