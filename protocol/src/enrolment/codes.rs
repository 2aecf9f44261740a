//! Codes of lane 2: a user code that names a request (RFC 8628 §6.1) and a check code that proves the person sees the new device's screen.

/// Consonants without look-alikes: 20^8 is 34.6 bits.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;
/// Wrong user codes of everybody together within the life of one request.
pub const MAX_GUESSES: u32 = 500;
/// Digits of a check code; five tries at most, so a blind guess has 1 in 200,000.
pub const CHECK_CODE_DIGITS: u32 = 6;

/// A user code such as `BCDF-GHJK` from random bytes; those that would favour some letters are skipped.
pub fn user_code(random: &[u8; 32]) -> String {
    let even = random.iter().filter(|byte| **byte < 240).map(|byte| ALPHABET[usize::from(*byte) % 20]);
    let fallback = random.iter().map(|byte| ALPHABET[usize::from(*byte >> 4)]);
    let mut code: String = even.chain(fallback).take(LENGTH).map(char::from).collect();
    code.insert(LENGTH / 2, '-');
    code
}

/// A person's typing of a user code in its one form; `None` if it cannot be one.
pub fn normalise_user_code(typed: &str) -> Option<String> {
    let letters: String = typed.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_uppercase()).take(LENGTH + 1).collect();
    let ok = letters.len() == LENGTH && letters.bytes().all(|b| ALPHABET.contains(&b));
    ok.then(|| format!("{}-{}", &letters[..LENGTH / 2], &letters[LENGTH / 2..]))
}

/// A check code of [`CHECK_CODE_DIGITS`] digits.
pub fn check_code(random: [u8; 8]) -> String {
    format!("{:06}", u64::from_be_bytes(random) % 10u64.pow(CHECK_CODE_DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_how_people_type_them() {
        let code = user_code(&std::array::from_fn(|i| i as u8 * 7));
        for typed in [code.clone(), code.to_lowercase(), code.replace('-', ""), code.replace('-', " ")] {
            assert_eq!(normalise_user_code(&typed).as_ref(), Some(&code));
        }
        for bad in ["", "BCDF-GHJ", "BCDF-GHJKL", "AEIO-UUUU", "бвгд-ежзи"] {
            assert_eq!(normalise_user_code(bad), None, "{bad}");
        }
        assert_eq!(check_code([0; 8]), "000000");
    }

    /// DEV-01: five wrong entries per account each ten minutes, a global budget of 500, over one request's ten minutes.
    #[test]
    fn guessing_a_live_user_code_stays_below_two_to_the_minus_20() {
        let space = f64::from(ALPHABET.len() as u32).powi(LENGTH as i32);
        let distinct: std::collections::HashSet<_> = ALPHABET.iter().collect();
        assert_eq!(distinct.len(), ALPHABET.len());
        // Even with 40 requests waiting at once, for every guess of the global budget.
        assert!(f64::from(MAX_GUESSES) * 40.0 / space < 2f64.powi(-20));
    }
}
