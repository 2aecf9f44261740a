//! Identity's HTTP surface. One file an endpoint family; tests mirror these paths.

mod account;
mod activity;
mod app_resources;
mod app_sign_in;
mod app_tokens;
mod approval;
mod credential;
mod device_log;
mod devices;
mod export;
mod manage;
mod metadata;
mod oid4vci;
mod pages;
mod passkeys;
mod recovery;
mod register;
mod renew;
mod requests;
mod root;
mod sign_in;
mod sign_up;
mod start;
mod status_lists;
mod token;
mod type_metadata;

use crate::state::Identity;
use axum::Router;
use axum::routing::{get, post};
use baton_service::edge;
use std::sync::Arc;

/// All routes below identity's path; `path` is that path (`/identity`).
pub fn router(identity: Arc<Identity>, path: &str) -> Router {
    let for_devices = Router::new()
        .route("/par", post(start::pushed))
        .route("/device_authorization", post(start::device))
        .route("/token", post(token::token))
        .route("/jwks", get(metadata::jwks))
        .route("/did.json", get(metadata::did_document))
        .route("/nonce", post(oid4vci::nonce))
        .route("/credential", post(oid4vci::credential))
        .route("/deferred_credential", post(oid4vci::deferred))
        .route("/notification", post(oid4vci::notification))
        .route("/credential-offers/{reference}", get(oid4vci::show_offer))
        .route("/register", post(register::register))
        .route("/userinfo", get(app_resources::userinfo).post(app_resources::userinfo))
        .route("/revoke", post(app_resources::revoke))
        .route("/v1/log", get(device_log::show))
        .route("/v1/log/consent", post(device_log::consent))
        .route("/v1/credential", post(credential::show))
        .route("/v1/credential-types/device-binding", get(type_metadata::show))
        .route("/v1/status-lists/1", get(status_lists::show));
    // For the pages alone, which are of this origin: a cookie says who asks.
    let for_pages = Router::new()
        .route("/v1/sign-up/start", post(sign_up::start))
        .route("/v1/sign-up/finish", post(sign_up::finish))
        .route("/v1/sign-in/start", post(sign_in::start))
        .route("/v1/sign-in/finish", post(sign_in::finish))
        .route("/v1/account", get(account::show))
        .route("/v1/account/wraps", get(account::wraps))
        .route("/v1/account/recovery/confirm", post(account::confirm_recovery))
        .route("/v1/account/recovery/start", post(account::start_recovery))
        .route("/v1/account/recovery/replace", post(account::replace_recovery))
        .route("/v1/account/sign-out", post(account::sign_out))
        .route("/v1/account/export", get(export::export))
        .route("/v1/account/delete", post(account::delete))
        .route("/v1/account/root", get(root::show))
        .route("/v1/account/root/start", post(root::start))
        .route("/v1/account/root/ask", post(root::ask))
        .route("/v1/account/root/cancel", post(root::cancel))
        .route("/v1/account/root/offer", post(root::offer))
        .route("/v1/account/root/approve", post(root::approve))
        .route("/v1/passkeys", get(passkeys::list))
        .route("/v1/passkeys/start", post(passkeys::start))
        .route("/v1/passkeys/finish", post(passkeys::finish))
        .route("/v1/passkeys/{id}/remove", post(passkeys::remove))
        .route("/v1/recovery/start", post(recovery::start))
        .route("/v1/recovery/finish", post(recovery::finish))
        .route("/v1/credential-offers", post(oid4vci::offer))
        .route("/v1/sign-ins/open", post(app_sign_in::open))
        .route("/v1/sign-ins/{id}/allow", post(app_sign_in::allow))
        .route("/v1/sign-ins/{id}/deny", post(app_sign_in::deny))
        .route("/v1/requests", get(requests::waiting))
        .route("/v1/requests/open", post(requests::open))
        .route("/v1/requests/{id}/deny", post(requests::deny))
        .route("/v1/requests/{id}/offer", post(approval::offer))
        .route("/v1/requests/{id}/approve", post(approval::approve))
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{id}/revoke", post(devices::revoke))
        .route("/v1/devices/{id}/rename", post(devices::rename))
        .route("/v1/devices/{id}/credential", get(devices::credential))
        .route("/v1/logs/{app}", get(devices::log))
        .route("/v1/devices/{id}/renew/offer", post(renew::offer))
        .route("/v1/devices/{id}/renew/approve", post(renew::approve))
        .route("/v1/devices/{id}/raise/offer", post(renew::offer_raise))
        .route("/v1/devices/{id}/raise/approve", post(renew::approve))
        .route("/v1/grants", get(devices::grants))
        .route("/v1/grants/{id}/withdraw", post(devices::withdraw))
        .route("/v1/activity", get(activity::list))
        .route("/v1/manage-tokens", post(manage::create));
    // From an origin of their own, the browser asks first whether they may.
    let for_pages = if identity.config.pages_are_elsewhere { edge::open_to_page(for_pages, &identity.config.page_origin) } else { for_pages };
    let own = edge::open_to_browsers(for_devices).merge(for_pages).route("/introspect", post(app_resources::introspect));
    // RFC 8414 puts the well-known part first, OpenID Connect Discovery last.
    let well_known = Router::new()
        .route(&format!("/.well-known/oauth-authorization-server{path}"), get(metadata::authorization_server))
        .route(&format!("/.well-known/jwt-vc-issuer{path}"), get(type_metadata::issuer))
        .route(&format!("/.well-known/openid-credential-issuer{path}"), get(oid4vci::metadata))
        .route(&format!("{path}/.well-known/openid-configuration"), get(metadata::authorization_server));
    let pages = Router::new()
        .route(&format!("{path}/authorize"), get(pages::index))
        .route("/", get(pages::index))
        .route("/device", get(pages::index))
        .route("/wallet", get(pages::index))
        .route("/sessions", get(pages::index))
        .route("/activity", get(pages::index))
        .route("/passkeys", get(pages::index))
        .route("/settings", get(pages::index))
        .route("/baton.json", get(pages::config))
        .route("/assets/{name}", get(pages::asset));
    Router::new().nest(path, own).merge(edge::open_to_browsers(well_known)).merge(pages).with_state(identity)
}
