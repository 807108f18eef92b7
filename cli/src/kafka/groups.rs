//! Consumer groups: members with their assignments, committed offsets and lag.

use anyhow::anyhow;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use serde::Serialize;

use super::topics::Topic;
use super::{CALL, Cluster};

/// Librdkafka's mock cluster, which the embedded demo runs on, is of that kind.
const NO_GROUPS: &str =
    "these brokers list no groups, so members are not known; `candlectl demo --real` has some that do";

/// A group as its coordinator describes it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub id: String,
    /// `Stable`, `Empty`, `PreparingRebalance` and so on.
    pub state: String,
    /// Assignor that its members agreed on.
    pub assignor: String,
    /// In order of their client ids.
    pub members: Vec<Member>,
}

/// A member of a group.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Id that the coordinator gave it.
    pub id: String,
    /// Name that it gave itself.
    pub client_id: String,
    /// Address that it comes from.
    pub host: String,
    /// Topic and partition.
    pub assigned: Vec<(String, i32)>,
}

/// Where a group stands in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Number of the partition.
    pub partition: i32,
    /// Next offset that the group has not finished; `None` before the first commit.
    pub committed: Option<i64>,
    /// Offset of the next record.
    pub end: Option<i64>,
    /// Records between the two, or all that are there before the first commit.
    pub lag: Option<i64>,
    /// What the group wrote beside the offset.
    #[serde(skip)]
    pub metadata: String,
}

impl Cluster {
    /// All groups of consumers, in order of their names.
    pub fn groups(&self) -> anyhow::Result<Vec<Group>> {
        let list =
            self.consumer.fetch_group_list(None, CALL).map_err(|error| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnsupportedFeature) => anyhow!(NO_GROUPS),
                _ => self.failed(&error),
            })?;
        let mut groups: Vec<Group> = list
            .groups()
            .iter()
            .filter(|group| matches!(group.protocol_type(), "consumer" | ""))
            .map(|group| {
                let mut members: Vec<Member> = group
                    .members()
                    .iter()
                    .map(|member| Member {
                        id: member.id().to_owned(),
                        client_id: member.client_id().to_owned(),
                        host: member.client_host().to_owned(),
                        assigned: member.assignment().and_then(assignment).unwrap_or_default(),
                    })
                    .collect();
                members.sort_by(|a, b| a.client_id.cmp(&b.client_id));
                let (id, state) = (group.name().to_owned(), group.state().to_owned());
                Group { id, state, assignor: group.protocol().to_owned(), members }
            })
            .collect();
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(groups)
    }

    /// Where the pipeline's group stands in each partition of `topic`, whether or not it has members.
    pub fn positions(&self, topic: &Topic) -> anyhow::Result<Vec<Position>> {
        let mut wanted = TopicPartitionList::new();
        for partition in &topic.partitions {
            wanted.add_partition(&topic.name, partition.id);
        }
        let committed = self.consumer.committed_offsets(wanted, CALL);
        let committed = committed.map_err(|e| self.failed(&e).context("committed offsets"))?;
        let position = |partition: &super::topics::Partition| {
            let found = committed.find_partition(&topic.name, partition.id);
            let offset =
                match found.as_ref().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset) {
                    Some(Offset::Offset(offset)) => Some(offset),
                    _ => None,
                };
            let from = offset.or(partition.first);
            Position {
                partition: partition.id,
                committed: offset,
                end: partition.end,
                lag: partition.end.zip(from).map(|(end, from)| (end - from).max(0)),
                metadata: found.map(|found| found.metadata().to_owned()).unwrap_or_default(),
            }
        };
        Ok(topic.partitions.iter().map(position).collect())
    }
}

/// Partitions in a member's assignment. Source: Kafka's `ConsumerProtocolAssignment`: version (i16), then for each topic
/// its name and partitions (i32), lengths before both; what follows is the assignor's own.
fn assignment(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let mut rest = bytes.get(2..)?;
    let mut assigned = Vec::new();
    for _ in 0..take_i32(&mut rest)? {
        let length = usize::from(u16::from_be_bytes(*take(&mut rest)?));
        let (name, tail) = rest.split_at_checked(length)?;
        rest = tail;
        for _ in 0..take_i32(&mut rest)? {
            assigned.push((String::from_utf8_lossy(name).into_owned(), take_i32(&mut rest)?));
        }
    }
    assigned.sort();
    Some(assigned)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (bytes, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(bytes)
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    take(rest).map(|bytes| i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_to_their_end_or_not_at_all() {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 6];
        bytes.extend(b"trades");
        bytes.extend([0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(assignment(&bytes), Some(vec![("trades".to_owned(), 0), ("trades".to_owned(), 2)]));
        // What follows belongs to the assignor.
        assert!(assignment(&bytes[..bytes.len() - 4]).is_some());
        assert_eq!(assignment(&bytes[..bytes.len() - 5]), None);
        // A count that nothing follows costs nothing.
        assert_eq!(assignment(&[0, 1, 0x7f, 0xff, 0xff, 0xff]), None);
        assert_eq!(assignment(&[]), None);
    }
}
