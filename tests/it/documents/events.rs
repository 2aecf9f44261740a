//! The broker's event stream (AsyncAPI 3.0).

use super::take_in;
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let mut schemas = Map::new();
    take_in(&mut schemas, "Frame", include_str!("../../../schemas/event-frame.json"));
    take_in(&mut schemas, "Said", include_str!("../../../schemas/stream-said.json"));
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "Baton: events of the broker", "version": env!("CARGO_PKG_VERSION"),
            "description": "One WebSocket (RFC 6455) for each device: what changed in the sessions and handoffs of its person's app. Events carry no content; \
                the resources they name are read anew. Volatile updates are passed on sealed, to whoever listens, and kept by nobody; 32 a second of each device, 64 at \
                once (close code 4429 past that). The server pings; a client that says anything else is sent away (1008). A stream ends within five seconds \
                of its device's revocation."},
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "localhost:7777", "pathname": "/broker", "protocol": "ws",
            "security": [{"$ref": "#/components/securitySchemes/device"}, {"$ref": "#/components/securitySchemes/ticket"}]}},
        "channels": {"events": {
            "address": "/v1/events",
            "messages": {"frame": {"$ref": "#/components/messages/frame"}, "said": {"$ref": "#/components/messages/said"}},
            "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": {
                "cursor": {"type": "integer", "format": "int64", "description": "The last event that was seen: all later ones come first. Without it, from now on."},
                "ticket": {"type": "string", "description": "From `POST /v1/events/tickets`, once, within its time and from its origin: for browsers, which set no headers."},
                "volatile": {"type": "boolean", "description": "Whether it is told what other devices say just now."},
            }}}},
        }},
        "operations": {"say": {"action": "send", "channel": {"$ref": "#/channels/events"},
            "summary": "What matters only now, an update to be kept, another token to go on with. For the first two its token has the scope `session:write`.",
            "messages": [{"$ref": "#/channels/events/messages/said"}]},
        "hear": {"action": "receive", "channel": {"$ref": "#/channels/events"}, "summary": "What changed, in order, each with its number.",
            "messages": [{"$ref": "#/channels/events/messages/frame"}]}},
        "components": {
            "messages": {"frame": {"name": "frame", "title": "One text frame", "contentType": "application/json", "payload": {"$ref": "#/components/schemas/Frame"}},
                "said": {"name": "said", "title": "One text frame of a device", "contentType": "application/json", "payload": {"$ref": "#/components/schemas/Said"}}},
            "schemas": schemas,
            "securitySchemes": {
                "device": {"type": "http", "scheme": "DPoP", "description": "A device's token with `session:read` and a proof (RFC 9449) over the opening request."},
                "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket", "description": "In place of token and proof."},
            },
        },
    })
}
