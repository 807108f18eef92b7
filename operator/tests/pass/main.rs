//! Whole passes over pipelines, against an API server and brokers made of maps that behave like real ones, also when
//! they fail: refusals, lost answers, silence, and stops of the operator between any two writes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api_server;
mod brokers;
mod crash;
mod deletion;
mod faults;
mod kafka;
mod life;
mod watching;
mod world;
