//! Where trades come from: what every exchange is to the producer, and the exchanges.
//!
//! Frames of sockets and pages of history in, [`FeedEvent`]s and [`Page`]s out. All times come from the exchange;
//! the machine's clock is read for `received` and for timers only. Nothing here knows Kafka.

pub mod bitfinex;
pub mod budget;
pub mod limits;

use candles_core::trade::Trade;

/// Index of a symbol in the configuration's list.
pub type SymbolIndex = usize;

/// How far the exchange is with a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `te`: executed, sent at once.
    Executed,
    /// `tu`: stored, sent a second or two later; the same trade.
    Stored,
}

/// Why the flow of a symbol's trades was interrupted: what came meanwhile may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interruption {
    /// The connection is gone.
    Disconnected,
    /// Sequence numbers are missing.
    SequenceHole,
    /// The exchange announced a restart.
    Restart,
    /// The exchange announced maintenance.
    Maintenance,
    /// The subscription ended, or is to be made again.
    Unsubscribed,
}

/// One thing that an exchange's feed said about one symbol, or about a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedEvent {
    /// A live trade, valid by [`Trade::check`] and not from the future.
    Trade {
        /// Of which symbol.
        symbol: SymbolIndex,
        /// Executed or stored.
        stage: Stage,
        /// The trade.
        trade: Trade,
        /// The exchange's time in ms when it sent it.
        server_ms: i64,
    },
    /// The latest trades before the live ones, oldest first: the subscription is in force.
    Snapshot {
        /// Of which symbol.
        symbol: SymbolIndex,
        /// In (time, id) order.
        trades: Vec<Trade>,
        /// The exchange's time in ms when it sent them.
        server_ms: i64,
    },
    /// The symbol's feed is alive and has shown everything before `server_ms`.
    Heartbeat {
        /// Of which symbol.
        symbol: SymbolIndex,
        /// The exchange's time in ms when it sent it.
        server_ms: i64,
    },
    /// Trades of the symbol may have been lost; a snapshot follows when the flow starts again.
    Interrupted {
        /// Of which symbol.
        symbol: SymbolIndex,
        /// Why.
        why: Interruption,
    },
    /// The exchange refuses to serve the symbol; it is asked again from time to time.
    Rejected {
        /// Which symbol.
        symbol: SymbolIndex,
        /// The exchange's code.
        code: i64,
    },
    /// The connection has no room for the symbol: another one must take it.
    NoRoom {
        /// Which symbol.
        symbol: SymbolIndex,
        /// On which connection.
        connection: usize,
    },
    /// Something that is no trade: to be counted and kept for a person to see.
    Invalid(Box<Invalid>),
}

/// What was received in place of a trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Whose channel it came on, if that is known.
    pub symbol: Option<SymbolIndex>,
    /// Which rule it breaks: label of the counter.
    pub reason: InvalidReason,
    /// The rule and the value, for the log and the dead letter.
    pub error: String,
    /// The frame or row as received, cut to a bound.
    pub raw: Vec<u8>,
}

/// Kinds of things that are no trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidReason {
    /// Not a frame of the protocol.
    Frame,
    /// Longer than [`limits::FRAME_BYTES_MAX`], or not UTF-8.
    Oversize,
    /// A row of wrong types or numbers out of range.
    Row,
    /// Price, amount, id or time that cannot be true.
    Value,
    /// Later than the exchange's own clock allows.
    Future,
    /// A channel that nobody subscribed.
    UnknownChannel,
}

/// A request for history: trades of one symbol from `start_ms` on, or, with `newest_first`, up to `end_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRequest {
    /// First ms, inclusive.
    pub start_ms: i64,
    /// Last ms, inclusive; `None`: up to now.
    pub end_ms: Option<i64>,
    /// Newest rows first: the other end of a range that is longer than a page.
    pub newest_first: bool,
}

/// One answer to a [`HistoryRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Valid trades in (time, id) order.
    pub trades: Vec<Trade>,
    /// The answer had as many rows as can be asked for: there may be more.
    pub full: bool,
    /// Rows that were no trades,
    pub invalid: Vec<Invalid>,
    /// and how many more of them there were.
    pub more_invalid: u64,
}

/// Why there is no page, by what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Too many requests: no request of any kind for a while.
    #[error("the exchange limits the rate of requests")]
    RateLimited,
    /// The exchange is in maintenance.
    #[error("the exchange is in maintenance")]
    Maintenance,
    /// Network, time-out, 5xx, an answer that is none.
    #[error("{0}")]
    Failed(String),
}
