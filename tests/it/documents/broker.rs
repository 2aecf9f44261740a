//! The broker's operations.

use super::{Op, op, shorthand::schema, take_in};
use serde_json::{Map, Value, json};

/// Why a handoff is over (docs/lifecycle.md).
const REASON: &str = "=unwanted|busy|unable|unanswered|elsewhere|nobody_came|not_sealed|revoked|claimed|ended|not_synced|not_taken|null";

/// The document.
pub fn document() -> Value {
    let mut components = Map::new();
    take_in(&mut components, "SealedUpdate", include_str!("../../../schemas/sealed-update.json"));
    let mut named = |name: &str, short: Value| components.insert(name.into(), schema(&short));
    named(
        "Session",
        json!({"session": "text", "app": "text", "mode": "=exclusive|shared", "phase": "text", "epoch": "int", "holder": "did|null", "lease_until": "ms",
            "key_version": "int", "rekey_required": "bool", "head": "object", "chain_head": "hash", "open_handoff": "text|null", "last_snapshot?": "int|null"}),
    );
    named(
        "Handoff",
        json!({"handoff": "text", "session": "text", "state": "text", "epoch": "int", "from": "did", "to": "any", "by": "did|null", "until": "ms|null",
            "reason": REASON, "release": "text|null", "offer": "jws|null", "presentation": "presentation|null"}),
    );
    named("Switches", json!({"visible": "bool", "mirroring": "bool", "sync": "bool", "gives": "bool", "takes": "bool"}));
    named("Handed", json!({"handoff": "text", "session": "text", "state": "text", "from": "did", "to": "did|null", "reason": REASON, "at": "ms"}));
    named("SealedView", json!({"key_version": "int", "iv": "text", "ct": "text"}));
    named("Present", json!({"device": "did", "status": "=online|away", "session?": "text|null", "view?": "#SealedView"}));
    named("Accepted", json!({"accepted": "jws", "session": "#Session"}));
    super::document(
        "broker",
        "Sessions, their sealed state and their handoffs. It relays what it cannot read (docs/protocol.md).",
        [plain(), sessions(), handoffs(), manage(), presence()].into_iter().flatten().collect(),
        components,
    )
}

fn plain() -> Vec<Op> {
    vec![
        op("GET /broker/jwks", "The keys its acceptances are signed with (RFC 7517).").answers(200, &json!("#Jwks")),
        op("POST /broker/v1/nonces", "A nonce for one presentation by one key.")
            .asks(&json!({"jkt": "hash"}))
            .answers(200, &json!({"nonce": "text", "expires_in": "secs"})),
        op("POST /broker/v1/events/tickets", "A ticket for one event stream, for browsers, which set no headers on a WebSocket.")
            .answers(200, &json!({"ticket": "text", "expires_in": "secs"})),
        op("GET /broker/v1/events", "The event stream: a WebSocket, as schemas/asyncapi.json has it.")
            .query("cursor?", "int")
            .query("ticket?", "text")
            .query("volatile?", "bool")
            .proof(false)
            .empty(101)
            .refuses(&[401, 403, 409, 426, 429]),
    ]
}

fn sessions() -> Vec<Op> {
    let moved = &[409, 429, 507];
    vec![
        op("GET /broker/v1/sessions", "The sessions of the person's app that this device may see.").answers(200, &json!({"sessions": ["#Session"]})),
        op("POST /broker/v1/sessions", "Opens a session whose id and first statement the device made. The same again is the same.")
            .asks(&json!({"statement": "jws", "envelope": "jwe"}))
            .answers(201, &json!("#Accepted"))
            .refuses(moved),
        op("GET /broker/v1/sessions/{id}", "One session.").answers(200, &json!("#Session")),
        op("GET /broker/v1/sessions/{id}/statements", "The chain of signed statements with the broker's acceptances.")
            .query("from?", "int")
            .answers(200, &json!({"statements": [{"statement": "jws", "accepted": "jws"}]})),
        op("POST /broker/v1/sessions/{id}/heartbeat", "The holder is still there.")
            .asks(&json!({"epoch": "int"}))
            .answers(200, &json!({"epoch": "int"}))
            .refuses(moved),
        op("POST /broker/v1/sessions/{id}/end", "Ends it: by its holder, or by any full device.")
            .answers(200, &json!({"phase": "=ended"}))
            .refuses(moved),
        op("GET /broker/v1/sessions/{id}/updates", "Sealed updates, in their order.")
            .query("after?", "int")
            .answers(200, &json!({"updates": ["#SealedUpdate"]})),
        op("POST /broker/v1/sessions/{id}/updates", "The holder's next sealed update; acknowledged once durable. The same again is the same.")
            .asks(&json!("#SealedUpdate"))
            .answers(200, &json!({"seq": "int", "hash": "hash"}))
            .refuses(&[409, 422, 429, 507]),
        op(
            "POST /broker/v1/sessions/{id}/acknowledge",
            "The device has everything up to this update. What a snapshot covers is kept until every member has said so of it, thirty days at most.",
        )
        .asks(&json!({"seq": "int", "hash": "hash"}))
        .answers(200, &json!({"seq": "int"}))
        .refuses(moved),
        op("GET /broker/v1/sessions/{id}/branches", "What was written too late, kept for the person to decide.")
            .query("at?", "int")
            .query("hash?", "text")
            .answers(200, &json!({"branches": [{"at": "ms", "hash": "hash", "device": "did", "update": "#SealedUpdate"}]})),
        op("POST /broker/v1/sessions/{id}/branches", "Keeps what was written too late.")
            .asks(&json!("#SealedUpdate"))
            .answers(201, &json!({"hash": "hash"}))
            .refuses(&[409, 422, 429, 507]),
        op("GET /broker/v1/sessions/{id}/envelopes", "The session's keys, each in an envelope to devices of the log.")
            .answers(200, &json!({"envelopes": [{"key_version": "int", "envelope": "jwe"}]})),
        op("POST /broker/v1/sessions/{id}/envelopes", "Lets a newly enrolled full device in.")
            .asks(&json!({"key_version": "int", "envelope": "jwe"}))
            .answers(201, &json!({"key_version": "int"}))
            .refuses(&[409, 422, 429, 507]),
        op("POST /broker/v1/sessions/{id}/rekey", "The holder brings in a new session key.")
            .asks(&json!({"statement": "jws", "envelope": "jwe"}))
            .answers(200, &json!("#Accepted"))
            .refuses(moved),
        op("POST /broker/v1/sessions/{id}/claim", "A full device takes a session that nobody holds any more.")
            .asks(&json!({"statement": "jws", "envelope": "jwe", "presentation?": "presentation|null"}))
            .answers(200, &json!("#Accepted"))
            .refuses(moved),
        op("POST /broker/v1/sessions/{id}/request", "A full device asks who holds the session for it. The same again is the same.")
            .asks(&json!({"handoff": "text"}))
            .answers(201, &json!("#Handoff"))
            .refuses(moved),
    ]
}

fn handoffs() -> Vec<Op> {
    let moved = &[409, 410, 429];
    let said = json!({"statement": "jws", "envelope?": "jwe|null"});
    vec![
        op("GET /broker/v1/handoffs", "Those under way that concern this device.").answers(200, &json!({"handoffs": ["#Handoff"]})),
        op(
            "POST /broker/v1/handoffs",
            "The holder offers its session, or agrees to a request by an offer of the same id. The same again is the same.",
        )
        .asks(&json!({"offer": "jws", "presentation?": "presentation|null"}))
        .answers(201, &json!("#Handoff"))
        .refuses(&[404, 409, 410, 429]),
        op("GET /broker/v1/handoffs/{id}", "One handoff.").answers(200, &json!("#Handoff")),
        op("POST /broker/v1/handoffs/{id}/accept", "The target accepts, by a presentation over this very handoff.")
            .asks(&json!({"presentation?": "presentation|null"}))
            .answers(200, &json!("#Handoff"))
            .refuses(moved),
        op("POST /broker/v1/handoffs/{id}/decline", "The target would rather not, or the holder keeps what it is asked for; and says why.")
            .asks(&json!({"reason?": "=unwanted|busy|unable"}))
            .answers(200, &json!("#Handoff"))
            .refuses(moved),
        op("POST /broker/v1/handoffs/{id}/cancel", "The source takes its offer back, or the target its request.")
            .answers(200, &json!("#Handoff"))
            .refuses(moved),
        op("POST /broker/v1/handoffs/{id}/seal", "The source releases: from here on it does not write at this epoch.")
            .asks(&said)
            .answers(200, &json!("#Accepted"))
            .refuses(moved),
        op("POST /broker/v1/handoffs/{id}/complete", "The target has opened what was sealed, and holds the session.")
            .asks(&said)
            .answers(200, &json!("#Accepted"))
            .refuses(moved),
        op("POST /broker/v1/handoffs/{id}/reclaim", "The source takes back what nobody completed.")
            .asks(&said)
            .answers(200, &json!("#Accepted"))
            .refuses(moved),
    ]
}

fn manage() -> Vec<Op> {
    vec![
        op("GET /broker/v1/manage/sessions", "What runs, and which devices are there, each with whether it has been told everything.").answers(
            200,
            &json!({"sessions": ["#Session"], "there": [{"device": "did", "in_sync": "bool", "status": "=online|away", "session": "text|null"}]}),
        ),
        op("GET /broker/v1/manage/handoffs", "What was handed from where to where, newest first.").query("before?", "int").answers(
            200,
            &json!({"handoffs": ["#Handed"]}),
        ),
        op("GET /broker/v1/manage/export", "Everything the broker keeps of this person in this app; what is sealed is counted. The newest 10,000 of each; to a person verified within five minutes.").answers(
            200,
            &json!({"sessions": [{"session": "text", "state": "text", "epoch": "int", "holder": "did|null", "created_at": "ms", "ended_at": "ms|null", "updates": "int", "branches": "int"}],
                "handoffs": ["#Handed"], "events": [{"seq": "int", "at": "ms", "kind": "text", "session": "text|null", "handoff": "text|null", "devices": ["did"]}],
                "devices": [{"device": "did", "switches": "#Switches"}]}),
        ),
        op("POST /broker/v1/manage/sessions/{id}/end", "Ends a session for good.").answers(200, &json!({"phase": "=ended"})).refuses(&[409]),
        op("POST /broker/v1/manage/sessions/{id}/ask", "Tells the holder that its person would like the session elsewhere.")
            .answers(200, &json!({"state": "=asked"}))
            .refuses(&[409]),
        op("POST /broker/v1/manage/sessions/{id}/unfollow", "Tells a device that has another's session in front to put it away.")
            .asks(&json!({"device": "did"}))
            .answers(200, &json!({"state": "=asked"}))
            .refuses(&[409]),
        op("GET /broker/v1/manage/devices", "What the person switched off for which device; what is not named is on.")
            .answers(200, &json!({"devices": [{"device": "did", "switches": "#Switches"}]})),
        op("POST /broker/v1/manage/devices/{device}/switches", "Whether a device is seen by the others, mirrored to them, and given their sessions.")
            .asks(&json!({"visible?": "bool|null", "mirroring?": "bool|null", "sync?": "bool|null"}))
            .answers(200, &json!({"switches": "#Switches"})),
    ]
}

fn presence() -> Vec<Op> {
    vec![
        op("GET /broker/v1/switches", "The person's devices that are given no keys but of what they hold.")
            .answers(200, &json!({"without_sync": ["did"], "unasked": {"gives": "bool", "takes": "bool"}, "shows": "bool"})),
        op("GET /broker/v1/presence", "The person's other devices that are there, as far as this one may see them.")
            .answers(200, &json!({"devices": ["#Present"]})),
        op("POST /broker/v1/presence", "How this device is and which session it has in front: for 45 seconds, or as long as it has a stream.")
            .asks(&json!({"status": "=online|away|offline", "session?": "text|null", "view?": "#SealedView"}))
            .answers(200, &json!({"status": "=online|away|offline"}))
            .refuses(&[404, 409, 422]),
    ]
}
