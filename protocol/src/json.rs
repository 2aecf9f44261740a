//! JSON as security wants it: bounded before it is read, bounded in depth, and no member named twice (RFC 8725 §2.4).

use crate::refusal::Jose;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Deepest nesting accepted; credentials of the profile need four.
pub const MAX_DEPTH: usize = 16;

/// Parses one JSON object of at most `max` bytes.
pub fn object(bytes: &[u8], max: usize) -> Result<Map<String, Value>, Jose> {
    match value(bytes, max)? {
        Value::Object(map) => Ok(map),
        _ => Err(Jose::Json),
    }
}

/// Parses one JSON value of at most `max` bytes.
pub fn value(bytes: &[u8], max: usize) -> Result<Value, Jose> {
    if bytes.len() > max {
        return Err(Jose::Limit);
    }
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict(0).deserialize(&mut input).map_err(|_| Jose::Json)?;
    input.end().map_err(|_| Jose::Json)?;
    Ok(parsed)
}

/// Parses claims of a known shape; a claim of the wrong type is refused, never taken for absent.
pub fn claims<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, Jose> {
    serde_json::from_value(Value::Object(object)).map_err(|_| Jose::ClaimType)
}

struct Strict(usize);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        if self.0 > MAX_DEPTH {
            return Err(D::Error::custom("too deep"));
        }
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict(self.0 + 1))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict(self.0 + 1))?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(members))
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
