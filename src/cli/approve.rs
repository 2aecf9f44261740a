//! `baton approve`: a person with a software passkey, in development builds, until there are pages. Its file opens the root: never for real use.

use crate::person::{Person, Saved};
use anyhow::{Context as _, bail};
use baton_sdk::system_entropy;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A person in development
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where Baton is
    #[arg(long, default_value = "http://localhost:7777")]
    server: String,
    /// The software passkey
    #[arg(long, default_value = "baton-person.json", value_name = "FILE")]
    person: PathBuf,
    /// User code that the new device shows
    code: String,
}

/// Looks at a request, asks for the check code, approves.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut person = open(&args).await?;
    // Reading what waits needs a session.
    person.unlock().await?;
    let shown = person.open_elsewhere(&args.code).await?;
    println!("{} asks to be enrolled: {:?} \"{}\" of {}, may {}", shown.client_name, shown.claims.kind, shown.claims.name, shown.app, shown.scope);
    println!("asked from {}; will be {}", shown.seen_address, shown.tier.as_str());
    print!("Did you start this? Type the check code it shows, or nothing to refuse: ");
    std::io::stdout().flush()?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    if typed.trim().is_empty() {
        person.post(&format!("/v1/requests/{}/deny", shown.request), &serde_json::json!({})).await?;
        bail!("refused");
    }
    let outcome = person.approve(&shown, Some(typed.trim())).await;
    save(&args.person, &person)?;
    outcome?;
    println!("approved");
    Ok(())
}

async fn open(args: &Args) -> anyhow::Result<Person> {
    if args.person.exists() {
        let saved: Saved = serde_json::from_slice(&std::fs::read(&args.person)?).context("the person's file is damaged")?;
        return Person::with(&args.server, system_entropy(), saved);
    }
    let mut person = Person::new(&args.server, system_entropy())?;
    let code = person.sign_up().await?;
    println!("New account. Recovery code, shown once: {}", code.words().expose());
    save(&args.person, &person)?;
    Ok(person)
}

fn save(path: &Path, person: &Person) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(&person.save()?)?)?;
    Ok(file.sync_all()?)
}
