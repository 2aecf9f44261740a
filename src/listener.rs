//! Connections: HTTP/1.1 and HTTP/2 with bounds of our own on heads, streams and time, upgrades to WebSocket, and an orderly stop.

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

/// Longest head of a request, all its header fields together.
const MAX_HEAD: usize = 16 * 1024;
/// Most header fields.
const MAX_HEADERS: usize = 100;
/// How long the first head of a connection may take to arrive, and an answer whether it is there.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long after an answer the next head may be complete: longer than proxies keep their idle connections, so that none of them asks on
/// one that is just being closed.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// Most requests under way on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// Most streams of one that are reset before they are answered (CVE-2023-44487).
const MAX_RESETS: usize = 32;
/// Most connections that speak HTTP; more wait to be accepted. (Event streams have left it, and have a limit for each device.)
const MAX_CONNECTIONS: usize = 20_000;
/// How often a silent HTTP/2 connection is asked whether it is there.
const ARE_YOU_THERE: Duration = Duration::from_secs(30);

/// Serves until told to stop; then takes nothing new, and waits for what is under way.
pub async fn listen(listener: TcpListener, routes: Router, mut stopped: watch::Receiver<bool>) {
    // Handlers become routes here, once, and not anew for each request.
    let routes: Router = routes.with_state(());
    let builder = bounded();
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async { (places.clone().acquire_owned().await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(target: "baton", %error, "a connection was not accepted");
                // Out of file descriptors, say: others have to end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Answers and frames are small, and are wanted at once.
        let _ = stream.set_nodelay(true);
        let routes = routes.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.clone().oneshot(request)
        });
        let (builder, watcher, mut stopped) = (builder.clone(), graceful.watcher(), stopped.clone());
        tokio::spawn(async move {
            let _place = place;
            // One that has said nothing keeps nobody from stopping.
            let speaks = tokio::select! {
                said = tokio::time::timeout(HEAD_TIME, says_something(&stream)) => said == Ok(true),
                _ = stopped.wait_for(|stop| *stop) => false,
            };
            if !speaks {
                return;
            }
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            // How a client ends its connection is its own affair.
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(target: "baton", %error, "a connection ended");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Once the first head of a connection is there: from there on hyper counts the time. False when the client has gone.
async fn says_something(stream: &TcpStream) -> bool {
    if stream.readable().await.is_err() {
        return false;
    }
    let (mut first, mut seen) = (vec![0; MAX_HEAD], 0);
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return false,
            // What was looked at is not looked at again.
            Ok(count) if count > seen => {
                if is_for_hyper(&first[..count], seen) {
                    return true;
                }
                seen = count;
            }
            Ok(_) => {}
        }
        // The rest is on its way, or the time runs out.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether hyper can answer: a whole head, the whole preface of HTTP/2, or what begins neither. `seen` of it was looked at before.
fn is_for_hyper(said: &[u8], seen: usize) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if PREFACE.starts_with(said) {
        return said.len() == PREFACE.len();
    }
    // Empty lines before a head are passed over (RFC 9112 §2.2).
    let Some(begins) = said.iter().position(|byte| !b"\r\n".contains(byte)) else { return said.len() >= MAX_HEAD };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let new = &said[begins.max(seen.saturating_sub(3))..];
    let ends = |end: &[u8]| new.windows(end.len()).any(|some| some == end);
    !is_token(said[begins]) || said.len() >= MAX_HEAD || ends(b"\r\n\r\n") || ends(b"\n\n")
}

fn bounded() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIME).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(ARE_YOU_THERE)
        .keep_alive_timeout(HEAD_TIME);
    builder
}
