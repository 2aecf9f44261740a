//! One handoff as a state machine: pure, total, `Eq + Hash`. Who writes what where is decided by callers from [`Effect`].

use crate::Refusal;
use crate::credential::Tier;
use crate::key::Did;
use crate::refusal::Handoff as Refused;
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How long an offer stands.
pub const OFFER_SECS: i64 = 120;
/// How long the source has to seal once accepted.
pub const SEAL_SECS: i64 = 30;
/// How long the target has to complete before the source may reclaim.
pub const RECLAIM_SECS: i64 = 60;

/// Whom an offer names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This device.
    Device(Did),
    /// Any full device of the person; the first to accept wins.
    AnyFull,
    /// Any of these, two or more of them; the first to accept wins.
    AnyOf(Vec<Did>),
}

/// Most devices that one offer names.
pub const MAX_NAMED: usize = 16;

impl Target {
    /// The devices it names, if it names any.
    pub fn named(&self) -> &[Did] {
        match self {
            Self::Device(device) => std::slice::from_ref(device),
            Self::AnyOf(devices) => devices,
            Self::AnyFull => &[],
        }
    }

    /// Whether it is one that may be offered to: of several, each is named once.
    pub fn is_sound(&self) -> bool {
        let Self::AnyOf(devices) = self else { return true };
        let distinct: BTreeSet<_> = devices.iter().map(Did::as_str).collect();
        (2..=MAX_NAMED).contains(&devices.len()) && distinct.len() == devices.len()
    }
}

/// A device that acts, as its standing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct By {
    /// Which.
    pub device: Did,
    /// What it may do.
    pub tier: Tier,
}

/// How a handoff ended without moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By the target.
    Declined,
    /// By the source.
    Cancelled,
    /// Nobody acted in time.
    Expired,
    /// A party was revoked.
    Void,
    /// Sealed, but the source took the session back.
    Reclaimed,
}

/// Why a handoff ended as it did: a stable code for the people concerned (docs/lifecycle.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Declined: not now.
    Unwanted,
    /// Declined: something else is in the way there.
    Busy,
    /// Declined: the device lacks what the session needs.
    Unable,
    /// Expired: nobody accepted.
    NobodyCame,
    /// Expired: it was accepted, and its source did not seal.
    NotSealed,
    /// Void or reclaimed: a party was revoked.
    Revoked,
    /// Void: a device claimed the session.
    Claimed,
    /// Void: the session ended.
    Ended,
    /// Void: the person switched the sync of a party off.
    NotSynced,
    /// Reclaimed: the target did not say that it has it.
    NotTaken,
}

/// Why a target declines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the reason of its own name")]
pub enum Declining {
    #[default]
    Unwanted,
    Busy,
    Unable,
}

impl From<Declining> for Reason {
    fn from(why: Declining) -> Self {
        match why {
            Declining::Unwanted => Self::Unwanted,
            Declining::Busy => Self::Busy,
            Declining::Unable => Self::Unable,
        }
    }
}

/// Where a handoff stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Waiting for the target.
    Offered {
        /// Until then.
        until: Millis,
    },
    /// Waiting for the source to seal.
    Accepted {
        /// By this device.
        by: Did,
        /// Until then; after that the session is simply active again.
        until: Millis,
    },
    /// Waiting for the target's receipt.
    Sealed {
        /// The device it is sealed to.
        by: Did,
        /// Hash of the release.
        release: String,
        /// From then on the source may reclaim.
        reclaim_at: Millis,
    },
    /// The target holds the session.
    Completed {
        /// That device.
        by: Did,
    },
    /// Over without a move.
    Ended {
        /// How.
        end: End,
        /// Why, where that says more. Handoffs from before have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
}

impl State {
    /// The state's name, for rows, answers and events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Offered { .. } => "offered",
            Self::Accepted { .. } => "accepted",
            Self::Sealed { .. } => "sealed",
            Self::Completed { .. } => "completed",
            Self::Ended { end, .. } => match end {
                End::Declined => "declined",
                End::Cancelled => "cancelled",
                End::Expired => "expired",
                End::Void => "void",
                End::Reclaimed => "reclaimed",
            },
        }
    }
    /// Why it is over, where that says more than its name.
    pub const fn reason(&self) -> Option<Reason> {
        if let Self::Ended { reason, .. } = self { *reason } else { None }
    }
    const fn ended(end: End, reason: Reason) -> Self {
        Self::Ended { end, reason: Some(reason) }
    }
    /// Whether nothing can happen to it any more.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Ended { .. })
    }
}

/// One handoff.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handoff {
    /// The epoch it leaves.
    pub epoch: i64,
    /// The device that offers.
    pub from: Did,
    /// Whom it offers to.
    pub to: Target,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
}

/// What can happen to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Act {
    /// The target agrees.
    Accept,
    /// The target declines.
    Decline {
        /// Why.
        why: Declining,
    },
    /// The source withdraws.
    Cancel,
    /// The source has sealed and released.
    Seal {
        /// Hash of the release.
        release: String,
    },
    /// The target's receipt.
    Complete {
        /// The release it answers.
        release: String,
    },
    /// The source takes the session back.
    Reclaim {
        /// The release it takes back.
        release: String,
        /// Whether the target has been revoked: then at once.
        target_revoked: bool,
    },
}

/// What the session's row must become along with the handoff.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing.
    None,
    /// The holder has released: it never writes at this epoch again.
    Released,
    /// This device holds the session at the next epoch.
    Holds(Did),
}

impl Handoff {
    /// A fresh offer.
    pub fn offer(from: Did, epoch: i64, to: Target, now: Millis) -> Self {
        Self { epoch, from, to, state: State::Offered { until: now.plus_secs(OFFER_SECS) } }
    }

    /// The handoff as it stands at `now`: what lapsed, lapsed.
    #[must_use]
    pub fn at(self, now: Millis) -> Self {
        match self.state {
            State::Offered { until } if now >= until => Self { state: State::ended(End::Expired, Reason::NobodyCame), ..self },
            State::Accepted { until, .. } if now >= until => Self { state: State::ended(End::Expired, Reason::NotSealed), ..self },
            _ => self,
        }
    }

    /// Whether it names this device: as its source, as one it is offered to, or as the one who accepted.
    pub fn concerns(&self, device: &Did) -> bool {
        let by = match &self.state {
            State::Accepted { by, .. } | State::Sealed { by, .. } | State::Completed { by } => Some(by),
            State::Offered { .. } | State::Ended { .. } => None,
        };
        self.from == *device || self.to.named().contains(device) || by == Some(device)
    }

    /// The device at its other end: who accepted, or the one it is offered to.
    pub fn other(&self) -> Option<&Did> {
        match (&self.state, &self.to) {
            (State::Accepted { by, .. } | State::Sealed { by, .. } | State::Completed { by }, _) | (_, Target::Device(by)) => Some(by),
            _ => None,
        }
    }

    /// A party was revoked or the session moved on without it. Also used when a sealed handoff's session is claimed.
    #[must_use]
    pub fn void(self, reason: Reason) -> Self {
        if self.state.is_over() { self } else { Self { state: State::ended(End::Void, reason), ..self } }
    }

    /// The next state, or why not. Repeating the act that led here gives the same state and no effect.
    pub fn apply(self, by: &By, act: Act, now: Millis) -> Result<(Self, Effect), Refusal> {
        let this = self.at(now);
        let (state, effect) = this.next(by, act, now)?;
        Ok((Self { state, ..this }, effect))
    }

    fn next(&self, by: &By, act: Act, now: Millis) -> Result<(State, Effect), Refused> {
        let is_source = by.device == self.from;
        let same = || Ok((self.state.clone(), Effect::None));
        match (&self.state, act) {
            (State::Offered { .. }, Act::Accept) => {
                self.check_target(by)?;
                Ok((State::Accepted { by: by.device.clone(), until: now.plus_secs(SEAL_SECS) }, Effect::None))
            }
            (State::Accepted { by: winner, .. } | State::Sealed { by: winner, .. } | State::Completed { by: winner }, Act::Accept) => {
                if *winner == by.device { same() } else { Err(Refused::Taken) }
            }
            (State::Offered { .. }, Act::Decline { why }) => {
                self.check_target(by)?;
                Ok((State::ended(End::Declined, why.into()), Effect::None))
            }
            (State::Accepted { by: winner, .. }, Act::Decline { why }) if *winner == by.device => {
                Ok((State::ended(End::Declined, why.into()), Effect::None))
            }
            (State::Offered { .. } | State::Accepted { .. }, Act::Cancel) if is_source => {
                Ok((State::Ended { end: End::Cancelled, reason: None }, Effect::None))
            }
            (State::Accepted { by: winner, .. }, Act::Seal { release }) if is_source => {
                Ok((State::Sealed { by: winner.clone(), release, reclaim_at: now.plus_secs(RECLAIM_SECS) }, Effect::Released))
            }
            (State::Sealed { release: known, .. }, Act::Seal { release }) if is_source && *known == release => same(),
            (State::Sealed { by: target, release: known, .. }, Act::Complete { release }) if *target == by.device => {
                if *known == release {
                    Ok((State::Completed { by: target.clone() }, Effect::Holds(target.clone())))
                } else {
                    Err(Refused::Statement)
                }
            }
            (State::Sealed { release: known, reclaim_at, .. }, Act::Reclaim { release, target_revoked }) if is_source => {
                if *known != release {
                    Err(Refused::Statement)
                } else if now >= *reclaim_at || target_revoked {
                    let reason = if target_revoked { Reason::Revoked } else { Reason::NotTaken };
                    Ok((State::ended(End::Reclaimed, reason), Effect::Holds(self.from.clone())))
                } else {
                    Err(Refused::Early)
                }
            }
            (State::Ended { end: End::Declined, .. }, Act::Decline { .. }) if self.check_target(by).is_ok() => same(),
            (State::Ended { end: End::Cancelled, .. }, Act::Cancel) if is_source => same(),
            (State::Ended { end: End::Expired, .. }, _) => Err(Refused::Expired),
            (State::Ended { end: End::Void, .. }, _) => Err(Refused::OfferVoid),
            (_, Act::Seal { .. } | Act::Reclaim { .. } | Act::Cancel) if !is_source => Err(Refused::NotHolder),
            (State::Offered { .. } | State::Accepted { .. } | State::Sealed { .. }, Act::Complete { .. } | Act::Decline { .. }) => {
                Err(Refused::Target)
            }
            _ => Err(Refused::State),
        }
    }

    fn check_target(&self, by: &By) -> Result<(), Refused> {
        let fits = match &self.to {
            Target::Device(_) | Target::AnyOf(_) => self.to.named().contains(&by.device),
            Target::AnyFull => by.tier == Tier::Full,
        };
        if fits && by.device != self.from { Ok(()) } else { Err(Refused::Target) }
    }
}

#[cfg(test)]
mod tests {
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
        let before =
            r#"{"epoch":1,"from":"did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169","to":"any_full","state":"ended","end":"declined"}"#;
        assert_eq!(serde_json::from_str::<Handoff>(before).unwrap().state.reason(), None);
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
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
        fn moves_at_most_once(acts in proptest::collection::vec((1u8..4, any::<bool>(), act(), 0i64..90), 0..12)) {
            let mut handoff = Handoff::offer(did(1), 1, Target::AnyFull, T);
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
}
