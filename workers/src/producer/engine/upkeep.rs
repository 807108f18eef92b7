//! What the engine does beside trades: partitions that are added, limits of buffers, gauges, readiness.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{EXCHANGE, End, Engine, KAFKA, joined, partition_of};
use crate::{
    exchange::SymbolIndex,
    producer::limits::{
        BUFFER_TRADES_TOTAL_MAX, DELIVERY_STALL, KAFKA_CALL, OVERLAP_MS, PARTITIONS_REFRESH, QUIET_MS,
    },
};

/// Gauges, readiness and limits are looked at this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

impl Engine {
    /// The topic has grown: symbols that move start anew on their new partition.
    pub(super) async fn on_partitions(
        &mut self,
        found: Result<i32, String>,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let partitions = match found {
            Ok(partitions) => partitions,
            Err(problem) => {
                tracing::warn!(
                    topic = self.config.topic.name.as_str(),
                    problem,
                    "partitions of the topic not known"
                );
                return Ok(());
            }
        };
        if partitions < self.partitions {
            return Err(End::Rebuild(format!(
                "topic has {partitions} partitions and had {}",
                self.partitions
            )));
        }
        if partitions == self.partitions {
            return Ok(());
        }
        tracing::warn!(from = self.partitions, to = partitions, "topic has grown");
        self.partitions = partitions;
        self.metrics.partitions.set(i64::from(partitions));
        for symbol in 0..self.lines.len() {
            let partition = partition_of(&self.config, &self.lines[symbol].symbol, partitions);
            if partition != self.lines[symbol].partition {
                self.move_symbol(symbol, partition);
                self.finish(symbol, stop).await?;
            }
        }
        Ok(())
    }

    fn move_symbol(&mut self, symbol: SymbolIndex, partition: i32) {
        let covered_ms = self.lines[symbol].feed.covered_ms();
        let from_ms = covered_ms.map(|covered_ms| self.open_windows_from_ms(covered_ms));
        let line = &mut self.lines[symbol];
        tracing::warn!(symbol = %line.symbol, from = line.partition, to = partition, ?from_ms, "symbol moves to another partition");
        line.partition = partition;
        // Nothing covered: nothing is in the old partition either.
        if let Some(from_ms) = from_ms {
            line.feed.start_anew(from_ms, &mut self.effects);
        }
        self.sockets.renew(symbol);
    }

    /// Start (ms) of the longest window that is open when a log ends at `covered_ms`. However long ago that is: its
    /// candles would be incomplete otherwise.
    pub(super) fn open_windows_from_ms(&self, covered_ms: i64) -> i64 {
        let candles = &self.config.candles;
        // A heartbeat moves `covered` a little beyond what stands in the log.
        let open_ms = covered_ms - QUIET_MS - candles.lateness.as_ms();
        let starts = candles.intervals.iter().map(|interval| interval.window_start_ms(open_ms));
        starts.min().unwrap_or(open_ms - OVERLAP_MS)
    }

    /// About once a second: gauges, readiness, limits.
    pub(super) fn housekeeping(&mut self) {
        let now = Instant::now();
        if self.housekept.is_some_and(|at| now.duration_since(at) < HOUSEKEEPING) {
            return;
        }
        self.housekept = Some(now);
        self.health.beat();
        self.limit_buffers();
        let queued = self.outbox.queued();
        self.metrics.queued_records.set(queued as i64);
        self.metrics.rejected_symbols.set(self.sockets.rejected() as i64);
        self.show_states();
        self.judge_kafka(queued);
        match self.sockets.problem() {
            Some(problem) => drop(self.health.fails(EXCHANGE, problem)),
            None => drop(self.health.works(EXCHANGE)),
        }
        if self.refreshing.is_none() && self.refreshed.elapsed() > PARTITIONS_REFRESH {
            self.refreshed = Instant::now();
            let publisher = Arc::clone(&self.publisher);
            self.refreshing = Some(tokio::task::spawn_blocking(move || publisher.partitions(KAFKA_CALL)));
        }
    }

    fn limit_buffers(&mut self) {
        let total: usize = self.lines.iter().map(|line| line.feed.buffered()).sum();
        self.metrics.buffered_trades.set(total as i64);
        if total <= BUFFER_TRADES_TOTAL_MAX {
            return;
        }
        let largest = (0..self.lines.len()).max_by_key(|&symbol| self.lines[symbol].feed.buffered());
        if let Some(symbol) = largest {
            self.lines[symbol].feed.forget_buffer(&mut self.effects);
            // Only counts: nothing that the queue could refuse.
            let _ = self.perform(symbol);
        }
    }

    fn show_states(&mut self) {
        for line in &mut self.lines {
            let state = line.feed.state();
            if line.shown.replace(state) != Some(state) {
                self.metrics.state(&line.metrics, state);
            }
            if line.last_trade_ms > 0 {
                line.metrics.last_trade(line.last_trade_ms);
            }
        }
    }

    fn judge_kafka(&mut self, queued: usize) {
        let waits = self.last_delivery.elapsed();
        if queued == 0 {
            self.last_delivery = Instant::now();
            self.health.works(KAFKA);
        } else if waits > DELIVERY_STALL {
            let why = self.publisher.last_error().unwrap_or_else(|| {
                "are fewer than min.insync.replicas brokers up, or is Write denied?".to_owned()
            });
            let brokers = self.config.kafka.bootstrap_servers.as_str();
            let text = format!(
                "{brokers}: no record delivered for over {} s: {why}; records wait",
                DELIVERY_STALL.as_secs()
            );
            if self.health.fails(KAFKA, text.clone()) {
                tracing::error!(queued, "{text}");
            }
        }
    }
}

/// The number of partitions that is being looked up; never, if none is.
pub(super) async fn refreshed(
    refreshing: &mut Option<JoinHandle<Result<i32, String>>>,
) -> Result<i32, String> {
    let Some(task) = refreshing else { return std::future::pending().await };
    let result = joined(task.await).and_then(|partitions| partitions);
    *refreshing = None;
    result
}
