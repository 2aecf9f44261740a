//! The root: a 32-byte seed, and the P-256 keys that come from it (HKDF-SHA-256 and FIPS 186-5 A.2.1, docs/protocol.md §2).
//!
//! Pure arithmetic. The seed exists in clear only where the person approves something.

use crate::key::{PublicKey, hash};
use crate::secret::Secret;
use aws_lc_rs::hkdf;

/// The root in clear.
pub type Seed = Secret<[u8; 32]>;

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Known to identity and the pages alone.
    Account,
    /// The root identity that one app sees.
    Issuer(&'a str),
}

impl Purpose<'_> {
    fn info(self) -> String {
        match self {
            Self::Account => "baton/account/1".into(),
            Self::Issuer(app) => format!("baton/issuer/1/{app}"),
        }
    }
}

/// The private scalar for a purpose: 48 bytes of HKDF, big-endian, modulo n − 1, plus 1.
pub fn derive(seed: &Seed, purpose: Purpose<'_>) -> Secret<[u8; 32]> {
    let mut wide = [0; 48];
    expand(seed.expose(), &[], purpose.info().as_bytes(), &mut wide);
    Secret::new(reduce_plus_one(&wide))
}

/// The root's fingerprint: hash of the account key.
pub fn fingerprint(account: &PublicKey) -> String {
    hash(account.sec1())
}

/// HKDF-SHA-256 (RFC 5869).
pub(crate) fn expand(secret: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let info = [info];
    prk.expand(&info, Len(out.len())).and_then(|okm| okm.fill(out)).expect("lengths HKDF allows");
}

/// n − 1 of P-256, as little-endian limbs.
const N_MINUS_1: [u64; 4] = [0xf3b9_cac2_fc63_2550, 0xbce6_faad_a717_9e84, 0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000];

/// Shift and conditionally subtract, without branching on the value.
fn reduce_plus_one(wide: &[u8; 48]) -> [u8; 32] {
    let mut r = [0u64; 4];
    for bit in wide.iter().flat_map(|byte| (0..8).rev().map(move |i| u64::from(byte >> i & 1))) {
        let mut carry = bit;
        for limb in &mut r {
            let out = *limb >> 63;
            *limb = *limb << 1 | carry;
            carry = out;
        }
        let (mut difference, mut borrow) = ([0u64; 4], 0u64);
        for i in 0..4 {
            let (d, b1) = r[i].overflowing_sub(N_MINUS_1[i]);
            let (d, b2) = d.overflowing_sub(borrow);
            difference[i] = d;
            borrow = u64::from(b1 | b2);
        }
        // Subtract when the shift overflowed or nothing was borrowed.
        let mask = (carry | (borrow ^ 1)).wrapping_neg();
        for i in 0..4 {
            r[i] = difference[i] & mask | r[i] & !mask;
        }
    }
    let mut carry = 1;
    for limb in &mut r {
        let (sum, over) = limb.overflowing_add(carry);
        *limb = sum;
        carry = u64::from(over);
    }
    let mut out = [0; 32];
    for (i, limb) in r.iter().rev().enumerate() {
        out[i * 8..i * 8 + 8].copy_from_slice(&limb.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(low: &str) -> [u8; 48] {
        let hex = format!("{low:0>96}");
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }
    fn hex(bytes: [u8; 32]) -> String {
        bytes.iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"))
    }

    /// Values computed with Python's integers: `int(wide, 16) % (n - 1) + 1`.
    #[test]
    fn fips_186_5_a_2_1_at_its_edges() {
        let n_minus_1 = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550";
        for (input, expected) in [
            ("0", "0000000000000000000000000000000000000000000000000000000000000001"),
            (n_minus_1, "0000000000000000000000000000000000000000000000000000000000000001"),
            ("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254f", n_minus_1),
            (&"f".repeat(96), "431905529c0166ce652e96b7ccca0a9a679b73e29ad16947f01cf012fc632550"),
        ] {
            assert_eq!(hex(reduce_plus_one(&wide(input))), expected);
        }
    }
}
