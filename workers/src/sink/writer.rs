//! Batches in log order in, acknowledgements in log order out.
//!
//! The consumer's thread holds an [`Outbox`]; [`Writer::run`] is a task of the runtime. Small batches are sent at
//! once while nothing is under way, and are merged while something is: latency at low rates, throughput at high
//! ones, without a timer. A batch is acknowledged when each of its points is stored or delivered as a dead letter.
//!
//! - Batches are acknowledged in order, whatever order they end in. (`acknowledges_the_contiguous_prefix`)
//! - One bad line in a batch is found, and the others are stored. (`v2_isolates_a_poisoned_line_by_cutting_the_batch`)
//! - Only one request for the live measurement is under way at any time.

use std::{
    collections::VecDeque,
    future::Future,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
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
};
use crate::{
    consumer::metrics::Metrics,
    runtime::{backoff::Backoff, health::Health},
};

/// InfluxDB's own advice for v2.
const BATCH_LINES_MAX: usize = 5_000;
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// More requests make InfluxDB no faster on a few cores, and hold more memory.
const IN_FLIGHT_MAX: usize = 3;
/// A live point older than this is not sent: a process that was frozen must not overwrite its successor's.
/// Below the group's session timeout, so that no successor exists before.
const LIVE_AGE_MAX: Duration = Duration::from_secs(5);
/// InfluxDB 3 names at most this many bad lines in one answer.
const NAMED_LINES_MAX: usize = 100;
/// The part of the worker that `/readyz` reports.
pub const HEALTH_PART: &str = "influxdb";
/// Apart from the database, whose next success would hide it.
pub const DEAD_LETTERS_HEALTH_PART: &str = "dead letters";

/// The consumer's end.
#[derive(Debug)]
pub struct Outbox {
    batches: mpsc::UnboundedSender<Job>,
    live: mpsc::Sender<LivePoints>,
    progress: Arc<Progress>,
    sent: u64,
}

#[derive(Debug)]
struct Job {
    number: u64,
    batch: Batch,
}

#[derive(Debug)]
struct LivePoints {
    body: Bytes,
    made: Instant,
}

#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// All batches up to this number are done.
    acknowledged: u64,
    /// Bytes of batches that are not done.
    pending_bytes: usize,
}

impl Progress {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, deadline: Duration, done: impl Fn(&State) -> bool) -> bool {
        let result = self.changed.wait_timeout_while(self.lock(), deadline, |state| !done(state));
        done(&result.unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl Outbox {
    /// Hands over a batch. Returns its number: they count from 1.
    pub fn send(&mut self, batch: Batch) -> u64 {
        self.sent += 1;
        self.progress.lock().pending_bytes += batch.bytes();
        // The writer ends after the consumer: a closed channel means that the process is going down.
        let _ = self.batches.send(Job { number: self.sent, batch });
        self.sent
    }

    /// Number of the last batch that was sent; 0 before the first.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// All batches up to this number are done.
    pub fn acknowledged(&self) -> u64 {
        self.progress.lock().acknowledged
    }

    /// Bytes of batches that are not done.
    pub fn pending_bytes(&self) -> usize {
        self.progress.lock().pending_bytes
    }

    /// Waits until all that was sent is done. False after the deadline.
    pub fn wait_acknowledged(&self, deadline: Duration) -> bool {
        self.progress.wait(deadline, |state| state.acknowledged >= self.sent)
    }

    /// Waits until less than so many bytes are pending. False after the deadline.
    pub fn wait_pending_below(&self, bytes: usize, deadline: Duration) -> bool {
        self.progress.wait(deadline, |state| state.pending_bytes < bytes)
    }

    /// Whether live points would be taken now.
    pub fn takes_live(&self) -> bool {
        self.live.capacity() > 0
    }

    /// Hands over points of the live measurement. They are sent once, and not at all when they are old by then.
    pub fn send_live(&self, body: Vec<u8>) {
        let _ = self.live.try_send(LivePoints { body: body.into(), made: Instant::now() });
    }
}

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

/// What [`Writer::run`] reads.
#[derive(Debug)]
pub struct Inbox {
    batches: mpsc::UnboundedReceiver<Job>,
    live: mpsc::Receiver<LivePoints>,
}

/// Batches that wait, and those that are under way.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Job>,
    waiting_lines: usize,
    waiting_bytes: usize,
    /// Last number and size of each merged batch under way, in order, and whether it is done.
    under_way: VecDeque<(u64, usize, bool)>,
}

impl Writer {
    /// The two ends, and the task's queue.
    pub fn new(
        influxdb: Influxdb,
        dead_letters: DeadLetters,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> (Outbox, Arc<Self>, Inbox) {
        let progress = Arc::new(Progress::default());
        // Unbounded in number, bounded in bytes: the consumer pauses above its limit.
        let (batches, batches_in) = mpsc::unbounded_channel();
        let (live, live_in) = mpsc::channel(1);
        let outbox = Outbox { batches, live, progress: Arc::clone(&progress), sent: 0 };
        let live = tokio::sync::Mutex::new(());
        let refused = AtomicUsize::new(0);
        let writer = Self { influxdb, dead_letters, metrics, health, progress, live, refused };
        (outbox, Arc::new(writer), Inbox { batches: batches_in, live: live_in })
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
        let mut state = self.progress.lock();
        for (acknowledged, bytes) in queue.done(number) {
            state.acknowledged = acknowledged;
            state.pending_bytes -= bytes;
        }
        self.metrics.pending_bytes.set(state.pending_bytes as i64);
        drop(state);
        self.progress.changed.notify_all();
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

impl Queue {
    fn push(&mut self, job: Job) {
        self.waiting_lines += job.batch.lines();
        self.waiting_bytes += job.batch.bytes();
        self.waiting.push_back(job);
    }

    /// The next merged batch to send, if it is time, and the number that it goes up to.
    fn next(&mut self) -> Option<(u64, Batch)> {
        let busy = self.under_way.iter().filter(|(_, _, done)| !done).count();
        let full = self.waiting_lines >= BATCH_LINES_MAX || self.waiting_bytes >= BATCH_BYTES_MAX;
        if self.waiting.is_empty() || busy >= IN_FLIGHT_MAX || (busy > 0 && !full) {
            return None;
        }
        let Job { mut number, mut batch } = self.waiting.pop_front()?;
        let (mut lines, mut bytes) = (batch.lines(), batch.bytes());
        while let Some(job) = self.waiting.front() {
            if lines + job.batch.lines() > BATCH_LINES_MAX || bytes + job.batch.bytes() > BATCH_BYTES_MAX {
                break;
            }
            (lines, bytes) = (lines + job.batch.lines(), bytes + job.batch.bytes());
            if let Some(job) = self.waiting.pop_front() {
                number = job.number;
                batch.append(job.batch);
            }
        }
        self.waiting_lines -= lines;
        self.waiting_bytes -= bytes;
        self.under_way.push_back((number, bytes, false));
        Some((number, batch))
    }

    /// Marks a merged batch as done; yields number and size of each that no earlier one holds back.
    fn done(&mut self, number: u64) -> impl Iterator<Item = (u64, usize)> {
        if let Some(entry) = self.under_way.iter_mut().find(|(n, _, _)| *n == number) {
            entry.2 = true;
        }
        std::iter::from_fn(|| {
            let (number, bytes, _) = self.under_way.pop_front_if(|(_, _, done)| *done)?;
            Some((number, bytes))
        })
    }
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
    use crate::sink::batch::Origin;

    fn job(number: u64, lines: usize) -> Job {
        let mut batch = Batch::default();
        for _ in 0..lines {
            batch.line(Origin { partition: 0, offset: 0 }, |out| out.push(b'\n'));
        }
        Job { number, batch }
    }

    #[test]
    fn merges_while_something_is_under_way() {
        let mut queue = Queue::default();
        queue.push(job(1, 1));
        assert_eq!(queue.next().map(|(number, _)| number), Some(1), "at once when idle");
        queue.push(job(2, 1));
        queue.push(job(3, 1));
        assert!(queue.next().is_none());
        assert_eq!(queue.done(1).map(|(n, _)| n).collect::<Vec<_>>(), [1]);
        let (number, batch) = queue.next().unwrap();
        assert_eq!((number, batch.lines()), (3, 2));
        for number in 4..20 {
            queue.push(job(number, BATCH_LINES_MAX));
        }
        assert_eq!(std::iter::from_fn(|| queue.next()).count(), IN_FLIGHT_MAX - 1, "full ones go beside it");
    }

    #[test]
    fn acknowledges_the_contiguous_prefix() {
        let mut queue = Queue::default();
        for number in 1..=3 {
            queue.push(job(number, BATCH_LINES_MAX));
            assert!(queue.next().is_some());
        }
        assert_eq!(queue.done(2).count(), 0);
        assert_eq!(queue.done(1).map(|(n, _)| n).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(queue.done(3).map(|(n, _)| n).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn reads_how_many_points_were_dropped() {
        let text = "422 Unprocessable Entity failure writing points to database: partial write: field type conflict: \
                    input field \"price\" on measurement \"t\" is type string, already exists as type float dropped=2";
        assert_eq!(dropped(text), Some(2));
        assert_eq!(dropped("unable to parse 'x': missing fields"), None);
    }
}
