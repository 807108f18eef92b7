//! From a market's rows to frames: a trade happens, is told to the truth, then to every channel as `te` and
//! `tu`; heartbeats; trades made by hand. Which frame is lost on the way is `faults`' word.

use std::sync::Arc;

use anyhow::ensure;

use super::core::{Core, Event, Told};
use super::faults::{Fate, Fates};
use super::market::mix;
use super::row::{NewTrade, Row, numbers_of};

impl Core {
    /// Plans the trades of the symbol's next chunk.
    pub fn refill(&mut self, symbol: usize) {
        let mut rows = Vec::new();
        let next = self.symbols[symbol].source.chunk(self.at_ms, &mut rows);
        for row in rows {
            self.plan(row.arrival_ms, Event::Trade(symbol, Box::new(row), Told::No));
        }
        if let Some(next) = next {
            self.plan(next, Event::Refill(symbol));
        }
    }

    /// Makes a trade known: in the truth, then as `te`, later as `tu`; faults in force apply.
    pub fn trade(&mut self, symbol: usize, row: Row, told: Told) {
        let name = Arc::clone(&self.symbols[symbol].name);
        if told == Told::No {
            self.truth.happened(&name, &row, self.symbols[symbol].in_history(row.ms));
            let random = mix(self.config.seed ^ row.id as u64);
            if let Some(by) = self.faults.trade.postpone(&name, random) {
                self.plan(self.at_ms + by, Event::Trade(symbol, Box::new(row), Told::Yes));
                return;
            }
        }
        let fates = self.faults.trade.fates(&name);
        let text = row.text(self.extra_row());
        self.deliver(symbol, row.id, "te", &text, fates);
        let (least, most) = self.config.tu_delay_ms;
        let spread = (most - least).max(0) as u64 + 1;
        let delay = least.max(0) + (mix(self.config.seed ^ !(row.id as u64)) % spread) as i64;
        self.plan(self.at_ms + delay, Event::Update { symbol, id: row.id, row: text, fates });
    }

    /// Sends a trade's frame to everybody who has the channel.
    pub fn deliver(&mut self, symbol: usize, id: i64, tag: &str, row: &str, fates: Fates) {
        let moment = self.moment();
        let tu = tag == "tu";
        if self.faults.maintenance.is_some() {
            return;
        }
        for &(conn_id, chan) in &self.subs[symbol] {
            let Some(conn) = self.conns.get_mut(&conn_id) else { continue };
            let Some(channel) = conn.channels.get_mut(&chan).filter(|c| c.confirmed && !c.stale) else {
                continue;
            };
            channel.last_data_ms = moment.at_ms;
            let fate = fates.on(conn_id, tu);
            if !conn.array(chan, tag, row, moment, fate) {
                self.truth.lost(symbol, id, tu);
            }
        }
    }

    /// `hb` to all channels at once, in order of chanId.
    pub fn heartbeat(&mut self) {
        if self.faults.maintenance.is_some() {
            return;
        }
        let moment = self.moment();
        let quiet_since = self.config.heartbeat_quiet_only.then_some(moment.at_ms - self.config.heartbeat_ms);
        for conn in self.conns.values_mut() {
            let due = |c: &super::conn::Channel| !c.stale && quiet_since.is_none_or(|t| c.last_data_ms <= t);
            let chans: Vec<i64> = conn.channels.iter().filter(|(_, c)| due(c)).map(|(&id, _)| id).collect();
            for chan in chans {
                conn.array(chan, "hb", "", moment, Fate::Send);
            }
        }
    }

    /// Makes a trade happen now. Returns its id and time.
    pub fn publish(&mut self, symbol: &str, trade: &NewTrade) -> anyhow::Result<(i64, i64)> {
        self.catch_up();
        let index = self.index(symbol)?;
        let (price, amount) = numbers_of(trade).map_err(anyhow::Error::msg)?;
        let ms = trade.ms.unwrap_or(self.at_ms);
        ensure!(ms <= self.at_ms, "ms {ms} lies after the exchange's clock {}", self.at_ms);
        let id = trade.id.unwrap_or_else(|| self.next_published_id(ms));
        let row = Row { id, ms, arrival_ms: self.at_ms, amount, price };
        self.symbols[index].publish(row.clone());
        self.trade(index, row, Told::No);
        self.flush();
        Ok((id, ms))
    }

    /// Strictly rising, and never an id that a market's trade has.
    fn next_published_id(&mut self, ms: i64) -> i64 {
        let usual = self.ids.id(ms, self.ids.spare(), 0) - self.published_shift;
        self.published_id = usual.max(self.published_id.saturating_add(self.ids.stride()));
        self.published_id
    }

    /// From `ms` on ids of published trades restart near `base`.
    pub fn reset_published_ids(&mut self, ms: i64, base: i64) {
        self.published_shift = self.ids.id(ms, 0, 0) - base;
        self.published_id = i64::MIN;
    }
}
