//! The pipeline on the real servers: three brokers, a registry, InfluxDB. Needs the programs that `testbed install`
//! names; a server that cannot be had fails these tests, it never skips them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brokers;
mod consumer;
mod consumer_faults;
mod consumer_group;
mod golden;
mod judge;
mod panel;
mod pipeline;
mod security;
mod two_producers;
mod whole;
