//! What a document's bytes must be before a library of CRDTs is given them: one whole state, as an honest writer writes it, and nothing that would overflow a stack,
//! wait for what never comes, or mean something else in the other library. `sdk/typescript/src/document/whole.ts` is the same in TypeScript.
//!
//! The format is update v1 of Yjs, in lib0's encoding; docs/protocol.md §7 (Documents) says what of it is taken.

use super::nesting::{Nesting, Within};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Most values, and most types, within each other.
const DEEPEST: usize = 64;
/// Client identifiers are below, and above 0, which is nobody's: copies have it.
const CLIENTS: u64 = 1 << 32;
/// And so is how far anybody's clock goes.
const CLOCKS: u64 = 1 << 31;

/// Most items and clients: what is put beside the same thing again and again takes either library the square of it.
const MOST_ITEMS: usize = 20_000;
const MOST_CLIENTS: usize = 2000;

pub type Id = (u64, u64);

/// No number in it is past what a double holds: with serde_json's `arbitrary_precision`, which anything in a program may switch on, reading alone does not say so.
fn finite(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some(),
        Value::Array(values) => values.iter().all(finite),
        Value::Object(members) => members.values().all(finite),
        _ => true,
    }
}

/// How far each client's clock goes in these bytes, if they are one.
pub fn whole(update: &[u8]) -> Option<HashMap<u64, u64>> {
    let mut input = Input(update);
    let (mut ends, mut items) = (HashMap::new(), 0);
    let (mut named, mut parents, mut types, mut nesting) = (Vec::new(), Vec::new(), HashSet::new(), Nesting::default());
    for _ in 0..input.number()? {
        let (blocks, client, mut clock) = (input.number()?, input.client()?, input.number()?);
        // All of it: from the first.
        if clock != 0 || ends.contains_key(&client) || ends.len() == MOST_CLIENTS {
            return None;
        }
        for _ in 0..blocks {
            let block = input.block()?;
            items += 1;
            if items > MOST_ITEMS {
                return None;
            }
            if block.is_type {
                types.insert((client, clock));
            }
            nesting.add((client, clock), block.within());
            named.extend(block.beside.into_iter().flatten());
            parents.extend(block.parent);
            clock = clock.checked_add(block.length).filter(|clock| (1..CLOCKS).contains(clock))?;
        }
        ends.insert(client, clock);
    }
    let is_there = |id: &Id| ends.get(&id.0).is_some_and(|end| id.1 < *end) && !nesting.is_gone(*id);
    if !named.iter().all(is_there) || !parents.iter().all(|parent| types.contains(parent)) || !nesting.is_at_most(DEEPEST) {
        return None;
    }
    let mut deleted = HashSet::new();
    for _ in 0..input.number()? {
        let client = input.client()?;
        if !deleted.insert(client) {
            return None;
        }
        for _ in 0..input.number()? {
            let (from, length) = (input.number()?, input.number()?);
            let end = from.checked_add(length).filter(|_| length > 0)?;
            ends.get(&client).filter(|last| end <= **last)?;
        }
    }
    input.0.is_empty().then_some(ends)
}

struct Block {
    length: u64,
    is_type: bool,
    is_gone: bool,
    /// What it stood beside when it was written.
    beside: [Option<Id>; 2],
    /// What it is in, where that is no root.
    parent: Option<Id>,
}

impl Block {
    /// What stands beside another is where that is.
    fn within(&self) -> Within {
        if self.is_gone {
            return Within::Gone;
        }
        let beside = self.beside.into_iter().flatten().next();
        beside.map(Within::Like).or(self.parent.map(Within::In)).unwrap_or(Within::Root)
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    /// An unsigned number below 2^53, seven bits a byte.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..53).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (number < 1 << 53).then_some(number);
            }
        }
        None
    }

    fn client(&mut self) -> Option<u64> {
        self.number().filter(|client| (1..CLIENTS).contains(client))
    }

    fn id(&mut self) -> Option<Id> {
        Some((self.client()?, self.number()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// JSON, no deeper than anything else.
    fn json(&mut self) -> Option<()> {
        let text = self.text()?;
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => depth += 1,
                b']' | b'}' if !in_string => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth > DEEPEST {
                return None;
            }
        }
        // Half of a surrogate pair is text in one of the languages alone: this one refuses it.
        let value: Value = serde_json::from_str(text).ok()?;
        finite(&value).then_some(())
    }

    /// A value of lib0's, by a stack of our own.
    fn any(&mut self) -> Option<()> {
        // How many are still to come at each depth, and whether each has a name.
        let mut open = vec![(1_u64, false)];
        while let Some((left, has_names)) = open.last_mut() {
            if *left == 0 {
                open.pop();
                continue;
            }
            *left -= 1;
            // What JavaScript has another use for.
            if *has_names && self.text()? == "__proto__" {
                return None;
            }
            match self.byte()? {
                120 | 121 | 126 | 127 => {}
                // A signed number: its first byte has six bits of it, and the sign.
                125 => {
                    let mut more = self.byte()? & 0x80 != 0;
                    for _ in 0..7 {
                        if !more {
                            break;
                        }
                        more = self.byte()? & 0x80 != 0;
                    }
                    if more {
                        return None;
                    }
                }
                124 => drop(self.take(4)?),
                122 | 123 => drop(self.take(8)?),
                119 => drop(self.text()?),
                116 => drop(self.bytes()?),
                kind @ (117 | 118) => {
                    if open.len() > DEEPEST {
                        return None;
                    }
                    open.push((self.number()?, kind == 118));
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn block(&mut self) -> Option<Block> {
        let info = self.byte()?;
        let mut block = Block { length: 1, is_type: false, is_gone: false, beside: [None, None], parent: None };
        if info == 0 {
            // What was collected: only how much it was.
            (block.length, block.is_gone) = (self.number()?, true);
            return (block.length > 0).then_some(block);
        }
        if info & 0x80 != 0 {
            block.beside[0] = Some(self.id()?);
        }
        if info & 0x40 != 0 {
            block.beside[1] = Some(self.id()?);
        }
        if info & 0xc0 == 0 {
            match self.number()? {
                1 => drop(self.text()?),
                0 => block.parent = Some(self.id()?),
                _ => return None,
            }
            if info & 0x20 != 0 {
                self.text()?;
            }
        }
        match info & 0x1f {
            1 => block.length = self.number()?,
            3 => drop(self.bytes()?),
            4 => block.length = self.text()?.encode_utf16().count() as u64,
            5 => self.json()?,
            6 => {
                self.text()?;
                self.json()?;
            }
            7 => {
                block.is_type = true;
                match self.number()? {
                    0 | 1 | 2 | 4 | 6 => {}
                    3 => drop(self.text()?),
                    _ => return None,
                }
            }
            8 => {
                block.length = self.number()?;
                for _ in 0..block.length {
                    self.any()?;
                }
            }
            // Subdocuments, moves, links, and what either library reads no more.
            _ => return None,
        }
        (block.length > 0).then_some(block)
    }
}
