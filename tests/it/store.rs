//! Store contracts, on each database: what counts once counts once, and news never goes backwards.

use baton_protocol::credential::Tier;
use baton_protocol::key::Thumbprint;
use baton_protocol::signer::Signer as _;
use baton_protocol::standing::{FEED_SECS, Standing};
use baton_protocol::time::Millis;
use baton_sdk::keys::SoftKey;
use baton_sdk::system_entropy;
use baton_service::database::Database;
use baton_service::once::{self, Use};
use baton_service::standing::{self, Freshness};
use baton_service::testing::{On, urls};
use sqlx::migrate::Migrator;

static NONE: Migrator = Migrator::DEFAULT;

const NOW: Millis = Millis(1_790_000_000_000);

async fn fresh(on: On) -> (Database, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let url = urls(on, dir.path()).await("verifier");
    (Database::open(&url, "verifier", &NONE).await.unwrap(), dir)
}

fn row() -> Standing {
    let did = SoftKey::generate(&system_entropy()).key().did();
    Standing {
        device: did.clone(),
        jkt: Thumbprint("jkt".into()),
        app: "app".into(),
        iss: did,
        log: "log".into(),
        client_id: "c".into(),
        tier: Tier::Full,
        credential_hash: "h1".into(),
        dev_epoch: 3,
        grant: "g".into(),
        scopes: "session:read".into(),
        grant_until: NOW.plus_secs(100).0,
        revoked_at: None,
    }
}

async fn news_never_goes_backwards(on: On) {
    let (db, _dir) = fresh(on).await;
    let first = row();
    let take = async |change: &Standing| {
        let mut tx = db.begin().await.unwrap();
        standing::take(&mut tx, change).await.unwrap();
        let seen = standing::find(&mut tx, &change.device).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        seen
    };
    assert_eq!(take(&first).await, first);
    assert_eq!(take(&first).await, first, "the same twice");
    let renewed = Standing { dev_epoch: 4, credential_hash: "h2".into(), ..first.clone() };
    assert_eq!(take(&renewed).await, renewed);
    assert_eq!(take(&first).await, renewed, "older news");
    let revoked = Standing { dev_epoch: 5, revoked_at: Some(7), ..renewed.clone() };
    assert_eq!(take(&revoked).await, revoked);
    let undone = Standing { dev_epoch: 6, revoked_at: None, ..renewed };
    assert_eq!(take(&undone).await.revoked_at, Some(7), "a revocation stays");
    db.close().await;
}

async fn what_counts_once(on: On) {
    let (db, _dir) = fresh(on).await;
    let consume = async |kind, value: &str| {
        let mut tx = db.begin().await.unwrap();
        let first = once::consume(&mut tx, &Use::new(kind, value, NOW)).await.unwrap();
        tx.commit().await.unwrap();
        first
    };
    assert!(consume("dpop", "a").await && !consume("dpop", "a").await);
    assert!(consume("ticket", "a").await, "kinds are apart");
    let mut tx = db.begin().await.unwrap();
    assert!(once::consume(&mut tx, &Use::new("dpop", "b", NOW)).await.unwrap());
    tx.rollback().await.unwrap();
    assert!(consume("dpop", "b").await, "what was not committed was not consumed");
    let each = async |values: &[&str]| {
        let uses: Vec<_> = values.iter().map(|value| Use::new("dpop", value, NOW)).collect();
        let mut tx = db.begin().await.unwrap();
        let there = once::consume_each(&mut tx, &uses).await.unwrap();
        tx.commit().await.unwrap();
        there
    };
    assert_eq!(each(&["d", "a", "d", "c"]).await, [true, false, false, true], "the first of twins, and not what was used");
    let many: Vec<_> = (0..70).map(|n| format!("of many {n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(each(&many[..69]).await, [true; 69]);
    assert_eq!(each(&many).await, [vec![false; 69], vec![true]].concat());
    assert!(each(&[]).await.is_empty());
    let mut tx = db.begin().await.unwrap();
    once::sweep(&mut tx, NOW.plus_secs(3599)).await.unwrap();
    assert!(!once::consume(&mut tx, &Use::new("dpop", "a", NOW)).await.unwrap(), "kept a while past its end");
    once::sweep(&mut tx, NOW.plus_secs(3601)).await.unwrap();
    assert!(once::consume(&mut tx, &Use::new("dpop", "a", NOW)).await.unwrap());
    tx.commit().await.unwrap();
    db.close().await;
}

/// What is committed is on the disk, or a process that dies takes it along all the same: nothing else would show that it is not asked for any more.
#[tokio::test]
async fn what_is_committed_is_durable() {
    for on in [On::Sqlite, On::Postgres] {
        let (db, _dir) = fresh(on).await;
        let mut tx = db.begin().await.unwrap();
        match on {
            On::Sqlite => {
                let full: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await.unwrap();
                let ahead: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *tx).await.unwrap();
                assert_eq!((full, ahead.as_str()), (2, "wal"));
            }
            On::Postgres => {
                let waits: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&mut *tx).await.unwrap();
                assert_eq!(waits, "on");
            }
        }
        tx.rollback().await.unwrap();
        db.close().await;
    }
}

#[tokio::test]
async fn on_sqlite() {
    news_never_goes_backwards(On::Sqlite).await;
    what_counts_once(On::Sqlite).await;
}

#[tokio::test]
async fn on_postgres() {
    news_never_goes_backwards(On::Postgres).await;
    what_counts_once(On::Postgres).await;
}

#[test]
fn freshness_is_believed_for_its_bound_alone() {
    let fresh = Freshness::default();
    assert!(!fresh.is_fresh(NOW), "nothing was heard yet");
    fresh.renew(NOW.plus_secs(3600).0, NOW);
    assert!(fresh.is_fresh(NOW) && !fresh.is_fresh(NOW.plus_secs(FEED_SECS)), "a sender whose clock is an hour ahead");
    fresh.renew(0, NOW.plus_secs(4));
    assert!(!fresh.is_fresh(NOW.plus_secs(FEED_SECS)), "the middle of a batch says nothing");
    assert!(!fresh.is_fresh(NOW.plus_secs(-60)), "a clock set back does not make old news fresh");
    assert!(standing::is_live(&row(), NOW) && !standing::is_live(&row(), NOW.plus_secs(100)));
}
