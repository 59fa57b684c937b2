//! Pure functions over bytes: no state, no time, no allocation, no panic on any input.

pub mod ext;
