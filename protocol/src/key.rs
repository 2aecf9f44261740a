//! P-256 public keys in their three spellings: JWK (RFC 7517), thumbprint (RFC 7638) and `did:key` (W3C CCG did:key, multicodec p256-pub).
//!
//! A `PublicKey` is always a checked point of the curve. Private keys never come near this crate: see [`crate::signer`].

use crate::b64;
use crate::json::Node;
use crate::refusal::{Jose, Vc};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// SHA-256, the one digest of the profile.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    out
}

/// A message's SHA-256, for signatures over it.
pub(crate) struct Digest(digest::Digest);

impl Digest {
    pub(crate) fn of(message: &[u8]) -> Self {
        Self(digest::digest(&SHA256, message))
    }
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// base64url of SHA-256: how digests are written everywhere here.
pub fn hash(bytes: &[u8]) -> String {
    b64::encode(sha256(bytes))
}

/// The `did:web` of a service at this URL (W3C CCG did:web §2.1).
pub fn did_web(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    format!("did:web:{}", rest.replace(':', "%3A").replace('/', ":"))
}

/// A P-256 public key that is known to lie on the curve.
#[derive(Clone)]
pub struct PublicKey {
    sec1: [u8; 65],
    parsed: ParsedPublicKey,
}

/// The public JWK members of the profile, in RFC 7638 order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Jwk {
    /// Always `P-256`.
    pub crv: String,
    /// Always `EC`.
    pub kty: String,
    /// 32 bytes, base64url.
    pub x: String,
    /// 32 bytes, base64url.
    pub y: String,
}

impl PublicKey {
    /// From the uncompressed SEC 1 form.
    pub fn from_sec1(sec1: &[u8; 65]) -> Result<Self, Jose> {
        if sec1[0] != 4 {
            return Err(Jose::Point);
        }
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, sec1).map_err(|_| Jose::Point)?;
        Ok(Self { sec1: *sec1, parsed })
    }

    /// From the compressed SEC 1 form.
    pub fn from_compressed(point: &[u8; 33]) -> Result<Self, Jose> {
        Self::from_sec1(&crate::point::decompress(point).ok_or(Jose::Point)?)
    }

    /// From a JWK object. Private members are refused (RFC 9449 §4.3), unknown ones ignored (RFC 7517 §4).
    pub fn from_jwk(jwk: &Value) -> Result<Self, Jose> {
        let jwk = jwk.as_object().ok_or(Jose::Form)?;
        Self::from_jwk_members(|name| jwk.contains_key(name), |name| jwk.get(name).and_then(Value::as_str))
    }

    /// [`Self::from_jwk`], of JSON as it was read.
    pub(crate) fn from_jwk_node(jwk: &Node<'_>) -> Result<Self, Jose> {
        let jwk = jwk.as_members().ok_or(Jose::Form)?;
        Self::from_jwk_members(|name| jwk.get(name).is_some(), |name| jwk.text(name))
    }

    fn from_jwk_members<'a>(has: impl Fn(&str) -> bool, text: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Jose> {
        if ["d", "p", "q", "dp", "dq", "qi", "k"].iter().any(|private| has(private)) {
            return Err(Jose::PrivateKey);
        }
        if text("kty") != Some("EC") || text("crv") != Some("P-256") {
            return Err(Jose::Alg);
        }
        let mut sec1 = [4; 65];
        for (name, at) in [("x", 1), ("y", 33)] {
            let coordinate = b64::decode_array::<32>(text(name).ok_or(Jose::Point)?).map_err(|_| Jose::Point)?;
            sec1[at..at + 32].copy_from_slice(&coordinate);
        }
        Self::from_sec1(&sec1)
    }

    /// As a JWK.
    pub fn jwk(&self) -> Jwk {
        Jwk { crv: "P-256".into(), kty: "EC".into(), x: b64::encode(&self.sec1[1..33]), y: b64::encode(&self.sec1[33..]) }
    }

    /// As a JSON value, for claims.
    pub fn jwk_value(&self) -> Value {
        let jwk = self.jwk();
        serde_json::json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "y": jwk.y})
    }

    /// RFC 7638 thumbprint with SHA-256: the `jkt` of tokens.
    pub fn thumbprint(&self) -> Thumbprint {
        let (x, y) = (b64::encode(&self.sec1[1..33]), b64::encode(&self.sec1[33..]));
        Thumbprint(hash(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes()))
    }

    /// The key's `did:key`.
    pub fn did(&self) -> Did {
        let mut bytes = [0; 35];
        bytes[..2].copy_from_slice(&P256_PUB);
        bytes[2..].copy_from_slice(&self.compressed());
        Did(format!("did:key:z{}", bs58::encode(bytes).into_string()))
    }

    fn compressed(&self) -> [u8; 33] {
        let mut point = [0; 33];
        point[0] = 2 + (self.sec1[64] & 1);
        point[1..].copy_from_slice(&self.sec1[1..33]);
        point
    }

    /// Uncompressed SEC 1 bytes.
    pub fn sec1(&self) -> &[u8; 65] {
        &self.sec1
    }

    /// Checks an ES256 signature in its 64-byte form (RFC 7518 §3.4). High-s values verify: replay stores never key on signatures.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), Jose> {
        self.verify_digest(&Digest::of(message), signature)
    }
    /// [`Self::verify`] of a message whose digest is wanted for more than this.
    pub(crate) fn verify_digest(&self, message: &Digest, signature: &[u8; 64]) -> Result<(), Jose> {
        self.parsed.verify_digest_sig(&message.0, signature).map_err(|_| Jose::Sig)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.sec1 == other.sec1
    }
}
impl Eq for PublicKey {}
impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.sec1.hash(state);
    }
}
impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.did().as_str())
    }
}

/// A key's RFC 7638 thumbprint, base64url.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[A-Za-z0-9_-]{43}$")))]
#[serde(transparent)]
pub struct Thumbprint(pub String);

impl Thumbprint {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Multicodec `p256-pub` (0x1200) as an unsigned varint.
const P256_PUB: [u8; 2] = [0x80, 0x24];

/// A `did:key` of a P-256 key, in its one canonical spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("pattern" = "^did:key:zDn[1-9A-HJ-NP-Za-km-z]{46}$")))]
#[serde(transparent)]
pub struct Did(String);

impl Did {
    /// Parses; anything but the canonical spelling of a P-256 `did:key` is refused, so no key has two names. Whether the point lies on the
    /// curve is found out by [`Self::key`], which costs half a signature check.
    pub fn parse(text: &str) -> Result<Self, Vc> {
        compressed_point(text).map(|_| Self(text.to_owned()))
    }
    /// A name that was parsed before it was stored.
    pub fn stored(text: String) -> Self {
        Self(text)
    }
    /// A name whose form is checked later, if at all: [`Self::key`] refuses what [`Self::parse`] would have.
    pub(crate) fn unresolved(text: &str) -> Self {
        Self(text.to_owned())
    }
    /// Whether it is this key's name.
    pub fn names(&self, key: &PublicKey) -> bool {
        compressed_point(&self.0).is_ok_and(|point| point == key.compressed())
    }
    /// The key it names.
    pub fn key(&self) -> Result<PublicKey, Vc> {
        resolve(&self.0)
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The DID URL of its one verification method: the `kid` of what the key signs.
    pub fn url(&self) -> String {
        format!("{0}#{1}", self.0, &self.0["did:key:".len()..])
    }
    /// Whether `url` is [`Self::url`].
    pub fn has_url(&self, url: &str) -> bool {
        url.split_once('#').is_some_and(|(did, fragment)| did == self.0 && self.0.strip_prefix("did:key:") == Some(fragment))
    }
    /// Parses a DID URL whose fragment names the DID's own key.
    pub fn from_url(url: &str) -> Result<Self, Vc> {
        let (did, fragment) = url.split_once('#').ok_or(Vc::Did)?;
        if did.strip_prefix("did:key:") != Some(fragment) {
            return Err(Vc::Did);
        }
        Self::parse(did)
    }
}

impl std::fmt::Display for Did {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Did {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        Self::parse(&text).map_err(|_| serde::de::Error::custom("not a P-256 did:key"))
    }
}

/// Resolves a `did:key` to its key, offline. Any other method is `Vc::DidMethod`.
pub fn resolve(did: &str) -> Result<PublicKey, Vc> {
    PublicKey::from_compressed(&compressed_point(did)?).map_err(|_| Vc::Did)
}

/// The compressed point a `did:key` spells.
fn compressed_point(did: &str) -> Result<[u8; 33], Vc> {
    let multibase = did.strip_prefix("did:key:").ok_or(Vc::DidMethod)?;
    let base58 = multibase.strip_prefix('z').ok_or(Vc::Did)?;
    if base58.len() > 64 {
        return Err(Vc::Did);
    }
    let mut bytes = [0; 64];
    let len = bs58::decode(base58).onto(&mut bytes).map_err(|_| Vc::Did)?;
    let point = bytes[..len].strip_prefix(&P256_PUB).ok_or(Vc::DidMethod)?;
    let point: [u8; 33] = point.try_into().map_err(|_| Vc::Did)?;
    if matches!(point[0], 2 | 3) { Ok(point) } else { Err(Vc::Did) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From the did:key specification's P-256 test vectors.
    const W3C: [(&str, &str, &str); 2] = [
        (
            "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",
            "fyNYMN0976ci7xqiSdag3buk-ZCwgXU4kz9XNkBlNUI",
            "hW2ojTNfH7Jbi8--CJUo3OCbH3y5n91g-IMA9MLMbTU",
        ),
        (
            "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv",
            "igrFmi0whuihKnj9R3Om1SoMph72wUGeFaBbzG2vzns",
            "efsX5b10x8yjyrj4ny3pGfLcY7Xby1KzgqOdqnsrJIM",
        ),
    ];

    #[test]
    fn the_did_key_specification_s_p256_vectors() {
        for (did, x, y) in W3C {
            let from_jwk = PublicKey::from_jwk(&serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})).unwrap();
            assert_eq!(from_jwk.did().as_str(), did);
            assert_eq!(resolve(did).unwrap(), from_jwk);
            assert_eq!(Did::from_url(&from_jwk.did().url()).unwrap(), from_jwk.did());
        }
    }

    #[test]
    fn rfc_7638_is_computed_over_the_required_members_in_order() {
        let (did, x, y) = W3C[0];
        let key = resolve(did).unwrap();
        assert_eq!(key.thumbprint().0, hash(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes()));
    }

    #[test]
    fn other_methods_curves_and_spellings_of_a_did_are_refused() {
        let good = W3C[0].0;
        for did in ["did:web:attacker.example", "did:web:169.254.169.254", "did:jwk:e30", "https://a.example", ""] {
            assert_eq!(resolve(did), Err(Vc::DidMethod), "{did}");
        }
        // secp256k1 and Ed25519 keys of the did:key specification.
        assert_eq!(resolve("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"), Err(Vc::DidMethod));
        assert_eq!(resolve("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"), Err(Vc::DidMethod));
        let point = *resolve(good).unwrap().sec1();
        let spell = |bytes: &[u8]| format!("did:key:z{}", bs58::encode(bytes).into_string());
        assert_eq!(resolve(&spell(&[&[0x80, 0x24][..], &point].concat())), Err(Vc::Did), "uncompressed");
        let compressed = [&[2 + (point[64] & 1)][..], &point[1..33]].concat();
        assert_eq!(spell(&[&[0x80, 0x24][..], &compressed].concat()), good);
        assert_eq!(resolve(&spell(&[&[0x80, 0xa4, 0x00][..], &compressed].concat())), Err(Vc::DidMethod), "long varint");
        assert_eq!(resolve(&spell(&[&[0x80, 0x24][..], &compressed, &[0]].concat())), Err(Vc::Did), "trailing byte");
        assert_eq!(resolve(&good.replace("key:z", "key:m")), Err(Vc::Did), "other base");
        let other = W3C[1].0.strip_prefix("did:key:").unwrap();
        assert_eq!(Did::from_url(&format!("{good}#{other}")), Err(Vc::Did), "another key's fragment");
    }

    #[test]
    fn points_off_the_curve_and_odd_lengths_are_refused() {
        let jwk = |x: &[u8], y: &[u8]| serde_json::json!({"kty": "EC", "crv": "P-256", "x": b64::encode(x), "y": b64::encode(y)});
        let key = resolve(W3C[0].0).unwrap();
        let (x, y) = (&key.sec1()[1..33], &key.sec1()[33..]);
        assert!(PublicKey::from_jwk(&jwk(x, y)).is_ok());
        for (x, y) in [(&[0; 32][..], &[0; 32][..]), (&[0xff; 32], y), (x, &[0xff; 32]), (y, x), (&x[1..], y), (&[&[0], x].concat(), y)] {
            assert_eq!(PublicKey::from_jwk(&jwk(x, y)), Err(Jose::Point));
        }
        let mut private = jwk(x, y);
        private["d"] = "AA".into();
        assert_eq!(PublicKey::from_jwk(&private), Err(Jose::PrivateKey));
    }

    proptest! {
        #[test]
        fn resolving_never_panics(text in "did:key:z[1-9A-HJ-NP-Za-km-z]{40,52}") { let _ = resolve(&text); }
        #[test]
        fn every_compressed_point_has_one_did(odd in any::<bool>(), x in any::<[u8; 32]>()) {
            let mut bytes = vec![0x80, 0x24, 2 + u8::from(odd)];
            bytes.extend_from_slice(&x);
            let did = format!("did:key:z{}", bs58::encode(&bytes).into_string());
            // Half of all x have a point.
            if let Ok(key) = resolve(&did) {
                prop_assert_eq!(key.did().to_string(), did);
                prop_assert_eq!(PublicKey::from_sec1(key.sec1()).unwrap(), key);
            }
        }
    }
}
