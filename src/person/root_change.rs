//! A person replaces their root: asks, waits until a full device of each app has agreed, and switches.

use super::{Person, RP_ID, code, with_prf};
use anyhow::{Context as _, bail};
use baton_protocol::device_log::DeviceLog;
use baton_protocol::enrolment::{AppChange, AppSigned};
use baton_sdk::protocol::signer::Signer as _;
use baton_sdk::root::{RecoveryCode, Root};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Person {
    /// Asks for a new root. Gives what it will be and its recovery code.
    pub async fn ask_for_root(&mut self) -> anyhow::Result<(Root, RecoveryCode)> {
        let old = self.unlock().await?;
        let (next, code) = (Root::generate(&self.entropy), RecoveryCode::generate(&self.entropy));
        let request = self.root_request(&old, &next, &code).await?;
        self.post("/v1/account/root/ask", &request).await?;
        Ok((next, code))
    }

    /// What [`Self::ask_for_root`] posts.
    pub async fn root_request(&mut self, old: &Root, next: &Root, code: &RecoveryCode) -> anyhow::Result<Value> {
        let started = self.post("/v1/account/root/start", &json!({})).await?;
        let options = self.post("/v1/sign-in/start", &json!({})).await?["options"].clone();
        let (credential, prf) = self.authenticator.get(with_prf(options)).await?;
        let id = credential["id"].as_str().context("credential id")?;
        let wraps = [next.wrap_for_passkey(&prf, id, RP_ID, &self.entropy)?, next.wrap_for_recovery(code, &self.entropy)?];
        let apps: Vec<&str> = started["apps"].as_array().context("apps")?.iter().filter_map(|app| app["app"].as_str()).collect();
        let issuers: BTreeMap<_, _> = apps.into_iter().map(|app| (app, next.issuer(app).key().did())).collect();
        Ok(json!({"ceremony": started["ceremony"], "request": old.request_for(next), "account_jwk": next.account().key().jwk(),
            "proof": self.account_proof(next, &started)?, "recovery_id": code.id(), "wraps": wraps, "issuers": issuers}))
    }

    /// Signs what identity offers.
    pub async fn sign_switch(&self, old: &Root, next: &Root) -> anyhow::Result<Value> {
        let offered = self.post("/v1/account/root/offer", &json!({})).await?;
        let changes: Vec<AppChange> = serde_json::from_value(offered["apps"].clone())?;
        let mut signed: Vec<AppSigned> = Vec::new();
        for change in &changes {
            let entries: Vec<String> = serde_json::from_value(self.get(&format!("/v1/logs/{}", change.app)).await?["entries"].clone())?;
            let log = DeviceLog::replay(&entries).map_err(|why| anyhow::anyhow!("log: {why:?}"))?;
            signed.push(old.hand_over(next, change, &log, &self.entropy)?);
        }
        Ok(json!({"root": next.fingerprint(), "statement": old.replaced_by(next), "apps": signed}))
    }

    /// The root is this one from here on.
    pub fn replaced(&mut self, next: &Root) {
        self.root = next.fingerprint();
    }

    /// Switches to the root that was asked for.
    pub async fn switch_root(&mut self, next: &Root) -> anyhow::Result<()> {
        let old = self.unlock().await?;
        for _ in 0..3 {
            let body = self.sign_switch(&old, next).await?;
            match self.post("/v1/account/root/approve", &body).await {
                Err(error) if code(&error) == Some("log.moved") => {}
                other => {
                    other?;
                    self.replaced(next);
                    return Ok(());
                }
            }
        }
        bail!("the log kept moving")
    }
}
