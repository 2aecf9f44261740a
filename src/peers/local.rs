//! Verifier and broker in the same process: identity's news is a function call.

use baton_broker::Broker;
use baton_identity::{PeerError, StandingPeer};
use baton_protocol::standing::Feed;
use baton_verifier::Verifier;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The verifier as a peer of identity.
pub struct LocalVerifier(pub Arc<Verifier>);

/// The broker as a peer of identity.
pub struct LocalBroker(pub Arc<Broker>);

impl StandingPeer for LocalVerifier {
    fn name(&self) -> &'static str {
        "verifier"
    }
    fn take<'a>(&'a self, feed: &'a Feed) -> Pin<Box<dyn Future<Output = Result<(), PeerError>> + Send + 'a>> {
        Box::pin(async move { self.0.take(feed).await.map_err(|e| PeerError(e.to_string())) })
    }
}

impl StandingPeer for LocalBroker {
    fn name(&self) -> &'static str {
        "broker"
    }
    fn take<'a>(&'a self, feed: &'a Feed) -> Pin<Box<dyn Future<Output = Result<(), PeerError>> + Send + 'a>> {
        Box::pin(async move { self.0.take(feed).await.map_err(|e| PeerError(e.to_string())) })
    }
}
