//! A relying service asks to see this device's credential (OpenID4VP 1.0). The device answers the verifier it is enrolled with, whose request it can check,
//! and nobody else: nothing is sent to an address that a request names but the verifier's own (docs/protocol.md §15).

use crate::device::{Device, unverified_claims};
use crate::error::Error;
use crate::http::{Request, form};
use baton_protocol::dcql::Query;
use baton_protocol::jose::{Typ, Unverified};
use baton_protocol::jwe::{Enc, Opener, Recipient};
use baton_protocol::key::{PublicKey, did_web};
use baton_protocol::presentation::TransactionData;
use baton_protocol::refusal::Jose;
use baton_protocol::sd_jwt::Compact;
use baton_protocol::time::SKEW_AHEAD_SECS;
use baton_protocol::{b64, json};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value, json as object};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whom requests are for that are shown to any wallet (§5.8).
const ANY_WALLET: &str = "https://self-issued.me/v2";
/// Longest transaction data.
const MAX_DATA: usize = 64 * 1024;

const UNMET: Error = Error::NotAnswered { code: "vp.unmet", reason: "its credential is not what is asked for" };

const fn no(reason: &'static str) -> Error {
    Error::NotAnswered { code: "vp.request", reason }
}

/// What a relying service asks for. Show the person who asks, what they would see and what is agreed to; then [`answer`](Self::answer) or
/// [`decline`](Self::decline).
pub struct PresentationRequest {
    device: Arc<Device>,
    asked: Parameters,
    recipient: Option<Recipient>,
    /// What stands for each query: names of claims.
    shown: BTreeMap<String, BTreeSet<String>>,
    claims: Map<String, Value>,
    agreed: Vec<Agreed>,
}

/// The parameters of a request (§5.1), as far as they are read; others are ignored.
#[derive(Deserialize)]
struct Parameters {
    client_id: String,
    aud: String,
    response_type: String,
    response_mode: String,
    response_uri: String,
    redirect_uri: Option<String>,
    nonce: String,
    state: String,
    dcql_query: Query,
    #[serde(default)]
    client_metadata: Metadata,
    #[serde(default)]
    transaction_data: Vec<String>,
    wallet_nonce: Option<String>,
    iat: i64,
    exp: i64,
}

#[derive(Default, Deserialize)]
struct Metadata {
    client_name: Option<String>,
    #[serde(default)]
    jwks: Keys,
    #[serde(default)]
    encrypted_response_enc_values_supported: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

/// One thing to agree to, and with which credential.
struct Agreed {
    text: TransactionData,
    content: Map<String, Value>,
    credential: String,
}

impl PresentationRequest {
    /// Reads what a link or QR code (`openid4vp://?..`) asks of this device. `known` are the types of transaction data that the app can show to a person: a
    /// request with others is refused (§8.4). Nothing is told to anybody by reading but that somebody has.
    pub async fn read(device: &Arc<Device>, link: &str, known: &[&str]) -> Result<Self, Error> {
        let verifier = &device.servers().verifier;
        let did = did_web(verifier);
        let client = format!("decentralized_identifier:{did}");
        let link = parameters(link).ok_or(no("link"))?;
        let (Some(named), Some(uri)) = (link.get("client_id"), link.get("request_uri")) else { return Err(no("link")) };
        if *named != client {
            return Err(no("client"));
        }
        if !is_below(verifier, "/oid4vp/requests/", uri) {
            return Err(no("address"));
        }
        let nonce = device.http().entropy().token();
        let body = Some(("application/x-www-form-urlencoded", form(&[("wallet_nonce", &nonce)])));
        let request = Request { method: "POST", url: uri.clone(), service: verifier, token: None, body };
        let answer = device.http().plain(&request).await?;
        let signed = Unverified::parse(answer.as_str().ok_or(Error::Answer("request"))?, Typ::AuthorizationRequest)?;
        let kid = signed.unverified_header().kid.as_deref().and_then(|kid| kid.strip_prefix(&did)?.strip_prefix('#')).ok_or(no("client"))?;
        let key = device.key_of(verifier, Some(kid)).await?.ok_or(Jose::Kid)?;
        let asked: Parameters = signed.verify(&key)?.claims()?;
        Self::check(device, asked, &client, &nonce, known)
    }

    fn check(device: &Arc<Device>, asked: Parameters, client: &str, nonce: &str, known: &[&str]) -> Result<Self, Error> {
        let now = device.http().now().secs();
        if asked.client_id != client || asked.aud != ANY_WALLET {
            return Err(no("client"));
        }
        if asked.wallet_nonce.as_deref() != Some(nonce) || asked.iat > now + SKEW_AHEAD_SECS || asked.exp <= now {
            return Err(no("stale"));
        }
        if !is_below(&device.servers().verifier, "/oid4vp/responses/", &asked.response_uri) {
            return Err(no("address"));
        }
        let recipient = match asked.response_mode.as_str() {
            "direct_post" => None,
            "direct_post.jwt" => Some(recipient(&asked.client_metadata).ok_or(no("form"))?),
            _ => return Err(no("form")),
        };
        if asked.response_type != "vp_token" || asked.redirect_uri.is_some() {
            return Err(no("form"));
        }
        asked.dcql_query.check()?;
        let agreed: Vec<_> = asked.transaction_data.iter().map(|text| agreed(text, known)).collect::<Option<_>>().ok_or(no("transaction data"))?;
        let claims = all_claims(&device.enrolled().credential)?;
        let also = agreed.iter().map(|one| one.credential.as_str()).collect();
        let shown = asked.dcql_query.answer_with(&Value::Object(claims.clone()), &also).ok_or(UNMET)?;
        let owned = |(id, names): (&str, BTreeSet<&str>)| (id.to_owned(), names.into_iter().map(str::to_owned).collect());
        let shown = shown.into_iter().map(owned).collect();
        Ok(Self { device: device.clone(), recipient, shown, claims, agreed, asked })
    }

    /// Who asks, by the verifier's word.
    pub fn relying(&self) -> Option<&str> {
        self.asked.client_metadata.client_name.as_deref()
    }

    /// Every claim that the answer discloses. Beside them it shows what every presentation does: the person as this app knows them, the device's key, its tier
    /// and the app.
    pub fn discloses(&self) -> Map<String, Value> {
        let names: BTreeSet<_> = self.shown.values().flatten().collect();
        self.claims.iter().filter(|(name, _)| names.contains(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// What is agreed to by answering.
    pub fn agrees_to(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.agreed.iter().map(|one| &one.content)
    }

    /// Shows the credential. Gives where the person's browser goes on, if anywhere. A request takes one answer: `vp.state` when it has had one, perhaps this
    /// one before, whose reply was lost.
    pub async fn answer(&self) -> Result<Option<String>, Error> {
        let mut token = Map::new();
        for (id, names) in &self.shown {
            let data: Vec<_> = self.agreed.iter().filter(|one| one.credential == *id).map(|one| one.text.clone()).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            token.insert(id.clone(), object!([self.device.present(&self.asked.client_id, &self.asked.nonce, &data, &names).await?]));
        }
        let token = Value::Object(token);
        match &self.recipient {
            None => self.send(&[("vp_token", &token.to_string()), ("state", &self.asked.state)]).await,
            Some(recipient) => {
                let entropy = self.device.http().entropy();
                let ephemeral = Opener::from_scalar(&entropy.bytes()).ok_or(Jose::Key)?;
                let plain = object!({"vp_token": token, "state": self.asked.state}).to_string();
                self.send(&[("response", &recipient.seal(plain.as_bytes(), &ephemeral, entropy.bytes())?)]).await
            }
        }
    }

    /// Says that the person does not want to.
    pub async fn decline(&self) -> Result<Option<String>, Error> {
        self.send(&[("error", "access_denied"), ("state", &self.asked.state)]).await
    }

    async fn send(&self, answer: &[(&str, &str)]) -> Result<Option<String>, Error> {
        let body = Some(("application/x-www-form-urlencoded", form(answer)));
        let request = Request { method: "POST", url: self.asked.response_uri.clone(), service: &self.device.servers().verifier, token: None, body };
        let said = self.device.http().plain(&request).await?;
        let landing = said.get("redirect_uri").and_then(Value::as_str).map(str::to_owned);
        if landing.as_deref().is_none_or(is_landing) { Ok(landing) } else { Err(Error::Answer("redirect_uri")) }
    }
}

/// Every claim of a credential of this device's own, whether in clear or not disclosed before.
fn all_claims(credential: &str) -> Result<Map<String, Value>, Error> {
    let mut claims = unverified_claims(credential)?;
    claims.retain(|name, _| !name.starts_with("_sd"));
    claims.extend(Compact::parse(credential)?.disclosures.iter().filter_map(|one| Some((one.name()?.to_owned(), one.value().to_value()))));
    Ok(claims)
}

/// The parameters of a link, each said once.
fn parameters(link: &str) -> Option<BTreeMap<String, String>> {
    let link = Url::parse(link).ok().filter(|link| link.scheme() == "openid4vp")?;
    let mut all = BTreeMap::new();
    let once = link.query_pairs().all(|(name, value)| all.insert(name.into_owned(), value.into_owned()).is_none());
    once.then_some(all)
}

/// Whether it is one name below a path of this service, and nothing that could be read as another address.
fn is_below(service: &str, path: &str, uri: &str) -> bool {
    let name = uri.strip_prefix(service).and_then(|rest| rest.strip_prefix(path));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))
}

/// Where a browser may be sent.
fn is_landing(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|uri| uri.scheme() == "https" || (uri.scheme() == "http" && uri.host_str() == Some("localhost")))
}

/// Whom an answer is sealed to (§8.3).
fn recipient(metadata: &Metadata) -> Option<Recipient> {
    let names = &metadata.encrypted_response_enc_values_supported;
    let enc = if names.is_empty() { Some(Enc::A128Gcm) } else { names.iter().find_map(|name| Enc::parse(name)) };
    let text = |jwk: &Value, name: &str| jwk.get(name).and_then(Value::as_str).map(str::to_owned);
    let usable = |jwk: &&Value| text(jwk, "alg").as_deref() == Some("ECDH-ES") && text(jwk, "use").is_none_or(|name| name == "enc");
    let found = metadata.jwks.keys.iter().filter(usable).find_map(|jwk| Some((PublicKey::from_jwk(jwk).ok()?, text(jwk, "kid"))));
    found.zip(enc).map(|((key, kid), enc)| Recipient { key, kid, enc })
}

/// One thing to agree to, if the app knows its type. What Baton's own handoffs agree to is never agreed to for a relying service.
fn agreed(text: &str, known: &[&str]) -> Option<Agreed> {
    let content = json::object(&b64::decode(text).ok()?, MAX_DATA).ok()?;
    content.get("type")?.as_str().filter(|kind| known.contains(kind) && !kind.starts_with("baton."))?;
    let [credential] = &content.get("credential_ids")?.as_array()?[..] else { return None };
    let hashed =
        content.get("transaction_data_hashes_alg").is_none_or(|names| names.as_array().is_some_and(|names| names.contains(&"sha-256".into())));
    let credential = credential.as_str().filter(|_| hashed)?.to_owned();
    Some(Agreed { text: TransactionData::from_text(text), credential, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_its_own_verifier_and_no_other() {
        let verifier = "https://baton.example/verifier";
        for (uri, is) in [
            ("https://baton.example/verifier/oid4vp/requests/aB-_9", true),
            ("https://baton.example/verifier/oid4vp/requests/", false),
            ("https://baton.example/verifier/oid4vp/responses/aB", false),
            ("http://baton.example/verifier/oid4vp/requests/aB", false),
            ("https://evil.example/verifier/oid4vp/requests/aB", false),
            ("https://baton.example.evil.example/verifier/oid4vp/requests/aB", false),
            ("https://baton.example:444/verifier/oid4vp/requests/aB", false),
            ("https://baton.example/verifier/oid4vp/requests/../../../x", false),
            ("https://baton.example/verifier/oid4vp/requests/aB?x", false),
            ("https://baton.example/verifier/oid4vp/requests/aB#x", false),
            ("https://baton.example/verifier/oid4vp/requests/%2e%2e", false),
            ("https://baton.example@evil.example/verifier/oid4vp/requests/aB", false),
        ] {
            assert_eq!(is_below(verifier, "/oid4vp/requests/", uri), is, "{uri}");
        }
        for (uri, is) in [
            ("https://shop.example/back?x=1", true),
            ("http://localhost:1/back", true),
            ("http://shop.example/", false),
            ("javascript:alert(1)", false),
        ] {
            assert_eq!(is_landing(uri), is, "{uri}");
        }
    }

    #[test]
    fn links() {
        assert_eq!(parameters("openid4vp://?client_id=a%3Ab&request_uri=c").unwrap()["client_id"], "a:b");
        for bad in ["https://?client_id=a", "openid4vp://?client_id=a&client_id=b", "no link"] {
            assert!(parameters(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_the_app_can_show_is_agreed_to() {
        let data = |content: Value| agreed(&b64::encode(content.to_string()), &["purchase", "baton.handoff"]).is_some();
        assert!(data(object!({"type": "purchase", "credential_ids": ["device"], "amount": "12.00"})));
        assert!(data(object!({"type": "purchase", "credential_ids": ["device"], "transaction_data_hashes_alg": ["sha-512", "sha-256"]})));
        for bad in [
            object!({"type": "transfer", "credential_ids": ["device"]}),
            object!({"type": "baton.handoff", "credential_ids": ["device"]}),
            object!({"type": "purchase", "credential_ids": ["device", "other"]}),
            object!({"type": "purchase"}),
            object!({"type": "purchase", "credential_ids": ["device"], "transaction_data_hashes_alg": ["sha-512"]}),
        ] {
            assert!(!data(bad.clone()), "{bad}");
        }
    }
}
