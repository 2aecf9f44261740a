//! SD-JWTs on which the three do not agree, each with what each says. RFC 9901 is on our side unless the row says otherwise.

use crate::support::{Key, now, ours, payload, rng, rs};
use baton_protocol::b64;
use baton_protocol::credential::FIXED;
use baton_protocol::key::hash;
use baton_protocol::sd_jwt::Disclosure;
use serde_json::{Value, json};

const SALT: &str = "_26bc4LT-ac6q2KI6cBW5es";

/// Payload members beside `iss` and `exp`, and disclosures as they stand.
struct Input {
    what: &'static str,
    payload: String,
    disclosures: Vec<String>,
}

fn input(what: &'static str, members: Value, disclosures: &[&str]) -> Input {
    let members = members.to_string();
    raw(what, &members[1..members.len() - 1], disclosures)
}

fn raw(what: &'static str, members: &str, disclosures: &[&str]) -> Input {
    let comma = if members.is_empty() { "" } else { "," };
    let payload = format!(r#"{{"iss":"i","exp":{}{comma}{members}}}"#, now() + 1000);
    Input { what, payload, disclosures: disclosures.iter().map(|text| (*text).to_owned()).collect() }
}

/// The one disclosure, and its digest in `_sd`.
fn member(what: &'static str, disclosure: &str) -> Input {
    input(what, json!({"_sd": [hash(disclosure.as_bytes())]}), &[disclosure])
}

fn b(text: impl ToString) -> String {
    b64::encode(text.to_string())
}

fn table() -> Vec<(Input, [&'static str; 3])> {
    let name = b(json!([SALT, "name", "x"]));
    let item = b(json!([SALT, "x"]));
    let (of_name, of_item) = (hash(name.as_bytes()), hash(item.as_bytes()));
    let twin = b(json!([SALT, "name", "y"]));
    let of = |text: &str| hash(text.as_bytes());
    let inner = b(json!([SALT, "outer", {"_sd": [of_name]}]));
    let many: Vec<String> = (0..65u8).map(|n| Disclosure::member([n; 16], &format!("n{n}"), &json!(n)).as_str().to_owned()).collect();
    let many_digests: Vec<String> = many.iter().map(|text| of(text)).collect();
    let deep = format!("{}1{}", "[".repeat(17), "]".repeat(17));
    let unaligned = (1..4).map(|n| b(json!([SALT, "name", "x".repeat(n)]))).find(|text| text.len() % 4 == 3).unwrap();
    let alg = b(json!([SALT, "_sd_alg", "sha-256"]));
    let nbf = b(json!([SALT, "nbf", 0]));
    vec![
        // ours, sd-jwt-rs, sd-jwt-payload
        (member("control", &name), ["accepts", "accepts", "accepts"]),
        (input("control, an element", json!({"a": [{"...": of_item}]}), &[&item]), ["accepts", "accepts", "accepts"]),
        // One digest, one place (§7.1, 4).
        (input("a digest twice, disclosed", json!({"_sd": [of_name, of_name]}), &[&name]), ["DupDigest", "refuses", "refuses"]),
        (input("a digest twice, undisclosed", json!({"_sd": ["u", "u"]}), &[]), ["DupDigest", "refuses", "accepts"]),
        (input("a digest as member and element", json!({"_sd": ["u"], "a": [{"...": "u"}]}), &[]), ["DupDigest", "refuses", "accepts"]),
        (
            input("a digest again inside what it discloses beside", json!({"_sd": [of(&inner), of_name]}), &[&inner, &name]),
            ["DupDigest", "refuses", "refuses"],
        ),
        (input("a disclosure sent twice", json!({"_sd": [of_name]}), &[&name, &name]), ["DupDigest", "refuses", "accepts"]),
        // Every disclosure has a place (§7.1, 5).
        (input("a disclosure of nothing", json!({}), &[&name]), ["Unused", "accepts", "refuses"]),
        (input("a child without its parent", json!({"_sd": [of(&inner)]}), &[&name]), ["Unused", "accepts", "refuses"]),
        // Reserved names (§7.1, 3.c).
        (member("a claim named _sd", &b(json!([SALT, "_sd", ["u"]]))), ["Reserved", "accepts", "refuses"]),
        (member("a claim named ...", &b(json!([SALT, "...", "u"]))), ["Reserved", "accepts", "accepts"]),
        (input("... as a member in clear", json!({"a": {"...": "u"}}), &[]), ["Reserved", "accepts", "accepts"]),
        (input("... at the top", json!({"...": "u"}), &[]), ["Reserved", "accepts", "accepts"]),
        // Collisions (§7.1, 3.c).
        (input("a claim that stands in clear", json!({"_sd": [of_name], "name": "z"}), &[&name]), ["Collision", "refuses", "refuses"]),
        (input("two claims of one name", json!({"_sd": [of_name, of(&twin)]}), &[&name, &twin]), ["Collision", "refuses", "refuses"]),
        (member("a claim that must stand in clear", &nbf), ["NonSdClaim", "accepts", "accepts"]),
        // The RFC lets any text be a salt and asks for 128 bits of it; our profile asks for base64url of them.
        (member("a short salt", &b(json!(["c2hvcnQ", "name", "x"]))), ["Disclosure", "accepts", "accepts"]),
        (member("no salt", &b(json!(["", "name", "x"]))), ["Disclosure", "accepts", "accepts"]),
        (member("a salt in another alphabet", &b(json!(["+26bc4LT/ac6q2KI6cBW5es", "name", "x"]))), ["Disclosure", "accepts", "accepts"]),
        (member("a salt that is a number", &b(json!([7, "name", "x"]))), ["Disclosure", "accepts", "refuses"]),
        // Forms of a disclosure.
        (member("padding", &format!("{unaligned}=")), ["Disclosure", "refuses", "refuses"]),
        (member("stray bits", &stray(&unaligned)), ["Disclosure", "refuses", "refuses"]),
        (member("white space", &format!("{name} ")), ["Disclosure", "refuses", "refuses"]),
        (member("nothing between tildes", ""), ["Disclosure", "refuses", "refuses"]),
        (member("an object", &b(json!({"a": 1}))), ["Disclosure", "refuses", "refuses"]),
        (member("one element", &b(json!([SALT]))), ["Disclosure", "panics", "refuses"]),
        (member("four elements", &b(json!([SALT, "name", 1, 2]))), ["Disclosure", "accepts", "refuses"]),
        (member("a name that is a number", &b(json!([SALT, 1, 1]))), ["Disclosure", "refuses", "refuses"]),
        (member("more after it", &b(format!("{} 1", json!([SALT, "name", 1])))), ["Disclosure", "refuses", "refuses"]),
        (member("a byte order mark", &b(format!("\u{feff}{}", json!([SALT, "name", 1])))), ["Disclosure", "refuses", "refuses"]),
        (member("half a surrogate pair", &b(format!(r#"["{SALT}","name","\ud800"]"#))), ["Disclosure", "refuses", "refuses"]),
        (member("a member twice inside it", &b(format!(r#"["{SALT}","name",{{"a":1,"a":2}}]"#))), ["Disclosure", "accepts", "accepts"]),
        (member("an element's form as a member", &item), ["Disclosure", "panics", "refuses"]),
        (input("a member's form as an element", json!({"a": [{"...": of_name}]}), &[&name]), ["Disclosure", "accepts", "refuses"]),
        // Digests.
        (input("_sd that is no array", json!({"_sd": "u"}), &[]), ["Placeholder", "accepts", "refuses"]),
        (input("_sd that is no array, below the top", json!({"a": {"_sd": "u"}}), &[]), ["Placeholder", "accepts", "accepts"]),
        (input("a digest that is a number", json!({"_sd": [5]}), &[]), ["Placeholder", "refuses", "refuses"]),
        (input("an element's digest that is a number", json!({"a": [{"...": 5}]}), &[]), ["Placeholder", "refuses", "refuses"]),
        (input("an element's digest with company", json!({"a": [{"...": "u", "b": 1}]}), &[]), ["Placeholder", "refuses", "refuses"]),
        // The digest's algorithm: sd-jwt-payload trusts its caller to have looked.
        (input("another algorithm", json!({"_sd_alg": "sha-512"}), &[]), ["SdAlg", "refuses", "accepts"]),
        (input("an algorithm that is a number", json!({"_sd_alg": 5}), &[]), ["SdAlg", "refuses", "refuses"]),
        (input("an algorithm below the top", json!({"a": {"_sd_alg": "sha-256"}}), &[]), ["SdAlg", "accepts", "accepts"]),
        // Bounds.
        (
            input("65 disclosures", json!({"_sd": many_digests}), &many.iter().map(String::as_str).collect::<Vec<_>>()),
            ["Limit", "accepts", "accepts"],
        ),
        (
            input("64 disclosures", json!({"_sd": many_digests}), &many[..64].iter().map(String::as_str).collect::<Vec<_>>()),
            ["accepts", "accepts", "accepts"],
        ),
        (input("64 KiB", json!({"a": "x".repeat(1 << 16)}), &[]), ["Limit", "accepts", "accepts"]),
        (raw("seventeen deep", &format!(r#""a":{deep}"#), &[]), ["Json", "accepts", "accepts"]),
        (raw("a member twice", r#""a":1,"a":2"#, &[]), ["Json", "accepts", "accepts"]),
        (raw("a digest list twice", r#""_sd":[],"_sd":[]"#, &[]), ["Json", "accepts", "refuses"]),
        // Theirs is the mistake: nothing forbids an empty array.
        (input("an empty array", json!({"a": []}), &[]), ["accepts", "refuses", "accepts"]),
        // §7.1, 3.c has a disclosed claim collide with what stands beside its `_sd`, `_sd_alg` too; we refuse the name wherever it stands.
        (input("a claim named _sd_alg beside _sd_alg", json!({"_sd": [of(&alg)], "_sd_alg": "sha-256"}), &[&alg]), ["Reserved", "accepts", "refuses"]),
        (member("a claim named _sd_alg", &alg), ["Reserved", "accepts", "accepts"]),
    ]
}

/// The same bytes with other unused bits at the end.
fn stray(text: &str) -> String {
    let last = text.chars().last().unwrap();
    let next = char::from(last as u8 + 1);
    let out = format!("{}{next}", &text[..text.len() - 1]);
    assert!(next.is_ascii_alphanumeric() && b64::decode(&out).is_err());
    out
}

#[test]
fn who_says_what() {
    let key = Key::new(&mut rng());
    let mut wrong = Vec::new();
    for (Input { what, payload: text, disclosures }, expected) in table() {
        let jwt = key.jws(r#"{"alg":"ES256","typ":"dc+sd-jwt"}"#, &text);
        let text = disclosures.iter().fold(jwt + "~", |out, disclosure| out + disclosure + "~");
        let our = ours(&text, &key.public, FIXED).err().unwrap_or("accepts".into());
        let got = [our.as_str(), rs(&text, &key).word(), payload(&text).word()];
        if got != expected {
            wrong.push(format!("{what}: {got:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The JWT's own form. (`ours` here has no header to look at; `credential` has.)
#[test]
fn forms_of_the_jwt() {
    let key = Key::new(&mut rng());
    let payload_text = format!(r#"{{"iss":"i","exp":{}}}"#, now() + 1000);
    let jwt = key.jws(r#"{"alg":"ES256"}"#, &payload_text);
    let (input, signature) = jwt.rsplit_once('.').unwrap();
    let (header, body) = input.split_once('.').unwrap();
    let other = Key::new(&mut rng()).jws(r#"{"alg":"ES256"}"#, &payload_text);
    let table = [
        ("control", format!("{jwt}~"), ["accepts", "accepts", "accepts"]),
        ("no tilde", jwt.clone(), ["Jose", "refuses", "refuses"]),
        ("another's signature", format!("{other}~"), ["Sig", "refuses", "accepts"]),
        ("no signature", format!("{input}.~"), ["Encoding", "refuses", "accepts"]),
        ("a padded signature", format!("{jwt}==~"), ["Encoding", "refuses", "refuses"]),
        ("stray bits in the signature", format!("{}~", stray_signature(input, signature)), ["Encoding", "refuses", "refuses"]),
        ("four parts", format!("{jwt}.~"), ["Encoding", "refuses", "refuses"]),
        ("two parts", format!("{header}.{body}~"), ["Encoding", "refuses", "refuses"]),
        ("white space", format!(" {jwt}~"), ["Sig", "refuses", "refuses"]),
        ("an empty part", format!("{jwt}~~"), ["Disclosure", "refuses", "refuses"]),
    ];
    let mut wrong = Vec::new();
    for (what, text, expected) in table {
        let our = ours(&text, &key.public, FIXED).err().unwrap_or("accepts".into());
        let got = [our.as_str(), rs(&text, &key).word(), payload(&text).word()];
        if got != expected {
            wrong.push(format!("{what}: {got:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// 64 bytes leave four unused bits; the encoder leaves them zero.
fn stray_signature(input: &str, signature: &str) -> String {
    let last = char::from(signature.as_bytes()[85] + 1);
    format!("{input}.{}{last}", &signature[..85])
}
