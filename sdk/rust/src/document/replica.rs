//! A document as this device has it, with or without a network: kept sealed between runs, read and edited offline.

use super::state::State;
use crate::device::Device;
use crate::error::Error;
use crate::keys::SoftKey;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf;
use baton_protocol::id::SessionId;
use baton_protocol::signer::Signer as _;
use serde_json::Value;
use std::sync::Arc;

const INFO: &[u8] = b"baton/replica/2";

/// A document of this device that needs nobody to be read. [`Document::of`](super::Document::of) takes it in, once there is a network.
pub struct Replica {
    device: Arc<Device>,
    session: SessionId,
    epoch: i64,
    state: State,
}

impl Replica {
    /// The sessions whose documents are kept here.
    pub fn list(device: &Device) -> Result<Vec<SessionId>, Error> {
        Ok(device.replicas()?.iter().filter_map(|name| SessionId::parse(name).ok()).collect())
    }

    /// The document of a session as it was kept; `None` when there is none.
    pub fn load(device: &Arc<Device>, session: &SessionId) -> Result<Option<Self>, Error> {
        let mut state = super::fresh(device);
        let epoch = take_in(device, session, &mut state)?;
        Ok(epoch.map(|epoch| Self { device: device.clone(), session: session.clone(), epoch, state }))
    }

    /// Its session.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Its state, to read and edit.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Sets a register, as [`Document::set`](super::Document::set) does.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        self.state.set(name, value, self.epoch, self.device.did())
    }

    /// Keeps it as it is now.
    pub fn keep(&self) -> Result<(), Error> {
        keep(&self.device, &self.session, (self.epoch, &self.state), Standing::default())
    }

    /// Keeps a session's document no more, whether or not it can be opened: what was not saved is gone.
    pub fn forget(device: &Device, session: &SessionId) -> Result<(), Error> {
        device.alone_with_replicas(|| device.keep_replica(session.as_str(), None))
    }
}

/// How a document stands to its session when it is kept.
#[derive(Clone, Copy, Default)]
pub struct Standing<'a> {
    /// What of it is elsewhere as well.
    pub there: &'a [u8],
    /// What was kept may be of another history, which is over: then its registers of later epochs are laid down.
    pub was_other: bool,
    /// The session's content, and at which epoch this device last held it, where it does not write into it: what it set since gives way.
    pub late: Option<(&'a [u8], i64)>,
}

/// Keeps a document at its epoch, with whatever another window has kept of it meanwhile.
pub fn keep(device: &Device, session: &SessionId, (epoch, state): (i64, &State), standing: Standing<'_>) -> Result<(), Error> {
    let Standing { there, was_other, late } = standing;
    device.alone_with_replicas(|| {
        let mut whole = state.copy()?;
        let before = match take_in(device, session, &mut whole) {
            Err(Damaged::Here) => None,
            other => other?,
        };
        if was_other {
            whole.lay_down(epoch);
        }
        if let Some((content, after)) = late {
            whole.give_way(content, (after, epoch), device.did());
        }
        let mut plain = if was_other { epoch } else { epoch.max(before.unwrap_or(1)) }.to_be_bytes().to_vec();
        // Registers that are nowhere else yet stand before the document.
        whole.settle(there);
        let unsaved = whole.unsaved();
        plain.extend_from_slice(&(unsaved.len() as u32).to_be_bytes());
        plain.extend_from_slice(unsaved.as_bytes());
        plain.extend_from_slice(&whole.encode());
        let iv = device.http.entropy().bytes::<NONCE_LEN>();
        let sealed = key(&device.agreement)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(session.as_str()), &mut plain);
        sealed.map_err(|_| Error::Store("sealing failed".into()))?;
        if before.is_none() {
            set_aside(device, session)?;
        }
        device.keep_replica(session.as_str(), Some(&[&iv[..], &plain].concat()))
    })
}

/// Why nothing was taken in.
pub enum Damaged {
    /// What is kept here is not this device's, or is damaged.
    Here,
    /// It could not be looked at.
    Failed(Error),
}

impl From<Error> for Damaged {
    fn from(why: Error) -> Self {
        Self::Failed(why)
    }
}

impl From<Damaged> for Error {
    fn from(why: Damaged) -> Self {
        match why {
            Damaged::Here => Self::Store("a kept document is damaged".into()),
            Damaged::Failed(why) => why,
        }
    }
}

/// Takes what is kept of a document into its state; gives the epoch at which it was kept.
pub fn take_in(device: &Device, session: &SessionId, state: &mut State) -> Result<Option<i64>, Damaged> {
    let Some(sealed) = device.replica(session.as_str())? else { return Ok(None) };
    let (iv, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Damaged::Here)?;
    let mut rest = rest.to_vec();
    let opened = key(&device.agreement)?.open_in_place(Nonce::assume_unique_for_key(*iv), Aad::from(session.as_str()), &mut rest);
    let plain = opened.map_err(|_| Damaged::Here)?;
    let (epoch, rest) = plain.split_first_chunk::<8>().ok_or(Damaged::Here)?;
    let epoch = i64::from_be_bytes(*epoch);
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Damaged::Here)?;
    let (unsaved, content) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(Damaged::Here)?;
    state.restore(content, epoch).and_then(|()| state.take_unsaved(unsaved)).map_err(|_| Damaged::Here)?;
    Ok(Some(epoch))
}

/// What was kept of a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// It is in the state.
    TakenIn,
    /// It could not be opened, and is kept under another name.
    SetAside,
}

/// [`take_in`], where what cannot be opened holds up nobody.
pub fn take_in_or_set_aside(device: &Device, session: &SessionId, state: &mut State) -> Result<Kept, Error> {
    device.alone_with_replicas(|| match take_in(device, session, state) {
        Err(Damaged::Here) => set_aside(device, session).map(|()| Kept::SetAside),
        other => Ok(if other?.is_some() { Kept::TakenIn } else { Kept::Nothing }),
    })
}

/// What is kept of a session's document goes to another name, if there is anything.
fn set_aside(device: &Device, session: &SessionId) -> Result<(), Error> {
    if let Some(sealed) = device.replica(session.as_str())? {
        device.keep_replica(&format!("damaged-{session}"), Some(&sealed))?;
        device.keep_replica(session.as_str(), None)?;
    }
    Ok(())
}

/// What only this device can derive: from what its agreement key agrees on with itself.
fn key(own: &SoftKey) -> Result<LessSafeKey, Error> {
    let failed = || Error::Store("key".into());
    let private = PrivateKey::from_private_key(&ECDH_P256, own.scalar().expose()).map_err(|_| failed())?;
    agree(&private, UnparsedPublicKey::new(&ECDH_P256, own.key().sec1()), failed(), |shared| {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(shared);
        let okm = prk.expand(&[INFO], &AES_256_GCM).map_err(|_| failed())?;
        Ok(LessSafeKey::new(UnboundKey::from(okm)))
    })
}
