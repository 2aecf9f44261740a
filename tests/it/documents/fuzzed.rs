//! schemathesis asks every service everything its document allows, and much that it does not, as somebody who is signed in: nothing fails on our side,
//! and nothing is answered that is not documented. What it cannot make itself (cookie, tokens, proofs over each request, ids of things that exist)
//! is added on the way, between it and the server.

use crate::attacks::routes::{Ids, who_may};
use crate::attacks::{Proof, Rig};
use crate::support::{OPERATOR_KEY, RELYING_KEY, Server};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse as _;
use baton_protocol::access_token::Confirmation;
use baton_protocol::manage::ManageToken;
use baton_protocol::signer::Signer as _;
use baton_sdk::keys::SoftKey;
use baton_service::base::system_clock;
use baton_service::testing::On;
use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What would end the asker's own sign-in or devices: asked as nobody.
const ENDING: [&str; 4] = ["/account/delete", "/account/sign-out", "/revoke", "/withdraw"];
const SCOPE: &str = "session:read session:write handoff:offer handoff:accept presence";

struct Between {
    rig: Rig,
    ids: Ids,
    client: reqwest::Client,
    /// Newest nonce of each service.
    nonces: Mutex<HashMap<String, String>>,
    /// What was ever allowed.
    allowed: Mutex<BTreeSet<String>>,
}

/// The route of a path, and who may ask there.
fn route(method: &str, path: &str) -> Option<(String, String)> {
    let fits = |pattern: &str| {
        let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        pattern.len() == path.len() && pattern.iter().zip(&path).all(|(a, b)| a == b || a.starts_with('{'))
    };
    let mut all = ["identity", "verifier", "broker"].into_iter().flat_map(who_may);
    all.find(|((known, pattern), _)| known == method && fits(pattern)).map(|((_, pattern), who)| (pattern, who))
}

impl Between {
    /// Every other path that takes an id gets one of something that is there.
    fn place(&self, path: &str, pattern: &str) -> String {
        let made_up = path.split('/').zip(pattern.split('/')).find(|(_, part)| part.starts_with('{')).map(|(id, _)| id);
        let (Some(id), Some((_, below))) = (made_up, pattern.trim_start_matches('/').split_once('/')) else { return path.into() };
        if id.len() % 2 == 0 {
            return path.into();
        }
        let service = pattern.split('/').nth(1).unwrap();
        format!("/{service}{}", self.ids.fill(&format!("/{below}")))
    }

    fn key(&self, who: &str) -> &SoftKey {
        if who == "manage" { self.rig.tv.signer() } else { self.rig.laptop.signer() }
    }

    async fn token(&self, who: &str, service: &str, pattern: &str) -> Option<String> {
        let laptop = &self.rig.laptop;
        match who {
            "manage" => {
                let (keys, url) = (&self.rig.server.running.identity.base().keys, &self.rig.server.public_url);
                let now = laptop.http().now().secs();
                let (iss, aud) = (format!("{url}/identity"), format!("{url}/broker"));
                // It takes along, and ends nothing.
                let ends = pattern.ends_with("/export");
                let cnf = Confirmation { jkt: self.key(who).key().thumbprint() };
                let token = ManageToken { v: 1, iss, aud, sub: laptop.subject().into(), iat: now, exp: now + 300, jti: "j".into(), ends, cnf };
                Some(keys.sign(token.draft(keys.kid())))
            }
            "device" if service == "identity" => Some(laptop.token(&laptop.servers().identity, "log:read", None).await.unwrap()),
            "device" => Some(laptop.token(&laptop.servers().broker, SCOPE, None).await.unwrap()),
            _ => None,
        }
    }

    async fn pass(&self, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, 8 << 20).await.unwrap();
        let method = parts.method.as_str().to_owned();
        let Some((pattern, who)) = route(&method, parts.uri.path()) else {
            return self.send(&method, &parts.uri.to_string(), &parts.headers, &[], &body).await;
        };
        let path = self.place(parts.uri.path(), &pattern);
        let service = path.split('/').nth(1).unwrap_or_default().to_owned();
        let whole = parts.uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let mut more = Vec::new();
        if ENDING.iter().any(|end| pattern.ends_with(end)) {
            return self.send(&method, &whole, &parts.headers, &more, &body).await;
        }
        if method == "POST" && pattern.contains("/identity/v1/") && body.is_empty() {
            more.push(("content-type", "application/json".into()));
        }
        match who.as_str() {
            "page" => more.extend([
                ("cookie", self.rig.person.cookie()),
                ("origin", self.rig.server.public_url.clone()),
                ("sec-fetch-site", "same-origin".into()),
            ]),
            "anyone" if pattern.contains("/v1/sign-") || pattern.contains("/v1/recovery") => {
                more.extend([("origin", self.rig.server.public_url.clone()), ("sec-fetch-site", "same-origin".into())]);
            }
            "relying" => more.push(("authorization", format!("Bearer {RELYING_KEY}"))),
            "operator" => more.push(("authorization", format!("Bearer {OPERATOR_KEY}"))),
            _ => {}
        }
        let proves = matches!(who.as_str(), "device" | "manage")
            || ["/par", "/device_authorization", "/token", "/v1/credential", "/v1/manage-tokens"].iter().any(|end| pattern.ends_with(end));
        if !proves {
            return self.send(&method, &whole, &parts.headers, &more, &body).await;
        }
        let token = self.token(&who, &service, &pattern).await;
        more.extend(token.iter().map(|token| ("authorization", format!("DPoP {token}"))));
        let url = format!("{}{path}", self.rig.server.public_url);
        // The first of each key at a service learns the nonce.
        let place = format!("{service} {}", self.key(&who).key().did());
        for _ in 0..2 {
            let nonce = self.nonces.lock().unwrap().get(&place).cloned().unwrap_or_default();
            let mut proof = Proof::new(&self.rig, self.key(&who), &method, &url, token.as_deref(), &nonce);
            if nonce.is_empty() {
                proof.claims.as_object_mut().unwrap().remove("nonce");
            }
            let mut with = more.clone();
            with.push(("dpop", proof.text()));
            let answer = self.send(&method, &whole, &parts.headers, &with, &body).await;
            let Some(fresh) = answer.headers().get("dpop-nonce") else { return answer };
            self.nonces.lock().unwrap().insert(place.clone(), fresh.to_str().unwrap().to_owned());
            if !matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) {
                return answer;
            }
        }
        self.send(&method, &whole, &parts.headers, &more, &body).await
    }

    async fn send(&self, method: &str, whole: &str, headers: &HeaderMap, more: &[(&'static str, String)], body: &[u8]) -> Response<Body> {
        let mut request = self.client.request(method.parse().unwrap(), format!("{}{whole}", self.rig.server.direct())).body(body.to_vec());
        for (name, value) in headers {
            let ours = more.iter().any(|(known, _)| name == known);
            if !ours && !matches!(name.as_str(), "host" | "content-length" | "connection" | "transfer-encoding" | "accept-encoding") {
                request = request.header(name, value);
            }
        }
        for (name, value) in more {
            request = request.header(*name, value);
        }
        // What no HTTP client can send never arrives.
        let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
        if answer.status().is_success() {
            let path = whole.split('?').next().unwrap_or_default();
            self.allowed.lock().unwrap().extend(route(method, path).map(|(pattern, _)| format!("{method} {pattern}")));
        }
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
                response = response.header(name, value);
            }
        }
        response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_is_answered_as_documented() {
    let python = std::env::var("BATON_PYTHON").expect("tests/with-python names it: run the tests with `make test`");
    let server = Server::start_with(On::Sqlite, system_clock(), |config| config.registration = true).await;
    let rig = Rig::at(server).await;
    let ids = Ids::of(&rig).await;
    let url = rig.server.direct();
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let between = Arc::new(Between { rig, ids, client, nonces: Mutex::default(), allowed: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(async |State(between): State<Arc<Between>>, request: Request| between.pass(request).await);
    let serving = tokio::spawn(axum::serve(listener, router.with_state(between.clone())).into_future());
    let notes = tempfile::tempdir().unwrap();
    for service in ["identity", "verifier", "broker"] {
        let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
        let asking = tokio::process::Command::new(&python)
            .args(["-m", "schemathesis.cli", "run", &format!("{url}/docs/openapi/{service}.json"), "--url", &format!("http://{address}")])
            .args(["--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-examples", "12", "--seed", "1", "--generation-deterministic"])
            .args(["--suppress-health-check", "all", "--no-color", "--warnings", "off", "--exclude-path", "/broker/v1/events"])
            .env("NO_PROXY", "*")
            // It keeps notes where it runs.
            .current_dir(notes.path())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&asking.stdout);
        assert!(asking.status.success(), "{service}: {said}{}", String::from_utf8_lossy(&asking.stderr));
    }
    serving.abort();
    // It was let in wherever somebody signed in can look.
    let allowed = between.allowed.lock().unwrap();
    for ((method, path), who) in ["identity", "broker"].into_iter().flat_map(who_may) {
        let looks = method == "GET" && matches!(who.as_str(), "page" | "device" | "manage");
        assert!(!looks || allowed.contains(&format!("GET {path}")), "{path} was never shown");
    }
}
