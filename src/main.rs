//! The `baton` program.

use clap::Parser as _;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    baton::cli::run(baton::cli::Cli::parse()).await
}
