//! Access tokens: presented for, kept until shortly before they end.

use crate::device::Device;
use crate::error::Error;
use crate::http::{Request, form};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

/// How often an exchange is tried whose answer may have been lost.
const EXCHANGES: usize = 5;
/// How long before its end a token is no longer used, in seconds.
const MARGIN_SECS: i64 = 30;

impl Device {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, (String, i64)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token for an audience, a scope and, if given, one session. Kept until half a minute before it ends.
    pub async fn token(&self, audience: &str, scope: &str, session: Option<&str>) -> Result<String, Error> {
        Ok(self.token_until(audience, scope, session).await?.0)
    }

    /// The same, and from when on, in Unix seconds by the server's clock, there is another one.
    pub(crate) async fn token_until(&self, audience: &str, scope: &str, session: Option<&str>) -> Result<(String, i64), Error> {
        let name = format!("{audience} {scope} {}", session.unwrap_or_default());
        let known = self.tokens().get(&name).cloned();
        if let Some(known) = known.filter(|(_, until)| self.http.now().secs() < *until) {
            return Ok(known);
        }
        let (token, lives) = self.exchange(audience, scope, session).await?;
        let kept = (token, self.http.now().secs() + lives - MARGIN_SECS);
        self.tokens().insert(name, kept.clone());
        Ok(kept)
    }

    /// A lost reply spends the presentation's nonce: then the whole exchange is what is tried again. So it is when the person has had another
    /// credential signed for this device, which it fetches.
    async fn exchange(&self, audience: &str, scope: &str, session: Option<&str>) -> Result<(String, i64), Error> {
        let (mut shown, mut offset) = (self.enrolled().credential, self.http.offset());
        let mut outcome = self.exchange_once(audience, scope, session).await;
        for _ in 1..EXCHANGES {
            let again = match &outcome {
                Err(refused) if refused.is("kb.replay") => true,
                // It was signed by a clock that is known to be off since.
                Err(refused) if refused.is("kb.invalid") => self.http.has_learnt(offset),
                // Another exchange under way may have taken it in already.
                Err(refused) if refused.is("status.revoked") => {
                    shown != self.enrolled().credential || self.take_renewed().await.unwrap_or(false) || shown != self.enrolled().credential
                }
                _ => false,
            };
            if !again {
                break;
            }
            (shown, offset) = (self.enrolled().credential, self.http.offset());
            outcome = self.exchange_once(audience, scope, session).await;
        }
        outcome
    }

    async fn exchange_once(&self, audience: &str, scope: &str, session: Option<&str>) -> Result<(String, i64), Error> {
        let verifier = &self.servers.verifier;
        let nonce = self.nonce(verifier).await?;
        let presentation = self.present(verifier, &nonce, &[], &[]).await?;
        let details = session.map(|session| json!([{"type": "baton_session", "session": session}]).to_string());
        let mut pairs = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:baton:token-type:device-presentation"),
            ("subject_token", &presentation),
            ("audience", audience),
            ("scope", scope),
        ];
        if let Some(details) = &details {
            pairs.push(("authorization_details", details));
        }
        let body = Some(("application/x-www-form-urlencoded", form(&pairs)));
        let request = Request { method: "POST", url: format!("{verifier}/token"), service: verifier, token: None, body };
        let answer = self.http.proven(&request, &self.signing).await?;
        let token = answer["access_token"].as_str().ok_or(Error::Answer("access_token"))?.to_owned();
        Ok((token, answer["expires_in"].as_i64().ok_or(Error::Answer("expires_in"))?))
    }

    /// Forgets its tokens, so that the next step presents anew.
    pub fn forget_tokens(&self) {
        self.tokens().clear();
    }
}
