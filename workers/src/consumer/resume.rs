//! Where and how each partition is read: committed offsets and the ends of the log in, a [`Partition`] out. Part of the
//! polling thread's state.
//!
//! - A partition that was added to the topic is read from its start, whatever `offsetReset` says.
//!   (`symbols_that_move_to_another_partition_keep_exact_candles`)
//! - A topic that was made anew under the same name is read from its start, however long it is.
//!   (`a_topic_that_is_made_again_and_is_longer_than_before_is_read_from_its_start`)

use std::time::{Duration, Instant};

use candles_core::{
    builder::Builder,
    checkpoint::{Checkpoint, LastRecord},
    config::OffsetReset,
};
use rdkafka::{
    Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaResult,
    topic_partition_list::TopicPartitionListElem,
};

use super::{
    group::{GroupConsumer, HEALTH_PART},
    intake::Intake,
    limits::{BROKER_CALL, IDENTITY_CALL, IDENTITY_INTERVAL},
    partition::Partition,
};

impl Intake {
    /// Takes partitions over; returns where to read each. `None` when the process is going down.
    pub fn assigned(
        &mut self,
        consumer: &GroupConsumer,
        list: &TopicPartitionList,
    ) -> Option<TopicPartitionList> {
        let committed = self.insist("read committed offsets", || {
            let committed = consumer.committed_offsets(list.clone(), BROKER_CALL)?;
            // A partition whose offset could not be read has none in the list, as one without a commit.
            committed.elements().iter().try_for_each(TopicPartitionListElem::error)?;
            Ok(committed)
        })?;
        let from_the_end = self.from_the_end(consumer, &committed)?;
        let mut starts = TopicPartitionList::with_capacity(list.count());
        for element in committed.elements() {
            let number = element.partition();
            let (low, high) = self.insist("read the ends of the partitions", || {
                consumer.fetch_watermarks(&self.topic, number, BROKER_CALL)
            })?;
            let reset = if from_the_end { high } else { low };
            let partition = self.resume(number, element.offset(), element.metadata(), (low, high), reset);
            // A valid offset is never refused.
            let _ = starts.add_partition_offset(&self.topic, number, Offset::Offset(partition.next()));
            self.partitions.insert(number, partition);
        }
        self.shared.metrics.assigned_partitions.set(self.partitions.len() as i64);
        Some(starts)
    }

    /// Whether partitions without a committed offset are read from their ends: by `offsetReset: Latest`, and only in a
    /// group without a past. Else they are new, and their first records are nobody's past. `None`: going down.
    fn from_the_end(&self, consumer: &GroupConsumer, committed: &TopicPartitionList) -> Option<bool> {
        let is_committed = |list: &TopicPartitionList| {
            list.elements().iter().any(|element| matches!(element.offset(), Offset::Offset(_)))
        };
        if self.offset_reset == OffsetReset::Earliest
            || is_committed(committed)
            || !self.partitions.is_empty()
        {
            return Some(false);
        }
        let all = self.insist("read committed offsets", || {
            let metadata = consumer.fetch_metadata(Some(&self.topic), BROKER_CALL)?;
            let mut all = TopicPartitionList::new();
            for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                all.add_partition(&self.topic, partition.id());
            }
            let all = consumer.committed_offsets(all, BROKER_CALL)?;
            all.elements().iter().try_for_each(TopicPartitionListElem::error)?;
            Ok(all)
        })?;
        Some(!is_committed(&all))
    }

    /// Where and how to read a partition, from what is committed and what the log still holds.
    /// `reset`: where to start without a committed offset.
    fn resume(
        &self,
        partition: i32,
        committed: Offset,
        metadata: &str,
        (low, high): (i64, i64),
        reset: i64,
    ) -> Partition {
        let settings = self.settings.clone();
        let Offset::Offset(head) = committed else {
            let start = reset;
            tracing::info!(partition, start, "partition assigned, group without a committed offset");
            return Partition::new(Builder::new(settings, start), start, start, high);
        };
        if head > high {
            tracing::error!(
                partition,
                committed = head,
                end = high,
                "topic was recreated or cut: the committed offset is beyond its end; reading it from its start"
            );
            return Partition::new(Builder::new(settings, low), low, low, high);
        }
        let checkpoint = match Checkpoint::decode(metadata) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                // An administrator's reset: no state before it.
                tracing::info!(partition, head, %error, "partition assigned without a checkpoint");
                let start = head.max(low);
                return Partition::new(Builder::new(settings, start), start, start, high);
            }
        };
        let start = Builder::start_offset(&settings, &checkpoint);
        let mut builder = Builder::restore(settings, &checkpoint, head);
        if start < low {
            builder.lost_until(low);
        }
        if head < low {
            self.shared.metrics.records_lost.inc_by((low - head) as u64);
            tracing::error!(
                partition,
                committed = head,
                oldest = low,
                "records lost: retention removed them unread"
            );
        }
        let (start, head) = (start.max(low), head.max(low));
        tracing::info!(partition, start, head, end = high, "partition assigned");
        Partition::new(builder, start, head, high).resumed_from(metadata).expecting(checkpoint.last, low)
    }

    /// Calls a broker until it answers or the process is going down.
    fn insist<T>(&self, what: &str, call: impl Fn() -> KafkaResult<T>) -> Option<T> {
        while !self.stop.is_cancelled() {
            match call() {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    let reason = format!("cannot {what} of topic {}: {error}; will try again", self.topic);
                    if self.health.fails(HEALTH_PART, &*reason) {
                        tracing::warn!("{reason}");
                    }
                }
            }
            // The loop stands still meanwhile, but is not stuck.
            self.health.beat();
            std::thread::sleep(Duration::from_millis(200));
        }
        None
    }

    /// The log no longer holds what a partition was to read next: starts anew where it does.
    pub(super) fn out_of_range(&mut self, consumer: &GroupConsumer) {
        let mut moved = Vec::new();
        for number in self.owned() {
            let call = || consumer.fetch_watermarks(&self.topic, number, BROKER_CALL);
            let Some((low, high)) = self.insist("read the ends of the partitions", call) else { return };
            let Some(partition) = self.partitions.get(&number) else { continue };
            if !(low..=high).contains(&partition.next()) {
                let (head, metadata) = partition.checkpoint();
                let partition = self.resume(number, Offset::Offset(head), &metadata, (low, high), low);
                self.partitions.insert(number, partition);
                self.commits.forget(number);
                moved.push(number);
            }
        }
        if let Err(error) = self.read_from_next(consumer, &moved) {
            tracing::warn!(%error, partitions = ?moved, "cannot go to where the log begins");
        }
    }

    /// Looks from time to time whether the topic is still the one that was read: the client does not tell.
    pub(super) fn check_identity(&mut self, consumer: &GroupConsumer) {
        if self.last_identity_check.elapsed() < IDENTITY_INTERVAL {
            return;
        }
        for number in self.owned() {
            let Some(last) = self.partitions.get(&number).and_then(Partition::last) else { continue };
            // Another time will do where a broker does not answer.
            let Ok((low, newer)) = self.first_newer(consumer, number, last.timestamp_ms) else { break };
            if is_another_log(last, low, newer) {
                self.replaced.push(number);
            }
        }
        self.last_identity_check = Instant::now();
    }

    /// Start of a partition, and its first record that was published after a time.
    fn first_newer(&self, consumer: &GroupConsumer, number: i32, time_ms: i64) -> KafkaResult<(i64, Offset)> {
        let mut times = TopicPartitionList::with_capacity(1);
        times.add_partition_offset(&self.topic, number, Offset::Offset(time_ms + 1))?;
        let found = consumer.offsets_for_times(times, IDENTITY_CALL)?;
        let (low, _) = consumer.fetch_watermarks(&self.topic, number, IDENTITY_CALL)?;
        let elements = found.elements();
        let newer =
            elements.first().map_or(Ok(Offset::End), |found| found.error().map(|()| found.offset()))?;
        Ok((low, newer))
    }

    /// Reads partitions from their start whose log is another one than before.
    pub(super) fn start_over(&mut self, consumer: &GroupConsumer) {
        let replaced = std::mem::take(&mut self.replaced);
        for &number in &replaced {
            let call = || consumer.fetch_watermarks(&self.topic, number, BROKER_CALL);
            let Some((low, high)) = self.insist("read the ends of the partitions", call) else { return };
            tracing::error!(
                partition = number,
                start = low,
                "topic was made anew; reading it from its start"
            );
            let partition = Partition::new(Builder::new(self.settings.clone(), low), low, low, high);
            self.partitions.insert(number, partition);
            self.commits.forget(number);
        }
        if let Err(error) = self.read_from_next(consumer, &replaced) {
            tracing::warn!(%error, partitions = ?replaced, "cannot go to where the log begins");
        }
    }
}

/// Whether a log that starts at `low` is not the one that held `last`: its first record is newer, though it stands
/// before `last` or in its place. Records are published in order of time, but for the clocks of two producers.
fn is_another_log(last: LastRecord, low: i64, first_newer: Offset) -> bool {
    first_newer == Offset::Offset(low) && low <= last.offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_whose_first_record_is_newer_than_the_last_read_is_another() {
        let last = LastRecord { offset: 70, timestamp_ms: 5 };
        assert!(is_another_log(last, 0, Offset::Offset(0)));
        assert!(is_another_log(LastRecord { offset: 0, ..last }, 0, Offset::Offset(0)));
        assert!(!is_another_log(last, 0, Offset::Offset(71)), "goes on");
        assert!(!is_another_log(last, 0, Offset::End), "nothing new");
        assert!(!is_another_log(last, 0, Offset::Offset(69)), "clocks differ");
        assert!(!is_another_log(last, 90, Offset::Offset(90)), "retention has overtaken");
    }
}
