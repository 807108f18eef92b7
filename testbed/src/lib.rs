//! What tests, chaos runs and the demo run against: exchange simulator, in-process doubles, the real servers, a proxy
//! before them, and the judge of what came out.

pub mod chaos;
pub mod documents;
pub mod doubles;
pub mod exchange;
pub mod expect;
pub mod fuzz;
pub mod judge;
pub mod proxy;
pub mod servers;
