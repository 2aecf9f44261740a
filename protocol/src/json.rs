//! JSON as security wants it: bounded before it is read, bounded in depth, and no member named twice (RFC 8725 §2.4).
//!
//! [`Node`] is the one reader: it borrows what it can, for tokens are read far more often than they are kept.

use crate::refusal::Jose;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;

/// Deepest nesting accepted; credentials of the profile need four.
pub const MAX_DEPTH: usize = 16;
/// Up to here, comparing every pair of names is faster than sorting them.
const FEW: usize = 24;

/// Parses one JSON object of at most `max` bytes.
pub fn object(bytes: &[u8], max: usize) -> Result<Map<String, Value>, Jose> {
    members(bytes, max).map(|members| members.to_map())
}

/// Parses one JSON value of at most `max` bytes.
pub fn value(bytes: &[u8], max: usize) -> Result<Value, Jose> {
    node(bytes, max).map(|node| node.to_value())
}

/// [`object`], borrowing from `bytes`.
pub fn members(bytes: &[u8], max: usize) -> Result<Members<'_>, Jose> {
    match node(bytes, max)? {
        Node::Object(members) => Ok(members),
        _ => Err(Jose::Json),
    }
}

/// [`value`], borrowing from `bytes`.
pub fn node(bytes: &[u8], max: usize) -> Result<Node<'_>, Jose> {
    if bytes.len() > max {
        return Err(Jose::Limit);
    }
    // Nothing that is sent is taken for serde_json's own way of handing a number on (see `number`).
    if bytes.contains(&b'$') && bytes.windows(NUMBER.len()).any(|window| window == NUMBER.as_bytes()) {
        return Err(Jose::Json);
    }
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict(0).deserialize(&mut input).map_err(|_| Jose::Json)?;
    input.end().map_err(|_| Jose::Json)?;
    Ok(parsed)
}

/// Parses claims of a known shape from what [`members`] has accepted; a claim of the wrong type is refused, never taken for absent.
pub fn claims<T: DeserializeOwned>(accepted: &[u8]) -> Result<T, Jose> {
    serde_json::from_slice(accepted).map_err(|_| Jose::ClaimType)
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Node<'a>>),
    /// An object.
    Object(Members<'a>),
}

/// An object's members in their order, no name twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Node<'a> {
    /// Its text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
    /// Its items, if it is an array.
    pub fn as_items(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }
    /// Its value, if it is a whole number in range.
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }
    /// Its members, if it is an object.
    pub fn as_members(&self) -> Option<&Members<'a>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }
    /// Whether there is a NUL in any text of it: it means nothing in any of ours, and no database takes one.
    pub fn has_nul(&self) -> bool {
        match self {
            Self::Text(text) => text.contains('\0'),
            Self::Array(items) => items.iter().any(Self::has_nul),
            Self::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || value.has_nul()),
            Self::Null | Self::Bool(_) | Self::Number(_) => false,
        }
    }
    /// As an owned value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(bool) => Value::Bool(*bool),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.as_ref().to_owned()),
            Self::Array(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Self::Object(members) => Value::Object(members.to_map()),
        }
    }
    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Node<'static> {
        match self {
            Self::Null => Node::Null,
            Self::Bool(bool) => Node::Bool(bool),
            Self::Number(number) => Node::Number(number),
            Self::Text(text) => Node::Text(Cow::Owned(text.into_owned())),
            Self::Array(items) => Node::Array(items.into_iter().map(Node::into_owned).collect()),
            Self::Object(Members(all)) => {
                Node::Object(Members(all.into_iter().map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned())).collect()))
            }
        }
    }
}

impl From<&Value> for Node<'static> {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(Cow::Owned(text.clone())),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(map) => Self::Object(Members(map.iter().map(|(name, value)| (Cow::Owned(name.clone()), value.into())).collect())),
        }
    }
}

impl<'a> Members<'a> {
    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
    /// The member of that name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
    /// None yet, with room for some.
    pub(crate) fn with_capacity(room: usize) -> Self {
        Self(Vec::with_capacity(room))
    }
    /// Adds one; that its name is new is the caller's to know.
    pub(crate) fn push(&mut self, name: &'a str, value: Node<'a>) {
        self.0.push((Cow::Borrowed(name), value));
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// As an owned map.
    pub fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_value())).collect()
    }

    fn has_twins(&self) -> bool {
        if self.0.len() <= FEW {
            return self.0.iter().enumerate().any(|(n, (name, _))| self.0[..n].iter().any(|(other, _)| other == name));
        }
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// With its feature `arbitrary_precision`, which a library anywhere in a program may switch on, serde_json hands numbers that are no small integers on
/// as an object with this one member.
const NUMBER: &str = "$serde_json::private::Number";

/// The number of such an object, as it is without that feature.
fn number(value: &Node<'_>) -> Option<Number> {
    value.as_str()?.parse::<f64>().ok().and_then(Number::from_f64)
}

struct Strict(usize);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Node<'de>;
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Node<'de>, D::Error> {
        if self.0 > MAX_DEPTH {
            return Err(D::Error::custom("too deep"));
        }
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(v.into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Node<'de>, E> {
        Ok(Number::from_f64(v).map_or(Node::Null, Node::Number))
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(v)))
    }
    fn visit_str<E>(self, v: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(v.to_owned())))
    }
    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict(self.0 + 1))? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        // Room beforehand for the outermost alone: a text of many small objects is not to take many times its size.
        let mut members = Vec::with_capacity(if self.0 == 0 { 16 } else { 0 });
        while let Some(name) = map.next_key_seed(Name)? {
            let value = map.next_value_seed(Strict(self.0 + 1))?;
            if name == NUMBER {
                // A name that had to be unescaped was sent.
                let made = matches!(name, Cow::Borrowed(_)).then(|| number(&value)).flatten();
                return made.map(Node::Number).ok_or_else(|| A::Error::custom("number out of range"));
            }
            members.push((name, value));
        }
        let members = Members(members);
        if members.has_twins() { Err(A::Error::custom("duplicate member")) } else { Ok(Node::Object(members)) }
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Cow<'de, str>, D::Error> {
        input.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(v.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_member_named_twice_is_refused_at_any_depth() {
        assert!(object(br#"{"a":{"b":1,"c":1}}"#, 99).is_ok());
        assert_eq!(object(br#"{"a":{"b":1,"b":1}}"#, 99), Err(Jose::Json));
        assert_eq!(object(br#"{"a":1,"\u0061":2}"#, 99), Err(Jose::Json));
        let zeros: Vec<_> = (0..99).map(|n| format!("\"m{n}\":0,")).collect();
        let many = |last: &str| format!("{{{}\"{last}\":0}}", zeros.concat());
        assert!(object(many("m99").as_bytes(), 1 << 20).is_ok());
        assert_eq!(object(many("m98").as_bytes(), 1 << 20), Err(Jose::Json), "among many");
    }

    /// Whichever features of serde_json other libraries of the program switch on.
    #[test]
    fn numbers_are_numbers_and_nothing_else_is() {
        for (text, number) in [("5", 5.0), ("-5", -5.0), ("1.5", 1.5), ("1e3", 1000.0), ("18446744073709551616", 18_446_744_073_709_551_616.0)] {
            let Ok(Value::Number(read)) = value(text.as_bytes(), 99) else { panic!("{text}") };
            assert_eq!(read.as_f64(), Some(number), "{text}");
        }
        assert_eq!(object(br#"{"a":[1.5,{"b":2.5}]}"#, 99).unwrap(), *serde_json::json!({"a": [1.5, {"b": 2.5}]}).as_object().unwrap());
        for text in ["1e999", "-1e999", r#"{"$serde_json::private::Number":"5"}"#, r#"{"\u0024serde_json::private::Number":"5"}"#] {
            assert_eq!(value(text.as_bytes(), 99), Err(Jose::Json), "{text}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(value(nested(MAX_DEPTH).as_bytes(), 1 << 20).is_ok());
        assert_eq!(value(nested(MAX_DEPTH + 1).as_bytes(), 1 << 20), Err(Jose::Json));
        assert_eq!(value(nested(10_000).as_bytes(), 1 << 20), Err(Jose::Json));
        assert_eq!(value(&[b' '; 100], 99), Err(Jose::Limit));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) { let _ = value(&bytes, 200); }
        #[test]
        fn agrees_with_serde_json_where_it_accepts(text in r#"[\[\]{}",:0-9a-z\\ .e-]{0,40}"#) {
            if let Ok(parsed) = value(text.as_bytes(), 99) {
                prop_assert_eq!(parsed, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
