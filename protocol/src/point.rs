//! Compressed P-256 points (SEC 1 §2.3.4): y from x, with fiat-crypto's verified field arithmetic. aws-lc-rs takes three times as long for
//! it, a third of a signature check. Nothing rests on this being right: [`crate::key`] lets aws-lc-rs check that the point lies on the curve.

use fiat_crypto::p256_64::{
    fiat_p256_add, fiat_p256_from_bytes, fiat_p256_from_montgomery, fiat_p256_montgomery_domain_field_element as Element, fiat_p256_mul,
    fiat_p256_non_montgomery_domain_field_element as Plain, fiat_p256_opp, fiat_p256_square, fiat_p256_sub, fiat_p256_to_bytes,
    fiat_p256_to_montgomery,
};

/// The curve's prime, most significant byte first.
const P: [u8; 32] =
    [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
/// Its `b` (SEC 2 §2.4.2).
const B: [u8; 32] = [
    0x5a, 0xc6, 0x35, 0xd8, 0xaa, 0x3a, 0x93, 0xe7, 0xb3, 0xeb, 0xbd, 0x55, 0x76, 0x98, 0x86, 0xbc, 0x65, 0x1d, 0x06, 0xb0, 0xcc, 0x53, 0xb0, 0xf6,
    0x3b, 0xce, 0x3c, 0x3e, 0x27, 0xd2, 0x60, 0x4b,
];

/// The uncompressed form; `None` when no point has this x, or it is no field element.
pub fn decompress(point: &[u8; 33]) -> Option<[u8; 65]> {
    let (sign, x) = point.split_first_chunk::<1>()?;
    let x: [u8; 32] = x.try_into().ok()?;
    if !matches!(sign[0], 2 | 3) || x >= P {
        return None;
    }
    let x = element(x);
    let cubed = by(fiat_p256_mul, &by(fiat_p256_mul, &x, &x), &x);
    let tripled = by(fiat_p256_add, &by(fiat_p256_add, &x, &x), &x);
    let y2 = by(fiat_p256_add, &by(fiat_p256_sub, &cubed, &tripled), &element(B));
    let mut y = square_root(&y2);
    if bytes(&by(fiat_p256_mul, &y, &y)) != bytes(&y2) {
        return None;
    }
    if bytes(&y)[31] & 1 != sign[0] & 1 {
        let other = y;
        fiat_p256_opp(&mut y, &other);
    }
    let mut sec1 = [4; 65];
    sec1[1..33].copy_from_slice(&point[1..]);
    sec1[33..].copy_from_slice(&bytes(&y));
    Some(sec1)
}

/// A candidate: `a^((p + 1) / 4)`, for p is 3 modulo 4. The exponent is 2^254 - 2^222 + 2^190 + 2^94.
fn square_root(a: &Element) -> Element {
    let x2 = by(fiat_p256_mul, &squared(a, 1), a);
    let x4 = by(fiat_p256_mul, &squared(&x2, 2), &x2);
    let x8 = by(fiat_p256_mul, &squared(&x4, 4), &x4);
    let x16 = by(fiat_p256_mul, &squared(&x8, 8), &x8);
    let x32 = by(fiat_p256_mul, &squared(&x16, 16), &x16);
    // 32 ones, 31 zeros and a one, 95 zeros and a one, 94 zeros.
    let high = by(fiat_p256_mul, &squared(&x32, 32), a);
    let all = by(fiat_p256_mul, &squared(&high, 96), a);
    squared(&all, 94)
}

fn squared(a: &Element, times: u32) -> Element {
    let mut a = *a;
    for _ in 0..times {
        let before = a;
        fiat_p256_square(&mut a, &before);
    }
    a
}

fn by(operation: impl Fn(&mut Element, &Element, &Element), a: &Element, b: &Element) -> Element {
    let mut out = Element([0; 4]);
    operation(&mut out, a, b);
    out
}

fn element(mut big_endian: [u8; 32]) -> Element {
    big_endian.reverse();
    let (mut plain, mut out) = (Plain([0; 4]), Element([0; 4]));
    fiat_p256_from_bytes(&mut plain.0, &big_endian);
    fiat_p256_to_montgomery(&mut out, &plain);
    out
}

fn bytes(a: &Element) -> [u8; 32] {
    let (mut plain, mut out) = (Plain([0; 4]), [0; 32]);
    fiat_p256_from_montgomery(&mut plain, a);
    fiat_p256_to_bytes(&mut out, &plain.0);
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
    use proptest::prelude::*;

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
