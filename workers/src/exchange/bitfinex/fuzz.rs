//! Fuzz targets of what Bitfinex sends; see `workers/src/fuzz.rs`.

use std::time::Instant;

use candles_core::symbol::Symbol;
use reqwest::StatusCode;

use super::{
    frame::{self, Frame},
    protocol::{Output, Protocol},
    rest,
};
use crate::exchange::{HistoryError, Page};

/// Frames of one connection, one a line: understood one by one, and by a connection's state.
pub fn frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let now = Instant::now();
    let symbols =
        [(0, Symbol::new("tBTCUSD").expect("a symbol")), (1, Symbol::new("tETHUSD").expect("a symbol"))];
    let mut protocol = Protocol::new(1, &symbols, now);
    let mut output = Output::default();
    for line in text.lines() {
        if let Ok(Frame::Data { payload, .. }) = frame::parse(line) {
            let _ = frame::rows(payload);
        }
        protocol.on_text(line, 0, now, &mut output);
        protocol.on_tick(now, &mut output);
    }
}

/// The answer to a request for history; the first byte is the status.
pub fn history_page(data: &[u8]) {
    let Some((status, body)) = data.split_first() else { return };
    let status = [200, 429, 500, 503][usize::from(*status) % 4];
    let status = StatusCode::from_u16(status).expect("a status");
    match rest::parse(status, body, 100, 0, Some(1_767_225_600_000)) {
        Ok(Page { trades, .. }) => {
            assert!(status.is_success(), "a page with status {status}");
            assert!(trades.is_sorted_by_key(candles_core::trade::Trade::order));
            assert!(trades.iter().all(|trade| trade.check().is_ok()));
        }
        Err(HistoryError::RateLimited | HistoryError::Maintenance | HistoryError::Failed(_)) => {}
    }
}
