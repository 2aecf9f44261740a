//! Documents here and in TypeScript: the same random edits, in the same and in any other order, give the same. Each replica is two, one of either kind, and
//! takes in what either kind of another has written.

use baton_protocol::b64;
use baton_protocol::key::Did;
use baton_protocol::secret::Secret;
use baton_protocol::signer::Signer as _;
use baton_sdk::document::State;
use baton_sdk::keys::SoftKey;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use yrs::types::ToJson as _;
use yrs::{Array as _, GetString as _, Map as _, Text as _, Transact as _};

const REPLICAS: usize = 3;
const STEPS: usize = 60;
const SEEDS: u64 = 100;

/// Reproducible: a seed that fails is run again by itself.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

/// `sdk/typescript/test/replica.ts`.
struct TypeScript {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl TypeScript {
    fn start() -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../typescript/dist/test/replica.js");
        let mut child = Command::new("node").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn act(&mut self, replica: usize, deed: &Value) -> Value {
        writeln!(self.input, "{}", json!({"replica": replica, "deed": deed})).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("`npm run build --workspace @baton/sdk` makes what answers here")
    }
}

impl Drop for TypeScript {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn shown(state: &State) -> Value {
    let doc = state.doc();
    let (text, map, list) = (doc.get_or_insert_text("text"), doc.get_or_insert_map("map"), doc.get_or_insert_array("list"));
    let tx = doc.transact();
    let registers: Map<_, _> = state.names().map(|name| (name.to_owned(), state.get(name).unwrap())).collect();
    json!({"text": text.get_string(&tx), "map": map.to_json(&tx), "list": list.to_json(&tx), "registers": registers})
}

/// Does it here; gives what merging said.
fn act(state: &mut State, deed: &Value, dids: &[Did]) -> Value {
    let doc = state.doc();
    let (text, map, list) = (doc.get_or_insert_text("text"), doc.get_or_insert_map("map"), doc.get_or_insert_array("list"));
    let number = |n: usize| deed[n].as_u64().unwrap() as u32;
    let word = |n: usize| deed[n].as_str().unwrap();
    match word(0) {
        "insert" => text.insert(&mut doc.transact_mut(), number(1), word(2)),
        "delete" => text.remove_range(&mut doc.transact_mut(), number(1), number(2)),
        "put" => drop(map.insert(&mut doc.transact_mut(), word(1), word(2))),
        "drop" => drop(map.remove(&mut doc.transact_mut(), word(1))),
        "push" => drop(list.insert(&mut doc.transact_mut(), number(1), word(2))),
        "pull" => list.remove(&mut doc.transact_mut(), number(1)),
        "set" => {
            let by = dids.iter().find(|did| did.as_str() == word(4)).unwrap();
            state.set(word(1), &deed[2], i64::from(number(3)), by).unwrap();
        }
        "merge" => {
            let merged = state.merge(&b64_standard(word(1)), i64::MAX).unwrap();
            let outdone: Vec<_> = merged.outdone.iter().map(|one| json!({"name": one.name, "by": one.by, "value": one.value})).collect();
            return json!({"changed": merged.changed, "outdone": outdone});
        }
        other => panic!("{other}"),
    }
    Value::Null
}

fn b64_standard(text: &str) -> Vec<u8> {
    b64::decode(text.trim_end_matches('=').replace('+', "-").replace('/', "_").as_str()).unwrap()
}

/// Something that could be done to what stands there, in UTF-16 positions between characters.
fn edit(chance: &mut Chance, shown: &Value, dids: &[Did]) -> Value {
    let text = shown["text"].as_str().unwrap();
    let mut places = vec![0];
    places.extend(text.chars().scan(0, |at, one| {
        *at += one.len_utf16();
        Some(*at)
    }));
    let list = shown["list"].as_array().unwrap().len();
    let words = ["a", "é", "🎬", "minute ", "\n", "כן"];
    let key = ["x", "y", "z"][chance.below(3)];
    match chance.below(9) {
        0..3 => json!(["insert", places[chance.below(places.len())], words[chance.below(words.len())]]),
        3 if places.len() > 1 => {
            let at = chance.below(places.len() - 1);
            let to = at + 1 + chance.below(places.len() - 1 - at);
            json!(["delete", places[at], places[to] - places[at]])
        }
        4 => json!(["put", key, words[chance.below(words.len())]]),
        5 => json!(["drop", key]),
        6 => json!(["push", chance.below(list + 1), words[chance.below(words.len())]]),
        7 if list > 0 => json!(["pull", chance.below(list)]),
        _ => json!(["set", key, {"at": chance.below(100), "rate": 1.5}, 1 + chance.below(3), dids[chance.below(dids.len())]]),
    }
}

/// One replica, in both kinds: what is done to it is done in either, and the other takes it in.
struct Pair<'a> {
    here: State,
    name: usize,
    there: &'a RefCell<TypeScript>,
}

impl Pair<'_> {
    fn there(&self, deed: &Value) -> Value {
        self.there.borrow_mut().act(self.name, deed)
    }

    fn edit(&mut self, here: bool, deed: &Value, dids: &[Did]) {
        if here {
            act(&mut self.here, deed, dids);
            self.there(&json!(["merge", encoded(&self.here)]));
        } else {
            self.there(deed);
            let written = self.written(false);
            act(&mut self.here, &json!(["merge", written]), dids);
        }
    }

    fn merge(&mut self, content: &Value) -> Value {
        let deed = json!(["merge", content]);
        let (here, there) = (act(&mut self.here, &deed, &[]), self.there(&deed));
        assert_eq!((&there["gave"], &there["shown"]), (&here, &shown(&self.here)));
        here
    }

    fn written(&self, here: bool) -> Value {
        if here { encoded(&self.here) } else { self.there(&json!(["encode"]))["gave"].clone() }
    }
}

#[test]
fn the_same_edits_in_rust_and_typescript() {
    let there = RefCell::new(TypeScript::start());
    let dids: Vec<_> = (1..4).map(|n| SoftKey::from_scalar(&Secret::new([n; 32])).unwrap().key().did()).collect();
    for seed in 1..=SEEDS {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let pair = |n: usize| {
            let name = seed as usize * REPLICAS + n;
            Pair { here: State::new([1, 0, (name >> 8) as u8, name as u8]), name, there: &there }
        };
        let mut replicas: Vec<_> = (0..REPLICAS).map(pair).collect();
        let mut written: Vec<Value> = Vec::new();
        for step in 0..STEPS {
            let (replica, kind) = (&mut replicas[chance.below(REPLICAS)], chance.below(2) == 0);
            match chance.below(10) {
                // What was written before may arrive late, twice, or never.
                0..2 if !written.is_empty() => drop(replica.merge(&written[chance.below(written.len())])),
                2 => written.push(replica.written(kind)),
                _ => {
                    let deed = edit(&mut chance, &shown(&replica.here), &dids);
                    replica.edit(kind, &deed, &dids);
                    let same = replica.there(&json!(["encode"]))["shown"] == shown(&replica.here);
                    assert!(same, "seed {seed}, step {step}: {deed}");
                }
            }
        }
        let all: Vec<_> = replicas.iter().enumerate().map(|(n, replica)| replica.written(n % 2 == 0)).collect();
        for (n, replica) in replicas.iter_mut().enumerate() {
            for m in 0..REPLICAS {
                replica.merge(&all[(n + m) % REPLICAS]);
            }
            assert_eq!(replica.merge(&all[n])["changed"], false, "seed {seed}: taken in before");
        }
        assert!(replicas.windows(2).all(|two| shown(&two[0].here) == shown(&two[1].here)), "seed {seed}: not the same everywhere");
    }
}

fn encoded(state: &State) -> Value {
    let bytes = state.encode();
    json!(b64::encode(bytes).replace('-', "+").replace('_', "/"))
}

/// What is no document changes nothing, and stops nobody: in Rust and in TypeScript the same.
#[test]
fn what_is_no_document_is_refused() {
    let there = RefCell::new(TypeScript::start());
    let mut good = State::new([0, 0, 0, 1]);
    act(&mut good, &json!(["insert", 0, "minute 43"]), &[]);
    act(&mut good, &json!(["put", "x", "é"]), &[]);
    act(&mut good, &json!(["push", 0, "🎬"]), &[]);
    act(&mut good, &json!(["delete", 2, 3]), &[]);
    let content = good.encode();
    let mut chance = Chance(7);
    let mut refused = 0;
    for n in 0..4000 {
        let mut bytes = content.clone();
        match n % 4 {
            0 => bytes.truncate(chance.below(content.len())),
            1 => bytes[chance.below(content.len())] ^= 1 << chance.below(8),
            // Where the document is.
            2 => {
                for _ in 0..2 {
                    let at = 7 + chance.below(content.len() - 7);
                    bytes[at] = chance.below(256) as u8;
                }
            }
            _ => bytes = (0..chance.below(40)).map(|_| chance.below(256) as u8).collect(),
        }
        let mut state = State::new([0, 0, 0, 2]);
        act(&mut state, &json!(["insert", 0, "x"]), &[]);
        let accepted = state.merge(&bytes, 1).is_ok();
        if !accepted {
            refused += 1;
            assert_eq!(shown(&state)["text"], "x");
        }
        there.borrow_mut().act(100_000 + n, &json!(["insert", 0, "x"]));
        let answer = there.borrow_mut().act(100_000 + n, &json!(["merge", b64::encode(&bytes).replace('-', "+").replace('_', "/")]));
        assert_eq!(answer.get("gave").is_some(), accepted, "{answer}: {}", b64::encode(&bytes));
    }
    assert!((2000..3990).contains(&refused), "{refused}");
    let mut state = State::new([0, 0, 0, 2]);
    assert!(state.merge(&content, 1).unwrap().changed && !state.merge(&content, 1).unwrap().changed);
}

/// Twenty-one thousand items at one place.
fn many_items() -> Vec<u8> {
    let number = |mut n: u64| {
        let mut out = Vec::new();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    };
    [&[1][..], &number(21_000), &[1, 0], &[8, 1, 1, b'a', 1, 126].repeat(21_000), &[0]].concat()
}

/// Whoever knows nothing of the app sees what is in its document, whichever language wrote it.
#[test]
fn what_is_in_a_document_can_be_shown() {
    let mut there = TypeScript::start();
    let did = SoftKey::from_scalar(&Secret::new([7; 32])).unwrap().key().did();
    for deed in [json!(["insert", 0, "bread"]), json!(["put", "a", "b"]), json!(["push", 0, "one"]), json!(["set", "position", {"at": 43}, 1, did])] {
        there.act(300_000, &deed);
    }
    let written = there.act(300_000, &json!(["encode"]))["gave"].as_str().unwrap().replace('+', "-").replace('/', "_");
    let mut state = State::new([0, 0, 0, 2]);
    state.merge(&b64::decode(written.trim_end_matches('=')).unwrap(), 1).unwrap();
    let shown = json!({"registers": {"position": {"at": 43}}, "document": {"text": "bread", "map": {"a": "b"}, "list": ["one"]}});
    assert_eq!(state.to_json(), shown);
}

/// What would stop a process that reads it: it is refused before a library of CRDTs sees it.
#[test]
fn what_is_made_to_harm_is_refused() {
    let there = RefCell::new(TypeScript::start());
    let document = |update: &[u8]| [&[1, 0, 0, 0, 2][..], b"{}", update].concat();
    // Of client 1, one item of this content in the root "a".
    let item = |content: &[u8]| [&[1, 1, 1, 0][..], content, &[0]].concat();
    let nested = |depth: usize, open: &[u8]| [&[8, 1, 1, b'a', 1][..], &open.repeat(depth), &[126]].concat();
    // The second of them in the first, the third in the second.
    let types = |count: u8| {
        let inner: Vec<u8> = (0..count - 1).flat_map(|n| [7, 0, 1, n, 0]).collect();
        [&[1, count, 1, 0, 7, 1, 1, b'a', 0][..], &inner, &[0]].concat()
    };
    // And one beside the innermost of 65, with something more.
    let beside = |more: &[u8]| {
        let all = types(65);
        [&[1, 66 + u8::from(!more.is_empty())][..], &all[2..all.len() - 1], &[0x87, 1, 64, 0], more, &[0]].concat()
    };
    let good = [
        ("types, not too deep", types(65)),
        ("another beside the deepest", beside(&[])),
        ("a value", item(&[8, 1, 1, b'a', 1, 126])),
        ("not too deep", item(&nested(60, &[117, 1]))),
        ("a path that looks like half of a pair", item(&[&[5, 1, 1, b'a', 12][..], br#""D:\\udemy!""#].concat())),
        ("a whole pair", item(&[&[5, 1, 1, b'a', 14][..], br#""\ud83c\udfac""#].concat())),
        ("a type with a child", vec![1, 2, 1, 0, 7, 1, 1, b'a', 1, 0x28, 0, 1, 0, 1, b'k', 1, 126, 0]),
    ];
    let bad = [
        ("ninety thousand within each other", item(&nested(90_000, &[117, 1]))),
        (
            "beside what was collected",
            vec![1, 6, 1, 0, 0, 1, 7, 1, 1, 97, 0, 8, 0, 1, 1, 1, 0x7e, 0xc7, 1, 0, 1, 2, 0, 8, 0, 1, 3, 1, 0x7e, 0xc7, 1, 0, 1, 4, 0, 0],
        ),
        ("types within each other", types(66)),
        ("beside each other, and within", beside(&[7, 0, 1, 65, 0])),
        ("and with names", item(&nested(1000, &[118, 1, 0]))),
        ("a client named twice", vec![2, 1, 1, 5, 0, 1, 1, 1, 20, 0, 10, 0]),
        ("and from its beginning", vec![2, 1, 1, 0, 0, 1, 1, 1, 0, 0, 10, 0]),
        ("not from its beginning", vec![1, 1, 1, 3, 0, 1, 0]),
        ("past what counts", vec![1, 2, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 7, 0, 0xff, 0xff, 0xff, 0xff, 7, 0]),
        ("beside what is not there", vec![1, 1, 1, 0, 0x88, 9, 9, 1, 126, 0]),
        ("in what is no type", vec![1, 2, 1, 0, 8, 1, 1, b'a', 1, 126, 8, 0, 1, 0, 1, 126, 0]),
        ("a client past 2^32", [&[1, 1, 0x81, 0x80, 0x80, 0x80, 0x10, 0][..], &[8, 1, 1, b'a', 1, 126, 0]].concat()),
        ("a client that is nobody", vec![1, 1, 0, 0, 8, 1, 1, b'a', 1, 126, 0]),
        ("deleted and not there", vec![0, 1, 1, 1, 0, 5]),
        ("each beside the other", vec![2, 1, 1, 0, 0x88, 2, 0, 1, 126, 1, 2, 0, 0x88, 1, 0, 1, 126, 0]),
        ("a subdocument", item(&[9, 1, 1, b'a', 1, b'g', 118, 0])),
        ("something left over", [&item(&[8, 1, 1, b'a', 1, 126])[..], &[0]].concat()),
        ("a name of JavaScript's own", item(&[&[8, 1, 1, b'a', 1, 118, 1, 9][..], b"__proto__", &[126]].concat())),
        ("thousands at one place", many_items()),
        ("half of a surrogate pair", item(&[&[5, 1, 1, b'a', 8][..], br#""\ud800""#].concat())),
        ("a number that is none", item(&[&[5, 1, 1, b'a', 5][..], b"1e999"].concat())),
    ];
    let all = good.iter().map(|one| (one, true)).chain(bad.iter().map(|one| (one, false)));
    for (n, ((what, update), accepted)) in all.enumerate() {
        let mut state = State::new([0, 0, 0, 2]);
        assert_eq!(state.merge(&document(update), 1).is_ok(), accepted, "{what}");
        let text = b64::encode(document(update)).replace('-', "+").replace('_', "/");
        let answer = there.borrow_mut().act(200_000 + n, &json!(["merge", text]));
        assert_eq!(answer.get("gave").is_some(), accepted, "{what}: {answer}");
        if !accepted {
            assert_eq!(answer["refused"], "state.form", "{what}");
        }
    }
}
