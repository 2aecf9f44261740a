//! The network of a simulation: each device's next request waits here until the world decides what becomes of it.

use baton_sdk::Error;
use baton_sdk::wire::{Came, Carrying, Sent, Wire};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// What a device waits for.
pub enum Waits {
    Answer(Sent, oneshot::Sender<Result<Came, Error>>),
    /// Gone, the time is over: it passes as the world lets it.
    Time(oneshot::Sender<()>),
}

/// One device's way to everybody else.
#[derive(Default)]
pub struct Link(Mutex<VecDeque<Waits>>);

impl Link {
    pub fn take(&self) -> Option<Waits> {
        self.0.lock().unwrap().pop_front()
    }

    fn put(&self, waits: Waits) {
        self.0.lock().unwrap().push_back(waits);
    }
}

/// A [`Link`] as a device holds it.
pub struct Linked(pub Arc<Link>);

impl Wire for Linked {
    fn carry(&self, request: Sent) -> Carrying<'_, Result<Came, Error>> {
        Box::pin(async move {
            let (answer, came) = oneshot::channel();
            self.0.put(Waits::Answer(request, answer));
            came.await.unwrap_or_else(|_| Err(lost()))
        })
    }

    fn pause(&self, _: Duration) -> Carrying<'_, ()> {
        Box::pin(async move {
            let (passed, is_over) = oneshot::channel();
            self.0.put(Waits::Time(passed));
            drop(is_over.await);
        })
    }
}

pub fn lost() -> Error {
    Error::Transport("lost".into())
}

/// Reproducible: a seed that fails is run again by itself.
pub struct Chance(pub u64);

impl Chance {
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}
