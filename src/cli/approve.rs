//! `baton approve`: a person with a software passkey, in development builds. Its file opens the root: never for real use.

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
    /// User code that the new device shows, or the URL that an app on this one opened
    #[arg(required_unless_present_any = ["revoke", "wallet", "waiting"])]
    code: Option<String>,
    /// Make a credential offer (OpenID4VCI) for a wallet that will be this client, instead
    #[arg(long, value_name = "CLIENT_ID", conflicts_with_all = ["code", "revoke"])]
    wallet: Option<String>,
    /// Approve what waits for this person: a wallet's request
    #[arg(long, conflicts_with_all = ["code", "revoke", "wallet"])]
    waiting: bool,
    /// Revoke this device of the person's instead: its id, as `baton device show` says it
    #[arg(long, value_name = "DEVICE_ID", conflicts_with = "code")]
    revoke: Option<String>,
}

/// Looks at a request, asks for the check code, approves.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut person = open(&args.server, &args.person).await?;
    // Reading what waits needs a session. The passkey's counter moves with it, whatever follows.
    let unlocked = person.unlock().await;
    save(&args.person, &person)?;
    unlocked?;
    if let Some(device) = &args.revoke {
        println!("revoked; everywhere: {}", person.revoke(device).await?);
        return Ok(());
    }
    if let Some(client) = &args.wallet {
        let offer = person.post("/v1/credential-offers", &serde_json::json!({"client_id": client})).await?;
        println!(
            "by value      {}\nby reference  {}",
            offer["by_value"].as_str().unwrap_or_default(),
            offer["by_reference"].as_str().unwrap_or_default()
        );
        println!("The wallet asks for the code {}", offer["tx_code"].as_str().unwrap_or_default());
        return Ok(());
    }
    let code = args.code.unwrap_or_default();
    let here = code.split_once("request_uri=").map(|(_, uri)| uri.split('&').next().unwrap_or_default().replace("%3A", ":"));
    if let Some(request_uri) = here.as_deref().filter(|uri| uri.contains(":sign-in:")) {
        let asked = person.post("/v1/sign-ins/open", &serde_json::json!({"request_uri": request_uri})).await?;
        let said = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        println!(
            "{} ({}) asks who you are, from {}; the answer goes to {}",
            said("client_name"),
            said("client_id"),
            said("seen_address"),
            said("goes_to")
        );
        print!("Sign in? Type yes, or nothing to refuse: ");
        if answer()?.trim() != "yes" {
            bail!("refused");
        }
        let outcome = person.sign_in_to(request_uri).await;
        save(&args.person, &person)?;
        println!("signed in; the browser goes on to {}", outcome?);
        return Ok(());
    }
    let shown = match &here {
        None if args.waiting => {
            let waiting = person.get("/v1/requests").await?["requests"].clone();
            person.open_waiting(waiting.get(0).context("nothing waits")?).await?
        }
        Some(request_uri) => person.open_here(request_uri).await?,
        None => person.open_elsewhere(&code).await?,
    };
    println!("\"{}\" asks to join the app {} ({}); it may {}", shown.claims.name, shown.app, shown.client_name, shown.scope);
    println!("asked from {}; will be {}", shown.seen_address, shown.tier.as_str());
    print!("Did you start this? Type {}, or nothing to refuse: ", if here.is_some() { "yes" } else { "the check code it shows" });
    let typed = answer()?;
    if typed.trim().is_empty() || (here.is_some() && typed.trim() != "yes") {
        person.post(&format!("/v1/requests/{}/deny", shown.request), &serde_json::json!({})).await?;
        bail!("refused");
    }
    // What came by the redirect shows no code.
    let code = Some(typed.trim()).filter(|typed| here.is_none() && *typed != "yes");
    let outcome = person.approve(&shown, code).await;
    save(&args.person, &person)?;
    match outcome? {
        Some(redirect_to) => println!("approved; the browser goes on to {redirect_to}"),
        None => println!("approved"),
    }
    Ok(())
}

fn answer() -> anyhow::Result<String> {
    std::io::stdout().flush()?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    Ok(typed)
}

/// The person of a file, or a new one.
pub async fn open(server: &str, file: &Path) -> anyhow::Result<Person> {
    if file.exists() {
        let saved: Saved = serde_json::from_slice(&std::fs::read(file)?).context("the person's file is damaged")?;
        return Person::with(server, system_entropy(), saved);
    }
    let mut person = Person::new(server, system_entropy())?;
    let code = person.sign_up().await?;
    println!("New account. Recovery code, shown once: {}", code.words().expose());
    save(file, &person)?;
    Ok(person)
}

/// Keeps a person.
pub fn save(path: &Path, person: &Person) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(&person.save()?)?)?;
    Ok(file.sync_all()?)
}
