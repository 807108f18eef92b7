//! Trades, candles, intervals, marks, the Avro binding and the pipeline configuration.
//!
//! Bytes and values in, values out: no I/O, no clock, no async, no randomness.
//! One trade's way: [`avro`] bytes -> [`trade::Trade`] -> [`builder::Builder`] -> [`candle::Candle`].

pub mod avro;
pub mod builder;
pub mod candle;
pub mod checkpoint;
pub mod config;
pub mod decimal;
pub mod interval;
pub mod mark;
pub mod partitioner;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod symbol;
pub mod trade;

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!(
    "planted bugs are for the test of the judge: a build without debug assertions must not have them"
);
