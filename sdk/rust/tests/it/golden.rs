//! Files that the code writes and a test holds.

use serde_json::Value;
use std::path::PathBuf;

pub fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

/// What stands in the file; written first when asked to.
pub fn golden(name: &str, made: &Value) -> Value {
    let text = serde_json::to_string_pretty(made).unwrap() + "\n";
    if std::env::var_os("BATON_WRITE").is_some() {
        std::fs::write(file(name), &text).unwrap();
    }
    let stands = std::fs::read_to_string(file(name)).unwrap();
    assert_eq!(stands, text, "{name} differs: `make schemas` writes it anew, if that is meant");
    serde_json::from_str(&stands).unwrap()
}

/// What stands in a file that must be there.
pub fn read_golden(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap()
}
