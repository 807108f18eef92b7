//! Between the consumer's thread and the writer's task: batches and live points one way, acknowledgements the other.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::batch::Batch;

/// The consumer's end.
#[derive(Debug)]
pub struct Outbox {
    batches: mpsc::UnboundedSender<Job>,
    live: mpsc::Sender<LivePoints>,
    progress: Arc<Progress>,
    sent: u64,
}

/// A batch and its number.
#[derive(Debug)]
pub(super) struct Job {
    pub number: u64,
    pub batch: Batch,
}

/// Points of the live measurement, and when they were made.
#[derive(Debug)]
pub(super) struct LivePoints {
    pub body: Bytes,
    pub made: Instant,
}

/// What the writer tells the consumer.
#[derive(Debug, Default)]
pub(super) struct Progress {
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
    /// Takes number and size (bytes) of batches that are done, in order. Returns the bytes of all that are not.
    pub fn acknowledge(&self, done: impl Iterator<Item = (u64, usize)>) -> usize {
        let mut state = self.lock();
        for (acknowledged, bytes) in done {
            state.acknowledged = acknowledged;
            state.pending_bytes -= bytes;
        }
        let pending_bytes = state.pending_bytes;
        drop(state);
        self.changed.notify_all();
        pending_bytes
    }

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

/// What the writer's task reads.
#[derive(Debug)]
pub struct Inbox {
    pub(super) batches: mpsc::UnboundedReceiver<Job>,
    pub(super) live: mpsc::Receiver<LivePoints>,
}

/// Both ends, and what the writer reports progress to.
pub(super) fn channel() -> (Outbox, Inbox, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    // Unbounded in number, bounded in bytes: the consumer pauses above its limit.
    let (batches, batches_in) = mpsc::unbounded_channel();
    let (live, live_in) = mpsc::channel(1);
    let outbox = Outbox { batches, live, progress: Arc::clone(&progress), sent: 0 };
    (outbox, Inbox { batches: batches_in, live: live_in }, progress)
}
