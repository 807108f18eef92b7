//! Records in, bursts to the Kafka client out: of each partition one burst is on its way, the next one gathers.
//!
//! A first record goes at once; what comes before its acknowledgement goes together after it (Nagle's rule). The
//! client's own `linger.ms` cannot do that: it delays the first record too, and an idempotent client sends one request
//! per partition at a time and polls without a pause from the moment that the next records have waited longer than
//! `linger.ms` for the answer (rd_kafka_toppar_producer_serve of librdkafka 2.12): half a core at 20,000 trades/s.
//! - One burst of a partition is on its way at a time; the others wait here, in order.
//!   (`what_comes_before_the_acknowledgement_goes_together_after_it`)
//! - A partition that does not answer holds up no other. (`a_partition_that_waits_holds_up_no_other`)
//! - Nothing is dropped: a full outbox refuses. (`a_full_outbox_refuses_until_records_are_delivered`)

use std::{sync::Arc, time::Instant};

use candles_core::mark::Signed;

use super::{
    limits::{BURST_RECORDS_MAX, QUEUE_RECORDS_MAX},
    publisher::{Publisher, Refused},
};

/// Too many records are without a delivery report: do not read sockets, [`Outbox::turn`], try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

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

    /// A trade's record.
    #[inline]
    pub fn trade(&mut self, partition: i32, key: &[u8], value: &[u8], now: Instant) -> Result<(), Full> {
        self.push(partition, key, value, now, None)
    }

    /// A mark's record: headers, no value.
    pub fn mark(&mut self, partition: i32, key: &[u8], mark: Signed, now: Instant) -> Result<(), Full> {
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
    ) -> Result<(), Full> {
        if self.queued() >= QUEUE_RECORDS_MAX {
            return Err(Full);
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

    /// Takes delivery reports and hands over what may go now. Returns how many records were delivered; `Err`: why the
    /// client is of no more use.
    pub fn turn(&mut self) -> Result<usize, String> {
        let delivered = self.take_reports();
        if self.waiting > 0 {
            self.hand_over(false)?;
        }
        Ok(delivered)
    }

    /// Hands over all that waits, whatever is on its way: nothing comes after it. Returns how many records the client
    /// did not take.
    pub fn close(&mut self) -> usize {
        // What is left says it all: the process ends.
        let _ = self.hand_over(true);
        self.waiting
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

    fn hand_over(&mut self, last: bool) -> Result<(), String> {
        let records_max = if last { usize::MAX } else { BURST_RECORDS_MAX };
        for (partition, lane) in self.lanes.iter_mut().enumerate() {
            if last || lane.on_its_way == 0 {
                let (sent, result) = lane.hand_over(&self.publisher, partition as i32, records_max);
                self.on_their_way += sent;
                self.waiting -= sent;
                result?;
            }
        }
        Ok(())
    }
}

impl Lane {
    /// Returns how many records the client took; `Err`: why it is of no more use.
    fn hand_over(
        &mut self,
        publisher: &Publisher,
        partition: i32,
        records_max: usize,
    ) -> (usize, Result<(), String>) {
        let (mut sent, mut bytes, mut result) = (0, 0, Ok(()));
        for record in self.waiting.iter().take(records_max) {
            let (key, rest) = self.bytes[bytes..].split_at(record.key_len);
            let taken = match &record.mark {
                None => publisher.trade(partition, key, &rest[..record.value_len], record.published),
                Some(mark) => publisher.mark(partition, key, mark, record.published),
            };
            match taken {
                Ok(()) => {}
                // The client has no room, or does not know the partition yet: at the next turn.
                Err(Refused::Full) => break,
                Err(Refused::Broken(reason)) => {
                    result = Err(reason);
                    break;
                }
            }
            sent += 1;
            bytes += record.key_len + record.value_len;
        }
        self.waiting.drain(..sent);
        self.bytes.drain(..bytes);
        self.on_its_way += sent;
        (sent, result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use candles_core::config::Acks;
    use prometheus_client::registry::Registry;
    use rdkafka::{ClientConfig, mocking::MockCluster, producer::DefaultProducerContext};

    use super::*;
    use crate::producer::{metrics::Metrics, publisher};

    /// Long enough to look at what is on its way meanwhile.
    const ROUND_TRIP: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(60);

    struct World {
        outbox: Outbox,
        cluster: MockCluster<'static, DefaultProducerContext>,
    }

    impl World {
        fn new() -> Self {
            let cluster = MockCluster::new(2).unwrap();
            cluster.create_topic("trades", 2, 1).unwrap();
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", cluster.bootstrap_servers());
            let metrics = Metrics::new(&mut Registry::default());
            let config = publisher::settings(config, Acks::All);
            let publisher = Publisher::new(&config, "trades", "trades-dlq".to_owned(), metrics).unwrap();
            assert_eq!(publisher.partitions(PATIENCE), Ok(2));
            Self { outbox: Outbox::new(Arc::new(publisher)), cluster }
        }

        fn push(&mut self, partition: i32, records: usize) {
            for _ in 0..records {
                self.outbox.trade(partition, b"tBTCUSD", b"value", Instant::now()).unwrap();
            }
        }

        fn on_its_way(&self, partition: usize) -> usize {
            self.outbox.lanes[partition].on_its_way
        }

        fn turn_until(&mut self, holds: impl Fn(&Self) -> bool) {
            let begun = Instant::now();
            while !holds(self) {
                self.outbox.turn().unwrap();
                assert!(begun.elapsed() < PATIENCE, "{} records queued", self.outbox.queued());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn what_comes_before_the_acknowledgement_goes_together_after_it() {
        let mut world = World::new();
        for broker in [1, 2] {
            world.cluster.broker_round_trip_time(broker, ROUND_TRIP).unwrap();
        }
        world.push(0, 1);
        world.outbox.turn().unwrap();
        assert_eq!(world.on_its_way(0), 1, "a first record does not wait");
        world.push(0, 10);
        world.outbox.turn().unwrap();
        assert_eq!((world.on_its_way(0), world.outbox.waiting), (1, 10));
        world.turn_until(|world| world.on_its_way(0) != 1);
        assert_eq!((world.on_its_way(0), world.outbox.is_waiting()), (10, false));
        world.turn_until(|world| world.outbox.queued() == 0);
    }

    #[test]
    fn a_partition_that_waits_holds_up_no_other() {
        let mut world = World::new();
        // Partition 0 is broker 1's, partition 1 is broker 2's.
        world.cluster.broker_round_trip_time(1, PATIENCE).unwrap();
        world.push(0, 1);
        world.outbox.turn().unwrap();
        for _ in 0..3 {
            world.push(0, 1);
            world.push(1, 1);
            world.turn_until(|world| world.outbox.lanes[1].waiting.is_empty() && world.on_its_way(1) == 0);
        }
        assert_eq!((world.on_its_way(0), world.outbox.waiting), (1, 3));
        assert_eq!(world.outbox.close(), 0, "at the end everything goes, whatever is on its way");
        assert_eq!(world.on_its_way(0), 4);
    }

    #[test]
    fn a_full_outbox_refuses_until_records_are_delivered() {
        let mut world = World::new();
        world.push(0, QUEUE_RECORDS_MAX);
        let more = |world: &mut World| world.outbox.trade(0, b"tBTCUSD", b"value", Instant::now());
        assert_eq!(more(&mut world), Err(Full));
        world.turn_until(|world| world.outbox.queued() < QUEUE_RECORDS_MAX);
        assert_eq!(more(&mut world), Ok(()));
        world.turn_until(|world| world.outbox.queued() == 0);
    }
}
