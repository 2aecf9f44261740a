//! base64url without padding (RFC 7515 §2), strict: one byte string has exactly one form, so no alias slips past a replay store.

use crate::refusal::Jose;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Encodes without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes the one canonical form; padding, other alphabets, white space and stray trailing bits are refused.
pub fn decode(text: &str) -> Result<Vec<u8>, Jose> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Jose::Encoding)
}

/// Decodes into exactly `N` bytes.
pub fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], Jose> {
    let mut out = [0; N];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut out) {
        Ok(len) if len == N => Ok(out),
        _ => Err(Jose::Encoding),
    }
}

/// How many bytes a text of at most 64 of them decodes to; longer ones are decoded on the heap.
pub fn decoded_len(text: &str) -> Result<usize, Jose> {
    let mut out = [0; 64];
    URL_SAFE_NO_PAD.decode_slice(text, &mut out).or_else(|_| decode(text).map(|bytes| bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn aliases_of_one_value_are_refused() {
        assert_eq!(decode("AQ").unwrap(), [1]);
        for alias in ["AQ==", "AR", "A Q", "AQ\n", "+/", "A"] {
            assert_eq!(decode(alias), Err(Jose::Encoding), "{alias:?}");
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_back_to_the_same_text(text in "[A-Za-z0-9_=+/ -]{0,64}") {
            if let Ok(bytes) = decode(&text) { prop_assert_eq!(encode(bytes), text); }
        }
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let text = encode(&bytes);
            prop_assert_eq!(decoded_len(&text).unwrap(), bytes.len());
            prop_assert_eq!(decode(&text).unwrap(), bytes);
        }
    }
}
