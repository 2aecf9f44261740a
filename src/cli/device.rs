//! `baton device`: a real client for a terminal. Keys live in a file of mode 0600, sealed under a passphrase (asked for, or `BATON_PASSPHRASE`).

use anyhow::{Context as _, bail};
use baton_protocol::enrolment::{DeviceClaims, Kind};
use baton_protocol::handoff::machine::Target;
use baton_protocol::id::SessionId;
use baton_protocol::secret::Secret;
use baton_sdk::enroll::{Enrolling, log_fingerprint};
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Device, Http, Offered, Servers, Session, Waiting, system_clock, system_entropy};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A terminal as a device
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keystore file
    #[arg(long, env = "BATON_KEYSTORE", default_value = "baton-device.key", value_name = "FILE")]
    keystore: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enrol this terminal; another device approves it
    Enrol {
        /// Where Baton is
        #[arg(long, default_value = "http://localhost:7777")]
        server: String,
        /// What the person will know it by
        #[arg(long, default_value = "Terminal")]
        name: String,
    },
    /// Show this device, its log and its sessions
    Show,
    /// Open a session with this content
    Open {
        /// The content
        content: String,
    },
    /// Print a session's content
    Read {
        /// The session
        session: String,
    },
    /// Replace a session's content
    Write {
        /// The session
        session: String,
        /// The content
        content: String,
    },
    /// Hand a session to another device and wait until it has it
    Push {
        /// The session
        session: String,
        /// The device's name
        to: String,
    },
    /// Wait for a handoff to this device and take it
    Receive,
    /// Claim a session that nobody holds
    Claim {
        /// The session
        session: String,
    },
}

/// How often a waiting command looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs a command.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let passphrase = passphrase()?;
    if let Command::Enrol { server, name } = &args.command {
        return enrol(&args.keystore, &passphrase, server, name).await;
    }
    let (keystore, kept) = Keystore::open(&args.keystore, passphrase.expose(), &system_entropy())?;
    let device = Device::from_kept(keystore, kept, http()?)?.context("this keystore is not enrolled")?;
    let device = Arc::new(device);
    match args.command {
        Command::Enrol { .. } => Ok(()),
        Command::Show => show(&device).await,
        Command::Open { content } => {
            let session = Session::open(&device, content.as_bytes()).await?;
            println!("{}", session.id());
            Ok(())
        }
        Command::Read { session } => {
            println!("{}", String::from_utf8_lossy(load(&device, &session).await?.content()));
            Ok(())
        }
        Command::Write { session, content } => {
            println!("{:?}", load(&device, &session).await?.write(content.as_bytes()).await?);
            Ok(())
        }
        Command::Push { session, to } => push(&device, &session, &to).await,
        Command::Receive => receive(&device).await,
        Command::Claim { session } => {
            let mut session = load(&device, &session).await?;
            session.claim().await?;
            println!("held at epoch {}", session.epoch());
            Ok(())
        }
    }
}

fn http() -> anyhow::Result<Http> {
    Ok(Http::new(system_clock(), system_entropy())?)
}

/// Never a flag: argument lists are for everybody to read.
fn passphrase() -> anyhow::Result<Secret<String>> {
    match std::env::var("BATON_PASSPHRASE") {
        Ok(passphrase) => Ok(Secret::new(passphrase)),
        Err(_) => Ok(Secret::new(rpassword::prompt_password("Passphrase of the keystore: ")?)),
    }
}

async fn load(device: &Arc<Device>, session: &str) -> anyhow::Result<Session> {
    let id = SessionId::parse(session).map_err(|_| anyhow::anyhow!("not a session id"))?;
    Ok(Session::load(device, &id).await?)
}

async fn enrol(path: &Path, passphrase: &Secret<String>, server: &str, name: &str) -> anyhow::Result<()> {
    let entropy = system_entropy();
    let kept = Kept::fresh(Servers::at(server), "baton-cli", &entropy);
    let keystore = Keystore::create(path, passphrase.expose(), &kept, &entropy)?;
    let claims =
        DeviceClaims { name: name.into(), kind: Kind::Other, platform: Some(std::env::consts::OS.into()), model: None, capabilities: Vec::new() };
    let (mut asking, screen) = Enrolling::elsewhere(http()?, keystore, kept, &claims, crate::demo::SCOPES).await?;
    println!("On a device that is yours, open\n\n    {}\n", screen.verification_uri);
    println!("{}", qr(&screen.verification_uri_complete)?);
    println!("    code        {}\n    check code  {}\n", screen.user_code, screen.check_code);
    println!("Only type the check code if you started this. Waiting ..");
    let mut interval = screen.interval;
    loop {
        tokio::time::sleep(Duration::from_secs(interval)).await;
        match asking.redeem(None).await {
            Ok(()) => break,
            Err(error) if error.is("authorization_pending") => {}
            Err(error) if error.is("slow_down") => interval += 5,
            Err(error) => {
                std::fs::remove_file(path)?;
                return Err(error.into());
            }
        }
    }
    show(&Arc::new(asking.into_device()?)).await
}

fn qr(text: &str) -> anyhow::Result<String> {
    let code = qrcode::QrCode::new(text)?;
    Ok(code.render::<qrcode::render::unicode::Dense1x2>().build())
}

async fn show(device: &Arc<Device>) -> anyhow::Result<()> {
    println!("device   {}\ntier     {}\nlog      {}", device.did(), device.tier().as_str(), log_fingerprint(device.subject()));
    let members = device.members().await?;
    for (did, member) in members.log.members() {
        let label = members.labels.iter().find(|(labelled, _)| labelled == did).map_or("", |(_, name)| name.as_str());
        let live = if members.live.contains(did) { "live" } else { "revoked" };
        println!("member   {did} {} {live} {label}", member.tier.as_str());
    }
    for session in device.sessions().await? {
        println!("session  {} {} epoch {}", session.session, session.phase, session.epoch);
    }
    Ok(())
}

async fn push(device: &Arc<Device>, session: &str, to: &str) -> anyhow::Result<()> {
    let mut session = load(device, session).await?;
    let members = device.members().await?;
    let target = members.by_label(to).cloned().with_context(|| format!("no device is called {to:?}"))?;
    let offered: Offered = session.offer(Target::Device(target)).await?;
    println!("offered {}; waiting for {to} to accept ..", offered.id());
    while session.accepted(&offered).await?.is_none() {
        tokio::time::sleep(LOOK_EVERY).await;
        session.heartbeat().await?;
        if session.is_over(&offered).await? {
            bail!("the offer is over");
        }
    }
    session.seal(&offered).await?;
    println!("sealed to {to}");
    Ok(())
}

async fn receive(device: &Arc<Device>) -> anyhow::Result<()> {
    println!("waiting for a handoff ..");
    let waiting = loop {
        match Waiting::list(device).await?.pop() {
            Some(waiting) => break waiting,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    waiting.accept().await?;
    while !waiting.is_sealed().await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let session = waiting.complete().await?;
    println!("{} held at epoch {}\n{}", session.id(), session.epoch(), String::from_utf8_lossy(session.content()));
    Ok(())
}
