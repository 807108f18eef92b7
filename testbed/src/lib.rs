//! What tests and the demo run against: exchange simulator, in-process doubles and the real servers.

pub mod doubles;
pub mod exchange;
pub mod servers;
