//! Producer and consumer of the candle pipeline: trades of an exchange -> Kafka -> candles in InfluxDB.
//!
//! One trade's way: `exchange` (socket, history) -> `producer` (order, completeness) -> Kafka -> `consumer`
//! (raw point, candle builder) -> `sink` (InfluxDB). `runtime` is what both processes share. Nothing here knows
//! Kubernetes.

pub mod consumer;
pub mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod kafka;
pub mod producer;
pub mod registry;
pub mod runtime;
pub mod sink;
