//! A person with a software passkey: drives the pages' JSON API for the demo, for tests and for `baton approve` in development builds.
//!
//! It is a client like the pages will be: the root is opened here, for the moment of an approval, and forgotten.

mod authenticator;
mod root_change;

use anyhow::{Context as _, bail, ensure};
use authenticator::{SoftAuthenticator, StoredPasskey};
use baton_protocol::device_log::DeviceLog;
use baton_protocol::enrolment::{AccountProof, Approval, Offer, Shown};
use baton_protocol::key::Did;
use baton_protocol::ports::Entropy;
use baton_protocol::secret::Secret;
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_sdk::root::{RecoveryCode, Root};
use baton_sdk::{Servers, protocol::signer::Signer as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// The salt every client evaluates the PRF at; the wrap's own salt makes each key fresh.
const PRF_SALT: &[u8] = b"baton/prf/1";
const RP_ID: &str = "localhost";

/// A person at their browser.
pub struct Person {
    http: reqwest::Client,
    identity: String,
    origin: String,
    authenticator: SoftAuthenticator,
    entropy: Entropy,
    cookie: Mutex<String>,
    root: String,
}

/// What a software person keeps between runs.
#[derive(Serialize, Deserialize)]
pub struct Saved {
    passkeys: Vec<StoredPasskey>,
    root: String,
}

/// A refusal by the pages' API.
#[derive(Debug)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused: {} ({})", self.code, self.status)
    }
}
impl std::error::Error for Refused {}

/// The code of a refusal, where it is one.
pub fn code(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Refused>().map(|refused| refused.code.as_str())
}

impl Person {
    /// A person who has nothing yet.
    pub fn new(public_url: &str, entropy: Entropy) -> anyhow::Result<Self> {
        Self::with(public_url, entropy, Saved { passkeys: Vec::new(), root: String::new() })
    }

    /// A person from what was kept.
    pub fn with(public_url: &str, entropy: Entropy, saved: Saved) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let authenticator = SoftAuthenticator::new(public_url, saved.passkeys)?;
        let identity = Servers::at(public_url).identity;
        Ok(Self { http, identity, origin: public_url.into(), authenticator, entropy, cookie: Mutex::default(), root: saved.root })
    }

    /// What to keep.
    pub fn save(&self) -> anyhow::Result<Saved> {
        Ok(Saved { passkeys: self.authenticator.save()?, root: self.root.clone() })
    }

    /// Fingerprint of the root.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Makes an account: passkey, root, two copies, proof. Gives the recovery code, shown once.
    pub async fn sign_up(&mut self) -> anyhow::Result<RecoveryCode> {
        let started = self.post("/v1/sign-up/start", &json!({})).await?;
        let (body, code) = self.sign_up_answer(&started, |_| ()).await?;
        let answer = self.post("/v1/sign-up/finish", &body).await?;
        ensure!(answer["root"] == self.root, "the server kept another root");
        self.post("/v1/account/recovery/confirm", &json!({})).await?;
        Ok(code)
    }

    /// What it answers to a sign-up that was begun; `change` is for a test whose passkey answers something else.
    pub async fn sign_up_answer(&mut self, started: &Value, change: impl FnOnce(&mut Value)) -> anyhow::Result<(Value, RecoveryCode)> {
        let (mut credential, prf) = self.authenticator.create(with_prf(started["options"].clone())).await?;
        change(&mut credential);
        let id = credential["id"].as_str().context("credential id")?.to_owned();
        let root = Root::generate(&self.entropy);
        let code = RecoveryCode::generate(&self.entropy);
        let wraps = [root.wrap_for_passkey(&prf, &id, RP_ID, &self.entropy)?, root.wrap_for_recovery(&code, &self.entropy)?];
        let proof = self.account_proof(&root, started)?;
        self.root = root.fingerprint();
        let body = json!({"ceremony": started["ceremony"], "credential": credential, "account_jwk": root.account().key().jwk(), "proof": proof,
            "recovery_id": code.id(), "wraps": wraps});
        Ok((body, code))
    }

    fn account_proof(&self, root: &Root, started: &Value) -> anyhow::Result<String> {
        let ceremony = started["ceremony"].as_str().context("ceremony")?.to_owned();
        let draft = AccountProof { v: 1, aud: self.identity.clone(), ceremony, root: root.fingerprint() }.draft(root.account().key());
        let signature = root.account().sign_now(draft.signing_input());
        Ok(draft.signed(&signature))
    }

    /// Signs in with the passkey and opens the root.
    pub async fn unlock(&mut self) -> anyhow::Result<Root> {
        let started = self.post("/v1/sign-in/start", &json!({})).await?;
        let (credential, prf) = self.authenticator.get(with_prf(started["options"].clone())).await?;
        let answer = self.post("/v1/sign-in/finish", &json!({"ceremony": started["ceremony"], "credential": credential})).await?;
        let id = credential["id"].as_str().context("credential id")?;
        let wraps: Vec<WrappedRoot> = serde_json::from_value(answer["wraps"].clone())?;
        let mine = wraps
            .iter()
            .find(|w| matches!(&w.opener, Opener::Passkey { credential_id, .. } if credential_id == id))
            .context("no copy for this passkey")?;
        Ok(Root::unwrap(mine, &prf, id, RP_ID, &self.root)?)
    }

    /// What its passkey answers to these options: for a test that sends something else.
    pub async fn assertion(&mut self, options: &Value) -> anyhow::Result<Value> {
        Ok(self.authenticator.get(with_prf(options.clone())).await?.0)
    }

    /// Recovers on a new passkey with the recovery code alone.
    pub async fn recover(&mut self, code: &RecoveryCode) -> anyhow::Result<()> {
        let started = self.begin_recovery(code).await?;
        self.finish_recovery(code, started).await
    }

    /// The first half of [`Self::recover`].
    pub async fn begin_recovery(&self, code: &RecoveryCode) -> anyhow::Result<Value> {
        self.post("/v1/recovery/start", &json!({"recovery_id": code.id()})).await
    }

    /// The second half.
    pub async fn finish_recovery(&mut self, code: &RecoveryCode, started: Value) -> anyhow::Result<()> {
        let root = Root::recover(&serde_json::from_value(started["wrapped"].clone())?, code)?;
        let (credential, prf) = self.authenticator.create(with_prf(started["options"].clone())).await?;
        let id = credential["id"].as_str().context("credential id")?.to_owned();
        let wrapped = root.wrap_for_passkey(&prf, &id, RP_ID, &self.entropy)?;
        let proof = self.account_proof(&root, &started)?;
        let body = json!({"ceremony": started["ceremony"], "credential": credential, "proof": proof, "wrapped": wrapped});
        self.post("/v1/recovery/finish", &body).await?;
        self.root = root.fingerprint();
        Ok(())
    }

    /// Adds a passkey of another authenticator, with its own copy of the root. Gives its id.
    pub async fn add_passkey(&mut self) -> anyhow::Result<String> {
        let root = self.unlock().await?;
        self.add_passkey_for(&root).await
    }

    /// [`Self::add_passkey`] with a copy of whatever root.
    pub async fn add_passkey_for(&mut self, root: &Root) -> anyhow::Result<String> {
        let started = self.post("/v1/passkeys/start", &json!({})).await?;
        let mut another = SoftAuthenticator::new(&self.origin, Vec::new())?;
        let (credential, prf) = another.create(with_prf(started["options"].clone())).await?;
        let id = credential["id"].as_str().context("credential id")?.to_owned();
        let wrapped = root.wrap_for_passkey(&prf, &id, RP_ID, &self.entropy)?;
        let proof = self.account_proof(root, &started)?;
        let body = json!({"ceremony": started["ceremony"], "credential": credential, "proof": proof, "wrapped": wrapped});
        self.post("/v1/passkeys/finish", &body).await?;
        let kept = self.authenticator.save()?.into_iter().chain(another.save()?).collect();
        self.authenticator = SoftAuthenticator::new(&self.origin, kept)?;
        Ok(id)
    }

    /// As if the authenticator had lost a passkey.
    pub fn forget_passkey(&mut self, id: &str) -> anyhow::Result<()> {
        let kept = self.authenticator.save()?.into_iter().filter(|passkey| passkey.id() != id).collect();
        self.authenticator = SoftAuthenticator::new(&self.origin, kept)?;
        Ok(())
    }

    /// Makes another recovery code in the place of the one before.
    pub async fn replace_recovery(&mut self) -> anyhow::Result<RecoveryCode> {
        let root = self.unlock().await?;
        let started = self.post("/v1/account/recovery/start", &json!({})).await?;
        let code = RecoveryCode::generate(&self.entropy);
        let body = json!({"ceremony": started["ceremony"], "recovery_id": code.id(), "proof": self.account_proof(&root, &started)?,
            "wrapped": root.wrap_for_recovery(&code, &self.entropy)?});
        self.post("/v1/account/recovery/replace", &body).await?;
        Ok(code)
    }

    /// Looks at a request made on this device.
    pub async fn open_here(&self, request_uri: &str) -> anyhow::Result<Shown> {
        self.open(json!({"request_uri": request_uri})).await
    }

    /// Looks at a request of another device.
    pub async fn open_elsewhere(&self, user_code: &str) -> anyhow::Result<Shown> {
        self.open(json!({"user_code": user_code})).await
    }

    /// Looks at a request that waits for this very account.
    pub async fn open_waiting(&self, request: &Value) -> anyhow::Result<Shown> {
        self.open(json!({"request": request})).await
    }

    async fn open(&self, what: Value) -> anyhow::Result<Shown> {
        let answer = self.post("/v1/requests/open", &what).await?;
        let shown: Shown = serde_json::from_value(answer["shown"].clone())?;
        ensure!(answer["shown_hash"] == shown.hash(), "what is shown is not what is hashed");
        Ok(shown)
    }

    /// What identity asks to be signed for a request.
    pub async fn offer(&self, root: &Root, shown: &Shown, check_code: Option<&str>) -> anyhow::Result<Offer> {
        let issuer = root.issuer(&shown.app).key().did();
        let body = json!({"shown_hash": shown.hash(), "issuer": issuer, "check_code": check_code});
        Ok(serde_json::from_value(self.post(&format!("/v1/requests/{}/offer", shown.request), &body).await?)?)
    }

    /// Posts a signed approval. Gives where lane 1 goes on.
    pub async fn post_approval(&self, shown: &Shown, approval: &Approval) -> anyhow::Result<Option<String>> {
        let answer = self.post(&format!("/v1/requests/{}/approve", shown.request), &serde_json::to_value(approval)?).await?;
        ensure!(answer["state"] == "issued", "approved, but verifier and broker have not taken it");
        Ok(answer["redirect_to"].as_str().map(str::to_owned))
    }

    /// Approves what was shown: passkey, root, signature, and the root is gone again.
    pub async fn approve(&mut self, shown: &Shown, check_code: Option<&str>) -> anyhow::Result<Option<String>> {
        let root = self.unlock().await?;
        for _ in 0..3 {
            let offer = self.offer(&root, shown, check_code).await?;
            let approval = root.approve(shown, &offer, &self.entropy)?;
            match self.post_approval(shown, &approval).await {
                // Another approval was quicker: the same ceremony signs again at the log's new end.
                Err(error) if code(&error) == Some("log.moved") => {}
                other => return other,
            }
        }
        bail!("the log kept moving")
    }

    /// Renews a full device's credential.
    pub async fn renew(&mut self, app: &str, device_id: &str, device: &Did) -> anyhow::Result<()> {
        self.sign_anew(app, device_id, device, "renew").await
    }

    /// Raises a limited device to full.
    pub async fn raise(&mut self, app: &str, device_id: &str, device: &Did) -> anyhow::Result<()> {
        self.sign_anew(app, device_id, device, "raise").await
    }

    async fn sign_anew(&mut self, app: &str, device_id: &str, device: &Did, what: &str) -> anyhow::Result<()> {
        let root = self.unlock().await?;
        let offer: Offer = serde_json::from_value(self.post(&format!("/v1/devices/{device_id}/{what}/offer"), &json!({})).await?)?;
        let entries: Vec<String> = serde_json::from_value(self.get(&format!("/v1/logs/{app}")).await?["entries"].clone())?;
        let log = DeviceLog::replay(&entries).map_err(|why| anyhow::anyhow!("log: {why:?}"))?;
        let approval = root.renew(app, device, what == "raise", &offer, &log, &self.entropy)?;
        self.post(&format!("/v1/devices/{device_id}/{what}/approve"), &serde_json::to_value(approval)?).await?;
        Ok(())
    }

    /// Says yes to an app that asks who is there. Gives where the browser goes on.
    pub async fn sign_in_to(&mut self, request_uri: &str) -> anyhow::Result<String> {
        self.unlock().await?;
        let asked = self.post("/v1/sign-ins/open", &json!({"request_uri": request_uri})).await?;
        let id = asked["sign_in"].as_str().context("sign-in")?;
        let answer = self.post(&format!("/v1/sign-ins/{id}/allow"), &json!({})).await?;
        Ok(answer["redirect_to"].as_str().context("redirect_to")?.to_owned())
    }

    /// Revokes a device; true when verifier and broker have taken it.
    pub async fn revoke(&self, device_id: &str) -> anyhow::Result<bool> {
        Ok(self.post(&format!("/v1/devices/{device_id}/revoke"), &json!({})).await?["effective"] == true)
    }

    /// Withdraws a consent.
    pub async fn withdraw(&self, grant: &str) -> anyhow::Result<bool> {
        Ok(self.post(&format!("/v1/grants/{grant}/withdraw"), &json!({})).await?["effective"] == true)
    }

    /// What its browser sends: for a test that asks in its name.
    pub fn cookie(&self) -> String {
        self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads from the pages' API.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}{path}", self.identity)).header("cookie", self.cookie()).send().await?;
        read(answer).await.map(|(_, body)| body)
    }

    /// Posts to the pages' API, as the pages do.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.post_with(None, path, body).await
    }

    /// [`Self::post`] from a page that was loaded for this account.
    pub async fn post_meant_for(&self, account: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.post_with(Some(account), path, body).await
    }

    /// Goes on in another's browser session.
    pub fn take_cookie_of(&self, other: &Self) {
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = other.cookie();
    }

    async fn post_with(&self, account: Option<&str>, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self
            .http
            .post(format!("{}{path}", self.identity))
            .header("cookie", self.cookie())
            .header("origin", &self.origin)
            .header("sec-fetch-site", "same-origin");
        let request = match account {
            Some(account) => request.header("baton-account", account),
            None => request,
        };
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await?;
        let (cookie, body) = read(answer).await?;
        if let Some(cookie) = cookie {
            *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = cookie;
        }
        Ok(body)
    }
}

async fn read(answer: reqwest::Response) -> anyhow::Result<(Option<String>, Value)> {
    let status = answer.status().as_u16();
    let cookie =
        answer.headers().get("set-cookie").and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next()).map(str::to_owned);
    let body: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok((cookie, body));
    }
    let code = body["code"].as_str().or(body["error"].as_str()).unwrap_or("unknown").to_owned();
    Err(Refused { status, code }.into())
}

fn with_prf(mut options: Value) -> Value {
    let eval = json!({"eval": {"first": baton_protocol::b64::encode(PRF_SALT)}});
    if options["publicKey"]["extensions"].is_null() {
        options["publicKey"]["extensions"] = json!({});
    }
    options["publicKey"]["extensions"]["prf"] = eval;
    options
}

/// PRF output, kept off every wire and log.
pub type Prf = Secret<Vec<u8>>;
