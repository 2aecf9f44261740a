//! `baton device`: a real client for a terminal. Keys live in a file of mode 0600, sealed under a passphrase (asked for, or `BATON_PASSPHRASE`).

use anyhow::{Context as _, bail, ensure};
use baton_protocol::enrolment::{DeviceClaims, Kind};
use baton_protocol::handoff::machine::{Declining, Target};
use baton_protocol::id::SessionId;
use baton_protocol::secret::Secret;
use baton_sdk::document::State;
use baton_sdk::enroll::{Enrolling, Introduction, issuer_fingerprint, log_fingerprint};
use baton_sdk::keystore::{Kept, Keystore};
use baton_sdk::{Asked, Device, Error, Http, Offered, PresentationRequest, Servers, Session, Waiting, Written, system_clock, system_entropy};
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
        /// What sessions can count on here, in apps' own words; once for each
        #[arg(long = "can", value_name = "WORD")]
        capabilities: Vec<String>,
        /// Development builds only: approve here with this software passkey, which makes a full device
        #[cfg(debug_assertions)]
        #[arg(long, value_name = "FILE")]
        person: Option<PathBuf>,
    },
    /// Print a presentation for a service
    Present {
        /// The service's name for itself
        audience: String,
        /// The nonce it gave
        nonce: String,
        /// Claims to show
        #[arg(long)]
        disclose: Vec<String>,
    },
    /// Answer a relying service that asks for this device's credential (OpenID4VP); asks before it does
    Answer {
        /// The link, or what its QR code says: openid4vp://?..
        link: String,
        /// A type of transaction data that may be agreed to; once for each
        #[arg(long = "agree", value_name = "TYPE")]
        known: Vec<String>,
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
        /// The content; without it, each line of the standard input in turn
        content: Option<String>,
    },
    /// Hand a session to another device and wait until it has it
    Push {
        /// The session
        session: String,
        /// The device's name, or its DID
        to: String,
    },
    /// Ask the device that holds a session for it, and take it
    Pull {
        /// The session
        session: String,
    },
    /// Wait until another device asks for a session that this one holds; asks before it hands it over, unless the person's page says that it need not
    Give,
    /// Wait for a handoff to this device and take it
    Receive,
    /// Agree that your root is replaced by another; asks before it does
    Agree,
    /// Claim a session that nobody holds
    Claim {
        /// The session
        session: String,
    },
}

/// How often a waiting command looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs a command; says of what happens in good order what to do about it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    carry_out(args).await.map_err(|why| match why.downcast_ref::<Error>().and_then(Error::code) {
        Some("handoff.not_holder") => why.context("another device holds it: `device pull` asks for it"),
        Some("handoff.no_key") => why.context("this device is not let in yet: whoever holds it lets it in with the next write"),
        Some("handoff.taken") => why.context("somebody holds it: `device pull` asks for it"),
        _ => why,
    })
}

async fn carry_out(args: Args) -> anyhow::Result<()> {
    let passphrase = passphrase()?;
    if let Command::Enrol { server, name, capabilities, .. } = &args.command {
        let claims = DeviceClaims {
            name: name.clone(),
            kind: Kind::Other,
            platform: Some(std::env::consts::OS.into()),
            model: None,
            capabilities: capabilities.clone(),
        };
        #[cfg(debug_assertions)]
        if let Command::Enrol { person: Some(person), .. } = &args.command {
            return enrol_full(&args.keystore, &passphrase, server, &claims, person).await;
        }
        return enrol(&args.keystore, &passphrase, server, &claims).await;
    }
    let (keystore, kept) = Keystore::open(&args.keystore, passphrase.expose(), &system_entropy())?;
    let device = Device::from_kept(keystore, kept, http()?)?
        .context("this keystore is not enrolled: its enrolment was not finished; remove it and enrol anew")?;
    let device = Arc::new(device);
    match args.command {
        Command::Enrol { .. } => Ok(()),
        Command::Show => show(&device).await,
        Command::Present { audience, nonce, disclose } => {
            ensure!((16..=256).contains(&nonce.len()), "a nonce has 16 to 256 characters");
            let names: Vec<_> = disclose.iter().map(String::as_str).collect();
            if let Some(unknown) = names.iter().find(|name| !device.can_disclose(name)) {
                bail!("this device's credential does not say {unknown}");
            }
            println!("{}", device.present(&audience, &nonce, &[], &names).await?);
            Ok(())
        }
        Command::Answer { link, known } => answer(&device, &link, &known).await,
        Command::Open { content } => {
            let session = Session::open(&device, content.as_bytes()).await?;
            println!("{}", session.id());
            Ok(())
        }
        Command::Read { session } => {
            let session = load(&device, &session).await?;
            println!("{}", readable(&session));
            let late = session.branches().await?.len();
            if late > 0 {
                eprintln!("{late} late writes lie beside it: an app shows or merges them");
            }
            Ok(())
        }
        Command::Write { session, content } => write(load(&device, &session).await?, content).await,
        Command::Push { session, to } => push(&device, &session, &to).await,
        Command::Pull { session } => pull(&load(&device, &session).await?).await,
        Command::Give => give(&device).await,
        Command::Receive => receive(&device).await,
        Command::Agree => agree(&device).await,
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
    let passphrase = match std::env::var("BATON_PASSPHRASE") {
        Ok(passphrase) => passphrase,
        Err(_) => {
            rpassword::prompt_password("Passphrase of the keystore: ").context("no terminal to ask for the passphrase: set BATON_PASSPHRASE")?
        }
    };
    ensure!(!passphrase.is_empty(), "an empty passphrase protects nothing");
    Ok(Secret::new(passphrase))
}

async fn load(device: &Arc<Device>, session: &str) -> anyhow::Result<Session> {
    let id = SessionId::parse(session).map_err(|_| anyhow::anyhow!("not a session id"))?;
    Ok(Session::load(device, &id).await?)
}

async fn enrol(path: &Path, passphrase: &Secret<String>, server: &str, claims: &DeviceClaims) -> anyhow::Result<()> {
    let entropy = system_entropy();
    let kept = Kept::fresh(Servers::at(server), "baton-cli", &entropy);
    let keystore = Keystore::create(path, passphrase.expose(), &kept, &entropy)?;
    let introduction = Introduction { claims, reason: Some("To take over sessions in this terminal") };
    let (mut asking, screen) = match Enrolling::elsewhere(http()?, keystore, kept, introduction, crate::demo::SCOPES).await {
        Ok(asked) => asked,
        Err(error) => {
            std::fs::remove_file(path)?;
            return Err(error.into());
        }
    };
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
            // The key may be approved by now: it is kept until the server says that it will not be.
            Err(Error::Transport(_)) => {}
            Err(error) => {
                if error.is("access_denied") || error.is("expired_token") {
                    std::fs::remove_file(path)?;
                }
                return Err(error.into());
            }
        }
    }
    show(&Arc::new(asking.into_device()?)).await
}

/// Lane 1 with a software passkey, as a browser on this machine would do it.
#[cfg(debug_assertions)]
async fn enrol_full(path: &Path, passphrase: &Secret<String>, server: &str, claims: &DeviceClaims, file: &Path) -> anyhow::Result<()> {
    let entropy = system_entropy();
    let mut person = super::approve::open(server, file).await?;
    let unlocked = person.unlock().await;
    super::approve::save(file, &person)?;
    unlocked?;
    let kept = Kept::fresh(Servers::at(server), "baton-cli", &entropy);
    let keystore = Keystore::create(path, passphrase.expose(), &kept, &entropy)?;
    let device = crate::demo::enrol_here(&mut person, http()?, keystore, kept, &DeviceClaims { kind: Kind::Laptop, ..claims.clone() }).await;
    super::approve::save(file, &person)?;
    if device.is_err() {
        std::fs::remove_file(path)?;
    }
    show(&device?).await
}

fn qr(text: &str) -> anyhow::Result<String> {
    let code = qrcode::QrCode::new(text)?;
    Ok(code.render::<qrcode::render::unicode::Dense1x2>().build())
}

async fn show(device: &Arc<Device>) -> anyhow::Result<()> {
    println!("device   {}\nid       {}\ntier     {}", device.did(), device.enrolled().device_id, device.tier().as_str());
    println!("log      {}", log_fingerprint(device.subject()));
    let members = device.members().await?;
    for (did, member) in members.log.members() {
        let label = members.name_of(did).unwrap_or_default();
        let live = if members.live.contains(did) { "live" } else { "revoked" };
        let here = if did == device.did() { " (this device)" } else { "" };
        println!("member   {did} {} {live} {label}{here}", member.tier.as_str());
    }
    if members.replace_root.is_some() {
        println!("asked    your root is to be replaced: `baton device agree`");
    }
    for session in device.sessions().await? {
        let holder = match &session.holder {
            Some(holder) if holder == device.did().as_str() => "here".to_owned(),
            Some(holder) => members.labels.iter().find(|one| one.device.as_str() == holder).map_or_else(|| holder.clone(), |one| one.name.clone()),
            None => "nowhere".to_owned(),
        };
        println!("session  {} {} epoch {} held {holder}", session.session, session.phase, session.epoch);
    }
    Ok(())
}

async fn agree(device: &Arc<Device>) -> anyhow::Result<()> {
    let members = device.members().await?;
    let asked = members.replace_root.as_ref().context("nothing is asked of this device")?;
    println!(
        "Your root is to be replaced. Your page shows the same fingerprint of the new one, if it is you who asked:\n\n    {}\n",
        issuer_fingerprint(&asked.to)
    );
    println!("Type yes to agree:");
    ensure!(says_yes().await?, "nothing was agreed to");
    device.agree(asked).await?;
    println!("agreed; your page goes on");
    Ok(())
}

async fn answer(device: &Arc<Device>, link: &str, known: &[String]) -> anyhow::Result<()> {
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let request = PresentationRequest::read(device, link, &known).await?;
    println!("{} asks for your credential and would see", plain(request.relying().unwrap_or("Somebody")));
    println!("    that you are {} to this app, and this device", log_fingerprint(device.subject()));
    for (name, value) in request.discloses() {
        println!("    {}: {}", plain(&name), plain(&value.to_string()));
    }
    for data in request.agrees_to() {
        println!("You would agree to\n    {}", plain(&serde_json::Value::Object(data.clone()).to_string()));
    }
    println!("Type yes to show it, anything else to decline:");
    let goes_on = if says_yes().await? {
        let goes_on = request.answer().await?;
        println!("shown");
        goes_on
    } else {
        let goes_on = request.decline().await?;
        println!("declined");
        goes_on
    };
    if let Some(url) = goes_on {
        println!("go on at {url}");
    }
    Ok(())
}

/// Somebody else's text, of which nothing moves the cursor or turns the line around.
fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().flat_map(|c| if c.is_control() || turns(c) { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// A document as JSON, anything else as text.
fn readable(session: &Session) -> String {
    let mut document = State::new([0; 4]);
    match document.merge(session.content(), session.epoch()) {
        Ok(_) => document.to_json().to_string(),
        Err(_) => String::from_utf8_lossy(session.content()).into_owned(),
    }
}

async fn says_yes() -> anyhow::Result<bool> {
    let answer = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?.transpose()?;
    Ok(answer.as_deref().map(str::trim) == Some("yes"))
}

async fn write(mut session: Session, content: Option<String>) -> anyhow::Result<()> {
    // Nobody's edits would come together with these.
    ensure!(State::new([0; 4]).merge(session.content(), session.epoch()).is_err(), "this session has a document: the app that wrote it edits it");
    let alone = content.is_some();
    let mut next = content;
    loop {
        let content = match next.take() {
            Some(content) => content,
            None if alone => return Ok(()),
            None => match tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?.transpose()? {
                Some(line) => line,
                None => return Ok(()),
            },
        };
        match session.write(content.as_bytes()).await? {
            Written::Session(head) => println!("written as update {}", head.seq),
            Written::Branch { epoch } => println!("handoff.fenced: the session moved on to epoch {epoch}; kept beside it as a branch"),
        }
    }
}

async fn push(device: &Arc<Device>, session: &str, to: &str) -> anyhow::Result<()> {
    let session = load(device, session).await?;
    let members = device.members().await?;
    let labelled: Vec<_> = members.labelled(to).filter(|device| members.live.contains(device)).collect();
    if let [_, _, ..] = labelled[..] {
        let dids: Vec<_> = labelled.iter().map(|device| device.as_str()).collect();
        bail!("several devices are called {to:?}: give the DID of one\n    {}", dids.join("\n    "));
    }
    let by_did = || members.live.iter().find(|device| device.as_str() == to);
    let target = labelled.first().copied().or_else(by_did).cloned();
    let target =
        target.with_context(|| format!("no live device is called {to:?} (a limited device sees no names: give the DID that `show` prints)"))?;
    ensure!(target != *device.did(), "that is this device");
    let offered = match session.offer(Target::Device(target)).await {
        Err(why) if why.is("handoff.state") => bail!("it is offered already: an offer that nobody takes ends within two minutes"),
        other => other?,
    };
    println!("offered {}; waiting for {to} to accept ..", offered.id());
    finish(session, &offered).await?;
    println!("sealed to {to}");
    Ok(())
}

/// Waits until an offer is accepted, and seals.
async fn finish(mut session: Session, offered: &Offered) -> anyhow::Result<()> {
    while session.accepted(offered).await?.is_none() {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => {
                session.cancel(offered).await?;
                bail!("the offer is withdrawn");
            }
        }
        session.heartbeat().await?;
        if session.is_over(offered).await? {
            bail!("the offer is over");
        }
    }
    Ok(session.seal(offered).await?)
}

async fn pull(session: &Session) -> anyhow::Result<()> {
    ensure!(!session.is_held(), "this device holds it");
    let requested = match session.request().await {
        Err(why) if why.is("handoff.state") => bail!("nobody holds it, or it is being handed over: see `device show`, or `device claim` it"),
        other => other?,
    };
    println!("asked {}; waiting for its holder ..", requested.id());
    let waiting = loop {
        if let Some(waiting) = requested.offered().await? {
            break waiting;
        }
        let (state, reason) = requested.stands().await?;
        if !matches!(state.as_str(), "requested" | "offered") {
            let reason = serde_json::to_value(reason)?;
            bail!("{state}{}", reason.as_str().map(|reason| format!(": {reason}")).unwrap_or_default());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    take(&waiting).await
}

async fn give(device: &Arc<Device>) -> anyhow::Result<()> {
    println!("waiting for a request ..");
    let asked = loop {
        match Asked::list(device).await?.pop() {
            Some(asked) => break asked,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    let members = device.members().await?;
    let name = members.name_of(asked.by()).unwrap_or(asked.by().as_str());
    println!("{name} asks for {}", asked.session());
    let is_allowed = members.unasked.gives || {
        println!("Type yes to hand it over:");
        says_yes().await?
    };
    if !is_allowed {
        asked.decline(Declining::Unwanted).await?;
        bail!("it stays here");
    }
    let session = Session::load(device, asked.session()).await?;
    let offered = session.agree(&asked).await?;
    finish(session, &offered).await?;
    println!("sealed to {name}");
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
    take(&waiting).await
}

async fn take(waiting: &Waiting) -> anyhow::Result<()> {
    waiting.accept().await?;
    while !waiting.is_sealed().await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let session = waiting.complete().await?;
    if let adapt @ [_, ..] = &session.adapt()[..] {
        eprintln!("to adapt to: {}", adapt.join(", "));
    }
    println!("{} held at epoch {}\n{}", session.id(), session.epoch(), readable(&session));
    Ok(())
}
