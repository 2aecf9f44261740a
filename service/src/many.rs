//! One statement for many rows: as many at once as there are of a few numbers, so that there are a few texts of each and all are prepared once.

use sqlx::AnyConnection;
use std::fmt::Write as _;

/// How many rows each text has: fewer than the fifty that sqlx passes on from SQLite before whoever reads them has taken one.
const ROWS: [usize; 3] = [48, 12, 1];

type For = [&'static str; ROWS.len()];

/// A statement for each of these numbers of rows.
pub struct Texts {
    /// With `?`: SQLite looks for each numbered parameter among all of them.
    sqlite: For,
    others: For,
}

impl Texts {
    fn on(&self, db: &AnyConnection) -> For {
        if db.backend_name() == "SQLite" { self.sqlite } else { self.others }
    }
}

/// `($1, $2), ($3, $4), ..`: values for so many rows, each of these types; `None` where the column says it.
fn values(types: &[Option<&str>], rows: usize, numbered: bool) -> String {
    let mut text = String::new();
    for n in 0..rows * types.len() {
        let (row, column) = (n / types.len(), n % types.len());
        let before = match (row, column) {
            (0, 0) => "(",
            (_, 0) => "), (",
            _ => ", ",
        };
        let value = if numbered { format!("${}", n + 1) } else { "?".into() };
        let _ = match types[column] {
            None => write!(text, "{before}{value}"),
            Some(kind) => write!(text, "{before}CAST({value} AS {kind})"),
        };
    }
    text + ")"
}

fn all(make: impl Fn(usize) -> String) -> For {
    ROWS.map(|rows| &*Box::leak(make(rows).into_boxed_str()))
}

/// The texts of a statement, made once: what stands before its values, their types, and what stands after them.
pub fn texts(before: &str, types: &[Option<&str>], after: &str) -> Texts {
    let text = |numbered| all(|rows| format!("{before} {} {after}", values(types, rows, numbered)));
    Texts { sqlite: text(false), others: text(true) }
}

/// The texts of a lookup by one column: what stands before its values, and after them on SQLite and elsewhere.
pub fn lookups(before: &str, [sqlite, others]: [&str; 2]) -> Texts {
    let text = |after, numbered| all(|rows| format!("{before} {}{after}", values(&vec![None; rows], 1, numbered)));
    Texts { sqlite: text(sqlite, false), others: text(others, true) }
}

/// Slices of rows, each with the text that takes it.
pub fn each<'a, T>(mut rows: &'a [T], texts: &Texts, db: &AnyConnection) -> impl Iterator<Item = (&'static str, &'a [T])> + use<'a, T> {
    let texts = texts.on(db);
    std::iter::from_fn(move || {
        let (count, text) = ROWS.into_iter().zip(texts).find(|(count, _)| *count <= rows.len())?;
        let some;
        (some, rows) = rows.split_at(count);
        Some((text, some))
    })
}

/// The same in as few statements as there can be, for those that mind no row twice: what is short of a text's number is filled up with the last.
pub fn filled<'a, T>(rows: &'a [T], texts: &Texts, db: &AnyConnection) -> impl Iterator<Item = (&'static str, Vec<&'a T>)> + use<'a, T> {
    let texts = texts.on(db);
    rows.chunks(ROWS[0]).map(move |some| {
        let (count, text) = ROWS.into_iter().zip(texts).rfind(|(count, _)| *count >= some.len()).unwrap_or((ROWS[0], texts[0]));
        (text, some.iter().chain(std::iter::repeat(&some[some.len() - 1])).take(count).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection as _;

    #[tokio::test]
    async fn the_texts_take_all_rows() {
        assert_eq!(values(&[None, Some("BIGINT")], 2, true), "($1, CAST($2 AS BIGINT)), ($3, CAST($4 AS BIGINT))");
        assert_eq!(values(&[None, Some("BIGINT")], 2, false), "(?, CAST(? AS BIGINT)), (?, CAST(? AS BIGINT))");
        sqlx::any::install_default_drivers();
        let db = AnyConnection::connect("sqlite::memory:").await.unwrap();
        let texts = texts("INSERT INTO t (a) VALUES", &[None], "");
        let rows: Vec<_> = (0..48 + 48 + 12 + 2).collect();
        let lengths: Vec<_> = each(&rows, &texts, &db).map(|(text, some)| (text.matches('?').count(), some.len())).collect();
        assert_eq!(lengths, [(48, 48), (48, 48), (12, 12), (1, 1), (1, 1)]);
        assert_eq!(each(&rows, &texts, &db).flat_map(|(_, some)| some).copied().collect::<Vec<_>>(), rows);
        assert_eq!(each(&rows[..0], &texts, &db).count(), 0);
        for (count, lengths) in [(0, &[][..]), (1, &[1]), (2, &[12]), (13, &[48]), (48, &[48]), (50, &[48, 12])] {
            let filled: Vec<_> = filled(&rows[..count], &texts, &db).collect();
            assert_eq!(
                filled.iter().map(|(text, some)| (text.matches('?').count(), some.len())).collect::<Vec<_>>(),
                lengths.iter().map(|n| (*n, *n)).collect::<Vec<_>>()
            );
            let mut all: Vec<_> = filled.into_iter().flat_map(|(_, some)| some).copied().collect();
            all.dedup();
            assert_eq!(all, rows[..count]);
        }
    }
}
