//! Which rows are believed: a row in, a trade or a reason with the raw text out. Pure.

use candles_core::trade::Trade;

use super::{
    frame::{BadRow, FrameError, Row},
    protocol::Output,
};
use crate::exchange::{
    FeedEvent, Invalid, InvalidReason, SymbolIndex,
    limits::{FUTURE_MS_MAX, INVALID_BYTES_MAX, SNAPSHOT_ROWS_MAX},
};

/// Why a row is not believed.
#[derive(Debug)]
pub(super) struct Refusal {
    reason: InvalidReason,
    error: String,
}

impl Refusal {
    pub fn unknown_channel() -> Self {
        Self { reason: InvalidReason::UnknownChannel, error: "channel was never subscribed".into() }
    }

    pub fn snapshot_too_long() -> Self {
        Self {
            reason: InvalidReason::Frame,
            error: format!("snapshot has more than {SNAPSHOT_ROWS_MAX} rows"),
        }
    }

    pub fn into_invalid(self, symbol: Option<SymbolIndex>, raw: &str) -> Invalid {
        let raw = raw.as_bytes()[..raw.len().min(INVALID_BYTES_MAX)].to_vec();
        Invalid { symbol, reason: self.reason, error: self.error, raw }
    }

    pub fn into_event(self, symbol: Option<SymbolIndex>, raw: &str) -> FeedEvent {
        FeedEvent::Invalid(Box::new(self.into_invalid(symbol, raw)))
    }
}

/// A row as a trade that can be true: by itself, and by the exchange's own clock where that is known.
#[inline]
pub(super) fn checked(
    row: Result<Row, BadRow>,
    server_ms: Option<i64>,
    received_us: i64,
) -> Result<Trade, Refusal> {
    let row = row.map_err(|e| Refusal { reason: InvalidReason::Row, error: e.to_string() })?;
    let Row { id, time_ms, amount, price } = row;
    let trade = Trade { id, time_ms, price, amount, received_us };
    trade.check().map_err(|e| Refusal { reason: InvalidReason::Value, error: e.to_string() })?;
    match server_ms {
        Some(server_ms) if time_ms > server_ms + FUTURE_MS_MAX => Err(Refusal {
            reason: InvalidReason::Future,
            error: format!(
                "time {time_ms} ms is more than {FUTURE_MS_MAX} ms after the exchange's own, {server_ms}"
            ),
        }),
        _ => Ok(trade),
    }
}

/// A frame that is none.
#[cold]
pub(super) fn invalid_frame(error: FrameError, text: &str, out: &mut Output) {
    let refusal = Refusal { reason: InvalidReason::Frame, error: error.to_string() };
    out.events.push(refusal.into_event(None, text));
}
