//! The polling thread: records in, batches out, offsets committed when the sink has acknowledged them.
//!
//! [`Intake`] is the state, owned by the client's context; [`poll_until`] is the loop. The loop never waits for the
//! sink or the registry without polling: it pauses its partitions instead, and stays a member of the group.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use candles_core::{
    checkpoint::Settings,
    config::OffsetReset,
    mark::{MarkError, Signed},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers as _},
    topic_partition_list::TopicPartitionListElem,
};
use tokio_util::sync::CancellationToken;

use super::{
    commits::{Commits, Progress, offsets},
    group::{Group, GroupConsumer},
    limits::{
        BROKER_CALL, COMMIT_INTERVAL, DRAIN_MAX, LIVE_INTERVAL, PENDING_BYTES_HIGH, PENDING_BYTES_LOW,
        POLL_WAIT, ROUND_BYTES_MAX, ROUND_RECORDS_MAX, STALL_MAX,
    },
    metrics::PartitionLabel,
    partition::{Partition, Record, Shared, split},
    schemas::{Lookup, Schemas},
};
use crate::{
    runtime::health::Health,
    sink::{
        batch::{Batch, Origin},
        outbox::Outbox,
    },
};

/// What the polling thread owns.
pub struct Intake {
    pub(super) topic: String,
    pub(super) settings: Settings,
    pub(super) offset_reset: OffsetReset,
    live: bool,
    pub(super) shared: Shared,
    schemas: Schemas,
    outbox: Outbox,
    pub(super) health: Arc<Health>,
    pub(super) stop: CancellationToken,
    pub(super) partitions: HashMap<i32, Partition>,
    batch: Batch,
    pub(super) commits: Commits,
    paused: bool,
    /// A record was read that has to be read again: only a seek brings it back.
    put_back: bool,
    /// Partitions whose log was found to be another one than before.
    pub(super) replaced: Vec<i32>,
    pub(super) last_identity_check: Instant,
    last_commit: Instant,
    last_live: Instant,
}

/// What an [`Intake`] is made of.
pub struct Parts {
    pub topic: String,
    pub settings: Settings,
    pub offset_reset: OffsetReset,
    pub live: bool,
    pub shared: Shared,
    pub schemas: Schemas,
    pub outbox: Outbox,
    pub health: Arc<Health>,
    pub stop: CancellationToken,
}

impl Intake {
    /// Without partitions.
    pub fn new(parts: Parts) -> Self {
        let Parts { topic, settings, offset_reset, live, shared, schemas, outbox, health, stop } = parts;
        Self {
            topic,
            settings,
            offset_reset,
            live,
            shared,
            schemas,
            outbox,
            health,
            stop,
            partitions: HashMap::new(),
            batch: Batch::default(),
            commits: Commits::default(),
            paused: false,
            put_back: false,
            replaced: Vec::new(),
            last_identity_check: Instant::now(),
            last_commit: Instant::now(),
            last_live: Instant::now(),
        }
    }

    /// Partitions that this member owns.
    pub fn owned(&self) -> Vec<i32> {
        self.partitions.keys().copied().collect()
    }

    /// What the client knows to be committed.
    pub fn confirmed(&mut self, partition: i32, committed: Option<i64>) {
        if self.commits.confirmed(partition, committed) {
            self.shared.metrics.commits_failed.inc();
            tracing::warn!(partition, committed, "offset not committed; repeating the commit");
        }
    }

    /// Newly taken partitions start paused while the others are.
    pub fn hold_if_paused(&self, consumer: &GroupConsumer, list: &TopicPartitionList) -> KafkaResult<()> {
        if self.paused { consumer.pause(list) } else { Ok(()) }
    }

    /// Gives partitions back: waits for the sink, commits what it has acknowledged, and forgets them.
    pub fn revoked(&mut self, consumer: &GroupConsumer, list: &TopicPartitionList, lost: bool) {
        let numbers: Vec<i32> = list.elements().iter().map(TopicPartitionListElem::partition).collect();
        tracing::info!(partitions = ?numbers, lost, "partitions revoked");
        if !lost {
            self.flush();
            self.note_progress();
            if !self.outbox.wait_acknowledged(DRAIN_MAX) {
                tracing::warn!("sink did not take all in time; the next owner reads the rest again");
            }
            self.commit(consumer, CommitMode::Sync);
        }
        if self.paused {
            // The client remembers a pause when the partition comes back, be it much later.
            let _ = consumer.resume(list);
        }
        for number in numbers {
            self.partitions.remove(&number);
            self.commits.forget(number);
            self.replaced.retain(|&replaced| replaced != number);
            self.shared.metrics.lag.remove(&PartitionLabel { partition: number });
        }
        self.shared.metrics.assigned_partitions.set(self.partitions.len() as i64);
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let record = Record {
            origin: Origin { partition: message.partition(), offset: message.offset() },
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
        };
        // A record of a partition that was just given away.
        let Some(partition) = self.partitions.get_mut(&record.origin.partition) else { return };
        if record.origin.offset < partition.next() || self.replaced.contains(&record.origin.partition) {
            return;
        }
        if !partition.is_same_log(&record) {
            self.replaced.push(record.origin.partition);
            return;
        }
        if partition.passes_over(record.origin.offset) {
            return;
        }
        let Some(value) = record.value else {
            partition.mark(&record, mark(message), &self.shared, &mut self.batch);
            return;
        };
        match split(value) {
            Err((class, error)) => partition.unreadable(&record, class, error, &mut self.batch),
            Ok((id, body)) => match self.schemas.lookup(id) {
                Lookup::Schema(schema) => {
                    partition.value(&record, schema, body, &self.shared, &mut self.batch);
                }
                Lookup::Dead(class, error) => partition.unreadable(&record, class, error, &mut self.batch),
                Lookup::Wait => {
                    self.put_back = true;
                }
            },
        }
    }

    /// A record behind one that has to be read again: its schema will be known by then.
    fn look_ahead(&mut self, message: &BorrowedMessage<'_>) {
        if let Some(Ok((id, _))) = message.payload().map(split) {
            self.schemas.prefetch(id);
        }
    }

    /// Hands the batch to the sink.
    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.outbox.send(std::mem::take(&mut self.batch));
        }
    }

    fn note_progress(&mut self) {
        let progress = self.partitions.iter().filter_map(|(&partition, state)| {
            state.commit().map(|(offset, metadata)| Progress { partition, offset, metadata })
        });
        self.commits.note(self.outbox.sent(), progress);
    }

    fn commit(&mut self, consumer: &GroupConsumer, mode: CommitMode) {
        let stored = self.outbox.acknowledged();
        #[cfg(feature = "planted-bugs")]
        let stored = {
            use candles_core::planted::{Bug, is};
            if is(Bug::CommitEarly) { self.outbox.sent() } else { stored }
        };
        let due = self.commits.due(stored);
        if due.is_empty() {
            return;
        }
        if let Err(error) = consumer.commit(&offsets(&self.topic, &due), mode) {
            self.shared.metrics.commits_failed.inc();
            tracing::warn!(%error, "offsets not committed");
        }
    }

    /// What is due by time. The batch must have been handed over.
    fn tick(&mut self, consumer: &GroupConsumer) {
        let now = Instant::now();
        if now.duration_since(self.last_commit) >= COMMIT_INTERVAL {
            self.last_commit = now;
            self.note_progress();
        }
        self.commit(consumer, CommitMode::Async);
        if self.live && now.duration_since(self.last_live) >= LIVE_INTERVAL && self.outbox.takes_live() {
            self.last_live = now;
            let mut points = Vec::new();
            for partition in self.partitions.values_mut() {
                partition.live(&self.shared, &mut points);
            }
            if !points.is_empty() {
                self.outbox.send_live(points);
            }
        }
    }

    /// Pauses or goes on, as the sink and the registry allow.
    fn throttle(&mut self, consumer: &GroupConsumer) -> KafkaResult<()> {
        let fetched = self.schemas.settled();
        let pending = self.outbox.pending_bytes();
        if self.paused {
            if fetched && pending < PENDING_BYTES_LOW {
                self.resume_reading(consumer)?;
            }
        } else if self.put_back
            || (pending > PENDING_BYTES_HIGH
                && !self.outbox.wait_pending_below(PENDING_BYTES_HIGH, STALL_MAX))
        {
            consumer.pause(&consumer.assignment()?)?;
            self.paused = true;
        }
        self.shared.metrics.paused.set(i64::from(self.paused));
        Ok(())
    }

    /// Reads on where each partition stands: pausing has thrown away what was prefetched, and a record may have
    /// been put back.
    fn resume_reading(&mut self, consumer: &GroupConsumer) -> KafkaResult<()> {
        let owned = self.owned();
        self.read_from_next(consumer, &owned)?;
        consumer.resume(&self.positions(&owned))?;
        self.paused = false;
        self.put_back = false;
        Ok(())
    }

    /// Lets the client deliver the next record of each of these partitions.
    pub(super) fn read_from_next(&self, consumer: &GroupConsumer, numbers: &[i32]) -> KafkaResult<()> {
        let positions = self.positions(numbers);
        if positions.count() == 0 {
            // The client takes no empty list.
            return Ok(());
        }
        let result = consumer.seek_partitions(positions.clone(), BROKER_CALL)?;
        if result.elements().iter().all(|element| element.error().is_ok()) {
            return Ok(());
        }
        // A fetcher that has stopped, as it does at an offset that is gone, takes no seek.
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                consumer.incremental_unassign(&positions)?;
                consumer.incremental_assign(&positions)
            }
            _ => consumer.assign(&self.positions(&self.owned())),
        }
    }

    fn positions(&self, numbers: &[i32]) -> TopicPartitionList {
        let mut positions = TopicPartitionList::with_capacity(numbers.len());
        for number in numbers {
            if let Some(partition) = self.partitions.get(number) {
                // A valid offset is never refused.
                let _ =
                    positions.add_partition_offset(&self.topic, *number, Offset::Offset(partition.next()));
            }
        }
        positions
    }
}

fn mark(message: &BorrowedMessage<'_>) -> Result<Signed, MarkError> {
    let headers = message.headers();
    let pairs = headers.iter().flat_map(|headers| headers.iter());
    Signed::from_headers(pairs.map(|header| (header.key, header.value.unwrap_or_default())))
}

/// Why polling has ended.
#[derive(Debug)]
pub enum End {
    /// It was told to.
    Stop,
    /// The client has been outside of its group for too long, and owns nothing. What is known about it.
    Outside(String),
}

/// Polls until `stop`, or until another client is needed. The consumer leaves the group when it is dropped.
pub fn poll_until(consumer: &GroupConsumer, stop: &CancellationToken) -> End {
    let group = consumer.context();
    while !stop.is_cancelled() {
        group.beat();
        // The first poll of a round waits; the others take what is there.
        let mut wait = POLL_WAIT;
        for _ in 0..ROUND_RECORDS_MAX {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    let mut intake = group.intake();
                    if intake.put_back {
                        intake.look_ahead(&message);
                    } else if !intake.paused {
                        intake.take(&message);
                    }
                    if intake.batch.bytes() > ROUND_BYTES_MAX {
                        break;
                    }
                }
                Some(Err(error)) => trouble(group, consumer, &error),
                None => break,
            }
            wait = Duration::ZERO;
        }
        let mut intake = group.intake();
        intake.flush();
        let result = intake.throttle(consumer);
        intake.tick(consumer);
        intake.check_identity(consumer);
        intake.start_over(consumer);
        drop(intake);
        if let Err(error) = result {
            group.trouble(&format!("cannot pause or resume partitions: {error}"));
        }
        if let Some(outside) = group.outside_too_long() {
            let cause = consumer.client().fatal_error().map(|(_, words)| format!(": {words}"));
            return End::Outside(format!(
                "no member of the group for {} s, though brokers answer{}",
                outside.as_secs(),
                cause.unwrap_or_default()
            ));
        }
    }
    End::Stop
}

fn trouble(group: &Group, consumer: &GroupConsumer, error: &KafkaError) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset) => group.intake().out_of_range(consumer),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            let topic = &group.intake().topic.clone();
            group.trouble(&format!("topic {topic} does not exist; create it, or correct topic.name"));
        }
        // The context has been told already, in the client's own words, which name the broker and the cause.
        Some(
            RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::Resolve,
        ) => {}
        _ => group.trouble(&error.to_string()),
    }
}
