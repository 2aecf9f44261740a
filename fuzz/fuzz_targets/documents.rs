//! What another device of the person wrote into a document: it is taken in or refused, and what was there stays.
#![no_main]

use baton_sdk::document::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    let mut state = State::new([7; 4]);
    let before = state.encode();
    match state.merge(content, 3) {
        Err(_) => assert_eq!(state.encode(), before, "what is refused changes nothing"),
        Ok(_) => {
            // It is written on as it was read, and says nothing new the second time.
            let (_, whole) = (state.to_json(), state.encode());
            let mut again = State::new([9; 4]);
            again.merge(&whole, 3).unwrap();
            assert!(!state.merge(&whole, 3).unwrap().changed);
            assert_eq!(again.to_json(), state.to_json());
        }
    }
});
