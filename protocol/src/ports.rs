//! Time and randomness as arguments. This crate only names their shape; who runs it decides where they come from.

use crate::time::Millis;
use std::sync::Arc;

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Tell + Send + Sync>);

/// What a clock is.
pub trait Tell {
    /// Now.
    fn now(&self) -> Millis;
    /// Since when it has gone evenly: nobody has set it forward after that.
    fn unbroken_since(&self) -> Millis {
        Millis(0)
    }
    /// It goes evenly from now on: before, nobody could be heard.
    fn begin(&self) {}
    /// From here on it tells no earlier time, if it can.
    fn not_before(&self, _floor: Millis) {}
}

impl<F: Fn() -> Millis> Tell for F {
    fn now(&self) -> Millis {
        self()
    }
}

impl Clock {
    /// From a function.
    pub fn new(read: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
    /// From what tells more than the time.
    pub fn telling(clock: impl Tell + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }
    /// Now.
    pub fn now(&self) -> Millis {
        self.0.now()
    }
    /// Since when it has gone evenly.
    pub fn unbroken_since(&self) -> Millis {
        self.0.unbroken_since()
    }
    /// It goes evenly from now on: before, nobody could be heard.
    pub fn begin(&self) {
        self.0.begin();
    }
    /// From here on it tells no earlier time, if it can.
    pub fn not_before(&self, floor: Millis) {
        self.0.not_before(floor);
    }
}

/// Gives random bytes fit for keys. An implementation that cannot must abort, never fall back (faults.md F37).
#[derive(Clone)]
pub struct Entropy(Fill);

type Fill = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

impl Entropy {
    /// From a function.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }
    /// A random token of 256 bits, base64url.
    pub fn token(&self) -> String {
        crate::b64::encode(self.bytes::<32>())
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}
