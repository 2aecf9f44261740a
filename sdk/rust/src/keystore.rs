//! Where a device keeps its keys, its credential and what it has pinned: in memory, or in a file of mode 0600 sealed under a passphrase
//! (Argon2id, AES-256-GCM), replaced atomically.

use crate::error::Error;
use crate::keys::SoftKey;
use crate::servers::Servers;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use baton_protocol::b64;
use baton_protocol::device_log::Head;
use baton_protocol::id::HandoffId;
use baton_protocol::ports::Entropy;
use baton_protocol::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// What identity issued to the device.
#[derive(Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// Its id.
    pub device_id: String,
    /// Its credential with all disclosures.
    pub credential: String,
    /// The highest log head it saw.
    pub log_head: Head,
}

/// What a device saw last of a session: a chain or content that does not go on from there is a fork or a rollback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pin {
    /// Hash of the last statement.
    pub chain: String,
    /// How many statements there were.
    #[serde(default)]
    pub n: usize,
    /// Number of the last update.
    pub seq: i64,
    /// Its digest.
    #[serde(default)]
    pub hash: String,
    /// Number of the last one that was content; what came after it was by devices that are out.
    #[serde(default)]
    pub used: i64,
    /// Digests of envelopes outside the chain that were taken while who added them was live.
    #[serde(default)]
    pub added: BTreeSet<String>,
    /// It had seen another history, which is over, and its document has not been brought over yet.
    #[serde(default)]
    pub was_other: bool,
}

/// A handoff that this device has offered, and the person has not taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handing {
    /// Which.
    pub handoff: HandoffId,
    /// It is the target that named itself, not the person.
    pub is_asked_for: bool,
}

/// Everything a device keeps.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    signing: String,
    agreement: String,
    /// Where its services are.
    pub servers: Servers,
    /// Its OAuth client.
    pub client_id: String,
    /// What it is, once enrolled.
    pub enrolled: Option<Enrolled>,
    /// Pins by session.
    #[serde(default)]
    pub pins: BTreeMap<String, Pin>,
    /// What it hands over, by session.
    #[serde(default)]
    pub handing: BTreeMap<String, Handing>,
    /// When the newest status list it saw was signed (Unix seconds): an older one is a rollback.
    #[serde(default)]
    pub status_seen: i64,
}

impl Kept {
    /// Fresh keys for a device that is not enrolled yet.
    pub fn fresh(servers: Servers, client_id: &str, entropy: &Entropy) -> Self {
        let text = |key: SoftKey| b64::encode(key.scalar().expose());
        let (signing, agreement) = (text(SoftKey::generate(entropy)), text(SoftKey::generate(entropy)));
        Self {
            signing,
            agreement,
            servers,
            client_id: client_id.into(),
            enrolled: None,
            pins: BTreeMap::new(),
            handing: BTreeMap::new(),
            status_seen: 0,
        }
    }
    /// The signing key.
    pub fn signing(&self) -> Result<SoftKey, Error> {
        key(&self.signing)
    }
    /// The agreement key.
    pub fn agreement(&self) -> Result<SoftKey, Error> {
        key(&self.agreement)
    }
}

fn key(text: &str) -> Result<SoftKey, Error> {
    let scalar = b64::decode_array(text).ok().map(Secret::new);
    scalar.and_then(|scalar| SoftKey::from_scalar(&scalar)).ok_or_else(|| Error::Store("a stored key is damaged".into()))
}

/// A place to keep it, and documents beside it, which come sealed.
pub enum Keystore {
    /// Gone when the process is.
    Memory(Memory),
    /// A sealed file.
    File(Sealed),
}

/// Documents beside a device that is kept nowhere. Its clones are one: a device that is made anew with one has what the last one kept, which is to be gone by then.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

/// An open sealed file.
pub struct Sealed {
    path: PathBuf,
    key: LessSafeKey,
    salt: [u8; 16],
    entropy: Entropy,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    v: u8,
    salt: String,
    iv: String,
    ct: String,
}

impl Keystore {
    /// Kept nowhere.
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// A new file; refuses to replace one.
    pub fn create(path: &Path, passphrase: &str, kept: &Kept, entropy: &Entropy) -> Result<Self, Error> {
        if path.exists() {
            return Err(Error::Store(format!("{} exists already: remove it to begin anew", path.display())));
        }
        let salt = entropy.bytes();
        let sealed = Sealed { path: path.into(), key: derive(passphrase, &salt)?, salt, entropy: entropy.clone() };
        sealed.save(kept)?;
        Ok(Self::File(sealed))
    }

    /// Opens a file.
    pub fn open(path: &Path, passphrase: &str, entropy: &Entropy) -> Result<(Self, Kept), Error> {
        let bytes = fs::read(path).map_err(|e| Error::Store(format!("{}: {e}", path.display())))?;
        let damaged = || Error::Store("the keystore is damaged or the passphrase is wrong".into());
        let file: File = serde_json::from_slice(&bytes).ok().filter(|file: &File| file.v == 1).ok_or_else(damaged)?;
        let salt = b64::decode_array(&file.salt).map_err(|_| damaged())?;
        let iv = b64::decode_array(&file.iv).map_err(|_| damaged())?;
        let mut ct = Zeroizing::new(b64::decode(&file.ct).map_err(|_| damaged())?);
        let key = derive(passphrase, &salt)?;
        let plain = key.open_in_place(Nonce::assume_unique_for_key(iv), Aad::from(b"baton/keystore/1"), &mut ct).map_err(|_| damaged())?;
        let kept = serde_json::from_slice(plain).map_err(|_| damaged())?;
        Ok((Self::File(Sealed { path: path.into(), key, salt, entropy: entropy.clone() }), kept))
    }

    /// Keeps the present state.
    pub fn save(&self, kept: &Kept) -> Result<(), Error> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(sealed) => sealed.save(kept),
        }
    }

    /// The names of the documents.
    pub(crate) fn documents(&self) -> Result<Vec<String>, Error> {
        match self {
            Self::Memory(memory) => Ok(memory.all().keys().cloned().collect()),
            Self::File(sealed) => sealed.documents(),
        }
    }

    /// A document, as it was kept.
    pub(crate) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Memory(memory) => Ok(memory.all().get(name).cloned()),
            Self::File(sealed) => sealed.document(name),
        }
    }

    /// Keeps one, or no more.
    pub(crate) fn keep_document(&self, name: &str, sealed: Option<&[u8]>) -> Result<(), Error> {
        match (self, sealed) {
            (Self::Memory(memory), Some(sealed)) => drop(memory.all().insert(name.into(), sealed.into())),
            (Self::Memory(memory), None) => drop(memory.all().remove(name)),
            (Self::File(file), sealed) => file.keep_document(name, sealed)?,
        }
        Ok(())
    }

    /// While this is held nobody in another process changes them.
    pub(crate) fn lock_documents(&self) -> Result<Option<fs::File>, Error> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::File(sealed) => sealed.lock_documents().map(Some),
        }
    }
}

impl Memory {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sealed {
    /// Where documents are: beside the file, one file for each.
    fn beside(&self) -> PathBuf {
        with(&self.path, ".documents")
    }

    fn documents(&self) -> Result<Vec<String>, Error> {
        let folder = self.beside();
        match fs::read_dir(&folder) {
            // Whatever a run that died here left half done has a longer name.
            Ok(files) => Ok(files.filter_map(|file| file.ok()?.file_name().into_string().ok().filter(|name| !name.contains('.'))).collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(&folder, &error)),
        }
    }

    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.beside().join(name);
        match fs::read(&path) {
            Ok(sealed) => Ok(Some(sealed)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// Nobody else changes these documents while this is held, in this program or another.
    fn lock_documents(&self) -> Result<fs::File, Error> {
        let folder = self.beside();
        let lock = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(with(&folder, ".lock"))?;
            lock.lock().map(|()| lock)
        };
        lock().map_err(|error| failed(&folder, &error))
    }

    fn keep_document(&self, name: &str, sealed: Option<&[u8]>) -> Result<(), Error> {
        let path = self.beside().join(name);
        match sealed {
            Some(sealed) => replace(&path, sealed, &self.entropy),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&path, &error)),
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    fn save(&self, kept: &Kept) -> Result<(), Error> {
        let iv = self.entropy.bytes();
        let mut bytes = Zeroizing::new(serde_json::to_vec(kept).map_err(|e| Error::Store(e.to_string()))?);
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), Aad::from(b"baton/keystore/1"), &mut *bytes)
            .map_err(|_| Error::Store("sealing failed".into()))?;
        let file = File { v: 1, salt: b64::encode(self.salt), iv: b64::encode(iv), ct: b64::encode(&*bytes) };
        replace(&self.path, &serde_json::to_vec(&file).map_err(|e| Error::Store(e.to_string()))?, &self.entropy)
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Store(format!("{}: {error}", path.display()))
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// All of it or nothing, and durable.
fn replace(path: &Path, bytes: &[u8], entropy: &Entropy) -> Result<(), Error> {
    // A name of its own: whoever else does the same does not write into this one.
    let next = with(path, &format!(".{}", b64::encode(entropy.bytes::<6>())));
    let put = || {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&next, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    };
    put().map_err(|error| failed(path, &error))
}

/// Argon2id with the parameters OWASP names for 19 MiB.
fn derive(passphrase: &str, salt: &[u8; 16]) -> Result<LessSafeKey, Error> {
    let params = argon2::Params::new(19 * 1024, 2, 1, Some(32)).map_err(|e| Error::Store(e.to_string()))?;
    let mut key = Zeroizing::new([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|e| Error::Store(e.to_string()))?;
    UnboundKey::new(&AES_256_GCM, &*key).map(LessSafeKey::new).map_err(|_| Error::Store("key".into()))
}
