//! The demo: the whole story on real HTTP, told step by step. The same story is the first whole-system test.

mod raw;
mod story;

pub use story::{SCOPES, STEPS, Story, Told, claims, enrol_here};

use crate::config::{Config, Flags};
use crate::serve;
use anyhow::Context as _;
use baton_service::base::{system_clock, system_entropy};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tokio::net::TcpListener;

/// Where a demo runs and leaves its things.
struct Place {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

fn place(keep: Option<PathBuf>) -> anyhow::Result<Place> {
    if let Some(dir) = keep {
        std::fs::create_dir_all(&dir)?;
        return Ok(Place { dir: std::fs::canonicalize(dir)?, _temporary: None });
    }
    let temporary = tempfile::tempdir()?;
    Ok(Place { dir: temporary.path().to_path_buf(), _temporary: Some(temporary) })
}

/// Runs the demo; an error means that something the story promises did not hold.
pub async fn run(keep: Option<PathBuf>, title: &str) -> anyhow::Result<()> {
    let place = place(keep)?;
    log_to(&place.dir)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://localhost:{}", listener.local_addr()?.port());
    let flags = Flags { data_dir: Some(place.dir.join("data")), public_url: Some(public_url.clone()), ..Flags::default() };
    let config = Config::load(flags)?;
    let running = serve::start(&config, listener, None, system_clock(), system_entropy()).await?;
    println!("Baton serves on {public_url}, SQLite in {}\n", config.data_dir.display());
    for (n, step) in STEPS.iter().enumerate() {
        println!("  {}. {step}", n + 1);
    }
    let broker_files = config.data_dir.clone();
    let story =
        Story { public_url, title: title.to_owned(), entropy: system_entropy(), dump: Box::new(move || Box::pin(dump_files(broker_files.clone()))) };
    let outcome = Box::pin(story.tell(&mut print)).await;
    running.stop().await;
    match outcome {
        Ok(()) => {
            println!("\nAll of it held.");
            Ok(())
        }
        Err(error) => Err(error).context("the story did not hold"),
    }
}

fn print(told: &Told) {
    match told {
        Told::Step { number, name } => println!("\n{number}. {name}"),
        Told::Fact { what, proves, took } => println!("   {:>7.1} ms  {what}\n               proves: {proves}", took.as_secs_f64() * 1000.0),
    }
}

/// The broker's files as they lie on disk, write-ahead log included.
async fn dump_files(dir: PathBuf) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    for name in ["broker.db", "broker.db-wal"] {
        if let Ok(bytes) = tokio::fs::read(dir.join(name)).await {
            all.extend_from_slice(&bytes);
        }
    }
    Ok(all)
}

fn log_to(dir: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::create(dir.join("baton.log"))?;
    // A second subscriber in one process is a test's: then the first stays.
    let _ = tracing_subscriber::fmt().json().with_writer(Mutex::new(file)).try_init();
    Ok(())
}
