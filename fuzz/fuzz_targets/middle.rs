//! Devices, a broker and a network that loses, repeats, reorders and lies, further than the checker of `tests/model` goes: each byte chooses what
//! happens next, and its properties hold at every moment.
#![no_main]

use baton_model::Bounds;
use baton_model::world::Handing;
use libfuzzer_sys::fuzz_target;
use stateright::{Expectation, Model as _};

fuzz_target!(|data: &[u8]| {
    let Some((first, steps)) = data.split_first() else { return };
    let most = 1 + first / 64;
    let bounds = Bounds {
        devices: 2 + first % 4,
        writes: 4,
        handoffs: 4,
        requests: most,
        ticks: 24,
        losses: most,
        repeats: most,
        revocations: first % 3,
        crashes: most,
        claims: 2,
        // Who is lied to freezes, and nothing ends for it.
        lies: 0,
    };
    let model = Handing { bounds, defect: None };
    let mut world = model.init_states().remove(0);
    let always: Vec<_> = model.properties().into_iter().filter(|property| property.expectation == Expectation::Always).collect();
    let mut can = Vec::new();
    for step in steps.iter().take(400) {
        can.clear();
        model.actions(&world, &mut can);
        if can.is_empty() {
            return;
        }
        let chosen = can.swap_remove(usize::from(*step) % can.len());
        let Some(next) = model.next_state(&world, chosen.clone()) else { continue };
        for property in &always {
            assert!((property.condition)(&model, &next), "{}, after {chosen:?}", property.name);
        }
        world = next;
    }
});
