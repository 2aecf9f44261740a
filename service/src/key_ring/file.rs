//! A ring's file: what it says, and how it changes. One writer at a time, whole or not at all.

use super::{KeyError, KeyRing, Pair};
use aws_lc_rs::hmac;
use baton_protocol::b64;
use baton_protocol::key::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, TryLockError};
use std::io::{Error, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct Form {
    v: u8,
    pkcs8: String,
    nonce_secret: String,
    /// Files of before it was there follow the nonce secret.
    #[serde(default)]
    lasting_secret: Option<String>,
    /// Files of before it was there had the lasting one for both.
    #[serde(default)]
    derived_secret: Option<String>,
    /// Files of before it was there get one when a server opens them.
    #[serde(default)]
    next: Option<String>,
    /// A server has started with the next key, and publishes it.
    #[serde(default = "yes")]
    published: bool,
    #[serde(default)]
    older: Vec<Value>,
}

const fn yes() -> bool {
    true
}

/// How often, and how far apart, a folder is asked for that somebody else has locked: whoever may read it could keep it so for ever.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

/// The file at `path`, with no other writer.
struct Held {
    path: PathBuf,
    /// Its folder, locked until this goes: a lock on the file itself would stay on the one that was replaced.
    folder: fs::File,
}

/// What was read of a file.
struct Read {
    ring: KeyRing,
    has_next: bool,
    published: bool,
}

impl KeyRing {
    /// A server reads the ring at `path`, or makes one there when `fresh` says that nothing rests on an older one. From here on the next key counts as
    /// published.
    pub fn open(path: &Path, fresh: bool) -> Result<Self, KeyError> {
        match read(path)? {
            Some(read) if read.has_next && read.published => return Ok(read.ring),
            None if !fresh => return Err(failed(path, ErrorKind::NotFound.into())),
            Some(_) | None => {}
        }
        let held = hold(path)?;
        // Another process may have made it meanwhile.
        let (ring, is_whole) = match read(path)? {
            Some(read) => (read.ring, read.has_next),
            None if fresh => (Self::generate(), false),
            None => return Err(failed(path, ErrorKind::NotFound.into())),
        };
        match held.write(&ring, true) {
            // A secret that is mounted to be read alone: whoever rotates it next is only not believed that this key was published.
            Err(KeyError::File(_, why)) if is_whole && matches!(why.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
                tracing::warn!(target: "baton", path = %path.display(), %why, "the key file does not say that its next key is published");
            }
            other => other?,
        }
        Ok(ring)
    }

    /// Reads the ring at `path`, and writes nothing.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        whole(path).map(|read| read.ring)
    }

    /// The next key signs from the next start on, and another is next; gives its name. What signed until then verifies.
    pub fn rotate(path: &Path) -> Result<String, KeyError> {
        let held = hold(path)?;
        let Read { mut ring, published, .. } = whole(path)?;
        if !published {
            return Err(KeyError::Unpublished);
        }
        let before = std::mem::replace(&mut ring.now, std::mem::replace(&mut ring.next, Pair::generate()));
        ring.older.insert(0, before.public);
        held.write(&ring, false)?;
        Ok(ring.now.kid)
    }

    /// For a file that somebody else has read: another key signs and another is next from the next start on, neither published before; what those in the
    /// file signed does not count, nor do nonces and what was derived of its secrets. Older keys, whose private halves the file does not have, and apps' names for persons stay. Gives
    /// the name of the key that signs.
    pub fn replace(path: &Path) -> Result<String, KeyError> {
        let held = hold(path)?;
        let Read { ring: Self { older, lasting_secret, .. }, .. } = read(path)?.ok_or_else(|| failed(path, ErrorKind::NotFound.into()))?;
        let ring = Self { older, lasting_secret, ..Self::generate() };
        held.write(&ring, false)?;
        Ok(ring.now.kid)
    }

    /// What an older key signed does not count from the next start on.
    pub fn drop_older(path: &Path, kid: &str) -> Result<(), KeyError> {
        let held = hold(path)?;
        let Read { mut ring, published, .. } = whole(path)?;
        let at = ring.older.iter().position(|key| super::name(key) == kid).ok_or_else(|| KeyError::Unknown(kid.into()))?;
        ring.older.remove(at);
        held.write(&ring, published)
    }
}

fn failed(path: &Path, why: Error) -> KeyError {
    KeyError::File(path.display().to_string(), why)
}

fn whole(path: &Path) -> Result<Read, KeyError> {
    match read(path)? {
        Some(read) if read.has_next => Ok(read),
        Some(_) => Err(KeyError::Unpublished),
        None => Err(failed(path, ErrorKind::NotFound.into())),
    }
}

fn read(path: &Path) -> Result<Option<Read>, KeyError> {
    match fs::read(path) {
        Ok(bytes) => parse(&bytes).map(Some).ok_or_else(|| KeyError::Form(path.display().to_string())),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(failed(path, why)),
    }
}

fn parse(bytes: &[u8]) -> Option<Read> {
    let form: Form = serde_json::from_slice(bytes).ok().filter(|form: &Form| form.v == 1)?;
    let nonce_secret = b64::decode_array(&form.nonce_secret).ok()?;
    let lasting_secret = match &form.lasting_secret {
        Some(secret) => b64::decode_array(secret).ok()?,
        None => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &nonce_secret), b"baton/lasting/1").as_ref().try_into().ok()?,
    };
    let derived_secret = match &form.derived_secret {
        Some(secret) => b64::decode_array(secret).ok()?,
        None => lasting_secret,
    };
    let next = match &form.next {
        Some(next) => Pair::parse(next)?,
        None => Pair::generate(),
    };
    let older = form.older.iter().map(|jwk| PublicKey::from_jwk(jwk).ok()).collect::<Option<_>>()?;
    let ring = KeyRing { now: Pair::parse(&form.pkcs8)?, next, older, nonce_secret, derived_secret, lasting_secret };
    Some(Read { ring, has_next: form.next.is_some(), published: form.published })
}

fn hold(path: &Path) -> Result<Held, KeyError> {
    // Where the file is a link to one elsewhere, that one is what changes.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let lock = || {
        let folder = fs::File::open(folder)?;
        for _ in 0..TRIES {
            match folder.try_lock() {
                Ok(()) => return Ok(folder),
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
                Err(TryLockError::Error(why)) => return Err(why),
            }
        }
        Err(ErrorKind::TimedOut.into())
    };
    match lock() {
        Ok(folder) => Ok(Held { path, folder }),
        Err(why) => Err(failed(&path, why)),
    }
}

impl Held {
    fn write(&self, ring: &KeyRing, published: bool) -> Result<(), KeyError> {
        self.put(ring, published).map_err(|why| failed(&self.path, why))
    }

    fn put(&self, ring: &KeyRing, published: bool) -> std::io::Result<()> {
        let form = Form {
            v: 1,
            pkcs8: ring.now.text()?,
            nonce_secret: b64::encode(ring.nonce_secret),
            lasting_secret: Some(b64::encode(ring.lasting_secret)),
            derived_secret: Some(b64::encode(ring.derived_secret)),
            next: Some(ring.next.text()?),
            published,
            older: ring.older.iter().map(PublicKey::jwk_value).collect(),
        };
        // Half a key file would keep every later start from serving.
        let next = self.path.with_extension("new");
        // A writer that died here left one behind; it may be anybody's.
        match fs::remove_file(&next) {
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
            Ok(()) | Err(_) => {}
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        // An operator is seldom the user that the service runs as.
        if let Ok(before) = fs::metadata(&self.path) {
            let made = out.metadata()?;
            // The mode lets no group in: only whose it is matters.
            if before.uid() != made.uid() {
                fchown(&out, Some(before.uid()), Some(before.gid()))?;
            }
        }
        out.write_all(&serde_json::to_vec(&form)?)?;
        out.sync_all()?;
        fs::rename(&next, &self.path)?;
        self.folder.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.key");
        (dir, path)
    }

    fn names(ring: &KeyRing) -> Vec<(Part, String)> {
        ring.parts().map(|(part, kid, _)| (part, kid)).collect()
    }

    fn without(path: &Path, members: &[&str]) {
        let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        file.as_object_mut().unwrap().retain(|name, _| !members.contains(&name.as_str()));
        fs::write(path, file.to_string()).unwrap();
    }

    #[test]
    fn a_ring_comes_back_as_it_was_and_older_files_still_open() {
        let (_dir, path) = place();
        assert!(matches!(KeyRing::open(&path, false), Err(KeyError::File(..))), "never made over a database that has rows");
        let ring = KeyRing::open(&path, true).unwrap();
        let again = KeyRing::open(&path, false).unwrap();
        assert_eq!((again.kid(), again.derived("p", &["x"])), (ring.kid(), ring.derived("p", &["x"])));
        assert_ne!(ring.derived("p", &["x", "y"]), ring.derived("p", &["xy"]));
        assert_ne!(ring.derived("p", &["x"]), ring.derived("q", &["x"]));
        assert_ne!(ring.derived("p", &["x"]), ring.lasting("p", &["x"]));
        // One secret was both.
        without(&path, &["derived_secret"]);
        let older = KeyRing::open(&path, false).unwrap();
        assert_eq!((older.lasting("p", &["x"]), older.derived("p", &["x"])), (ring.lasting("p", &["x"]), ring.lasting("p", &["x"])));
        without(&path, &["derived_secret", "lasting_secret"]);
        let oldest = KeyRing::open(&path, false).unwrap();
        assert_eq!((oldest.kid(), oldest.nonce_secret()), (ring.kid(), ring.nonce_secret()));
        assert_ne!(oldest.lasting("p", &["x"]), ring.lasting("p", &["x"]));
    }

    #[test]
    fn what_was_published_signs_next_and_what_signed_verifies_until_it_is_dropped() {
        let (_dir, path) = place();
        let first = KeyRing::open(&path, true).unwrap();
        let [(Part::Signs, one), (Part::Next, two)] = &names(&first)[..] else { panic!() };
        assert_eq!(KeyRing::rotate(&path).unwrap(), *two);
        assert!(matches!(KeyRing::rotate(&path), Err(KeyError::Unpublished)), "nobody has seen what would sign");
        let second = KeyRing::open(&path, false).unwrap();
        let [(Part::Signs, signs), (Part::Next, three), (Part::Older, older)] = &names(&second)[..] else { panic!() };
        assert_eq!((signs, older), (two, one));
        assert!(![one, two].contains(&three));
        assert_eq!((second.nonce_secret(), second.derived("p", &[])), (first.nonce_secret(), first.derived("p", &[])), "secrets stay");
        assert!(second.key(one).is_some() && second.key(three).is_some());
        for kid in [two, three] {
            assert!(KeyRing::drop_older(&path, kid).is_err(), "neither what signs nor what is next");
        }
        KeyRing::drop_older(&path, one).unwrap();
        let third = KeyRing::open(&path, false).unwrap();
        assert_eq!((third.key(one).is_none(), third.kid()), (true, two.as_str()));
        assert_eq!(KeyRing::rotate(&path).unwrap(), *three, "a server has started since");
    }

    #[test]
    fn nothing_of_a_stolen_file_is_in_what_replaces_it_but_names_for_persons() {
        let (_dir, path) = place();
        KeyRing::open(&path, true).unwrap();
        KeyRing::rotate(&path).unwrap();
        let stolen = KeyRing::open(&path, false).unwrap();
        let kid = KeyRing::replace(&path).unwrap();
        let after = KeyRing::open(&path, false).unwrap();
        assert_eq!(after.kid(), kid);
        let [(_, signed), (_, next), (_, older)] = &names(&stolen)[..] else { panic!() };
        assert!(after.key(signed).is_none() && after.key(next).is_none());
        assert!(after.key(older).is_some(), "its private half was not in the file");
        assert_ne!(after.nonce_secret(), stolen.nonce_secret());
        assert_ne!(after.derived("p", &[]), stolen.derived("p", &[]));
        assert_eq!(after.lasting("p", &[]), stolen.lasting("p", &[]));
    }

    #[test]
    fn a_file_without_a_next_key_gets_one_that_stays_and_reading_writes_nothing() {
        let (_dir, path) = place();
        let ring = KeyRing::open(&path, true).unwrap();
        without(&path, &["next", "older"]);
        let before = fs::read(&path).unwrap();
        assert!(matches!(KeyRing::read(&path), Err(KeyError::Unpublished)));
        assert!(matches!(KeyRing::rotate(&path), Err(KeyError::Unpublished)));
        assert_eq!(fs::read(&path).unwrap(), before);
        let opened = KeyRing::open(&path, false).unwrap();
        assert_eq!((opened.kid(), names(&KeyRing::open(&path, false).unwrap())), (ring.kid(), names(&opened)));
        assert_eq!(names(&KeyRing::read(&path).unwrap()), names(&opened));
    }

    #[test]
    fn writers_take_turns_and_what_one_left_half_done_is_in_nobodys_way() {
        let (dir, path) = place();
        let kids = thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| KeyRing::open(&path, true).unwrap().kid().to_owned())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(kids.windows(2).all(|two| two[0] == two[1]), "one ring for all who started at once");
        fs::write(path.with_extension("new"), "half").unwrap();
        let rotated = thread::scope(|scope| {
            let turns: Vec<_> = (0..8).map(|_| scope.spawn(|| KeyRing::rotate(&path).is_ok())).collect();
            turns.into_iter().filter_map(|turn| turn.join().unwrap().then_some(())).count()
        });
        assert_eq!((rotated, names(&KeyRing::read(&path).unwrap()).len()), (1, 3), "one of them, and none lost");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link_to_what_changed() {
        let (dir, path) = place();
        let elsewhere = tempfile::tempdir().unwrap();
        KeyRing::open(&elsewhere.path().join("there.key"), true).unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("there.key"), &path).unwrap();
        let kid = KeyRing::rotate(&path).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(KeyRing::read(&elsewhere.path().join("there.key")).unwrap().kid(), kid);
        assert_eq!((fs::read_dir(dir.path()).unwrap().count(), fs::read_dir(elsewhere.path()).unwrap().count()), (1, 1));
    }

    #[test]
    fn a_file_stays_its_owners() {
        let (_dir, path) = place();
        KeyRing::open(&path, true).unwrap();
        let nobody = 65534;
        // Only root gives files away, and only root needs to.
        if std::os::unix::fs::chown(&path, Some(nobody), Some(nobody)).is_err() {
            return;
        }
        KeyRing::rotate(&path).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.uid(), after.gid()), (nobody, nobody));
    }
}
