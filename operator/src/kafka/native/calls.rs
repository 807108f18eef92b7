//! One function for each admin call that the operator needs; see the parent for what makes them sound.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_char, c_int},
    time::Duration,
};

use rdkafka::ClientContext;
use rdkafka_sys::bindings as sys;

use super::{
    Event, Failure, Handle, Hears, Owned, c_string, check, check_error, copied, entries, no_memory,
    odd_answer,
};

// As in librdkafka's header, but with numbers for enumerations.
#[allow(clashing_extern_declarations, reason = "a C enumeration and a C int are passed alike")]
unsafe extern "C" {
    fn rd_kafka_topic_result_error(result: *const sys::rd_kafka_topic_result_t) -> c_int;
    fn rd_kafka_ConfigResource_error(resource: *const sys::rd_kafka_ConfigResource_t) -> c_int;
    fn rd_kafka_ConfigEntry_source(entry: *const sys::rd_kafka_ConfigEntry_t) -> c_int;
}

const TOPIC: sys::rd_kafka_ResourceType_t = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedTopic {
    /// Its name.
    pub name: String,
    /// Its id, as Kafka's own tools write it. `None` from brokers before 2.8.
    pub id: Option<String>,
    /// Its partitions.
    pub partitions: Vec<DescribedPartition>,
}

/// A partition as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedPartition {
    /// Its number.
    pub id: i32,
    /// Node id of its leader, if it has one.
    pub leader: Option<i32>,
    /// How many replicas it has.
    pub replicas: usize,
    /// How many of them are in sync.
    pub in_sync: usize,
}

/// Where the value of a configuration key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on this topic.
    Topic,
    /// From the broker's settings or Kafka's defaults.
    Inherited,
}

/// One configuration key of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Name of the key.
    pub key: String,
    /// Its value; absent for sensitive keys.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
}

/// What there is of this name, or why nothing can be said about it.
pub type Named<R> = (String, Result<R, Failure>);

/// Which end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The oldest record that is kept.
    Start,
    /// Where the next record goes.
    End,
}

impl<C: ClientContext + Hears + 'static> Handle<C> {
    /// Each topic, or why there is no description of it.
    pub fn describe_topics(
        &self,
        names: &[&str],
        limit: Duration,
    ) -> Result<Vec<Named<DescribedTopic>>, Failure> {
        let names = names.iter().map(|name| c_string(name)).collect::<Result<Vec<CString>, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the names outlive the collection, which copies them.
        let topics = unsafe {
            let made = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            Owned::new(made, sys::rd_kafka_TopicCollection_destroy).ok_or_else(no_memory)?
        };
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all four are alive; the library copies the collection.
            unsafe { sys::rd_kafka_DescribeTopics(rk, topics.ptr(), options, queue) }
        })?;
        // SAFETY: parts of the answer are read while its event is alive.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(event.ptr());
            if result.is_null() {
                return Err(odd_answer());
            }
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            Ok(entries(topics, count).iter().map(|topic| described(*topic)).collect())
        }
    }

    /// The configuration of each topic, or why it is not known.
    pub fn describe_configs(
        &self,
        names: &[&str],
        limit: Duration,
    ) -> Result<Vec<Named<Vec<DescribedConfig>>>, Failure> {
        let resources = names.iter().map(|name| topic_resource(name)).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<_> = resources.iter().map(Owned::ptr).collect();
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all are alive; the library copies the resources.
            unsafe {
                sys::rd_kafka_DescribeConfigs(rk, pointers.as_mut_ptr(), pointers.len(), options, queue);
            }
        })?;
        // SAFETY: parts of the answer are read while its event is alive.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.ptr());
            if result.is_null() {
                return Err(odd_answer());
            }
            let mut count = 0;
            let found = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            Ok(entries(found, count).iter().map(|resource| configuration(*resource)).collect())
        }
    }

    /// Creates a topic. The broker's own words when it refuses.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication_factor: i32,
        config: &BTreeMap<String, String>,
        limit: Duration,
    ) -> Result<(), Failure> {
        let name = c_string(name)?;
        let mut words = [0 as c_char; 256];
        // SAFETY: the name is a C string, and the library copies it and what follows.
        let topic = unsafe {
            let made = sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                partitions,
                replication_factor,
                words.as_mut_ptr(),
                words.len(),
            );
            let refused = || invalid(copied(words.as_ptr()).unwrap_or_default());
            let topic = Owned::new(made, sys::rd_kafka_NewTopic_destroy).ok_or_else(refused)?;
            for (key, value) in config {
                let (key, value) = (c_string(key)?, c_string(value)?);
                sys::rd_kafka_NewTopic_set_config(topic.ptr(), key.as_ptr(), value.as_ptr());
            }
            topic
        };
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all are alive; the library copies the topic.
            unsafe { sys::rd_kafka_CreateTopics(rk, &mut topic.ptr(), 1, options, queue) }
        })?;
        // SAFETY: the result belongs to the event.
        unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(event.ptr());
            topic_result(&event, result, sys::rd_kafka_CreateTopics_result_topics)
        }
    }

    /// Gives a topic `total` partitions.
    pub fn create_partitions(&self, name: &str, total: usize, limit: Duration) -> Result<(), Failure> {
        let name = c_string(name)?;
        let mut words = [0 as c_char; 256];
        // SAFETY: the name is a C string, and the library copies it.
        let grown = unsafe {
            let made = sys::rd_kafka_NewPartitions_new(name.as_ptr(), total, words.as_mut_ptr(), words.len());
            let refused = || invalid(copied(words.as_ptr()).unwrap_or_default());
            Owned::new(made, sys::rd_kafka_NewPartitions_destroy).ok_or_else(refused)?
        };
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all are alive; the library copies the request.
            unsafe { sys::rd_kafka_CreatePartitions(rk, &mut grown.ptr(), 1, options, queue) }
        })?;
        // SAFETY: the result belongs to the event.
        unsafe {
            let result = sys::rd_kafka_event_CreatePartitions_result(event.ptr());
            topic_result(&event, result, sys::rd_kafka_CreatePartitions_result_topics)
        }
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str, limit: Duration) -> Result<(), Failure> {
        let name = c_string(name)?;
        // SAFETY: the name is a C string, and the library copies it.
        let topic = unsafe {
            let made = sys::rd_kafka_DeleteTopic_new(name.as_ptr());
            Owned::new(made, sys::rd_kafka_DeleteTopic_destroy).ok_or_else(no_memory)?
        };
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all are alive; the library copies the request.
            unsafe { sys::rd_kafka_DeleteTopics(rk, &mut topic.ptr(), 1, options, queue) }
        })?;
        // SAFETY: the result belongs to the event.
        unsafe {
            let result = sys::rd_kafka_event_DeleteTopics_result(event.ptr());
            topic_result(&event, result, sys::rd_kafka_DeleteTopics_result_topics)
        }
    }

    /// Sets the keys that have a value and removes the others from a topic; all its other keys stay (KIP-339).
    pub fn alter_config(
        &self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
        limit: Duration,
    ) -> Result<(), Failure> {
        use sys::rd_kafka_AlterConfigOpType_t as Op;
        let resource = topic_resource(name)?;
        for (key, value) in changes {
            let op = match value {
                Some(_) => Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
                None => Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE,
            };
            let (key, value) = (c_string(key)?, c_string(value.as_deref().unwrap_or_default())?);
            // SAFETY: the texts are C strings, which the library copies; the error is freed after it was read.
            unsafe {
                let (key, value) = (key.as_ptr(), value.as_ptr());
                let error =
                    sys::rd_kafka_ConfigResource_add_incremental_config(resource.ptr(), key, op, value);
                let error = Owned::new(error, sys::rd_kafka_error_destroy);
                check_error(error.as_ref().map_or(std::ptr::null(), |error| error.ptr().cast_const()))?;
            }
        }
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all are alive; the library copies the resource.
            unsafe { sys::rd_kafka_IncrementalAlterConfigs(rk, &mut resource.ptr(), 1, options, queue) }
        })?;
        // SAFETY: parts of the answer are read while its event is alive.
        unsafe {
            let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.ptr());
            if result.is_null() {
                return Err(odd_answer());
            }
            let mut count = 0;
            let resources = sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
            entries(resources, count).iter().try_for_each(|resource| {
                let text = sys::rd_kafka_ConfigResource_error_string(*resource);
                check(rd_kafka_ConfigResource_error(*resource), text)
            })
        }
    }

    /// One end of each of the partitions 0 to `partitions` of a topic; `None` where it is not known now.
    pub fn offsets(
        &self,
        topic: &str,
        partitions: i32,
        at: OffsetAt,
        limit: Duration,
    ) -> Result<Vec<Option<i64>>, Failure> {
        let list = partition_list(topic, partitions)?;
        let spec = match at {
            OffsetAt::Start => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
            OffsetAt::End => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST,
        };
        // SAFETY: the list has as many elements as were added; offsets are plain numbers.
        unsafe {
            for nth in 0..usize::try_from((*list.ptr()).cnt).unwrap_or(0) {
                (*(*list.ptr()).elems.add(nth)).offset = spec as i64;
            }
        }
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all are alive; the library copies the list.
            unsafe { sys::rd_kafka_ListOffsets(rk, list.ptr(), options, queue) }
        })?;
        let mut found = vec![None; usize::try_from(partitions).unwrap_or(0)];
        // SAFETY: parts of the answer are read while its event is alive.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(event.ptr());
            if result.is_null() {
                return Err(odd_answer());
            }
            let mut count = 0;
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            for info in entries(infos, count) {
                keep_offset(&mut found, sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info));
            }
        }
        Ok(found)
    }

    /// What a group has committed in the partitions 0 to `partitions` of a topic; `None` where nothing is.
    pub fn committed(
        &self,
        group: &str,
        topic: &str,
        partitions: i32,
        limit: Duration,
    ) -> Result<Vec<Option<i64>>, Failure> {
        let group = c_string(group)?;
        let list = partition_list(topic, partitions)?;
        // SAFETY: group and list are alive, and the library copies them.
        let request = unsafe {
            let made = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list.ptr());
            Owned::new(made, sys::rd_kafka_ListConsumerGroupOffsets_destroy).ok_or_else(no_memory)?
        };
        let event = self.call(limit, |rk, options, queue| {
            // SAFETY: all are alive; the library copies the request.
            unsafe { sys::rd_kafka_ListConsumerGroupOffsets(rk, &mut request.ptr(), 1, options, queue) }
        })?;
        let mut found = vec![None; usize::try_from(partitions).unwrap_or(0)];
        // SAFETY: parts of the answer are read while its event is alive.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr());
            if result.is_null() {
                return Err(odd_answer());
            }
            let mut count = 0;
            let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
            for group in entries(groups, count) {
                check_error(sys::rd_kafka_group_result_error(*group))?;
                let list = sys::rd_kafka_group_result_partitions(*group);
                if list.is_null() {
                    continue;
                }
                for nth in 0..usize::try_from((*list).cnt).unwrap_or(0) {
                    keep_offset(&mut found, (*list).elems.add(nth));
                }
            }
        }
        Ok(found)
    }
}

fn invalid(text: String) -> Failure {
    Failure { code: super::code::INVALID_ARGUMENT, text }
}

fn topic_resource(name: &str) -> Result<Owned<sys::rd_kafka_ConfigResource_t>, Failure> {
    let name = c_string(name)?;
    // SAFETY: the name is a C string, and the library copies it.
    let made = unsafe { sys::rd_kafka_ConfigResource_new(TOPIC, name.as_ptr()) };
    Owned::new(made, sys::rd_kafka_ConfigResource_destroy).ok_or_else(no_memory)
}

fn partition_list(
    topic: &str,
    partitions: i32,
) -> Result<Owned<sys::rd_kafka_topic_partition_list_t>, Failure> {
    let topic = c_string(topic)?;
    // SAFETY: the list is alive and grows by itself; the library copies the name.
    unsafe {
        let made = sys::rd_kafka_topic_partition_list_new(partitions.max(0));
        let list = Owned::new(made, sys::rd_kafka_topic_partition_list_destroy).ok_or_else(no_memory)?;
        for partition in 0..partitions {
            sys::rd_kafka_topic_partition_list_add(list.ptr(), topic.as_ptr(), partition);
        }
        Ok(list)
    }
}

/// Offsets below zero stand for "none".
///
/// # Safety
/// `entry` is null or alive.
unsafe fn keep_offset(found: &mut [Option<i64>], entry: *const sys::rd_kafka_topic_partition_t) {
    // SAFETY: as promised by the caller. Only plain numbers are read, never the error: it is an enumeration.
    let Some((partition, offset)) =
        (!entry.is_null()).then(|| unsafe { ((*entry).partition, (*entry).offset) })
    else {
        return;
    };
    let place = usize::try_from(partition).ok().and_then(|partition| found.get_mut(partition));
    if let Some(place) = place {
        *place = Some(offset).filter(|offset| *offset >= 0);
    }
}

/// The first refusal in the answer to a change of topics.
///
/// # Safety
/// `result` is null or belongs to `_event`, and `read` reads results of its kind.
unsafe fn topic_result<R>(
    _event: &Event,
    result: *const R,
    read: unsafe extern "C" fn(*const R, *mut usize) -> *mut *const sys::rd_kafka_topic_result_t,
) -> Result<(), Failure> {
    if result.is_null() {
        return Err(odd_answer());
    }
    let mut count = 0;
    // SAFETY: as promised by the caller.
    unsafe {
        let topics = read(result, &raw mut count);
        entries(topics, count).iter().try_for_each(|topic| {
            check(rd_kafka_topic_result_error(*topic), sys::rd_kafka_topic_result_error_string(*topic))
        })
    }
}

/// # Safety
/// `topic` is part of an answer that is alive.
unsafe fn described(topic: *const sys::rd_kafka_TopicDescription_t) -> Named<DescribedTopic> {
    // SAFETY: as promised by the caller.
    unsafe {
        let name = copied(sys::rd_kafka_TopicDescription_name(topic)).unwrap_or_default();
        if let Err(failure) = check_error(sys::rd_kafka_TopicDescription_error(topic)) {
            return (name, Err(failure));
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let is_zero = id.is_null()
            || sys::rd_kafka_Uuid_most_significant_bits(id) == 0
                && sys::rd_kafka_Uuid_least_significant_bits(id) == 0;
        let id = (!is_zero).then(|| copied(sys::rd_kafka_Uuid_base64str(id))).flatten();
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let partitions = entries(partitions, count).iter().map(|partition| described_partition(*partition));
        let partitions = partitions.collect();
        (name.clone(), Ok(DescribedTopic { name, id, partitions }))
    }
}

/// # Safety
/// `partition` is part of an answer that is alive.
unsafe fn described_partition(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> DescribedPartition {
    // SAFETY: as promised by the caller.
    unsafe {
        let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
        let leader = if leader.is_null() { -1 } else { sys::rd_kafka_Node_id(leader) };
        let (mut replicas, mut in_sync) = (0, 0);
        sys::rd_kafka_TopicPartitionInfo_replicas(partition, &raw mut replicas);
        sys::rd_kafka_TopicPartitionInfo_isr(partition, &raw mut in_sync);
        DescribedPartition {
            id: sys::rd_kafka_TopicPartitionInfo_partition(partition),
            leader: Some(leader).filter(|leader| *leader >= 0),
            replicas,
            in_sync,
        }
    }
}

/// # Safety
/// `resource` is part of an answer that is alive.
unsafe fn configuration(resource: *const sys::rd_kafka_ConfigResource_t) -> Named<Vec<DescribedConfig>> {
    // SAFETY: as promised by the caller.
    unsafe {
        let name = copied(sys::rd_kafka_ConfigResource_name(resource)).unwrap_or_default();
        let text = sys::rd_kafka_ConfigResource_error_string(resource);
        if let Err(failure) = check(rd_kafka_ConfigResource_error(resource), text) {
            return (name, Err(failure));
        }
        let mut count = 0;
        let found = sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        let config = entries(found, count).iter().map(|entry| DescribedConfig {
            key: copied(sys::rd_kafka_ConfigEntry_name(*entry)).unwrap_or_default(),
            value: copied(sys::rd_kafka_ConfigEntry_value(*entry)),
            // 1 is DYNAMIC_TOPIC_CONFIG.
            source: if rd_kafka_ConfigEntry_source(*entry) == 1 {
                ConfigSource::Topic
            } else {
                ConfigSource::Inherited
            },
        });
        (name, Ok(config.collect()))
    }
}
