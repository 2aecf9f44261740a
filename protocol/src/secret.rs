//! Values that must never be printed, logged or serialised by accident.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that are wiped on drop and have neither `Display` nor `Serialize`; `Debug` shows no content.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }
    /// The value itself; call sites are easy to search for.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// ```compile_fail
/// let secret = baton_protocol::secret::Secret::new(vec![1u8]);
/// serde_json::to_string(&secret).unwrap();
/// ```
/// ```compile_fail
/// println!("{}", baton_protocol::secret::Secret::new(vec![1u8]));
/// ```
#[cfg(doctest)]
struct NeverPrinted;

#[cfg(test)]
mod tests {
    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", super::Secret::new(b"canary".to_vec())), "[secret]");
    }
}
