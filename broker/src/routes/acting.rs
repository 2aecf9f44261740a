//! One step by one device: admitted, in one transaction, with the session it is about.

use crate::state::Broker;
use crate::store::{events, handoffs, sessions, switches};
use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, Method, Uri, request::Parts};
use baton_protocol::Refusal;
use baton_protocol::credential::Tier;
use baton_protocol::handoff::chain::{Chain, Statement};
use baton_protocol::handoff::machine::By;
use baton_protocol::id::SessionId;
use baton_protocol::key::Did;
use baton_protocol::nonce::Purpose;
use baton_protocol::presentation::{self, Expected, TransactionData};
use baton_protocol::refusal::{Handoff, Kb, State as StateRefusal, Status, Token};
use baton_protocol::time::Millis;
use baton_service::edge;
use baton_service::guard::{self, Caller, Candidate};
use baton_service::once::{self, Use};
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{Any, Transaction};
use std::convert::Infallible;

/// Method, path and headers of a request: what a proof is checked against.
pub struct Ask {
    /// Method.
    pub method: Method,
    /// Path below the service, with query.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Ask {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self { method: parts.method.clone(), uri: parts.uri.clone(), headers: parts.headers.clone() })
    }
}

/// A step under way.
pub struct Acting<'a> {
    /// The broker.
    pub broker: &'a Broker,
    /// The transaction.
    pub tx: Transaction<'static, Any>,
    /// The device.
    pub caller: Caller,
    /// One instant for the whole step.
    pub now: Millis,
}

fn candidate(broker: &Broker, ask: &Ask) -> Result<Candidate, Problem> {
    guard::candidate(&broker.base, &broker.tokens, &ask.headers, ask.method.as_str(), ask.uri.path())
}

impl<'a> Acting<'a> {
    /// Checks token and proof, begins the transaction, admits the device, and demands the scope. For requests without a body.
    pub async fn begin(broker: &'a Broker, ask: &Ask, scope: &str) -> Result<Self, Problem> {
        Self::admit(broker, candidate(broker, ask)?, scope).await
    }

    /// [`Self::begin`] for requests with a body, which is read before anything is held: a slow sender holds up nobody.
    pub async fn begin_with<T: DeserializeOwned>(
        broker: &'a Broker,
        ask: &Ask,
        scope: &str,
        content: Body,
        max: usize,
    ) -> Result<(Self, T), Problem> {
        let (acting, bytes) = Self::read_and_admit(broker, ask, scope, content, max).await?;
        Ok((acting, edge::json(&bytes)?))
    }

    /// [`Self::begin_with`] for what only full devices may do: a limited one is told so before its body is looked at.
    pub async fn begin_full<T: DeserializeOwned>(
        broker: &'a Broker,
        ask: &Ask,
        scope: &str,
        content: Body,
        max: usize,
    ) -> Result<(Self, T), Problem> {
        let (acting, bytes) = Self::read_and_admit(broker, ask, scope, content, max).await?;
        acting.caller.needs_full()?;
        Ok((acting, edge::json(&bytes)?))
    }

    async fn read_and_admit(broker: &'a Broker, ask: &Ask, scope: &str, content: Body, max: usize) -> Result<(Self, Bytes), Problem> {
        let (candidate, bytes) = Self::read(broker, ask, scope, content, max).await?;
        Ok((Self::admit(broker, candidate, scope).await?, bytes))
    }

    /// Checks token and proof, and reads the body; nothing is held or consumed yet.
    pub async fn read(broker: &Broker, ask: &Ask, scope: &str, content: Body, max: usize) -> Result<(Candidate, Bytes), Problem> {
        let candidate = candidate(broker, ask)?;
        if !candidate.token().has_scope(scope) {
            return Err(Token::Scope.into());
        }
        Ok((candidate, edge::bytes(content, max).await?))
    }

    /// Begins the transaction and admits the device.
    pub async fn admit(broker: &'a Broker, candidate: Candidate, scope: &str) -> Result<Self, Problem> {
        let mut tx = broker.base.db.begin().await.internal()?;
        let caller = candidate.admit(&broker.base, &broker.freshness, &mut tx).await?;
        caller.needs(scope)?;
        Ok(Self { broker, tx, caller, now: broker.base.now() })
    }

    /// The device.
    pub fn device(&self) -> &Did {
        &self.caller.standing.device
    }
    /// As the handoff machine knows it: one that is no member is like a limited one.
    pub async fn by(&mut self) -> Result<By, Problem> {
        let tier = if self.is_member().await? { Tier::Full } else { Tier::Limited };
        Ok(By { device: self.device().clone(), tier })
    }
    /// Whether it has the sessions of the others.
    pub async fn is_member(&mut self) -> Result<bool, Problem> {
        switches::is_member(&mut self.tx, &self.caller.standing).await.internal()
    }
    /// The subject.
    pub fn log(&self) -> &str {
        &self.caller.standing.log
    }

    /// The session, held, to act on. A device that is no member and held it once may still be told that it is too late.
    pub async fn session(&mut self, id: &SessionId) -> Result<sessions::Session, Problem> {
        self.session_for(id, true).await
    }

    /// The session, held, to read. A device that is no member reads what it holds and what was handed to it, nothing it once held.
    pub async fn readable(&mut self, id: &SessionId) -> Result<sessions::Session, Problem> {
        self.session_for(id, false).await
    }

    /// Refuses a device that has this session neither by holding it nor as a member: it is told no more than a stranger.
    pub async fn needs_member(&mut self, session: &sessions::Session) -> Result<(), Problem> {
        if session.is_held_by(self.device()) || self.is_member().await? { Ok(()) } else { Err(NOT_FOUND.into()) }
    }

    /// Refuses a token for one session where all are told of.
    pub fn needs_wide(&self) -> Result<(), Handoff> {
        if self.caller.token.narrowed_to().is_none() { Ok(()) } else { Err(Handoff::Binding) }
    }

    /// By when leases have lapsed.
    pub fn leases_now(&self) -> Millis {
        self.broker.leases_now(self.now)
    }

    /// Whether the token is for this session or for all.
    pub fn allows(&self, session: &str) -> bool {
        self.caller.token.narrowed_to().is_none_or(|only| only == session)
    }

    /// Another subject's session is not there; a token narrowed to another session is refused.
    async fn session_for(&mut self, id: &SessionId, former: bool) -> Result<sessions::Session, Problem> {
        if !self.allows(id.as_str()) {
            return Err(Handoff::Binding.into());
        }
        let log = self.log().to_owned();
        let mut session = sessions::hold(&mut self.tx, id, &log).await.internal()?.filter(|s| s.app == self.caller.standing.app).ok_or(NOT_FOUND)?;
        self.settle(&mut session).await?;
        if !session.is_held_by(self.device()) && !self.is_member().await? && !self.concerns(&session, former).await? {
            return Err(NOT_FOUND.into());
        }
        Ok(session)
    }

    /// Whether a session concerns this device: held by it, accepted by it, or (`former`) held by it once.
    pub async fn concerns(&mut self, session: &sessions::Session, former: bool) -> Result<bool, Problem> {
        let me = self.device().clone();
        let holds = session.is_held_by(&me) || session.chain().is_some_and(|chain| *chain.holder() == me);
        if holds || handoffs::is_accepted_by(&mut self.tx, session.open_handoff.as_deref(), &me).await.internal()? {
            return Ok(true);
        }
        if former { sessions::ever_held(&mut self.tx, &session.session_id, &me).await.internal() } else { Ok(false) }
    }

    /// Ends a handoff whose time is over, so that the session is what it says.
    pub async fn settle(&mut self, session: &mut sessions::Session) -> Result<(), Problem> {
        let Some(open) = session.open_handoff.clone() else { return Ok(()) };
        let log = session.log.clone();
        let row = handoffs::hold(&mut self.tx, &open, &log).await.internal()?;
        let row = row.filter(|row| row.machine().is_some()).ok_or_else(|| Problem::Internal("open handoff is not there".into()))?;
        if handoffs::settle(&mut self.tx, &row, &log, self.now).await.internal()? {
            session.open_handoff = None;
        }
        Ok(())
    }

    /// Takes a statement into the session's chain and writes both. Gives the broker's acceptance.
    pub async fn accept(&mut self, session: &sessions::Session, statement: &Statement, hash: &str, text: &str) -> Result<String, Problem> {
        if statement.device != *self.device() || statement.session.as_str() != session.session_id {
            return Err(Handoff::Statement.into());
        }
        let chain: Chain = session.chain().ok_or_else(|| Problem::Internal("stored chain does not parse".into()))?;
        let next = chain.apply(statement, hash.to_owned())?;
        let seat = session.seat().after(statement, &next, self.now);
        if !sessions::advance(&mut self.tx, session, &next, &seat, self.now).await.internal()? {
            return Err(Handoff::Statement.into());
        }
        let accepted = self.broker.accept(&statement.session, hash);
        sessions::add_statement(&mut self.tx, &session.session_id, session.chain_n, hash, text, &accepted).await.internal()?;
        Ok(accepted)
    }

    /// The answer to a statement that was accepted before: a repeat after a lost reply.
    pub async fn repeated(&mut self, session: &sessions::Session, hash: &str) -> Result<Option<Value>, Problem> {
        let accepted = sessions::acceptance(&mut self.tx, &session.session_id, hash).await.internal()?;
        Ok(accepted.map(|accepted| json!({"accepted": accepted, "session": view(session, self.leases_now())})))
    }

    /// Checks a presentation by the calling device over `data`. A nonce of ours is consumed; a challenge is consumed by the step itself.
    pub async fn present(&mut self, text: Option<&str>, challenge: Option<&str>, data: &[TransactionData]) -> Result<(), Problem> {
        let text = text.ok_or(Handoff::Presentation)?;
        let base = &self.broker.base;
        let nonce = |nonce: &str, jkt: &_| match challenge {
            Some(challenge) => nonce == challenge,
            None => base.accepts_nonce(Purpose::Presentation, nonce, jkt),
        };
        let expected = Expected { audience: &base.url, nonce: &nonce, transaction_data: data, required_claims: &[] };
        let pending = presentation::verify(text, &expected, &(), self.now)?;
        let credential = pending.credential();
        if credential.visible.sub != *self.device() || credential.key.thumbprint() != self.caller.token.cnf.jkt {
            return Err(Handoff::Binding.into());
        }
        if credential.hash != self.caller.standing.credential_hash {
            return Err(Status::Revoked.into());
        }
        if challenge.is_none()
            && !once::consume(&mut self.tx, &Use::new("presentation", pending.nonce(), self.now.plus_secs(120))).await.internal()?
        {
            return Err(Kb::Replay.into());
        }
        Ok(())
    }

    /// Notes what happened.
    pub async fn event(&mut self, new: &events::New<'_>) -> Result<(), Problem> {
        let log = self.log().to_owned();
        events::append(&mut self.tx, &log, new, self.now).await.internal()
    }

    /// Commits and wakes the subject's streams.
    pub async fn commit(self) -> Result<(), Problem> {
        // What was decided on news that went stale meanwhile is not written.
        self.broker.freshness.check(self.broker.base.now())?;
        self.tx.commit().await.internal()?;
        self.broker.bell.ring(&self.caller.standing.log);
        Ok(())
    }
}

/// A session as its owner sees it.
pub fn view(session: &sessions::Session, leases_now: Millis) -> Value {
    json!({
        "session": session.session_id, "app": session.app, "mode": session.mode, "phase": session.phase(leases_now), "epoch": session.epoch,
        "holder": session.holder, "lease_until": session.lease_until, "key_version": session.key_version,
        "rekey_required": session.rekey_since.is_some(), "head": session.head(), "chain_head": session.chain_head, "open_handoff": session.open_handoff,
    })
}

/// A session id from a path.
pub fn session_id(text: &str) -> Result<SessionId, Refusal> {
    Ok(SessionId::parse(text)?)
}

/// Reads a signed statement.
pub fn statement(text: &str) -> Result<(Statement, String), Refusal> {
    Ok(Statement::read(text)?)
}

/// A refusal by the session's own rules; says where it is now when it has moved on.
pub fn refused(session: &sessions::Session) -> impl Fn(Refusal) -> Problem {
    let (epoch, head) = (session.epoch, session.head());
    move |refusal| match refusal {
        Refusal::Handoff(Handoff::Fenced) => Problem::from(refusal).with("epoch", epoch),
        Refusal::State(StateRefusal::Conflict) => Problem::from(refusal).with("head", json!(head)),
        _ => refusal.into(),
    }
}

/// Refused because the session moved on; says where it is now.
pub fn fenced(session: &sessions::Session) -> Problem {
    refused(session)(Handoff::Fenced.into())
}

/// Refuses steps on a session that has ended.
pub fn live(session: &sessions::Session) -> Result<(), Problem> {
    if session.seat().is_live { Ok(()) } else { Err(Handoff::State.into()) }
}
