//! The operator as a process, on a real API server and real brokers. Needs the programs that `testbed install` names; a
//! server that cannot be had fails these tests, it never skips them.
//! There is no node: pods are said to run where a test needs it (`HandMadeNode`), and no worker is ever started.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod admission;
mod control_plane;
mod leadership;
mod lifecycle;
mod mutation;
mod operator;
mod pipeline;
mod topics;
mod trouble;
mod world;
