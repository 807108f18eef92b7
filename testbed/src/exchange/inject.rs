//! Carries out faults on the exchange's state. What each one means is documented at `Fault`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, ensure};

use super::conn::{Conn, Kind};
use super::core::{Core, Event, Lasting, Maintenance};
use super::faults::{CutHow, Fate, Fault, GarbageKind, Pending, RestFault, Want};
use super::market::Range;

/// Faults remembered for the admin endpoint.
const LOG_MAX: usize = 100_000;
/// Garbage frames of one fault at most.
const GARBAGE_MAX: u32 = 10_000;
/// History holes of one symbol at most.
const HOLES_MAX: usize = 10_000;
/// REST faults in force at once; the oldest goes first.
const REST_MAX: usize = 100;

/// For how long something goes on: a number of times, or until an exchange time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub left: Option<u32>,
    pub until_ms: Option<i64>,
}

impl Span {
    fn new(count: Option<u32>, for_ms: Option<i64>, now: i64) -> Self {
        let count = if count.is_none() && for_ms.is_none() { Some(1) } else { count };
        Self { left: count, until_ms: for_ms.map(|ms| now.saturating_add(ms)) }
    }

    pub fn over(&self, now: i64) -> bool {
        self.left == Some(0) || self.until_ms.is_some_and(|until| now >= until)
    }

    /// Uses it once, unless it is over.
    pub fn take(&mut self, now: i64) -> bool {
        if self.over(now) {
            return false;
        }
        self.left = self.left.map(|n| n - 1);
        true
    }
}

#[derive(Debug)]
pub(crate) struct Refuse {
    span: Span,
    how: CutHow,
}

#[derive(Debug)]
pub(crate) struct RestTrouble {
    pub span: Span,
    pub kind: RestFault,
    pub path: Option<String>,
    pub slow_ms: u64,
}

impl Conn {
    pub fn set_trickle(&mut self, bytes: usize, every_ms: u64) {
        self.shared.trickle_bytes.store(bytes, Ordering::Relaxed);
        self.shared.trickle_ms.store(every_ms.clamp(1, 60_000) as usize, Ordering::Relaxed);
    }
}

impl Core {
    /// Carries out a fault now. An error means that nothing was done.
    pub fn apply(&mut self, fault: &Fault) -> anyhow::Result<()> {
        self.apply_inner(fault)?;
        tracing::debug!(at_ms = self.at_ms, ?fault, "fault");
        if self.fault_log.len() < LOG_MAX {
            self.fault_log.push((self.at_ms, fault.clone()));
        }
        self.set_speed();
        self.flush();
        Ok(())
    }

    fn apply_inner(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let now = self.at_ms;
        match fault {
            Fault::Cut { conn, how } => self.each_conn(*conn, |c| c.end(*how))?,
            Fault::Silence { conn, for_ms } => self.silence(*conn, *for_ms)?,
            Fault::Lose { frame, symbol, conn, count } => {
                self.pend(Want::Lose(*frame), symbol.as_deref(), *conn, *count)?;
            }
            Fault::Omit { frame, symbol, conn, count } => {
                self.pend(Want::Omit(*frame), symbol.as_deref(), *conn, *count)?;
            }
            Fault::Duplicate { frame, symbol, count, same_seq } => {
                self.pend(Want::Duplicate(*frame, *same_seq), symbol.as_deref(), None, *count)?;
            }
            Fault::Reorder { within_ms, symbol, count } => {
                self.pend(Want::Reorder(*within_ms), symbol.as_deref(), None, *count)?;
            }
            Fault::Delay { by_ms, symbol, count } => {
                self.pend(Want::Delay(*by_ms), symbol.as_deref(), None, *count)?;
            }
            Fault::Garbage { kind, symbol, count, replace: true } => {
                self.pend(Want::Garbage(*kind), symbol.as_deref(), None, *count)?;
            }
            Fault::Garbage { kind, symbol, count, replace: false } => {
                self.insert_garbage(*kind, symbol.as_deref(), *count)?;
            }
            Fault::OldSnapshot { symbol, age_ms } => self.old_snapshot(symbol.as_deref(), *age_ms)?,
            Fault::Info { code } => self.info(*code),
            Fault::Maintenance { for_ms, halt } => self.begin_maintenance(*for_ms, *halt),
            Fault::Refuse { count, for_ms, how } => {
                self.faults.refuse = Some(Refuse { span: Span::new(*count, *for_ms, now), how: *how });
            }
            Fault::Rest { kind, count, for_ms, path, slow_ms } => self.rest_trouble(RestTrouble {
                span: Span::new(*count, *for_ms, now),
                kind: *kind,
                path: path.clone(),
                slow_ms: slow_ms.unwrap_or(1_000).min(120_000),
            }),
            Fault::ExtraElements { rows, frames } => {
                self.faults.extra_rows = *rows;
                self.faults.extra_frames = *frames;
            }
            Fault::Trickle { conn, bytes, every_ms } => self.trickle(*conn, *bytes, *every_ms)?,
            Fault::SubscribeDelay { delay_ms } => self.config.subscribe_delay_ms = *delay_ms,
            Fault::HistoryLag { lag_ms } => self.config.history_lag_ms = *lag_ms,
            Fault::Heal => self.heal(),
            market => self.apply_to_market(market)?,
        }
        Ok(())
    }

    fn apply_to_market(&mut self, fault: &Fault) -> anyhow::Result<()> {
        let next = self.at_ms + 1;
        match fault {
            Fault::HistoryHole { symbol, start_ms, end_ms } => {
                for i in self.indexes(symbol.as_deref())? {
                    ensure!(self.symbols[i].holes.len() < HOLES_MAX, "more than {HOLES_MAX} history holes");
                    self.symbols[i].holes.push((*start_ms, *end_ms));
                    self.truth.hole(&self.symbols[i].name, *start_ms, *end_ms);
                }
            }
            Fault::Delist { symbol } | Fault::Halt { symbol } => {
                let i = self.index(symbol)?;
                self.symbols[i].stop_at(next);
                self.symbols[i].listed &= !matches!(fault, Fault::Delist { .. });
            }
            Fault::Relist { symbol } | Fault::Resume { symbol } => {
                let i = self.index(symbol)?;
                ensure!(self.symbols[i].start_at(next), "symbol {symbol}: too many trading intervals");
                self.symbols[i].listed |= matches!(fault, Fault::Relist { .. });
            }
            Fault::IdReset { base } => {
                self.reset_published_ids(next, *base);
                self.symbols.iter_mut().for_each(|s| s.reset_ids(next, *base));
            }
            other => anyhow::bail!("{other:?} is no fault of a market"),
        }
        Ok(())
    }

    fn each_conn(&mut self, only: Option<u64>, mut act: impl FnMut(&mut Conn)) -> anyhow::Result<()> {
        match only {
            Some(id) => {
                let conn = self.conns.get_mut(&id).with_context(|| format!("connection {id} is not open"))?;
                act(conn);
            }
            None => self.conns.values_mut().for_each(act),
        }
        Ok(())
    }

    fn pend(
        &mut self,
        what: Want,
        symbol: Option<&str>,
        conn: Option<u64>,
        count: u32,
    ) -> anyhow::Result<()> {
        let symbol = match symbol {
            Some(name) => Some(Arc::clone(&self.symbols[self.index(name)?].name)),
            None => None,
        };
        if count > 0 {
            self.faults.trade.push(Pending { what, symbol, conn, left: count });
        }
        Ok(())
    }

    fn silence(&mut self, conn: Option<u64>, for_ms: i64) -> anyhow::Result<()> {
        let until = self.at_ms.saturating_add(for_ms.max(0));
        self.each_conn(conn, |c| {
            c.flush();
            c.silent_until_ms = c.silent_until_ms.max(until);
            c.shared.silent.store(true, Ordering::Relaxed);
            c.wake();
        })?;
        if conn.is_none() {
            self.faults.silent_until_ms = Some(until);
        }
        let ids: Vec<u64> = conn.map_or_else(|| self.conns.keys().copied().collect(), |id| vec![id]);
        for id in ids {
            self.plan(until, Event::SilenceEnds(id));
        }
        Ok(())
    }

    /// Lets a connection speak again, unless a later silence holds it.
    pub fn end_silence(&mut self, id: u64) {
        let now = self.at_ms;
        if let Some(conn) = self.conns.get_mut(&id).filter(|c| c.silent_until_ms <= now) {
            conn.shared.silent.store(false, Ordering::Relaxed);
            conn.wake();
        }
    }

    /// The open trades channels of one symbol or all: (symbol, connection, chanId).
    fn trades_channels(&self, symbol: Option<&str>) -> anyhow::Result<Vec<(usize, u64, i64)>> {
        let indexes = self.indexes(symbol)?;
        Ok(indexes
            .into_iter()
            .flat_map(|i| self.subs[i].iter().map(move |&(conn, chan)| (i, conn, chan)))
            .collect())
    }

    fn insert_garbage(&mut self, kind: GarbageKind, symbol: Option<&str>, count: u32) -> anyhow::Result<()> {
        let moment = self.moment();
        for (index, conn, chan) in self.trades_channels(symbol)? {
            // An id of its own: a client that believed the frame would show a trade nobody made.
            let row = format!("[{},{},1.5,{}]", 7_000_000_000_i64 + index as i64, moment.at_ms, 4321);
            let Some(conn) = self.conns.get_mut(&conn) else { continue };
            (0..count.min(GARBAGE_MAX)).for_each(|_| conn.insert_garbage(kind, chan, &row, moment));
        }
        Ok(())
    }

    fn old_snapshot(&mut self, symbol: Option<&str>, age_ms: i64) -> anyhow::Result<()> {
        let moment = self.moment();
        for (index, conn, chan) in self.trades_channels(symbol)? {
            let snapshot = self.snapshot(Kind::Trades, index, moment.at_ms.saturating_sub(age_ms));
            if let Some(conn) = self.conns.get_mut(&conn) {
                conn.array(chan, "", &snapshot, moment, Fate::Send);
            }
        }
        Ok(())
    }

    fn info(&mut self, code: u32) {
        let text = match code {
            20_051 => "Stop/Restart Websocket Server (please reconnect)",
            20_060 => {
                "Entering in Maintenance mode. Please pause any activity and resume after receiving 20061"
            }
            20_061 => "Maintenance ended. You can resume normal activity.",
            _ => "info",
        };
        let event = format!(r#"{{"event":"info","code":{code},"msg":"{text}"}}"#);
        self.conns.values_mut().for_each(|c| c.event(event.clone()));
    }

    fn begin_maintenance(&mut self, for_ms: i64, halt: bool) {
        self.info(20_060);
        let now = self.at_ms;
        let mut halted = self.faults.maintenance.take().map(|m| m.halted).unwrap_or_default();
        if halt {
            let open = (0..self.symbols.len()).filter(|&i| self.symbols[i].traded_at(now + 1));
            let open: Vec<usize> = open.collect();
            for &i in &open {
                self.symbols[i].stop_at(now + 1);
            }
            halted.extend(open);
        }
        self.maintenances += 1;
        let serial = self.maintenances;
        self.plan(now.saturating_add(for_ms.max(0)), Event::MaintenanceEnds(serial));
        self.faults.maintenance = Some(Maintenance { serial, halted });
    }

    pub fn end_maintenance(&mut self, serial: u64) {
        let Some(over) = self.faults.maintenance.take_if(|m| m.serial == serial) else { return };
        for i in over.halted {
            self.symbols[i].start_at(self.at_ms + 1);
        }
        self.conns.values_mut().flat_map(|c| c.channels.values_mut()).for_each(|c| c.stale = true);
        self.info(20_061);
    }

    fn rest_trouble(&mut self, trouble: RestTrouble) {
        let now = self.at_ms;
        self.faults.rest.retain(|t| !t.span.over(now));
        if self.faults.rest.len() >= REST_MAX {
            self.faults.rest.remove(0);
        }
        self.faults.rest.push(trouble);
    }

    fn trickle(&mut self, conn: Option<u64>, bytes: usize, every_ms: u64) -> anyhow::Result<()> {
        if conn.is_none() {
            self.faults.trickle = (bytes > 0).then_some((bytes, every_ms));
        }
        self.each_conn(conn, |c| c.set_trickle(bytes, every_ms))
    }

    /// Whether this connection attempt is refused by a fault.
    pub fn refusal(&mut self) -> Option<CutHow> {
        let now = self.at_ms;
        let refuse = self.faults.refuse.as_mut()?;
        refuse.span.take(now).then_some(refuse.how)
    }

    fn heal(&mut self) {
        if let Some(maintenance) = &self.faults.maintenance {
            self.end_maintenance(maintenance.serial);
        }
        self.faults = Lasting::default();
        for conn in self.conns.values_mut() {
            conn.silent_until_ms = i64::MIN;
            conn.shared.silent.store(false, Ordering::Relaxed);
            conn.set_trickle(0, 1);
            conn.wake();
        }
        self.config.subscribe_delay_ms = 0;
    }

    /// What a history query may see, with the lag in force.
    pub fn history_range(&self, start_ms: i64, end_ms: i64, limit: usize, newest_first: bool) -> Range {
        let seen = self.at_ms.saturating_sub(self.config.history_lag_ms.max(0));
        Range { start_ms, end_ms, limit, newest_first, seen_until_ms: seen, holes: true }
    }
}
