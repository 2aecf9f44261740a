//! The offline checker: reads what a server left in its databases and asserts the invariants of faults.md that rows can show.

use baton_protocol::handoff::chain::{Act, Chain, Statement};
use baton_protocol::session::{Kind, Mode, Place, SealedUpdate};
use sqlx::{AnyConnection, Connection as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// seq, epoch, prev, hash, key version, kind, iv, ct, device
type UpdateRow = (i64, i64, String, String, i64, String, String, String, String);

async fn open(dir: &Path, service: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(&format!("sqlite://{}/{service}.db?mode=rwc", dir.display())).await.unwrap()
}

/// Checks everything below a data directory.
pub async fn check(dir: &Path) {
    one_writer_for_each_epoch(dir).await;
    events_are_contiguous(dir).await;
    identity_is_whole(dir).await;
    standing_is_identity_s(dir).await;
}

/// I1, I2: chains replay, epochs rise by one, updates are contiguous and linked, and each epoch has one writer: its holder.
async fn one_writer_for_each_epoch(dir: &Path) {
    let mut db = open(dir, "broker").await;
    let sessions: Vec<(String, String, i64, i64, String)> =
        sqlx::query_as("SELECT session_id, chain_head, epoch, head_seq, head_hash FROM sessions").fetch_all(&mut db).await.unwrap();
    for (session, chain_head, epoch, head_seq, head_hash) in sessions {
        let texts: Vec<(String,)> =
            sqlx::query_as("SELECT statement FROM statements WHERE session_id = $1 ORDER BY n").bind(&session).fetch_all(&mut db).await.unwrap();
        let chain = Chain::replay(texts.iter().map(|(text,)| text.as_str())).unwrap();
        assert_eq!((chain.last(), chain.epoch()), (chain_head.as_str(), epoch));
        let mut holders = BTreeMap::new();
        for (text,) in &texts {
            let (statement, _) = Statement::read(text).unwrap();
            if !matches!(statement.act, Act::Release { .. } | Act::Rekey { .. }) {
                assert!(holders.insert(statement.epoch, statement.device.to_string()).is_none(), "I1: two holders at one epoch");
            }
        }
        let rows: Vec<UpdateRow> =
            sqlx::query_as("SELECT seq, epoch, prev, hash, key_version, kind, iv, ct, device FROM updates WHERE session_id = $1 ORDER BY seq")
                .bind(&session)
                .fetch_all(&mut db)
                .await
                .unwrap();
        let mut is_first = true;
        let mut last = (0, Statement::read(&texts[0].0).unwrap().1);
        for (seq, epoch, prev, hash, key_version, kind, iv, ct, device) in rows {
            // Where a snapshot covers what was before, that is gone.
            let begins = is_first && kind == "snapshot";
            assert!(begins || (seq, &prev) == (last.0 + 1, &last.1), "I2: a hole in the updates");
            is_first = false;
            assert!(holders[&epoch] == device || chain.mode() == Mode::Shared, "I1: not the holder of its epoch");
            let kind = if kind == "snapshot" { Kind::Snapshot } else { Kind::Update };
            let place = Place { session: baton_protocol::id::SessionId::parse(&session).unwrap(), epoch, seq, prev, key_version, kind };
            assert_eq!(SealedUpdate { place, iv, ct }.hash(), hash);
            last = (seq, hash);
        }
        assert_eq!(last, (head_seq, head_hash));
    }
    db.close().await.unwrap();
}

/// I8.
async fn events_are_contiguous(dir: &Path) {
    let mut db = open(dir, "broker").await;
    let rows: Vec<(String, i64, i64, i64)> =
        sqlx::query_as("SELECT e.log, COUNT(*), MAX(e.seq), h.seq FROM events e JOIN event_heads h ON h.log = e.log GROUP BY e.log, h.seq")
            .fetch_all(&mut db)
            .await
            .unwrap();
    assert!(rows.iter().all(|(_, count, max, head)| count == max && max == head), "{rows:?}");
    db.close().await.unwrap();
}

/// I5, I7, I9: copies of every root, a whole ledger and outbox, devices and approvals that match, indexes given once.
async fn identity_is_whole(dir: &Path) {
    let mut db = open(dir, "identity").await;
    assert!(baton_identity::verify_ledger(&mut db).await.unwrap().is_ok(), "I7");
    let count = async |db: &mut AnyConnection, sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(db).await.unwrap();
    assert_eq!(
        count(&mut db, "SELECT COUNT(*) FROM accounts a WHERE (SELECT COUNT(*) FROM wraps w WHERE w.account_id = a.account_id) < 2").await,
        0,
        "I5"
    );
    assert_eq!(count(&mut db, "SELECT COUNT(*) FROM outbox").await, count(&mut db, "SELECT value FROM counters WHERE name = 'outbox'").await, "I7");
    assert_eq!(
        count(&mut db, "SELECT COUNT(*) FROM devices").await,
        count(&mut db, "SELECT COUNT(*) FROM requests WHERE state = 'approved'").await,
        "I9"
    );
    assert_eq!(
        count(&mut db, "SELECT COUNT(*) FROM devices").await,
        count(&mut db, "SELECT COUNT(*) FROM ledger WHERE kind = 'device.enrolled'").await,
        "I7, I9"
    );
    assert_eq!(
        count(&mut db, "SELECT COUNT(*) FROM devices d WHERE NOT EXISTS (SELECT 1 FROM status_allotments s WHERE s.idx = d.status_idx)").await,
        0,
        "I9"
    );
    let logs: Vec<(String, i64, String)> = sqlx::query_as("SELECT log, next_n, head FROM issuers").fetch_all(&mut db).await.unwrap();
    for (log, next_n, head) in logs {
        let entries: Vec<(String,)> =
            sqlx::query_as("SELECT entry FROM log_entries WHERE log = $1 ORDER BY n").bind(&log).fetch_all(&mut db).await.unwrap();
        let texts: Vec<_> = entries.into_iter().map(|(entry,)| entry).collect();
        let replayed = baton_protocol::device_log::DeviceLog::replay(&texts).unwrap();
        assert_eq!((replayed.subject(), replayed.head().hash, replayed.head().n as i64 + 1), (log.as_str(), head, next_n));
    }
    db.close().await.unwrap();
}

/// I4, I9: verifier and broker know exactly the devices identity knows, as revoked as it does.
async fn standing_is_identity_s(dir: &Path) {
    let rows = async |service: &str, sql: &'static str| {
        let mut db = open(dir, service).await;
        let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(sql).fetch_all(&mut db).await.unwrap();
        db.close().await.unwrap();
        rows.into_iter().collect::<BTreeSet<_>>()
    };
    let known = rows("identity", "SELECT did, credential_hash, dev_epoch, COALESCE(revoked_at, 0) FROM devices").await;
    for service in ["verifier", "broker"] {
        assert_eq!(rows(service, "SELECT device, credential_hash, dev_epoch, COALESCE(revoked_at, 0) FROM standing").await, known, "{service}");
    }
}
