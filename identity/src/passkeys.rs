//! Passkey ceremonies (WebAuthn Level 3) over webauthn-rs, with what it leaves to us: discoverable keys, ES256 alone, owner checks,
//! cross-origin sign-in refused, and no PRF result ever taken in.

use baton_protocol::Refusal;
use baton_protocol::b64;
use baton_protocol::refusal::{Webauthn as Refused, Wrap};
use serde_json::{Value, json};
use webauthn_rs::prelude::{
    COSEAlgorithm, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder, WebauthnError,
};

/// Ceremonies for one relying party.
pub struct Passkeys {
    webauthn: Webauthn,
}

impl Passkeys {
    /// For pages at `origin`; its host is the rp id.
    pub fn new(origin: &str) -> Result<Self, String> {
        let url = Url::parse(origin).map_err(|e| format!("page origin: {e}"))?;
        let rp_id = url.host_str().ok_or("page origin has no host")?.to_owned();
        let builder = WebauthnBuilder::new(&rp_id, &url).map_err(|e| format!("page origin: {e}"))?;
        let webauthn = builder.rp_name("Baton").build().map_err(|e| format!("page origin: {e}"))?;
        Ok(Self { webauthn })
    }

    /// Options for a new passkey, and the state to keep.
    pub fn start_registration(&self, user: Uuid) -> Result<(Value, String), Refusal> {
        let (options, state) = self.webauthn.start_passkey_registration(user, "Baton", "Baton", None).map_err(|e| why(&e))?;
        let mut options = serde_json::to_value(options).map_err(|_| Refused::Other)?;
        let public = &mut options["publicKey"];
        public["authenticatorSelection"]["residentKey"] = json!("required");
        public["authenticatorSelection"]["requireResidentKey"] = json!(true);
        public["pubKeyCredParams"] = json!([{"type": "public-key", "alg": -7}]);
        Ok((options, serde_json::to_string(&state).map_err(|_| Refused::Other)?))
    }

    /// Checks the answer. Gives the credential's id and the passkey to store.
    pub fn finish_registration(&self, credential: &Value, state: &str) -> Result<(String, String), Refusal> {
        refuse_prf(credential)?;
        refuse_cross_origin(credential)?;
        let state: PasskeyRegistration = serde_json::from_str(state).map_err(|_| Refused::Other)?;
        let answer: RegisterPublicKeyCredential = serde_json::from_value(credential.clone()).map_err(|_| Refused::Other)?;
        let passkey = self.webauthn.finish_passkey_registration(&answer, &state).map_err(|e| why(&e))?;
        if *passkey.cred_algorithm() != COSEAlgorithm::ES256 {
            return Err(Refused::Other.into());
        }
        let stored = serde_json::to_string(&passkey).map_err(|_| Refused::Other)?;
        Ok((b64::encode(passkey.cred_id()), stored))
    }

    /// Options for signing in with whatever passkey the person has, and the state to keep.
    pub fn start_sign_in(&self) -> Result<(Value, String), Refusal> {
        let (options, state) = self.webauthn.start_discoverable_authentication().map_err(|e| why(&e))?;
        let mut options = serde_json::to_value(options).map_err(|_| Refused::Other)?;
        if let Some(options) = options.as_object_mut() {
            options.remove("mediation");
        }
        Ok((options, serde_json::to_string(&state).map_err(|_| Refused::Other)?))
    }

    /// Which user and credential an answer claims to be; nothing is verified yet.
    pub fn identify(&self, credential: &Value) -> Result<(Uuid, String), Refusal> {
        refuse_prf(credential)?;
        refuse_cross_origin(credential)?;
        let answer: PublicKeyCredential = serde_json::from_value(credential.clone()).map_err(|_| Refused::Other)?;
        let (user, id) = self.webauthn.identify_discoverable_authentication(&answer).map_err(|e| why(&e))?;
        Ok((user, b64::encode(id)))
    }

    /// Checks an answer against the stored passkey. Gives the passkey to store when its counter moved.
    pub fn finish_sign_in(&self, credential: &Value, state: &str, stored: &str) -> Result<Option<String>, Refusal> {
        let state: DiscoverableAuthentication = serde_json::from_str(state).map_err(|_| Refused::Challenge)?;
        let answer: PublicKeyCredential = serde_json::from_value(credential.clone()).map_err(|_| Refused::Other)?;
        let mut passkey: Passkey = serde_json::from_str(stored).map_err(|_| Refused::Credential)?;
        let result = self.webauthn.finish_discoverable_authentication_v2(&answer, state, &passkey).map_err(|e| why(&e))?;
        if !result.user_verified() {
            return Err(Refused::Uv.into());
        }
        if !result.needs_update() {
            return Ok(None);
        }
        passkey.update_credential(&result).ok_or(Refused::Credential)?;
        Ok(Some(serde_json::to_string(&passkey).map_err(|_| Refused::Other)?))
    }
}

fn why(error: &WebauthnError) -> Refusal {
    match error {
        WebauthnError::InvalidRPOrigin => Refused::Origin,
        WebauthnError::CredentialCrossOrigin => Refused::CrossOrigin,
        WebauthnError::CredentialBackupEligibilityInconsistent => Refused::Flags,
        WebauthnError::InvalidRPIDHash => Refused::RpId,
        WebauthnError::MismatchedChallenge => Refused::Challenge,
        WebauthnError::UserNotVerified | WebauthnError::UserNotPresent => Refused::Uv,
        WebauthnError::CredentialNotFound | WebauthnError::InvalidUserUniqueId | WebauthnError::AuthenticationFailure => Refused::Credential,
        _ => Refused::Other,
    }
    .into()
}

/// A PRF result is the secret that opens the root: a client that sends one has a bug, and the value must go no further.
/// It stands in what the browser gives, and some authenticators put it into what they sign (w3c/webauthn PR 2372 forbids that).
fn refuse_prf(credential: &Value) -> Result<(), Refusal> {
    let results = credential.pointer("/clientExtensionResults/prf/results");
    let signed = ["/response/authenticatorData", "/response/attestationObject"].iter().filter_map(|at| credential.pointer(at)?.as_str());
    let mut leaks = results.is_some_and(|results| !results.is_null());
    for text in signed {
        // Spelled one way alone, so that nothing is read here otherwise than below. The four bytes are the CBOR text "prf", an extension's name.
        let bytes = b64::decode(text).map_err(|_| Refused::Other)?;
        leaks |= bytes.windows(4).any(|four| four == b"\x63prf");
    }
    if leaks { Err(Wrap::PrfLeak.into()) } else { Ok(()) }
}

fn refuse_cross_origin(credential: &Value) -> Result<(), Refusal> {
    let client_data = credential.pointer("/response/clientDataJSON").and_then(Value::as_str).ok_or(Refused::Other)?;
    let client_data: Value = b64::decode(client_data).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(Refused::Other)?;
    if client_data["crossOrigin"] == json!(true) || !client_data["topOrigin"].is_null() { Err(Refused::CrossOrigin.into()) } else { Ok(()) }
}
