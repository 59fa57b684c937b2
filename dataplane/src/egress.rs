//! The send side's blocks and trains.
