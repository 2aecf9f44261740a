//! A connection that two write to: the stream it belongs to, and whoever has something for all streams of a subject, which then need not wake. Each writes whole
//! frames, so that none comes in the midst of another.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Most bytes that wait, beside the frame that is written last.
const MOST_WAITING: usize = 256 * 1024;

/// The connection.
pub struct Line {
    socket: OwnedWriteHalf,
    out: Mutex<Out>,
    /// Whether what others say is passed on to it.
    hears: AtomicBool,
}

#[derive(Default)]
struct Out {
    /// What the socket has not taken: the end of a frame, and what its stream wrote after it.
    waiting: Vec<u8>,
    /// Who writes that.
    writes: Option<Waker>,
}

impl Line {
    /// From here on what others say is passed on to it, or not.
    pub fn hear(&self, hears: bool) {
        self.hears.store(hears, Ordering::Relaxed);
    }

    /// Passes a frame on. One that is slow, or does not hear, misses it; one that is broken finds out itself.
    pub fn pass(&self, frame: &[u8]) {
        if !self.hears.load(Ordering::Relaxed) {
            return;
        }
        let mut out = self.out();
        if out.waiting.is_empty() {
            let _ = self.write(&mut out, frame);
        }
    }

    /// Takes whole frames of its own stream: what the socket does not, waits, up to a bound.
    pub fn send(&self, frames: &[u8]) -> io::Result<()> {
        let mut out = self.out();
        // Somebody makes it answer, and does not read.
        if out.waiting.len() > MOST_WAITING {
            return Err(io::Error::other("too much waits"));
        }
        self.write(&mut out, frames)
    }

    /// Writes what waits, whenever something does. Ends with the connection alone.
    pub async fn write_what_waits(&self) -> io::Error {
        poll_fn(|cx| {
            let mut out = self.out();
            match self.poll_written(&mut out, cx) {
                Poll::Ready(Ok(())) => {
                    out.writes = Some(cx.waker().clone());
                    Poll::Pending
                }
                Poll::Ready(Err(why)) => Poll::Ready(why),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes whole frames: what the socket does not, waits.
    fn write(&self, out: &mut Out, frames: &[u8]) -> io::Result<()> {
        let taken = if out.waiting.is_empty() { self.try_write(frames)? } else { 0 };
        if taken < frames.len() {
            out.waiting.extend_from_slice(&frames[taken..]);
            if let Some(writes) = out.writes.take() {
                writes.wake();
            }
        }
        Ok(())
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.try_write(bytes) {
            Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    fn poll_written(&self, out: &mut Out, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !out.waiting.is_empty() {
            ready!(self.socket.as_ref().poll_write_ready(cx))?;
            let taken = self.try_write(&out.waiting)?;
            out.waiting.drain(..taken);
        }
        out.waiting.shrink_to(0);
        Poll::Ready(Ok(()))
    }
}

/// Most bytes that are read without anything having been said in them: of fragments and pings there may be any number.
const MOST_UNHEARD: usize = 64 * 1024;

/// The stream's own end of it.
pub struct End {
    line: Arc<Line>,
    reads: OwnedReadHalf,
    unheard: usize,
}

impl End {
    /// Of a socket that speaks WebSocket from here on.
    pub fn over(socket: TcpStream) -> Self {
        let (reads, socket) = socket.into_split();
        Self { line: Arc::new(Line { socket, out: Mutex::default(), hears: AtomicBool::new(false) }), reads, unheard: 0 }
    }

    /// The connection itself, for whoever passes something on.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Something was said.
    pub const fn heard(&mut self) {
        self.unheard = 0;
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reads).poll_read(cx, buffer))?;
        self.unheard += buffer.filled().len() - before;
        Poll::Ready(if self.unheard > MOST_UNHEARD { Err(ErrorKind::InvalidData.into()) } else { Ok(()) })
    }
}

/// What is given at once is whole frames: that is how they are handed on here.
impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, frames: &[u8]) -> Poll<io::Result<usize>> {
        self.line.send(frames)?;
        Poll::Ready(Ok(frames.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.poll_written(&mut self.line.out(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (Arc<Line>, End, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (there, here) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let end = End::over(here.unwrap().0);
        (end.line().clone(), end, there.unwrap())
    }

    /// Two write at once to one who reads slowly: no frame comes in another, what its stream writes comes whole, and what is passed on comes or does not.
    #[tokio::test(flavor = "multi_thread")]
    async fn frames_come_whole_or_not_at_all() {
        const LENGTH: usize = 50_000;
        const OWN: usize = 200;
        let (line, mut end, mut there) = pair().await;
        line.hear(true);
        let passes = line.clone();
        let passing = tokio::task::spawn_blocking(move || (0..5000).for_each(|_| passes.pass(&vec![b'p'; LENGTH])));
        let own = tokio::spawn(async move {
            for _ in 0..OWN {
                end.write_all(&vec![b'o'; LENGTH]).await.unwrap();
                end.flush().await.unwrap();
            }
        });
        let (mut owned, mut passed) = (0, 0);
        while owned < OWN {
            let mut frame = vec![0; LENGTH];
            there.read_exact(&mut frame).await.unwrap();
            assert!(frame.iter().all(|byte| *byte == frame[0]), "one in another");
            if frame[0] == b'o' { owned += 1 } else { passed += 1 }
        }
        own.await.unwrap();
        passing.abort();
        assert!(passed < 5000, "what is slow misses some");
    }

    #[tokio::test]
    async fn what_waits_is_written_though_its_stream_says_nothing() {
        let (line, _end, mut there) = pair().await;
        line.pass(b"not heard");
        line.hear(true);
        // More than any socket takes at once.
        let much = vec![b'm'; 32 * 1024 * 1024];
        line.pass(&much);
        line.pass(b"missed");
        let length = much.len();
        let read = async {
            let mut all = vec![0; length];
            there.read_exact(&mut all).await.unwrap();
            all == much
        };
        tokio::select! {
            whole = read => assert!(whole),
            why = line.write_what_waits() => panic!("{why}"),
        }
        line.pass(b"heard");
        let mut last = [0; 5];
        there.read_exact(&mut last).await.unwrap();
        assert_eq!(&last, b"heard");
    }

    /// A peer that makes its stream write and reads nothing.
    #[tokio::test]
    async fn what_waits_is_bounded() {
        let (line, mut end, _there) = pair().await;
        let mut written = 0;
        // Nothing is flushed: tungstenite writes its answers to pings so.
        while end.write_all(&vec![b'p'; 16 * 1024]).await.is_ok() {
            written += 1;
            assert!(written < 100_000, "for ever");
        }
        assert!(line.out().waiting.len() <= MOST_WAITING + 16 * 1024);
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_ends() {
        let (_line, mut end, there) = pair().await;
        drop(there);
        assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
