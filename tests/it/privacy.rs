//! PRV-01, PRV-02: the whole story, refusals and all, with somebody in the middle who notes every secret that crosses the wire. None of them is in
//! any log, at any level, and none in any column of any database.

use crate::middle::{Deed, Seen};
use crate::support::{Server, logs};
use axum::http::HeaderMap;
use baton_service::base::system_clock;
use baton_service::testing::On;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Members and parameters whose values are secrets, or worth something to a thief for a while.
const SECRET: &[&str] = &["access_token", "device_code", "user_code", "check_code", "code_verifier", "ticket", "subject_token", "presentation"];
/// Of these, those that must not be stored: what the broker keeps of a presentation is what the other device checks.
const STORED: &[&str] = &["presentation"];

#[derive(Default)]
struct Noted {
    never_logged: BTreeSet<String>,
    never_stored: BTreeSet<String>,
}

impl Noted {
    fn note(&mut self, name: &str, value: &str) {
        // Shorter ones would be found by chance.
        if value.len() >= 9 {
            self.never_logged.insert(value.to_owned());
            if !STORED.contains(&name) {
                self.never_stored.insert(value.to_owned());
            }
        }
    }

    fn json(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value.as_str() {
                        Some(text) if SECRET.contains(&name.as_str()) => self.note(name, text),
                        Some(text) if name == "redirect_to" => self.body(text.split_once('?').unwrap_or_default().1.as_bytes()),
                        _ => self.json(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.json(item)),
            _ => {}
        }
    }

    fn body(&mut self, body: &[u8]) {
        if let Ok(value) = serde_json::from_slice(body) {
            self.json(&value);
        } else if let Ok(text) = std::str::from_utf8(body) {
            for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')).filter(|(name, _)| SECRET.contains(name) || *name == "code")
            {
                self.note(name, value);
            }
        }
    }

    fn headers(&mut self, headers: &HeaderMap) {
        for name in ["authorization", "dpop", "cookie", "set-cookie", "dpop-nonce"] {
            for value in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
                let secret = value.split(';').next().unwrap_or_default().rsplit([' ', '=']).next().unwrap_or_default();
                self.note(name, secret);
            }
        }
    }
}

fn in_secrets(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.~".contains(c)
}

/// A text cut wherever no secret goes on.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c| !in_secrets(c)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_or_stored() {
    let (server, middle) = Server::behind(On::Sqlite, system_clock()).await;
    let noted = Arc::new(Mutex::new(Noted::default()));
    let notes = noted.clone();
    middle.meddle(move |seen: &Seen| {
        let mut noted = notes.lock().unwrap();
        noted.headers(&seen.headers);
        noted.headers(&seen.answer_headers);
        noted.body(&seen.body);
        noted.body(&seen.answer);
        Deed::Pass
    });
    Box::pin(server.story().tell(&mut |_| ())).await.unwrap();

    let stored = server.dump(&[]).await;
    let logged = logs();
    let logged = String::from_utf8_lossy(&logged.lock().unwrap()).into_owned();
    let noted = noted.lock().unwrap();
    assert!(noted.never_logged.len() > 100, "the story shows {} secrets", noted.never_logged.len());
    assert!(noted.never_logged.iter().all(|secret| secret.chars().all(in_secrets)));
    assert!(logged.contains("handoff.fenced") && stored.contains("Television"), "the search would find something");
    let (logged, stored) = (words(&logged), words(&stored));
    assert_eq!(noted.never_logged.intersection(&logged).next(), None, "logged");
    assert_eq!(noted.never_stored.intersection(&stored).next(), None, "stored");
}
