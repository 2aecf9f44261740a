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
    /// `Date`, in seconds.
    pub date: Option<i64>,
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
            let date = header("date").and_then(|date| parse_date(&date));
            let (status, nonce) = (answer.status().as_u16(), header("dpop-nonce"));
            Ok(Came { status, date, nonce, body: answer.bytes().await.map_err(failed)?.into() })
        })
    }

    fn pause(&self, time: Duration) -> Carrying<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// Seconds of an HTTP date (RFC 9110 §5.6.7, the one form servers send).
fn parse_date(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split([' ', ':', ',']).filter(|part| !part.is_empty()).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = parts.as_slice() else { return None };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| name == month)? as i64 + 1;
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, day) = (number(year)?, number(day)?);
    // Days from civil, after Howard Hinnant.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    Some(days * 86_400 + number(hour)? * 3600 + number(minute)? * 60 + number(second)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_rfc_9110() {
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse_date("Sunday, 06-Nov-94 08:49:37 GMT"), None);
    }
}
