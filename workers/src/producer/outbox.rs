//! Records in, bursts to the Kafka client out: of each partition one burst is on its way, the next one gathers.
//!
//! A first record goes at once; what comes before its acknowledgement goes together after it (Nagle's rule). The
//! client's own `linger.ms` cannot do that: it delays the first record too, and an idempotent client sends one request
//! per partition at a time and polls without a pause from the moment that the next records have waited longer than
//! `linger.ms` for the answer (rd_kafka_toppar_producer_serve of librdkafka 2.12): half a core at 20,000 trades/s.
//! One burst on its way also keeps the order of a partition where the client is not idempotent (acks 0 and 1).

use std::{sync::Arc, time::Instant};

use candles_core::mark::Signed;

use super::{
    limits::{BURST_RECORDS_MAX, QUEUE_RECORDS_MAX},
    publisher::{Publisher, Refused},
};

/// A record that waits; its key and value stand in the lane's bytes.
struct Waiting {
    key_len: usize,
    value_len: usize,
    published: Instant,
    mark: Option<Signed>,
}

/// What waits for one partition, and how much is on its way.
#[derive(Default)]
struct Lane {
    on_its_way: usize,
    waiting: Vec<Waiting>,
    bytes: Vec<u8>,
    /// Of `waiting` and `bytes` so much is handed over already.
    handed_over: (usize, usize),
}

/// See the module.
pub struct Outbox {
    publisher: Arc<Publisher>,
    lanes: Vec<Lane>,
    waiting: usize,
    on_their_way: usize,
    /// Records by partition that a poll found delivered.
    delivered: Vec<usize>,
}

impl Outbox {
    /// Nothing waits.
    pub fn new(publisher: Arc<Publisher>) -> Self {
        Self { publisher, lanes: Vec::new(), waiting: 0, on_their_way: 0, delivered: Vec::new() }
    }

    /// A trade's record. Refused when the queue is full: do not read sockets, [`Outbox::turn`], try again.
    #[inline]
    pub fn trade(&mut self, partition: i32, key: &[u8], value: &[u8], now: Instant) -> Result<(), Refused> {
        self.push(partition, key, value, now, None)
    }

    /// A mark's record: headers, no value. Refused as trades are.
    pub fn mark(&mut self, partition: i32, key: &[u8], mark: Signed, now: Instant) -> Result<(), Refused> {
        self.push(partition, key, &[], now, Some(mark))
    }

    #[inline]
    fn push(
        &mut self,
        partition: i32,
        key: &[u8],
        value: &[u8],
        published: Instant,
        mark: Option<Signed>,
    ) -> Result<(), Refused> {
        if self.queued() >= QUEUE_RECORDS_MAX {
            return Err(Refused::Full);
        }
        let partition = partition as usize;
        if partition >= self.lanes.len() {
            self.lanes.resize_with(partition + 1, Lane::default);
        }
        let lane = &mut self.lanes[partition];
        lane.bytes.extend_from_slice(key);
        lane.bytes.extend_from_slice(value);
        lane.waiting.push(Waiting { key_len: key.len(), value_len: value.len(), published, mark });
        self.waiting += 1;
        Ok(())
    }

    /// Takes delivery reports and hands over what may go now. Returns how many records were delivered.
    pub fn turn(&mut self) -> Result<usize, Refused> {
        let delivered = self.take_reports();
        if self.waiting > 0 {
            self.hand_over(false)?;
        }
        Ok(delivered)
    }

    /// Hands over all that waits, whatever is on its way: nothing comes after it.
    pub fn close(&mut self) -> Result<(), Refused> {
        self.hand_over(true)
    }

    /// Records without a delivery report.
    pub fn queued(&self) -> usize {
        self.waiting + self.on_their_way
    }

    /// Whether records wait for others to be acknowledged.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    fn take_reports(&mut self) -> usize {
        self.publisher.poll(&mut self.delivered);
        let mut sum = 0;
        for (lane, delivered) in self.lanes.iter_mut().zip(&mut self.delivered) {
            lane.on_its_way -= *delivered;
            sum += std::mem::take(delivered);
        }
        self.on_their_way -= sum;
        sum
    }

    fn hand_over(&mut self, last: bool) -> Result<(), Refused> {
        for (partition, lane) in self.lanes.iter_mut().enumerate() {
            if !last && lane.on_its_way > 0 {
                continue;
            }
            let before = lane.handed_over.0;
            let result = lane.hand_over(
                &self.publisher,
                partition as i32,
                if last { usize::MAX } else { BURST_RECORDS_MAX },
            );
            let sent = lane.handed_over.0 - before;
            lane.on_its_way += sent;
            self.on_their_way += sent;
            self.waiting -= sent;
            lane.forget_what_is_gone();
            match result {
                // The client has no room, or does not know the partition yet: at the next turn.
                Ok(()) | Err(Refused::Full) => {}
                Err(broken) => return Err(broken),
            }
        }
        Ok(())
    }
}

impl Lane {
    fn hand_over(
        &mut self,
        publisher: &Publisher,
        partition: i32,
        records_max: usize,
    ) -> Result<(), Refused> {
        let (first, mut at) = self.handed_over;
        for record in self.waiting[first..].iter().take(records_max) {
            let (key, rest) = self.bytes[at..].split_at(record.key_len);
            match &record.mark {
                None => publisher.trade(partition, key, &rest[..record.value_len], record.published)?,
                Some(mark) => publisher.mark(partition, key, mark, record.published)?,
            }
            at += record.key_len + record.value_len;
            self.handed_over = (self.handed_over.0 + 1, at);
        }
        Ok(())
    }

    fn forget_what_is_gone(&mut self) {
        let (records, bytes) = std::mem::take(&mut self.handed_over);
        if records == self.waiting.len() {
            self.waiting.clear();
            self.bytes.clear();
        } else {
            self.waiting.drain(..records);
            self.bytes.drain(..bytes);
        }
    }
}
