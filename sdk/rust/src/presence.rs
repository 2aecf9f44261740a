//! Presence: how this device is, what it has in front, and who else is there (docs/protocol.md §9).

use crate::device::Device;
use crate::error::Error;
use crate::session::Session;
use baton_protocol::event::{Present, SealedView, Status};
use baton_protocol::refusal::Handoff;
use serde_json::json;

impl Device {
    /// Says how this device is, and which session it has in front, with what it shows of it (a title, a position; at most
    /// [`MAX_VIEW`](baton_protocol::view::MAX_VIEW) bytes): sealed to those who have the session, and to nobody while the person lets this device show nothing.
    /// Counts for 45 s, or as long as a stream of events is open.
    pub async fn say_present(&self, status: Status, shows: Option<(&Session, Option<&[u8]>)>) -> Result<(), Error> {
        let mut body = json!({"status": status});
        if let Some((session, view)) = shows {
            body["session"] = session.id().as_str().into();
            // What nobody is to see is not left to the broker to keep from them.
            if let Some(view) = view
                && self.recent_members().await.is_ok_and(|members| members.shows)
            {
                body["view"] = serde_json::to_value(session.seal_view(view)?).map_err(|_| Error::Answer("view"))?;
            }
        }
        let said = self.broker("POST", "/v1/presence", "presence", None, Some(&body)).await;
        match said {
            // Under a key that is good no more nothing is shown; that it is there is said all the same.
            Err(refused) if refused.is("state.rekey_required") => {
                body.as_object_mut().map(|members| members.remove("view"));
                self.broker("POST", "/v1/presence", "presence", None, Some(&body)).await.map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }

    /// The person's other devices that are there, as far as the person lets this one see them. The broker's word.
    pub async fn present_devices(&self) -> Result<Vec<Present>, Error> {
        let answer = self.broker("GET", "/v1/presence", "presence", None, None).await?;
        serde_json::from_value(answer["devices"].clone()).map_err(|_| Error::Answer("devices"))
    }
}

impl Session {
    fn seal_view(&self, view: &[u8]) -> Result<SealedView, Error> {
        self.needs_one_history()?;
        let key = self.keys.get(&self.chain.key_version()).ok_or(Handoff::NoKey)?;
        Ok(SealedView::seal(&self.id, self.device.did(), key, self.device.http.entropy().bytes(), view)?)
    }

    /// What a device shows of this session; `None` when it shows another, nothing, or something under a key that is not good any more.
    pub fn view_on(&self, present: &Present) -> Result<Option<Vec<u8>>, Error> {
        let newest = self.chain.key_version();
        let view = present.view.as_ref().filter(|view| present.session.as_deref() == Some(self.id.as_str()) && view.key_version == newest);
        let Some(view) = view else { return Ok(None) };
        let key = self.keys.get(&view.key_version).ok_or(Handoff::NoKey)?;
        let device = baton_protocol::key::Did::parse(&present.device).map_err(|_| Error::Answer("device"))?;
        Ok(Some(view.open(&self.id, &device, key)?))
    }
}
