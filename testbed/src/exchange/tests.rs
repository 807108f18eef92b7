//! The simulator against `facts/exchange.md`, through a small client over real sockets. Time is manual:
//! nothing here waits for a heartbeat.

mod client;
mod faults;
mod protocol;
mod replay;
mod rest;
mod truth;
