//! One statement for many rows: as many at once as there are of a few numbers, so that there are a few texts of each and all are prepared once.

use crate::database::Error;
use sqlx::AnyConnection;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, PoisonError};

/// How many rows each text has: fewer than the fifty that sqlx passes on from SQLite before whoever reads them has taken one.
const ROWS: [usize; 4] = [48, 12, 4, 1];

type For = [&'static str; ROWS.len()];

/// A statement for each of these numbers of rows.
pub struct Texts {
    /// With `?`: SQLite looks for each numbered parameter among all of them.
    sqlite: For,
    others: For,
}

impl Texts {
    fn on(&self, db: &AnyConnection) -> For {
        if is_sqlite(db) { self.sqlite } else { self.others }
    }
}

fn is_sqlite(db: &AnyConnection) -> bool {
    db.backend_name() == "SQLite"
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
    texts_for(before, types, [after, after])
}

/// [`texts`] that end otherwise on SQLite than elsewhere.
pub fn texts_for(before: &str, types: &[Option<&str>], [sqlite, others]: [&str; 2]) -> Texts {
    let text = |after, numbered| all(|rows| format!("{before} {} {after}", values(types, rows, numbered)));
    Texts { sqlite: text(sqlite, false), others: text(others, true) }
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
    filled_with(rows, rows.last(), texts, db)
}

/// The same, filled up with something else: what costs nothing to look for.
pub fn filled_with<'a, T>(
    rows: &'a [T],
    with: Option<&'a T>,
    texts: &Texts,
    db: &AnyConnection,
) -> impl Iterator<Item = (&'static str, Vec<&'a T>)> + use<'a, T> {
    let texts = texts.on(db);
    rows.chunks(ROWS[0]).map(move |some| {
        let (count, text) = ROWS.into_iter().zip(texts).rfind(|(count, _)| *count >= some.len()).unwrap_or((ROWS[0], texts[0]));
        (text, some.iter().chain(std::iter::repeat_with(|| with).flatten()).take(count).collect())
    })
}

/// A value of a row.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A text, which may be missing.
    Text(Option<&'a str>),
    /// A number.
    Number(i64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}
impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}
impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Statements of which none needs another's answer, each of which is to touch as many rows as it has values for.
#[derive(Default)]
pub struct Together<'a> {
    statements: Vec<(&'static str, Vec<Value<'a>>)>,
    rows: u64,
}

/// So many go to SQLite as one text, if there are no more: each by itself is a message to a thread and back. That keeps the texts few that are prepared.
const MOST_IN_ONE: usize = 4;

/// These texts as one, made once.
fn in_one(texts: Vec<&'static str>) -> &'static str {
    static MADE: LazyLock<Mutex<HashMap<Vec<&str>, &str>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(one) = made.get(&texts) {
        return one;
    }
    let one = &*Box::leak(texts.join(";").into_boxed_str());
    made.insert(texts, one);
    one
}

impl<'a> Together<'a> {
    /// Adds what these rows need.
    pub fn add<T, const N: usize>(&mut self, db: &AnyConnection, texts: &Texts, rows: &[T], values: impl Fn(&T) -> [Value<'a>; N]) {
        self.rows += rows.len() as u64;
        self.statements.extend(each(rows, texts, db).map(|(text, some)| (text, some.iter().flat_map(&values).collect())));
    }

    /// Runs them in their order; false when one of them touched fewer rows, and then the transaction is not to be committed.
    pub async fn run(self, db: &mut AnyConnection) -> Result<bool, Error> {
        let mut statements = self.statements;
        if is_sqlite(db) && statements.len() <= MOST_IN_ONE {
            let (texts, values): (Vec<_>, Vec<_>) = statements.into_iter().unzip();
            statements = vec![(in_one(texts), values.concat())];
        }
        let mut touched = 0;
        for (text, values) in statements {
            let query = values.into_iter().fold(sqlx::query(text), |query, value| match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            });
            touched += query.execute(&mut *db).await?.rows_affected();
        }
        Ok(touched == self.rows)
    }
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
        let rows: Vec<_> = (0..48 + 48 + 12 + 4 + 2).collect();
        let lengths: Vec<_> = each(&rows, &texts, &db).map(|(text, some)| (text.matches('?').count(), some.len())).collect();
        assert_eq!(lengths, [(48, 48), (48, 48), (12, 12), (4, 4), (1, 1), (1, 1)]);
        assert_eq!(each(&rows, &texts, &db).flat_map(|(_, some)| some).copied().collect::<Vec<_>>(), rows);
        assert_eq!(each(&rows[..0], &texts, &db).count(), 0);
        for (count, lengths) in [(0, &[][..]), (1, &[1]), (2, &[4]), (5, &[12]), (13, &[48]), (48, &[48]), (50, &[48, 4])] {
            let filled: Vec<_> = filled(&rows[..count], &texts, &db).collect();
            assert_eq!(
                filled.iter().map(|(text, some)| (text.matches('?').count(), some.len())).collect::<Vec<_>>(),
                lengths.iter().map(|n| (*n, *n)).collect::<Vec<_>>()
            );
            let mut all: Vec<_> = filled.into_iter().flat_map(|(_, some)| some).copied().collect();
            all.dedup();
            assert_eq!(all, rows[..count]);
        }
        let filled: Vec<_> = filled_with(&rows[..2], Some(&7), &texts, &db).collect();
        assert_eq!(filled[0].1, [&0, &1, &7, &7]);
    }

    /// Two statements of `count` rows each, the second of which finds what the first wrote: all but the last `missing`.
    async fn together(db: &mut AnyConnection, count: i64, missing: i64) -> bool {
        let insert = texts("INSERT INTO t (a, b) VALUES", &[None, None], "");
        let update = texts("UPDATE t SET b = v.column2 FROM (VALUES", &[None, None], ") AS v WHERE t.a = v.column1");
        let (there, all): (Vec<_>, Vec<_>) = ((0..count - missing).collect(), (0..count).collect());
        let mut both = Together::default();
        both.add(db, &insert, &there, |n| [(*n).into(), "before".into()]);
        both.add(db, &update, &all, |n| [(*n).into(), "after".into()]);
        let done = both.run(db).await.unwrap();
        let after: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM t WHERE b = 'after'").fetch_one(&mut *db).await.unwrap();
        assert_eq!(after, count - missing);
        sqlx::query("DELETE FROM t").execute(db).await.unwrap();
        done
    }

    /// In one text, and in more than go into one.
    #[tokio::test]
    async fn together_they_touch_all_rows_or_say_so() {
        sqlx::any::install_default_drivers();
        let mut db = AnyConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::query("CREATE TABLE t (a INTEGER, b TEXT)").execute(&mut db).await.unwrap();
        for count in [1, 2, 3, 12, 50] {
            assert!(together(&mut db, count, 0).await, "{count}");
            assert!(!together(&mut db, count, 1).await, "{count}, one of which is not there");
        }
    }
}
