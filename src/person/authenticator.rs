//! A software passkey with user verification and PRF (crate `passkey`). Its state is plain JSON: for demos and tests, not for people.

use super::Prf;
use anyhow::Context as _;
use baton_protocol::secret::Secret;
use passkey::authenticator::extensions::HmacSecretConfig;
use passkey::authenticator::{Authenticator, CredentialStore, DiscoverabilitySupport, StoreInfo, UiHint, UserCheck, UserValidationMethod};
use passkey::client::{Client, DefaultClientData};
use passkey::crypto::CoseKey;
use passkey::crypto::aws_lc_rs::AwsLcRsBackend;
use passkey::crypto::coset::CborSerializable as _;
use passkey::types::ctap2::make_credential::{Options, PublicKeyCredentialRpEntity, PublicKeyCredentialUserEntity};
use passkey::types::ctap2::{Aaguid, Ctap2Error, StatusCode};
use passkey::types::webauthn::PublicKeyCredentialDescriptor;
use passkey::types::{Bytes, CredentialExtensions, Passkey, StoredHmacSecret};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

/// A passkey as kept in a file.
#[derive(Serialize, Deserialize)]
pub struct StoredPasskey {
    key: Bytes,
    credential_id: Bytes,
    rp_id: String,
    user_handle: Option<Bytes>,
    counter: Option<u32>,
    prf: Option<Bytes>,
}

impl StoredPasskey {
    fn from(passkey: &Passkey) -> anyhow::Result<Self> {
        let key = passkey.key.clone().to_vec().map_err(|e| anyhow::anyhow!("passkey does not encode: {e}"))?;
        Ok(Self {
            key: key.into(),
            credential_id: passkey.credential_id.clone(),
            rp_id: passkey.rp_id.clone(),
            user_handle: passkey.user_handle.clone(),
            counter: passkey.counter,
            prf: passkey.extensions.hmac_secret.as_ref().map(|secret| secret.cred_with_uv.clone().into()),
        })
    }

    /// The credential's id, as on the wire.
    pub fn id(&self) -> String {
        baton_protocol::b64::encode(&*self.credential_id)
    }

    fn open(self) -> anyhow::Result<Passkey> {
        Ok(Passkey {
            key: CoseKey::from_slice(&self.key).map_err(|e| anyhow::anyhow!("stored passkey: {e}"))?,
            credential_id: self.credential_id,
            rp_id: self.rp_id,
            user_handle: self.user_handle,
            username: None,
            user_display_name: None,
            counter: self.counter,
            extensions: CredentialExtensions { hmac_secret: self.prf.map(|uv| StoredHmacSecret { cred_with_uv: uv.into(), cred_without_uv: None }) },
        })
    }
}

/// The library's own store neither discovers nor looks at the rp id.
#[derive(Default)]
struct Store(Vec<Passkey>);

#[async_trait::async_trait]
impl CredentialStore for Store {
    type PasskeyItem = Passkey;

    async fn find_credentials(
        &self,
        ids: Option<&[PublicKeyCredentialDescriptor]>,
        rp_id: &str,
        _: Option<&[u8]>,
    ) -> Result<Vec<Passkey>, StatusCode> {
        let wanted = |passkey: &&Passkey| ids.is_none_or(|ids| ids.iter().any(|id| id.id == passkey.credential_id));
        // The newest first: the authenticator takes the first.
        let found: Vec<_> = self.0.iter().rev().filter(|passkey| passkey.rp_id == rp_id).filter(wanted).cloned().collect();
        if found.is_empty() { Err(Ctap2Error::NoCredentials.into()) } else { Ok(found) }
    }

    async fn save_credential(
        &mut self,
        passkey: Passkey,
        _: PublicKeyCredentialUserEntity,
        _: PublicKeyCredentialRpEntity,
        _: Options,
    ) -> Result<(), StatusCode> {
        self.0.push(passkey);
        Ok(())
    }

    async fn update_credential(&mut self, changed: &Passkey) -> Result<(), StatusCode> {
        let known = self.0.iter_mut().find(|passkey| passkey.credential_id == changed.credential_id);
        *known.ok_or(Ctap2Error::NoCredentials)? = changed.clone();
        Ok(())
    }

    async fn get_info(&self) -> StoreInfo {
        StoreInfo { discoverability: DiscoverabilitySupport::Full }
    }
}

struct Always;

#[async_trait::async_trait]
impl UserValidationMethod for Always {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(&self, _: UiHint<'a, Passkey>, _: bool, _: bool) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence: true, verification: true })
    }
    fn is_presence_enabled(&self) -> bool {
        true
    }
    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// A passkey provider for one origin.
pub struct SoftAuthenticator {
    client: Client<Store, Always, AwsLcRsBackend, public_suffix::PublicSuffixList, ()>,
    origin: Url,
}

impl SoftAuthenticator {
    /// With the passkeys that were kept.
    pub fn new(origin: &str, saved: Vec<StoredPasskey>) -> anyhow::Result<Self> {
        let store = Store(saved.into_iter().map(StoredPasskey::open).collect::<Result<_, _>>()?);
        let mut authenticator = Authenticator::new(Aaguid::new_empty(), store, Always, AwsLcRsBackend)
            .hmac_secret(HmacSecretConfig::new_without_uv().enable_on_make_credential());
        authenticator.set_make_credentials_with_signature_counter(true);
        Ok(Self { client: Client::new(authenticator).allows_insecure_localhost(true), origin: origin.parse()? })
    }

    /// What to keep.
    pub fn save(&self) -> anyhow::Result<Vec<StoredPasskey>> {
        self.client.authenticator().store().0.iter().map(StoredPasskey::from).collect()
    }

    /// Answers creation options. Gives the credential without extension results, and the PRF output.
    pub async fn create(&mut self, options: Value) -> anyhow::Result<(Value, Prf)> {
        let created = self.client.register(&self.origin, serde_json::from_value(options)?, DefaultClientData).await;
        split(serde_json::to_value(created.map_err(|e| anyhow::anyhow!("passkey: {e:?}"))?)?)
    }

    /// Answers request options, likewise.
    pub async fn get(&mut self, options: Value) -> anyhow::Result<(Value, Prf)> {
        let got = self.client.authenticate(&self.origin, serde_json::from_value(options)?, DefaultClientData).await;
        split(serde_json::to_value(got.map_err(|e| anyhow::anyhow!("passkey: {e:?}"))?)?)
    }
}

/// The PRF output opens the root: it is taken out before anything is sent anywhere.
fn split(mut credential: Value) -> anyhow::Result<(Value, Prf)> {
    let results = credential.pointer("/clientExtensionResults/prf/results/first").cloned().context("the passkey gave no PRF result")?;
    credential["clientExtensionResults"] = json!({});
    let bytes: Bytes = serde_json::from_value(results)?;
    Ok((credential, Secret::new(bytes.to_vec())))
}
