//! One owner of all symbols: what the connections and the history say in, records out.
//!
//! `feed` decides, the engine does. A full queue of the Kafka client stops this loop, and with it the reading of
//! sockets; nothing is dropped. Everything that waits is in [`Engine::run`] and [`Engine::unblock`].

mod history;
mod upkeep;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use candles_core::{
    avro::TradeEncoder,
    config::{Partitioner, PipelineConfig},
    mark::{Mark, ProducerId, Signed},
    partitioner::key_hash_partition,
    symbol::Symbol,
    trade::Trade,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    feed::{Effect, Feed, FeedState, Source},
    fetches::Fetches,
    metrics::{Metrics, SymbolMetrics},
    outbox::{Full, Outbox},
    publisher::Publisher,
    sockets::Sockets,
    tail::SymbolTail,
};
use crate::{
    exchange::{
        FeedEvent, Invalid, SymbolIndex,
        bitfinex::{connection::Batch, rest::History},
        budget::SharedBudget,
    },
    runtime::health::Health,
};

/// Parts of the producer that `/readyz` reports.
pub const EXCHANGE: &str = "exchange";
/// See [`EXCHANGE`].
pub const HISTORY: &str = "history";
/// See [`EXCHANGE`].
pub const KAFKA: &str = "kafka";

/// While records wait for the acknowledgement of others, the loop turns at least this often.
const ACKNOWLEDGEMENTS: Duration = Duration::from_millis(1);
/// While records wait for nothing but their delivery reports, this often.
const REPORTS: Duration = Duration::from_millis(50);
/// Else this often.
const IDLE: Duration = Duration::from_millis(500);

/// Why the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Told to stop.
    Stop,
    /// The Kafka client or the topic must be looked at anew.
    Rebuild(String),
}

/// One symbol: its state and what its records need.
struct Line {
    symbol: Symbol,
    feed: Feed,
    encoder: TradeEncoder,
    partition: i32,
    metrics: SymbolMetrics,
    last_trade_ms: i64,
    shown: Option<FeedState>,
}

/// What a session has found out before it starts.
pub struct Prepared {
    /// The Kafka client.
    pub publisher: Arc<Publisher>,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Id of our schema.
    pub schema_id: u32,
    /// The end of each symbol's log.
    pub tails: Vec<Option<SymbolTail>>,
    /// Who signs the marks of this session: it knows no more of the log than its end.
    pub id: ProducerId,
}

/// See the module.
pub struct Engine {
    lines: Vec<Line>,
    config: Arc<PipelineConfig>,
    id: ProducerId,
    partitions: i32,
    next_partition: i32,
    publisher: Arc<Publisher>,
    outbox: Outbox,
    fetches: Fetches,
    history: History,
    sockets: Sockets,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    /// Effects of the event at hand, and how many of them are done.
    effects: Vec<Effect>,
    done: usize,
    value: Vec<u8>,
    now: Instant,
    /// The exchange's latest time (ms).
    server_ms: Option<i64>,
    fetching: Option<history::Fetching>,
    fetch_at: Option<Instant>,
    refreshing: Option<JoinHandle<Result<i32, String>>>,
    refreshed: Instant,
    last_delivery: Instant,
    housekept: Option<Instant>,
}

/// The partition of a symbol; 0 where the records of a symbol are in all of them.
pub fn partition_of(config: &PipelineConfig, symbol: &Symbol, partitions: i32) -> i32 {
    match config.producer.partitioner {
        Partitioner::KeyHash => key_hash_partition(symbol.as_str().as_bytes(), partitions),
        Partitioner::Explicit => config.producer.partitions.get(symbol).map_or(0, |&p| i32::from(p)),
        Partitioner::RoundRobin => 0,
    }
}

impl Engine {
    /// Puts the parts together; [`Engine::run`] starts them.
    pub fn new(
        config: Arc<PipelineConfig>,
        prepared: Prepared,
        sockets: Sockets,
        history: History,
        history_budget: SharedBudget,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let now = Instant::now();
        let mut engine = Self {
            lines: Vec::new(),
            id: prepared.id,
            partitions: prepared.partitions,
            next_partition: 0,
            outbox: Outbox::new(Arc::clone(&prepared.publisher)),
            publisher: prepared.publisher,
            fetches: Fetches::new(config.exchange.symbols.len(), history_budget),
            history,
            sockets,
            metrics,
            health,
            effects: Vec::new(),
            done: 0,
            value: Vec::new(),
            now,
            server_ms: None,
            fetching: None,
            fetch_at: None,
            refreshing: None,
            refreshed: now,
            last_delivery: now,
            housekept: None,
            config,
        };
        engine.lines = engine
            .config
            .exchange
            .symbols
            .iter()
            .zip(prepared.tails)
            .map(|(symbol, tail)| engine.line(symbol, prepared.schema_id, tail))
            .collect();
        engine.metrics.partitions.set(i64::from(engine.partitions));
        engine
    }

    fn line(&self, symbol: &Symbol, schema_id: u32, tail: Option<SymbolTail>) -> Line {
        let mut feed = self.new_feed();
        match tail {
            Some(tail) if tail.elsewhere => {
                let from_ms = self.open_windows_from_ms(tail.covered_ms);
                tracing::warn!(%symbol, covered_ms = tail.covered_ms, from_ms, "its log ends in another partition; starts anew in this one");
                feed.moved(from_ms);
            }
            Some(tail) => {
                tracing::info!(%symbol, covered_ms = tail.covered_ms, recent_trades = tail.ids.len(), "resumes where its log ends");
                feed.resume(tail.covered_ms, tail.floor_ms, tail.ids);
            }
            None => {
                tracing::info!(%symbol, backfill = %self.config.producer.backfill, "starts with a backfill");
            }
        }
        Line {
            symbol: symbol.clone(),
            feed,
            encoder: TradeEncoder::new(schema_id, self.config.exchange.name.as_str(), symbol.as_str()),
            partition: partition_of(&self.config, symbol, self.partitions),
            metrics: self.metrics.symbol(symbol),
            last_trade_ms: 0,
            shown: None,
        }
    }

    fn new_feed(&self) -> Feed {
        let marks = self.config.producer.partitioner != Partitioner::RoundRobin;
        Feed::new(self.config.producer.backfill.as_ms(), marks)
    }

    /// Runs until `stop`, or until the session must start anew. Ends the connections and delivers what is queued.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Batch>, stop: CancellationToken) -> End {
        let end = self.turn(&mut inbox, &stop).await;
        if let Some((_, task)) = self.fetching.take() {
            task.abort();
        }
        drop(inbox);
        let left = if end == End::Stop { self.outbox.close() } else { 0 };
        if left > 0 {
            tracing::warn!(
                records = left,
                "not taken by the Kafka client; the next start finds them in history"
            );
        }
        self.sockets.close().await;
        end
    }

    async fn turn(&mut self, inbox: &mut mpsc::Receiver<Batch>, stop: &CancellationToken) -> End {
        loop {
            let pause = match self.outbox.queued() {
                0 => IDLE,
                _ if self.outbox.is_waiting() => ACKNOWLEDGEMENTS,
                _ => REPORTS,
            };
            let result = tokio::select! {
                biased;
                () = stop.cancelled() => Err(End::Stop),
                (ticket, page) = history::fetched(&mut self.fetching) => self.on_fetched(ticket, page, stop).await,
                partitions = upkeep::refreshed(&mut self.refreshing) => self.on_partitions(partitions, stop).await,
                Some(batch) = inbox.recv() => self.on_batch(batch, stop).await,
                () = tokio::time::sleep(pause) => Ok(()),
            };
            let result = result.and_then(|()| self.publish_waiting());
            self.housekeeping();
            if let Err(end) = result {
                return end;
            }
        }
    }

    async fn on_batch(&mut self, batch: Batch, stop: &CancellationToken) -> Result<(), End> {
        self.now = Instant::now();
        self.metrics.frames.inc_by(batch.frames);
        self.metrics.frame_bytes.inc_by(batch.bytes);
        if batch.holes > 0 {
            self.metrics.sequence_holes.inc_by(batch.holes);
            self.metrics.frames_missing.inc_by(batch.frames_missing);
            let (connection, frames_missing) = (batch.connection, batch.frames_missing);
            tracing::warn!(
                connection,
                frames_missing,
                "sequence hole; every symbol of the connection is repaired"
            );
        }
        for event in batch.events {
            if let Some(symbol) = self.on_event(event)
                && !self.effects.is_empty()
                && self.perform(symbol).is_err()
            {
                self.unblock(symbol, stop).await?;
            }
        }
        if let Some(state) = batch.state {
            if matches!(
                state,
                crate::exchange::bitfinex::connection::ConnectionState::Down { lost: true, .. }
            ) {
                self.metrics.reconnects.inc();
            }
            self.sockets.on_state(batch.connection, state);
        }
        Ok(())
    }

    /// Lets the feed decide. Returns whose effects are to be done.
    #[inline]
    fn on_event(&mut self, event: FeedEvent) -> Option<SymbolIndex> {
        match event {
            FeedEvent::Trade { symbol, stage, trade, server_ms } => {
                self.lines[symbol].feed.on_trade(stage, trade, server_ms, &mut self.effects);
                Some(symbol)
            }
            FeedEvent::Heartbeat { symbol, server_ms } => {
                self.server_ms = self.server_ms.max(Some(server_ms));
                self.lines[symbol].feed.on_heartbeat(server_ms, &mut self.effects);
                Some(symbol)
            }
            FeedEvent::Snapshot { symbol, trades, server_ms } => {
                self.server_ms = self.server_ms.max(Some(server_ms));
                self.sockets.on_served(symbol);
                self.lines[symbol].feed.on_snapshot(trades, server_ms, &mut self.effects);
                Some(symbol)
            }
            FeedEvent::Interrupted { symbol, why } => {
                self.metrics.interruption(why);
                self.lines[symbol].feed.on_interrupted(why, &mut self.effects);
                Some(symbol)
            }
            FeedEvent::Rejected { symbol, code } => {
                self.sockets.on_rejected(symbol, code);
                None
            }
            FeedEvent::NoRoom { symbol, connection } => {
                self.sockets.relocate(symbol, connection);
                None
            }
            FeedEvent::Invalid(invalid) => {
                self.on_invalid(&invalid);
                None
            }
        }
    }

    #[cold]
    fn on_invalid(&self, invalid: &Invalid) {
        self.metrics.invalid(invalid.reason);
        let symbol = invalid.symbol.map_or("", |symbol| self.lines[symbol].symbol.as_str());
        tracing::debug!(symbol, reason = ?invalid.reason, error = invalid.error, "no trade; kept as dead letter");
        self.publisher.dead_letter(symbol, &invalid.error, &invalid.raw);
    }

    /// Does what the feed decided, as far as the queue takes it.
    #[inline]
    fn perform(&mut self, symbol: SymbolIndex) -> Result<(), Full> {
        while self.done < self.effects.len() {
            match self.effects[self.done] {
                Effect::Publish(trade, source) => self.publish(symbol, trade, source)?,
                effect => self.perform_other(symbol, effect)?,
            }
            self.done += 1;
        }
        self.done = 0;
        self.effects.clear();
        Ok(())
    }

    #[inline]
    fn publish(&mut self, symbol: SymbolIndex, trade: Trade, source: Source) -> Result<(), Full> {
        let partition = self.partition(symbol);
        let line = &mut self.lines[symbol];
        line.encoder.encode(&trade, &mut self.value);
        self.outbox.trade(partition, line.symbol.as_str().as_bytes(), &self.value, self.now)?;
        line.metrics.published(source);
        line.last_trade_ms = line.last_trade_ms.max(trade.time_ms);
        Ok(())
    }

    #[inline]
    fn partition(&mut self, symbol: SymbolIndex) -> i32 {
        if self.config.producer.partitioner != Partitioner::RoundRobin {
            return self.lines[symbol].partition;
        }
        self.next_partition = (self.next_partition + 1) % self.partitions;
        self.next_partition
    }

    fn perform_other(&mut self, symbol: SymbolIndex, effect: Effect) -> Result<(), Full> {
        let line = &self.lines[symbol];
        match effect {
            Effect::Publish(..) => {}
            Effect::Mark(mark) => {
                let signed = Signed { mark, producer: Some(self.id), since_ms: None };
                self.outbox.mark(line.partition, line.symbol.as_str().as_bytes(), signed, self.now)?;
                self.metrics.mark(if matches!(mark, Mark::From(_)) { "from" } else { "until" });
            }
            Effect::Resume { since_ms, until_ms } => {
                let (mark, since_ms) = (Mark::Until(until_ms), Some(since_ms));
                let signed = Signed { mark, producer: Some(self.id), since_ms };
                self.outbox.mark(line.partition, line.symbol.as_str().as_bytes(), signed, self.now)?;
                self.metrics.mark("until");
            }
            Effect::Fetch(request, delay) => {
                self.fetches.want(symbol, request, self.now + delay);
                self.fetch_at = None;
            }
            Effect::CancelFetch => self.fetches.cancel(symbol),
            Effect::Gap { from_ms, to_ms, reason } => {
                self.metrics.gap(&line.metrics, reason);
                tracing::warn!(symbol = %line.symbol, from_ms, to_ms, ?reason, "gap; trades between these times may be missing");
            }
            Effect::Filled { trades } => {
                tracing::info!(symbol = %line.symbol, trades, "live");
            }
            Effect::Overflow(trades) => {
                self.metrics.buffer_overflows.inc_by(trades as u64);
                tracing::warn!(symbol = %line.symbol, trades, "live buffer full; history is fetched instead");
            }
        }
        Ok(())
    }

    /// The queue is full: waits for room, and does the rest of the effects. Sockets are not read meanwhile.
    #[cold]
    async fn unblock(&mut self, symbol: SymbolIndex, stop: &CancellationToken) -> Result<(), End> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(End::Stop),
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
            self.now = Instant::now();
            self.publish_waiting()?;
            self.housekeeping();
            if self.perform(symbol).is_ok() {
                return Ok(());
            }
        }
    }

    /// Takes delivery reports, hands over what may go.
    fn publish_waiting(&mut self) -> Result<(), End> {
        match self.outbox.turn() {
            Ok(0) => {}
            Ok(_) => {
                self.last_delivery = Instant::now();
                self.health.works(KAFKA);
            }
            Err(reason) => return Err(End::Rebuild(reason)),
        }
        if let Some(reason) = self.publisher.broken() {
            return Err(End::Rebuild(reason));
        }
        self.start_fetch();
        Ok(())
    }

    async fn finish(&mut self, symbol: SymbolIndex, stop: &CancellationToken) -> Result<(), End> {
        match self.perform(symbol) {
            Ok(()) => Ok(()),
            Err(Full) => self.unblock(symbol, stop).await,
        }
    }
}

/// A task that panicked or was aborted is an error like others.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, String> {
    result.map_err(|error| format!("task ended: {error}"))
}
