//! Points in, stored points out: line protocol, batches, the write API and what to do about its refusals.
//!
//! `line` makes bytes of trades and candles, `batch` collects them with their origins, `influxdb` sends one request,
//! `outbox` takes batches from the consumer's thread and tells it what is acknowledged, `queue` decides what goes into
//! the next request, `writer` owns what is outstanding: retries, bisection, dead letters. Nothing is ever dropped: a batch is
//! acknowledged when each of its points is stored or its refusal is in the dead letter topic.

pub mod batch;
pub mod dead_letter;
pub mod influxdb;
pub mod line;
pub mod outbox;
mod queue;
pub mod writer;
