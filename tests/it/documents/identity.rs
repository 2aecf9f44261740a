//! Identity's operations.

use super::{Op, op, shorthand::schema, take_in};
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let mut components = Map::new();
    take_in(&mut components, "WrappedRoot", include_str!("../../../schemas/wrapped-root.json"));
    take_in(&mut components, "EnrolmentOffer", include_str!("../../../schemas/enrolment-offer.json"));
    take_in(&mut components, "EnrolmentApproval", include_str!("../../../schemas/enrolment-approval.json"));
    take_in(&mut components, "EnrolmentShown", include_str!("../../../schemas/enrolment-shown.json"));
    take_in(&mut components, "AppChange", include_str!("../../../schemas/root-change.json"));
    take_in(&mut components, "AppSigned", include_str!("../../../schemas/root-change-signed.json"));
    let mut named = |name: &str, short: Value| components.insert(name.into(), schema(&short));
    named("Ceremony", json!({"ceremony": "text", "options": "object"}));
    named(
        "Device",
        json!({"device_id": "text", "device": "did", "app": "text", "client_id": "text", "name": "text", "kind": "text", "tier": "=full|limited",
            "grant": "text", "scopes": "text|null", "enrolled_at": "ms", "seen_at": "ms|null", "expires_at": "ms", "revoked_at": "ms|null"}),
    );
    named(
        "Grant",
        json!({"grant": "text", "app": "text", "client_id": "text", "scopes": "text", "purpose": "text", "until": "ms", "given_at": "ms", "withdrawn_at": "ms|null"}),
    );
    named("Event", json!({"n": "int", "at": "ms", "kind": "text", "detail": "object"}));
    named(
        "Issued",
        json!({"access_token": "jws", "token_type": "=DPoP", "expires_in": "secs", "scope": "text", "device_id": "text", "credential": "sd-jwt", "device_log": ["jws"]}),
    );
    named(
        "SignedIn",
        json!({"access_token": "text", "token_type": "=DPoP", "expires_in": "secs", "refresh_token": "text", "scope": "text", "id_token": "jws"}),
    );
    named(
        "WalletToken",
        json!({"access_token": "text", "token_type": "=DPoP|Bearer", "expires_in": "secs", "scope?": "text", "authorization_details?": ["object"]}),
    );
    named("Later", json!({"transaction_id": "text", "interval": "secs"}));
    named(
        "CredentialOffer",
        json!({"credential_issuer": "url", "credential_configuration_ids": ["text"], "grants": {
            "urn:ietf:params:oauth:grant-type:pre-authorized_code": {"pre-authorized_code": "text", "tx_code": "object"}, "authorization_code": {"issuer_state": "text"}}}),
    );
    named(
        "RootAsked",
        json!({"anyOf": [
            {"asked": "any|null"},
            {"asked": {"root": "text", "expires_at": "ms", "wraps": "any",
                "apps": [{"app": "text", "to": "did|null", "agreed": "did|null", "possible": "bool", "devices": ["text"]}]}},
        ]}),
    );
    super::document(
        "identity",
        "Accounts, passkeys, devices and consents; an OAuth authorization server, an OpenID Provider and an OpenID4VCI issuer.",
        [standards(), devices(), people(), root(), passkeys(), approvals(), care()].into_iter().flatten().collect(),
        components,
    )
}

fn standards() -> Vec<Op> {
    vec![
        op("POST /identity/par", "Pushes an authorization request (RFC 9126): to enrol this device (lane 1), to sign a person in (OpenID Connect), or to ask for a credential (OpenID4VCI).")
            .proof(false)
            .form(&json!({"response_type": "=code", "client_id": "text", "redirect_uri": "url", "scope?": "text", "code_challenge": "hash",
                "code_challenge_method": "=S256", "state?": "text", "dpop_jkt?": "hash", "authorization_details?": "text", "nonce?": "text", "max_age?": "int", "issuer_state?": "text",
                "prompt?": "text", "response_mode?": "=query"}))
            .answers(201, &json!({"request_uri": "text", "expires_in": "secs"}))
            .refuses(&[403, 409, 422, 429]),
        op("POST /identity/device_authorization", "Another device asks to be enrolled (lane 2; RFC 8628).")
            .proof(true)
            .form(&json!({"client_id": "text", "scope": "text", "authorization_details": "text"}))
            .answers(
                200,
                &json!({"device_code": "text", "user_code": "text", "check_code": "text", "verification_uri": "url", "verification_uri_complete": "url",
                    "expires_in": "secs", "interval": "secs"}),
            )
            .refuses(&[403, 409, 422, 429]),
        op("POST /identity/token", "Redeems a code, a device code, a pre-authorized code or a refresh token.")
            .proof(false)
            .form(&json!({"grant_type": "text", "client_id?": "text", "code?": "text", "code_verifier?": "text", "redirect_uri?": "url", "device_code?": "text",
                "refresh_token?": "text", "scope?": "text", "pre-authorized_code?": "text", "tx_code?": "text"}))
            .answers(200, &json!({"anyOf": ["#Issued", "#SignedIn", "#WalletToken"]}))
            .refuses(&[403, 429]),
        op("GET /identity/jwks", "The service's own keys (RFC 7517).").answers(200, &json!("#Jwks")),
        op("GET /identity/did.json", "Its did:web document.").answers(200, &json!("object")),
        op("GET /.well-known/oauth-authorization-server/identity", "Authorization server metadata (RFC 8414).").answers(200, &json!("object")),
        op("GET /identity/.well-known/openid-configuration", "The same, where OpenID Connect Discovery looks for it.").answers(200, &json!("object")),
        op("GET /.well-known/jwt-vc-issuer/identity", "The service's keys as SD-JWT VC has issuers publish them.")
            .answers(200, &json!({"issuer": "url", "jwks": "#Jwks"})),
        op("GET /.well-known/openid-credential-issuer/identity", "Credential issuer metadata (OpenID4VCI 12.2); signed where `application/jwt` is asked for.")
            .answers(200, &json!("object"))
            .text(200, "application/jwt"),
        op("POST /identity/nonce", "A nonce for a proof (OpenID4VCI 7).").answers(200, &json!({"c_nonce": "text"})).refuses(&[429]),
        op("POST /identity/credential", "Asks for a credential (OpenID4VCI 8): the person has to approve it.")
            .oauth()
            .asks_openly(&json!({"credential_configuration_id?": "text", "credential_identifier?": "text", "proofs?": "object"}))
            .answers(202, &json!("#Later"))
            .text(202, "application/jwt")
            .refuses(&[429]),
        op("POST /identity/deferred_credential", "Whether it is there yet (OpenID4VCI 9).")
            .oauth()
            .asks_openly(&json!({"transaction_id": "text"}))
            .answers(200, &json!({"credentials": [{"credential": "sd-jwt"}], "notification_id": "text"}))
            .text(200, "application/jwt")
            .answers(202, &json!("#Later"))
            .text(202, "application/jwt")
            .refuses(&[429]),
        op("POST /identity/notification", "What the wallet did with it (OpenID4VCI 11).")
            .oauth()
            .asks_openly(&json!({"notification_id": "text", "event": "=credential_accepted|credential_failure|credential_deleted", "event_description?": "text"}))
            .empty(204)
            .refuses(&[429]),
        op("GET /identity/credential-offers/{reference}", "An offer by reference (OpenID4VCI 4.1.3).").answers(200, &json!("#CredentialOffer")),
        op("POST /identity/register", "Registers a public client (RFC 7591), where the operator switched it on.")
            .oauth()
            .asks_openly(&json!({"redirect_uris?": ["url"], "client_name?": "text", "token_endpoint_auth_method?": "=none", "grant_types?": ["text"],
                "response_types?": ["text"]}))
            .answers(
                201,
                &json!({"client_id": "text", "client_id_issued_at": "at", "client_name": "text", "redirect_uris": ["text"], "token_endpoint_auth_method": "=none",
                    "grant_types": ["text"], "response_types": ["text"], "dpop_bound_access_tokens": "bool", "require_pushed_authorization_requests": "bool"}),
            )
            .refuses(&[404, 422, 429]),
        op("GET /identity/userinfo", "Who signed in (OpenID Connect Core 5.3).").answers(200, &json!({"sub": "text"})),
        op("POST /identity/userinfo", "The same by POST.").answers(200, &json!({"sub": "text"})),
        op("POST /identity/revoke", "Revokes a sign-in's token (RFC 7009).")
            .form(&json!({"client_id": "text", "token": "text", "token_type_hint?": "text"}))
            .empty(200)
            .refuses(&[429]),
        op("POST /identity/introspect", "What a sign-in's token is worth, for operators (RFC 7662).")
            .form(&json!({"token": "text", "token_type_hint?": "text"}))
            .answers(
                200,
                &json!({"active": "bool", "iss?": "url", "client_id?": "text", "scope?": "text", "sub?": "text", "iat?": "at", "exp?": "at",
                    "cnf?": {"jkt": "hash"}, "token_type?": "=DPoP"}),
            ),
    ]
}

fn devices() -> Vec<Op> {
    vec![
        op("GET /identity/v1/log", "The device log, for its live members; full devices also get labels, which are no evidence.").answers(
            200,
            &json!({"entries": ["jws"], "live": ["did"], "directory": {"anyOf": [[{"device": "did", "name": "text", "kind": "text", "capabilities": ["text"]}], "any|null"]},
                "replace_root": {"anyOf": [{"from": "did", "to": "did"}, "any|null"]}}),
        ),
        op("POST /identity/v1/log/consent", "A full device agrees that its log goes on under another root.")
            .asks(&json!({"consent": "jws"}))
            .answers(200, &json!({"state": "=agreed"}))
            .refuses(&[409]),
        op("POST /identity/v1/credential", "What was issued to the key of the proof; a lost reply loses nothing.")
            .proof(true)
            .answers(200, &json!("#Issued")),
        op("GET /identity/v1/credential-types/device-binding", "Type metadata (SD-JWT VC), its digest as entity tag.")
            .answers(200, &json!("object"))
            .empty(304),
        op(
            "GET /identity/v1/status-lists/1",
            "The status list (Token Status List), with an entity tag. `time` is answered 501: no list of the past is kept.",
        )
        .text(200, "application/statuslist+jwt")
        .empty(304)
        .empty(501),
    ]
}

fn people() -> Vec<Op> {
    vec![
        op("POST /identity/v1/sign-up/start", "Begins a registration (WebAuthn).").answers(200, &json!("#Ceremony")).refuses(&[403, 429]),
        op("POST /identity/v1/sign-up/finish", "An account: a passkey, and wrapped copies of a root that was made on the client.")
            .asks(&json!({"ceremony": "text", "credential": "object", "account_jwk": "object", "proof": "jws", "recovery_id": "text", "wraps": ["#WrappedRoot"]}))
            .answers(201, &json!({"account": "text", "root": "text"}))
            .refuses(&[403, 409]),
        op("POST /identity/v1/sign-in/start", "Begins a sign-in with any passkey.").answers(200, &json!("#Ceremony")).refuses(&[403, 429]),
        op("POST /identity/v1/sign-in/finish", "Signs in; the person was verified this very moment.")
            .asks(&json!({"ceremony": "text", "credential": "object"}))
            .answers(200, &json!({"account": "text", "root": "text", "wraps": ["#WrappedRoot"], "credential_id": "text", "root_statements": ["jws"]}))
            .refuses(&[403]),
        op("POST /identity/v1/recovery/start", "Finds the account by a value derived from the recovery code.")
            .asks(&json!({"recovery_id": "text"}))
            .answers(200, &json!({"ceremony": "text", "options": "object", "wrapped": "#WrappedRoot"}))
            .refuses(&[403, 404, 429]),
        op("POST /identity/v1/recovery/finish", "The account key vouches for a new passkey.")
            .asks(&json!({"ceremony": "text", "credential": "object", "proof": "jws", "wrapped": "#WrappedRoot"}))
            .answers(200, &json!({"account": "text", "root": "text"}))
            .refuses(&[403, 409]),
        op("GET /identity/v1/account", "Whose page this is.").answers(200, &json!({"account": "text", "root": "text", "recovery_confirmed": "bool"})),
        op("GET /identity/v1/account/wraps", "The wrapped copies, to someone verified within the last minutes.").answers(200, &json!({"wraps": ["#WrappedRoot"]})),
        op("POST /identity/v1/account/recovery/confirm", "The person keeps the code.").answers(200, &json!({"recovery_confirmed": "bool"})),
        op("POST /identity/v1/account/recovery/start", "The ceremony that a new recovery code is bound to.").answers(200, &json!({"ceremony": "text"})),
        op("POST /identity/v1/account/recovery/replace", "A new recovery code; the one before opens nothing.")
            .asks(&json!({"ceremony": "text", "recovery_id": "text", "proof": "jws", "wrapped": "#WrappedRoot"}))
            .answers(200, &json!({"recovery_confirmed": "bool"})),
        op("POST /identity/v1/account/sign-out", "Signs out here, everywhere, or everywhere else.").asks(&json!({"everywhere": "bool", "but_here?": "bool"})).answers(200, &json!({"state": "=signed_out"})),
        op("GET /identity/v1/account/export", "Everything identity keeps about the person. Sealed copies stay sealed.").answers(
            200,
            &json!({"account": "text", "root": "text", "root_statements": ["jws"], "recovery_confirmed_at": "ms|null",
                "passkeys": [{"credential_id": "text", "created_at": "ms", "used_at": "ms|null"}], "sealed_copies_of_the_root": ["#WrappedRoot"],
                "devices": [{"device_id": "text", "device": "did", "app": "text", "client_id": "text", "name": "text", "kind": "text", "tier": "=full|limited",
                    "credential": "sd-jwt", "grant": "text", "enrolled_at": "ms", "seen_at": "ms|null", "revoked_at": "ms|null"}],
                "device_logs": {"*": ["jws"]}, "grants": ["#Grant"], "activity": ["#Event"],
                "requests": [{"request": "text", "client_id": "text", "claims": "object|null", "scope": "text", "reason": "text|null", "from": "text", "state": "text", "requested_at": "ms"}],
                "sign_ins": [{"client_id": "text", "scope": "text", "began_at": "ms", "ends_at": "ms", "ended_at": "ms|null"}],
                "offers": [{"client_id": "text", "offered_at": "ms", "expires_at": "ms", "taken_at": "ms|null"}], "root_change": "#RootAsked",
                "browsers": [{"verified_at": "ms", "expires_at": "ms"}]}),
        ),
        op("POST /identity/v1/account/delete", "Revokes every device, then forgets the account.").answers(200, &json!({"state": "=deleted", "effective": "bool"})),
    ]
}

fn root() -> Vec<Op> {
    vec![
        op("GET /identity/v1/account/root", "What is asked for in place of the root, and who has agreed.").answers(200, &json!("#RootAsked")),
        op("POST /identity/v1/account/root/start", "The ceremony that replacing the root is bound to.")
            .answers(200, &json!({"ceremony": "text", "apps": [{"app": "text", "can_agree": ["text"]}]}))
            .refuses(&[409]),
        op("POST /identity/v1/account/root/ask", "Asks the person's full devices to agree to another root.")
            .asks(&json!({"ceremony": "text", "request": "jws", "account_jwk": "object", "proof": "jws", "recovery_id": "text", "wraps": ["#WrappedRoot"],
                "issuers": {"*": "did"}}))
            .answers(200, &json!("#RootAsked"))
            .refuses(&[409, 429]),
        op("POST /identity/v1/account/root/cancel", "The root stays as it is.").answers(200, &json!("#RootAsked")),
        op("POST /identity/v1/account/root/offer", "Exactly what is to be signed, once every app has agreed.")
            .answers(200, &json!({"apps": ["#AppChange"]}))
            .refuses(&[409, 429]),
        op("POST /identity/v1/account/root/approve", "The switch: all of it or nothing.")
            .asks(&json!({"root": "text", "statement": "jws", "apps": ["#AppSigned"]}))
            .answers(200, &json!({"state": "=issued|approved", "root": "text"}))
            .refuses(&[409]),
    ]
}

fn passkeys() -> Vec<Op> {
    vec![
        op("GET /identity/v1/passkeys", "The person's passkeys.")
            .answers(200, &json!({"passkeys": [{"credential_id": "text", "created_at": "ms", "used_at": "ms|null", "opens": "bool"}]})),
        op("POST /identity/v1/passkeys/start", "Begins a registration of another one.").answers(200, &json!("#Ceremony")),
        op("POST /identity/v1/passkeys/finish", "Adds it, with a copy of the root if it can open one.")
            .asks(&json!({"ceremony": "text", "credential": "object", "proof": "jws", "wrapped?": {"anyOf": ["#WrappedRoot", "any|null"]}}))
            .answers(201, &json!({"credential_id": "text", "opens": "bool"}))
            .refuses(&[409]),
        op("POST /identity/v1/passkeys/{id}/remove", "Removes one: never the last that opens the root.")
            .answers(200, &json!({"state": "=removed"}))
            .refuses(&[409]),
    ]
}

fn approvals() -> Vec<Op> {
    vec![
        op("GET /identity/v1/requests", "What the wallets of this person ask for and wait for.").answers(200, &json!({"requests": ["text"], "by_redirect": ["text"]})),
        op("POST /identity/v1/requests/open", "Looks at a request: by its URI, by the code another device shows, or by its id. It is this account's from here on.")
            .asks(&json!({"request_uri?": "text|null", "user_code?": "text|null", "linked_from?": "text|null", "request?": "text|null"}))
            .answers(200, &json!({"shown": "#EnrolmentShown", "shown_hash": "hash", "state": "text", "check_code": "bool"}))
            .refuses(&[409, 410, 429]),
        op("POST /identity/v1/requests/{id}/deny", "Not this one.").answers(200, &json!({"state": "=denied"})).refuses(&[409]),
        op("POST /identity/v1/requests/{id}/offer", "Exactly what is to be signed for what was shown.")
            .asks(&json!({"shown_hash": "hash", "issuer": "did", "check_code?": "text|null"}))
            .answers(200, &json!("#EnrolmentOffer"))
            .refuses(&[409, 410, 429]),
        op("POST /identity/v1/requests/{id}/approve", "What was signed: a device, all of it or nothing.")
            .asks(&json!("#EnrolmentApproval"))
            .answers(200, &json!({"state": "=issued|approved", "redirect_to": "url|null"}))
            .refuses(&[409, 410]),
        op("POST /identity/v1/credential-offers", "An offer for the person's own wallet (OpenID4VCI 4).")
            .asks(&json!({"client_id": "text"}))
            .answers(
                201,
                &json!({"credential_offer": "#CredentialOffer", "credential_offer_uri": "url", "tx_code": "text", "expires_in": "secs", "by_value": "text",
                    "by_reference": "text"}),
            )
            .refuses(&[404, 429]),
        op("POST /identity/v1/sign-ins/open", "Looks at an app's request to sign the person in, or a wallet's to ask for a credential.")
            .asks(&json!({"request_uri": "text"}))
            .answers(
                200,
                &json!({"sign_in": "text", "client_id": "text", "client_name": "text", "app": "text", "known": "bool", "wallet": "bool", "seen_address": "text",
                    "requested_at": "ms", "goes_to": "text"}),
            )
            .refuses(&[404, 409]),
        op("POST /identity/v1/sign-ins/{id}/allow", "Signs the person in to the app.").answers(200, &json!({"redirect_to": "url"})).refuses(&[409]),
        op("POST /identity/v1/sign-ins/{id}/deny", "Not this one; the app is told.").answers(200, &json!({"redirect_to": "url"})).refuses(&[409]),
    ]
}

fn care() -> Vec<Op> {
    vec![
        op("GET /identity/v1/devices", "The person's devices.").answers(200, &json!({"devices": ["#Device"]})),
        op("POST /identity/v1/devices/{id}/revoke", "Ends what a device may do, everywhere; `effective` when verifier and broker have taken it.")
            .answers(200, &json!({"state": "=revoked", "effective": "bool"})),
        op("POST /identity/v1/devices/{id}/rename", "What the person calls it.")
            .asks(&json!({"name": "text"}))
            .answers(200, &json!({"state": "=renamed", "name": "text"}))
            .refuses(&[422]),
        op("GET /identity/v1/devices/{id}/credential", "What the person signed for it.").answers(200, &json!({"credential": "sd-jwt"})),
        op("GET /identity/v1/logs/{app}", "The person's device log of an app.").answers(200, &json!({"entries": ["jws"]})),
        op("POST /identity/v1/devices/{id}/renew/offer", "What is to be signed anew for a device whose credential is near its end.")
            .answers(200, &json!("#EnrolmentOffer"))
            .refuses(&[409]),
        op("POST /identity/v1/devices/{id}/renew/approve", "What was signed anew.")
            .asks(&json!("#EnrolmentApproval"))
            .answers(200, &json!({"state": "=issued|approved"}))
            .refuses(&[409]),
        op("POST /identity/v1/devices/{id}/raise/offer", "What is to be signed for a limited device that is to be full.")
            .answers(200, &json!("#EnrolmentOffer"))
            .refuses(&[409]),
        op("POST /identity/v1/devices/{id}/raise/approve", "What was signed for it.")
            .asks(&json!("#EnrolmentApproval"))
            .answers(200, &json!({"state": "=issued|approved"}))
            .refuses(&[409]),
        op("GET /identity/v1/grants", "The person's consents.").answers(200, &json!({"grants": ["#Grant"]})),
        op("POST /identity/v1/grants/{id}/withdraw", "Takes a consent back, with everything that rests on it.")
            .answers(200, &json!({"state": "=withdrawn", "effective": "bool"})),
        op("GET /identity/v1/activity", "What happened, newest first.").query("before?", "int").answers(200, &json!({"events": ["#Event"]})),
        op("POST /identity/v1/manage-tokens", "The pages' token for one app's sessions, bound to a key of the page.")
            .proof(true)
            .asks(&json!({"app": "text"}))
            .answers(200, &json!({"access_token": "jws", "token_type": "=DPoP", "expires_in": "secs", "broker": "url"}))
            .refuses(&[404]),
    ]
}
