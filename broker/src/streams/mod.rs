//! Event streams: the database is the truth; the bell wakes, and remembers what was committed last. A stream ends within a second of its token's or device's
//! end. What devices say to each other on them is passed on and not kept; what they write on them is written as what they post.

mod asked;
mod bell;
mod line;
mod said;
mod telling;

pub use bell::Bell;
pub use said::Budget;

use crate::presence::Place;
use crate::state::Broker;
use crate::store::events::Row;
use asked::{Answer, Asked};
use axum::extract::MatchedPath;
use baton_protocol::access_token::AccessToken;
use baton_protocol::event::{Frame, MAX_SAID, Present};
use baton_protocol::refusal::Refusal;
use baton_protocol::session::SealedUpdate;
use baton_protocol::time::Millis;
use baton_service::audit::{self, Audit};
use baton_service::problem::{self, Problem};
use futures_util::{SinkExt as _, StreamExt as _};
use line::End;
use said::Said;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use telling::check;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

/// Close codes of attacks.md.
const EXPIRED: u16 = 4401;
const REVOKED: u16 = 4403;
const GOING_AWAY: u16 = 1001;
const TOO_SLOW: u16 = 1013;
const INTERNAL: u16 = 1011;
/// Never sent: there is nobody to tell.
const BROKEN: u16 = 1006;

/// How often a stream looks at what it knows, outside of tests.
pub const TICK: Duration = Duration::from_secs(1);
/// How often it looks into the database without being woken, in ticks.
const LOOK_EVERY: u32 = 4;
/// How long a peer may leave a frame unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a peer is asked whether it is still there, and how long it may then say nothing, in ticks: a device that was killed or left the network is
/// gone within 45 s, without a word.
const PING_EVERY: u32 = 15;
const SILENT: u32 = 40;
/// Why a peer that says what nobody asked for is sent away (RFC 6455 §7.4.1), or says too much.
const PROTOCOL: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const NO_TEXT: u16 = 1007;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;
const TOO_MUCH: u16 = 4429;

/// What a stream reads at once. It is there ten thousand times, and mostly silent.
const BUFFER: usize = 1024;

/// A stream's connection.
pub type Socket = WebSocketStream<End>;

/// What a stream waits for.
enum What {
    Tick,
    Rung,
    Stopping,
    Came(Option<Result<Message, tungstenite::Error>>),
    Answered(Answer),
    Broken,
}

/// An answer that is being found.
type Finding = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// It, when there is one.
async fn found(finding: &mut Option<Finding>) -> Answer {
    match finding {
        Some(finding) => finding.await,
        None => std::future::pending().await,
    }
}

/// Speaks WebSocket on a connection that has just been upgraded, after what was read of it already.
pub async fn speaks(socket: TcpStream, read: Vec<u8>) -> Socket {
    let end = End::over(socket);
    let sizes =
        WebSocketConfig::default().max_message_size(Some(MAX_SAID)).max_frame_size(Some(MAX_SAID)).read_buffer_size(BUFFER).write_buffer_size(0);
    WebSocketStream::from_partially_read(end, read, Role::Server, Some(sizes)).await
}

/// A stream that is open. It is boxed once, for there are ten thousand of them.
pub struct Open {
    /// What it tells, and to whom.
    pub stream: Stream,
    /// Its device's place among those that are there.
    pub place: Place,
    /// Its connection.
    pub socket: Socket,
}

impl Open {
    /// Serves it until it ends. One that begins where history is gone is told so.
    pub async fn serve(mut self: Box<Self>, resume_at: Option<i64>) {
        if let Some(resume_at) = resume_at
            && Box::pin(send(&mut self.socket, &[Frame::Gap { resume_at }])).await.is_err()
        {
            return;
        }
        let Self { stream, place, socket } = &mut *self;
        place.told(stream.cursor);
        stream.broker.bell.ring(&stream.token.sub);
        let code = stream.speak(place, socket).await;
        socket.get_ref().line().hear(false);
        if code == REVOKED {
            place.leave();
        }
        if code != BROKEN {
            let close = Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }));
            let _ = Box::pin(tokio::time::timeout(SEND_TIMEOUT, socket.send(close))).await;
        }
        let Self { stream, place, .. } = *self;
        drop(place);
        // The others look whether it has gone.
        stream.broker.bell.ring(&stream.token.sub);
    }
}

/// How a stream begins.
pub struct Begins {
    /// Its device's token.
    pub token: Arc<AccessToken>,
    /// Whether its device has shown here that it has the token's key.
    pub is_proven: bool,
    /// The last event it knows.
    pub cursor: i64,
    /// Whether it is told what others say just now.
    pub hears: bool,
    /// Where refusals go.
    pub audit: Audit,
    /// Its route.
    pub path: MatchedPath,
}

/// One stream.
pub struct Stream {
    broker: Arc<Broker>,
    token: Arc<AccessToken>,
    is_proven: bool,
    cursor: i64,
    audit: Audit,
    path: MatchedPath,
    /// Whether the device has the sessions of the others, as it was when `device.switched` was last seen.
    is_member: Option<bool>,
    /// When it was last seen that it may go on, and how often it had been rung then.
    checked: (Millis, u64),
    /// Until when its consent lasts, as it was when its standing was last looked at.
    grant_until: i64,
    /// Who was there, and what the device was told of it.
    there: Option<(Vec<Present>, Vec<Present>)>,
    /// Whether it is told what others say just now.
    hears: bool,
    /// Ticks so far, and at which of them the peer was last heard.
    ticks: u32,
    heard_at: u32,
}

impl Stream {
    /// One that begins so.
    pub fn new(broker: Arc<Broker>, Begins { token, is_proven, cursor, hears, audit, path }: Begins) -> Self {
        let checked = (Millis(i64::MIN), 0);
        Self {
            broker,
            token,
            is_proven,
            cursor,
            audit,
            path,
            is_member: None,
            checked,
            grant_until: i64::MAX,
            there: None,
            hears,
            ticks: 0,
            heard_at: 0,
        }
    }

    /// Speaks and hears until one of both has enough; why.
    async fn speak(&mut self, place: &mut Place, socket: &mut Socket) -> u16 {
        let line = socket.get_ref().line().clone();
        let ear = self.broker.bell.listen(&self.token.sub, self.hears.then_some((&self.token.device, &line)));
        let bell = ear.rung();
        let rung = bell.next();
        let mut closing = self.broker.closing.subscribe();
        let stopping = closing.changed();
        // Both wait here for as long as it takes.
        tokio::pin!(rung, stopping);
        let mut tick = tokio::time::interval(self.broker.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // One at a time: what comes meanwhile waits in the connection. When it came, and how often it had been rung then.
        let mut finding = None;
        let mut asked_at = self.checked;
        let mut told = false;
        loop {
            // Before reading, so that nothing committed in between is missed.
            rung.set(bell.next());
            rung.as_mut().enable();
            // Elsewhere on the heap, and only while it lasts: ten thousand streams wait here.
            if told
                && self.still().is_ok()
                && let Some(news) = self.news(&bell)
            {
                let frames = self.frames(news);
                if let Err(code) = Box::pin(send(socket, &frames)).await {
                    return code;
                }
            } else {
                let rings = bell.rings();
                while match Box::pin(self.step(socket)).await {
                    Ok(more) => more,
                    Err(code) => return code,
                } {}
                self.checked.1 = rings;
            }
            place.told(self.cursor);
            let mut look = false;
            while !look {
                let what = tokio::select! {
                    // Time first, which is seldom ready: a peer that never stops speaking does not outlive its token.
                    biased;
                    _ = tick.tick() => What::Tick,
                    answer = found(&mut finding) => What::Answered(answer),
                    () = &mut rung => What::Rung,
                    _ = &mut stopping => What::Stopping,
                    came = socket.next(), if finding.is_none() => What::Came(came),
                    _ = line.write_what_waits() => What::Broken,
                };
                told = matches!(what, What::Rung);
                let outcome = match what {
                    What::Tick => Box::pin(self.tick(place, socket)).await,
                    What::Rung => Ok(true),
                    What::Stopping => Err(GOING_AWAY),
                    What::Came(came) => {
                        asked_at = (self.broker.base.now(), bell.rings());
                        Box::pin(self.message(place, socket, came)).await.map(|asked| {
                            finding = asked;
                            false
                        })
                    }
                    What::Answered(answer) => {
                        finding = None;
                        // Who has written was looked at in doing so.
                        if matches!(answer.frame, Frame::Written { .. }) && self.checked.1 == asked_at.1 {
                            self.checked.0 = asked_at.0;
                        }
                        // Another token, or one that is no good: all is looked at anew.
                        let look = answer.token.is_some() || matches!(answer.refused, Some(Refusal::Token(_)));
                        let news = if look { None } else { self.news(&bell) };
                        Box::pin(self.answered(place, socket, answer, news.unwrap_or_default())).await.map(|()| look)
                    }
                    What::Broken => Err(BROKEN),
                };
                match outcome {
                    Ok(now) => look = now,
                    Err(code) => return code,
                }
            }
        }
    }

    /// What came of the peer.
    async fn message(
        &mut self,
        place: &mut Place,
        socket: &mut Socket,
        came: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<Option<Finding>, u16> {
        self.heard_at = self.ticks;
        match came {
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
            Some(Ok(Message::Text(text))) => {
                socket.get_mut().heard();
                self.hear(place, socket, &text).await
            }
            Some(Ok(Message::Close(_))) => {
                place.leave();
                Err(BROKEN)
            }
            // Nothing else is spoken on this stream.
            Some(Ok(Message::Binary(_))) => Err(UNSUPPORTED),
            Some(Err(why)) => Err(ended(&why)),
            None => Err(BROKEN),
        }
    }

    /// Once a tick. True when it is time to look into the database.
    async fn tick(&mut self, place: &mut Place, socket: &mut Socket) -> Result<bool, u16> {
        self.ticks += 1;
        self.still()?;
        if self.ticks - self.heard_at >= SILENT {
            place.leave();
            return Err(BROKEN);
        }
        if self.ticks.is_multiple_of(PING_EVERY) {
            let ping = tokio::time::timeout(SEND_TIMEOUT, socket.send(Message::Ping(Vec::new().into()))).await;
            ping.map_err(|_| TOO_SLOW)?.map_err(|_| BROKEN)?;
        }
        Ok(self.ticks.is_multiple_of(LOOK_EVERY))
    }

    /// Whether, by what is known of it, it still may go on.
    fn still(&self) -> Result<(), u16> {
        let now = self.broker.base.now();
        if Millis::from_secs(self.token.exp) <= now {
            return Err(EXPIRED);
        }
        if now.0 >= self.grant_until {
            return Err(REVOKED);
        }
        self.broker.freshness.check(now).map_err(|_: Problem| TOO_SLOW)
    }

    /// What the device says, or asks.
    async fn hear(&self, place: &Place, socket: &mut Socket, text: &str) -> Result<Option<Finding>, u16> {
        let said = said::read(text).ok_or(POLICY)?;
        // What is written takes the time of a commit; all else is counted.
        if !matches!(said, Said::Asked(Asked::Update(_))) && !place.may_say() {
            return Err(TOO_MUCH);
        }
        match said {
            Said::Asked(asked) => {
                self.still()?;
                Ok(Some(Box::pin(asked::answer(self.broker.clone(), self.token.clone(), self.is_proven, asked))))
            }
            Said::Volatile(update) => self.pass(socket, update).await.map(|()| None),
        }
    }

    /// Answers what it asked, and tells what is new by then.
    async fn answered(&mut self, place: &Place, socket: &mut Socket, answer: Answer, news: Vec<Row>) -> Result<(), u16> {
        if let Some(token) = answer.token {
            (self.token, self.is_proven, self.is_member) = (token, true, None);
        }
        if let Some(refusal) = answer.refused {
            self.note(refusal);
        }
        if answer.counts && !place.may_say() {
            return Err(TOO_MUCH);
        }
        let mut frames = vec![answer.frame];
        if self.still().is_ok() {
            frames.extend(self.frames(news));
        }
        send(socket, &frames).await
    }

    /// The one security event of a frame that was refused.
    fn note(&self, refusal: Refusal) {
        let path = self.path.as_str().to_owned();
        self.audit.note(audit::Event { service: "broker", path, status: problem::status(refusal).as_u16(), refusal });
    }

    /// Passes on what it says.
    async fn pass(&self, socket: &mut Socket, update: SealedUpdate) -> Result<(), u16> {
        let standing = check(&self.broker, &self.token).await?;
        let (session, seq) = (update.place.session.clone(), update.place.seq);
        match said::pass(&self.broker, &self.token, &standing, update).await {
            Ok(()) => Ok(()),
            Err(Problem::Refused { refusal, .. }) => {
                self.note(refusal);
                send(socket, &[Frame::Refused { session, seq, code: refusal.code().into() }]).await
            }
            Err(Problem::Internal(_) | Problem::Unavailable(_)) => Err(INTERNAL),
        }
    }
}

/// Why a stream ends whose peer speaks in a way that cannot be read, or does not speak any more.
fn ended(why: &tungstenite::Error) -> u16 {
    match why {
        tungstenite::Error::Capacity(_) => TOO_BIG,
        tungstenite::Error::Io(why) if matches!(why.kind(), ErrorKind::InvalidData) => TOO_BIG,
        tungstenite::Error::Utf8(_) => NO_TEXT,
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => BROKEN,
        tungstenite::Error::Protocol(_) => PROTOCOL,
        _ => BROKEN,
    }
}

/// Sends frames together, or gives up on a peer that does not read.
async fn send(socket: &mut Socket, frames: &[Frame]) -> Result<(), u16> {
    if frames.is_empty() {
        return Ok(());
    }
    socket.get_ref().line().send(&said::written_out(frames).map_err(|_| INTERNAL)?).map_err(|_| TOO_SLOW)?;
    in_time(socket.flush()).await
}

async fn in_time(sending: impl Future<Output = Result<(), tungstenite::Error>>) -> Result<(), u16> {
    let mut sending = pin!(sending);
    // What is taken at once, as nearly all of it is, needs no timer.
    let sent = match poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await {
        Poll::Ready(sent) => sent,
        Poll::Pending => tokio::time::timeout(SEND_TIMEOUT, sending).await.map_err(|_| TOO_SLOW)?,
    };
    sent.map_err(|_| TOO_SLOW)
}
