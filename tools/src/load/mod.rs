//! `saal-load`: what it measures and how people and machines read it.

pub mod figures;
mod format;
pub mod html;
mod plot;
pub mod progress;
pub mod result;
pub mod table;
