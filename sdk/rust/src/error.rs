//! What can go wrong, as an app wants to know it.

use baton_protocol::Refusal;
use baton_protocol::refusal::{Handoff, Jose, Log, State, Vc, Vp, Wrap};
use baton_protocol::signer::SignError;
use serde_json::Value;

/// An SDK failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A service refused, with its stable code.
    #[error("refused: {code} ({status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The stable code of docs/protocol.md.
        code: String,
        /// The whole answer.
        body: Value,
    },
    /// This device's own check failed: somebody, perhaps a service, is not telling the truth.
    #[error("own check failed: {0}")]
    Check(Refusal),
    /// A relying service's request that this device does not answer: who asks, for what, or where the answer would go. Nothing was told to anybody.
    #[error("not answered: {code} ({reason})")]
    NotAnswered {
        /// `vp.request`, or `vp.unmet` when its credential is not what is asked for.
        code: &'static str,
        /// The precise cause.
        reason: &'static str,
    },
    /// Content that is no document, or a register that none can have.
    #[error("state.form: no document")]
    NotADocument,
    /// A document with more in it than one update holds.
    #[error("state.size: the document is too large")]
    TooLarge,
    /// Nobody answered, after retries.
    #[error("no answer: {0}")]
    Transport(String),
    /// A service answered something that is not the protocol.
    #[error("unexpected answer: {0}")]
    Answer(&'static str),
    /// The keystore failed.
    #[error("keystore: {0}")]
    Store(String),
    /// The key holder did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Error {
    /// The stable code, where there is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Check(refusal) => Some(refusal.code()),
            Self::NotAnswered { code, .. } => Some(code),
            Self::NotADocument => Some("state.form"),
            Self::TooLarge => Some("state.size"),
            _ => None,
        }
    }
    /// Whether a service refused with this code.
    pub fn is(&self, wanted: &str) -> bool {
        self.code() == Some(wanted)
    }
}

macro_rules! own_checks {
    ($($family:ty),*) => { $(impl From<$family> for Error { fn from(why: $family) -> Self { Self::Check(why.into()) } })* };
}
own_checks!(Handoff, Jose, Log, State, Vc, Vp, Wrap);

impl From<Refusal> for Error {
    fn from(why: Refusal) -> Self {
        Self::Check(why)
    }
}
