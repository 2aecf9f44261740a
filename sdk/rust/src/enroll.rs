//! Enrolment from the device's side: ask (lane 1 or 2), let the person approve, redeem, check what came.

use crate::device::Device;
use crate::error::Error;
use crate::http::{Http, Request, form};
use crate::keystore::{Enrolled, Kept, Keystore};
use baton_protocol::b64;
use baton_protocol::credential::{self, Tier};
use baton_protocol::device_log::DeviceLog;
use baton_protocol::enrolment::{DETAILS_TYPE, DeviceClaims, DeviceDetails};
use baton_protocol::key::{Did, hash};
use baton_protocol::refusal::{Log, Vc};
use baton_protocol::sd_jwt::Compact;
use baton_protocol::secret::Secret;
use baton_protocol::signer::Signer as _;
use serde_json::{Value, json};

const FORM: &str = "application/x-www-form-urlencoded";

/// A device that asks.
pub struct Enrolling {
    http: Http,
    keystore: Keystore,
    kept: Kept,
    redeem: Redeem,
}

/// What the person is shown of whoever asks.
#[derive(Debug, Clone)]
pub struct Introduction<'a> {
    /// What the device says of itself.
    pub claims: &'a DeviceClaims,
    /// Why the app asks, in its own words: one line of at most 200 characters.
    pub reason: Option<&'a str>,
}

impl<'a> From<&'a DeviceClaims> for Introduction<'a> {
    fn from(claims: &'a DeviceClaims) -> Self {
        Self { claims, reason: None }
    }
}

enum Redeem {
    Code { verifier: Secret<String>, redirect_uri: String, state: String },
    DeviceCode(Secret<String>),
}

/// What lane 1 opens in the browser of this device.
pub struct Authorization {
    /// The URL to open.
    pub url: String,
    /// The pushed request it names.
    pub request_uri: String,
}

/// What lane 2 shows on its screen.
pub struct OnScreen {
    /// Where the person goes.
    pub verification_uri: String,
    /// The same with the user code, for a QR code.
    pub verification_uri_complete: String,
    /// Names the request.
    pub user_code: String,
    /// Proves that the person sees this screen. Never put it in a QR code.
    pub check_code: String,
    /// Seconds between polls.
    pub interval: u64,
}

impl Enrolling {
    /// Lane 1: this device's own browser approves.
    pub async fn here(
        http: Http,
        keystore: Keystore,
        kept: Kept,
        introduction: impl Into<Introduction<'_>>,
        scope: &str,
        redirect_uri: &str,
    ) -> Result<(Self, Authorization), Error> {
        let (verifier, state) = (http.entropy().token(), http.entropy().token());
        let challenge = hash(verifier.as_bytes());
        let details = details(&kept, &introduction.into())?;
        let jkt = kept.signing()?.key().thumbprint().0;
        let pairs = [
            ("client_id", kept.client_id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", redirect_uri),
            ("scope", scope),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("dpop_jkt", &jkt),
            ("authorization_details", &details),
        ];
        let answer = post(&http, &kept, "/par", &pairs).await?;
        let request_uri = answer["request_uri"].as_str().ok_or(Error::Answer("request_uri"))?.to_owned();
        let url = format!("{}/authorize?client_id={}&request_uri={request_uri}", kept.servers.identity, kept.client_id);
        let redeem = Redeem::Code { verifier: Secret::new(verifier), redirect_uri: redirect_uri.into(), state };
        Ok((Self { http, keystore, kept, redeem }, Authorization { url, request_uri }))
    }

    /// Lane 2: another device approves.
    pub async fn elsewhere(
        http: Http,
        keystore: Keystore,
        kept: Kept,
        introduction: impl Into<Introduction<'_>>,
        scope: &str,
    ) -> Result<(Self, OnScreen), Error> {
        let details = details(&kept, &introduction.into())?;
        let pairs = [("client_id", kept.client_id.as_str()), ("scope", scope), ("authorization_details", &details)];
        let answer = post(&http, &kept, "/device_authorization", &pairs).await?;
        let text = |name: &'static str| answer[name].as_str().map(str::to_owned).ok_or(Error::Answer(name));
        let screen = OnScreen {
            verification_uri: text("verification_uri")?,
            verification_uri_complete: format!("{}.{}", text("verification_uri_complete")?, keys_hash(&kept)?),
            user_code: text("user_code")?,
            check_code: text("check_code")?,
            interval: answer["interval"].as_u64().unwrap_or(5),
        };
        let redeem = Redeem::DeviceCode(Secret::new(text("device_code")?));
        Ok((Self { http, keystore, kept, redeem }, screen))
    }

    /// Redeems what the person approved, checks it and keeps it. Lane 1 passes the URL its browser was sent to; lane 2 nothing, and is
    /// refused with `authorization_pending` until then. Then [`Self::into_device`].
    pub async fn redeem(&mut self, redirected_to: Option<&str>) -> Result<(), Error> {
        let answer = match self.issued(redirected_to).await {
            // A reply that was lost spent the code, not the key.
            Err(error) if error.is("invalid_grant") => fetch_issued(&self.http, &self.kept).await.map_err(|_| error)?,
            other => other?,
        };
        self.kept.enrolled = Some(check_issued(&self.kept, &answer, self.http.now())?.0);
        self.keystore.save(&self.kept)
    }

    /// The device, once redeemed.
    pub fn into_device(self) -> Result<Device, Error> {
        Device::from_kept(self.keystore, self.kept, self.http)?.ok_or(Error::Answer("not redeemed"))
    }

    async fn issued(&self, redirected_to: Option<&str>) -> Result<Value, Error> {
        let client_id = self.kept.client_id.as_str();
        match &self.redeem {
            Redeem::Code { verifier, redirect_uri, state } => {
                let url = redirected_to.ok_or(Error::Answer("redirect"))?;
                let query = url.split_once('?').map(|(_, query)| query).ok_or(Error::Answer("redirect"))?;
                let get = |name: &str| {
                    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
                };
                let iss = get("iss").map(|iss| iss.replace("%3A", ":").replace("%2F", "/"));
                // RFC 9207: an answer from another server is not ours, whatever it carries.
                if get("state").as_ref() != Some(state) || iss.as_deref() != Some(self.kept.servers.identity.as_str()) {
                    return Err(Error::Answer("redirect"));
                }
                let code = get("code").ok_or(Error::Answer("code"))?;
                let pairs = [
                    ("grant_type", "authorization_code"),
                    ("client_id", client_id),
                    ("code", &code),
                    ("redirect_uri", redirect_uri),
                    ("code_verifier", verifier.expose()),
                ];
                post(&self.http, &self.kept, "/token", &pairs).await
            }
            Redeem::DeviceCode(code) => {
                let pairs =
                    [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("client_id", client_id), ("device_code", code.expose())];
                post(&self.http, &self.kept, "/token", &pairs).await
            }
        }
    }
}

/// Fetches what was issued to this key: after a lost reply, or when it was signed anew.
pub(crate) async fn fetch_issued(http: &Http, kept: &Kept) -> Result<Value, Error> {
    let identity = &kept.servers.identity;
    let request = Request { method: "POST", url: format!("{identity}/v1/credential"), service: identity, token: None, body: None };
    http.proven(&request, &kept.signing()?).await
}

/// What came must be ours: a credential for this very key, by the issuer of a log in which this key is a member with our agreement key.
pub(crate) fn check_issued(kept: &Kept, answer: &Value, now: baton_protocol::time::Millis) -> Result<(Enrolled, Tier), Error> {
    let text = |name: &'static str| answer[name].as_str().map(str::to_owned).ok_or(Error::Answer(name));
    let credential = text("credential")?;
    let checked = credential::check(&Compact::parse(&credential)?, &(), now)?;
    let entries: Vec<String> = serde_json::from_value(answer["device_log"].clone()).map_err(|_| Error::Answer("device_log"))?;
    let log = DeviceLog::replay(&entries)?;
    let (signing, agreement) = (kept.signing()?, kept.agreement()?);
    if checked.key != *signing.key()
        || checked.visible.iss != *log.issuer()
        || checked.visible.log != log.subject()
        || checked.visible.client_id != kept.client_id
    {
        return Err(Vc::Policy.into());
    }
    let member = log.member(&signing.key().did())?;
    if member.agreement != *agreement.key() || member.tier != checked.visible.tier {
        return Err(Log::NotMember.into());
    }
    Ok((Enrolled { device_id: text("device_id")?, credential, log_head: log.head() }, member.tier))
}

/// Names both keys of a device: what its QR code carries, so that a page can tell whether it is shown this very device.
fn keys_hash(kept: &Kept) -> Result<String, Error> {
    let (signing, agreement) = (kept.signing()?.key().thumbprint(), kept.agreement()?.key().thumbprint());
    Ok(hash(format!("{}.{}", signing.as_str(), agreement.as_str()).as_bytes()))
}

fn details(kept: &Kept, introduction: &Introduction<'_>) -> Result<String, Error> {
    let details = DeviceDetails {
        r#type: DETAILS_TYPE.into(),
        agreement_jwk: kept.agreement()?.key().jwk(),
        claims: introduction.claims.clone(),
        reason: introduction.reason.map(Into::into),
    };
    Ok(json!([details]).to_string())
}

async fn post(http: &Http, kept: &Kept, path: &str, pairs: &[(&str, &str)]) -> Result<Value, Error> {
    let identity = &kept.servers.identity;
    let request = Request { method: "POST", url: format!("{identity}{path}"), service: identity, token: None, body: Some((FORM, form(pairs))) };
    http.proven(&request, &kept.signing()?).await
}

/// The fingerprint a device can show of an issuer key, beside the same on its person's page.
pub fn issuer_fingerprint(issuer: &Did) -> String {
    log_fingerprint(&hash(issuer.as_str().as_bytes()))
}

/// The fingerprint a device can show of its log: what its person compares with what their pages show.
pub fn log_fingerprint(subject: &str) -> String {
    b64::decode(subject)
        .unwrap_or_default()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .chunks(2)
        .map(|pair| pair.join(""))
        .collect::<Vec<_>>()
        .join(" ")
}
