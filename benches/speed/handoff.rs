//! Handing over: what it takes, step by step, and what stored sessions add to it.

use super::{Results, Server, enrolled, median, peers};
use baton_protocol::handoff::machine::Target;
use baton_sdk::{Device, Session, Waiting};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Bytes of the state that is handed over by who starts with nothing.
const STATE: usize = 100 * 1024;

pub async fn handoff(results: &mut Results) {
    let server = Server::start(100_000).await;
    let devices = enrolled(&server, 8).await;
    let (p50, p99) = handoffs(&devices[1], &devices[2], 60).await;
    results.plain("handoff.p50", p50, "ms");
    results.plain("handoff.p99", p99, "ms");
    counts(results, &server, &devices[1], &devices[2]).await;
    growth(results, &server, &devices).await;
    cold(results, &devices[0], &devices[7]).await;
    if std::env::var_os("PEERS").is_some() {
        peers::carried(results, STATE).await;
    }
}

/// A state of 100 KiB handed over, and where the time goes.
async fn cold(results: &mut Results, one: &Arc<Device>, two: &Arc<Device>) {
    let mut steps = ["offer", "accept", "seal", "complete", "p50"].map(|step| (step, Vec::new()));
    let (mut here, mut there) = (one, two);
    for _ in 0..20 {
        let mut session = Session::open(here, &vec![7; STATE]).await.unwrap();
        let start = Instant::now();
        let mut last = start;
        let mut note = |at: usize| {
            let now = Instant::now();
            steps[at].1.push((now - if at == 4 { start } else { std::mem::replace(&mut last, now) }).as_secs_f64() * 1000.0);
        };
        let offered = session.offer(Target::Device(there.did().clone())).await.unwrap();
        note(0);
        let waiting = Waiting::list(there).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        note(1);
        session.seal(&offered).await.unwrap();
        note(2);
        waiting.complete().await.unwrap();
        note(3);
        note(4);
        std::mem::swap(&mut here, &mut there);
    }
    for (step, times) in steps {
        results.plain(&format!("handoff.cold.{step}"), median(times), "ms");
    }
}

/// What one handoff costs: signatures made by the two devices, by the server, and the server's fsyncs.
async fn counts(results: &mut Results, server: &Server, one: &Arc<Device>, two: &Arc<Device>) {
    const TURNS: usize = 10;
    let strace = server.count_fsyncs();
    let before = (SIGNED.load(Ordering::Relaxed), server.signatures());
    handoffs(one, two, TURNS).await;
    let per_handoff = |count: u64| count as f64 / TURNS as f64;
    results.plain("handoff.device_signatures", per_handoff(SIGNED.load(Ordering::Relaxed) - before.0), "signatures");
    results.plain("handoff.server_signatures", per_handoff(server.signatures() - before.1), "signatures");
    match strace {
        Some(strace) => results.plain("handoff.fsyncs", per_handoff(strace.finish()), "fsyncs"),
        None => println!("handoff.fsyncs       not counted: strace is not at hand"),
    }
}

/// Offer, accept, seal, complete: milliseconds for all of it, SDK checks and reads included.
async fn handoffs(one: &Arc<Device>, two: &Arc<Device>, turns: usize) -> (f64, f64) {
    let mut session = Session::open(one, b"state").await.unwrap();
    let (mut here, mut there) = (one, two);
    let mut times = Vec::new();
    for _ in 0..turns {
        let start = Instant::now();
        let offered = session.offer(Target::Device(there.did().clone())).await.unwrap();
        let waiting = Waiting::list(there).await.unwrap().pop().unwrap();
        waiting.accept().await.unwrap();
        session.seal(&offered).await.unwrap();
        session = waiting.complete().await.unwrap();
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        std::mem::swap(&mut here, &mut there);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// The cost of a handoff with a million other sessions stored over that with a thousand.
async fn growth(results: &mut Results, server: &Server, devices: &[Arc<Device>]) {
    use sqlx::Connection as _;
    sqlx::any::install_default_drivers();
    let fill = async |from: i64, to: i64| {
        let url = format!("sqlite://{}/broker.db", server.dir.path().display());
        let mut db = sqlx::AnyConnection::connect(&url).await.unwrap();
        let sql = "WITH RECURSIVE n (i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
            INSERT INTO sessions (session_id, log, app, mode, state, chain, chain_head, chain_n, epoch, lease_until, key_version, head_epoch, head_seq, head_hash, created_at)
            SELECT 'ses_fill' || i, 'log' || (i % 10000), 'a', 'exclusive', 'live', '{}', 'h' || i, 1, 1, 0, 1, 1, 0, 'h', 0 FROM n";
        sqlx::query(sql).bind(from).bind(to - 1).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    };
    fill(0, 1000).await;
    let (small, _) = handoffs(&devices[3], &devices[4], 40).await;
    fill(1000, 1_000_000).await;
    let (large, _) = handoffs(&devices[5], &devices[6], 40).await;
    println!(
        "{:<20} {:>9.2}      {large:.1} ms with 1,000,000 sessions over {small:.1} ms with 1,000; wanted at most 1.1",
        "handoff.growth",
        large / small
    );
    results.0.push(json!({"name": "handoff.growth", "value": large, "unit": "ms", "against": "1,000 sessions", "ratio": large / small}));
}

/// Signatures the devices in this process have made.
static SIGNED: AtomicU64 = AtomicU64::new(0);

pub struct CountSignatures;
impl<S: tracing::Subscriber> Layer<S> for CountSignatures {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "baton::signature" {
            SIGNED.fetch_add(1, Ordering::Relaxed);
        }
    }
}
