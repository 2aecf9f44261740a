//! Time and randomness as arguments. This crate only names their shape; who runs it decides where they come from.

use crate::time::Millis;
use std::sync::Arc;

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl Clock {
    /// From a function.
    pub fn new(read: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
    /// Now.
    pub fn now(&self) -> Millis {
        (self.0)()
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
