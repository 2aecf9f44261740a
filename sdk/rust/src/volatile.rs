//! What matters only now (a playback position, a pointer): said to whoever listens, sealed and signed as every update is, and kept by nobody.

use crate::error::Error;
use crate::session::Session;
use baton_protocol::key::Did;
use baton_protocol::needs::Needs;
use baton_protocol::refusal::{Handoff, State};
use baton_protocol::session::{Kind, Place, SealedUpdate, draft_update};
use baton_protocol::signer::Signer as _;

impl Session {
    /// Seals what this device says of the session just now, at most 3 KiB, for [`Events::say`](crate::Events::say).
    pub async fn volatile(&mut self, content: &[u8]) -> Result<SealedUpdate, Error> {
        self.needs_one_history()?;
        if self.held.is_none() && !self.is_shared_here() {
            return Err(Handoff::NotHolder.into());
        }
        self.needs_to_itself().await?;
        let device = &self.device;
        let key = self.keys.get(&self.chain.key_version()).ok_or(Handoff::NoKey)?;
        let epoch = self.chain.epoch();
        // By the clock, so that a device that starts anew does not begin behind what it said before.
        let last = self.heard.get(device.did()).filter(|(at, _)| *at == epoch).map_or(0, |(_, seq)| *seq);
        let seq = device.http.now().0.max(last + 1);
        let place = Place { session: self.id.clone(), epoch, seq, prev: self.head.hash.clone(), key_version: key.version, kind: Kind::Volatile };
        // What the session needs is in its content, and takes room here.
        let jws = device.signing.seal(draft_update(&place, content, &Needs::default(), device.did())).await?;
        let sealed = SealedUpdate::seal(place, content, &jws, key, device.http.entropy().bytes())?;
        self.heard.insert(device.did().clone(), (epoch, seq));
        Ok(sealed)
    }

    /// Opens what a stream told of this session; `None` when it is older than what was heard before. Refused when it is of another session, of an epoch or
    /// under a key that this device does not know (it follows then), or by a device that may not write into it.
    pub fn hear(&mut self, update: &SealedUpdate) -> Result<Option<Vec<u8>>, Error> {
        let place = &update.place;
        if place.session != self.id || place.kind != Kind::Volatile {
            return Err(State::Undecryptable.into());
        }
        if place.epoch != self.chain.epoch() {
            return Err(State::Rollback.into());
        }
        let key = self.keys.get(&place.key_version).filter(|key| key.version == self.chain.key_version()).ok_or(Handoff::NoKey)?;
        // A shared one's key is no limited device's but the holder's: whoever sealed this is a member, or was.
        let may = |by: &Did| by == self.chain.holder() || (self.is_shared() && self.recipients.contains(by));
        let opened = update.open(key, |by| may(by) && self.chain.released_to().is_none())?;
        let at = (place.epoch, place.seq);
        if self.heard.get(&opened.by).is_some_and(|(epoch, seq)| *epoch == place.epoch && place.seq <= *seq) {
            return Ok(None);
        }
        self.heard.insert(opened.by, at);
        Ok(Some(opened.content))
    }
}
