//! Membership in the consumer group: settings of the client, and its callbacks, which hand over to [`Intake`].
//!
//! Callbacks run inside `poll`, on the polling thread, which does not hold the lock then.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use candles_core::config::{Assignor, PipelineConfig};
use rdkafka::{
    ClientConfig, ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use super::{
    intake::Intake,
    limits::{
        FETCH_BYTES_MAX, METADATA_REFRESH, POLL_INTERVAL_MAX, PREFETCH_KIB, PREFETCH_RECORDS, SESSION_TIMEOUT,
    },
    membership::{Membership, Standing},
    metrics::{Metrics, PartitionLabel},
};
use crate::{kafka, runtime::health::Health};

/// The part of the worker that `/readyz` reports.
pub const HEALTH_PART: &str = "kafka";

/// The context of one client. Clients that follow one another share the intake.
pub struct Group {
    intake: Arc<Mutex<Intake>>,
    membership: Mutex<Membership>,
    /// Another client has taken over the intake.
    given_up: AtomicBool,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    topic: String,
}

/// The consumer's client.
pub type GroupConsumer = BaseConsumer<Group>;

/// Settings of the consumer's client. Source of each: `facts/streaming.md`, section 2.
pub fn settings(mut client: ClientConfig, config: &PipelineConfig) -> ClientConfig {
    client
        .set("group.id", config.group_id())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Where to start is this program's decision, for new groups and for offsets that are gone.
        .set("auto.offset.reset", "error")
        .set("max.poll.interval.ms", POLL_INTERVAL_MAX.as_millis().to_string())
        .set("queued.min.messages", PREFETCH_RECORDS.to_string())
        .set("queued.max.messages.kbytes", PREFETCH_KIB.to_string())
        .set("fetch.message.max.bytes", FETCH_BYTES_MAX.to_string())
        .set("fetch.queue.backoff.ms", "10")
        .set("check.crcs", "true")
        // How soon a partition that was added is read.
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH.as_millis().to_string())
        .set("statistics.interval.ms", "5000");
    match config.consumer.assignor {
        Assignor::Broker => client.set("group.protocol", "consumer"),
        classic => client
            .set(
                "partition.assignment.strategy",
                match classic {
                    Assignor::Range => "range",
                    Assignor::RoundRobin => "roundrobin",
                    Assignor::CooperativeSticky | Assignor::Broker => "cooperative-sticky",
                },
            )
            .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string()),
    };
    client
}

impl Group {
    /// The context of a client that fills this intake.
    pub fn new(
        intake: Arc<Mutex<Intake>>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        topic: String,
    ) -> Self {
        let (membership, given_up) = (Mutex::default(), AtomicBool::new(false));
        Self { intake, membership, given_up, health, metrics, topic }
    }

    /// The intake. Never hold it across a poll.
    pub fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The polling thread lives.
    pub fn beat(&self) {
        self.health.beat();
    }

    /// How long the client has been outside of its group, if that is too long.
    pub fn outside_too_long(&self) -> Option<Duration> {
        let outside = self.membership().outside_too_long(Instant::now())?;
        // Partitions may have come since the client said so.
        self.intake().owned().is_empty().then_some(outside)
    }

    /// Another client takes over, for this reason: from now on nothing that this one says matters.
    pub fn give_up(&self, reason: &str) {
        self.given_up.store(true, Ordering::Relaxed);
        self.metrics.client_rebuilds.inc();
        self.health.fails(HEALTH_PART, format!("{reason}; joining with another client"));
        tracing::error!(reason, "joining the group with another Kafka client");
    }

    /// The client is kept for another while, since there is no other one.
    pub fn keep(&self, reason: &str) {
        *self.membership() = Membership::default();
        self.trouble(reason);
    }

    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Reports what the client said about the brokers or the topic.
    pub fn trouble(&self, problem: &str) {
        if self.is_given_up() {
            return;
        }
        let advice = kafka::advice(problem).map(|advice| format!(" ({advice})")).unwrap_or_default();
        let reason = format!("{problem}{advice}; will try again");
        if self.health.fails(HEALTH_PART, reason.clone()) {
            tracing::warn!("kafka unavailable: {reason}");
        }
    }

    fn assign(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList) {
        self.metrics.rebalances.inc();
        let mut intake = self.intake();
        let Some(starts) = intake.assigned(consumer, partitions) else { return };
        match take(consumer, &starts).and_then(|()| intake.hold_if_paused(consumer, &starts)) {
            Ok(()) => {
                self.health.works(HEALTH_PART);
            }
            Err(error) => self.trouble(&format!("cannot take partitions: {error}")),
        }
    }

    fn revoke(&self, consumer: &GroupConsumer, partitions: &TopicPartitionList) {
        self.metrics.rebalances.inc();
        let lost = consumer.assignment_lost();
        self.intake().revoked(consumer, partitions, lost);
        if let Err(error) = give_back(consumer, partitions) {
            self.trouble(&format!("cannot give partitions back: {error}"));
        }
    }
}

fn take(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
    }
}

fn give_back(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        kafka::log(level, facility, line);
        // Errors come to `error` too; a broker that hangs up does not, though its cause may be a setting.
        let only_logged =
            matches!(level, RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info);
        if only_logged && kafka::advice(line).is_some() {
            self.trouble(line.split_once("]: ").map_or(line, |(_thread, words)| words));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all are down says less than why each is.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.trouble(reason);
        }
    }

    fn stats(&self, statistics: Statistics) {
        if self.is_given_up() {
            return;
        }
        let mut intake = self.intake();
        let assigned = intake.owned();
        if let Some(topic) = statistics.topics.get(&self.topic) {
            for partition in topic.partitions.values().filter(|p| assigned.contains(&p.partition)) {
                let label = PartitionLabel { partition: partition.partition };
                // -1: not known yet, which is not 0.
                if partition.consumer_lag >= 0 {
                    self.metrics.lag.get_or_create(&label).set(partition.consumer_lag);
                }
                let committed = (partition.committed_offset >= 0).then_some(partition.committed_offset);
                intake.confirmed(partition.partition, committed);
            }
        }
        drop(intake);
        let standing = Standing::new(&statistics, !assigned.is_empty());
        self.membership().stands(standing, Instant::now());
        if standing == Standing::Member {
            self.health.works(HEALTH_PART);
        }
    }
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &GroupConsumer,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.is_given_up() {
            // On its way out, it has to be answered all the same.
            let answered = match event {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => take(consumer, partitions),
                _ => give_back(consumer, partitions),
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "a client that was given up leaves");
            }
            return;
        }
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, partitions),
            other => self.trouble(&format!("rebalance failed: {other:?}")),
        }
    }
}
