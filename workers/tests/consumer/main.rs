//! The consumer in this process, on librdkafka's mock cluster and in-process doubles: what it promises about every
//! record, and about every way in which a server can fail. What needs real servers is in `testbed/tests/e2e`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod decoding;
#[path = "../../../testbed/tests/e2e/golden.rs"]
mod golden;
mod kafka;
mod live;
mod sink;
mod world;
