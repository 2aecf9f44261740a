//! `baton keys`: a service's signing keys, in the data directory. A server reads them when it starts.

use crate::config::{Config, Flags};
use anyhow::Context as _;
use baton_service::key_ring::{KeyRing, Part};
use clap::{Subcommand, ValueEnum};
use std::path::Path;

#[derive(Debug, Subcommand)]
pub enum What {
    /// Every key's name and what it is for
    List {
        #[command(flatten)]
        flags: Flags,
    },
    /// The next key, published until now, signs from the next start on; another is next
    Rotate {
        service: Service,
        #[command(flatten)]
        flags: Flags,
    },
    /// For a key file that somebody else has read: another key signs and another is next from the next start on. What those in the file signed does not
    /// count, nor does what the secrets beside them made; persons keep the names by which apps know them. Of the broker: sessions that it accepted statements for become unreadable
    Replace {
        service: Service,
        #[command(flatten)]
        flags: Flags,
    },
    /// What an older key signed does not count from the next start on. Of the broker: sessions that it accepted statements for become unreadable
    Drop {
        service: Service,
        kid: String,
        #[command(flatten)]
        flags: Flags,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Service {
    Identity,
    Verifier,
    Broker,
}

impl Service {
    const ALL: [Self; 3] = [Self::Identity, Self::Verifier, Self::Broker];

    const fn name(self) -> &'static str {
        match self {
            Self::Identity => baton_identity::SCHEMA,
            Self::Verifier => baton_verifier::SCHEMA,
            Self::Broker => baton_broker::SCHEMA,
        }
    }
}

pub fn run(what: What) -> anyhow::Result<()> {
    let path = |flags: Flags, service: Service| Config::load(flags).map(|config| config.data_dir.join(format!("{}.key", service.name())));
    match what {
        What::List { flags } => Service::ALL.into_iter().try_for_each(|service| list(service.name(), &path(flags.clone(), service)?)),
        What::Rotate { service, flags } => {
            let kid = KeyRing::rotate(&path(flags, service)?)?;
            println!("{} signs with {kid} from its next start on", service.name());
            Ok(())
        }
        What::Replace { service, flags } => {
            let path = path(flags, service)?;
            let kid = KeyRing::replace(&path)?;
            println!("{} signs with {kid} from its next start on, and knows neither key that was in the file", service.name());
            // Whoever read the file before a rotation has the private half of one of these.
            for (_, kid, _) in KeyRing::read(&path)?.parts().filter(|(part, ..)| *part == Part::Older) {
                println!("it still knows {kid}, which signed before: if the file was read while it did, baton keys drop {} {kid}", service.name());
            }
            Ok(())
        }
        What::Drop { service, kid, flags } => {
            KeyRing::drop_older(&path(flags, service)?, &kid)?;
            println!("{} does not know {kid} from its next start on", service.name());
            Ok(())
        }
    }
}

fn list(service: &str, path: &Path) -> anyhow::Result<()> {
    let ring = KeyRing::read(path).context("no keys yet: a server makes them when it starts")?;
    for (part, kid, _) in ring.parts() {
        let part = match part {
            Part::Signs => "signs",
            Part::Next => "next",
            Part::Older => "older",
        };
        println!("{service:<9} {kid}  {part}");
    }
    Ok(())
}
