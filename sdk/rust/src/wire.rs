//! What carries requests: the network, or whatever a test puts in its place.

use crate::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What will be, wherever it is carried.
pub type Carrying<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Method.
    pub method: String,
    /// URL, with query.
    pub url: String,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Option<Vec<u8>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Came {
    /// Status.
    pub status: u16,
    /// `Date`.
    pub date: Option<String>,
    /// `DPoP-Nonce`.
    pub nonce: Option<String>,
    /// Body.
    pub body: Vec<u8>,
}

/// Carries requests, and waits between them.
pub trait Wire: Send + Sync {
    /// Sends one; [`Error::Transport`] when nobody answered.
    fn carry(&self, request: Sent) -> Carrying<'_, Result<Came, Error>>;
    /// Waits.
    fn pause(&self, time: Duration) -> Carrying<'_, ()>;
}

/// The network. It follows no redirects: no service here sends one.
pub struct Network(reqwest::Client);

impl Network {
    /// With a connection pool of its own.
    pub fn new() -> Result<Self, Error> {
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(30)).no_proxy();
        Ok(Self(builder.build().map_err(|e| Error::Transport(e.to_string()))?))
    }
}

impl Wire for Network {
    fn carry(&self, request: Sent) -> Carrying<'_, Result<Came, Error>> {
        Box::pin(async move {
            let failed = |e: reqwest::Error| Error::Transport(e.without_url().to_string());
            let method = reqwest::Method::from_bytes(request.method.as_bytes()).map_err(|_| Error::Answer("method"))?;
            let mut out = self.0.request(method, &request.url);
            for (name, value) in request.headers {
                out = out.header(name, value);
            }
            if let Some(body) = request.body {
                out = out.body(body);
            }
            let answer = out.send().await.map_err(failed)?;
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let (status, date, nonce) = (answer.status().as_u16(), header("date"), header("dpop-nonce"));
            Ok(Came { status, date, nonce, body: answer.bytes().await.map_err(failed)?.into() })
        })
    }

    fn pause(&self, time: Duration) -> Carrying<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
