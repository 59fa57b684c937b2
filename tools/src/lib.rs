//! What the tools are made of.

pub mod client;
pub mod impair;
pub mod load;
pub mod random;
pub mod tune;
