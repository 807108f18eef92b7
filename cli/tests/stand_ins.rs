//! `candlectl` as a process, against librdkafka's mock cluster, a small registry and a small InfluxDB.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

#[path = "stand_ins/commands.rs"]
mod commands;
#[path = "stand_ins/pages.rs"]
mod pages;
#[path = "stand_ins/world.rs"]
mod world;
