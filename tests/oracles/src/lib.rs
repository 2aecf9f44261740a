//! Nothing: a package needs a target. The oracles are in `tests/it`.
