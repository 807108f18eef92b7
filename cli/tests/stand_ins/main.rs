//! `candlectl` as a process, against librdkafka's mock cluster, a small registry and a small InfluxDB.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod commands;
mod pages;
mod world;
