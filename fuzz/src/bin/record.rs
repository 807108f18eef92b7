//! libFuzzer's entry to `candles_workers::fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candles_workers::fuzz::record(data));
