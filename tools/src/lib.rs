//! What the tools are made of.

pub mod impair;
pub mod load;
