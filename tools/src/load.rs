//! `saal-load`: what it measured and how people and machines read it.

pub mod result;
