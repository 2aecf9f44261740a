//! The command line.

#[cfg(debug_assertions)]
mod approve;
mod device;
mod keys;

use crate::config::{Config, Flags};
use crate::{demo, serve};
use anyhow::Context as _;
use baton_protocol::ports::Clock;
#[cfg(debug_assertions)]
use baton_service::base::system_clock;
use baton_service::base::system_entropy;
use baton_service::clock::steady_clock;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Carries a running session from one of a person's devices to another
#[derive(Debug, Parser)]
#[command(name = "baton", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run identity, verifier and broker in one process
    Serve {
        #[command(flatten)]
        flags: Flags,
    },
    /// Tell the whole story on real HTTP, from sign-up to revocation
    Demo {
        /// Leave databases and logs here
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
        /// The film's title
        #[arg(long, default_value = "The General")]
        title: String,
    },
    /// Print the configuration in force, secrets hidden
    Config {
        #[command(flatten)]
        flags: Flags,
    },
    /// The services' signing keys: list, rotate, replace, drop
    Keys {
        #[command(subcommand)]
        what: keys::What,
    },
    /// Be a device: enrol this terminal, show it, open and hand over sessions
    Device(device::Args),
    /// Development builds only: approve with a software passkey
    #[cfg(debug_assertions)]
    Approve(approve::Args),
}

/// Runs a command.
pub async fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Serve { flags } => serve(flags).await,
        Command::Demo { keep, title } => Box::pin(demo::run(keep, &title)).await,
        Command::Config { flags } => Config::load(flags).and_then(|config| config.shown()).map(|shown| print!("{shown}")),
        Command::Keys { what } => keys::run(what),
        Command::Device(args) => device::run(args).await,
        #[cfg(debug_assertions)]
        Command::Approve(args) => approve::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("baton: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("BATON_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = Config::load(flags)?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let admin = TcpListener::bind(config.admin_listen).await.with_context(|| format!("cannot listen on {}", config.admin_listen))?;
    let running = serve::start(&config, listener, Some(admin), clock(), system_entropy()).await?;
    tracing::info!(target: "baton", url = config.public_url, listen = %config.listen, health = %config.admin_listen, "serving");
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!(target: "baton", "stopping");
    running.stop().await;
    Ok(())
}

/// The system's clock, made steady. In development builds as many seconds ahead as `BATON_CLOCK_AHEAD` says: for what takes a year to come.
fn clock() -> Clock {
    #[cfg(debug_assertions)]
    if let Some(secs) = std::env::var("BATON_CLOCK_AHEAD").ok().and_then(|secs| secs.parse().ok()) {
        let clock = system_clock();
        return Clock::new(move || clock.now().plus_secs(secs));
    }
    steady_clock()
}
