//! The broker's event stream (AsyncAPI 3.0).

use super::take_in;
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let mut schemas = Map::new();
    take_in(&mut schemas, "Frame", include_str!("../../../schemas/event-frame.json"));
    json!({
        "asyncapi": "3.0.0",
        "info": {"title": "Baton: events of the broker", "version": env!("CARGO_PKG_VERSION"),
            "description": "One WebSocket (RFC 6455) for each device: what changed in the sessions and handoffs of its person's app. Frames carry no content; \
                the resources they name are read anew. The server pings; a client that says anything is sent away. A stream ends within five seconds of its \
                device's revocation."},
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "localhost:7777", "pathname": "/broker", "protocol": "ws",
            "security": [{"$ref": "#/components/securitySchemes/device"}, {"$ref": "#/components/securitySchemes/ticket"}]}},
        "channels": {"events": {
            "address": "/v1/events",
            "messages": {"frame": {"$ref": "#/components/messages/frame"}},
            "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": {
                "cursor": {"type": "integer", "format": "int64", "description": "The last event that was seen: all later ones come first. Without it, from now on."},
                "ticket": {"type": "string", "description": "From `POST /v1/events/tickets`, once, within its time and from its origin: for browsers, which set no headers."},
            }}}},
        }},
        "operations": {"hear": {"action": "receive", "channel": {"$ref": "#/channels/events"}, "summary": "What changed, in order, each with its number.",
            "messages": [{"$ref": "#/channels/events/messages/frame"}]}},
        "components": {
            "messages": {"frame": {"name": "frame", "title": "One text frame", "contentType": "application/json", "payload": {"$ref": "#/components/schemas/Frame"}}},
            "schemas": schemas,
            "securitySchemes": {
                "device": {"type": "http", "scheme": "DPoP", "description": "A device's token with `session:read` and a proof (RFC 9449) over the opening request."},
                "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket", "description": "In place of token and proof."},
            },
        },
    })
}
