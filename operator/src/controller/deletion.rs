//! The end of a pipeline that takes its topic with it: workers stop, topics go, the resource is let go. Bounded: with
//! Kafka gone the resource is let go after [`DELETION`], with a warning, since a namespace must be deletable.
//! (`deletion_ends_with_kafka_gone`)
//!
//! Without `deletionPolicy: Delete` there is no finalizer and nothing to do: the API server's garbage collector removes
//! the children by their owner references, with or without an operator.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::events::EventType};

use super::{
    Shared, children,
    objects::FINALIZER,
    pass::PassError,
    records,
    topics::{counted, look},
};
use crate::{
    api::CandlePipeline,
    kafka::{Address, KafkaError, Refusal, TopicAdmin},
    limits::{DELETION, SETTLE},
    topic::{claims::Key, may_delete},
};

/// Workers get this part of [`DELETION`] to stop, so that they do not publish into a topic that is being deleted.
const STOP_WORKERS: Duration = Duration::from_secs(10);

/// One step towards the end of a pipeline that is being deleted.
pub async fn pass<K: TopicAdmin>(
    shared: &Arc<Shared<K>>,
    key: &Key,
    pipeline: &CandlePipeline,
) -> Result<Option<Duration>, PassError> {
    if !pipeline.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(None);
    }
    let since = shared.deleting_for(key, pipeline, Timestamp::now());
    let running = children::stop_workers(&shared.objects, pipeline).await?;
    if running && since < STOP_WORKERS {
        return Ok(Some(SETTLE));
    }
    match delete_topics(shared, pipeline).await? {
        Ok(deleted) => {
            if !deleted.is_empty() {
                let note = format!("deleted with the pipeline: {}", deleted.join(", "));
                shared.say(pipeline, EventType::Normal, "TopicDeleted", &note).await;
            }
        }
        Err(problem) if since < DELETION => {
            tracing::warn!(pipeline = %key, problem, "topic not deleted yet");
            return Ok(Some(SETTLE));
        }
        Err(problem) => {
            let note = format!("the topic stays, and has to be deleted by hand: {problem}");
            shared.say(pipeline, EventType::Warning, "TopicNotDeleted", &note).await;
        }
    }
    let done = shared.objects.set_finalizer(key, &pipeline.metadata, false).await;
    done.map_err(PassError::api("take the finalizer from CandlePipeline"))?;
    shared.forget(key);
    Ok(None)
}

/// Deletes those topics that are recorded as ours, and still are. The inner error says why one is still there.
async fn delete_topics<K: TopicAdmin>(
    shared: &Arc<Shared<K>>,
    pipeline: &CandlePipeline,
) -> Result<Result<Vec<String>, String>, PassError> {
    let status = pipeline.status.clone().unwrap_or_default();
    let kafka = &pipeline.spec.kafka;
    let cluster = Address::new(&kafka.bootstrap_servers, kafka.tls.is_some(), kafka.sasl.is_some());
    let mut deleted = Vec::new();
    for record in &status.topic_records {
        let topic = &record.name;
        let recorded = records::recorded(&status, topic);
        match look(&*shared.kafka, &shared.metrics, &cluster, topic).await {
            Ok(Some(live)) if may_delete(&live, &recorded) => {}
            Ok(_) => continue,
            Err(error) => return Ok(Err(error.to_string())),
        }
        if !(shared.may_write)() {
            return Err(PassError::NotLeader);
        }
        match counted(&shared.metrics, "delete", shared.kafka.delete(&cluster, topic).await) {
            Ok(()) | Err(KafkaError::Refused { refusal: Refusal::Unknown, .. }) => {
                deleted.push(topic.clone());
            }
            Err(error) => return Ok(Err(format!("topic {topic}: {error}"))),
        }
    }
    Ok(Ok(deleted))
}
