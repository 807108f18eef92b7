//! State of one connection: frames in, [`FeedEvent`]s and texts to send out. Pure: time is an argument, no I/O.
//!
//! Order of a connection: `info`, `conf` with sequence numbers and server times, one `subscribe` for each symbol.
//! After a hole in the sequence, and after maintenance, every channel is unsubscribed and subscribed again: the
//! snapshot that follows closes short gaps without a request for history, and marks where the flow starts again.
//!
//! - The sequence is checked on every array frame, whatever its channel. (`a_hole_interrupts_every_symbol`)
//! - What a channel id means dies with the connection, and with the subscription. (`frames_of_closed_channels_are_nobodys`)
//! - A rejected symbol leaves the others alone. (`a_rejected_symbol_leaves_the_others_alone`)

mod events;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use candles_core::{symbol::Symbol, trade::Trade};

use super::{
    check::{Refusal, checked, invalid_frame},
    frame::{self, Frame, FrameError, Row, Stamp},
};
use crate::exchange::{
    FeedEvent, Interruption, Stage, SymbolIndex,
    limits::{
        FUTURE_MS_MAX, HANDSHAKE, HOLES_PER_MINUTE_MAX, MAINTENANCE, REJECTED_RETRY, SNAPSHOT_ROWS_MAX,
    },
};

/// conf flag TIMESTAMP: the server's time at the end of each array frame.
const TIMESTAMP: i64 = 32_768;
/// conf flag SEQ_ALL: a sequence number at the end of each array frame.
const SEQ_ALL: i64 = 65_536;

/// What a step leads to. Reused from frame to frame.
#[derive(Debug, Default)]
pub struct Output {
    /// For the producer, in order.
    pub events: Vec<FeedEvent>,
    /// For the socket, in order.
    pub send: Vec<String>,
    /// The connection is of no more use, and why.
    pub end: Option<End>,
    /// Frames that were missing, by sequence number.
    pub frames_missing: u64,
    /// Holes in the sequence.
    pub holes: u64,
}

/// Why a connection is closed by us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// Info code 20051: come back in a moment.
    #[error("the exchange announced a restart (20051)")]
    Restart,
    /// Nothing can work until somebody changes something.
    #[error("{0}")]
    Unusable(String),
    /// An answer did not come in time.
    #[error("no answer to {what} within {seconds} s", what = .0, seconds = HANDSHAKE.as_secs())]
    NoAnswer(String),
    /// The exchange misbehaves on this connection.
    #[error("{0}")]
    Misbehaves(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for `info`.
    Info,
    /// Waiting for the answer to `conf`.
    Conf,
    /// Subscribing and receiving.
    Open,
    /// The exchange said that it is in maintenance, since then.
    Maintenance(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscription {
    /// To be subscribed when the connection is open.
    Wanted,
    /// `subscribe` sent, then.
    Asked(Instant),
    /// In force.
    Active,
    /// `unsubscribe` of this channel sent, then; to be subscribed again.
    Closing(i64, Instant),
    /// Refused, then.
    Rejected(Instant),
}

#[derive(Debug)]
struct Slot {
    index: SymbolIndex,
    symbol: Symbol,
    subscription: Subscription,
}

/// One connection.
#[derive(Debug)]
pub struct Protocol {
    id: usize,
    slots: Vec<Slot>,
    /// Channel id to slot, sorted by id; only active ones.
    channels: Vec<(i64, usize)>,
    phase: Phase,
    phase_since: Instant,
    sequence: u64,
    server_ms: Option<i64>,
    holes: VecDeque<Instant>,
}

impl Protocol {
    /// A connection that has just been made, for these symbols.
    pub fn new(id: usize, symbols: &[(SymbolIndex, Symbol)], now: Instant) -> Self {
        let slot = |(index, symbol): &(SymbolIndex, Symbol)| Slot {
            index: *index,
            symbol: symbol.clone(),
            subscription: Subscription::Wanted,
        };
        Self {
            id,
            slots: symbols.iter().map(slot).collect(),
            channels: Vec::new(),
            phase: Phase::Info,
            phase_since: now,
            sequence: 0,
            server_ms: None,
            holes: VecDeque::new(),
        }
    }

    /// Every symbol is subscribed, or rejected and reported.
    pub fn is_settled(&self) -> bool {
        self.phase == Phase::Open
            && self
                .slots
                .iter()
                .all(|slot| matches!(slot.subscription, Subscription::Active | Subscription::Rejected(_)))
    }

    /// One more symbol, which another connection had no room for.
    pub fn add(&mut self, index: SymbolIndex, symbol: Symbol, now: Instant, out: &mut Output) {
        self.slots.push(Slot { index, symbol, subscription: Subscription::Wanted });
        if self.phase == Phase::Open {
            self.subscribe(self.slots.len() - 1, now, out);
        }
    }

    /// A new subscription of one symbol, for a snapshot.
    pub fn renew(&mut self, index: SymbolIndex, now: Instant, out: &mut Output) {
        let Some(at) = self.channels.iter().position(|&(_, slot)| self.slots[slot].index == index) else {
            return;
        };
        let (channel, slot) = self.channels.remove(at);
        self.slots[slot].subscription = Subscription::Closing(channel, now);
        out.events.push(FeedEvent::Interrupted { symbol: index, why: Interruption::Unsubscribed });
        out.send.push(format!("{{\"event\":\"unsubscribe\",\"chanId\":{channel}}}"));
    }

    /// One text frame, received at `received_us` by the machine's clock.
    pub fn on_text(&mut self, text: &str, received_us: i64, now: Instant, out: &mut Output) {
        match frame::parse(text) {
            Ok(Frame::Trade { channel, stage, row, stamp }) => {
                if !self.passes(stamp, text, now, out) {
                    return;
                }
                let Some(slot) = self.slot(channel) else { return self.nobodys(text, out) };
                let symbol = self.slots[slot].index;
                self.on_trade(symbol, stage, row, received_us, text, out);
            }
            Ok(Frame::Heartbeat { channel, stamp }) => {
                if self.passes(stamp, text, now, out)
                    && let (Some(slot), Some(server_ms)) = (self.slot(channel), self.server_ms)
                {
                    out.events.push(FeedEvent::Heartbeat { symbol: self.slots[slot].index, server_ms });
                }
            }
            Ok(Frame::Data { channel, payload, stamp }) => {
                if !self.passes(stamp, text, now, out) {
                    return;
                }
                match self.slot(channel) {
                    Some(slot) => self.on_snapshot(slot, payload, received_us, out),
                    None => self.nobodys(text, out),
                }
            }
            Ok(Frame::Other { stamp, .. }) => {
                self.passes(stamp, text, now, out);
            }
            Ok(Frame::Event(event)) => self.on_event(&event, now, out),
            Err(error) => invalid_frame(error, text, out),
        }
    }

    /// Sequence and time of an array frame. False: the frame is not to be used.
    #[inline]
    fn passes(&mut self, stamp: Stamp, text: &str, now: Instant, out: &mut Output) -> bool {
        let (Some(sequence), Some(server_ms)) = (stamp.sequence, stamp.server_ms) else {
            // If it took a number, the next frame shows a hole.
            invalid_frame(FrameError::Shape, text, out);
            return false;
        };
        if sequence == self.sequence {
            // The frame of before once more.
            return false;
        }
        if sequence != self.sequence + 1 {
            self.on_hole(sequence, now, out);
        }
        self.sequence = sequence;
        // Heartbeats come every 15 s, so a longer jump is an error of the exchange: a mark with such a time would
        // make every later trade a late one.
        if self.server_ms.is_some_and(|last| server_ms > last + FUTURE_MS_MAX) {
            out.end = Some(End::Misbehaves("the exchange's time jumped by more than a minute"));
            return false;
        }
        self.server_ms = Some(server_ms);
        true
    }

    fn on_hole(&mut self, sequence: u64, now: Instant, out: &mut Output) {
        out.holes += 1;
        out.frames_missing += sequence.saturating_sub(self.sequence + 1);
        self.holes.push_back(now);
        while self.holes.front().is_some_and(|&at| now.duration_since(at) > Duration::from_secs(60)) {
            self.holes.pop_front();
        }
        if self.holes.len() > HOLES_PER_MINUTE_MAX {
            out.end = Some(End::Misbehaves("too many holes in the sequence numbers"));
        }
        self.resubscribe(Interruption::SequenceHole, now, out);
    }

    /// Closes every channel, to subscribe its symbol again; nothing may be trusted until its snapshot.
    fn resubscribe(&mut self, why: Interruption, now: Instant, out: &mut Output) {
        for (channel, slot) in std::mem::take(&mut self.channels) {
            let slot = &mut self.slots[slot];
            slot.subscription = Subscription::Closing(channel, now);
            out.events.push(FeedEvent::Interrupted { symbol: slot.index, why });
            out.send.push(format!("{{\"event\":\"unsubscribe\",\"chanId\":{channel}}}"));
        }
    }

    fn slot(&self, channel: i64) -> Option<usize> {
        let at = self.channels.binary_search_by_key(&channel, |&(id, _)| id).ok()?;
        Some(self.channels[at].1)
    }

    fn on_trade(
        &self,
        symbol: SymbolIndex,
        stage: Stage,
        row: Result<Row, frame::BadRow>,
        received_us: i64,
        text: &str,
        out: &mut Output,
    ) {
        let Some(server_ms) = self.server_ms else { return };
        match checked(row, Some(server_ms), received_us) {
            Ok(trade) => out.events.push(FeedEvent::Trade { symbol, stage, trade, server_ms }),
            Err(refusal) => out.events.push(refusal.into_event(Some(symbol), text)),
        }
    }

    fn on_snapshot(&self, slot: usize, payload: &str, received_us: i64, out: &mut Output) {
        let symbol = self.slots[slot].index;
        let Some(server_ms) = self.server_ms else { return };
        let rows = match frame::rows(payload) {
            Ok(rows) if rows.len() <= SNAPSHOT_ROWS_MAX => rows,
            Ok(_) => return out.events.push(Refusal::snapshot_too_long().into_event(Some(symbol), payload)),
            Err(error) => return invalid_frame(error, payload, out),
        };
        let mut trades = Vec::with_capacity(rows.len());
        for row in rows {
            match checked(row, Some(server_ms), received_us) {
                Ok(trade) => trades.push(trade),
                Err(refusal) => out.events.push(refusal.into_event(Some(symbol), payload)),
            }
        }
        trades.sort_unstable_by_key(Trade::order);
        out.events.push(FeedEvent::Snapshot { symbol, trades, server_ms });
    }

    /// Frames of channels that are closing or were never ours.
    fn nobodys(&self, text: &str, out: &mut Output) {
        let closing = |slot: &Slot| matches!(slot.subscription, Subscription::Closing(..));
        if self.slots.iter().any(closing) {
            return;
        }
        out.events.push(Refusal::unknown_channel().into_event(None, text));
    }

    /// To be called about once a second.
    pub fn on_tick(&mut self, now: Instant, out: &mut Output) {
        let waited = now.duration_since(self.phase_since);
        match self.phase {
            Phase::Info if waited > HANDSHAKE => out.end = Some(End::NoAnswer("the connect".into())),
            Phase::Conf if waited > HANDSHAKE => out.end = Some(End::NoAnswer("conf".into())),
            Phase::Maintenance(since) if now.duration_since(since) > MAINTENANCE => {
                out.end = Some(End::Misbehaves("maintenance has lasted longer than announced"));
            }
            _ => {}
        }
        for slot in 0..self.slots.len() {
            match self.slots[slot].subscription {
                Subscription::Asked(at) | Subscription::Closing(_, at)
                    if self.phase == Phase::Open && now.duration_since(at) > HANDSHAKE =>
                {
                    out.end = Some(End::NoAnswer(format!("subscribe {}", self.slots[slot].symbol)));
                }
                Subscription::Rejected(at)
                    if self.phase == Phase::Open && now.duration_since(at) > REJECTED_RETRY =>
                {
                    self.subscribe(slot, now, out);
                }
                _ => {}
            }
        }
    }

    /// The connection is gone: tells it to every symbol that was flowing.
    pub fn on_gone(&mut self, why: Interruption, out: &mut Output) {
        for (_, slot) in self.channels.drain(..) {
            out.events.push(FeedEvent::Interrupted { symbol: self.slots[slot].index, why });
        }
    }

    /// Codes of the symbols that the exchange refuses now.
    pub fn symbols(&self) -> impl Iterator<Item = (SymbolIndex, Symbol)> + '_ {
        self.slots.iter().map(|slot| (slot.index, slot.symbol.clone()))
    }
}

#[cfg(test)]
mod tests;
