//! Security events: one for each refusal, with the precise reason that the answer withholds. Never a token, a code, a name or a nonce.

use baton_protocol::Refusal;
use baton_protocol::refusal::{Dpop, Oauth};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// How many the process remembers; the log has them all.
const KEPT: usize = 256;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which service.
    pub service: &'static str,
    /// The route, as it is written in the router: `/broker/v1/sessions/{id}`.
    pub path: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Why.
    pub refusal: Refusal,
}

/// Refusals that every honest client meets: they are not to drown the others.
fn is_routine(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::Dpop(Dpop::Nonce) | Refusal::Oauth(Oauth::AuthorizationPending | Oauth::SlowDown))
}

/// Where security events go: the log, and a short memory for operators and tests.
#[derive(Debug, Clone, Default)]
pub struct Audit(Arc<Mutex<VecDeque<Event>>>);

impl Audit {
    /// Notes one.
    pub fn note(&self, event: Event) {
        let Event { service, path, status, refusal } = &event;
        let (family, code, reason) = (crate::problem::family(refusal), refusal.code(), refusal.reason());
        if is_routine(*refusal) {
            tracing::debug!(target: "security", service, path, status, family, code, reason, "refused");
        } else {
            tracing::warn!(target: "security", service, path, status, family, code, reason, "refused");
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
    }
    /// The last ones, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
    /// Takes the memory.
    pub fn take(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}
