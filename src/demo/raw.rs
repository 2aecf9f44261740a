//! Requests an attacker would make: the SDK's parts, put together wrongly on purpose.

use baton_sdk::http::{Request, form};
use baton_sdk::keys::SoftKey;
use baton_sdk::{Device, Error};
use serde_json::Value;

/// A token exchange with a presentation of one's own choosing.
pub async fn exchange(device: &Device, presentation: &str, key: &SoftKey) -> Result<Value, Error> {
    let servers = device.servers();
    let pairs = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:baton:token-type:device-presentation"),
        ("subject_token", presentation),
        ("audience", &servers.broker),
        ("scope", "session:read"),
    ];
    let body = Some(("application/x-www-form-urlencoded", form(&pairs)));
    let request = Request { method: "POST", url: format!("{}/token", servers.verifier), service: &servers.verifier, token: None, body };
    device.http().proven(&request, key).await
}

/// A call to the broker with a token, a key and a body of one's own choosing.
pub async fn broker(device: &Device, method: &str, path: &str, token: Option<String>, key: &SoftKey, body: Option<&Value>) -> Result<Value, Error> {
    let broker = &device.servers().broker;
    let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
    let request = Request { method, url: format!("{broker}{path}"), service: broker, token, body };
    device.http().proven(&request, key).await
}
