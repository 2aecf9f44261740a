//! Software keys: P-256 for signing and for agreement. An enclave or WebCrypto stands in by implementing [`Signer`].

use baton_protocol::key::PublicKey;
use baton_protocol::ports::Entropy;
use baton_protocol::secret::Secret;
use baton_protocol::signer::{SignError, Signer};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{FieldBytes, SecretKey};

/// A P-256 private key in memory.
#[derive(Clone)]
pub struct SoftKey {
    secret: SecretKey,
    public: PublicKey,
}

impl SoftKey {
    /// A fresh key.
    pub fn generate(entropy: &Entropy) -> Self {
        loop {
            // One try in 2^32 is not a scalar of the curve.
            if let Some(key) = Self::from_scalar(&Secret::new(entropy.bytes())) {
                return key;
            }
        }
    }

    /// From a scalar; `None` when it is zero or not below the order.
    pub fn from_scalar(scalar: &Secret<[u8; 32]>) -> Option<Self> {
        let secret = SecretKey::from_bytes(&FieldBytes::from(*scalar.expose())).ok()?;
        let point = secret.public_key().to_sec1_point(false);
        let public = PublicKey::from_sec1(point.as_bytes().try_into().ok()?).ok()?;
        Some(Self { secret, public })
    }

    /// The scalar, to be stored sealed.
    pub fn scalar(&self) -> Secret<[u8; 32]> {
        Secret::new(self.secret.to_bytes().into())
    }

    /// Signs at once: software keys need not wait for anybody.
    pub fn sign_now(&self, input: &[u8]) -> [u8; 64] {
        tracing::trace!(target: "baton::signature", "made");
        let signature: Signature = SigningKey::from(&self.secret).sign(input);
        signature.to_bytes().into()
    }
}

impl Signer for SoftKey {
    fn key(&self) -> &PublicKey {
        &self.public
    }
    async fn sign(&self, input: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.sign_now(input))
    }
}

impl std::fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoftKey({})", self.public.did())
    }
}
