//! Which offsets may be committed: progress of the partitions in, commits that the sink's acknowledgements allow out.
//!
//! - An offset is committed only when every batch up to it is acknowledged, and never for a partition that has
//!   been given away since. (`waits_for_the_batch_and_forgets_given_away_partitions`)
//! - A commit that the broker does not confirm is repeated: the client reports results of asynchronous commits to
//!   nobody (rust-rdkafka sets no callback), only its statistics tell. (`an_unconfirmed_commit_is_repeated`)

use std::collections::{HashMap, VecDeque};

use rdkafka::TopicPartitionList;

/// Offset and metadata of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub partition: i32,
    pub offset: i64,
    pub metadata: String,
}

/// Points in the stream of batches, with the progress that was made by then.
#[derive(Debug, Default)]
pub struct Commits {
    points: VecDeque<(u64, Vec<Progress>)>,
    /// Last offset of each partition that stands in a point.
    noted: HashMap<i32, i64>,
    /// What the client was last told to commit of each partition.
    handed_over: HashMap<i32, HandedOver>,
}

#[derive(Debug)]
struct HandedOver {
    progress: Progress,
    /// Statistics have been seen that did not confirm it yet.
    waiting: bool,
}

impl Commits {
    /// Notes progress that may be committed when batch number `batch` is done.
    pub fn note(&mut self, batch: u64, progress: impl Iterator<Item = Progress>) {
        let new = progress
            .filter(|p| self.noted.insert(p.partition, p.offset) != Some(p.offset))
            .collect::<Vec<_>>();
        if !new.is_empty() {
            self.points.push_back((batch, new));
        }
    }

    /// What the acknowledgements up to batch number `acknowledged` allow to commit; the newest of each partition.
    pub fn due(&mut self, acknowledged: u64) -> Vec<Progress> {
        let mut newest: HashMap<i32, Progress> = HashMap::new();
        while let Some((_, progress)) = self.points.pop_front_if(|(batch, _)| *batch <= acknowledged) {
            newest.extend(progress.into_iter().map(|p| (p.partition, p)));
        }
        for progress in newest.values() {
            let handed_over = HandedOver { progress: progress.clone(), waiting: false };
            self.handed_over.insert(progress.partition, handed_over);
        }
        newest.into_values().collect()
    }

    /// Forgets a partition that was given away.
    pub fn forget(&mut self, partition: i32) {
        self.noted.remove(&partition);
        self.handed_over.remove(&partition);
        for (_, progress) in &mut self.points {
            progress.retain(|p| p.partition != partition);
        }
    }

    /// The broker is known to have `offset` (`None`: nothing yet). Lets a commit be due again that is still not
    /// confirmed at the second look; true then.
    pub fn confirmed(&mut self, partition: i32, offset: Option<i64>) -> bool {
        let Some(handed_over) = self.handed_over.get_mut(&partition) else { return false };
        if offset == Some(handed_over.progress.offset) || !std::mem::replace(&mut handed_over.waiting, true) {
            return false;
        }
        // In front: whatever is newer goes last, and wins.
        self.points.push_front((0, vec![handed_over.progress.clone()]));
        true
    }
}

/// The client's form of some progress.
pub fn offsets(topic: &str, progress: &[Progress]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(progress.len());
    for p in progress {
        list.add_partition(topic, p.partition);
        if let Some(mut element) = list.find_partition(topic, p.partition) {
            // A valid offset is never refused.
            let _ = element.set_offset(rdkafka::Offset::Offset(p.offset));
            element.set_metadata(&p.metadata);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(partition: i32, offset: i64) -> Progress {
        Progress { partition, offset, metadata: String::new() }
    }

    #[test]
    fn waits_for_the_batch_and_forgets_given_away_partitions() {
        let mut commits = Commits::default();
        commits.note(1, [progress(0, 10), progress(1, 20)].into_iter());
        commits.note(2, [progress(0, 11), progress(1, 20)].into_iter());
        assert_eq!(commits.due(0), []);
        commits.forget(1);
        assert_eq!(commits.due(2), [progress(0, 11)], "the newest only");
        commits.note(3, [progress(0, 11)].into_iter());
        assert_eq!(commits.due(3), [], "nothing new");
    }

    #[test]
    fn an_unconfirmed_commit_is_repeated() {
        let mut commits = Commits::default();
        commits.note(1, [progress(0, 10)].into_iter());
        assert!(!commits.confirmed(0, None), "nothing was to be committed yet");
        assert_eq!(commits.due(1), [progress(0, 10)]);
        assert!(!commits.confirmed(0, Some(7)), "under way, perhaps");
        assert!(commits.confirmed(0, Some(7)));
        assert_eq!(commits.due(1), [progress(0, 10)]);
        assert!(!commits.confirmed(0, Some(10)));
        assert_eq!(commits.due(1), []);
        commits.note(2, [progress(0, 11)].into_iter());
        commits.due(2);
        commits.forget(0);
        assert!(!commits.confirmed(0, Some(10)), "somebody else's");
    }

    #[test]
    fn metadata_travels_with_the_offset() {
        let list = offsets("t", &[Progress { partition: 2, offset: 7, metadata: "c1;x".to_owned() }]);
        let element = list.find_partition("t", 2).unwrap();
        assert_eq!((element.offset(), element.metadata()), (rdkafka::Offset::Offset(7), "c1;x"));
    }
}
