//! The connection of a stream. Whoever waits for something on it reads for all: an answer is handed to who asked, the rest is kept for the stream.

use crate::error::Error;
use crate::events::Ended;
use baton_protocol::event::{Frame, MAX_SAID, Said};
use baton_protocol::session::SealedUpdate;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How much may wait for who reads the stream, before nothing more is read for others.
const MOST_UNREAD: usize = 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub struct Line {
    sink: tokio::sync::Mutex<SplitSink<Socket, Message>>,
    source: Mutex<SplitStream<Socket>>,
    /// What was read and nobody has taken yet.
    read: Mutex<VecDeque<Result<Frame, Ended>>>,
    /// Who waits for the answer to an update, by its hash.
    asked: Mutex<HashMap<String, oneshot::Sender<bool>>>,
    /// Who waits for anything. All of them wake, for whoever was the last to look may have gone.
    waiting: Arc<Waiting>,
    /// An answer did not come, and nothing has since.
    is_silent: AtomicBool,
}

#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn add(&self, waker: &Waker) {
        let mut all = lock(&self.0);
        if !all.iter().any(|one| one.will_wake(waker)) {
            all.push(waker.clone());
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        for one in std::mem::take(&mut *lock(&self.0)) {
            one.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub fn over(socket: Socket) -> Arc<Self> {
        let (sink, source) = socket.split();
        Arc::new(Self {
            sink: sink.into(),
            source: source.into(),
            read: Mutex::default(),
            asked: Mutex::default(),
            waiting: Arc::default(),
            is_silent: AtomicBool::new(false),
        })
    }

    pub async fn send(&self, said: &Said) -> Result<(), Error> {
        let text = serde_json::to_string(said).map_err(|_| Error::Answer("frame"))?;
        self.send_text(text).await
    }

    /// Whoever gives up in the midst of it may find that it was sent all the same, by who sends next.
    async fn send_text(&self, text: String) -> Result<(), Error> {
        self.sink.lock().await.send(Message::Text(text.into())).await.map_err(|why| Error::Transport(why.to_string()))
    }

    pub async fn close(&self) {
        // Whoever does not answer is gone too.
        let _ = self.sink.lock().await.close().await;
    }

    /// The next frame that is no answer to an update.
    pub async fn next(&self) -> Result<Frame, Ended> {
        poll_fn(|cx| {
            self.waiting.add(cx.waker());
            loop {
                // Somebody else may have read it.
                if let Some(frame) = lock(&self.read).pop_front() {
                    return Poll::Ready(frame);
                }
                ready!(self.poll_one());
            }
        })
        .await
    }

    /// Writes an update: true when it is known to stand in its session. What is too long for a stream, refused, or not answered before `patience` ends is not.
    pub async fn write(&self, update: &SealedUpdate, patience: impl Future<Output = ()>) -> bool {
        let Ok(text) = serde_json::to_string(&Said::Update { update: update.clone() }) else { return false };
        // Something may have come since.
        if self.is_silent.load(Ordering::Relaxed) {
            let _ = self.poll_one();
        }
        if text.len() > MAX_SAID || lock(&self.read).len() >= MOST_UNREAD || self.is_silent.load(Ordering::Relaxed) {
            return false;
        }
        let (tell, told) = oneshot::channel();
        let hash = update.hash();
        lock(&self.asked).insert(hash.clone(), tell);
        let _forgets = Forgets(self, hash);
        let answered = async {
            if self.send_text(text).await.is_err() {
                return false;
            }
            let mut told = std::pin::pin!(told);
            poll_fn(|cx| {
                self.waiting.add(cx.waker());
                loop {
                    if let Poll::Ready(stands) = told.as_mut().poll(cx) {
                        return Poll::Ready(stands.unwrap_or(false));
                    }
                    ready!(self.poll_one());
                }
            })
            .await
        };
        tokio::select! {
            biased;
            stands = answered => stands,
            () = patience => {
                self.is_silent.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Reads one frame for whoever it is meant; whoever waits has said so before.
    fn poll_one(&self) -> Poll<()> {
        let waker = Waker::from(self.waiting.clone());
        let came = ready!(lock(&self.source).poll_next_unpin(&mut Context::from_waker(&waker)));
        self.is_silent.store(false, Ordering::Relaxed);
        self.take(came);
        // It may have been for another of them.
        waker.wake();
        Poll::Ready(())
    }

    fn take(&self, came: Option<Result<Message, tungstenite::Error>>) {
        let frame = match came {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(Frame::Written { hash, .. }) => return self.tell(&hash, true),
                Ok(Frame::Unwritten { hash, .. }) => return self.tell(&hash, false),
                Ok(frame) => Ok(frame),
                // Of a later version: passed over.
                Err(_) if is_unknown(&text) => return,
                Err(_) => Err(Ended::Broken),
            },
            Some(Ok(Message::Close(frame))) => Err(frame.map_or(Ended::Broken, |frame| Ended::Closed(frame.code.into()))),
            Some(Ok(_)) => return,
            Some(Err(_)) | None => Err(Ended::Broken),
        };
        if frame.is_err() {
            lock(&self.asked).clear();
        }
        lock(&self.read).push_back(frame);
    }

    fn tell(&self, hash: &str, stands: bool) {
        if let Some(tell) = lock(&self.asked).remove(hash) {
            // Whoever went away asks again.
            let _ = tell.send(stands);
        }
    }
}

/// Whoever goes away is not told.
struct Forgets<'a>(&'a Line, String);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        lock(&self.0.asked).remove(&self.1);
    }
}

/// Whether a frame is of a kind that this version does not know.
fn is_unknown(text: &str) -> bool {
    const KNOWN: [&str; 9] = ["event", "gap", "presence", "volatile", "refused", "written", "unwritten", "renewed", "unrenewed"];
    let frame: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    frame["type"].as_str().is_some_and(|kind| !KNOWN.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_protocol::id::SessionId;
    use baton_protocol::session::{Kind, Place};
    use baton_protocol::time::Millis;
    use std::future::pending;
    use tokio::net::TcpListener;

    /// A line, and who is at its other end.
    async fn pair() -> (Arc<Line>, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (here, there) = tokio::join!(tokio_tungstenite::connect_async(url), async {
            tokio_tungstenite::accept_async(listener.accept().await.unwrap().0).await.unwrap()
        });
        (Line::over(here.unwrap().0), there)
    }

    fn update(seq: i64) -> SealedUpdate {
        let session = SessionId::new(Millis(1), [7; 10]);
        let place = Place { session, epoch: 1, seq, prev: "prev".into(), key_version: 1, kind: Kind::Update };
        SealedUpdate { place, iv: "iv".into(), ct: "ct".into() }
    }

    fn answer(update: &SealedUpdate) -> Message {
        let frame = Frame::Written { session: update.place.session.clone(), seq: update.place.seq, hash: update.hash() };
        Message::text(serde_json::to_string(&frame).unwrap())
    }

    fn gap(resume_at: i64) -> Message {
        Message::text(serde_json::to_string(&Frame::Gap { resume_at }).unwrap())
    }

    /// Whoever listens and is not asked again holds up no writer; and what came meanwhile is heard, by whoever listens then.
    #[tokio::test]
    async fn who_listens_and_who_writes_do_not_wait_for_each_other() {
        let (line, mut there) = pair().await;
        let mut listens = Box::pin(line.next());
        assert!(poll_fn(|cx| Poll::Ready(listens.as_mut().poll(cx).is_pending())).await);
        let (one, two) = (update(1), update(2));
        let peer = async {
            for update in [&one, &two] {
                assert!(there.next().await.unwrap().unwrap().to_text().unwrap().contains("\"update\""));
                there.send(gap(update.place.seq)).await.unwrap();
                there.send(answer(update)).await.unwrap();
            }
        };
        let writes = async { (line.write(&one, pending()).await, line.write(&two, pending()).await) };
        assert_eq!(tokio::join!(peer, writes).1, (true, true));
        assert_eq!(listens.await, Ok(Frame::Gap { resume_at: 1 }));
        assert_eq!(line.next().await, Ok(Frame::Gap { resume_at: 2 }));
        // Whoever waited last, and went, leaves the others awake.
        let listens = tokio::spawn({
            let line = line.clone();
            async move { line.next().await }
        });
        tokio::task::yield_now().await;
        assert!(!line.write(&one, std::future::ready(())).await);
        there.send(gap(3)).await.unwrap();
        assert_eq!(listens.await.unwrap(), Ok(Frame::Gap { resume_at: 3 }));
    }

    /// One answer that does not come is waited for; after it nobody waits until something is heard again.
    #[tokio::test]
    async fn a_line_that_is_silent_is_not_written_on() {
        let (line, mut there) = pair().await;
        assert!(!line.write(&update(1), std::future::ready(())).await);
        assert!(!line.write(&update(2), pending()).await, "it would have waited for ever");
        there.send(gap(1)).await.unwrap();
        assert_eq!(line.next().await, Ok(Frame::Gap { resume_at: 1 }));
        let three = update(3);
        let peer = async {
            while !there.next().await.unwrap().unwrap().to_text().unwrap().contains("\"seq\":3") {}
            there.send(answer(&three)).await.unwrap();
        };
        assert!(tokio::join!(peer, line.write(&three, pending())).1);
    }

    #[tokio::test]
    async fn a_line_that_ends_answers_nobody() {
        let (line, mut there) = pair().await;
        let one = update(1);
        let peer = async {
            there.next().await.unwrap().unwrap();
            drop(there);
        };
        assert!(!tokio::join!(peer, line.write(&one, pending())).1);
        assert_eq!(line.next().await, Err(Ended::Broken));
    }
}
