//! The `baton` program.

// Many small things live for one request each: the system allocator took a tenth of a verify.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::Parser as _;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    baton::cli::run(baton::cli::Cli::parse()).await
}
