//! One handoff as a state machine: pure, total, `Eq + Hash`. Who writes what where is decided by callers from [`Effect`].

use crate::Refusal;
use crate::credential::Tier;
use crate::key::Did;
use crate::refusal::Handoff as Refused;
use crate::time::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How long an offer stands, and a request for one.
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
    /// Expired: who holds the session did not answer the request for it.
    Unanswered,
    /// Void: who holds the session offered it to somebody else.
    Elsewhere,
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

/// Why a target declines what it is offered, or a holder what it is asked for.
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
    /// Asked for by the target: waiting for the source to offer.
    Requested {
        /// Until then.
        until: Millis,
    },
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
            Self::Requested { .. } => "requested",
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
    /// The device that offers, or is asked to.
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
    /// The source agrees to what it was asked for.
    Offer,
    /// The target agrees.
    Accept,
    /// The target declines the offer, or the source the request.
    Decline {
        /// Why.
        why: Declining,
    },
    /// The source withdraws its offer, or the target its request.
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

    /// A fresh request: `by` asks who holds the session for it.
    pub fn request(by: Did, from: Did, epoch: i64, now: Millis) -> Self {
        Self { epoch, from, to: Target::Device(by), state: State::Requested { until: now.plus_secs(OFFER_SECS) } }
    }

    /// The handoff as it stands at `now`: what lapsed, lapsed.
    #[must_use]
    pub fn at(self, now: Millis) -> Self {
        match self.state {
            State::Requested { until } if now >= until => Self { state: State::ended(End::Expired, Reason::Unanswered), ..self },
            State::Offered { until } if now >= until => Self { state: State::ended(End::Expired, Reason::NobodyCame), ..self },
            State::Accepted { until, .. } if now >= until => Self { state: State::ended(End::Expired, Reason::NotSealed), ..self },
            _ => self,
        }
    }

    /// Whether it names this device: as its source, as one it is offered to, or as the one who accepted.
    pub fn concerns(&self, device: &Did) -> bool {
        let by = match &self.state {
            State::Accepted { by, .. } | State::Sealed { by, .. } | State::Completed { by } => Some(by),
            State::Requested { .. } | State::Offered { .. } | State::Ended { .. } => None,
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
            (State::Requested { .. }, Act::Offer) if is_source => Ok((State::Offered { until: now.plus_secs(OFFER_SECS) }, Effect::None)),
            (State::Requested { .. }, Act::Decline { why }) if is_source => Ok((State::ended(End::Declined, why.into()), Effect::None)),
            (State::Requested { .. }, Act::Cancel) if self.check_target(by).is_ok() => {
                Ok((State::Ended { end: End::Cancelled, reason: None }, Effect::None))
            }
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
            // Whichever of the two it was.
            (State::Ended { end: End::Declined, .. }, Act::Decline { .. }) | (State::Ended { end: End::Cancelled, .. }, Act::Cancel)
                if is_source || self.check_target(by).is_ok() =>
            {
                same()
            }
            (State::Ended { end: End::Expired, .. }, _) => Err(Refused::Expired),
            (State::Ended { end: End::Void, .. }, _) => Err(Refused::OfferVoid),
            (State::Requested { .. }, Act::Cancel | Act::Decline { .. }) => Err(Refused::Target),
            (_, Act::Offer | Act::Seal { .. } | Act::Reclaim { .. } | Act::Cancel) if !is_source => Err(Refused::NotHolder),
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
mod tests;
