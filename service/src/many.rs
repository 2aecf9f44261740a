//! One statement for many rows: sixteen at once, and what is left one by one, so that there are two texts of each and both are prepared once.

use std::fmt::Write as _;

/// How many rows the longer text has.
pub const AT_ONCE: usize = 16;

/// `($1, $2), ($3, $4), ..`: values for so many rows, each of these types; `None` where the column says it.
pub fn values(types: &[Option<&str>], rows: usize) -> String {
    let mut text = String::new();
    for n in 0..rows * types.len() {
        let (row, column) = (n / types.len(), n % types.len());
        let before = match (row, column) {
            (0, 0) => "(",
            (_, 0) => "), (",
            _ => ", ",
        };
        let _ = match types[column] {
            None => write!(text, "{before}${}", n + 1),
            Some(kind) => write!(text, "{before}CAST(${} AS {kind})", n + 1),
        };
    }
    text + ")"
}

/// Both texts of a statement, made once: what stands before its values, their types, and what stands after them.
pub fn texts(before: &str, types: &[Option<&str>], after: &str) -> [&'static str; 2] {
    [1, AT_ONCE].map(|rows| &*Box::leak(format!("{before} {} {after}", values(types, rows)).into_boxed_str()))
}

/// Both texts of a lookup by one column: what stands before its values, and after them.
pub fn lookups(before: &str, after: &str) -> [&'static str; 2] {
    [1, AT_ONCE].map(|rows| &*Box::leak(format!("{before} {}{after}", values(&vec![None; rows], 1)).into_boxed_str()))
}

/// Slices of rows, each with the text that takes it.
pub fn each<'a, T>(rows: &'a [T], [one, sixteen]: [&'static str; 2]) -> impl Iterator<Item = (&'static str, &'a [T])> {
    let whole = rows.chunks_exact(AT_ONCE);
    let rest = whole.remainder();
    whole.map(move |some| (sixteen, some)).chain(rest.chunks(1).map(move |some| (one, some)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_take_all_rows() {
        assert_eq!(values(&[None, Some("BIGINT")], 2), "($1, CAST($2 AS BIGINT)), ($3, CAST($4 AS BIGINT))");
        let texts = texts("INSERT INTO t (a) VALUES", &[None], "");
        let rows: Vec<_> = (0..35).collect();
        let lengths: Vec<_> = each(&rows, texts).map(|(text, some)| (text == texts[1], some.len())).collect();
        assert_eq!(lengths, [(true, 16), (true, 16), (false, 1), (false, 1), (false, 1)]);
        assert_eq!(each(&rows, texts).flat_map(|(_, some)| some).copied().collect::<Vec<_>>(), rows);
    }
}
