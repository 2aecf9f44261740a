//! What anybody may send, read by each parser: none panics, and what is read is what was written.
#![no_main]

use baton_protocol::credential;
use baton_protocol::dcql::Query;
use baton_protocol::device_log::{self, DeviceLog};
use baton_protocol::dpop;
use baton_protocol::enrolment::{AccountProof, DeviceClaims, RootStatement, check_name, normalise_user_code};
use baton_protocol::handoff::chain::{Accepted, Statement};
use baton_protocol::handoff::machine::Handoff;
use baton_protocol::handoff::wire::Offer;
use baton_protocol::id::{AccountId, HandoffId, SessionId};
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::jwe::Opener;
use baton_protocol::key::{Did, PublicKey};
use baton_protocol::presentation::{self, Expected};
use baton_protocol::sd_jwt::{Compact, Disclosure};
use baton_protocol::session::{SealedUpdate, envelope_recipients};
use baton_protocol::status_list::{self, Bits};
use baton_protocol::time::Millis;
use baton_protocol::view::SealedView;
use baton_protocol::wrap::WrappedRoot;
use baton_protocol::{access_token, b64, json, oid4vci, said};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NOW: Millis = Millis(1_790_000_000_000);
const URL: &str = "https://baton.example/broker";
const DID: &str = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169";

fn key() -> PublicKey {
    Did::parse(DID).unwrap().key().unwrap()
}

// The first byte says which parser; the rest is what it reads.
fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else {
        let _ = Bits::from_bytes(bytes.to_vec());
        let _ = json::node(bytes, 1 << 16);
        return;
    };
    match which % 24 {
        0 => read_json(text),
        1 => {
            if let Ok(bytes) = b64::decode(text) {
                assert_eq!(b64::encode(bytes), text, "one spelling for each");
            }
        }
        2 => {
            if let Ok(did) = Did::parse(text) {
                assert_eq!(did.as_str(), text);
                let _ = did.key();
            }
            let _ = Did::from_url(text);
        }
        3 => {
            let ids = [
                SessionId::parse(text).map(|id| id.to_string()),
                HandoffId::parse(text).map(|id| id.to_string()),
                AccountId::parse(text).map(|id| id.to_string()),
            ];
            assert!(ids.iter().flatten().all(|id| id == text));
        }
        4 => {
            if let Ok(compact) = Compact::parse(text) {
                let _ = credential::check(&compact, &(), NOW);
            }
        }
        5 => drop(Disclosure::parse(text)),
        6 => {
            for typ in Typ::ALL {
                if let Ok(jws) = Unverified::parse(text, *typ) {
                    assert!(jws.verify(&key()).is_err(), "nobody has this key");
                }
            }
        }
        7 => drop(Statement::read(text)),
        8 => drop(Offer::read(text)),
        9 => drop(DeviceLog::replay(&text.split('\n').collect::<Vec<_>>())),
        10 => drop(device_log::RootConsent::check(text)),
        11 => drop(dpop::check(text, dpop::Expected { method: "POST", url: URL, access_token: Some("token") }, NOW)),
        12 => assert!(access_token::check(text, URL, URL, |_| Some(key()), NOW).is_err(), "nobody has this key"),
        13 => {
            let expected = Expected { audience: URL, nonce: &|_, _| true, transaction_data: &[], required_claims: &[] };
            let _ = presentation::verify(text, &expected, &(), NOW);
        }
        14 => assert!(status_list::check(text, URL, &key(), 0, NOW).is_err(), "nobody has this key"),
        15 => {
            if let Ok(query) = serde_json::from_str::<Query>(text) {
                let _ = query.check();
                let _ = query.is_answered_by(&["a"].into());
            }
        }
        16 => {
            if let Ok(update) = serde_json::from_str::<SealedUpdate>(text) {
                let _ = (update.check_form(), update.hash());
            }
            // What a device posts, and says on its stream.
            if let Some(update) = said::plain(bytes) {
                let strict = said::lasting(json::value(bytes, 1 << 20).unwrap());
                assert_eq!(strict.ok().as_ref(), Some(&update), "what is plainly right is right");
            }
            if let Some(said) = said::frame(text) {
                assert_eq!(said::frame(&serde_json::to_string(&said).unwrap()).as_ref(), Some(&said));
            }
        }
        17 => {
            if let Ok(view) = serde_json::from_str::<SealedView>(text) {
                let _ = view.check_form();
            }
        }
        18 => {
            if let Ok(wrapped) = serde_json::from_str::<WrappedRoot>(text) {
                let _ = wrapped.check_form();
            }
        }
        19 => drop(envelope_recipients(text)),
        20 => {
            if let Ok(node) = json::node(bytes, 1 << 16) {
                let _ = oid4vci::response_encryption(&node);
            }
            let _ = oid4vci::Proof::check(text, URL, NOW);
            let _ = Opener::from_scalar(&[7; 32]).unwrap().open(text);
        }
        21 => {
            if check_name(text).is_ok() {
                assert!(!text.chars().any(char::is_control));
            }
            if let Some(code) = normalise_user_code(text) {
                assert_eq!(normalise_user_code(&code).as_ref(), Some(&code), "as it is, it stays");
            }
            if let Ok(claims) = serde_json::from_str::<DeviceClaims>(text) {
                let _ = claims.check();
            }
        }
        22 => {
            assert!(AccountProof::check(text, &key(), URL, "cer_1").is_err(), "nobody has this key");
            let _ = RootStatement::check(text, Typ::RootStatement);
        }
        _ => {
            // Rows: what was stored is read as it was.
            if let Ok(handoff) = serde_json::from_str::<Handoff>(text) {
                assert_eq!(serde_json::from_str::<Handoff>(&serde_json::to_string(&handoff).unwrap()).unwrap(), handoff);
            }
            let _ = Accepted::read(text, &key());
        }
    }
});

/// What this reads serde reads as well, to the same value; it refuses more.
fn read_json(text: &str) {
    if let Ok(value) = json::value(text.as_bytes(), 1 << 16) {
        let theirs: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value, theirs);
    }
}
