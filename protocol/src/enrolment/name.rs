//! Names a device gives itself are shown to a person who decides by them: nothing invisible, nothing that turns text around.

use crate::refusal::Input;
use unicode_normalization::is_nfc;

/// Longest name, in characters.
const MAX_NAME: usize = 64;

/// Accepts a name in NFC without control, format, bidirectional or private-use characters and without stray space.
pub fn check_name(name: &str) -> Result<(), Input> {
    check_text(name, MAX_NAME)
}

/// The same for one line of text of at most `max` characters.
pub fn check_text(text: &str, max: usize) -> Result<(), Input> {
    let plain = text.chars().all(is_plain) && !text.contains("  ") && text.trim() == text;
    if (1..=max).contains(&text.chars().count()) && plain && is_nfc(text) { Ok(()) } else { Err(Input::Name) }
}

fn is_plain(c: char) -> bool {
    let invisible = matches!(u32::from(c),
        0xAD | 0x600..=0x605 | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x2800 | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0xE000..=0xF8FF | 0xE0000..);
    !c.is_control() && !invisible && (c == ' ' || !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_in_any_script_pass() {
        for name in ["Laptop", "Zoë's Küche", "电视", "تلفاز", "iPhone 15 (work)", &"x".repeat(64)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_could_deceive_is_refused() {
        for name in
            ["", " a", "a ", "a  b", "a\nb", "a\u{202e}b", "a\u{200b}b", "a\u{2066}b", "a\u{feff}", "e\u{301}", "a\0", "\u{e0041}", &"x".repeat(65)]
        {
            assert_eq!(check_name(name), Err(Input::Name), "{name:?}");
        }
    }
}
