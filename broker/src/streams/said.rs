//! What a device says on its stream: volatile updates, checked as updates are and passed on, kept by nobody; and what it [asks](super::asked).

use super::asked::Asked;
use crate::state::Broker;
use crate::store::{sessions, switches};
use baton_protocol::access_token::AccessToken;
use baton_protocol::event::{self, Frame};
use baton_protocol::refusal::Token;
use baton_protocol::session::SealedUpdate;
use baton_protocol::standing::Standing;
use baton_protocol::time::Millis;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WebSocketFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// How many it may send at once, and how many a second after that.
const BURST: i64 = 64;
const EACH_SECOND: i64 = 32;

/// What it says.
pub enum Said {
    /// What is passed on.
    Volatile(SealedUpdate),
    /// What is answered.
    Asked(Asked),
}

/// Reads a frame; `None` when a device has nothing of the kind to say.
pub fn read(text: &str) -> Option<Said> {
    Some(match baton_protocol::said::frame(text)? {
        event::Said::Volatile { update } => Said::Volatile(update),
        event::Said::Update { update } => Said::Asked(Asked::Update(update)),
        event::Said::Renew { token, proof } => Said::Asked(Asked::Renew { token, proof }),
    })
}

/// How much a device may still say, on all its streams.
#[derive(Debug)]
pub struct Budget {
    left: i64,
    counted_at: Millis,
}

impl Budget {
    /// Nothing was said yet.
    pub const fn new(now: Millis) -> Self {
        Self { left: BURST, counted_at: now }
    }
    /// Whether it has been earned back.
    pub fn is_whole(&self, now: Millis) -> bool {
        self.left + (now.0 - self.counted_at.0).max(0) * EACH_SECOND / 1000 >= BURST
    }
    /// Takes one; false when there is none.
    pub fn take(&mut self, now: Millis) -> bool {
        // Whole ones alone, and what is left of the time counts on: many small steps earn no less than one large.
        let earned = (now.0 - self.counted_at.0).max(0) * EACH_SECOND / 1000;
        if self.left + earned >= BURST {
            (self.left, self.counted_at) = (BURST, now);
        } else if earned > 0 {
            (self.left, self.counted_at) = (self.left + earned, Millis(self.counted_at.0 + earned * 1000 / EACH_SECOND));
        }
        let may = self.left > 0;
        self.left -= i64::from(may);
        may
    }
}

/// Frames as they go over a connection.
pub fn written_out(frames: &[Frame]) -> Result<Vec<u8>, tungstenite::Error> {
    let mut all = Vec::new();
    for frame in frames {
        let text = serde_json::to_string(frame).map_err(std::io::Error::other)?;
        WebSocketFrame::message(text, OpCode::Data(Data::Text), true).format(&mut all)?;
    }
    Ok(all)
}

/// Passes a volatile update on, if its device may write into that session just now.
pub async fn pass(broker: &Broker, token: &AccessToken, standing: &Standing, update: SealedUpdate) -> Result<(), Problem> {
    if !token.has_scope("session:write") {
        return Err(Token::Scope.into());
    }
    let mut db = broker.base.db.reader().acquire().await.internal()?;
    let place = &update.place;
    let session = sessions::find(&mut db, place.session.as_str(), &token.sub).await.internal()?.filter(|session| session.app == standing.app);
    let session = session.ok_or(NOT_FOUND)?;
    let is_member = switches::is_member(&mut db, standing).await.internal()?;
    if !is_member && !session.is_held_by(&standing.device) {
        return Err(NOT_FOUND.into());
    }
    session.may_write(&standing.device, is_member, place.epoch, place.key_version)?;
    drop(db);
    // Written out once for all of them.
    let frame = written_out(&[Frame::Volatile { update }]).map_err(|why| Problem::Internal(why.to_string()))?;
    broker.bell.pass(&token.sub, &standing.device, &frame).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_and_earned() {
        let mut budget = Budget::new(Millis(0));
        assert_eq!((0..100).filter(|_| budget.take(Millis(0))).count(), BURST as usize);
        let earned = (1..=100).filter(|n| budget.take(Millis(10 * n))).count();
        assert!((EACH_SECOND as usize - 2..=EACH_SECOND as usize).contains(&earned), "{earned}");
        assert!(budget.take(Millis(100_000)));
        assert!(!Budget { left: 0, counted_at: Millis(5000) }.take(Millis(0)), "a clock set back earns nothing");
    }
}
