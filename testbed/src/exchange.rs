//! A faithful Bitfinex v2 for tests, the demo and fault runs: public trades over WebSocket and REST, on
//! 127.0.0.1. Enters: a configuration, recordings, what clients say, faults. Leaves: frames and pages as
//! `facts/exchange.md` has them, and the ground truth of every trade that happened.
//! It never talks to a real exchange, and never forgets a trade that it lost on purpose.
//! - Equal seed, equal trades, whatever the clients do. (`same_seed_same_market`)
//! - What is sent is what happened, exactly once. (`truth_equals_what_was_sent`)
//! - Time moves only by its own clock; by hand if the test wants. (`heartbeats_come_by_the_manual_clock`)

mod admin;
mod candles;
mod clock;
mod config;
mod conn;
mod core;
mod decimal;
mod engine;
mod faults;
mod garbage;
mod inject;
mod limits;
mod market;
mod recording;
mod rest;
mod row;
mod session;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod trading;
mod truth;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{ClockMode, Limits, Market, PriceStyle, Recording, SimConfig, SyntheticSymbol};
pub use faults::{CutHow, ExtraIn, Fault, GarbageKind, RestFault, Schedule, TradeFrame};
pub use row::NewTrade;
pub use truth::{TrueTrade, TruthQuery};

use self::core::Core;
use self::market::Range;
use self::recording::Tape;

/// What the listeners, the engine and the handle share.
#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    /// The engine has to look again.
    wake: Notify,
    /// A socket task wrote a batch.
    drained: Notify,
    recording: Option<Arc<Tape>>,
}

impl Shared {
    /// The exchange, alone. Never held across an await.
    fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        act(&mut self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let result = self.with(|core| {
            core.catch_up();
            let result = act(core);
            core.set_speed();
            core.flush();
            result
        });
        self.wake.notify_one();
        result
    }

    fn advance(&self, by_ms: i64) -> i64 {
        self.change(|core| {
            let to = core.at_ms.saturating_add(by_ms.max(0));
            core.run_until(to);
            core.clock.set_ms(to);
            to
        })
    }

    fn trade_until(&self, ms: i64) {
        self.change(|core| core.symbols.iter_mut().for_each(|s| s.stop_at(ms)));
    }

    fn open_market(&self, open: bool) {
        self.change(|core| {
            let next = core.at_ms + 1;
            for symbol in core.symbols.iter_mut().filter(|s| s.listed) {
                if open {
                    symbol.start_at(next);
                } else {
                    symbol.stop_at(next);
                }
            }
        });
    }

    fn pause_clock(&self, paused: bool) {
        self.change(|core| core.clock_paused = paused);
    }

    fn fault(&self, fault: &Fault) -> anyhow::Result<i64> {
        self.change(|core| core.apply(fault).map(|()| core.at_ms))
    }

    fn publish(&self, symbol: &str, trade: &NewTrade) -> anyhow::Result<(i64, i64)> {
        self.change(|core| core.publish(symbol, trade))
    }
}

/// One open connection, as the exchange sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// Counts from 1 in order of opening; what faults name.
    pub conn: u64,
    /// Exchange time of its opening.
    pub opened_ms: i64,
    /// conf flags in force.
    pub flags: u64,
    /// Last sequence number used.
    pub seq: u64,
    /// Frames queued for it, events included.
    pub frames: u64,
    /// Its channels: chanId and symbol.
    pub channels: Vec<(i64, String)>,
}

fn connections_of(shared: &Shared) -> Vec<Connection> {
    shared.with(|core| {
        let channels = |conn: &conn::Conn| {
            conn.channels.iter().map(|(&id, c)| (id, core.symbols[c.symbol].name.to_string())).collect()
        };
        let one = |(&id, c): (&u64, &conn::Conn)| Connection {
            conn: id,
            opened_ms: c.opened_ms,
            flags: c.flags,
            seq: c.seq,
            frames: c.frames_sent,
            channels: channels(c),
        };
        core.conns.iter().map(one).collect()
    })
}

fn truth_of(shared: &Shared, query: &TruthQuery) -> anyhow::Result<Vec<TrueTrade>> {
    shared.with(|core| {
        core.catch_up();
        let range = Range {
            start_ms: query.start_ms.unwrap_or(core.start_ms),
            end_ms: query.end_ms.unwrap_or(core.at_ms),
            limit: query.limit.unwrap_or(truth::QUERY_MAX).min(truth::QUERY_MAX),
            newest_first: false,
            seen_until_ms: core.at_ms,
            holes: false,
        };
        let mut trades = Vec::new();
        for index in core.indexes(query.symbol.as_deref())? {
            let symbol = &core.symbols[index];
            let tell = |row: &row::Row| {
                core.truth.tell(index, &symbol.name, row, symbol.listed && symbol.in_history(row.ms))
            };
            trades.extend(symbol.history(&range).iter().map(tell));
        }
        trades.sort_by_key(|t| (t.ms, t.id));
        Ok(trades)
    })
}

/// A running exchange. Dropping it stops it; [`Simulator::stop`] also waits for its tasks.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    ws_addr: SocketAddr,
    rest_addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Simulator {
    /// Opens both listeners and starts the clock.
    pub async fn start(config: SimConfig) -> anyhow::Result<Self> {
        let machine_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64);
        let ws = listener(config.ws_addr).await?;
        let rest = listener(config.rest_addr).await?;
        let (ws_addr, rest_addr) = (ws.local_addr()?, rest.local_addr()?);
        let recording = config.recording.as_ref().map(Tape::load).transpose()?.map(Arc::new);
        let core = Mutex::new(Core::new(config, machine_ms)?);
        let shared = Arc::new(Shared { core, wake: Notify::new(), drained: Notify::new(), recording });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(engine::run(Arc::clone(&shared), stop.clone()));
        tasks.spawn(socket::listen(Arc::clone(&shared), ws, stop.clone(), tasks.clone()));
        let served = axum::serve(rest, admin::router(Arc::clone(&shared)));
        let until = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            let _ = served.with_graceful_shutdown(until).await;
        });
        Ok(Self { shared, ws_addr, rest_addr, stop, tasks })
    }

    /// Where clients connect their socket: `ws://127.0.0.1:PORT/ws/2`.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws/2", self.ws_addr)
    }

    /// The REST base, `http://127.0.0.1:PORT/v2`. Paths such as `/trades/tBTCUSD/hist` follow it.
    pub fn rest_url(&self) -> String {
        format!("http://{}/v2", self.rest_addr)
    }

    /// The admin base, `http://127.0.0.1:PORT/sim`.
    pub fn admin_url(&self) -> String {
        format!("http://{}/sim", self.rest_addr)
    }

    /// The exchange's time.
    pub fn clock_ms(&self) -> i64 {
        self.shared.change(|core| core.at_ms)
    }

    /// Moves the exchange's clock forward; everything due meanwhile happens at its own time and is on
    /// its way to the clients when this returns. Returns the new time.
    pub fn advance(&self, by: Duration) -> i64 {
        self.shared.advance(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
    }

    /// Stops the exchange's clock: no trades, no heartbeats. `advance` still works.
    pub fn pause_clock(&self) {
        self.shared.pause_clock(true);
    }

    /// Lets the clock run on.
    pub fn resume_clock(&self) {
        self.shared.pause_clock(false);
    }

    /// No further trades, heartbeats go on.
    pub fn pause_market(&self) {
        self.shared.open_market(false);
    }

    /// Trades again from now on; what a market would have traded meanwhile never happened.
    pub fn resume_market(&self) {
        self.shared.open_market(true);
    }

    /// No trade at or after this exchange time; heartbeats go on.
    pub fn trade_until(&self, ms: i64) {
        self.shared.trade_until(ms);
    }

    /// Makes a trade happen now. Returns its id and time.
    pub fn publish(&self, symbol: &str, trade: &NewTrade) -> anyhow::Result<(i64, i64)> {
        self.shared.publish(symbol, trade)
    }

    /// Carries out a fault now. Returns the exchange time.
    pub fn fault(&self, fault: &Fault) -> anyhow::Result<i64> {
        self.shared.fault(fault)
    }

    /// Every fault so far, with its exchange time.
    pub fn faults(&self) -> Vec<(i64, Fault)> {
        self.shared.with(|core| core.fault_log.clone())
    }

    /// Every trade that happened since the start, by (time, id), whether or not anybody got it.
    pub fn truth(&self) -> Vec<TrueTrade> {
        self.truth_of(&TruthQuery::default()).unwrap_or_default()
    }

    /// Trades that happened, history from before the start included if asked for.
    pub fn truth_of(&self, query: &TruthQuery) -> anyhow::Result<Vec<TrueTrade>> {
        truth_of(&self.shared, query)
    }

    /// How many trades happened since the start.
    pub fn trades_happened(&self) -> u64 {
        self.shared.change(|core| core.truth.happened)
    }

    /// The open connections.
    pub fn connections(&self) -> Vec<Connection> {
        connections_of(&self.shared)
    }

    /// Ends all connections and waits for every task.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        // Slow REST answers are the only thing that may outlast the stop signal.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
        self.shared.with(Core::flush);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listener(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("listen on {addr}"))
}
