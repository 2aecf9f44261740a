//! Which devices can take a session, and what its app has to adapt to there: matched here, as only devices know what a session needs.

use crate::device::Device;
use crate::error::Error;
use crate::session::Session;
use baton_protocol::key::Did;
use baton_protocol::needs::Needs;
use baton_protocol::sd_jwt::Compact;

/// A device that can take a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    /// Which.
    pub device: Did,
    /// What the person calls it.
    pub name: String,
    /// What the app has to adapt to there.
    pub adapt: Vec<String>,
}

impl Device {
    /// What it said of itself when it was enrolled.
    pub fn capabilities(&self) -> Vec<String> {
        let credential = self.enrolled().credential;
        let said = Compact::parse(&credential).ok().and_then(|compact| compact.disclosed("capabilities"));
        said.and_then(|said| serde_json::from_value(said).ok()).unwrap_or_default()
    }
}

impl Session {
    /// What it needs of the device it is on, as its holder said last.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// It needs this from the next write on.
    pub fn require(&mut self, needs: Needs) -> Result<(), Error> {
        needs.check().map_err(baton_protocol::Refusal::from)?;
        self.needs = needs;
        Ok(())
    }

    /// What the app has to adapt to on this device.
    pub fn adapt(&self) -> Vec<String> {
        self.needs.fit(&self.device.capabilities()).adapt
    }

    /// The person's other devices that can take it: what each said of itself has what the session needs. A hint for whoever chooses; identity tells it to
    /// full devices alone, and others see none.
    pub async fn takers(&self) -> Result<Vec<Taker>, Error> {
        let members = self.device.members().await?;
        let theirs = members.labels.iter().filter(|label| label.device != *self.device.did() && members.log.tier(&label.device).is_some());
        let fits = theirs.map(|label| (label, self.needs.fit(&label.capabilities))).filter(|(_, fit)| fit.takes());
        Ok(fits.map(|(label, fit)| Taker { device: label.device.clone(), name: label.name.clone(), adapt: fit.adapt }).collect())
    }
}
