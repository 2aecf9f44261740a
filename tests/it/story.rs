//! The demo's story, on both databases.

use crate::support::{Server, dump};
use baton::demo::{Story, Told};
use baton_service::base::system_entropy;
use baton_service::testing::On;

async fn tell(on: On) {
    let server = Server::start(on).await;
    let database = server.database("broker");
    let dumped = move || {
        let database = database.clone();
        async move { Ok(dump(&database, "broker", &[]).await?.into_bytes()) }
    };
    let story = Story {
        public_url: server.public_url.clone(),
        title: "The General".into(),
        entropy: system_entropy(),
        dump: Box::new(move || Box::pin(dumped())),
    };
    let (mut steps, mut facts) = (0, 0);
    let mut count = |told: &Told<'_>| match told {
        Told::Step { .. } => steps += 1,
        Told::Fact { .. } => facts += 1,
    };
    story.tell(&mut count).await.unwrap();
    assert_eq!((steps, facts), (6, 23));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    tell(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    tell(On::Postgres).await;
}
