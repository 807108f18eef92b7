//! Points in, stored points out: line protocol, batches, the write API and what to do about its refusals.
//!
//! `line` makes bytes of trades and candles, `batch` collects them with their origins, `influxdb` sends one request,
//! `writer` owns what is outstanding: order, retries, bisection, dead letters. Nothing is ever dropped: a batch is
//! acknowledged when each of its points is stored or its refusal is in the dead letter topic.

pub mod batch;
pub mod dead_letter;
pub mod influxdb;
pub mod line;
pub mod writer;
