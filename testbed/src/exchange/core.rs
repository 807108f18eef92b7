//! The exchange itself: one owner of all state, synchronous. Time moves only through `run_until`; every
//! event up to then happens in (time, order of planning), so equal inputs give equal frames.
//! It never waits and never does network I/O; sockets are fed through `Conn`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use super::clock::Clock;
use super::config::{ClockMode, Market, SimConfig};
use super::conn::{Conn, Kind, Moment};
use super::faults::{ExtraIn, Fates, Fault, PendingFaults};
use super::limits::{RestLimits, Window};
use super::market::{IdSpace, Replay, Source, Symbol, Synthetic, load_binance};
use super::row::Row;
use super::truth::Truth;

/// Something due.
#[derive(Debug)]
pub(crate) enum Event {
    /// Ask the symbol's source for its next chunk.
    Refill(usize),
    Trade(usize, Box<Row>, Told),
    Update {
        symbol: usize,
        id: i64,
        row: Arc<str>,
        fates: Fates,
    },
    Heartbeat,
    Confirm {
        conn: u64,
        chan: i64,
    },
    SilenceEnds(u64),
    MaintenanceEnds(u64),
    Scheduled(u64, Fault),
}

/// Whether a trade is in the truth already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    No,
    Yes,
}

#[derive(Debug)]
struct Due {
    ms: i64,
    serial: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.ms, self.serial) == (other.ms, other.serial)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ms, self.serial).cmp(&(other.ms, other.serial))
    }
}

/// Faults in force that last.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    pub trade: PendingFaults,
    /// Connections accepted until then are mute.
    pub silent_until_ms: Option<i64>,
    pub maintenance: Option<Maintenance>,
    pub refuse: Option<super::inject::Refuse>,
    pub rest: Vec<super::inject::RestTrouble>,
    pub extra_rows: bool,
    pub extra_frames: ExtraIn,
    /// Bytes and real ms per portion.
    pub trickle: Option<(usize, u64)>,
}

#[derive(Debug)]
pub(crate) struct Maintenance {
    pub serial: u64,
    pub halted: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub config: SimConfig,
    pub clock: Clock,
    /// Everything up to here has happened.
    pub at_ms: i64,
    pub start_ms: i64,
    pub symbols: Vec<Symbol>,
    pub by_name: HashMap<Arc<str>, usize>,
    pub conns: BTreeMap<u64, Conn>,
    /// Open trades channels of each symbol: (connection, chanId).
    pub subs: Vec<Vec<(u64, i64)>>,
    pub faults: Lasting,
    pub fault_log: Vec<(i64, Fault)>,
    pub truth: Truth,
    pub connects: Window,
    pub rest_limits: RestLimits,
    pub wall: std::time::Instant,
    pub clock_paused: bool,
    pub trades_channels_opened: usize,
    pub conns_opened: u64,
    /// How many maintenances began; tells one from the next.
    pub maintenances: u64,
    heap: BinaryHeap<Reverse<Due>>,
    serial: u64,
    /// Planned events from which trades may come.
    sourced: usize,
    pub ids: IdSpace,
    /// Last id given to a published trade, and how much lower than usual such ids are.
    pub published_id: i64,
    pub published_shift: i64,
}

impl Core {
    pub fn new(config: SimConfig, machine_ms: i64) -> anyhow::Result<Self> {
        let start_ms = config.start_ms.unwrap_or(machine_ms);
        ensure!(config.heartbeat_ms > 0, "heartbeat_ms: {} is not positive", config.heartbeat_ms);
        let rate = |m: &Market| if let Market::Synthetic(s) = m { s.trades_per_s } else { 0.0 };
        let ids =
            IdSpace::new(config.markets.len(), config.markets.iter().map(rate).fold(1.0, f64::max).min(1e6));
        let mut core = Self {
            clock: Clock::new(start_ms, 0.0),
            at_ms: start_ms,
            start_ms,
            symbols: Vec::new(),
            by_name: HashMap::new(),
            conns: BTreeMap::new(),
            subs: Vec::new(),
            faults: Lasting::default(),
            fault_log: Vec::new(),
            truth: Truth::new(config.truth_log.as_deref())?,
            connects: Window::new(config.limits.connects_per_min),
            rest_limits: RestLimits::new(&config.limits),
            wall: std::time::Instant::now(),
            clock_paused: false,
            trades_channels_opened: 0,
            conns_opened: 0,
            maintenances: 0,
            heap: BinaryHeap::new(),
            serial: 0,
            sourced: 0,
            ids,
            published_id: i64::MIN,
            published_shift: 0,
            config,
        };
        core.list_symbols()?;
        core.plan_heartbeat();
        core.plan_fault(0, start_ms);
        core.set_speed();
        Ok(core)
    }

    fn list_symbols(&mut self) -> anyhow::Result<()> {
        for market in self.config.markets.clone() {
            let index = self.symbols.len();
            let (name, source) = match market {
                Market::Synthetic(mut s) => {
                    s.trades_per_s =
                        if s.trades_per_s.is_finite() { s.trades_per_s.clamp(1e-4, 1e6) } else { 1.0 };
                    let source = Synthetic::new(self.config.seed, index, &s, self.ids);
                    (s.symbol, Source::Synthetic(source))
                }
                Market::Recorded { symbol, path, shift_ms } => {
                    (symbol, Source::Replay(Replay::new(load_binance(&path)?, shift_ms)))
                }
                Market::Quiet(symbol) => (symbol, Source::Quiet),
            };
            let legal = |c: char| c.is_ascii_alphanumeric() || c == ':';
            ensure!(
                name.len() > 1 && name.len() <= 64 && name.chars().all(legal),
                "symbol {name:?}: not [A-Za-z0-9:]"
            );
            let mut symbol = Symbol::new(&name, source, self.start_ms);
            if let Some(until) = self.config.trade_until_ms {
                symbol.stop_at(until);
            }
            if self.by_name.insert(Arc::clone(&symbol.name), index).is_some() {
                bail!("symbol {name:?}: listed twice");
            }
            self.symbols.push(symbol);
            self.subs.push(Vec::new());
            self.plan(self.start_ms, Event::Refill(index));
        }
        Ok(())
    }

    pub fn plan(&mut self, ms: i64, event: Event) -> u64 {
        self.serial += 1;
        self.sourced += usize::from(matches!(event, Event::Refill(_) | Event::Trade(..)));
        self.heap.push(Reverse(Due { ms: ms.max(self.at_ms), serial: self.serial, event }));
        self.serial
    }

    fn plan_heartbeat(&mut self) {
        let (every, phase) = (self.config.heartbeat_ms, self.config.heartbeat_phase_ms);
        let next = self.at_ms + every - (self.at_ms - phase).rem_euclid(every);
        self.plan(next, Event::Heartbeat);
    }

    pub fn plan_fault(&mut self, nth: u64, after_ms: i64) {
        if let Some((at, fault)) = self.config.schedule.as_ref().and_then(|s| s.draw(nth, after_ms)) {
            self.plan(at, Event::Scheduled(nth, fault));
        }
    }

    pub fn next_due_ms(&self) -> Option<i64> {
        self.heap.peek().map(|due| due.0.ms)
    }

    /// Lets happen what is due until `to_ms`.
    pub fn run_until(&mut self, to_ms: i64) {
        while let Some(due) = self.heap.peek()
            && due.0.ms <= to_ms
        {
            let Some(Reverse(due)) = self.heap.pop() else { break };
            self.at_ms = self.at_ms.max(due.ms);
            self.happen(due.event);
        }
        self.at_ms = self.at_ms.max(to_ms);
    }

    /// Jumps from event to event until the budget is used up; the ms of the last one is complete.
    pub fn jump(&mut self, budget: usize) {
        let mut left = budget;
        while left > 0 && self.jumps() {
            let Some(next) = self.next_due_ms() else { break };
            self.run_until(next);
            left -= 1;
        }
        self.clock.set_ms(self.at_ms);
    }

    /// Brings the exchange to its clock's present.
    pub fn catch_up(&mut self) {
        self.run_until(self.clock.now_ms());
    }

    /// Hands what was sent to the sockets and to the log.
    pub fn flush(&mut self) {
        self.conns.values_mut().for_each(Conn::flush);
        self.truth.flush();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Refill(symbol) => {
                self.sourced -= 1;
                self.refill(symbol);
            }
            Event::Trade(symbol, row, told) => {
                self.sourced -= 1;
                if told == Told::Yes {
                    self.trade(symbol, *row, told);
                } else if self.symbols[symbol].traded_at(row.ms) {
                    self.trade(symbol, self.symbols[symbol].admit(*row), told);
                }
            }
            Event::Update { symbol, id, row, fates } => self.deliver(symbol, id, "tu", &row, fates),
            Event::Heartbeat => {
                self.heartbeat();
                self.plan_heartbeat();
            }
            Event::Confirm { conn, chan } => self.confirm(conn, chan),
            Event::SilenceEnds(conn) => self.end_silence(conn),
            Event::MaintenanceEnds(serial) => self.end_maintenance(serial),
            Event::Scheduled(nth, fault) => {
                if let Err(error) = self.apply(&fault) {
                    tracing::warn!(%error, "scheduled fault refused");
                }
                self.plan_fault(nth + 1, self.at_ms);
            }
        }
    }

    pub fn moment(&self) -> Moment {
        Moment { at_ms: self.at_ms, extra: self.faults.extra_frames }
    }

    pub fn extra_row(&self) -> &'static str {
        if self.faults.extra_rows { ",\"new\"" } else { "" }
    }

    pub fn index(&self, symbol: &str) -> anyhow::Result<usize> {
        self.by_name.get(symbol).copied().with_context(|| format!("symbol {symbol:?} is not listed here"))
    }

    /// The symbols that a fault names: one, or all.
    pub fn indexes(&self, symbol: Option<&str>) -> anyhow::Result<Vec<usize>> {
        match symbol {
            Some(name) => Ok(vec![self.index(name)?]),
            None => Ok((0..self.symbols.len()).collect()),
        }
    }

    /// Jumping from event to event is on.
    pub fn jumps(&self) -> bool {
        self.config.clock == ClockMode::Max && !self.stands() && self.may_trade()
    }

    fn stands(&self) -> bool {
        self.clock_paused || self.trades_channels_opened < self.held_for()
    }

    fn held_for(&self) -> usize {
        let least = usize::from(self.config.clock == ClockMode::Max);
        self.config.hold_until_channels.max(least)
    }

    fn may_trade(&self) -> bool {
        self.sourced > 0 && self.symbols.iter().any(|s| s.trades_after(self.at_ms))
    }

    /// Sets the clock's pace from what holds now.
    pub fn set_speed(&mut self) {
        let speed = match self.config.clock {
            _ if self.stands() => 0.0,
            ClockMode::Manual => 0.0,
            ClockMode::Speed(speed) => speed.max(0.0),
            ClockMode::Max if self.jumps() => 0.0,
            ClockMode::Max => 1.0,
        };
        self.clock.set_speed(speed);
    }

    /// The time that limits are measured by.
    pub fn limits_ms(&self) -> i64 {
        if self.config.limits.wall_clock || self.config.clock == ClockMode::Max {
            self.wall.elapsed().as_millis() as i64
        } else {
            self.at_ms
        }
    }

    /// Trades channel opened: the clock may have waited for it.
    pub fn count_channel(&mut self, kind: Kind) {
        if kind == Kind::Trades {
            self.trades_channels_opened += 1;
            self.set_speed();
        }
    }
}
