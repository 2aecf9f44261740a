//! The one-way dependencies of the workspace: `protocol <- service <- {identity, verifier, broker} <- baton` and `protocol <- sdk <- baton`.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

#[test]
fn crates_depend_one_way() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        let ours = normal.filter_map(|d| d["name"].as_str()).filter(|name| name.starts_with("baton-")).map(str::to_owned).collect();
        edges.insert(package["name"].as_str().unwrap().to_owned(), ours);
    }
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(edges["baton-protocol"], set(&[]));
    assert_eq!(edges["baton-service"], set(&["baton-protocol"]));
    assert_eq!(edges["baton-broker"], set(&["baton-protocol", "baton-service"]));
    assert_eq!(edges["baton-identity"], set(&["baton-protocol", "baton-service", "baton-web"]));
    assert_eq!(edges["baton-web"], set(&[]));
    assert_eq!(edges["baton-verifier"], set(&["baton-protocol", "baton-service", "baton-w3c"]));
    assert_eq!(edges["baton-w3c"], set(&["baton-protocol"]));
    assert_eq!(edges["baton-sdk"], set(&["baton-protocol"]));
    assert_eq!(edges["baton-model"], set(&["baton-protocol"]));
    assert_eq!(
        edges["baton"],
        set(&["baton-protocol", "baton-service", "baton-identity", "baton-verifier", "baton-broker", "baton-sdk", "baton-web"])
    );
}

/// `protocol` is sans-IO: it reaches for no clock, randomness, runtime, database or HTTP.
#[test]
fn protocol_stays_pure() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("[dev-dependencies]").next().unwrap();
    for io in ["tokio", "sqlx", "axum", "reqwest", "rand", "getrandom", "chrono", "time ="] {
        assert!(!dependencies.contains(io), "{io}");
    }
}

/// INP-04: no service can be made to ask anybody for anything, because none has what it would take. (The feature `w3c` brings ssi, which has: it is
/// asked for `did:key` and `did:jwk` alone; tests/it/attacks/foreign.rs.)
#[test]
fn services_ask_nobody() {
    for service in ["service", "identity", "verifier", "broker"] {
        let out = Command::new(env!("CARGO"))
            .args(["tree", "--package", &format!("baton-{service}"), "--edges", "normal", "--prefix", "none", "--offline"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let tree = String::from_utf8(out.stdout).unwrap();
        assert!(tree.contains("baton-protocol v"), "{service}: {tree}");
        for client in ["reqwest", "ureq", "isahc", "hyper-rustls", "hyper-tls", "curl"] {
            assert!(!tree.lines().any(|line| line.starts_with(client)), "{service} has {client}");
        }
    }
}
