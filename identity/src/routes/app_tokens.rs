//! What an app gets for a sign-in, and for its refresh token: rotating (RFC 9700 §4.14), bound to one key (RFC 9449 §5).

use super::oid4vci;
use crate::ledger;
use crate::oauth::{ACCESS_SECS, FAMILY_SECS, IdToken, RETRY_SECS, subject, successor};
use crate::state::Identity;
use crate::store::sign_ins::{self, Family, SignIn};
use crate::store::{accounts, credential_offers};
use axum::Json;
use baton_protocol::id::{AccountId, FamilyId, GrantId};
use baton_protocol::key::hash;
use baton_protocol::refusal::Oauth;
use baton_protocol::time::Millis;
use baton_service::form::Form;
use baton_service::guard::Proven;
use baton_service::problem::{Form as Dialect, InternalExt as _, Problem};
use serde_json::{Value, json};
use sqlx::AnyConnection;

fn refuse() -> Problem {
    Problem::oauth(Oauth::Grant)
}

/// `grant_type=authorization_code` of a sign-in; `None` when the code is none of a sign-in's.
pub async fn by_code(identity: &Identity, form: &Form, proven: &Proven) -> Result<Option<Json<Value>>, Problem> {
    let now = identity.base.now();
    let code = hash(form.need("code")?.as_bytes());
    let mut tx = identity.base.db.begin().await.internal()?;
    let Some(account) = sign_ins::account_of_code(&mut tx, &code).await.internal()? else { return Ok(None) };
    // Before anything else, as everybody does: what is withdrawn or ended meanwhile is seen.
    accounts::hold(&mut tx, &AccountId::parse(&account).map_err(|_| refuse())?).await.internal()?;
    let asked = sign_ins::by_code(&mut tx, &code).await.internal()?.ok_or_else(refuse)?;
    let challenge = hash(form.need("code_verifier")?.as_bytes());
    let same = form.need("client_id")? == asked.client_id
        && proven.jkt().as_str() == asked.jkt
        && challenge == asked.code_challenge
        && form.get("redirect_uri") == Some(&asked.redirect_uri);
    // A code that comes twice from whom it is for was seen by two: whatever the first one got ends (RFC 6749 §4.1.2).
    if let Some(family) = asked.family_id.as_ref().filter(|_| same) {
        if asked.wallet.is_some() {
            credential_offers::end_tokens(&mut tx, family).await.internal()?;
        } else {
            end_reused(&mut tx, family, now).await?;
        }
        tx.commit().await.internal()?;
        return Err(refuse());
    }
    if !same || asked.state != "allowed" || asked.code_expires_at.is_none_or(|until| until <= now.0) {
        return Err(refuse());
    }
    proven.consume(&identity.base, &mut tx).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    if asked.wallet.is_some() {
        let (answer, offer) = oid4vci::token_of_code(identity, &mut tx, &asked, now).await?;
        sign_ins::redeemed(&mut tx, &asked.sign_in_id, offer.as_str()).await.internal()?;
        tx.commit().await.internal()?;
        return Ok(Some(answer));
    }
    let family = begin(identity, &mut tx, &asked, now).await?;
    sign_ins::redeemed(&mut tx, &asked.sign_in_id, &family.family_id).await.internal()?;
    let refresh = identity.base.entropy.token();
    sign_ins::add_refresh(&mut tx, &hash(refresh.as_bytes()), &family.family_id, now).await.internal()?;
    let answer = answer(identity, &mut tx, &family, &refresh, family.nonce.as_deref(), now).await?;
    tx.commit().await.internal()?;
    Ok(Some(answer))
}

/// The consent, once for each client, and what rests on it.
async fn begin(identity: &Identity, db: &mut AnyConnection, asked: &SignIn, now: Millis) -> Result<Family, Problem> {
    let account = asked.account_id.clone().ok_or_else(refuse)?;
    let id = |account: &str| AccountId::parse(account).map_err(|_| refuse());
    let known = sign_ins::consent(&mut *db, &account, &asked.client_id, now).await.internal()?;
    let family = Family {
        family_id: FamilyId::new(now, identity.base.entropy.bytes()).to_string(),
        grant_id: known.clone().unwrap_or_else(|| GrantId::new(now, identity.base.entropy.bytes()).to_string()),
        app: asked.app.clone(),
        client_id: asked.client_id.clone(),
        scope: asked.scope.clone(),
        jkt: asked.jkt.clone(),
        nonce: asked.nonce.clone(),
        auth_time: asked.auth_time.filter(|_| asked.max_age.is_some()),
        created_at: now.0,
        ends_at: now.plus_secs(FAMILY_SECS).0,
        ended_at: None,
        account_id: account,
    };
    match known {
        Some(grant) => sign_ins::extend_consent(&mut *db, &grant, family.ends_at).await.internal()?.ok_or_else(refuse)?,
        None => sign_ins::give_consent(&mut *db, &family.grant_id, &family).await.internal()?,
    }
    sign_ins::begin(&mut *db, &family).await.internal()?;
    let detail = json!({"client": family.client_id, "grant": family.grant_id});
    ledger::write(db, &id(&family.account_id)?, "app.signed_in", &detail, now).await.internal()?;
    Ok(family)
}

/// `grant_type=refresh_token`. A token counts once. A retry that began after the answer was made, within ten seconds and by the same key, gets the
/// same successor; any other use of a used one ends everything.
pub async fn by_refresh(identity: &Identity, form: &Form, proven: &Proven, arrived: Millis) -> Result<Json<Value>, Problem> {
    let given = form.need("refresh_token")?;
    let token = hash(given.as_bytes());
    let mut tx = identity.base.db.begin().await.internal()?;
    let known = sign_ins::refresh(&mut tx, &token).await.internal()?.ok_or_else(refuse)?;
    let family = sign_ins::hold(&mut tx, &known.family_id).await.internal()?.ok_or_else(refuse)?;
    // As it is now that nobody else uses it.
    let known = sign_ins::refresh(&mut tx, &token).await.internal()?.ok_or_else(refuse)?;
    let now = identity.base.now();
    if form.need("client_id")? != family.client_id || proven.jkt().as_str() != family.jkt || !family.is_live(now) {
        return Err(refuse());
    }
    if form.get("scope").is_some_and(|scope| !scope.split(' ').all(|one| family.scope.split(' ').any(|had| had == one))) {
        return Err(Problem::oauth(Oauth::Scope));
    }
    proven.consume(&identity.base, &mut tx).await.map_err(|problem| problem.in_form(Dialect::Oauth))?;
    let next = successor(identity, given);
    let next_hash = hash(next.as_bytes());
    match known.used_at {
        None => {
            sign_ins::use_refresh(&mut tx, &token, now).await.internal()?;
            sign_ins::add_refresh(&mut tx, &next_hash, &family.family_id, now).await.internal()?;
        }
        // Asked while another was being answered: that one has it.
        Some(used_at) if arrived.0 <= used_at => {
            tx.commit().await.internal()?;
            return Err(refuse());
        }
        Some(used_at) => {
            let next_used = sign_ins::refresh(&mut tx, &next_hash).await.internal()?.is_none_or(|next| next.used_at.is_some());
            if next_used || now.0 - used_at > RETRY_SECS * 1000 {
                end_reused(&mut tx, &family.family_id, now).await?;
                tx.commit().await.internal()?;
                return Err(refuse());
            }
        }
    }
    let answer = answer(identity, &mut tx, &family, &next, None, now).await?;
    tx.commit().await.internal()?;
    Ok(answer)
}

/// Somebody has what only one should have: nothing of it counts any more, and the person can see it.
async fn end_reused(db: &mut AnyConnection, family: &str, now: Millis) -> Result<(), Problem> {
    let Some(held) = sign_ins::hold(&mut *db, family).await.internal()? else { return Ok(()) };
    if sign_ins::end(&mut *db, family, now).await.internal()? {
        let account = AccountId::parse(&held.account_id).map_err(|_| refuse())?;
        ledger::write(db, &account, "app.token_reused", &json!({"client": held.client_id}), now).await.internal()?;
    }
    Ok(())
}

async fn answer(
    identity: &Identity,
    db: &mut AnyConnection,
    family: &Family,
    refresh: &str,
    nonce: Option<&str>,
    now: Millis,
) -> Result<Json<Value>, Problem> {
    let access = identity.base.entropy.token();
    sign_ins::add_access(db, &hash(access.as_bytes()), &family.family_id, now.plus_secs(ACCESS_SECS), now).await.internal()?;
    let sub = subject(identity, &family.app, &family.account_id);
    let id_token = IdToken::new(&identity.base.url, &sub, &family.client_id, family.auth_time, nonce, now).draft(identity.base.keys.kid());
    Ok(Json(json!({
        "access_token": access, "token_type": "DPoP", "expires_in": ACCESS_SECS, "refresh_token": refresh, "scope": family.scope,
        "id_token": identity.base.keys.sign(id_token),
    })))
}
