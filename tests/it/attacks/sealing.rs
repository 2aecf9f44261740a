//! ECC-12: no two things are ever sealed under one key and nonce, also by a device whose keystore was restored from a copy and lives twice.

use super::Rig;
use baton_sdk::keystore::Keystore;
use baton_sdk::{Device, Session, system_entropy};
use baton_service::testing::On;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

const SEALS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_seals_nothing_under_a_nonce_that_was_used() {
    let rig = Rig::new(On::Sqlite).await;
    let id = rig.session().await.id().clone();
    let kept = rig.laptop.kept();
    let copy = || Arc::new(Device::from_kept(Keystore::memory(), kept.clone(), rig.server.http()).unwrap().unwrap());
    let (one, two) = (copy(), copy());
    let mut nonces = BTreeSet::new();
    for device in [&one, &two] {
        let mut session = Session::load(device, &id).await.unwrap();
        for _ in 0..SEALS {
            assert!(nonces.insert(session.draft_write(b"00:43").await.unwrap().iv));
            assert!(nonces.insert(session.volatile(b"00:43").await.unwrap().iv));
        }
    }
    assert_eq!(nonces.len(), 4 * SEALS);
    // Where both took them from: nothing that is kept has a part in it.
    let taken: HashSet<[u8; 12]> = (0..1_000_000).map(|_| system_entropy().bytes()).collect();
    assert_eq!(taken.len(), 1_000_000);
}
