//! What a device asks for on its stream as it might over HTTP: an update to be kept, a token to go on with.

use crate::routes::events::{NEEDS, PATH};
use crate::routes::updates;
use crate::state::Broker;
use baton_protocol::access_token::AccessToken;
use baton_protocol::event::Frame;
use baton_protocol::refusal::{Dpop, Handoff, Refusal, Token};
use baton_protocol::session::SealedUpdate;
use baton_service::guard::{self, Candidate};
use baton_service::problem::{InternalExt as _, Problem};
use std::sync::Arc;

/// What it asks.
pub enum Asked {
    /// To write.
    Update(SealedUpdate),
    /// To go on with this token, of which it has this proof.
    Renew {
        /// The token.
        token: String,
        /// The proof.
        proof: String,
    },
}

/// The answer.
pub struct Answer {
    /// As the device is told.
    pub frame: Frame,
    /// The token to go on with, where there is a new one.
    pub token: Option<Arc<AccessToken>>,
    /// Why it was refused.
    pub refused: Option<Refusal>,
    /// Whether it counts against what the device may say: what is new in a session costs a commit, and this did not.
    pub counts: bool,
}

/// Answers it. `token` is the stream's; `is_proven` says whether a proof for it was seen on this stream.
pub async fn answer(broker: Arc<Broker>, token: Arc<AccessToken>, is_proven: bool, asked: Asked) -> Answer {
    match asked {
        Asked::Update(update) => {
            let (session, seq, hash) = (update.place.session.clone(), update.place.seq, update.hash());
            match write(&broker, token, is_proven, &update).await {
                Ok(is_new) => Answer { frame: Frame::Written { session, seq, hash }, token: None, refused: None, counts: !is_new },
                Err(problem) => {
                    let (code, _, refused) = problem.told();
                    Answer { frame: Frame::Unwritten { session, hash, code: code.into() }, token: None, refused, counts: true }
                }
            }
        }
        Asked::Renew { token: text, proof } => match renew(&broker, &token, &text, &proof).await {
            Ok(new) => Answer { frame: Frame::Renewed { until: new.exp }, token: Some(new), refused: None, counts: false },
            Err(problem) => {
                let (code, nonce, refused) = problem.told();
                Answer { frame: Frame::Unrenewed { code: code.into(), nonce }, token: None, refused, counts: false }
            }
        },
    }
}

/// A ticket was given for a proof, and whoever brought it here may have found it: what is kept wants the key itself.
async fn write(broker: &Arc<Broker>, token: Arc<AccessToken>, is_proven: bool, update: &SealedUpdate) -> Result<bool, Problem> {
    if !token.has_scope("session:write") {
        return Err(Token::Scope.into());
    }
    if !is_proven {
        return Err(Dpop::Missing.into());
    }
    updates::write(broker, Candidate::already_proven(token), update).await
}

async fn renew(broker: &Broker, old: &AccessToken, text: &str, proof: &str) -> Result<Arc<AccessToken>, Problem> {
    let candidate = guard::candidate_on_stream(&broker.base, &broker.tokens, text, proof, "GET", PATH)?;
    let mut tx = broker.base.db.begin().await.internal()?;
    let caller = candidate.admit(&broker.base, &broker.freshness, &mut tx).await?;
    caller.needs(NEEDS)?;
    if caller.token.device != old.device || caller.token.sub != old.sub {
        return Err(Token::Binding.into());
    }
    if caller.token.narrowed_to().is_some() {
        return Err(Handoff::Binding.into());
    }
    broker.freshness.check(broker.base.now())?;
    tx.commit().await.internal()?;
    Ok(caller.token)
}
