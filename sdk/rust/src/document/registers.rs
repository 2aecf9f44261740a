//! Values of which only the last counts, such as a playback position: each replaces the one before and leaves no history.

use super::state::Outdone;
use crate::error::Error;
use baton_protocol::json;
use baton_protocol::key::{Did, hash};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Most registers of a document.
const MOST: usize = 64;
/// Longest name, and longest value as JSON.
const LONGEST: (usize, usize) = (128, 4096);

/// One value, with where it stands among others of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The session's epoch when it was set.
    epoch: i64,
    /// One more than what its device knew of at that epoch.
    n: i64,
    /// The device's DID.
    by: String,
    /// JSON, as the device wrote it: read when it is asked for, compared as text.
    value: String,
}

impl Register {
    pub fn value(&self) -> Value {
        json::value(self.value.as_bytes(), LONGEST.1).unwrap_or_default()
    }

    fn outdone(&self, name: String) -> Outdone {
        Outdone { name, by: self.by.clone(), value: self.value() }
    }

    /// Which of two counts: every device finds the same.
    fn against(&self, other: &Self) -> Ordering {
        let place = |one: &Self| (one.epoch, one.n, one.by.clone(), hash(one.value.as_bytes()));
        place(self).cmp(&place(other))
    }

    fn is_sound(&self) -> bool {
        let counts = [self.epoch, self.n].iter().all(|count| (1..1 << 53).contains(count));
        let by = self
            .by
            .strip_prefix("did:key:z")
            .is_some_and(|key| (40..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        counts && by && self.value.len() <= LONGEST.1
    }
}

/// All of a document, by name.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    all: BTreeMap<String, Register>,
    /// What was set here and is, as far as this device knows, nowhere else yet.
    unsaved: BTreeMap<String, Register>,
    /// What was, until another device's value took its place.
    overtaken: BTreeMap<String, Register>,
    /// What was told of that: it is not told again, whatever another window has kept.
    told: BTreeMap<String, Register>,
}

impl Registers {
    pub fn get(&self, name: &str) -> Option<&Register> {
        self.all.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    pub fn set(&mut self, name: &str, value: &Value, epoch: i64, by: &Did) -> Result<(), Error> {
        // Whoever sets it knows of what it is set over.
        let (before, n) = self.all.get(name).map_or((1, 0), |known| (known.epoch, known.n));
        // Each epoch counts anew: whatever somebody counted to in one before, this one goes on.
        let n = if epoch > before { 1 } else { n + 1 };
        let register = Register { epoch: epoch.max(before), n, by: by.to_string(), value: value.to_string() };
        let room = self.all.contains_key(name) || self.all.len() < MOST;
        if !room || !is_name(name) || !register.is_sound() {
            return Err(Error::NotADocument);
        }
        // Set once more it is told once more; what this device had set before is not what anybody waits for.
        self.told.remove(name);
        if self.overtaken.get(name).is_some_and(|own| own.by == register.by) {
            self.overtaken.remove(name);
        }
        self.unsaved.insert(name.to_owned(), register.clone());
        self.all.insert(name.to_owned(), register);
        Ok(())
    }

    pub fn text(&self) -> String {
        serde_json::to_string(&self.all).unwrap_or_default()
    }

    /// What [`Self::take_unsaved`] reads: also what was overtaken and is not told yet.
    pub fn unsaved_text(&self) -> String {
        let mut all = self.unsaved.clone();
        let told_later = self.overtaken.iter().filter(|(name, _)| !self.unsaved.contains_key(*name));
        // As many as are read again.
        all.extend(told_later.take(MOST.saturating_sub(self.unsaved.len())).map(|(name, own)| (name.clone(), own.clone())));
        serde_json::to_string(&all).unwrap_or_default()
    }

    /// What was set here in an earlier run and is nowhere else yet. What has been outdone meanwhile is overtaken; what does not stand was before.
    pub fn take_unsaved(&mut self, other: Self) {
        for (name, theirs) in other.all {
            match self.all.get(&name).map(|ours| theirs.against(ours)) {
                Some(Ordering::Equal) => drop(self.unsaved.insert(name, theirs)),
                Some(Ordering::Less) => self.overtake(name, theirs),
                Some(Ordering::Greater) | None => self.give_up(name, theirs),
            }
        }
    }

    /// Another device's value stands where `own` was; one of this device's own other windows takes nothing from anybody.
    fn overtake(&mut self, name: String, own: Register) {
        if self.all.get(&name).is_some_and(|stands| stands.by != own.by) {
            self.give_up(name, own);
        }
    }

    /// It stands no more, and that is told once.
    fn give_up(&mut self, name: String, own: Register) {
        if self.told.get(&name) != Some(&own) {
            self.overtaken.insert(name, own);
        }
    }

    /// What another copy of the same was told.
    pub fn take_told(&mut self, other: &Self) {
        self.told.clone_from(&other.told);
    }

    /// These are in the session now: nobody has to be told what becomes of them. Whether any was not known to be.
    pub fn settle(&mut self, written: &Self) -> bool {
        let before = self.unsaved.len() + self.overtaken.len();
        for ours in [&mut self.unsaved, &mut self.overtaken] {
            ours.retain(|name, ours| written.all.get(name) != Some(ours));
        }
        self.unsaved.len() + self.overtaken.len() < before
    }

    /// What was set here and overtaken before it was anywhere else: told once.
    pub fn take_overtaken(&mut self) -> Vec<Outdone> {
        let overtaken = std::mem::take(&mut self.overtaken);
        self.told.extend(overtaken.clone());
        overtaken.into_iter().map(|(name, own)| own.outdone(name)).collect()
    }

    /// What was set at epochs to which this history has not come was set in another, which is over: it is told as outdone.
    pub fn lay_down(&mut self, after: i64) {
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.all).into_iter().partition(|(_, one)| one.epoch <= after);
        self.all = stay;
        self.unsaved.retain(|name, _| !go.contains_key(name));
        self.overtaken.extend(go);
    }

    /// What this device set at an epoch until now at which it did not hold the session (it last did at `after`), and the session has not, counts for nobody else: what
    /// the session has of it stands in its place, and it is told as outdone. Gives whether there was any.
    pub fn give_way(&mut self, there: &Self, (after, until): (i64, i64), by: &Did) -> bool {
        let is_late = |(name, one): (&String, &Register)| {
            (one.by == by.as_str() && one.epoch > after && one.epoch <= until && there.all.get(name) != Some(one)).then(|| name.clone())
        };
        let late: Vec<_> = self.all.iter().filter_map(is_late).collect();
        for name in &late {
            self.unsaved.remove(name);
            let Some(own) = self.all.remove(name) else { continue };
            if let Some(stands) = there.all.get(name).filter(|stands| stands.epoch <= until) {
                self.all.insert(name.clone(), stands.clone());
            }
            self.give_up(name.clone(), own);
        }
        !late.is_empty()
    }

    pub fn parse(text: &[u8]) -> Option<Self> {
        // By our own reader first: no name twice, nothing nested without end.
        let read = json::object(text, MOST * (LONGEST.0 + LONGEST.1 + 512) * 2).ok()?;
        let all: BTreeMap<String, Register> = serde_json::from_value(Value::Object(read)).ok()?;
        let sound = all.len() <= MOST && all.iter().all(|(name, one)| is_name(name) && one.is_sound());
        sound.then_some(Self { all, ..Self::default() })
    }

    /// Takes in those that count; says whether any did, and which did not:
    /// those of an epoch after `until` were set in none, and do not.
    pub fn merge(&mut self, other: Self, until: i64) -> (bool, Vec<Outdone>) {
        let (mut moved, mut outdone) = (false, Vec::new());
        for (name, theirs) in other.all {
            match self.all.get(&name).map(|ours| theirs.against(ours)) {
                Some(Ordering::Equal) => {}
                _ if theirs.epoch > until => outdone.push(theirs.outdone(name)),
                Some(Ordering::Less) => outdone.push(theirs.outdone(name)),
                // Of two that were full with others, those that count are the same wherever they meet: the first by name.
                Some(Ordering::Greater) | None => {
                    moved = true;
                    self.all.insert(name.clone(), theirs);
                    if let Some(unsaved) = self.unsaved.remove(&name) {
                        self.overtake(name, unsaved);
                    }
                }
            }
        }
        while self.all.len() > MOST
            && let Some((name, gone)) = self.all.pop_last()
        {
            if let Some(own) = self.unsaved.remove(&name) {
                self.give_up(name.clone(), own);
            }
            outdone.push(gone.outdone(name));
        }
        (moved, outdone)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST.0 && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SoftKey;
    use baton_protocol::secret::Secret;
    use baton_protocol::signer::Signer as _;
    use serde_json::json;

    fn did(n: u8) -> Did {
        SoftKey::from_scalar(&Secret::new([n; 32])).unwrap().key().did()
    }

    #[test]
    fn the_last_counts_and_the_order_of_arrival_does_not() {
        let (a, b) = (did(1), did(2));
        let mut one = Registers::default();
        one.set("position", &json!(43), 1, &a).unwrap();
        let mut two = Registers::parse(one.text().as_bytes()).unwrap();
        two.set("position", &json!(60), 2, &b).unwrap();
        for _ in 0..5 {
            one.set("position", &json!(50), 1, &a).unwrap();
        }
        let (mut there, mut here) = (two.clone(), one.clone());
        assert_eq!(there.merge(one, 2), (false, vec![Outdone { name: "position".into(), by: a.to_string(), value: json!(50) }]), "an earlier epoch");
        assert_eq!(here.merge(two.clone(), 1).1.len(), 1, "set at an epoch that there has not been");
        assert_eq!(here.merge(two.clone(), 2), (true, Vec::new()));
        assert_eq!((here.text(), here.get("position").unwrap().value()), (there.text(), json!(60)));
        assert_eq!(here.merge(two, 2), (false, Vec::new()), "again");
    }

    /// Whatever a device counted to at one epoch, whoever is handed the session sets it again.
    #[test]
    fn none_is_out_of_reach() {
        let most = (1_i64 << 53) - 1;
        let greatest = json!({"position": {"epoch": 1, "n": most, "by": did(2), "value": "0"}});
        let mut ours = Registers::default();
        ours.merge(Registers::parse(greatest.to_string().as_bytes()).unwrap(), 1);
        assert!(ours.set("position", &json!(43), 1, &did(1)).is_err());
        ours.set("position", &json!(43), 2, &did(1)).unwrap();
        assert_eq!(ours.get("position").unwrap().value(), json!(43));
        let later = json!({"position": {"epoch": most, "n": 1, "by": did(2), "value": "0"}});
        assert!(!ours.merge(Registers::parse(later.to_string().as_bytes()).unwrap(), 2).0);
    }

    /// Who does not hold the session sets nothing in it that anybody else would take: then neither does it.
    #[test]
    fn what_was_set_too_late_gives_way() {
        let (holder, other) = (did(1), did(2));
        let mut there = Registers::default();
        there.set("position", &json!(43), 2, &holder).unwrap();
        let late = |other: &Did| {
            let mut ours = there.clone();
            ours.set("position", &json!(50), 2, other).unwrap();
            ours.set("rate", &json!(2), 2, other).unwrap();
            ours
        };
        let mut ours = late(&other);
        assert!(ours.give_way(&there, (1, 2), &other));
        assert_eq!(ours.text(), there.text());
        assert!(ours.unsaved.is_empty() && !ours.give_way(&there, (1, 2), &other));
        let told: Vec<_> = ours.take_overtaken().into_iter().map(|one| (one.name, one.value)).collect();
        assert_eq!(told, [("position".into(), json!(50)), ("rate".into(), json!(2))]);
        // What it set while it held it stays, and so does what the session has.
        let mut ours = late(&other);
        assert!(!ours.give_way(&there, (2, 2), &other));
        assert!(!ours.clone().give_way(&ours.clone(), (1, 2), &other));
        assert!(!ours.give_way(&there, (1, 2), &holder));
        // Of a later epoch than this copy knows of, another window may hold it.
        assert!(!late(&other).give_way(&there, (0, 1), &other));
        // What the session has of an epoch that there has not been stands for nothing.
        let mut later = Registers::default();
        later.set("position", &json!(43), 3, &holder).unwrap();
        let mut ours = late(&other);
        assert!(ours.give_way(&later, (1, 2), &other));
        assert_eq!(ours.get("position"), None);
        // It is told in another run as well, and also where what stands is this device's own.
        let mut own = Registers::default();
        own.set("position", &json!(10), 1, &other).unwrap();
        let mut ours = own.clone();
        ours.set("position", &json!(50), 2, &other).unwrap();
        assert!(ours.give_way(&own, (1, 2), &other));
        let mut started = Registers::parse(ours.text().as_bytes()).unwrap();
        started.take_unsaved(Registers::parse(ours.unsaved_text().as_bytes()).unwrap());
        for mut run in [ours, started] {
            assert_eq!(run.get("position").unwrap().value(), json!(10));
            assert_eq!(run.take_overtaken(), [Outdone { name: "position".into(), by: other.to_string(), value: json!(50) }]);
            assert_eq!(run.take_overtaken(), []);
            // The same once more is told once more.
            run.set("position", &json!(50), 2, &other).unwrap();
            assert!(run.give_way(&own, (1, 2), &other));
            assert_eq!(run.take_overtaken().len(), 1);
        }
    }

    /// What does not stand is told once, while anybody can want it: not after this device has set another, and not when the session had it.
    #[test]
    fn what_is_told_is_what_was_lost() {
        let (here, there) = (did(1), did(2));
        let outdone = || {
            let mut ours = Registers::default();
            ours.set("position", &json!(10), 1, &here).unwrap();
            let written = ours.clone();
            let mut theirs = ours.clone();
            theirs.set("position", &json!(20), 1, &there).unwrap();
            ours.merge(theirs, 1);
            (ours, written)
        };
        assert_eq!(outdone().0.take_overtaken(), [Outdone { name: "position".into(), by: here.to_string(), value: json!(10) }]);
        let (mut ours, written) = outdone();
        assert!(ours.settle(&written) && !ours.settle(&written));
        assert_eq!(ours.take_overtaken(), []);
        let (mut ours, _) = outdone();
        ours.set("position", &json!(30), 1, &here).unwrap();
        assert_eq!(ours.take_overtaken(), []);

        // Where there is no room for it, and however many there are to tell of: what is kept is read again.
        let full = |prefix: &str, by: &Did| {
            let mut all = Registers::default();
            for n in 0..MOST {
                all.set(&format!("{prefix}{n:02}"), &json!(n), 1, by).unwrap();
            }
            all
        };
        let mut ours = Registers::default();
        ours.set("z", &json!(1), 1, &here).unwrap();
        ours.merge(full("a", &there), 1);
        assert_eq!(ours.take_overtaken(), [Outdone { name: "z".into(), by: here.to_string(), value: json!(1) }]);
        let mut ours = full("a", &here);
        assert!(ours.give_way(&Registers::default(), (0, 1), &here));
        for n in 0..MOST {
            ours.set(&format!("b{n:02}"), &json!(n), 1, &here).unwrap();
        }
        let mut started = Registers::parse(ours.text().as_bytes()).unwrap();
        started.take_unsaved(Registers::parse(ours.unsaved_text().as_bytes()).unwrap());
        assert_eq!(started.unsaved.len(), MOST);
    }

    #[test]
    fn what_is_not_sound_is_refused() {
        let mut all = Registers::default();
        for n in 0..MOST {
            all.set(&format!("{n}"), &json!(n), 1, &did(1)).unwrap();
        }
        all.set("0", &json!("x".repeat(4000)), 1, &did(1)).unwrap();
        for (name, value) in [("another", json!(1)), ("0", json!("x".repeat(5000)))] {
            assert!(all.set(name, &value, 1, &did(1)).is_err());
        }
        assert!(Registers::default().set("a\nb", &json!(1), 1, &did(1)).is_err());
        let with = |change: &dyn Fn(&mut Value)| {
            let mut one = json!({"x": {"epoch": 1, "n": 1, "by": did(1), "value": "1"}});
            change(&mut one);
            Registers::parse(one.to_string().as_bytes()).is_some()
        };
        assert!(with(&|_| ()));
        let unreadable = Registers::parse(json!({"x": {"epoch": 1, "n": 1, "by": did(1), "value": "{"}}).to_string().as_bytes()).unwrap();
        assert_eq!(unreadable.get("x").unwrap().value(), Value::Null, "another device's mistake keeps nobody from the rest");
        for change in [
            (|one: &mut Value| one["x"]["n"] = json!(0)) as fn(&mut Value),
            |one| one["x"]["epoch"] = json!(1_i64 << 53),
            |one| one["x"]["value"] = json!("x".repeat(4097)),
            |one| one["x"]["value"] = json!(1),
            |one| one["x"]["by"] = json!("did:web:x"),
            |one| one["x"]["more"] = json!(1),
            |one| drop(one["x"].as_object_mut().unwrap().remove("by")),
        ] {
            assert!(!with(&change));
        }
    }
}
