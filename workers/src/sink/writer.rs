//! Batches in log order in, acknowledgements in log order out.
//!
//! The consumer's thread holds an [`Outbox`]; [`Writer::run`] is a task of the runtime. A batch is acknowledged when
//! each of its points is stored or delivered as a dead letter.
//!
//! - Batches are acknowledged in order, whatever order they end in. (`acknowledges_the_contiguous_prefix`)
//! - One bad line in a batch is found, and the others are stored. (`v2_isolates_a_poisoned_line_by_cutting_the_batch`)
//! - Only one request for the live measurement is under way at any time.

use std::{
    future::Future,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    batch::{Batch, DeadRecord, Lines},
    dead_letter::DeadLetters,
    influxdb::{Influxdb, Outcome, Rejection},
    outbox::{self, Inbox, LivePoints, Outbox, Progress},
    queue::Queue,
};
use crate::{
    consumer::metrics::Metrics,
    runtime::{backoff::Backoff, health::Health},
};

/// A live point older than this is not sent: a process that was frozen must not overwrite its successor's.
/// Below the group's session timeout, so that no successor exists before.
const LIVE_AGE_MAX: Duration = Duration::from_secs(5);
/// InfluxDB 3 names at most this many bad lines in one answer.
const NAMED_LINES_MAX: usize = 100;
/// The part of the worker that `/readyz` reports.
pub const HEALTH_PART: &str = "influxdb";
/// Apart from the database, whose next success would hide it.
pub const DEAD_LETTERS_HEALTH_PART: &str = "dead letters";

/// The task's end.
pub struct Writer {
    influxdb: Influxdb,
    dead_letters: DeadLetters,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    progress: Arc<Progress>,
    /// Held while a request for the live measurement is under way: a forming point must not land on an incomplete
    /// one that was written after it.
    live: tokio::sync::Mutex<()>,
    /// Requests that the server has refused for now. While there is one, another's success makes nobody ready.
    refused: AtomicUsize,
}

impl Writer {
    /// The two ends, and the task's queue.
    pub fn new(
        influxdb: Influxdb,
        dead_letters: DeadLetters,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> (Outbox, Arc<Self>, Inbox) {
        let (outbox, inbox, progress) = outbox::channel();
        let live = tokio::sync::Mutex::new(());
        let refused = AtomicUsize::new(0);
        let writer = Self { influxdb, dead_letters, metrics, health, progress, live, refused };
        (outbox, Arc::new(writer), inbox)
    }

    /// Writes what comes in until the outbox is dropped and all is done.
    pub async fn run(self: Arc<Self>, inbox: Inbox) {
        let Inbox { mut batches, live } = inbox;
        let live = tokio::spawn(Arc::clone(&self).run_live(live));
        let mut queue = Queue::default();
        let mut requests = JoinSet::new();
        let mut open = true;
        while open || !requests.is_empty() {
            tokio::select! {
                // Acknowledgements first: they free memory and let the next request start.
                biased;
                Some(done) = requests.join_next() => self.acknowledge(&mut queue, done.expect("writing does not panic")),
                job = batches.recv(), if open => match job {
                    Some(job) => queue.push(job),
                    None => open = false,
                },
            }
            while let Ok(job) = batches.try_recv() {
                queue.push(job);
            }
            while let Some((number, batch)) = queue.next() {
                let writer = Arc::clone(&self);
                requests.spawn(async move {
                    writer.write(batch).await;
                    number
                });
            }
        }
        live.abort();
        self.dead_letters.close(Duration::from_secs(1));
    }

    /// Says whether points could be written: a comment is no point, but needs the same token, organization and bucket.
    pub async fn probe(&self) {
        self.send(Bytes::from_static(b"# candles: can I write?\n")).await;
    }

    fn acknowledge(&self, queue: &mut Queue, number: u64) {
        let pending_bytes = self.progress.acknowledge(queue.done(number));
        self.metrics.pending_bytes.set(pending_bytes as i64);
    }

    async fn run_live(self: Arc<Self>, mut live: mpsc::Receiver<LivePoints>) {
        while let Some(points) = live.recv().await {
            let _one_at_a_time = self.live.lock().await;
            let result = if points.made.elapsed() > LIVE_AGE_MAX {
                "too_old"
            } else {
                match self.influxdb.write(points.body).await {
                    Outcome::Stored => "stored",
                    // The next change of the candle, or its final point, says it again.
                    outcome => {
                        tracing::debug!(?outcome, "live points not stored");
                        "failed"
                    }
                }
            };
            self.metrics.live_request(result);
        }
    }

    async fn write(&self, batch: Batch) {
        let _one_at_a_time = if batch.is_live() { Some(self.live.lock().await) } else { None };
        let (mut dead, lines) = batch.into_parts();
        if !lines.is_empty() {
            dead.extend(self.store(&lines).await);
        }
        if dead.is_empty() {
            return;
        }
        for record in &dead {
            tracing::warn!(
                class = record.class,
                error = %record.error,
                partition = record.origin.partition,
                offset = record.origin.offset,
                "dead letter"
            );
        }
        let waiting = |problem: String| {
            if self.health.fails(DEAD_LETTERS_HEALTH_PART, &*problem) {
                tracing::warn!("dead letters wait: {problem}");
            }
        };
        let delivered = |record: &DeadRecord| self.metrics.dead_letter(record.class);
        self.dead_letters.deliver(&dead, waiting, delivered).await;
        self.health.works(DEAD_LETTERS_HEALTH_PART);
    }

    /// Stores all lines that can be stored; returns the others.
    async fn store(&self, lines: &Lines) -> Vec<DeadRecord> {
        let mut dead = Vec::new();
        let mut work: Vec<Range<usize>> = std::iter::once(0..lines.len()).collect();
        while let Some(range) = work.pop() {
            match self.send(lines.slice(&range)).await {
                Sent::Stored => {
                    self.metrics.points_stored.inc_by(range.len() as u64);
                }
                Sent::TooLarge if range.len() > 1 => halve(range, &mut work),
                Sent::TooLarge => {
                    dead.push(dead_line(lines, range.start, "413: one point is too large".to_owned()));
                }
                Sent::Rejected(rejection) => self.isolate(lines, range, rejection, &mut work, &mut dead),
            }
        }
        dead
    }

    /// Finds the lines that a rejection is about: by the server's word, or by cutting.
    fn isolate(
        &self,
        lines: &Lines,
        range: Range<usize>,
        rejection: Rejection,
        work: &mut Vec<Range<usize>>,
        dead: &mut Vec<DeadRecord>,
    ) {
        let mut named = rejection.lines;
        named.retain(|(index, _)| *index < range.len());
        named.sort_by_key(|(index, _)| *index);
        named.dedup_by_key(|(index, _)| *index);
        if named.is_empty() {
            if range.len() == 1 || dropped(&rejection.error) == Some(range.len()) {
                dead.extend(range.map(|index| dead_line(lines, index, rejection.error.clone())));
            } else {
                halve(range, work);
            }
            return;
        }
        let mut next = range.start;
        let more_may_be_bad = named.len() >= NAMED_LINES_MAX;
        self.metrics.points_stored.inc_by(if more_may_be_bad {
            0
        } else {
            (range.len() - named.len()) as u64
        });
        for (index, error) in named {
            let index = range.start + index;
            if more_may_be_bad && next < index {
                work.push(next..index);
            }
            next = index + 1;
            dead.push(dead_line(lines, index, error));
        }
        if more_may_be_bad && next < range.end {
            work.push(next..range.end);
        }
    }

    /// Sends the same bytes until the server has decided about them.
    async fn send(&self, body: Bytes) -> Sent {
        let mut transient = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let mut config = Backoff::new(Duration::from_secs(5), Duration::from_mins(1));
        let mut refused = false;
        loop {
            let started = Instant::now();
            let outcome = self.influxdb.write(body.clone()).await;
            self.metrics.write_request(&outcome, started.elapsed());
            let (problem, wait) = match outcome {
                Outcome::Stored => return self.decided(refused, Sent::Stored),
                Outcome::TooLarge => return self.decided(refused, Sent::TooLarge),
                Outcome::Rejected(rejection) => return self.decided(refused, Sent::Rejected(rejection)),
                Outcome::Transient { problem, retry_after } => {
                    let delay = transient.next_delay();
                    (problem, retry_after.map_or(delay, |asked| asked + delay.min(asked / 10)).max(delay))
                }
                Outcome::Config(problem) => (problem, config.next_delay()),
            };
            if !std::mem::replace(&mut refused, true) {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            self.trouble(&format!(
                "{}: {problem}; nothing dropped, next try in {:.1} s",
                self.influxdb.name(),
                wait.as_secs_f64()
            ));
            tokio::time::sleep(wait).await;
        }
    }

    fn decided(&self, refused: bool, sent: Sent) -> Sent {
        if refused {
            self.refused.fetch_sub(1, Ordering::Relaxed);
        }
        if self.refused.load(Ordering::Relaxed) == 0 && self.health.works(HEALTH_PART) {
            tracing::info!(sink = self.influxdb.name(), "sink answers");
        }
        sent
    }

    fn trouble(&self, problem: &str) {
        if self.health.fails(HEALTH_PART, problem) {
            tracing::warn!("sink unavailable: {problem}");
        }
    }
}

/// What the server has decided about some lines.
enum Sent {
    Stored,
    TooLarge,
    Rejected(Rejection),
}

fn halve(range: Range<usize>, work: &mut Vec<Range<usize>>) {
    let middle = range.start + range.len() / 2;
    work.push(middle..range.end);
    work.push(range.start..middle);
}

/// `N` of `dropped=N`, by which InfluxDB 2 says how many points of a request it did not store.
fn dropped(error: &str) -> Option<usize> {
    let (_, rest) = error.rsplit_once("dropped=")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn dead_line(lines: &Lines, index: usize, error: String) -> DeadRecord {
    let line = lines.slice(&(index..index + 1));
    DeadRecord {
        origin: lines.origin(index),
        timestamp_ms: None,
        key: None,
        value: Some(line.strip_suffix(b"\n").unwrap_or(&line).to_vec()),
        class: "point_rejected",
        error,
    }
}

/// Runs the writer's probe in the background, so that readiness is known before the first point.
pub fn probe(writer: &Arc<Writer>) -> impl Future<Output = ()> + use<> {
    let writer = Arc::clone(writer);
    async move { writer.probe().await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_many_points_were_dropped() {
        let text = "422 Unprocessable Entity failure writing points to database: partial write: field type conflict: \
                    input field \"price\" on measurement \"t\" is type string, already exists as type float dropped=2";
        assert_eq!(dropped(text), Some(2));
        assert_eq!(dropped("unable to parse 'x': missing fields"), None);
    }
}
