//! What a device writes, as it comes: an update that is posted, and the frames of its stream. What has another form than it should is not read at all.

use crate::event::{MAX_SAID, Said};
use crate::id::SessionId;
use crate::json;
use crate::refusal::{Handoff, Limit, Refusal, State};
use crate::session::{Kind, MAX_SEALED, Place, SealedUpdate};
use serde::Deserialize;
use serde_json::Value;

/// Reads an update and checks what a broker can of it.
pub fn read(value: Value) -> Result<SealedUpdate, Refusal> {
    if value.get("epoch").is_some_and(|epoch| epoch.is_number() && epoch.as_i64().is_none_or(|epoch| epoch < 1)) {
        return Err(Handoff::Epoch.into());
    }
    let update: SealedUpdate = serde_json::from_value(value.clone()).map_err(|_| State::NotEncrypted)?;
    // Flattened types cannot deny unknown members; comparing does.
    if serde_json::to_value(&update).ok() != Some(value) || update.place.seq < 1 || update.place.key_version < 1 {
        return Err(State::NotEncrypted.into());
    }
    if update.ct.len() > MAX_SEALED {
        return Err(Limit::Body.into());
    }
    update.check_form()?;
    Ok(update)
}

/// [`read`] for an update that is to be kept.
pub fn lasting(value: Value) -> Result<SealedUpdate, Refusal> {
    let update = read(value)?;
    if update.place.kind == Kind::Volatile { Err(State::NotEncrypted.into()) } else { Ok(update) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    session: SessionId,
    epoch: i64,
    seq: i64,
    prev: String,
    key_version: i64,
    kind: String,
    iv: String,
    ct: String,
}

impl Flat {
    fn read(self) -> Option<SealedUpdate> {
        let Self { session, epoch, seq, prev, key_version, kind, iv, ct } = self;
        let kind = match &*kind {
            "update" => Kind::Update,
            "snapshot" => Kind::Snapshot,
            _ => return None,
        };
        let is_sound = epoch >= 1 && seq >= 1 && key_version >= 1 && !prev.contains('\0');
        let update = SealedUpdate { place: Place { session, epoch, seq, prev, key_version, kind }, iv, ct };
        (is_sound && update.check_form().is_ok()).then_some(update)
    }
}

/// One that is plainly right, as nearly all are, read once. What is not is read by [`lasting`], which says what is wrong with it.
pub fn plain(bytes: &[u8]) -> Option<SealedUpdate> {
    // An array of the same would do for serde.
    bytes.trim_ascii_start().starts_with(b"{").then_some(())?;
    serde_json::from_slice::<Flat>(bytes).ok()?.read()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlatFrame {
    r#type: String,
    update: Flat,
}

/// The update of a stream's frame that has one to be kept, and is plainly right: no other is asked for there.
fn plain_frame(bytes: &[u8]) -> Option<SealedUpdate> {
    // Neither is any part of it an array, which would do for serde.
    (bytes.trim_ascii_start().starts_with(b"{") && !bytes.contains(&b'[')).then_some(())?;
    let FlatFrame { r#type, update } = serde_json::from_slice(bytes).ok()?;
    if r#type == "update" { update.read() } else { None }
}

/// A frame of a device's stream; `None` when a device has nothing of the kind to say.
pub fn frame(text: &str) -> Option<Said> {
    let is_volatile = text.starts_with(r#"{"type":"volatile""#);
    if !is_volatile && let Some(update) = plain_frame(text.as_bytes()) {
        return Some(Said::Update { update });
    }
    let node = json::node(text.as_bytes(), MAX_SAID).ok().filter(|node| !node.has_nul())?;
    let Value::Object(mut frame) = node.to_value() else { return None };
    let kind = frame.remove("type")?;
    let said = match kind.as_str()? {
        "volatile" => {
            let update = read(frame.remove("update")?).ok()?;
            (update.place.kind == Kind::Volatile).then_some(Said::Volatile { update })?
        }
        "renew" => match (frame.remove("token")?, frame.remove("proof")?) {
            (Value::String(token), Value::String(proof)) => Said::Renew { token, proof },
            _ => return None,
        },
        _ => return None,
    };
    frame.is_empty().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn update(kind: Kind) -> SealedUpdate {
        let place = Place { session: SessionId::new(crate::time::Millis(0), [1; 10]), epoch: 1, seq: 1, prev: "h".into(), key_version: 1, kind };
        SealedUpdate { place, iv: crate::b64::encode([7; 12]), ct: crate::b64::encode([7; 1040]) }
    }

    #[test]
    fn frames_are_read_as_they_were_said_or_not_at_all() {
        for said in [
            Said::Volatile { update: update(Kind::Volatile) },
            Said::Update { update: update(Kind::Update) },
            Said::Update { update: update(Kind::Snapshot) },
            Said::Renew { token: "t".into(), proof: "p".into() },
        ] {
            let text = serde_json::to_string(&said).unwrap();
            assert_eq!(frame(&text), Some(said));
            let mut more: Value = serde_json::from_str(&text).unwrap();
            more["more"] = json!(1);
            assert_eq!(frame(&more.to_string()), None);
            assert_eq!(frame(&format!("[{text}]")), None);
        }
        for said in [Said::Volatile { update: update(Kind::Update) }, Said::Update { update: update(Kind::Volatile) }] {
            assert_eq!(frame(&serde_json::to_string(&said).unwrap()), None);
        }
        assert_eq!(frame(r#"{"type":"renew","token":"t","proof":"p","token":"t"}"#), None, "named twice");
    }
}
