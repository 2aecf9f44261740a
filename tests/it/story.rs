//! The demo's story, on both databases.

use crate::support::Server;
use baton::demo::Told;
use baton_service::testing::On;

async fn tell(on: On) {
    let server = Server::start(on).await;
    let (mut steps, mut facts) = (0, 0);
    let mut count = |told: &Told<'_>| match told {
        Told::Step { .. } => steps += 1,
        Told::Fact { .. } => facts += 1,
    };
    Box::pin(server.story().tell(&mut count)).await.unwrap();
    assert_eq!((steps, facts), (6, 23));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    Box::pin(tell(On::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    Box::pin(tell(On::Postgres)).await;
}
