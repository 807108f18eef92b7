//! libFuzzer's entry to `candles_workers::fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candles_workers::fuzz::config(data));
