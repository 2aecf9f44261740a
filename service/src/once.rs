//! Things that count once: proof ids, nonces, challenges. Consumed by one persisted statement, never by memory.

use crate::database::Error;
use crate::many;
use baton_protocol::key;
use baton_protocol::time::Millis;
use sqlx::AnyConnection;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

/// One thing to consume. Two that differ in `until` alone are the same thing.
#[derive(Debug, Clone)]
pub struct Use {
    kind: &'static str,
    hash: String,
    until: i64,
}

impl Use {
    /// `value` of a kind; `until` is when it could not be accepted anyway.
    pub fn new(kind: &'static str, value: &str, until: Millis) -> Self {
        Self { kind, hash: key::hash(value.as_bytes()), until: until.0 }
    }
}

impl Use {
    fn key(&self) -> (&'static str, &str) {
        (self.kind, &self.hash)
    }
}
impl PartialEq for Use {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Use {}
impl Hash for Use {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// Consumes one; false when it was consumed before.
pub async fn consume(db: &mut AnyConnection, one: &Use) -> Result<bool, Error> {
    Ok(consume_each(db, std::slice::from_ref(one)).await? == [true])
}

/// Consumes each of `uses`; tells of each whether it was still there to consume, of twins the first alone.
pub async fn consume_each(db: &mut AnyConnection, uses: &[Use]) -> Result<Vec<bool>, Error> {
    static COUNTED: LazyLock<many::Texts> = LazyLock::new(|| consuming("ON CONFLICT DO NOTHING"));
    static NAMED: LazyLock<many::Texts> = LazyLock::new(|| consuming("ON CONFLICT DO NOTHING RETURNING kind, hash"));
    // In one order, so that no two who consume several wait for each other.
    let mut ordered: Vec<_> = uses.iter().collect();
    ordered.sort_by_key(|one| one.key());
    if uses.len() > 1 {
        sqlx::query("SAVEPOINT consuming").execute(&mut *db).await?;
    }
    let mut count = 0;
    for (sql, some) in many::filled(&ordered, &COUNTED, db) {
        let query = some.into_iter().fold(sqlx::query(sql), |query, one| query.bind(one.kind).bind(&one.hash).bind(one.until));
        count += query.execute(&mut *db).await?.rows_affected();
    }
    // Nearly always it is all of them. If not, they are asked for by name.
    if count == uses.len() as u64 || uses.len() == 1 {
        return Ok(vec![count == uses.len() as u64; uses.len()]);
    }
    sqlx::query("ROLLBACK TO SAVEPOINT consuming").execute(&mut *db).await?;
    let mut done = HashSet::new();
    for (sql, some) in many::filled(&ordered, &NAMED, db) {
        let query = some.into_iter().fold(sqlx::query_as(sql), |query, one| query.bind(one.kind).bind(&one.hash).bind(one.until));
        let new: Vec<(String, String)> = query.fetch_all(&mut *db).await?;
        done.extend(new);
    }
    Ok(uses.iter().map(|one| done.remove(&(one.kind.to_owned(), one.hash.clone()))).collect())
}

fn consuming(after: &str) -> many::Texts {
    many::texts("INSERT INTO used_once (kind, hash, expires_at) VALUES", &[None; 3], after)
}

/// Gives back what this transaction consumed for steps that are refused all the same.
pub async fn give_back(db: &mut AnyConnection, uses: &[&Use]) -> Result<(), Error> {
    static TEXTS: LazyLock<many::Texts> =
        LazyLock::new(|| many::texts("DELETE FROM used_once WHERE (kind, hash) IN (VALUES", &[Some("TEXT"); 2], ")"));
    for (sql, some) in many::filled(uses, &TEXTS, db) {
        let query = some.into_iter().fold(sqlx::query(sql), |query, one| query.bind(one.kind).bind(&one.hash));
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// Forgets what could not be accepted any more. The margin covers a clock that is set back a little.
pub async fn sweep(db: &mut AnyConnection, now: Millis) -> Result<(), Error> {
    sqlx::query("DELETE FROM used_once WHERE expires_at < $1").bind(now.plus_secs(-3600).0).execute(db).await?;
    Ok(())
}
