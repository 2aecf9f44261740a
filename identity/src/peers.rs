//! What identity needs of verifier and broker: that they take its news.

use baton_protocol::standing::Feed;
use std::future::Future;
use std::pin::Pin;

/// The peer did not take it; it will be told again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("peer did not take the feed: {0}")]
pub struct PeerError(pub String);

/// One receiver of standing. `src` gives a direct call or HTTP.
pub trait StandingPeer: Send + Sync {
    /// Its name, for its cursor.
    fn name(&self) -> &'static str;
    /// Takes changes in order and the feed's freshness. Taking the same twice changes nothing.
    fn take<'a>(&'a self, feed: &'a Feed) -> Pin<Box<dyn Future<Output = Result<(), PeerError>> + Send + 'a>>;
}
