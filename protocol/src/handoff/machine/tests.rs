use super::*;
use proptest::prelude::*;

fn did(n: u8) -> Did {
    Did::unresolved(&format!("did:key:z{n}"))
}
fn by(n: u8, tier: Tier) -> By {
    By { device: did(n), tier }
}
const T: Millis = Millis(1_000_000);
const R: &str = "release";

fn seal() -> Act {
    Act::Seal { release: R.into() }
}
fn complete() -> Act {
    Act::Complete { release: R.into() }
}

#[test]
fn the_whole_way() {
    let offer = Handoff::offer(did(1), 4, Target::Device(did(2)), T);
    let (accepted, _) = offer.apply(&by(2, Tier::Limited), Act::Accept, T).unwrap();
    let (sealed, effect) = accepted.apply(&by(1, Tier::Full), seal(), T).unwrap();
    assert_eq!(effect, Effect::Released);
    let (done, effect) = sealed.apply(&by(2, Tier::Limited), complete(), T).unwrap();
    assert_eq!((done.state.name(), effect), ("completed", Effect::Holds(did(2))));
}

/// Flattened states share a JSON object with the handoff's own members: none may take another's name.
#[test]
fn every_state_survives_being_stored() {
    let key = |n: usize| {
        Did::parse(["did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169", "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"][n])
            .unwrap()
    };
    let offered = Handoff::offer(key(0), 1, Target::Device(key(1)), T);
    let states = [
        State::Requested { until: T },
        offered.state.clone(),
        State::Accepted { by: key(1), until: T },
        State::Sealed { by: key(1), release: R.into(), reclaim_at: T },
        State::Completed { by: key(1) },
        State::Ended { end: End::Cancelled, reason: None },
        State::ended(End::Void, Reason::Claimed),
    ];
    for state in states {
        let handoff = Handoff { state, ..offered.clone() };
        let stored = serde_json::to_string(&handoff).unwrap();
        assert_eq!(serde_json::from_str::<Handoff>(&stored).unwrap(), handoff, "{stored}");
    }
}

#[test]
fn who_asks_is_offered_it_by_the_holder_and_by_nobody_else() {
    let asked = || Handoff::request(did(2), did(1), 4, T);
    let (source, target, other) = (by(1, Tier::Full), by(2, Tier::Full), by(3, Tier::Full));
    for refused in [
        asked().apply(&target, Act::Offer, T),
        asked().apply(&other, Act::Offer, T),
        asked().apply(&source, seal(), T),
        asked().apply(&target, Act::Accept, T),
        asked().apply(&target, complete(), T),
    ] {
        assert!(refused.is_err(), "{refused:?}");
    }
    let decline = || Act::Decline { why: Declining::Busy };
    assert_eq!(asked().apply(&target, decline(), T), Err(Refused::Target.into()), "who asked withdraws");
    assert_eq!(asked().apply(&source, Act::Cancel, T), Err(Refused::Target.into()), "who is asked declines");
    assert_eq!(asked().apply(&other, decline(), T), Err(Refused::Target.into()));
    for (over, is) in [(asked().apply(&source, decline(), T), "declined"), (asked().apply(&target, Act::Cancel, T), "cancelled")] {
        assert_eq!(over.unwrap().0.state.name(), is);
    }
    assert_eq!(asked().apply(&source, Act::Offer, T.plus_secs(OFFER_SECS)), Err(Refused::Expired.into()));
    let (offered, effect) = asked().apply(&source, Act::Offer, T.plus_secs(OFFER_SECS - 1)).unwrap();
    assert_eq!((offered.to.clone(), effect), (Target::Device(did(2)), Effect::None));
    assert_eq!(offered.clone().apply(&other, Act::Accept, T), Err(Refused::Target.into()));
    offered.apply(&target, Act::Accept, T.plus_secs(OFFER_SECS + 60)).unwrap();
}

#[test]
fn only_the_named_device_accepts_and_any_full_means_full() {
    let named = Handoff::offer(did(1), 1, Target::Device(did(2)), T);
    assert_eq!(named.clone().apply(&by(3, Tier::Full), Act::Accept, T), Err(Refused::Target.into()));
    let any = Handoff::offer(did(1), 1, Target::AnyFull, T);
    assert_eq!(any.clone().apply(&by(3, Tier::Limited), Act::Accept, T), Err(Refused::Target.into()));
    assert_eq!(any.clone().apply(&by(1, Tier::Full), Act::Accept, T), Err(Refused::Target.into()), "the source itself");
    let (taken, _) = any.apply(&by(3, Tier::Full), Act::Accept, T).unwrap();
    assert_eq!(taken.clone().apply(&by(2, Tier::Full), Act::Accept, T), Err(Refused::Taken.into()));
    assert_eq!(taken.clone().apply(&by(3, Tier::Full), Act::Accept, T).unwrap(), (taken, Effect::None), "a repeat");
}

#[test]
fn of_several_the_first_to_accept_wins() {
    let some = Handoff::offer(did(1), 1, Target::AnyOf(vec![did(2), did(3)]), T);
    assert_eq!(some.clone().apply(&by(4, Tier::Full), Act::Accept, T), Err(Refused::Target.into()));
    let (taken, _) = some.apply(&by(3, Tier::Limited), Act::Accept, T).unwrap();
    assert_eq!(taken.clone().apply(&by(2, Tier::Full), Act::Accept, T), Err(Refused::Taken.into()));
    assert!(taken.concerns(&did(2)) && taken.concerns(&did(1)) && !taken.concerns(&did(4)));
    for unsound in [vec![], vec![did(2)], vec![did(2), did(2)], (0..17).map(did).collect()] {
        assert!(!Target::AnyOf(unsound).is_sound());
    }
}

#[test]
fn what_lapsed_is_over_and_reclaim_waits() {
    let offer = Handoff::offer(did(1), 1, Target::Device(did(2)), T);
    let late = T.plus_secs(OFFER_SECS);
    assert_eq!(offer.clone().apply(&by(2, Tier::Full), Act::Accept, late), Err(Refused::Expired.into()));
    let (accepted, _) = offer.apply(&by(2, Tier::Full), Act::Accept, T).unwrap();
    assert_eq!(accepted.clone().apply(&by(1, Tier::Full), seal(), T.plus_secs(SEAL_SECS)), Err(Refused::Expired.into()));
    let (sealed, _) = accepted.apply(&by(1, Tier::Full), seal(), T).unwrap();
    let reclaim = |target_revoked| Act::Reclaim { release: R.into(), target_revoked };
    assert_eq!(sealed.clone().apply(&by(1, Tier::Full), reclaim(false), T), Err(Refused::Early.into()));
    assert_eq!(sealed.clone().apply(&by(2, Tier::Full), reclaim(true), T), Err(Refused::NotHolder.into()));
    for (act, at) in [(reclaim(true), T), (reclaim(false), T.plus_secs(RECLAIM_SECS))] {
        assert_eq!(sealed.clone().apply(&by(1, Tier::Full), act, at).unwrap().1, Effect::Holds(did(1)));
    }
    // A late receipt still wins while nobody reclaimed.
    assert_eq!(sealed.apply(&by(2, Tier::Full), complete(), T.plus_secs(9999)).unwrap().1, Effect::Holds(did(2)));
}

#[test]
fn what_is_over_says_why() {
    let offer = || Handoff::offer(did(1), 1, Target::Device(did(2)), T);
    let after = |handoff: Handoff, by: &By, act: Act, now: Millis| handoff.apply(by, act, now).unwrap().0;
    let (source, target) = (by(1, Tier::Full), by(2, Tier::Limited));
    let accepted = || after(offer(), &target, Act::Accept, T);
    let sealed = || after(accepted(), &source, seal(), T);
    let reclaim = |target_revoked| Act::Reclaim { release: R.into(), target_revoked };
    for (over, name, reason) in [
        (after(offer(), &target, Act::Decline { why: Declining::Busy }, T), "declined", Some(Reason::Busy)),
        (after(accepted(), &target, Act::Decline { why: Declining::Unable }, T), "declined", Some(Reason::Unable)),
        (after(offer(), &source, Act::Cancel, T), "cancelled", None),
        (Handoff::request(did(2), did(1), 1, T).at(T.plus_secs(OFFER_SECS)), "expired", Some(Reason::Unanswered)),
        (offer().at(T.plus_secs(OFFER_SECS)), "expired", Some(Reason::NobodyCame)),
        (accepted().at(T.plus_secs(SEAL_SECS)), "expired", Some(Reason::NotSealed)),
        (sealed().void(Reason::Claimed), "void", Some(Reason::Claimed)),
        (after(sealed(), &source, reclaim(true), T), "reclaimed", Some(Reason::Revoked)),
        (after(sealed(), &source, reclaim(false), T.plus_secs(RECLAIM_SECS)), "reclaimed", Some(Reason::NotTaken)),
    ] {
        assert_eq!((over.state.name(), over.state.reason()), (name, reason));
        // The first reason stays: who declines again, otherwise, is told what stands.
        assert_eq!(over.clone().void(Reason::Ended), over);
        if let Ok((again, _)) = over.clone().apply(&target, Act::Decline { why: Declining::Unwanted }, T) {
            assert_eq!(again, over);
        }
    }
    // As stored by a version that gave none.
    let before = r#"{"epoch":1,"from":"did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169","to":"any_full","state":"ended","end":"declined"}"#;
    assert_eq!(serde_json::from_str::<Handoff>(before).unwrap().state.reason(), None);
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Offer),
        Just(Act::Accept),
        Just(Act::Decline { why: Declining::Busy }),
        Just(Act::Cancel),
        Just(seal()),
        Just(complete()),
        any::<bool>().prop_map(|target_revoked| Act::Reclaim { release: R.into(), target_revoked })
    ]
}

proptest! {
    /// I1 and I12: over any history the session moves at most once, and what is over stays over.
    #[test]
    fn moves_at_most_once(asked: bool, acts in proptest::collection::vec((1u8..4, any::<bool>(), act(), 0i64..90), 0..12)) {
        let mut handoff = if asked { Handoff::request(did(2), did(1), 1, T) } else { Handoff::offer(did(1), 1, Target::AnyFull, T) };
        let (mut now, mut moves) = (T, 0);
        for (who, full, act, wait) in acts {
            now = now.plus_secs(wait);
            let over = handoff.state.is_over().then(|| handoff.clone());
            let tier = if full { Tier::Full } else { Tier::Limited };
            if let Ok((next, effect)) = handoff.clone().apply(&by(who, tier), act, now) {
                moves += usize::from(matches!(effect, Effect::Holds(_)));
                handoff = next;
            }
            if let Some(over) = over { prop_assert_eq!(&handoff, &over); }
        }
        prop_assert!(moves <= 1);
    }
}
