//! Bitfinex API version 2: public trades over WebSocket, their history over REST.
//!
//! Way of a frame: [`frame`] (text -> meaning) -> [`protocol`] (one connection's state) -> [`connection`] (its socket).
//! Facts and sources: the project's `exchange.md`.

mod check;
pub mod connection;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod protocol;
pub mod rest;
mod scan;
