//! libFuzzer's entry to `candles_workers::fuzz::history_page`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| candles_workers::fuzz::history_page(data));
