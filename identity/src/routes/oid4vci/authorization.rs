//! Authorization code for wallets (§5): a pushed request that names the credential, the person's yes, and the token. As for an app's sign-in, the
//! code goes by a redirect to where the client is registered and counts with its key alone, so nothing is typed when the person approves what it then asks
//! for (docs/threat-model.md says what that leaves).

use super::CONFIGURATION;
use crate::ledger;
use crate::state::Identity;
use crate::store::credential_offers::{self, LIFETIME_SECS, New, NewToken};
use crate::store::sign_ins::SignIn;
use axum::Json;
use baton_protocol::id::{AccountId, OfferId, RequestId};
use baton_protocol::key::hash;
use baton_protocol::refusal::Oauth;
use baton_protocol::time::Millis;
use baton_service::form::Form;
use baton_service::problem::{InternalExt as _, Problem};
use serde_json::{Value, json};
use sqlx::AnyConnection;

/// The type of `authorization_details` (§5.1.1).
pub const DETAILS: &str = "openid_credential";

/// How a wallet says which credential it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By the configuration's scope (§5.1.2).
    Scope,
    /// By `authorization_details`; then its token names the credential by an identifier.
    Details,
}

impl By {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Details => "details",
        }
    }
}

/// What a pushed request wants, if it is a wallet's. Who also asks to sign in is an app, and the scope one that it has no use for.
pub fn wanted(identity: &Identity, form: &Form) -> Result<Option<By>, Problem> {
    let scopes = || form.get("scope").unwrap_or_default().split(' ');
    let Some(details) = form.get("authorization_details") else {
        return Ok((scopes().any(|one| one == CONFIGURATION) && !scopes().any(|one| one == "openid")).then_some(By::Scope));
    };
    let bad = || Problem::oauth(Oauth::Details);
    let details = baton_protocol::json::value(details.as_bytes(), 16 * 1024).map_err(|_| bad())?;
    let details = details.as_array().ok_or_else(bad)?;
    if !details.iter().any(|one| one["type"] == DETAILS) {
        return Ok(None);
    }
    let [one] = &details[..] else { return Err(bad()) };
    let here = one.get("locations").is_none_or(|all| all.as_array().is_some_and(|all| all.iter().any(|url| *url == identity.base.url)));
    if one["credential_configuration_id"] == CONFIGURATION && here { Ok(Some(By::Details)) } else { Err(bad()) }
}

/// `issuer_state` (§4.1.1) of an offer: only this service can tell.
pub fn issuer_state(identity: &Identity, offer: &str) -> String {
    format!("{offer}.{}", identity.base.keys.derived("baton/issuer-state/1", &[offer]))
}

/// The open offer that a wallet says it comes from, and whose it is.
pub async fn offered(identity: &Identity, state: &str, client: &str, now: Millis) -> Result<(String, String), Problem> {
    let bad = || Problem::oauth(Oauth::Request);
    let offer = state.split_once('.').map(|(offer, _)| offer).filter(|offer| issuer_state(identity, offer) == state).ok_or_else(bad)?;
    let mut db = identity.base.db.reader().acquire().await.internal()?;
    let account = credential_offers::open_for(&mut db, offer, client, now).await.internal()?.ok_or_else(bad)?;
    Ok((offer.to_owned(), account))
}

/// The token for a code that is this wallet's. It opens one request, which the person still has to approve.
pub async fn token(identity: &Identity, db: &mut AnyConnection, asked: &SignIn, now: Millis) -> Result<(Json<Value>, OfferId), Problem> {
    let entropy = &identity.base.entropy;
    let account = asked.account_id.as_deref().and_then(|account| AccountId::parse(account).ok()).ok_or_else(|| Problem::oauth(Oauth::Grant))?;
    let offer = if let Some(offer) = &asked.offer_id {
        OfferId::parse(offer)?
    } else {
        // What the person allowed is an offer that this wallet takes; nobody has a link to it, or a code for it.
        let offer = OfferId::new(now, entropy.bytes());
        let nobody = || hash(entropy.token().as_bytes());
        let (reference_hash, code_hash) = (&nobody(), &nobody());
        let new = New { offer: offer.as_str(), account: &account, client: &asked.client_id, reference_hash, code_hash, tx_code_hash: "" };
        credential_offers::create(&mut *db, &new, now).await.internal()?;
        offer
    };
    // Nobody has taken it before, in this way or by its pre-authorized code.
    if !credential_offers::redeem(&mut *db, offer.as_str(), now).await.internal()? {
        return Err(Problem::oauth(Oauth::Grant));
    }
    let (access, request) = (entropy.token(), RequestId::new(now, entropy.bytes()));
    let by_details = asked.wallet.as_deref() == Some(By::Details.as_str());
    let new = NewToken {
        hash: &hash(access.as_bytes()),
        offer: offer.as_str(),
        jkt: Some(&asked.jkt),
        request: request.as_str(),
        check_code_hash: "",
        by_identifier: by_details,
        until: now.plus_secs(LIFETIME_SECS),
    };
    credential_offers::add_token(&mut *db, &new).await.internal()?;
    ledger::write(db, &account, "wallet.allowed", &json!({"client": asked.client_id, "from": asked.seen_address}), now).await.internal()?;
    let mut answer = json!({"access_token": access, "token_type": "DPoP", "expires_in": LIFETIME_SECS});
    if by_details {
        let named = json!({"type": DETAILS, "credential_configuration_id": CONFIGURATION, "credential_identifiers": [CONFIGURATION]});
        answer["authorization_details"] = json!([named]);
    } else {
        answer["scope"] = CONFIGURATION.into();
    }
    Ok((Json(answer), offer))
}
