//! Membership in the consumer group: settings of the client, and its callbacks, which hand over to [`Intake`].
//!
//! Callbacks run inside `poll`, on the polling thread, which does not hold the lock then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candles_core::config::{Assignor, PipelineConfig};
use rdkafka::{
    ClientConfig, ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use super::{
    intake::Intake,
    limits::{
        FETCH_BYTES_MAX, METADATA_REFRESH, POLL_INTERVAL_MAX, PREFETCH_KIB, PREFETCH_RECORDS, SESSION_TIMEOUT,
    },
    metrics::{Metrics, PartitionLabel},
};
use crate::{kafka, runtime::health::Health};

/// The part of the worker that `/readyz` reports.
pub const HEALTH_PART: &str = "kafka";

/// The context of the consumer's client.
pub struct Group {
    intake: Mutex<Intake>,
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
    /// The context around an intake.
    pub fn new(intake: Intake, health: Arc<Health>, metrics: Arc<Metrics>, topic: String) -> Self {
        Self { intake: Mutex::new(intake), health, metrics, topic }
    }

    /// The intake. Never hold it across a poll.
    pub fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what the client said about the brokers or the topic.
    pub fn trouble(&self, problem: &str) {
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
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&starts),
            _ => consumer.assign(&starts),
        };
        match result.and_then(|()| intake.hold_if_paused(consumer, &starts)) {
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
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            _ => consumer.unassign(),
        };
        if let Err(error) = result {
            self.trouble(&format!("cannot give partitions back: {error}"));
        }
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
        let member =
            statistics.cgrp.as_ref().is_some_and(|group| group.state == "up" && group.join_state == "steady");
        if member && statistics.brokers.values().any(|broker| broker.state == "UP") {
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
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, partitions),
            other => self.trouble(&format!("rebalance failed: {other:?}")),
        }
    }
}
