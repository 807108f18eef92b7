//! libFuzzer's entry to `candles_workers::fuzz::sink_error_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candles_workers::fuzz::sink_error_body(data));
