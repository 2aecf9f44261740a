//! Two parties and somebody between them, who alters what they say: it is read as it was said, or refused.
#![no_main]

use baton_protocol::credential;
use baton_protocol::device_log::DeviceLog;
use baton_protocol::handoff::chain::{Chain, Statement};
use baton_protocol::handoff::wire::Offer;
use baton_protocol::id::SessionId;
use baton_protocol::key::Did;
use baton_protocol::presentation::{self, Expected, TransactionData};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::session::{SealedUpdate, SessionKey};
use baton_protocol::time::Millis;
use baton_protocol::view::SealedView;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::LazyLock;

static HANDOFF: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("../../fixtures/handoff-v1.json")).unwrap());
static SHOWN: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("../../fixtures/presentation-v1.json")).unwrap());
const NOW: Millis = Millis(1_790_000_000_000);

/// What was said: which message, and how it is altered: (place, byte to put there, or nothing to take out, or one to put before it).
fn altered(text: &str, changes: &[u8]) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes.chunks_exact(4).take(8) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len().max(1);
        match change[2] % 4 {
            0 | 1 => *bytes.get_mut(at)? = change[3],
            2 => bytes.insert(at, change[3]),
            _ if bytes.is_empty() => return None,
            _ => drop(bytes.remove(at)),
        }
    }
    String::from_utf8(bytes).ok()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn session() -> SessionId {
    SessionId::parse(text(&HANDOFF["update"], "session")).unwrap()
}

fn laptop() -> Did {
    Statement::read(text(&HANDOFF, "open")).unwrap().0.device
}

fn key() -> SessionKey {
    SessionKey::read(text(&HANDOFF, "key_statement"), &session(), 1, |by| *by == laptop()).unwrap().0
}

fuzz_target!(|data: &[u8]| {
    let Some((which, changes)) = data.split_first() else { return };
    let of = |message: &str| altered(message, changes);
    match which % 9 {
        0 => {
            // An offer.
            let Some(said) = of(text(&SHOWN, "offer")) else { return };
            if let Ok((_, hash)) = Offer::read(&said) {
                assert_eq!(hash, text(&SHOWN, "offer_hash"));
            }
        }
        1 => {
            // A release.
            let Some(said) = of(text(&HANDOFF, "release")) else { return };
            if let Ok((_, hash)) = Statement::read(&said) {
                assert_eq!(hash, text(&HANDOFF, "release_hash"));
            }
        }
        2 => {
            // A chain, one statement of which was altered.
            let at = changes.first().map_or(0, |first| usize::from(*first) % 3);
            let names = ["open", "release", "receipt"];
            let mut said: Vec<_> = names.iter().map(|name| text(&HANDOFF, name).to_owned()).collect();
            let Some(changed) = of(&said[at]) else { return };
            let whole = Chain::replay(said.iter().map(String::as_str)).unwrap();
            said[at] = changed;
            if let Ok(chain) = Chain::replay(said.iter().map(String::as_str)) {
                assert_eq!(chain, whole);
            }
        }
        3 => {
            // A sealed update, in its place.
            let Some(said) = of(&HANDOFF["update"].to_string()) else { return };
            let Ok(update) = serde_json::from_str::<SealedUpdate>(&said) else { return };
            if let Ok(opened) = update.open(&key(), |by| *by == laptop()) {
                let right = serde_json::from_value::<SealedUpdate>(HANDOFF["update"].clone()).unwrap().open(&key(), |by| *by == laptop()).unwrap();
                assert_eq!((opened.by, opened.needs), (laptop(), right.needs));
                assert_eq!(&opened.content[..], text(&HANDOFF, "content").as_bytes());
                assert_eq!(serde_json::to_value(&update).unwrap(), HANDOFF["update"], "and nothing of where it stands");
            }
        }
        4 => {
            // What a device shows.
            let Some(said) = of(&HANDOFF["view"].to_string()) else { return };
            let Ok(view) = serde_json::from_str::<SealedView>(&said) else { return };
            if let Ok(shown) = view.open(&session(), &laptop(), &key()) {
                assert_eq!(shown, b"00:43");
            }
        }
        5 => {
            // A session key.
            let Some(said) = of(text(&HANDOFF, "key_statement")) else { return };
            if let Ok((read, ..)) = SessionKey::read(&said, &session(), 1, |by| *by == laptop()) {
                assert!(read.key.expose() == key().key.expose());
            }
        }
        6 => {
            // A credential.
            let Some(said) = of(text(&SHOWN, "credential")) else { return };
            let Ok(compact) = Compact::parse(&said) else { return };
            let Ok(read) = credential::check(&compact, &(), NOW) else { return };
            let right = credential::check(&Compact::parse(text(&SHOWN, "credential")).unwrap(), &(), NOW).unwrap();
            assert_eq!(read.visible, right.visible);
            assert!(read.claims.iter().all(|(name, value)| right.claims.get(name) == Some(value)), "claims are left out at most");
        }
        7 => {
            // A presentation: all of it is signed by the device, on this occasion.
            let Some(said) = of(text(&SHOWN, "presentation")) else { return };
            let (offer, _) = Offer::read(text(&SHOWN, "offer")).unwrap();
            let agreed = [TransactionData::from_text(text(&SHOWN, "transaction_data"))];
            let nonce = |nonce: &str, _: &_| nonce == offer.challenge;
            let expected = Expected { audience: text(&SHOWN, "audience"), nonce: &nonce, transaction_data: &agreed, required_claims: &["name"] };
            let right = presentation::verify(text(&SHOWN, "presentation"), &expected, &(), NOW).unwrap();
            if let Ok(read) = presentation::verify(&said, &expected, &(), NOW) {
                assert_eq!((&read.credential().visible, &read.credential().claims), (&right.credential().visible, &right.credential().claims));
            }
        }
        _ => {
            // A device log, one entry of which was altered.
            let entries: Vec<_> = SHOWN["device_log"].as_array().unwrap().iter().map(|entry| entry.as_str().unwrap().to_owned()).collect();
            let at = changes.first().map_or(0, |first| usize::from(*first) % entries.len());
            let right = DeviceLog::replay(&entries).unwrap().head();
            let mut said = entries.clone();
            let Some(changed) = of(&said[at]) else { return };
            said[at] = changed;
            if let Ok(log) = DeviceLog::replay(&said) {
                assert_eq!(log.head(), right);
            }
        }
    }
});
