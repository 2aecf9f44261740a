//! Replacing the root: asked for with the new root's copies, agreed to by a full device of each app, then one switch. Until the switch the root
//! before stays in force, and asking again, or not at all, changes nothing.

use super::approval::check_entries;
use super::renew;
use super::sign_up::check_wraps;
use crate::page_session::{self, PageSession};
use crate::state::Identity;
use crate::store::root_changes::{Consent, RootChange};
use crate::store::{accounts, ceremonies, devices, logs, requests, root_changes, sign_ins, status};
use crate::{ledger, outbox};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use baton_protocol::b64;
use baton_protocol::credential::Tier;
use baton_protocol::device_log::{DeviceLog, Entry, Op};
use baton_protocol::enrolment::{AccountProof, Anew, AppChange, AppSigned, IssuerStatement, RootStatement};
use baton_protocol::id::CeremonyId;
use baton_protocol::jose::Typ;
use baton_protocol::key::{Did, PublicKey, hash};
use baton_protocol::refusal::{Enrol, Limit, Log, Root, Webauthn, Wrap};
use baton_protocol::time::Millis;
use baton_protocol::wrap::{Opener, WrappedRoot};
use baton_service::edge;
use baton_service::problem::{InternalExt as _, NOT_FOUND, Problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A credential and an entry for each device an account may have.
const MAX_SWITCH: usize = 1 << 20;
/// How long the devices have to agree.
const ASKED_SECS: i64 = 24 * 3600;

/// Live devices of each app that has a log. Whose credential has ended is not brought back by another root.
async fn live(db: &mut AnyConnection, session: &PageSession, now: Millis) -> Result<BTreeMap<String, Vec<devices::Device>>, Problem> {
    let mut apps = BTreeMap::new();
    let all = devices::list(&mut *db, &session.account).await.internal()?;
    for app in logs::apps(db, &session.account).await.internal()? {
        let of_app: Vec<_> =
            all.iter().filter(|device| device.app == app && device.revoked_at.is_none() && device.credential_exp > now.secs()).cloned().collect();
        apps.insert(app, of_app);
    }
    Ok(apps)
}

fn can_agree(device: &devices::Device) -> bool {
    device.tier == Tier::Full.as_str() && device.redeemed_at.is_some()
}

/// `POST /v1/account/root/start`: the ceremony the request is bound to, and the apps it is about.
pub async fn start(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    let now = identity.base.now();
    session.needs_fresh(now, Wrap::Reauth)?;
    let apps = live(&mut db, &session, now).await?;
    drop(db);
    let apps: Vec<_> = apps
        .into_iter()
        .filter(|(_, devices)| !devices.is_empty())
        .map(|(app, devices)| json!({"app": app, "can_agree": devices.iter().filter(|d| can_agree(d)).map(|d| &d.device_id).collect::<Vec<_>>()}))
        .collect();
    let ceremony = ceremonies::keep(&identity, "root", Some(session.account.as_str()), "").await?;
    Ok(Json(json!({"ceremony": ceremony, "apps": apps})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    ceremony: CeremonyId,
    /// By the account key of the root so far.
    request: String,
    account_jwk: Value,
    /// By the new account key.
    proof: String,
    recovery_id: String,
    wraps: Vec<WrappedRoot>,
    /// The new issuer of each app.
    issuers: BTreeMap<String, Did>,
}

/// `POST /v1/account/root/ask`
pub async fn ask(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Ask = edge::json(&edge::bytes(body, edge::MAX_BODY).await?)?;
    b64::decode_array::<32>(&body.recovery_id).map_err(|_| Wrap::Invalid)?;
    let key = PublicKey::from_jwk(&body.account_jwk).map_err(|_| Wrap::Proof)?;
    let proof = AccountProof::check(&body.proof, &key, &identity.base.url, body.ceremony.as_str())?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Wrap::Reauth)?;
    let repeated =
        root_changes::find(&mut tx, &session.account, now).await.internal()?.is_some_and(|asked| asked.change_id == body.ceremony.as_str());
    if !repeated {
        let (account, _) = ceremonies::take_in(&mut tx, &identity, "root", &body.ceremony).await?.ok_or(Webauthn::Challenge)?;
        if account.as_deref() != Some(session.account.as_str()) {
            return Err(Webauthn::Challenge.into());
        }
        let row = accounts::find(&mut tx, &session.account).await.internal()?.ok_or(NOT_FOUND)?;
        check_statement(&body.request, Typ::RootRequest, &row.root, &proof.root)?;
        check_copies(&mut tx, &session, &body.wraps, &proof.root).await?;
        check_issuers(&mut tx, &session, &body.issuers, now).await?;
        let change = RootChange {
            change_id: body.ceremony.to_string(),
            root: proof.root,
            account_jwk: key.jwk_value().to_string(),
            recovery_id: hash(body.recovery_id.as_bytes()),
            wraps: serde_json::to_string(&body.wraps).internal()?,
            issuers: serde_json::to_string(&body.issuers).internal()?,
            offer: None,
            expires_at: now.plus_secs(ASKED_SECS).0,
        };
        root_changes::ask(&mut tx, &session.account, &change, now).await.internal()?;
        ledger::write(&mut tx, &session.account, "root.asked", &json!({"root": change.root}), now).await.internal()?;
    }
    let shown = shown(&mut tx, &session, now).await?;
    tx.commit().await.internal()?;
    Ok(Json(shown))
}

/// By the root so far, of the one to be.
fn check_statement(jws: &str, typ: Typ, from: &str, to: &str) -> Result<(), Wrap> {
    let statement = RootStatement::check(jws, typ)?;
    if statement.from == from && statement.to == to { Ok(()) } else { Err(Wrap::Proof) }
}

/// One copy for a passkey of this account and one for the recovery code.
async fn check_copies(db: &mut AnyConnection, session: &PageSession, wraps: &[WrappedRoot], root: &str) -> Result<(), Problem> {
    let passkeys = accounts::passkeys(db, &session.account).await.internal()?;
    let opener = wraps.iter().find_map(|wrapped| match &wrapped.opener {
        Opener::Passkey { credential_id, .. } => Some(credential_id.as_str()),
        Opener::Recovery => None,
    });
    let known = opener.filter(|id| passkeys.iter().any(|passkey| passkey.credential_id == *id)).ok_or(Wrap::Invalid)?;
    Ok(check_wraps(wraps, root, known)?)
}

/// A new issuer for each app with a live device, each of which has a device that can agree.
async fn check_issuers(db: &mut AnyConnection, session: &PageSession, issuers: &BTreeMap<String, Did>, now: Millis) -> Result<(), Problem> {
    let apps = live(&mut *db, session, now).await?;
    let apps: Vec<_> = apps.into_iter().filter(|(_, devices)| !devices.is_empty()).collect();
    if apps.iter().any(|(_, devices)| !devices.iter().any(can_agree)) {
        return Err(Root::NoFullDevice.into());
    }
    if apps.len() != issuers.len() {
        return Err(Enrol::Changed.into());
    }
    for (app, devices) in &apps {
        let to = issuers.get(app).ok_or(Enrol::Changed)?;
        to.key()?;
        if devices.iter().any(|device| device.iss == to.as_str()) {
            return Err(Log::Consent.into());
        }
    }
    Ok(())
}

/// `GET /v1/account/root`: what is asked for, if anything, and who has agreed.
pub async fn show(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let session = page_session::find(&identity, &mut db, &headers).await?;
    Ok(Json(shown(&mut db, &session, identity.base.now()).await?))
}

/// What is asked for in the place of the root, and who has agreed.
pub async fn shown(db: &mut AnyConnection, session: &PageSession, now: Millis) -> Result<Value, Problem> {
    let Some(asked) = root_changes::find(&mut *db, &session.account, now).await.internal()? else { return Ok(json!({"asked": null})) };
    let issuers: BTreeMap<String, String> = serde_json::from_str(&asked.issuers).internal()?;
    let consents = root_changes::consents(&mut *db, &session.account).await.internal()?;
    let mut apps = Vec::new();
    for (app, devices) in live(db, session, now).await? {
        // An app that came later, or whose last full device went, stands in the way: then it is asked again.
        let agreed = agreed(&app, &devices, &consents).map(|given| &given.device);
        let possible = issuers.contains_key(&app) && devices.iter().any(can_agree);
        let names: Vec<_> = devices.iter().map(|device| &device.name).collect();
        if !devices.is_empty() {
            apps.push(json!({"app": app, "to": issuers.get(&app), "agreed": agreed, "possible": possible, "devices": names}));
        }
    }
    // Copies, like all others, only to someone verified within the last minutes.
    let wraps = if session.is_fresh(now) { serde_json::from_str(&asked.wraps).internal()? } else { Value::Null };
    Ok(json!({"asked": {"root": asked.root, "expires_at": asked.expires_at, "apps": apps, "wraps": wraps}}))
}

/// The agreement of a device that can still give it.
fn agreed<'a>(app: &str, devices: &[devices::Device], consents: &'a [Consent]) -> Option<&'a Consent> {
    consents.iter().find(|given| given.app == app && devices.iter().any(|device| device.did == given.device && can_agree(device)))
}

/// `POST /v1/account/root/cancel`: the root stays as it is.
pub async fn cancel(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Wrap::Reauth)?;
    if root_changes::drop(&mut tx, &session.account).await.internal()? {
        ledger::write(&mut tx, &session.account, "root.cancelled", &json!({}), now).await.internal()?;
    }
    tx.commit().await.internal()?;
    Ok(Json(json!({"asked": null})))
}

/// `POST /v1/account/root/offer`: exactly what is to be signed, once every app has agreed. Asked for again, it is for how the logs stand then.
pub async fn offer(State(identity): State<Arc<Identity>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Wrap::Reauth)?;
    let asked = root_changes::find(&mut tx, &session.account, now).await.internal()?.ok_or(Root::NotAsked)?;
    let issuers: BTreeMap<String, Did> = serde_json::from_str::<BTreeMap<String, String>>(&asked.issuers)
        .internal()?
        .into_iter()
        .map(|(app, did)| Ok((app, Did::parse(&did)?)))
        .collect::<Result<_, Problem>>()?;
    // A first offer gives status indexes away, which are not endless.
    if asked.offer.is_none() {
        identity.prompts.count(session.account.as_str(), now).map_err(|_| Limit::Prompts)?;
    }
    let before: Vec<AppChange> = asked.offer.as_deref().map(serde_json::from_str).transpose().internal()?.unwrap_or_default();
    let consents = root_changes::consents(&mut tx, &session.account).await.internal()?;
    let mut changes = Vec::new();
    for (app, devices) in live(&mut tx, &session, now).await? {
        if devices.is_empty() {
            continue;
        }
        // An app that came after the request was made is not in it: then it is asked again.
        let to = issuers.get(&app).ok_or(Root::NotAgreed)?;
        let given = agreed(&app, &devices, &consents).ok_or(Root::NotAgreed)?;
        let entries = entries(&mut tx, &session, &app, to, &given.consent, &devices).await?;
        let mut anew = Vec::new();
        for device in &devices {
            // An index that was given for this change before is used: they are not endless.
            let known = before.iter().flat_map(|change| &change.devices).find(|anew| anew.template.visible.sub.as_str() == device.did);
            let idx = match known {
                Some(anew) => i64::from(anew.template.visible.status.status_list.idx),
                None => status::allot(&mut tx, &device.device_id, &identity.base.entropy, now)
                    .await
                    .internal()?
                    .ok_or(Problem::Unavailable("status list is full"))?,
            };
            let tier = Tier::parse(&device.tier).ok_or(Enrol::Changed)?;
            let template = renew::template(&identity, device, tier, to.clone(), idx, now)?;
            anew.push(Anew { before: device.credential.clone(), template, device_jwk: Did::parse(&device.did)?.key()?.jwk() });
        }
        changes.push(AppChange { app, entries, devices: anew });
    }
    root_changes::keep_offer(&mut tx, &session.account, &serde_json::to_string(&changes).internal()?).await.internal()?;
    tx.commit().await.internal()?;
    Ok(Json(json!({"apps": changes})))
}

/// The log's next entries: it is handed over, who was revoked meanwhile is taken out, and whoever is left has a new credential.
async fn entries(
    db: &mut AnyConnection,
    session: &PageSession,
    app: &str,
    to: &Did,
    consent: &str,
    devices: &[devices::Device],
) -> Result<Vec<String>, Problem> {
    let issuer = logs::issuer(&mut *db, &session.account, app).await.internal()?.ok_or(Log::Invalid)?;
    let log = DeviceLog::replay(&logs::entries(db, &issuer.log).await.internal()?)?;
    let is_live = |did: &Did| devices.iter().any(|device| device.did == did.as_str());
    let revoked = log.members().filter(|(did, _)| !is_live(did)).map(|(did, _)| Op::Revoke { device: did.clone() });
    let mut ops = vec![Op::ReplaceRoot { to: to.clone(), consent: consent.into() }];
    ops.extend(revoked);
    for device in devices {
        ops.push(Op::Renew { device: Did::parse(&device.did)? });
    }
    let (mut n, mut prev) = (issuer.next_n as u64, issuer.head);
    let mut texts = Vec::new();
    for op in ops {
        let text = serde_json::to_string(&Entry { v: 1, n, prev: Some(prev), op }).internal()?;
        (n, prev) = (n + 1, hash(text.as_bytes()));
        texts.push(text);
    }
    Ok(texts)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    /// Fingerprint of the new root.
    root: String,
    /// By the account key of the root so far.
    statement: String,
    apps: Vec<AppSigned>,
}

/// `POST /v1/account/root/approve`: the switch. All of it or nothing.
pub async fn approve(State(identity): State<Arc<Identity>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Problem> {
    page_session::check_origin(&identity, &headers)?;
    let body: Switch = edge::json(&edge::bytes(body, MAX_SWITCH).await?)?;
    let now = identity.base.now();
    let mut tx = identity.base.db.begin().await.internal()?;
    let session = page_session::hold(&identity, &mut tx, &headers).await?;
    session.needs_fresh(now, Wrap::Reauth)?;
    let account = accounts::find(&mut tx, &session.account).await.internal()?.ok_or(NOT_FOUND)?;
    // A repeat after a lost reply finds it done.
    if account.root != body.root {
        let asked =
            root_changes::find(&mut tx, &session.account, now).await.internal()?.filter(|asked| asked.root == body.root).ok_or(Root::NotAsked)?;
        check_statement(&body.statement, Typ::RootStatement, &account.root, &asked.root)?;
        requests::hold_all(&mut tx, &session.account).await.internal()?;
        switch(&mut tx, &session, &account, &asked, &body, now).await?;
    }
    tx.commit().await.internal()?;
    let issued = identity.pump().await?;
    Ok(Json(json!({"state": if issued { "issued" } else { "approved" }, "root": body.root})))
}

async fn switch(
    db: &mut AnyConnection,
    session: &PageSession,
    account: &accounts::Account,
    asked: &RootChange,
    body: &Switch,
    now: Millis,
) -> Result<(), Problem> {
    let signed = &body.apps;
    let offered: Vec<AppChange> = asked.offer.as_deref().map(serde_json::from_str).transpose().internal()?.ok_or(Root::NotAgreed)?;
    if signed.len() != offered.len() || !signed.iter().zip(&offered).all(|(signed, offered)| signed.app == offered.app) {
        return Err(Enrol::Changed.into());
    }
    let account_key: Value = serde_json::from_str(&asked.account_jwk).internal()?;
    let account_key = PublicKey::from_jwk(&account_key).internal()?;
    revoke_lapsed(&mut *db, session, now).await?;
    for (app, devices) in live(&mut *db, session, now).await? {
        match offered.iter().zip(signed).find(|(offered, _)| offered.app == app) {
            Some((offered, signed)) => switch_app(db, session, &devices, offered, signed, &account_key, now).await?,
            None if devices.is_empty() => logs::close(db, &session.account, &app).await.internal()?,
            None => return Err(Log::Moved.into()),
        }
    }
    let mut statements = account.root_statements();
    statements.push(body.statement.clone());
    let wraps: Vec<WrappedRoot> = serde_json::from_str(&asked.wraps).internal()?;
    check_copies(&mut *db, session, &wraps, &asked.root).await?;
    accounts::replace_root(&mut *db, &session.account, asked, &statements, &wraps, now).await.internal()?;
    root_changes::drop(&mut *db, &session.account).await.internal()?;
    page_session::end_others(&mut *db, session).await?;
    sign_ins::end_all(&mut *db, &session.account, now).await.internal()?;
    let detail = json!({"before": account.root, "root": asked.root});
    ledger::write(db, &session.account, "root.replaced", &detail, now).await.internal()
}

/// What has ended by itself stays out: the log says so, and so does its status.
async fn revoke_lapsed(db: &mut AnyConnection, session: &PageSession, now: Millis) -> Result<(), Problem> {
    for device in devices::list(&mut *db, &session.account).await.internal()? {
        if device.credential_exp > now.secs() {
            continue;
        }
        let Some((did, idx)) = devices::revoke(&mut *db, &session.account, &device.device_id, now).await.internal()? else { continue };
        if !status::revoke(&mut *db, idx).await.internal()? {
            return Err(Problem::Internal("status entry is not there".into()));
        }
        outbox::write_device(&mut *db, &did, now).await?;
    }
    Ok(())
}

async fn switch_app(
    db: &mut AnyConnection,
    session: &PageSession,
    devices: &[devices::Device],
    offered: &AppChange,
    signed: &AppSigned,
    account_key: &PublicKey,
    now: Millis,
) -> Result<(), Problem> {
    check_entries(&offered.entries, &signed.entries)?;
    let issuer = logs::issuer(&mut *db, &session.account, &offered.app).await.internal()?.ok_or(Log::Moved)?;
    let same = offered.devices.len() == devices.len()
        && signed.credentials.len() == devices.len()
        && devices
            .iter()
            .zip(&offered.devices)
            .all(|(device, anew)| device.did == anew.template.visible.sub.as_str() && device.credential == anew.before);
    if !same {
        return Err(Log::Moved.into());
    }
    let mut log = DeviceLog::replay(&logs::entries(&mut *db, &issuer.log).await.internal()?)?;
    for entry in &signed.entries {
        log.append(entry)?;
    }
    IssuerStatement::check(&signed.issuer_statement, account_key, &offered.app, log.issuer())?;
    logs::append(&mut *db, &issuer.log, issuer.next_n, &signed.entries, &log.head().hash, now).await.internal()?.ok_or(Log::Moved)?;
    logs::hand_over(&mut *db, &issuer.log, log.issuer().as_str(), &signed.issuer_statement).await.internal()?;
    for ((device, anew), text) in devices.iter().zip(&offered.devices).zip(&signed.credentials) {
        let key = Did::parse(&device.did)?.key()?;
        let credential = anew.template.check_signed(text, &key)?;
        renew::switch(&mut *db, device, &anew.template, (text, &credential.hash), now).await?;
    }
    Ok(())
}
