//! `GET /authorize`: where an app's browser lands in lane 1. The page that approves comes with the pages; this one says what to do without them.

use crate::state::Identity;
use axum::extract::State;
use axum::response::Html;
use std::sync::Arc;

/// A plain page: it reads nothing from the request, so there is nothing to reflect.
pub async fn page(State(identity): State<Arc<Identity>>) -> Html<String> {
    let origin = &identity.config.page_origin;
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Baton</title><h1>Approve a device</h1>\
         <p>An app on this device asks to be enrolled. Approve it with <code>baton approve</code> at {origin}, or close this page to refuse.</p></html>"
    ))
}
