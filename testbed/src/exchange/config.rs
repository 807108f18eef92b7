//! What a caller may set. Everything has a default that behaves like the real exchange; limits and
//! delays are in exchange time, so they hold in accelerated and manual time too.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::faults::Schedule;

/// How the exchange's own clock moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClockMode {
    /// That many exchange seconds per second. `1.0` is real time.
    Speed(f64),
    /// Only by [`super::Simulator::advance`].
    Manual,
    /// From trade to trade as fast as the sockets take them; real time once nothing trades any more.
    Max,
}

/// The shape of a synthetic symbol's prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceStyle {
    /// One of the others, from the seed.
    Any,
    /// Around 60123.4, one decimal.
    Large,
    /// Around 1500, no decimals.
    Integer,
    /// Around 0.076989.
    Small,
    /// Around 1.23456789.
    Precise,
    /// Around 3e-8, in steps of 1e-8.
    Tiny,
}

/// A seeded market of one symbol.
#[derive(Debug, Clone)]
pub struct SyntheticSymbol {
    /// `tBTCUSD`, `tAVAX:USD`, ...
    pub symbol: String,
    /// Mean trades per second of exchange time, clamped to 1e-4..1e6.
    pub trades_per_s: f64,
    /// Shape of the prices.
    pub price: PriceStyle,
    /// How many of 1,000 trades arrive 1 to 4 ms after their time, and so out of id order.
    pub disorder_permille: u16,
}

impl SyntheticSymbol {
    /// A market of this symbol and rate, with prices of any shape and 1 % of arrivals out of order.
    pub fn new(symbol: &str, trades_per_s: f64) -> Self {
        Self { symbol: symbol.into(), trades_per_s, price: PriceStyle::Any, disorder_permille: 10 }
    }
}

/// Where a symbol's trades come from.
#[derive(Debug, Clone)]
pub enum Market {
    /// A seeded function of time, with history of any depth.
    Synthetic(SyntheticSymbol),
    /// The trades of a `trades.json.gz` (rows `[ms, id, null, side, price, amount, cost]`).
    Recorded {
        /// The symbol they are served as.
        symbol: String,
        /// The file.
        path: PathBuf,
        /// Added to every time.
        shift_ms: i64,
    },
    /// No trade except those of [`super::Simulator::publish`].
    Quiet(String),
}

/// Plays one recorded connection verbatim to every client instead of simulating.
#[derive(Debug, Clone)]
pub struct Recording {
    /// A capture: received lines are `epoch: frame`.
    pub path: PathBuf,
    /// Recorded pace times this; `None`: as fast as the socket takes it.
    pub speed: Option<f64>,
    /// Frames after the first wait for the client's first message.
    pub wait_for_client: bool,
}

/// The exchange's limits; `0` switches one off.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections per minute; beyond it the upgrade is answered with 429.
    pub connects_per_min: u32,
    /// Channels per connection; beyond it error 10305.
    pub channels: usize,
    /// Requests per minute to `/v2/trades/..`.
    pub trades_per_min: u32,
    /// Requests per minute to `/v2/candles/..`, to `/v2/platform/status` and to `/v2/conf/..`, each.
    pub others_per_min: u32,
    /// Requests per minute to `/v2/tickers`.
    pub tickers_per_min: u32,
    /// How long a breach blocks every REST call.
    pub block_ms: i64,
    /// Rows of one history page at most.
    pub page_rows: usize,
    /// Rows of a history page without `limit`.
    pub page_rows_default: usize,
    /// Measure the minutes by the wall clock instead of the exchange's (always so with
    /// [`ClockMode::Max`]).
    pub wall_clock: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connects_per_min: 20,
            channels: 25,
            trades_per_min: 15,
            others_per_min: 30,
            tickers_per_min: 90,
            block_ms: 60_000,
            page_rows: 10_000,
            page_rows_default: 125,
            wall_clock: false,
        }
    }
}

impl Limits {
    /// No limit on requests and connections; channels and page sizes stay.
    pub fn without_rates() -> Self {
        Self {
            connects_per_min: 0,
            trades_per_min: 0,
            others_per_min: 0,
            tickers_per_min: 0,
            ..Self::default()
        }
    }
}

/// Everything about one simulated exchange.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Seed of every market, delay and fault that is not given.
    pub seed: u64,
    /// The listed symbols.
    pub markets: Vec<Market>,
    /// How the clock moves.
    pub clock: ClockMode,
    /// Exchange time at start, ms since 1970; `None`: the machine's time.
    pub start_ms: Option<i64>,
    /// The clock (and with it every trade) waits until so many trades channels have been opened.
    pub hold_until_channels: usize,
    /// No trade at or after this exchange time; heartbeats go on.
    pub trade_until_ms: Option<i64>,
    /// Rows of a snapshot.
    pub snapshot_rows: usize,
    /// Delay of a `tu` after its `te`: least and most, exchange ms.
    pub tu_delay_ms: (i64, i64),
    /// Heartbeats come at every multiple of this plus the phase, to all channels at once.
    pub heartbeat_ms: i64,
    /// See `heartbeat_ms`. The recording's is 7,784.
    pub heartbeat_phase_ms: i64,
    /// Only channels without data for one period get a heartbeat. The recording says otherwise: false.
    pub heartbeat_quiet_only: bool,
    /// Time from `subscribe` to `subscribed`; heartbeats come meanwhile, as recorded.
    pub subscribe_delay_ms: i64,
    /// REST shows trades only so long after they happened.
    pub history_lag_ms: i64,
    /// Code of the error for an unknown symbol (docs say 10001).
    pub unknown_symbol_code: u32,
    /// Limits of the exchange.
    pub limits: Limits,
    /// A client that leaves so many bytes unread is cut.
    pub unread_bytes_max: usize,
    /// Connections open at once; further ones are refused.
    pub connections_max: usize,
    /// Seeded faults while it runs.
    pub schedule: Option<Schedule>,
    /// Every trade that happens, as JSON lines.
    pub truth_log: Option<PathBuf>,
    /// Play a recorded connection instead of simulating the socket.
    pub recording: Option<Recording>,
    /// Where the socket listens. Port 0: a free one.
    pub ws_addr: SocketAddr,
    /// Where REST and the admin endpoints listen. Port 0: a free one.
    pub rest_addr: SocketAddr,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            markets: Vec::new(),
            clock: ClockMode::Speed(1.0),
            start_ms: None,
            hold_until_channels: 0,
            trade_until_ms: None,
            snapshot_rows: 30,
            tu_delay_ms: (1_000, 2_000),
            heartbeat_ms: 15_000,
            heartbeat_phase_ms: 7_784,
            heartbeat_quiet_only: false,
            subscribe_delay_ms: 0,
            history_lag_ms: 0,
            unknown_symbol_code: 10_001,
            limits: Limits::default(),
            unread_bytes_max: 64 << 20,
            connections_max: 1_000,
            schedule: None,
            truth_log: None,
            recording: None,
            ws_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            rest_addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

impl SimConfig {
    /// An exchange at `start_ms` whose clock only tests move.
    pub fn manual(start_ms: i64) -> Self {
        Self { clock: ClockMode::Manual, start_ms: Some(start_ms), ..Self::default() }
    }

    /// The same with a seeded market of each symbol.
    #[must_use]
    pub fn synthetic(mut self, symbols: &[&str], trades_per_s: f64) -> Self {
        let new = symbols.iter().map(|s| Market::Synthetic(SyntheticSymbol::new(s, trades_per_s)));
        self.markets.extend(new);
        self
    }

    /// The same with symbols that trade only by hand.
    #[must_use]
    pub fn quiet(mut self, symbols: &[&str]) -> Self {
        self.markets.extend(symbols.iter().map(|s| Market::Quiet((*s).into())));
        self
    }

    /// The same with recorded trades served as `symbol` at their own times.
    #[must_use]
    pub fn recorded(mut self, symbol: &str, path: impl Into<PathBuf>) -> Self {
        self.markets.push(Market::Recorded { symbol: symbol.into(), path: path.into(), shift_ms: 0 });
        self
    }
}
