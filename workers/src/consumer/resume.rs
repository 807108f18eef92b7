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
    Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaResult, metadata::MetadataTopic,
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
        let at_the_end = self.starts_at_the_end(consumer, &committed)?;
        let mut starts = TopicPartitionList::with_capacity(list.count());
        for element in committed.elements() {
            let number = element.partition();
            let (low, high) = self.insist("read the ends of the partitions", || {
                consumer.fetch_watermarks(&self.topic, number, BROKER_CALL)
            })?;
            let reset = if at_the_end { high } else { low };
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
    fn starts_at_the_end(&self, consumer: &GroupConsumer, committed: &TopicPartitionList) -> Option<bool> {
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
            for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
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
            let Some((low, high)) = self.ends(consumer, number) else { return };
            let in_range = |partition: &Partition| (low..=high).contains(&partition.next());
            if !self.partitions.get(&number).is_none_or(in_range) {
                self.resume_anew(number, (low, high));
                moved.push(number);
            }
        }
        self.read_on(consumer, &moved);
    }

    /// As if the partition had just been assigned, with what could be committed now.
    fn resume_anew(&mut self, number: i32, (low, high): (i64, i64)) {
        let Some(partition) = self.partitions.get(&number) else { return };
        let (head, metadata) = partition.checkpoint();
        let partition = self.resume(number, Offset::Offset(head), &metadata, (low, high), low);
        self.partitions.insert(number, partition);
        self.commits.forget(number);
    }

    fn ends(&self, consumer: &GroupConsumer, number: i32) -> Option<(i64, i64)> {
        self.insist("read the ends of the partitions", || {
            consumer.fetch_watermarks(&self.topic, number, BROKER_CALL)
        })
    }

    fn read_on(&self, consumer: &GroupConsumer, moved: &[i32]) {
        if let Err(error) = self.read_from_next(consumer, moved) {
            tracing::warn!(%error, partitions = ?moved, "cannot go to where the log begins");
        }
    }

    /// Looks from time to time whether the topic is still the one that was read: the client does not tell.
    pub(super) fn check_identity(&mut self, consumer: &GroupConsumer) {
        if self.last_identity_check.elapsed() < IDENTITY_INTERVAL {
            return;
        }
        let mut doubtful = Vec::new();
        for number in self.owned() {
            let Some(anchor) = self.partitions.get(&number).and_then(Partition::to_verify) else { continue };
            // Another time will do where a broker does not answer.
            let Ok((ends, newer)) = self.first_newer(consumer, number, anchor.timestamp_ms) else { break };
            if may_be_another_log(anchor, ends.0, newer) {
                tracing::warn!(
                    partition = number,
                    offset = anchor.offset,
                    "is this still the same topic? reading a record again"
                );
                self.resume_anew(number, ends);
                if let Some(partition) = self.partitions.remove(&number) {
                    let mut partition = partition.expecting(Some(anchor), ends.0);
                    partition.trust();
                    self.partitions.insert(number, partition);
                }
                doubtful.push(number);
            } else {
                self.partitions.get_mut(&number).into_iter().for_each(Partition::verified);
            }
        }
        self.read_on(consumer, &doubtful);
        self.last_identity_check = Instant::now();
    }

    /// Ends of a partition, and its first record that was published after a time.
    fn first_newer(
        &self,
        consumer: &GroupConsumer,
        number: i32,
        time_ms: i64,
    ) -> KafkaResult<((i64, i64), Offset)> {
        let mut times = TopicPartitionList::with_capacity(1);
        times.add_partition_offset(&self.topic, number, Offset::Offset(time_ms + 1))?;
        let found = consumer.offsets_for_times(times, IDENTITY_CALL)?;
        let ends = consumer.fetch_watermarks(&self.topic, number, IDENTITY_CALL)?;
        let elements = found.elements();
        let newer =
            elements.first().map_or(Ok(Offset::End), |found| found.error().map(|()| found.offset()))?;
        Ok((ends, newer))
    }

    /// Reads partitions from their start whose log is another one than before.
    pub(super) fn start_over(&mut self, consumer: &GroupConsumer) {
        let replaced = std::mem::take(&mut self.replaced);
        for &number in &replaced {
            let Some((low, high)) = self.ends(consumer, number) else { return };
            tracing::error!(
                partition = number,
                start = low,
                "topic was made anew; reading it from its start"
            );
            let partition = Partition::new(Builder::new(self.settings.clone(), low), low, low, high);
            self.partitions.insert(number, partition);
            self.commits.forget(number);
        }
        self.read_on(consumer, &replaced);
    }
}

/// Whether a log that starts at `low` may not be the one that held `anchor`: its first record is newer, though it stands
/// before `anchor` or in its place. Records are published in order of time, but for clocks that differ or are set back.
fn may_be_another_log(anchor: LastRecord, low: i64, first_newer: Offset) -> bool {
    first_newer == Offset::Offset(low) && low <= anchor.offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_whose_first_record_is_newer_than_the_last_read_is_doubtful() {
        let last = LastRecord { offset: 70, timestamp_ms: 5 };
        assert!(may_be_another_log(last, 0, Offset::Offset(0)));
        assert!(may_be_another_log(LastRecord { offset: 0, ..last }, 0, Offset::Offset(0)));
        assert!(!may_be_another_log(last, 0, Offset::Offset(71)), "goes on");
        assert!(!may_be_another_log(last, 0, Offset::End), "nothing new");
        assert!(!may_be_another_log(last, 0, Offset::Offset(69)), "clocks differ");
        assert!(!may_be_another_log(last, 90, Offset::Offset(90)), "retention has overtaken");
    }
}
