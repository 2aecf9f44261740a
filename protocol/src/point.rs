//! Compressed P-256 points (SEC 1 §2.3.4): y from x, in crrl's field. aws-lc-rs takes five times as long for it, a third of a signature
//! check. Nothing rests on this being right: [`crate::key`] lets aws-lc-rs check that the point lies on the curve.

use crrl::field::GFp256;

/// The curve's `b` (SEC 2 §2.4.2), least significant word first.
const B: GFp256 = GFp256::w64le(0x3bce_3c3e_27d2_604b, 0x651d_06b0_cc53_b0f6, 0xb3eb_bd55_7698_86bc, 0x5ac6_35d8_aa3a_93e7);

/// The uncompressed form; `None` when no point has this x, or it is no field element.
pub fn decompress(point: &[u8; 33]) -> Option<[u8; 65]> {
    let (&[sign @ (2 | 3)], x) = point.split_first_chunk::<1>()? else { return None };
    let mut little_endian: [u8; 32] = x.try_into().ok()?;
    little_endian.reverse();
    let x = GFp256::decode(&little_endian)?;
    let (mut y, has_root) = (x * (x.square() - GFp256::w64le(3, 0, 0, 0)) + B).sqrt();
    if has_root == 0 {
        return None;
    }
    if y.encode()[0] & 1 != sign & 1 {
        y = -y;
    }
    let mut sec1 = [4; 65];
    sec1[1..33].copy_from_slice(&point[1..]);
    sec1[33..].copy_from_slice(&y.encode());
    sec1[33..].reverse();
    Some(sec1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
    use proptest::prelude::*;

    /// The curve's prime, most significant byte first.
    const P: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff,
    ];

    /// What aws-lc-rs makes of it.
    fn theirs(point: &[u8; 33]) -> Option<[u8; 65]> {
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        let der: PublicKeyX509Der<'_> = parsed.as_der().ok()?;
        der.as_ref().last_chunk::<65>().copied()
    }

    #[test]
    fn x_at_and_past_the_prime_is_no_point() {
        for x in [P, [0xff; 32]] {
            for sign in [2, 3] {
                let mut point = [sign; 33];
                point[1..].copy_from_slice(&x);
                assert_eq!((decompress(&point), theirs(&point)), (None, None));
            }
        }
        assert_eq!(decompress(&[4; 33]), None, "another form");
    }

    proptest! {

        #[test]
        fn agrees_with_aws_lc_on_every_x(odd in any::<bool>(), x in any::<[u8; 32]>()) {
            let mut point = [2 + u8::from(odd); 33];
            point[1..].copy_from_slice(&x);
            prop_assert_eq!(decompress(&point), theirs(&point));
        }
    }
}
