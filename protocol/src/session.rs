//! Sessions as they cross the wire: keys in signed statements, updates under a seal with the sender's signature inside.
//!
//! The broker sees ciphertext, sizes rounded up to buckets, and digests of ciphertext; never a digest of content.

use crate::device_log::Head as LogHead;
use crate::id::SessionId;
use crate::jose::{Draft, Typ, Unverified};
use crate::key::{Did, hash, sha256};
use crate::needs::Needs;
use crate::refusal::State;
use crate::root::expand;
use crate::secret::Secret;
use crate::{b64, json};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, hmac};
use serde::{Deserialize, Serialize};

/// Most bytes of content in one update.
pub const MAX_CONTENT: usize = 192 * 1024;
/// Most bytes of content in a volatile one.
pub const MAX_VOLATILE: usize = 3 * 1024;
/// Longest `ct` of a volatile one: the bucket of 4 KiB with its tag, in base64url characters.
const MAX_VOLATILE_SEALED: usize = 5484;
/// Longest `ct` accepted, in base64url characters.
pub const MAX_SEALED: usize = 400 * 1024;
/// How long a holder keeps a session without a sign of life (database time).
pub const LEASE_SECS: i64 = 45;

/// How a session treats several writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One device at a time; a fork freezes it.
    Exclusive,
    /// Every member may write, whoever holds it; holding it is having it in hand.
    Shared,
}

/// Where a session's content stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The epoch of the last update.
    pub epoch: i64,
    /// Its number; counts through all epochs.
    pub seq: i64,
    /// Its ciphertext digest; the `open` statement's hash before the first.
    pub hash: String,
}

/// What an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A change.
    Update,
    /// The whole state.
    Snapshot,
    /// What matters only now: relayed to who listens, kept by nobody. Its number counts its writer's own of that epoch; `prev` is the head it is said over.
    Volatile,
}

impl Kind {
    /// Most bytes of content.
    const fn most(self) -> usize {
        if matches!(self, Self::Volatile) { MAX_VOLATILE } else { MAX_CONTENT }
    }
}

/// A session key of one version.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// Versions count from 1.
    pub version: i64,
    /// AES-256 key.
    pub key: Secret<[u8; 32]>,
}

/// The plaintext of a key envelope, signed by the holder or claimer: ECDH-ES alone proves no sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyStatement {
    /// Version of this format: 1.
    pub v: u8,
    /// The session.
    pub session: SessionId,
    /// The key's version.
    pub version: i64,
    /// The key, base64url.
    pub key: String,
    /// Where the sender's device log stood.
    pub log_head: LogHead,
}

impl SessionKey {
    /// The statement to sign and seal.
    pub fn draft(&self, session: &SessionId, log_head: LogHead, by: &Did) -> Draft {
        let key = b64::encode(self.key.expose());
        Draft::new(Typ::SessionKey, &by.url(), &KeyStatement { v: 1, session: session.clone(), version: self.version, key, log_head })
    }

    /// Reads an opened envelope: signed by a device `sender` accepts, for this session and version.
    pub fn read(jws: &str, session: &SessionId, version: i64, sender: impl Fn(&Did) -> bool) -> Result<(Self, LogHead, Did), State> {
        let (by, verified) = signed_by(jws, Typ::SessionKey, sender)?;
        let statement: KeyStatement = verified.exact().map_err(|_| State::Sender)?;
        if statement.v != 1 || statement.session != *session || statement.version != version {
            return Err(State::Sender);
        }
        let key = Secret::new(b64::decode_array::<32>(&statement.key).map_err(|_| State::Sender)?);
        Ok((Self { version, key }, statement.log_head, by))
    }

    /// What a receipt proves: that the target opened the very plaintext (docs/protocol.md §8). The broker cannot compute it.
    pub fn receipt_proof(&self, release: &str, content: &[u8]) -> String {
        let mut key = [0; 32];
        expand(self.key.expose(), &[], b"baton/receipt/1", &mut key);
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        zeroize::Zeroize::zeroize(&mut key);
        mac.update(release.as_bytes());
        mac.update(&sha256(content));
        b64::encode(mac.sign().as_ref())
    }

    /// Whether a receipt's proof is right.
    pub fn accepts_proof(&self, proof: &str, release: &str, content: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(proof.as_bytes(), self.receipt_proof(release, content).as_bytes()).is_ok()
    }

    fn aead(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.key.expose()).expect("32 bytes"))
    }
}

/// Where an update belongs; all of it is authenticated by the seal and by the signature inside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Place {
    /// The session.
    pub session: SessionId,
    /// The epoch it is written at.
    pub epoch: i64,
    /// One more than the update before; of a volatile one, more than its writer's last at this epoch.
    pub seq: i64,
    /// Ciphertext digest of the update before; of a volatile one, of the last that its writer knows.
    pub prev: String,
    /// Which session key seals it.
    pub key_version: i64,
    /// What it is.
    pub kind: Kind,
}

impl Place {
    fn aad(&self) -> Vec<u8> {
        let Self { session, epoch, seq, prev, key_version, kind } = self;
        let kind = match kind {
            Kind::Update => "Update",
            Kind::Snapshot => "Snapshot",
            Kind::Volatile => "Volatile",
        };
        format!("baton/update/1\n{session}\n{epoch}\n{seq}\n{prev}\n{key_version}\n{kind}").into_bytes()
    }
}

/// What the sender signs, inside the seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    v: u8,
    #[serde(flatten)]
    place: Place,
    content: String,
    /// What the session needs of a device, where it says so.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    needs: Needs,
}

/// What was under a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who signed it.
    pub by: Did,
    /// The session's content.
    pub content: Vec<u8>,
    /// What the session needs of a device.
    pub needs: Needs,
}

/// A sealed update, as the broker stores it or, a volatile one, passes it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SealedUpdate {
    /// Where it belongs.
    #[serde(flatten)]
    pub place: Place,
    /// 96 random bits.
    pub iv: String,
    /// AES-256-GCM ciphertext with its 128-bit tag.
    pub ct: String,
}

/// The statement the sender signs before sealing.
pub fn draft_update(place: &Place, content: &[u8], needs: &Needs, by: &Did) -> Draft {
    Draft::new(Typ::Update, &by.url(), &Signed { v: 1, place: place.clone(), content: hash(content), needs: needs.clone() })
}

impl SealedUpdate {
    /// Seals signed content. `iv` must be fresh.
    pub fn seal(place: Place, content: &[u8], jws: &str, key: &SessionKey, iv: [u8; 12]) -> Result<Self, State> {
        if content.len() > place.kind.most() || key.version != place.key_version {
            return Err(State::Undecryptable);
        }
        let mut bytes = pad(jws.as_bytes(), content);
        key.aead()
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(place.aad()), &mut bytes)
            .map_err(|_| State::Undecryptable)?;
        Ok(Self { place, iv: b64::encode(iv), ct: b64::encode(bytes) })
    }

    /// Opens, and checks the sender's signature over the very place it stands at.
    pub fn open(&self, key: &SessionKey, sender: impl Fn(&Did) -> bool) -> Result<Opened, State> {
        if key.version != self.place.key_version {
            return Err(State::Undecryptable);
        }
        let iv = b64::decode_array::<12>(&self.iv).map_err(|_| State::Undecryptable)?;
        let mut bytes = b64::decode(&self.ct).map_err(|_| State::Undecryptable)?;
        let plain =
            key.aead().open_in_place(Nonce::assume_unique_for_key(iv), Aad::from(self.place.aad()), &mut bytes).map_err(|_| State::Undecryptable)?;
        let (jws, content) = unpad(plain).ok_or(State::Undecryptable)?;
        let (by, verified) = signed_by(jws, Typ::Update, sender)?;
        let signed: Signed = verified.exact().map_err(|_| State::Sender)?;
        if signed.v != 1 || signed.place != self.place || signed.content != hash(content) || signed.needs.check().is_err() {
            return Err(State::Sender);
        }
        Ok(Opened { by, content: content.to_vec(), needs: signed.needs })
    }

    /// Digest of the ciphertext in its place: the next update's `prev`.
    pub fn hash(&self) -> String {
        let mut bytes = self.place.aad();
        for part in [&self.iv, &self.ct] {
            bytes.push(b'\n');
            bytes.extend_from_slice(part.as_bytes());
        }
        hash(&bytes)
    }

    /// What a broker can check of it: it is sealed, not plain, and of a bucket's size.
    pub fn check_form(&self) -> Result<(), State> {
        if self.ct.len() > if self.place.kind == Kind::Volatile { MAX_VOLATILE_SEALED } else { MAX_SEALED } {
            return Err(State::NotEncrypted);
        }
        let ct = b64::decode(&self.ct).map_err(|_| State::NotEncrypted)?;
        let sealed = b64::decode_array::<12>(&self.iv).is_ok() && ct.len().checked_sub(MAX_TAG_LEN).is_some_and(|len| bucket(len) == len && len > 0);
        if sealed { Ok(()) } else { Err(State::NotEncrypted) }
    }
}

fn signed_by(jws: &str, typ: Typ, sender: impl Fn(&Did) -> bool) -> Result<(Did, crate::jose::Verified), State> {
    let jws = Unverified::parse(jws, typ).map_err(|_| State::Sender)?;
    let by = jws.unverified_header().kid.as_deref().and_then(|kid| Did::from_url(kid).ok()).ok_or(State::Sender)?;
    if !sender(&by) {
        return Err(State::Sender);
    }
    let key = by.key().map_err(|_| State::Sender)?;
    Ok((by, jws.verify(&key).map_err(|_| State::Sender)?))
}

/// Sizes are rounded up, so that a length says little: powers of two to 64 KiB, then whole 64 KiB.
fn bucket(len: usize) -> usize {
    const STEP: usize = 64 * 1024;
    if len > STEP { len.next_multiple_of(STEP) } else { len.next_power_of_two().max(1024) }
}

fn pad(jws: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bucket(8 + jws.len() + content.len()) + MAX_TAG_LEN);
    for part in [jws, content] {
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes.resize(bucket(bytes.len()), 0);
    bytes
}

fn unpad(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let take = |bytes: &'_ [u8]| -> Option<usize> { bytes.first_chunk::<4>().map(|len| u32::from_be_bytes(*len) as usize) };
    let jws_len = take(bytes)?;
    let jws = bytes.get(4..4 + jws_len)?;
    let rest = &bytes[4 + jws_len..];
    let content = rest.get(4..4 + take(rest)?)?;
    let zeros = rest[4 + content.len()..].iter().all(|b| *b == 0);
    zeros.then_some((std::str::from_utf8(jws).ok()?, content))
}

/// Form of a key envelope that a broker can check without opening it: JWE General of the profile's algorithms, and who its recipients are.
pub fn envelope_recipients(envelope: &str) -> Result<Vec<Did>, State> {
    let object = json::object(envelope.as_bytes(), crate::jose::MAX_TOKEN).map_err(|_| State::NotEncrypted)?;
    let protected = object.get("protected").and_then(|p| p.as_str()).ok_or(State::NotEncrypted)?;
    let protected = json::object(&b64::decode(protected).map_err(|_| State::NotEncrypted)?, 1024).map_err(|_| State::NotEncrypted)?;
    let is = |name: &str, value: &str| protected.get(name).and_then(|v| v.as_str()) == Some(value);
    if !is("alg", "ECDH-ES+A256KW") || !is("enc", "A256GCM") || protected.contains_key("zip") || protected.contains_key("p2c") {
        return Err(State::Alg);
    }
    let recipients = object.get("recipients").and_then(|r| r.as_array()).ok_or(State::NotEncrypted)?;
    recipients
        .iter()
        .map(|r| r.pointer("/header/kid").and_then(|kid| kid.as_str()).and_then(|kid| Did::from_url(kid).ok()).ok_or(State::Recipient))
        .collect()
}
