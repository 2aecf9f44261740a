//! Who sits where in a session: everything that decides who may write, release or take it, and what each step leaves. Pure, `Eq + Hash`: the
//! broker runs it over its rows, the model over all there can be.

use super::chain::{Act, Chain, Statement};
use crate::Refusal;
use crate::key::Did;
use crate::refusal::{Handoff as Refused, State};
use crate::session::{Head, LEASE_SECS};
use crate::time::Millis;

/// A session as the broker holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Whether it has not ended.
    pub is_live: bool,
    /// The epoch.
    pub epoch: i64,
    /// Who may write, if anybody.
    pub holder: Option<Did>,
    /// Until when without a sign of life.
    pub lease_until: Millis,
    /// The holder has released it: it writes no more at this epoch.
    pub is_released: bool,
    /// The newest key's version.
    pub key_version: i64,
    /// Nothing is taken under that key any more.
    pub needs_rekey: bool,
    /// Where its content stands.
    pub head: Head,
}

impl Seat {
    /// Just opened.
    pub fn opened(chain: &Chain, now: Millis) -> Self {
        let head = Head { epoch: 1, seq: 0, hash: chain.first().to_owned() };
        let holder = Some(chain.holder().clone());
        let lease_until = now.plus_secs(LEASE_SECS);
        Self { is_live: true, epoch: 1, holder, lease_until, is_released: false, key_version: 1, needs_rekey: false, head }
    }

    /// Whether this device holds it.
    pub fn is_held_by(&self, device: &Did) -> bool {
        self.holder.as_ref() == Some(device)
    }

    /// Whether nobody holds it, or whoever did has been silent too long.
    pub fn is_detached(&self, now: Millis) -> bool {
        self.holder.is_none() || now >= self.lease_until
    }

    /// Epochs are whole numbers from 1; one ahead of the session is nonsense, one behind it is fenced.
    pub fn check_epoch(&self, given: i64) -> Result<(), Refused> {
        match given {
            _ if given < 1 || given > self.epoch => Err(Refused::Epoch),
            _ if given < self.epoch => Err(Refused::Fenced),
            _ => Ok(()),
        }
    }

    /// Whether `by` may act for it at this epoch: it is its holder, and has not released it.
    fn check_holder(&self, by: &Did, epoch: i64) -> Result<(), Refused> {
        if !self.is_live {
            return Err(Refused::State);
        }
        self.check_epoch(epoch)?;
        if self.is_held_by(by) && !self.is_released { Ok(()) } else { Err(Refused::Fenced) }
    }

    /// Whether `by` may write there under this key.
    pub fn may_write(&self, by: &Did, epoch: i64, key_version: i64) -> Result<(), Refusal> {
        self.check_holder(by, epoch)?;
        self.check_key(key_version)
    }

    /// Whether a member may write there under this key, whoever holds it: the session is a shared one, and is not being released.
    pub fn may_share(&self, epoch: i64, key_version: i64) -> Result<(), Refusal> {
        if !self.is_live {
            return Err(Refused::State.into());
        }
        self.check_epoch(epoch)?;
        if self.is_released {
            return Err(Refused::Fenced.into());
        }
        self.check_key(key_version)
    }

    /// Whether `by` may offer it to others.
    pub fn may_offer(&self, by: &Did, epoch: i64) -> Result<(), Refusal> {
        Ok(self.check_holder(by, epoch)?)
    }

    /// Whom `by` may ask for it: whoever holds it, has not released it, and was heard of lately. Of a silent one it is claimed.
    pub fn may_request(&self, by: &Did, now: Millis) -> Result<Did, Refusal> {
        let holder = self.holder.clone().filter(|holder| holder != by && self.is_live && !self.is_released && !self.is_detached(now));
        Ok(holder.ok_or(Refused::State)?)
    }

    /// Whether `by` may bring in a new key.
    pub fn may_rekey(&self, by: &Did, epoch: i64) -> Result<(), Refusal> {
        Ok(self.check_holder(by, epoch)?)
    }

    /// Whether `by` may release it: at this epoch, with all of its content, under a key that is good.
    pub fn may_release(&self, by: &Did, epoch: i64, head: &Head, key_version: i64) -> Result<(), Refusal> {
        self.check_holder(by, epoch)?;
        if *head != self.head {
            return Err(State::Conflict.into());
        }
        self.check_key(key_version)
    }

    /// Whether a full device may claim it from there: nobody holds it, and nothing of its content is left behind.
    pub fn may_claim(&self, from: &Head, now: Millis) -> Result<(), Refusal> {
        if !self.is_live || !self.is_detached(now) {
            return Err(Refused::Taken.into());
        }
        if *from == self.head { Ok(()) } else { Err(State::Conflict.into()) }
    }

    fn check_key(&self, key_version: i64) -> Result<(), Refusal> {
        if self.needs_rekey || key_version != self.key_version { Err(State::RekeyRequired.into()) } else { Ok(()) }
    }

    /// After a statement that was accepted, with the chain that has it.
    #[must_use]
    pub fn after(self, statement: &Statement, chain: &Chain, now: Millis) -> Self {
        let moved = chain.epoch() != self.epoch;
        let rekeyed = chain.key_version() != self.key_version;
        Self {
            epoch: chain.epoch(),
            holder: if moved { Some(chain.holder().clone()) } else { self.holder },
            lease_until: now.plus_secs(LEASE_SECS),
            is_released: matches!(statement.act, Act::Release { .. }),
            key_version: chain.key_version(),
            needs_rekey: self.needs_rekey && !rekeyed,
            ..self
        }
    }

    /// After it left a device that is no member: that one knew the key, and is not to read on.
    #[must_use]
    pub fn left_by(self, is_member: bool) -> Self {
        Self { needs_rekey: self.needs_rekey || !is_member, ..self }
    }

    /// After an update that was taken.
    #[must_use]
    pub fn written(self, head: Head, now: Millis) -> Self {
        Self { head, lease_until: now.plus_secs(LEASE_SECS), ..self }
    }

    /// After a device of the person was revoked: it holds nothing, and the keys it may have open nothing new.
    #[must_use]
    pub fn without(self, device: &Did) -> Self {
        let holder = self.holder.filter(|holder| holder != device);
        Self { holder, needs_rekey: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{HandoffId, SessionId};
    use crate::session::Mode;

    const T: Millis = Millis(1_000_000);

    fn did(n: u8) -> Did {
        Did::unresolved(&format!("did:key:z{n}"))
    }
    fn session() -> SessionId {
        SessionId::new(T, [1; 10])
    }
    fn opened() -> (Seat, Chain) {
        let act = Act::Open { app: "a".into(), subject: "s".into(), mode: Mode::Exclusive, envelope: "e".into() };
        let open = Statement { v: 1, session: session(), epoch: 1, prev: None, device: did(1), act };
        let chain = Chain::open(&open, "0".into()).unwrap();
        (Seat::opened(&chain, T), chain)
    }
    fn head(seq: i64) -> Head {
        Head { epoch: 1, seq, hash: format!("u{seq}") }
    }

    #[test]
    fn its_holder_writes_at_its_epoch_under_its_key() {
        let (seat, _) = opened();
        seat.may_write(&did(1), 1, 1).unwrap();
        for (by, epoch, key, refused) in [
            (2, 1, 1, Refusal::from(Refused::Fenced)),
            (1, 0, 1, Refused::Epoch.into()),
            (1, 2, 1, Refused::Epoch.into()),
            (1, 1, 2, State::RekeyRequired.into()),
        ] {
            assert_eq!(seat.may_write(&did(by), epoch, key), Err(refused));
        }
        let revoked = seat.clone().without(&did(2));
        assert_eq!(revoked.may_write(&did(1), 1, 1), Err(State::RekeyRequired.into()), "another device may have had the key");
        assert_eq!(seat.without(&did(1)).may_write(&did(1), 1, 1), Err(Refused::Fenced.into()));
    }

    #[test]
    fn members_write_into_a_shared_one_until_it_is_released() {
        let (seat, _) = opened();
        seat.may_share(1, 1).unwrap();
        let (released, ended) = (Seat { is_released: true, ..seat.clone() }, Seat { is_live: false, ..seat.clone() });
        for (refused, why) in [
            (released.may_share(1, 1), Refusal::from(Refused::Fenced)),
            (ended.may_share(1, 1), Refused::State.into()),
            (seat.may_share(2, 1), Refused::Epoch.into()),
            (seat.may_share(1, 2), State::RekeyRequired.into()),
            (seat.clone().without(&did(2)).may_share(1, 1), State::RekeyRequired.into()),
        ] {
            assert_eq!(refused, Err(why));
        }
        Seat { holder: None, ..seat }.may_share(1, 1).expect("whether or not anybody holds it");
    }

    #[test]
    fn it_is_asked_of_a_holder_that_is_there() {
        let (seat, _) = opened();
        assert_eq!(seat.may_request(&did(2), T), Ok(did(1)));
        let late = T.plus_secs(LEASE_SECS);
        let released = Seat { is_released: true, ..seat.clone() };
        let ended = Seat { is_live: false, ..seat.clone() };
        for refused in [
            seat.may_request(&did(1), T),
            seat.may_request(&did(2), late),
            seat.without(&did(1)).may_request(&did(2), T),
            released.may_request(&did(2), T),
            ended.may_request(&did(2), T),
        ] {
            assert_eq!(refused, Err(Refused::State.into()));
        }
    }

    #[test]
    fn what_is_released_is_written_by_nobody_until_it_is_taken() {
        let (seat, chain) = opened();
        let seat = seat.written(head(3), T);
        assert_eq!(seat.may_release(&did(1), 1, &head(2), 1), Err(State::Conflict.into()), "something would be left behind");
        seat.may_release(&did(1), 1, &head(3), 1).unwrap();
        let act = Act::Release { handoff: HandoffId::new(T, [2; 10]), head: head(3), key_version: 1, envelope: None, to: did(2) };
        let release = Statement { v: 1, session: session(), epoch: 1, prev: Some("0".into()), device: did(1), act };
        let chain = chain.apply(&release, "1".into()).unwrap();
        let seat = seat.after(&release, &chain, T);
        for refused in [seat.may_write(&did(1), 1, 1), seat.may_offer(&did(1), 1), seat.may_rekey(&did(1), 1)] {
            assert_eq!(refused, Err(Refused::Fenced.into()));
        }
        let act = Act::Receipt { handoff: HandoffId::new(T, [2; 10]), proof: "p".into() };
        let receipt = Statement { v: 1, session: session(), epoch: 2, prev: Some("1".into()), device: did(2), act };
        let chain = chain.apply(&receipt, "2".into()).unwrap();
        let seat = seat.after(&receipt, &chain, T);
        seat.may_write(&did(2), 2, 1).unwrap();
        assert_eq!(seat.may_write(&did(1), 1, 1), Err(Refused::Fenced.into()));
    }

    #[test]
    fn a_lapsed_lease_lets_it_be_claimed_with_all_it_has() {
        let (seat, _) = opened();
        let seat = seat.written(head(1), T);
        let late = T.plus_secs(LEASE_SECS);
        assert_eq!(seat.may_claim(&head(1), T), Err(Refused::Taken.into()));
        assert_eq!(seat.may_claim(&head(0), late), Err(State::Conflict.into()));
        seat.may_claim(&head(1), late).unwrap();
        seat.clone().without(&did(1)).may_claim(&head(1), T).unwrap();
        assert_eq!(Seat { is_live: false, ..seat }.may_claim(&head(1), late), Err(Refused::Taken.into()));
    }
}
