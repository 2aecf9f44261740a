//! JSON Schema in few words: `"text"`, `"ms"`, `"#Session"`, `["did"]`, `{"name": "text", "until?": "ms|null"}`, `{"*": "any"}`, `{"anyOf": [..]}`.

use serde_json::{Map, Value, json};

/// Writes it out. Objects are closed: a member that is not named here is not documented.
pub fn schema(short: &Value) -> Value {
    match short {
        Value::String(word) => named(word),
        Value::Array(items) => json!({"type": "array", "items": schema(&items[0])}),
        Value::Object(members) if members.contains_key("anyOf") => {
            json!({"anyOf": members["anyOf"].as_array().unwrap().iter().map(schema).collect::<Vec<_>>()})
        }
        Value::Object(members) if members.contains_key("*") => json!({"type": "object", "additionalProperties": schema(&members["*"])}),
        Value::Object(members) => object(members),
        other => panic!("{other}"),
    }
}

fn object(members: &Map<String, Value>) -> Value {
    let properties: Map<String, Value> = members.iter().map(|(name, short)| (name.trim_end_matches('?').to_owned(), schema(short))).collect();
    let required: Vec<_> = members.keys().filter(|name| !name.ends_with('?')).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn named(word: &str) -> Value {
    if let Some(word) = word.strip_suffix("|null") {
        return json!({"anyOf": [named(word), {"type": "null"}]});
    }
    if let Some(name) = word.strip_prefix('#') {
        return json!({"$ref": format!("#/components/schemas/{name}")});
    }
    if let Some(words) = word.strip_prefix('=') {
        return json!({"enum": words.split('|').collect::<Vec<_>>()});
    }
    match word {
        "any" => json!({}),
        "text" => json!({"type": "string"}),
        "int" => json!({"type": "integer", "format": "int64"}),
        "bool" => json!({"type": "boolean"}),
        "object" => json!({"type": "object"}),
        "ms" => json!({"type": "integer", "format": "int64", "description": "Unix time in milliseconds."}),
        "at" => json!({"type": "integer", "format": "int64", "description": "Unix time in seconds."}),
        "secs" => json!({"type": "integer", "format": "int64", "description": "Seconds."}),
        "did" => json!({"type": "string", "pattern": "^did:key:z", "description": "A P-256 did:key."}),
        "jws" => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$", "description": "Compact JWS (RFC 7515)."}),
        "sd-jwt" => json!({"type": "string", "description": "SD-JWT (RFC 9901)."}),
        "presentation" => json!({"type": "string", "description": "SD-JWT+KB (RFC 9901)."}),
        "jwe" => json!({"type": "string", "description": "General JSON JWE (RFC 7516), as text."}),
        "hash" => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$", "description": "SHA-256, base64url."}),
        "url" => json!({"type": "string", "format": "uri"}),
        other => panic!("{other}: no such word"),
    }
}
