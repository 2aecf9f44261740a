//! How many types of a document are within each other: a library that reads or shows one within one calls itself as often. `sdk/typescript/src/document/nesting.ts`
//! is the same in TypeScript.

use super::whole::Id;
use std::collections::{HashMap, HashSet};

/// Where an item is.
#[derive(Clone, Copy)]
pub enum Within {
    /// In one that has a name of its own, or nowhere.
    Root,
    /// In the type that this item is.
    In(Id),
    /// Wherever this item is.
    Like(Id),
    /// It was collected: nothing is in it, or beside it.
    Gone,
}

/// Where all of a document's items are: of each client, by the first number of each run of them, in their order.
#[derive(Default)]
pub struct Nesting(HashMap<u64, Vec<(u64, Within)>>);

impl Nesting {
    /// A run of items. Those of a client come in their order.
    pub fn add(&mut self, (client, first): Id, within: Within) {
        self.0.entry(client).or_default().push((first, within));
    }

    /// Whether none is in more than `most`, nor in itself.
    pub fn is_at_most(&self, most: usize) -> bool {
        let mut known = HashMap::new();
        self.0.iter().all(|(client, runs)| runs.iter().all(|(first, _)| self.level((*client, *first), &mut known, most).is_some()))
    }

    /// Whether that item was collected: one library would put what stands beside it elsewhere than the other.
    pub fn is_gone(&self, item: Id) -> bool {
        matches!(self.run(item), Some((_, Within::Gone)))
    }

    /// In how many it is, without calling itself.
    fn level(&self, item: Id, known: &mut HashMap<Id, usize>, most: usize) -> Option<usize> {
        let (mut way, mut met) = (Vec::new(), HashSet::new());
        let mut at = item;
        let mut level = loop {
            if let Some(level) = known.get(&at) {
                break *level;
            }
            let (next, deeper) = match self.run(at)?.1 {
                Within::Root | Within::Gone => {
                    known.insert(at, 0);
                    break 0;
                }
                Within::In(id) => (id, 1),
                Within::Like(id) => (id, 0),
            };
            if !met.insert(at) {
                return None;
            }
            way.push((at, deeper));
            at = (next.0, self.run(next)?.0);
        };
        for (passed, deeper) in way.into_iter().rev() {
            level += deeper;
            if level > most {
                return None;
            }
            known.insert(passed, level);
        }
        Some(level)
    }

    fn run(&self, (client, clock): Id) -> Option<(u64, Within)> {
        let runs = self.0.get(&client)?;
        runs.get(runs.partition_point(|(first, _)| *first <= clock).checked_sub(1)?).copied()
    }
}
