//! Which batches go into the next request: batches in log order in, merged batches and acknowledgements in log
//! order out.
//!
//! Small batches are sent at once while nothing is under way, and are merged while something is: latency at low
//! rates, throughput at high ones, without a timer.

use std::collections::VecDeque;

use super::{batch::Batch, outbox::Job};

/// InfluxDB's own advice for v2.
const BATCH_LINES_MAX: usize = 5_000;
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// More requests make InfluxDB no faster on a few cores, and hold more memory.
const IN_FLIGHT_MAX: usize = 3;

/// Batches that wait, and those that are under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Job>,
    waiting_lines: usize,
    waiting_bytes: usize,
    /// Last number and size of each merged batch under way, in order, and whether it is done.
    under_way: VecDeque<(u64, usize, bool)>,
}

impl Queue {
    /// Adds the next batch.
    pub fn push(&mut self, job: Job) {
        self.waiting_lines += job.batch.lines();
        self.waiting_bytes += job.batch.bytes();
        self.waiting.push_back(job);
    }

    /// The next merged batch to send, if it is time, and the number that it goes up to.
    pub fn next(&mut self) -> Option<(u64, Batch)> {
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
    pub fn done(&mut self, number: u64) -> impl Iterator<Item = (u64, usize)> {
        if let Some(entry) = self.under_way.iter_mut().find(|(n, _, _)| *n == number) {
            entry.2 = true;
        }
        std::iter::from_fn(|| {
            let (number, bytes, _) = self.under_way.pop_front_if(|(_, _, done)| *done)?;
            Some((number, bytes))
        })
    }
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
}
