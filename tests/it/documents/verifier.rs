//! The verifier's operations.

use super::{Op, op, shorthand::schema};
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let mut components = Map::new();
    components.insert(
        "Shown".into(),
        schema(&json!({"device": "did", "issuer": "did", "subject": "text", "client_id": "text", "tier": "=full|limited", "jkt": "hash",
            "claims": {"*": "any"}, "expires_at": "at", "status": {"value": "=valid", "source": "=standing"}, "checks": [{"check": "text", "ok": "bool"}], "checked_at": "at"})),
    );
    components.insert(
        "ForeignShown".into(),
        schema(&json!({"issuer": "text", "vct": "text", "jkt": "hash", "claims": {"*": "any"}, "checks": [{"check": "text", "ok": "bool"}], "checked_at": "at"})),
    );
    components.insert(
        "Report".into(),
        schema(&json!({"verified": "bool", "by?": "text", "types": ["text"], "jkt?": "hash", "subject?": "any", "checks": [{"check": "text", "ok": "bool", "reason?": "text"}],
            "credentials?": ["#Report"]})),
    );
    super::document("verifier", "Whether a presentation holds: for tokens, for relying services, and for wallets (OpenID4VP 1.0).", ops(), components)
}

fn ops() -> Vec<Op> {
    vec![
        op("POST /verifier/token", "A presentation for a token of five minutes (RFC 8693).")
            .proof(true)
            .form(&json!({"grant_type": "=urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "presentation",
                "subject_token_type": "=urn:baton:token-type:device-presentation", "audience?": "url", "resource?": "url", "scope": "text",
                "requested_token_type?": "text", "authorization_details?": "text"}))
            .answers(200, &json!({"access_token": "jws", "issued_token_type": "text", "token_type": "=DPoP", "expires_in": "secs", "scope": "text"}))
            .refuses(&[403, 429]),
        op("GET /verifier/jwks", "The keys its tokens are signed with (RFC 7517).").answers(200, &json!("#Jwks")),
        op("GET /verifier/did.json", "Its did:web document.").answers(200, &json!("object")),
        op("POST /verifier/v1/nonces", "A nonce for one presentation by one key.")
            .asks(&json!({"jkt": "hash"}))
            .answers(200, &json!({"nonce": "text", "expires_in": "secs"})),
        op("GET /.well-known/oauth-authorization-server/verifier", "Authorization server metadata (RFC 8414).").answers(200, &json!("object")),
        op("POST /verifier/v1/presentations/verify", "What a presentation is worth, to a relying service that made the nonce. A nonce counts once.")
            .asks(&json!({"presentation": "presentation", "audience": "text", "nonce": "text", "required_claims?": ["text"]}))
            .answers(
                200,
                &json!({"verdict": "=valid", "device": "did", "issuer": "did", "subject": "text", "client_id": "text", "tier": "=full|limited", "jkt": "hash",
                    "claims": {"*": "any"}, "expires_at": "at", "status": {"value": "=valid", "source": "=standing", "age_ms": "int"}, "checked_at": "at"}),
            )
            .refuses(&[403]),
        op("POST /verifier/v1/transactions", "Asks a wallet (OpenID4VP 1.0). One of `redirect_uri`, `device` and `cross_device` says whose the answer may be.")
            .asks(&json!({"dcql_query": "object", "response_mode?": "=direct_post|direct_post.jwt",
                "client_id_prefix?": "=decentralized_identifier|x509_hash|redirect_uri", "transaction_data?": ["object"], "redirect_uri?": "url|null",
                "device?": "did|null", "cross_device?": "bool"}))
            .answers(201, &json!({"transaction": "text", "client_id": "text", "request_uri?": "url", "authorization_request": "text", "expires_in": "secs"})),
        op("POST /verifier/credentials/verify", "Whether somebody else's credential holds (VC-API): each check with its reason. Issuers are trusted by the operator's policy alone.")
            .asks_openly(&json!({"verifiableCredential": {"anyOf": ["object", "text"]}, "options?": "object"}))
            .answers(200, &json!("#Report"))
            .answers(400, &json!("#Report"))
            .problem(400),
        op("POST /verifier/credentials/issue", "In development builds alone, for test suites: signs a credential with a key that lives as long as the process (VC-API).")
            .asks_openly(&json!({"credential": "object", "options?": "object"}))
            .answers(201, &json!({"verifiableCredential": "object"})),
        op("POST /verifier/presentations/verify", "The same of a presentation that was made for this challenge and this domain.")
            .asks_openly(&json!({"verifiablePresentation": {"anyOf": ["object", "text"]}, "options": {"challenge": "text", "domain": "text"}}))
            .answers(200, &json!("#Report"))
            .answers(400, &json!("#Report"))
            .problem(400),
        op("GET /verifier/v1/transactions/{id}", "What came of it, to the relying service that asked.")
            .query("response_code?", "text")
            .answers(
                200,
                &json!({"anyOf": [
                    {"transaction": "text", "state": "=waiting"},
                    {"transaction": "text", "state": "=refused", "error": "text"},
                    {"transaction": "text", "state": "=answered", "credentials": {"*": [{"anyOf": ["#Shown", "#ForeignShown"]}]}, "transaction_data": ["text"]},
                ]}),
            )
            .refuses(&[403]),
        op("GET /verifier/v1/transactions/{id}/events", "That it has moved, to the relying service that asked: events `waiting`, then `answered`, `refused` or `expired`, each with `{transaction, state}`.")
            .text(200, "text/event-stream")
            .refuses(&[429]),
        op("GET /verifier/oid4vp/requests/{reference}", "The signed request (RFC 9101).").text(200, "application/oauth-authz-req+jwt"),
        op("POST /verifier/oid4vp/requests/{reference}", "The same with the wallet's own nonce (OpenID4VP 5.10).")
            .form(&json!({"wallet_nonce?": "text", "wallet_metadata?": "text"}))
            .text(200, "application/oauth-authz-req+jwt"),
        op("POST /verifier/oid4vp/responses/{reference}", "The wallet's answer: one counts (OpenID4VP 8.2, 8.3).")
            .form(&json!({"vp_token?": "text", "state?": "text", "response?": "text", "error?": "text", "error_description?": "text"}))
            .answers(200, &json!({"redirect_uri?": "url"}))
            .refuses(&[403]),
    ]
}
