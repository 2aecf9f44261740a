//! Random claims, and random choices of what of them is disclosable.

use baton_protocol::b64;
use baton_protocol::sd_jwt::Disclosure;
use rand::{Rng, rngs::StdRng};
use serde_json::{Map, Value, json};

/// Characters that have broken encoders before. None beyond U+FFFF: sd-jwt-rs panics at those (asserted in `sd_jwt`).
const CHARS: &[char] =
    &['a', 'b', 'Z', '0', ' ', '"', '\\', '/', '~', '.', '$', '[', '_', '-', '\u{0}', '\n', '\u{7f}', 'é', 'Ω', 'ก', '字', '\u{2028}', '\u{fffd}'];

pub fn text(rng: &mut StdRng) -> String {
    (0..rng.random_range(0..9)).map(|_| CHARS[rng.random_range(0..CHARS.len())]).collect()
}

/// A claim's name, none that means something in a JWT.
fn name(rng: &mut StdRng) -> String {
    match rng.random_range(0..4) {
        0 => format!("n{}", text(rng)),
        1 => format!("x_sd{}", rng.random_range(0..99)),
        _ => ["name", "kind", "model", "address", "street", "capabilities", "agreement_jwk"][rng.random_range(0..7)].to_owned(),
    }
}

/// A JSON value; `empty` lets arrays and objects have no members.
pub fn value(rng: &mut StdRng, depth: usize, empty: bool) -> Value {
    let from = usize::from(!empty);
    match rng.random_range(0..if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => rng.random::<bool>().into(),
        2 => rng.random::<i64>().into(),
        3 => rng.random::<u64>().into(),
        4 => (f64::from(rng.random::<i32>()) / 8.0).into(),
        5 => text(rng).into(),
        6 => (0..rng.random_range(from..4)).map(|_| value(rng, depth - 1, empty)).collect(),
        _ => {
            let count = rng.random_range(from..4);
            Value::Object(claims(rng, count, depth - 1, empty))
        }
    }
}

/// Claims, at most `count` of them.
pub fn claims(rng: &mut StdRng, count: usize, depth: usize, empty: bool) -> Map<String, Value> {
    (0..count).map(|_| (name(rng), value(rng, depth, empty))).collect()
}

/// JSON pointers of about half of what `value` contains, what is inside before what it is inside of.
pub fn pointers(rng: &mut StdRng, value: &Value, at: &str, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => return,
    };
    for (step, child) in children {
        let path = format!("{at}/{step}");
        pointers(rng, child, &path, out);
        if rng.random() {
            out.push(path);
        }
    }
}

/// Puts about half of `value` behind digests of our own disclosures, at any depth, and adds decoys.
pub fn conceal(rng: &mut StdRng, value: Value, out: &mut Vec<Disclosure>) -> Value {
    match value {
        Value::Object(members) => {
            let (mut clear, mut digests) = (Map::new(), Vec::new());
            for (name, value) in members {
                let value = conceal(rng, value, out);
                if rng.random() {
                    let disclosure = Disclosure::member(rng.random(), &name, &value);
                    digests.push(disclosure.digest().to_owned());
                    out.push(disclosure);
                } else {
                    clear.insert(name, value);
                }
            }
            if rng.random_ratio(1, 4) {
                digests.push(b64::encode(rng.random::<[u8; 32]>()));
            }
            digests.sort();
            if !digests.is_empty() {
                clear.insert("_sd".into(), digests.into());
            }
            Value::Object(clear)
        }
        Value::Array(items) => items
            .into_iter()
            .map(|item| {
                let item = conceal(rng, item, out);
                if rng.random() {
                    let disclosure = element(rng, &item);
                    let digest = disclosure.digest().to_owned();
                    out.push(disclosure);
                    json!({"...": digest})
                } else {
                    item
                }
            })
            .collect(),
        plain => plain,
    }
}

/// An array element's disclosure. Our profile never makes one, and reads them all the same.
pub fn element(rng: &mut StdRng, value: &Value) -> Disclosure {
    let salt = b64::encode(rng.random::<[u8; 16]>());
    Disclosure::parse(&b64::encode(json!([salt, value]).to_string())).unwrap()
}
