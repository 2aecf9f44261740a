//! What is in a document, by itself: text, maps and lists that merge (a Yjs document), and registers. The same edits give the same state on every device,
//! in whatever order they come. `sdk/typescript/src/document/state.ts` is the same in TypeScript; `sdk/rust/tests/it/document.rs` holds the two against each other.

use super::registers::{Register, Registers};
use super::whole::whole;
use crate::error::Error;
use baton_protocol::key::Did;
use serde_json::{Map, Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use yrs::types::ToJson as _;
use yrs::updates::decoder::Decode as _;
use yrs::{
    ArrayRef, Doc, GetString as _, Map as _, MapRef, OffsetKind, Options, Out, ReadTxn as _, StateVector, TextRef, Transact as _, Update,
    block::ClientID,
};

/// An update that brings nothing.
const NOTHING: &[u8] = &[0, 0];

/// What the first byte says.
const VERSION: u8 = 1;

/// A document's state.
pub struct State {
    doc: Doc,
    registers: Registers,
}

/// What merging brought.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Merged {
    /// Whether anything is other than it was.
    pub changed: bool,
    /// Registers of what came that another value stands for: nothing of them is in the state.
    pub outdone: Vec<Outdone>,
}

/// A register's value that another took the place of.
#[derive(Debug, Clone, PartialEq)]
pub struct Outdone {
    /// The register.
    pub name: String,
    /// The device that had set it.
    pub by: String,
    /// To what.
    pub value: Value,
}

impl State {
    /// An empty one. No two that are edited at the same time may have the same `client`: take random bytes.
    pub fn new(client: [u8; 4]) -> Self {
        let options = Options {
            client_id: ClientID::new(u64::from(u32::from_be_bytes(client))),
            // Nothing reads it; the default is random.
            guid: Arc::from("baton"),
            // As JavaScript counts.
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        };
        Self { doc: Doc::with_options(options), registers: Registers::default() }
    }

    /// The document, to read and edit with `yrs`.
    pub fn doc(&self) -> &Doc {
        &self.doc
    }

    /// A register's value.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.registers.get(name).map(Register::value)
    }

    /// Every register's name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.registers.names()
    }

    /// All of it, to show: registers, and what each name in the document has by the look of it, for nothing says whether an app takes it for a map, text or a list.
    pub fn to_json(&self) -> Value {
        let tx = self.doc.transact();
        let look = |root: Out| match root {
            Out::UndefinedRef(root) => {
                let (map, text) = (MapRef::from(root), TextRef::from(root).get_string(&tx));
                if map.len(&tx) > 0 {
                    map.to_json(&tx)
                } else if text.is_empty() {
                    ArrayRef::from(root).to_json(&tx)
                } else {
                    text.into()
                }
            }
            other => other.to_json(&tx),
        };
        let document: Map<_, _> =
            tx.root_refs().map(|(name, root)| (name.to_owned(), serde_json::to_value(look(root)).unwrap_or_default())).collect();
        let registers: Map<_, _> = self.registers.names().filter_map(|name| Some((name.to_owned(), self.get(name)?))).collect();
        json!({"registers": registers, "document": document})
    }

    /// Sets a register: a value of which only the last counts, such as a position. A later epoch outdoes an earlier one, and in one epoch the later of
    /// each device's own.
    pub fn set(&mut self, name: &str, value: &Value, epoch: i64, by: &Did) -> Result<(), Error> {
        self.registers.set(name, value, epoch, by)
    }

    /// As it is written into a session.
    pub fn encode(&self) -> Vec<u8> {
        self.written(&self.document())
    }

    /// Its registers alone: to merge into what somebody has of the rest.
    pub fn encode_registers(&self) -> Vec<u8> {
        self.written(NOTHING)
    }

    fn document(&self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    fn written(&self, document: &[u8]) -> Vec<u8> {
        let registers = self.registers.text();
        let mut out = vec![VERSION];
        out.extend_from_slice(&(registers.len() as u32).to_be_bytes());
        out.extend_from_slice(registers.as_bytes());
        out.extend_from_slice(document);
        out
    }

    /// Takes in what another has written: all of it or, when it is none, nothing. Registers that were set after the session's epoch `until` were not set in this
    /// session, and do not count.
    pub fn merge(&mut self, content: &[u8], until: i64) -> Result<Merged, Error> {
        self.merge_up_to(content, until, usize::MAX)
    }

    /// [`Self::merge`], where all of it together may have no more than `most` bytes.
    pub fn merge_up_to(&mut self, content: &[u8], until: i64, most: usize) -> Result<Merged, Error> {
        let (registers, document) = split(content).ok_or(Error::NotADocument)?;
        let registers = Registers::parse(registers).ok_or(Error::NotADocument)?;
        if document == NOTHING {
            let (changed, outdone) = self.registers.merge(registers, until);
            return Ok(Merged { changed, outdone });
        }
        if content.len() > most {
            return Err(Error::TooLarge);
        }
        let length = self.tried(document)?;
        if length.saturating_add(content.len() - document.len()).saturating_add(self.registers.text().len()) > most {
            return Err(Error::TooLarge);
        }
        self.apply(document, registers, until)
    }

    /// Takes in what this device has kept itself: its seal says who wrote it, and what a session would not have is not lost here.
    pub(super) fn restore(&mut self, content: &[u8], until: i64) -> Result<(), Error> {
        let (registers, document) = split(content).ok_or(Error::NotADocument)?;
        let registers = Registers::parse(registers).ok_or(Error::NotADocument)?;
        self.apply(document, registers, until).map(|_| ())
    }

    /// A copy, to be edited by nobody.
    pub fn copy(&self) -> Result<Self, Error> {
        let mut copy = Self::new([0; 4]);
        copy.apply(&self.document(), self.registers.clone(), i64::MAX)?;
        copy.registers.take_told(&self.registers);
        copy.take_unsaved(self.unsaved().as_bytes())?;
        Ok(copy)
    }

    /// Registers that were set here and are nowhere else yet, for another run to [take](Self::take_unsaved).
    pub(super) fn unsaved(&self) -> String {
        self.registers.unsaved_text()
    }

    pub(super) fn take_unsaved(&mut self, unsaved: &[u8]) -> Result<(), Error> {
        self.registers.take_unsaved(Registers::parse(unsaved).ok_or(Error::NotADocument)?);
        Ok(())
    }

    /// The history is over in which registers were set at later epochs than this.
    pub(super) fn lay_down(&mut self, after: i64) {
        self.registers.lay_down(after);
    }

    /// Of what this device set after it last held the session, at `after`, the session has what it has, until its epoch now.
    pub(super) fn give_way(&mut self, content: &[u8], (after, until): (i64, i64), by: &Did) -> bool {
        let there = split(content).and_then(|(registers, _)| Registers::parse(registers));
        there.is_some_and(|there| self.registers.give_way(&there, (after, until), by))
    }

    /// The session has this; what is no document has nothing.
    pub(super) fn settle(&mut self, content: &[u8]) -> bool {
        let written = split(content).and_then(|(registers, _)| Registers::parse(registers));
        written.is_some_and(|written| self.registers.settle(&written))
    }

    /// Registers that were set here and that another's value took the place of before they were anywhere else: told once.
    pub(super) fn take_overtaken(&mut self) -> Vec<Outdone> {
        self.registers.take_overtaken()
    }

    fn apply(&mut self, document: &[u8], registers: Registers, until: i64) -> Result<Merged, Error> {
        let update = Update::decode_v1(document).map_err(|_| Error::NotADocument)?;
        let mut tx = self.doc.transact_mut();
        let before = tx.snapshot();
        tx.apply_update(update).map_err(|_| Error::NotADocument)?;
        let edited = tx.snapshot() != before;
        drop(tx);
        let (moved, outdone) = self.registers.merge(registers, until);
        Ok(Merged { changed: edited || moved, outdone })
    }

    /// Takes it in elsewhere first: what stops half way, or panics, is to do so there. Gives how long both are together.
    fn tried(&self, document: &[u8]) -> Result<usize, Error> {
        let ends = whole(document).ok_or(Error::NotADocument)?;
        // Nobody writes under the name of who reads: what came of it would hide what is written here.
        let client = self.doc.client_id();
        if ends.get(&client.get()).is_some_and(|end| *end > u64::from(self.doc.transact().state_vector().get(&client))) {
            return Err(Error::NotADocument);
        }
        let own = self.document();
        let both = catch_unwind(AssertUnwindSafe(|| {
            let both = Self::new([0; 4]);
            for update in [&own, document] {
                both.doc.transact_mut().apply_update(Update::decode_v1(update).ok()?).ok()?;
            }
            // Nothing waits for what is not there.
            let waits = both.doc.transact().has_missing_updates();
            let all = both.document();
            // And whoever reads both is to accept them.
            (!waits && whole(&all).is_some()).then_some(all.len())
        }));
        both.ok().flatten().ok_or(Error::NotADocument)
    }
}

fn split(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&VERSION, rest) = content.split_first()? else { return None };
    let (length, rest) = rest.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
