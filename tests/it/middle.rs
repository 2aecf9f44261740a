//! Somebody in the middle, between devices and a server: loses answers, repeats requests, gives other bodies.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{self, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest as _};

/// What to do with one request.
pub enum Deed {
    /// Nothing.
    Pass,
    /// The server does it; its answer is lost on the way.
    LoseAnswer,
    /// The server gets it twice; the first answer goes back.
    Twice,
    /// This body goes back instead.
    Replace(Vec<u8>),
    /// Whoever asked is told to go elsewhere.
    Redirect(u16, String),
}

/// All that the one in the middle sees of a request and its answer.
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub answer_headers: HeaderMap,
    pub answer: Bytes,
}

/// What becomes of the text frames of an event stream: those that go on in the place of one.
pub type Frames = Box<dyn FnMut(&str) -> Vec<String> + Send>;

/// Decides about a request the server has answered.
pub type Meddle = Box<dyn FnMut(&Seen) -> Deed + Send>;

/// The one in the middle.
#[derive(Clone)]
pub struct Middle {
    pub url: String,
    upstream: Arc<Mutex<String>>,
    meddle: Arc<Mutex<Meddle>>,
    frames: Arc<Mutex<Frames>>,
    client: reqwest::Client,
}

impl Middle {
    /// Listens; [`Self::before`] says for whom.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (meddle, frames): (Meddle, Frames) = (Box::new(|_| Deed::Pass), Box::new(|frame| vec![frame.to_owned()]));
        let (meddle, frames) = (Arc::new(Mutex::new(meddle)), Arc::new(Mutex::new(frames)));
        let middle = Self { url, upstream: Arc::default(), meddle, frames, client };
        let routes = Router::new().fallback(forward).with_state(middle.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        middle
    }

    pub fn before(&self, upstream: String) {
        *self.upstream.lock().unwrap() = upstream;
    }

    pub fn meddle(&self, with: impl FnMut(&Seen) -> Deed + Send + 'static) {
        *self.meddle.lock().unwrap() = Box::new(with);
    }

    pub fn meddle_with_frames(&self, with: impl FnMut(&str) -> Vec<String> + Send + 'static) {
        *self.frames.lock().unwrap() = Box::new(with);
    }

    async fn send(&self, parts: &axum::http::request::Parts, body: &Bytes) -> (StatusCode, HeaderMap, Bytes) {
        let url = format!("{}{}", self.upstream.lock().unwrap(), parts.uri.path_and_query().unwrap());
        let mut headers = parts.headers.clone();
        headers.remove("host");
        let answer = self.client.request(parts.method.clone(), url).headers(headers).body(body.clone()).send().await.unwrap();
        (answer.status(), answer.headers().clone(), answer.bytes().await.unwrap())
    }
}

async fn forward(State(middle): State<Middle>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if parts.headers.contains_key("upgrade") {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.unwrap();
        let upstream = format!("{}{}", middle.upstream.lock().unwrap(), parts.uri.path_and_query().unwrap());
        return stream(upgrade, &upstream.replace("http://", "ws://"), &parts.headers, middle.frames).await;
    }
    let body = axum::body::to_bytes(body, 1 << 21).await.unwrap();
    let (status, mut headers, answer) = middle.send(&parts, &body).await;
    let seen = Seen {
        path: parts.uri.path().to_owned(),
        headers: parts.headers.clone(),
        body: body.clone(),
        answer_headers: headers.clone(),
        answer: answer.clone(),
    };
    let deed = (middle.meddle.lock().unwrap())(&seen);
    let answer = match deed {
        Deed::LoseAnswer => return StatusCode::BAD_GATEWAY.into_response(),
        Deed::Twice => {
            middle.send(&parts, &body).await;
            answer
        }
        Deed::Replace(other) => other.into(),
        Deed::Redirect(status, elsewhere) => return (StatusCode::from_u16(status).unwrap(), [("location", elsewhere)]).into_response(),
        Deed::Pass => answer,
    };
    headers.remove("content-length");
    headers.remove("transfer-encoding");
    (status, headers, Body::from(answer)).into_response()
}

/// An event stream, frame by frame, as far as ours need it: texts both ways, those of the server meddled with, and why it was closed.
async fn stream(upgrade: WebSocketUpgrade, upstream: &str, headers: &HeaderMap, frames: Arc<Mutex<Frames>>) -> Response {
    let mut request = upstream.into_client_request().unwrap();
    for name in ["authorization", "dpop", "origin"] {
        if let Some(value) = headers.get(name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    let mut server = match tokio_tungstenite::connect_async(request).await {
        Ok((server, _)) => server,
        Err(tungstenite::Error::Http(refused)) => return refused.map(|body| Body::from(body.unwrap_or_default())).into_response(),
        Err(other) => panic!("{other}"),
    };
    upgrade.on_upgrade(async move |mut device| {
        loop {
            let frame = tokio::select! {
                frame = server.next() => frame,
                said = device.recv() => match said {
                    Some(Ok(ws::Message::Text(text))) => match server.send(tungstenite::Message::text(text.as_str())).await {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                    Some(Ok(ws::Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => continue,
                },
            };
            let Some(Ok(frame)) = frame else { return };
            let out: Vec<_> = match frame {
                tungstenite::Message::Text(text) => {
                    (frames.lock().unwrap())(text.as_str()).into_iter().map(|text| ws::Message::Text(text.into())).collect()
                }
                tungstenite::Message::Close(why) => {
                    vec![ws::Message::Close(why.map(|why| ws::CloseFrame { code: why.code.into(), reason: why.reason.as_str().into() }))]
                }
                _ => continue,
            };
            for frame in out {
                if device.send(frame).await.is_err() {
                    return;
                }
            }
        }
    })
}
