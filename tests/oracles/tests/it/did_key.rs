//! did:key beside did-key 0.2.1 (and, for points, p256 0.14). Oracle and p256 share an author, not a version.

use crate::support::{Key, Says, quietly, rng};
use baton_protocol::key::{Did, PublicKey, resolve};
use baton_protocol::refusal::Vc;
use did_key::{Fingerprint, KeyMaterial, P256KeyPair, from_existing_key};
use p256::ecdsa::VerifyingKey;
use rand::{Rng, rngs::StdRng};

/// did-key's answer: the compressed point, if it takes the text for a P-256 key. What it takes for another curve's is a refusal here.
fn theirs(did: &str) -> Says<Vec<u8>> {
    Says::ask(|| {
        let key = did_key::resolve(did).map_err(|why| format!("{why:?}"))?;
        if key.fingerprint().starts_with("zDn") { Ok(key.public_key_bytes()) } else { Err("another curve".to_owned()) }
    })
}

fn compressed(key: &PublicKey) -> [u8; 33] {
    let mut out = [2 + (key.sec1()[64] & 1); 33];
    out[1..].copy_from_slice(&key.sec1()[1..33]);
    out
}

fn spell(bytes: &[u8]) -> String {
    format!("did:key:z{}", bs58::encode(bytes).into_string())
}

/// Both refuse, or both resolve to the same point and ours spells it so again. Says whether they resolved.
fn agree(did: &str) -> bool {
    let their = theirs(did).yes();
    match (resolve(did), &their) {
        (Ok(our), Some(their)) => {
            assert_eq!(compressed(&our).as_slice(), their, "{did}");
            assert_eq!(our.did().as_str(), did, "a second name");
            assert_eq!(VerifyingKey::from_sec1_bytes(their).unwrap().to_sec1_point(false).as_bytes(), our.sec1(), "{did}");
            true
        }
        (Err(_), None) => false,
        (our, their) => panic!("{did}: ours {our:?}, theirs {their:?}"),
    }
}

#[test]
fn thousands_of_keys_have_the_same_name_and_the_name_the_same_key() {
    let rng = &mut rng();
    for _ in 0..4000 {
        let key = Key::new(rng);
        let did = key.public.did();
        let their = quietly(|| from_existing_key::<P256KeyPair>(key.public.sec1(), None)).unwrap();
        assert_eq!(did.as_str(), format!("did:key:{}", their.fingerprint()));
        assert!(agree(did.as_str()));
        assert_eq!(resolve(did.as_str()).unwrap(), key.public);
        assert_eq!(Did::from_url(&did.url()).unwrap(), did);
    }
}

/// One bit of the 35 bytes, or one character of the text: the same answer, and where it is a key, the same point.
#[test]
fn damaged_names_mean_the_same_to_both() {
    let rng = &mut rng();
    let mut resolved = [0; 2];
    for _ in 0..3000 {
        let key = Key::new(rng).public;
        let mut bytes = [&[0x80, 0x24], &compressed(&key)[..]].concat();
        // Not in the third byte, the point's form: see `forms_of_a_point`.
        let at = [rng.random_range(0..2), rng.random_range(3..35)][usize::from(rng.random_ratio(9, 10))];
        bytes[at] ^= 1 << rng.random_range(0..8);
        resolved[0] += usize::from(agree(&spell(&bytes)));

        let mut text = key.did().as_str().as_bytes().to_vec();
        let at = rng.random_range(15..text.len());
        text[at] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0OIl+-_ "[rng.random_range(0..66)];
        resolved[1] += usize::from(agree(std::str::from_utf8(&text).unwrap()));
    }
    // About half of all x have a point.
    assert!(resolved.iter().all(|n| (1000..2000).contains(n)), "{resolved:?}");
}

/// Coordinates at the edges of the field, and beyond it: x and x + p must not be two names of one point.
#[test]
fn x_at_and_beyond_the_edges_of_the_field() {
    let p = {
        let mut p = [0; 32];
        p[..4].fill(0xff);
        p[7] = 1;
        p[20..].fill(0xff);
        p
    };
    let plus = |base: [u8; 32], n: i64| {
        let (mut x, mut carry) = (base, n);
        for byte in x.iter_mut().rev() {
            let sum = i64::from(*byte) + carry;
            (*byte, carry) = (sum.rem_euclid(256) as u8, sum.div_euclid(256));
        }
        x
    };
    let mut resolved = [0, 0];
    for form in [2, 3] {
        for n in 0..300 {
            for (base, n, beyond) in [([0; 32], n, 0), (p, -1 - n, 0), (p, n, 1), ([0xff; 32], -n, 1)] {
                let did = spell(&[&[0x80, 0x24, form], &plus(base, n)[..]].concat());
                resolved[beyond] += usize::from(agree(&did));
            }
        }
    }
    assert!(resolved[0] > 400 && resolved[1] == 0, "{resolved:?}");
}

#[test]
fn random_lengths_and_multicodecs() {
    let rng = &mut rng();
    for _ in 0..3000 {
        let key = compressed(&Key::new(rng).public);
        let mut bytes = match rng.random_range(0..3) {
            0 => [&[0x80, 0x24], &key[..rng.random_range(0..33)]].concat(),
            1 => [&[0x80, 0x24], &key[..], &random(rng, 40)].concat(),
            _ => [&random(rng, 3), &key[..]].concat(),
        };
        if rng.random() {
            bytes.reverse();
        }
        // 0xed01, 0xe701 and the like are keys of other curves to did-key, and no keys at all to us.
        let did = spell(&bytes);
        if resolve(&did).is_ok() || theirs(&did).yes().is_some() {
            assert!(agree(&did));
            assert_eq!(bytes.len(), 35);
        }
    }
}

fn random(rng: &mut StdRng, most: usize) -> Vec<u8> {
    (0..rng.random_range(1..=most)).map(|_| rng.random()).collect()
}

/// Where we differ on purpose: a key has one name, and a name is nothing but a name.
#[test]
fn what_they_accept_and_we_refuse() {
    let rng = &mut rng();
    for _ in 0..50 {
        let key = Key::new(rng).public;
        let (good, point) = (key.did(), compressed(&key));
        let id = good.as_str().strip_prefix("did:key:").unwrap();
        assert!(agree(good.as_str()));
        let table = [
            ("the uncompressed point", spell(&[&[0x80, 0x24], &key.sec1()[..]].concat()), Vc::Did),
            ("another method", format!("did:web:{id}"), Vc::DidMethod),
            ("a fragment", good.url(), Vc::Did),
            ("an empty fragment", format!("{good}#"), Vc::Did),
            ("another key's fragment", format!("{good}#{}", Key::new(rng).public.did().as_str()), Vc::Did),
            ("a query", format!("{good}?a=b"), Vc::Did),
            ("a path", format!("{good}/a"), Vc::Did),
            ("white space after", format!("{good} "), Vc::Did),
            ("a line end after", format!("{good}\n"), Vc::Did),
            ("a NUL after", format!("{good}\0"), Vc::Did),
        ];
        for (what, did, ours) in table {
            assert_eq!(resolve(&did), Err(ours), "{what}");
            assert_eq!(theirs(&did), Says::Yes(point.to_vec()), "{what}");
        }
        // The compact form (SEC 1 tag 5) names one of two points by rule; they take it, whichever of the two was meant.
        let compact = spell(&[&[0x80, 0x24, 5], &point[1..]].concat());
        assert_eq!(resolve(&compact), Err(Vc::Did));
        assert_eq!(theirs(&compact).yes().unwrap()[1..], point[1..]);
    }
}

/// Every other form byte; and texts both refuse, some of them by a panic of theirs.
#[test]
fn forms_of_a_point_and_texts_that_are_none() {
    let rng = &mut rng();
    let key = Key::new(rng).public;
    let point = compressed(&key);
    for form in (0..=255).filter(|form| ![2, 3, 5].contains(form)) {
        assert!(!agree(&spell(&[&[0x80, 0x24, form], &point[1..]].concat())), "{form}");
    }
    assert!(agree(&spell(&[&[0x80, 0x24, point[0] ^ 1], &point[1..]].concat())), "the other y is another key");
    let did = key.did();
    let good = did.as_str();
    let table = [
        ("nothing", String::new(), "refuses"),
        ("no key", "did:key:".into(), "refuses"),
        ("no bytes", "did:key:z".into(), "panics"),
        ("one byte", spell(&[0x80]), "panics"),
        ("the codec alone", spell(&[0x80, 0x24]), "panics"),
        ("the point at infinity", spell(&[0x80, 0x24, 0]), "panics"),
        ("a byte too many", spell(&[&[0x80, 0x24], &point[..], &[0]].concat()), "panics"),
        ("a byte too few", spell(&[&[0x80, 0x24], &point[..32]].concat()), "panics"),
        ("a zero byte before", spell(&[&[0, 0x80, 0x24], &point[..]].concat()), "refuses"),
        ("the codec as a longer varint", spell(&[&[0x80, 0xa4, 0], &point[..]].concat()), "refuses"),
        ("the codec of P-384", spell(&[&[0x81, 0x24], &point[..]].concat()), "refuses"),
        ("a key of secp256k1", "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme".into(), "refuses"),
        ("a key of Ed25519", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".into(), "refuses"),
        ("another base's letter", good.replace(":zDn", ":mDn"), "refuses"),
        ("another case", good.to_uppercase(), "refuses"),
        ("white space before", format!(" {good}"), "refuses"),
        ("a line end inside", good.replace("zDn", "zD\nn"), "refuses"),
    ];
    for (what, did, theirs_say) in table {
        assert!(resolve(&did).is_err(), "{what}");
        let says = match theirs(&did) {
            Says::Yes(point) => panic!("{what}: {point:?}"),
            says => says.word(),
        };
        assert_eq!(says, theirs_say, "{what}");
    }
}
