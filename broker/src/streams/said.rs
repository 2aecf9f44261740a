//! What a device says on its stream: volatile updates, checked as updates are and passed on, kept by nobody; and what it [asks](super::asked).

use super::asked::Asked;
use crate::routes::updates;
use crate::state::Broker;
use crate::store::{sessions, switches};
use baton_protocol::access_token::AccessToken;
use baton_protocol::event::Frame;
use baton_protocol::refusal::Token;
use baton_protocol::session::{Kind, SealedUpdate};
use baton_protocol::standing::Standing;
use baton_protocol::time::Millis;
use baton_service::edge;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde_json::Value;
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
    let is_volatile = text.starts_with(r#"{"type":"volatile""#);
    if !is_volatile && let Some(update) = updates::plain_frame(text.as_bytes()) {
        return Some(Said::Asked(Asked::Update(update)));
    }
    let Ok(Value::Object(mut frame)) = edge::json(text.as_bytes()) else { return None };
    let kind = frame.remove("type")?;
    let said = match kind.as_str()? {
        "volatile" => {
            let update = updates::read(frame.remove("update")?).ok()?;
            (update.place.kind == Kind::Volatile).then_some(Said::Volatile(update))?
        }
        "renew" => match (frame.remove("token")?, frame.remove("proof")?) {
            (Value::String(token), Value::String(proof)) => Said::Asked(Asked::Renew { token, proof }),
            _ => return None,
        },
        _ => return None,
    };
    frame.is_empty().then_some(said)
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
