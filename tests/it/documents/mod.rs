//! What each service answers: OpenAPI 3.1 for the three services, AsyncAPI 3.0 for the event stream, written to `schemas/` (`make schemas`) and
//! shown at `/docs`. Every answer of every test in this binary is held against them: what is not documented fails.

mod broker;
mod events;
mod fuzzed;
mod identity;
mod shorthand;
mod verifier;

use crate::attacks::{Ask, routes};
use crate::support::Server;
use baton_service::testing::On;
use baton_service::witness::Seen;
use serde_json::{Map, Value, json};
use shorthand::schema;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// One operation.
pub struct Op {
    method: String,
    path: String,
    summary: &'static str,
    query: Vec<(&'static str, &'static str)>,
    /// Whether a DPoP proof goes with it: `Some(true)` where it must.
    proof: Option<bool>,
    asks: Option<(&'static str, Value)>,
    answers: Vec<(u16, &'static str, Option<Value>)>,
    refuses: Vec<u16>,
    /// Refuses in OAuth's own form (RFC 6749 §5.2).
    oauth: bool,
}

const JSON: &str = "application/json";

/// `POST /par`, and what it is for.
pub fn op(route: &str, summary: &'static str) -> Op {
    let (method, path) = route.split_once(' ').unwrap();
    Op {
        method: method.into(),
        path: path.into(),
        summary,
        query: Vec::new(),
        proof: None,
        asks: None,
        answers: Vec::new(),
        refuses: Vec::new(),
        oauth: false,
    }
}

impl Op {
    pub fn asks(mut self, short: &Value) -> Self {
        self.asks = Some((JSON, schema(short)));
        self
    }
    pub fn form(mut self, short: &Value) -> Self {
        let mut form = schema(short);
        // Parameters that a standard does not name are ignored.
        form.as_object_mut().unwrap().remove("additionalProperties");
        self.asks = Some(("application/x-www-form-urlencoded", form));
        self.oauth = true;
        self
    }
    /// A body whose unknown members are ignored, as a standard has it.
    pub fn asks_openly(self, short: &Value) -> Self {
        let mut op = self.asks(short);
        op.asks.as_mut().unwrap().1.as_object_mut().unwrap().remove("additionalProperties");
        op
    }
    pub fn query(mut self, name: &'static str, word: &'static str) -> Self {
        self.query.push((name, word));
        self
    }
    pub fn proof(mut self, needed: bool) -> Self {
        self.proof = Some(needed);
        self
    }
    pub fn answers(mut self, status: u16, short: &Value) -> Self {
        self.answers.push((status, JSON, Some(schema(short))));
        self
    }
    pub fn text(mut self, status: u16, media: &'static str) -> Self {
        self.answers.push((status, media, Some(json!({"type": "string"}))));
        self
    }
    /// A status of an answer of its own that is a refusal's as well.
    pub fn problem(mut self, status: u16) -> Self {
        self.answers.push((status, "application/problem+json", Some(json!({"$ref": "#/components/schemas/Problem"}))));
        self
    }
    pub fn empty(mut self, status: u16) -> Self {
        self.answers.push((status, "", None));
        self
    }
    pub fn refuses(mut self, more: &[u16]) -> Self {
        self.refuses.extend(more);
        self
    }
    pub fn oauth(mut self) -> Self {
        self.oauth = true;
        self
    }

    fn written(&self, who: &str) -> Value {
        let mut parameters = Vec::new();
        for part in self.path.split('{').skip(1) {
            let name = part.split('}').next().unwrap();
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        }
        for (name, word) in &self.query {
            let (name, required) = name.strip_suffix('?').map_or((*name, true), |name| (name, false));
            parameters.push(json!({"name": name, "in": "query", "required": required, "schema": schema(&json!(word))}));
        }
        let proof = self.proof.or(matches!(who, "device" | "manage" | "token").then_some(who != "token"));
        if let Some(required) = proof {
            parameters.push(json!({"$ref": if required { "#/components/parameters/DPoP" } else { "#/components/parameters/DPoPOptional" }}));
        }
        let mut responses = Map::new();
        for (status, media, schema) in &self.answers {
            let answer = responses.entry(status.to_string()).or_insert_with(|| json!({"description": reason(*status)}));
            if let Some(schema) = schema {
                answer["content"][*media] = json!({"schema": schema});
            }
        }
        for status in self.refusals(who) {
            let form = if self.oauth || (status == 401 && who == "relying") { "OAuth" } else { "" };
            responses.insert(status.to_string(), json!({"$ref": format!("#/components/responses/Refused{status}{form}")}));
        }
        let mut written = json!({"summary": self.summary, "operationId": self.id(), "tags": [who], "parameters": parameters, "responses": responses});
        if let Some((media, schema)) = &self.asks {
            written["requestBody"] = json!({"required": true, "content": {*media: {"schema": schema}}});
        }
        written["security"] = match who {
            "anyone" | "ticket" => json!([]),
            who => json!([{who: []}]),
        };
        written
    }

    fn id(&self) -> String {
        let words: Vec<_> = self.path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty()).collect();
        format!("{} {}", self.method.to_lowercase(), words.join(" ")).replace([' ', '-'], "_")
    }

    fn refusals(&self, who: &str) -> BTreeSet<u16> {
        // What a query or a coding may be refused for, and what fails on our side.
        let mut all: BTreeSet<u16> = [400, 408, 415, 500, 503].into();
        all.extend(&self.refuses);
        if self.method == "POST" {
            all.insert(413);
        }
        if self.path.contains('{') {
            all.insert(404);
        }
        match who {
            "anyone" => {}
            "relying" | "operator" => all.extend([401]),
            _ => all.extend([401, 403]),
        }
        if self.oauth {
            all.insert(401);
        }
        all.retain(|status| !self.answers.iter().any(|(known, ..)| known == status));
        all
    }
}

fn reason(status: u16) -> String {
    axum::http::StatusCode::from_u16(status).unwrap().canonical_reason().unwrap().to_owned()
}

/// `$defs` of a generated schema become components; what it is itself gets `name`.
fn take_in(components: &mut Map<String, Value>, name: &str, text: &str) {
    let mut schema: Value = serde_json::from_str(&text.replace("#/$defs/", "#/components/schemas/")).unwrap();
    let own = schema.as_object_mut().unwrap();
    for unwanted in ["$schema", "$id"] {
        own.remove(unwanted);
    }
    if let Some(Value::Object(defs)) = own.remove("$defs") {
        for (name, def) in defs {
            let known = components.insert(name.clone(), def.clone());
            assert!(known.is_none_or(|known| known == def), "{name} is two things");
        }
    }
    components.insert(name.into(), schema);
}

/// Who asks, as in tests/it/attacks/routes.txt.
fn security_schemes() -> Value {
    json!({
        "page": {"type": "apiKey", "in": "cookie", "name": "__Host-baton", "description": "A signed-in person's page, of its own origin (`Origin` and `Sec-Fetch-Site` are checked; at an origin of its own, `Baton-Account` names whose page it is)."},
        "device": {"type": "http", "scheme": "DPoP", "description": "A device's token (RFC 9068) with a proof by its key (RFC 9449)."},
        "manage": {"type": "http", "scheme": "DPoP", "description": "A page's token for one app's sessions, with a proof by the page's key."},
        "token": {"type": "http", "scheme": "DPoP", "description": "An app's token from a sign-in, or a wallet's (which may be a bearer's)."},
        "relying": {"type": "http", "scheme": "bearer", "description": "A relying service's API key."},
        "operator": {"type": "http", "scheme": "bearer", "description": "An operator's API key."},
    })
}

fn common() -> Map<String, Value> {
    let codes: Value = serde_json::from_str(include_str!("../../../schemas/codes.json")).unwrap();
    let mut codes: Vec<_> = codes["codes"].as_array().unwrap().clone();
    let mut errors = codes.clone();
    codes.extend(["internal".into(), "unavailable".into()]);
    errors.push("invalid_client".into());
    let all = json!({
        "Problem": {"type": "object", "description": "RFC 9457. `code` is stable; further members say more.", "required": ["type", "title", "status", "code"],
            "properties": {"type": {"const": "about:blank"}, "title": {"type": "string"}, "status": {"type": "integer"}, "code": {"enum": codes},
                "detail": {"type": "string", "description": "What was wrong with the shape; never a value."}}},
        "OAuthError": {"type": "object", "description": "RFC 6749 section 5.2.", "required": ["error"], "properties": {"error": {"enum": errors}}},
        "Jwks": {"type": "object", "description": "RFC 7517.", "required": ["keys"], "properties": {"keys": {"type": "array", "items": {"type": "object"}}}},
    });
    all.as_object().unwrap().clone()
}

/// Operations are grouped by who may ask.
fn tags(paths: &Value) -> Value {
    let schemes = security_schemes();
    let about = |who: &str| match who {
        "anyone" => "Whoever it is: what is sent says the rest.",
        "ticket" => "Whoever brings a ticket, or a device's token.",
        who => schemes[who]["description"].as_str().unwrap(),
    };
    let used: BTreeSet<_> =
        paths.as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values()).map(|op| op["tags"][0].as_str().unwrap()).collect();
    used.into_iter().map(|who| json!({"name": who, "description": about(who)})).collect()
}

/// Refusals, by status and form: only those that some operation gives.
fn refusals(paths: &Value) -> Map<String, Value> {
    let text = paths.to_string();
    let mut all = Map::new();
    for (status, form) in (400..=507).flat_map(|status: u16| [(status, ""), (status, "OAuth")]) {
        let name = format!("Refused{status}{form}");
        if text.contains(&format!("/{name}\"")) {
            let mut content = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
            if !form.is_empty() {
                content[JSON] = json!({"schema": {"$ref": "#/components/schemas/OAuthError"}});
            }
            all.insert(name, json!({"description": reason(status), "content": content}));
        }
    }
    all
}

/// A service's document.
fn document(service: &str, about: &str, ops: Vec<Op>, components: Map<String, Value>) -> Value {
    let who: BTreeMap<(String, String), String> = routes::who_may(service).collect();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for op in ops {
        let who = who.get(&(op.method.clone(), op.path.clone())).unwrap_or_else(|| panic!("{} {}: no such route", op.method, op.path));
        let before = paths.entry(op.path.clone()).or_default().insert(op.method.to_lowercase(), op.written(who));
        assert!(before.is_none(), "{} {} twice", op.method, op.path);
    }
    let paths = json!(paths);
    let responses = refusals(&paths);
    let mut schemas = common();
    schemas.extend(components);
    let dpop = |required: bool| {
        json!({"name": "DPoP", "in": "header", "required": required, "schema": {"type": "string"},
            "description": "A proof by the caller's key (RFC 9449); where `use_dpop_nonce` comes back, again with the `DPoP-Nonce` that came with it."})
    };
    json!({
        "openapi": "3.1.0",
        "info": {"title": format!("Baton: {service}"), "version": env!("CARGO_PKG_VERSION"), "description": about, "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"}},
        "servers": [{"url": "/"}],
        "tags": tags(&paths),
        "paths": paths,
        "components": {"schemas": schemas, "responses": responses, "securitySchemes": security_schemes(), "parameters": {"DPoP": dpop(true), "DPoPOptional": dpop(false)}},
    })
}

static ALL: LazyLock<[(&str, Value); 3]> =
    LazyLock::new(|| [("identity", identity::document()), ("verifier", verifier::document()), ("broker", broker::document())]);

fn golden(path: &str, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BATON_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    } else {
        assert!(std::fs::read_to_string(&path).unwrap_or_default() == text, "{}: run make schemas", path.display());
    }
}

#[test]
fn drift_of_the_documents() {
    for (service, document) in &*ALL {
        golden(&format!("schemas/openapi/{service}.json"), document);
    }
    golden("schemas/asyncapi.json", &events::document());
}

#[test]
fn every_route_is_documented() {
    for (service, document) in &*ALL {
        let mut known = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            known.extend(item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
        }
        // Pages are for people to look at.
        let wanted: BTreeSet<_> = routes::who_may(service).filter(|(_, who)| who != "browser").map(|(route, _)| route).collect();
        assert_eq!(known, wanted, "{service}");
    }
}

fn is_page(path: &str) -> bool {
    path.starts_with("/docs") || routes::who_may("identity").any(|((_, known), who)| who == "browser" && known == path)
}

type Validators = BTreeMap<(String, String, u16, String), &'static jsonschema::Validator>;

/// How many answers were held.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// What was answered otherwise than documented.
static WRONG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Holds an answer against the documents. What is wrong is told when a server goes: a panic here would be one in the server, which a test that waits
/// for a refusal could take for one.
pub fn hold(seen: &Seen<'_>) {
    HELD.fetch_add(1, Ordering::Relaxed);
    if std::panic::catch_unwind(|| check(seen)).is_err() {
        WRONG.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
            "{} {} {}: {}",
            seen.method,
            seen.path,
            seen.status,
            String::from_utf8_lossy(seen.body)
        ));
    }
}

/// Part of each test's server.
pub struct Documented;

impl Drop for Documented {
    fn drop(&mut self) {
        let wrong = WRONG.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(wrong.is_empty() || std::thread::panicking(), "not as documented: {wrong:#?}");
    }
}

#[tokio::test]
async fn every_answer_is_held_and_another_than_documented_is_found() {
    let server = Server::start(On::Sqlite).await;
    let before = HELD.load(Ordering::Relaxed);
    assert_eq!(Ask::new("GET", format!("{}/broker/jwks", server.public_url)).send().await.status, 200);
    assert!(HELD.load(Ordering::Relaxed) > before, "nobody looked");

    let jwks = Seen { method: "GET", path: "/broker/jwks", status: 200, content_type: JSON, body: br#"{"keys":[]}"# };
    check(&jwks);
    for wrong in [
        Seen { status: 418, ..jwks },
        Seen { status: 307, path: "/", ..jwks },
        Seen { path: "/broker/unheard-of", ..jwks },
        Seen { content_type: "text/plain", ..jwks },
        Seen { body: b"{}", ..jwks },
        Seen { body: b"keys", ..jwks },
        Seen { path: "/broker/v1/nonces", method: "POST", body: br#"{"nonce":"n","expires_in":5,"more":1}"#, ..jwks },
    ] {
        assert!(std::panic::catch_unwind(|| check(&wrong)).is_err(), "{wrong:?}");
    }
}

fn check(seen: &Seen<'_>) {
    static KNOWN: LazyLock<Mutex<Validators>> = LazyLock::new(Mutex::default);
    assert!(!matches!(seen.status, 307 | 308), "what was posted is sent on (HTTP-10)");
    let Some((_, document)) = ALL.iter().find(|(_, document)| document["paths"].get(seen.path).is_some()) else {
        assert!(is_page(seen.path) || seen.path == "unknown", "{}: not documented", seen.path);
        return;
    };
    // Another method is axum's to refuse (RFC 9110 §15.5.6); a browser asks first with OPTIONS.
    if seen.status == 405 || seen.method == "OPTIONS" {
        return;
    }
    let place = format!("{} {} {}", seen.method, seen.path, seen.status);
    let method = if seen.method == "HEAD" { "get".to_owned() } else { seen.method.to_lowercase() };
    let answer = &document["paths"][seen.path][&method]["responses"][seen.status.to_string()];
    assert!(answer.is_object(), "{place}: not documented: {}", String::from_utf8_lossy(seen.body));
    let answer = answer["$ref"].as_str().map_or(answer, |name| document.pointer(name.trim_start_matches('#')).unwrap());
    let Some(content) = answer.get("content") else {
        assert!(seen.body.is_empty(), "{place}: a body that is not documented");
        return;
    };
    let media = seen.content_type.split(';').next().unwrap();
    let Some(schema) = content.get(media).map(|media| &media["schema"]) else { panic!("{place}: {media} is not documented") };
    if !media.ends_with("json") || seen.method == "HEAD" {
        return;
    }
    let body: Value = serde_json::from_slice(seen.body).unwrap_or_else(|_| panic!("{place}: not JSON"));
    let key = (method, seen.path.to_owned(), seen.status, media.to_owned());
    let validator = *KNOWN.lock().unwrap().entry(key).or_insert_with(|| {
        let whole = json!({"allOf": [schema], "components": document["components"]});
        Box::leak(Box::new(jsonschema::validator_for(&whole).unwrap()))
    });
    if let Err(why) = validator.validate(&body) {
        panic!("{place}: {why} at {}", why.instance_path());
    }
}
