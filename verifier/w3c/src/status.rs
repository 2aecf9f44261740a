//! Whether a credential still counts, by its issuer's own lists: Token Status List (JWT) and Bitstring Status List. What cannot be looked up does not count.

use crate::credential::{self, SKEW_SECS, texts};
use crate::fetch::MAX_ANSWER;
use crate::issuer::{Named, keys};
use crate::jwt::Jwt;
use crate::policy::Trusted;
use crate::{Report, World};
use baton_protocol::{b64, json};
use flate2::read::{GzDecoder, ZlibDecoder};
use serde_json::{Map, Value};
use std::io::Read;

/// Longest list, inflated: eight million entries of a bit.
const MAX_LIST: u64 = 1 << 20;
/// Shortest bitstring (Bitstring Status List §3.1): a list of few would tell who is asked about.
const LEAST_BYTES: usize = 131_072 / 8;
/// Most entries a credential may name.
const MOST: usize = 4;

const UNKNOWN: &str = "its status cannot be looked up";
const NO_LIST: &str = "where its status list should be is something else";
const OUTSIDE: &str = "its status list has no such entry";
const REVOKED: &str = "it was revoked";
const SUSPENDED: &str = "it is suspended";

/// `status` of an SD-JWT VC (Token Status List §6).
pub async fn of_token(world: &World<'_>, trusted: &Trusted, status: Option<&Value>) -> Result<(), &'static str> {
    let Some(status) = status else { return Ok(()) };
    // Another way to say it would be one that nobody looked at.
    let entry = status.as_object().filter(|ways| ways.len() == 1).and_then(|ways| ways.get("status_list")).ok_or(UNKNOWN)?;
    let index = entry.get("idx").and_then(Value::as_u64).ok_or(UNKNOWN)?;
    let url = entry.get("uri").and_then(Value::as_str).filter(|url| trusted.has_list(url)).ok_or(UNKNOWN)?;
    let bytes = world.sources.get(url, "application/statuslist+jwt").map_err(|_| UNKNOWN)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| NO_LIST)?;
    let list = Jwt::parse_long(text.trim(), MAX_ANSWER).map_err(|_| NO_LIST)?;
    if list.typ.as_deref() != Some("statuslist+jwt") || list.claims.get("sub").and_then(Value::as_str) != Some(url) {
        return Err(NO_LIST);
    }
    trusted.signs(list.algorithm)?;
    let by = keys(world, &trusted.id, Named { key: list.kid.as_deref(), x5c: &list.x5c })?;
    list.check(&by).await.map_err(|_| "its status list is not the issuer's")?;
    let time = |name: &str| credential::numeric(&list.claims, name).map_err(|_| NO_LIST);
    let signed = time("iat")?.ok_or(NO_LIST)?;
    if signed > world.now + SKEW_SECS || time("exp")?.is_some_and(|exp| exp <= world.now) {
        return Err("its status list is of another time");
    }
    let member = |name: &str| list.claims.get("status_list").and_then(|inside| inside.get(name));
    let bits = member("bits").and_then(Value::as_u64).filter(|bits| [1, 2, 4, 8].contains(bits)).ok_or(NO_LIST)?;
    let packed = member("lst").and_then(Value::as_str).and_then(|text| b64::decode(text).ok()).ok_or(NO_LIST)?;
    let bytes = inflate(ZlibDecoder::new(&packed[..]))?;
    world.sources.accept(url, Some(signed))?;
    match token_entry(&bytes, bits, index).ok_or(OUTSIDE)? {
        0 => Ok(()),
        1 => Err(REVOKED),
        2 => Err(SUSPENDED),
        _ => Err("its status is one that is not known here"),
    }
}

/// The least significant bit first (Token Status List §4).
fn token_entry(bytes: &[u8], bits: u64, index: u64) -> Option<u8> {
    let at = index.checked_mul(bits)?;
    let byte = bytes.get(usize::try_from(at / 8).ok()?)?;
    Some((u16::from(*byte) >> (at % 8) & ((1 << bits) - 1)) as u8)
}

/// `credentialStatus` of a VCDM credential (Bitstring Status List §2.1).
pub async fn of_vcdm(world: &World<'_>, trusted: &Trusted, content: &Map<String, Value>) -> Result<(), &'static str> {
    // No member of this model: whoever wrote it meant something.
    if content.contains_key("status") {
        return Err(UNKNOWN);
    }
    let entries = match content.get("credentialStatus") {
        None => return Ok(()),
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
    };
    if entries.is_empty() || entries.len() > MOST {
        return Err(UNKNOWN);
    }
    for entry in entries {
        bitstring(world, trusted, entry).await?;
    }
    Ok(())
}

async fn bitstring(world: &World<'_>, trusted: &Trusted, entry: &Value) -> Result<(), &'static str> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let one_bit = entry.get("statusSize").is_none_or(|size| size == 1);
    if texts(entry.get("type")) != ["BitstringStatusListEntry"] || !one_bit {
        return Err(UNKNOWN);
    }
    let (purpose, set) = match text("statusPurpose") {
        Some("revocation") => ("revocation", REVOKED),
        Some("suspension") => ("suspension", SUSPENDED),
        _ => return Err(UNKNOWN),
    };
    let index =
        text("statusListIndex").filter(|text| text.bytes().all(|c| c.is_ascii_digit())).and_then(|text| text.parse::<usize>().ok()).ok_or(UNKNOWN)?;
    let url = text("statusListCredential").filter(|url| trusted.has_list(url)).ok_or(UNKNOWN)?;
    let bytes = world.sources.get(url, "application/vc+jwt, application/vc, application/json").map_err(|_| UNKNOWN)?;
    let found = std::str::from_utf8(&bytes).map_err(|_| NO_LIST)?.trim();
    let given = if found.starts_with('{') { json::value(found.as_bytes(), MAX_ANSWER).map_err(|_| NO_LIST)? } else { Value::from(found) };
    let mut report = Report::default();
    let said = credential::proven(&mut report, &given, world, credential::What::List(trusted)).await.ok_or("its status list is not the issuer's")?;
    let list = said.content.get("credentialSubject").filter(|list| list.is_object()).ok_or(NO_LIST)?;
    // Whoever has the host and not the key is not to put one list in another's place.
    let its_own = said.content.get("id").is_some_and(|id| id == url);
    if !its_own || texts(list.get("type")) != ["BitstringStatusList"] || !texts(list.get("statusPurpose")).contains(&purpose) {
        return Err(NO_LIST);
    }
    let packed = list["encodedList"].as_str().and_then(|text| text.strip_prefix('u')).and_then(|text| b64::decode(text).ok()).ok_or(NO_LIST)?;
    let bytes = inflate(GzDecoder::new(&packed[..]))?;
    if bytes.len() < LEAST_BYTES {
        return Err(NO_LIST);
    }
    world.sources.accept(url, said.content.get("validFrom").and_then(credential::time))?;
    // The most significant bit first (§3.1).
    let byte = bytes.get(index / 8).ok_or(OUTSIDE)?;
    if byte >> (7 - index % 8) & 1 == 0 { Ok(()) } else { Err(set) }
}

fn inflate(packed: impl Read) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    let read = packed.take(MAX_LIST + 1).read_to_end(&mut bytes).map_err(|_| NO_LIST)?;
    if read as u64 > MAX_LIST { Err(NO_LIST) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Token Status List §4.1 and §4.2: one bit and two bits for each.
    #[test]
    fn entries_are_read_as_the_draft_shows_them() {
        let one: Vec<_> = (0..16).map(|index| token_entry(&[0xb9, 0xa3], 1, index).unwrap()).collect();
        assert_eq!(one, [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]);
        let two: Vec<_> = (0..12).map(|index| token_entry(&[0xc9, 0x44, 0xf9], 2, index).unwrap()).collect();
        assert_eq!(two, [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
        assert_eq!((token_entry(&[0xff], 8, 0), token_entry(&[0xa5], 4, 1)), (Some(0xff), Some(0xa)));
        assert_eq!((token_entry(&[0xff], 8, 1), token_entry(&[0xff], 1, u64::MAX), token_entry(&[0xff], 2, u64::MAX)), (None, None, None));
    }
}
