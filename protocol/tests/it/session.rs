//! Sealed updates, key statements and the chain.

use crate::support::{Key, NOW};
use baton_protocol::Refusal;
use baton_protocol::b64;
use baton_protocol::device_log::Head as LogHead;
use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::handoff::machine::Reason;
use baton_protocol::id::{HandoffId, SessionId};
use baton_protocol::key::hash;
use baton_protocol::needs::Needs;
use baton_protocol::refusal::{Handoff, State};
use baton_protocol::secret::Secret;
use baton_protocol::session::{Head, Kind, Mode, Opened, Place, SealedUpdate, SessionKey, draft_update, envelope_recipients};
use serde_json::json;

fn key(version: i64) -> SessionKey {
    SessionKey { version, key: Secret::new([version as u8; 32]) }
}

fn place() -> Place {
    Place { session: SessionId::new(NOW, [1; 10]), epoch: 2, seq: 5, prev: hash(b"before"), key_version: 1, kind: Kind::Update }
}

fn needs() -> Needs {
    Needs { needs: vec![vec!["codec:av1".into(), "codec:h264".into()]], adapts: vec!["screen:large".into()] }
}

fn sealed(device: &Key, content: &[u8]) -> SealedUpdate {
    sealed_needing(device, content, &Needs::default())
}

fn sealed_needing(device: &Key, content: &[u8], needs: &Needs) -> SealedUpdate {
    let jws = device.sign(draft_update(&place(), content, needs, &device.public.did()));
    SealedUpdate::seal(place(), content, &jws, &key(1), [9; 12]).unwrap()
}

#[test]
fn an_update_opens_in_its_place_under_its_key_from_its_sender() {
    let (device, attacker) = (Key::new(), Key::new());
    let update = sealed_needing(&device, b"The General, 00:43", &needs());
    let mine = |by: &_| *by == device.public.did();
    assert_eq!(update.check_form(), Ok(()));
    let opened = Opened { by: device.public.did(), content: b"The General, 00:43".to_vec(), needs: needs() };
    assert_eq!(update.open(&key(1), mine).unwrap(), opened);

    let moved = |change: &dyn Fn(&mut Place)| {
        let mut other = update.clone();
        change(&mut other.place);
        other.open(&key(1), mine).map(|_| ()).unwrap_err()
    };
    assert_eq!(moved(&|p| p.session = SessionId::new(NOW, [2; 10])), State::Undecryptable, "ECC-15");
    assert_eq!(moved(&|p| p.seq += 1), State::Undecryptable, "ECC-14");
    assert_eq!(moved(&|p| p.epoch += 1), State::Undecryptable);
    assert_eq!(moved(&|p| p.prev = hash(b"other")), State::Undecryptable);
    assert_eq!(moved(&|p| p.kind = Kind::Snapshot), State::Undecryptable);
    let wrong_key = SessionKey { version: 1, key: Secret::new([7; 32]) };
    assert_eq!(update.open(&wrong_key, mine).map(|_| ()), Err(State::Undecryptable));

    assert_eq!(update.open(&key(1), |_| false).map(|_| ()), Err(State::Sender), "ECC-16: not a member");
    let forged = SealedUpdate::seal(
        place(),
        b"forged",
        &attacker.sign(draft_update(&place(), b"forged", &Needs::default(), &device.public.did())),
        &key(1),
        [9; 12],
    )
    .unwrap();
    assert_eq!(forged.open(&key(1), mine).map(|_| ()), Err(State::Sender), "another's signature under a member's name");
    let other_content =
        SealedUpdate::seal(place(), b"b", &device.sign(draft_update(&place(), b"a", &Needs::default(), &device.public.did())), &key(1), [9; 12])
            .unwrap();
    assert_eq!(other_content.open(&key(1), mine).map(|_| ()), Err(State::Sender), "signed for other content");
    let deaf = Needs { needs: vec![vec!["no word".into()]], adapts: vec![] };
    let jws = device.sign(draft_update(&place(), b"a", &deaf, &device.public.did()));
    let unheard = SealedUpdate::seal(place(), b"a", &jws, &key(1), [9; 12]).unwrap();
    assert_eq!(unheard.open(&key(1), mine).map(|_| ()), Err(State::Sender), "needs that nobody could have");
}

#[test]
fn sizes_say_little_and_plain_text_is_refused() {
    let device = Key::new();
    let length = |content: &[u8]| sealed(&device, content).ct.len();
    assert_eq!(length(b""), length(&[b'x'; 400]));
    assert_ne!(length(b""), length(&[b'x'; 4000]));
    let mut plain = sealed(&device, b"x");
    for ct in ["", "AAAA", &b64::encode(b"{\"title\":\"The General\"}")] {
        plain.ct = ct.into();
        assert_eq!(plain.check_form(), Err(State::NotEncrypted), "BRK-14");
    }
}

#[test]
fn a_receipt_proves_the_plaintext_and_the_release() {
    let proof = key(1).receipt_proof("release", b"content");
    assert!(key(1).accepts_proof(&proof, "release", b"content"));
    assert!(!key(1).accepts_proof(&proof, "release", b"other"));
    assert!(!key(1).accepts_proof(&proof, "other", b"content"));
    assert!(!key(2).accepts_proof(&proof, "release", b"content"));
}

#[test]
fn a_session_key_comes_signed_for_its_session_and_version() {
    let device = Key::new();
    let id = SessionId::new(NOW, [1; 10]);
    let head = LogHead { n: 3, hash: hash(b"log") };
    let jws = device.sign(key(2).draft(&id, head, &device.public.did()));
    let read = |id: &SessionId, version| SessionKey::read(&jws, id, version, |by| *by == device.public.did()).map(|(key, ..)| *key.key.expose());
    assert_eq!(read(&id, 2), Ok([2; 32]));
    assert_eq!(read(&id, 3), Err(State::Sender));
    assert_eq!(read(&SessionId::new(NOW, [2; 10]), 2), Err(State::Sender));
    assert!(SessionKey::read(&jws, &id, 2, |_| false).is_err());
}

#[test]
fn an_envelope_s_form_is_the_profile_s() {
    let device = Key::new();
    let protected = |alg: &str, enc: &str, more: &str| b64::encode(format!("{{\"alg\":\"{alg}\",\"enc\":\"{enc}\"{more}}}"));
    let envelope = |protected: String| json!({"protected": protected, "recipients": [{"header": {"kid": device.public.did().url()}}]}).to_string();
    assert_eq!(envelope_recipients(&envelope(protected("ECDH-ES+A256KW", "A256GCM", ""))), Ok(vec![device.public.did()]));
    for (alg, enc, more) in [
        ("dir", "A256GCM", ""),
        ("RSA1_5", "A256GCM", ""),
        ("ECDH-ES", "A256GCM", ""),
        ("PBES2-HS256+A128KW", "A256GCM", ",\"p2c\":2147483648"),
        ("ECDH-ES+A256KW", "A128CBC-HS256", ""),
        ("ECDH-ES+A256KW", "A256GCM", ",\"zip\":\"DEF\""),
    ] {
        assert_eq!(envelope_recipients(&envelope(protected(alg, enc, more))), Err(State::Alg), "ECC-06 to ECC-08 {alg} {enc} {more}");
    }
}

struct Story {
    laptop: Key,
    tv: Key,
    chain: Chain,
}

impl Story {
    fn open() -> Self {
        let (laptop, tv) = (Key::new(), Key::new());
        let act = Act::Open { app: "player".into(), subject: "log".into(), mode: Mode::Exclusive, envelope: hash(b"e") };
        let first = Statement { v: 1, session: place().session, epoch: 1, prev: None, device: laptop.public.did(), act };
        let (read, digest) = Statement::read(&laptop.sign(first.draft())).unwrap();
        Self { laptop, tv, chain: Chain::open(&read, digest).unwrap() }
    }
    fn say(&self, by: &Key, epoch: i64, act: Act) -> Result<Chain, Refusal> {
        self.say_after(self.chain.last(), by, epoch, act)
    }
    fn say_after(&self, prev: &str, by: &Key, epoch: i64, act: Act) -> Result<Chain, Refusal> {
        let statement = Statement { v: 1, session: place().session, epoch, prev: Some(prev.into()), device: by.public.did(), act };
        let (read, digest) = Statement::read(&by.sign(statement.draft()))?;
        self.chain.clone().apply(&read, digest)
    }
    fn release(&self) -> Act {
        let head = Head { epoch: 1, seq: 1, hash: hash(b"h") };
        Act::Release { handoff: HandoffId::new(NOW, [1; 10]), head, key_version: 1, envelope: None, to: self.tv.public.did() }
    }
}

fn receipt() -> Act {
    Act::Receipt { handoff: HandoffId::new(NOW, [1; 10]), proof: "p".into() }
}
fn reclaim() -> Act {
    Act::Reclaim { handoff: HandoffId::new(NOW, [1; 10]) }
}

/// I1: one writer per epoch, epochs rise by one, and only who may speaks.
#[test]
fn the_chain_lets_one_device_write_at_a_time() {
    let mut story = Story::open();
    let refused = |outcome: Result<Chain, Refusal>| assert_eq!(outcome.unwrap_err(), Handoff::Statement.into());
    refused(story.say(&story.tv, 1, story.release()));
    refused(story.say(&story.tv, 2, receipt()));
    refused(story.say(&story.laptop, 2, reclaim()));
    refused(story.say(&story.laptop, 2, story.release()));
    let before = story.chain.last().to_owned();
    story.chain = story.say(&story.laptop, 1, story.release()).unwrap();
    refused(story.say(&story.laptop, 1, story.release()));
    refused(story.say(&story.laptop, 2, receipt()));
    refused(story.say(&story.tv, 3, receipt()));
    let (by_receipt, by_reclaim) = (story.say(&story.tv, 2, receipt()).unwrap(), story.say(&story.laptop, 2, reclaim()).unwrap());
    assert_eq!((by_receipt.holder(), by_receipt.epoch()), (&story.tv.public.did(), 2));
    assert_eq!((by_reclaim.holder(), by_reclaim.epoch()), (&story.laptop.public.did(), 2));
    // Two successors of one statement prove a fork to whoever sees both.
    assert_eq!(by_receipt.continues(by_reclaim.last()), Err(Handoff::Forked));
    story.chain = by_receipt;
    assert_eq!(story.say_after(&before, &story.laptop, 1, story.release()).unwrap_err(), Handoff::Forked.into());
    let claim = |key_version| Act::Claim { from: Head { epoch: 2, seq: 1, hash: hash(b"h") }, also: None, key_version, envelope: hash(b"e2") };
    refused(story.say(&story.laptop, 3, claim(1)));
    let claimed = story.say(&story.laptop, 3, claim(2)).unwrap();
    assert_eq!((claimed.holder(), claimed.epoch(), claimed.key_version()), (&story.laptop.public.did(), 3, 2));
    assert_eq!(claimed.clone().trimmed().last(), claimed.last());

    // A claim that names the other history ends it; one that names nothing, or something else, does not.
    let ending = |also: Option<&str>| Act::Claim {
        from: Head { epoch: 2, seq: 1, hash: hash(b"h") },
        also: also.map(str::to_owned),
        key_version: 2,
        envelope: hash(b"e2"),
    };
    for (also, ended) in [(None, false), (Some("another"), false), (Some(by_reclaim.last()), true)] {
        let next = story.say(&story.laptop, 3, ending(also)).unwrap();
        assert_eq!(next.has_ended(by_reclaim.last(), |by| *by == story.laptop.public.did()), ended);
        assert!(!next.has_ended(by_reclaim.last(), |by| *by != story.laptop.public.did()), "whoever said it, may they");
        assert!(next.continues(by_reclaim.last()).is_err());
        assert!(!next.has_ended(story.chain.last(), |_| true) && next.continues(story.chain.last()).is_ok());
    }
    // Nor is a history ended that is this one.
    for own in [story.chain.last(), story.chain.first()] {
        refused(story.say(&story.laptop, 3, ending(Some(own))));
    }
}

/// docs/lifecycle.md says what to show for each reason, and what to do about each code.
#[test]
fn drift_of_what_to_show() {
    let page = include_str!("../../../docs/lifecycle.md");
    let unknown = serde_json::from_str::<Reason>(r#""?""#).unwrap_err().to_string();
    let reasons: Vec<_> = unknown.split('`').skip(3).step_by(2).collect();
    assert!(reasons.len() > 8 && reasons.contains(&"not_taken"), "{unknown}");
    let codes = Handoff::ALL.iter().map(|code| Refusal::from(*code).code());
    // Those of a request that no SDK makes.
    let elsewhere = ["handoff.presentation", "handoff.binding", "handoff.epoch", "handoff.exists"];
    for name in reasons.into_iter().chain(codes.filter(|code| !elsewhere.contains(code))) {
        assert!(
            page.contains(&format!("| `{name}`")) || page.contains(&format!("`{name}`, ")) || page.contains(&format!(", `{name}`")),
            "{name} is not in docs/lifecycle.md"
        );
    }
}

#[test]
fn a_statement_is_by_the_device_it_names() {
    let story = Story::open();
    let statement = Statement { v: 1, session: place().session, epoch: 1, prev: None, device: story.laptop.public.did(), act: receipt() };
    assert!(Statement::read(&story.laptop.sign(statement.draft())).is_ok());
    assert!(Statement::read(&story.tv.sign(statement.draft())).is_err());
    assert!(Statement::read(&story.laptop.sign(Statement { v: 2, ..statement }.draft())).is_err(), "OPS-03");
}
