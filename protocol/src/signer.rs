//! How a private key is used without this crate ever seeing it: a software key, a platform enclave and WebCrypto all fit behind it.

use crate::jose::Draft;
use crate::key::PublicKey;
use std::future::Future;

/// A key holder could not sign (locked, removed, refused by its user).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct SignError;

/// Something that holds one P-256 private key.
pub trait Signer: Send + Sync {
    /// The public half.
    fn key(&self) -> &PublicKey;
    /// ES256 over `input`, as 64 bytes (RFC 7518 §3.4).
    fn sign(&self, input: &[u8]) -> impl Future<Output = Result<[u8; 64], SignError>> + Send;
    /// Signs a draft into compact form.
    fn seal(&self, draft: Draft) -> impl Future<Output = Result<String, SignError>> + Send {
        async move {
            let signature = self.sign(draft.signing_input()).await?;
            Ok(draft.signed(&signature))
        }
    }
}
