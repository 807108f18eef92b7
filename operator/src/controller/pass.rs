//! One pass over one pipeline: dereference (reads only) -> validate -> plan -> apply -> status.
//!
//! - Steady state writes nothing. (`steady_state_writes_nothing`)
//! - Topic before Deployments; whatever fails later, what runs is never torn down.
//!   (`nothing_that_runs_is_torn_down_by_trouble`)
//! - One change at a time; a stop between any two ends where the undisturbed run ends.
//!   (`a_crash_at_any_write_ends_like_the_undisturbed_run`)
//! - A foreign object of a child's name is refused, not taken. (`foreign_objects_are_refused`)

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    ResourceExt as _,
    api::PartialObjectMetaExt as _,
    core::DeserializeGuard,
    runtime::events::{Event, EventType},
};

use super::{
    Shared,
    children::Children,
    objects::{ApiError, FINALIZER},
    records::{self, StatusNotary},
    secrets,
    topics::{self, News, Outcome},
    watches,
};
use crate::{
    api::{CandlePipeline, CandlePipelineStatus, DeletionPolicy, Management},
    kafka::{Address, TopicAdmin},
    limits::{PROGRESS, REFUSED, RESYNC, SETTLE},
    observed::{Observed, Obstacle, SecretFacts, TopicFacts},
    status::status,
    topic::{Decision, Wanted, claims::Key},
    validate::{ValidPipeline, validate},
};

/// Why a pass ended early. The next one comes after a backoff.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A request to the API server failed.
    #[error("{what}")]
    Api {
        /// What was asked.
        what: String,
        /// Why it failed.
        source: ApiError,
    },
    /// The lease is gone in the middle of the pass.
    #[error("the lease is held by another operator")]
    NotLeader,
    /// The pass took longer than all its calls together may.
    #[error("not done within {} s", .0.as_secs())]
    TooLong(Duration),
}

impl PassError {
    /// With what was asked, for a request that failed.
    pub fn api(what: impl Into<String>) -> impl FnOnce(ApiError) -> Self {
        move |source| match source {
            ApiError::NotLeader => Self::NotLeader,
            source => Self::Api { what: what.into(), source },
        }
    }
}

/// Looks at one pipeline and brings it closer to what its spec says. Returns when to look again, if it still exists.
pub async fn pass<K: TopicAdmin>(shared: &Arc<Shared<K>>, key: &Key) -> Result<Option<Duration>, PassError> {
    let found = shared.objects.pipeline(key).await.map_err(PassError::api("get CandlePipeline"))?;
    let pipeline = match found {
        None => {
            shared.forget(key);
            return Ok(None);
        }
        Some(DeserializeGuard(Err(invalid))) => {
            shared.metrics.unreadable.inc();
            // Its status cannot be written: what the operator has noted in it would be lost. An event says it, once.
            if shared.is_news_unreadable(key, invalid.metadata.generation.unwrap_or_default()) {
                tracing::warn!(pipeline = %key, error = invalid.error, "resource cannot be read; what runs is left alone");
                let note = format!(
                    "cannot be read, so what runs is left as it is; correct the spec: {}",
                    invalid.error
                );
                let event = Event {
                    type_: EventType::Warning,
                    reason: "InvalidSpec".to_owned(),
                    note: Some(truncated(&note)),
                    action: "Read".to_owned(),
                    secondary: None,
                };
                let slim: watches::Slim = invalid.metadata.into_response_partial();
                shared.tell(&slim, &event).await;
            }
            return Ok(Some(RESYNC));
        }
        Some(DeserializeGuard(Ok(pipeline))) => pipeline,
    };
    if pipeline.metadata.deletion_timestamp.is_some() {
        return super::deletion::pass(shared, key, &pipeline).await;
    }
    match validate(&pipeline) {
        Ok(valid) => Pass { shared, key, pipeline: &pipeline, valid: &valid }.run().await,
        Err(invalid) => {
            let previous = pipeline.status.clone().unwrap_or_default();
            let next = status(&pipeline, Err(&invalid), &Observed::default(), Timestamp::now());
            report(shared, key, &pipeline, &previous, &next, &[]).await?;
            Ok(Some(RESYNC))
        }
    }
}

struct Pass<'a, K> {
    shared: &'a Arc<Shared<K>>,
    key: &'a Key,
    pipeline: &'a CandlePipeline,
    valid: &'a ValidPipeline,
}

impl<K: TopicAdmin> Pass<'_, K> {
    async fn run(&self) -> Result<Option<Duration>, PassError> {
        let Self { shared, key, pipeline, valid } = *self;
        let mut children = Children::dereference(&shared.objects, valid, &shared.settings).await?;
        // Before anything that it would have to clean up.
        self.finalizer().await?;
        // Both at once: a look may end at any moment.
        let (has_looked, lag) = shared.lag(key);
        let secrets = secrets::look(&shared.objects, valid, &shared.readable_secrets).await?;
        let mut observed = Observed { lag, secrets, ..Observed::default() };
        children.refuse_foreign(&mut observed.obstacles);
        children.apply_first(&shared.objects, &mut observed.obstacles).await?;
        let mut notary = StatusNotary::new(shared, key, pipeline);
        let wanted = records::wanted(valid, &children.plan().topics);
        let (topic, dead_letters) = self.topics(&wanted, &mut notary, &mut observed.obstacles).await?;
        observed.topic = facts(&wanted[0], &topic);
        let is_usable = topic.decision.usable && dead_letters.decision.usable;
        children.apply_workers(&shared.objects, is_usable, &mut observed.obstacles).await?;
        children.sweep(&shared.objects).await?;
        (observed.producer, observed.consumer) = children.deployments();
        let written = notary.into_status();
        observed.claim = records::claim(valid, &topic);
        let seen = CandlePipeline { status: Some(written.clone()), ..pipeline.clone() };
        let mut next = status(&seen, Ok(valid), &observed, Timestamp::now());
        records::note(&mut next, &wanted, [&topic, &dead_letters]);
        // A lag that nobody has asked for since the start is still the one of before, not unknown: a restart writes nothing.
        let told =
            written.consumer.as_ref().is_some_and(|consumer| consumer.group_id == valid.config.group_id());
        if told && !has_looked {
            next.lag = written.lag.or(next.lag);
        }
        let news: Vec<News> = topic.news.iter().chain(&dead_letters.news).cloned().collect();
        report(shared, key, pipeline, &written, &next, &news).await?;
        let unreachable = topic.unreachable.is_some() || dead_letters.unreachable.is_some();
        shared.remember(key, valid, &next, observed.lag, unreachable);
        let is_refused =
            |outcome: &Outcome| !outcome.obstacles.is_empty() && !outcome.decision.actions.is_empty();
        Ok(Some(if topic.in_motion || dead_letters.in_motion {
            SETTLE
        } else if is_refused(&topic) || is_refused(&dead_letters) {
            REFUSED
        } else if matches!(observed.secrets, SecretFacts::Found | SecretFacts::NotRead)
            && next.conditions.iter().all(|condition| condition.type_ != "Reconciling")
        {
            RESYNC
        } else {
            PROGRESS
        }))
    }

    /// There exactly while the topic is to be deleted with the pipeline.
    async fn finalizer(&self) -> Result<(), PassError> {
        let metadata = &self.pipeline.metadata;
        let has = self.pipeline.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        let wants = self.valid.topic.deletion_policy == DeletionPolicy::Delete
            && self.valid.topic.management != Management::Observe;
        if has != wants {
            let done = self.shared.objects.set_finalizer(self.key, metadata, wants).await;
            done.map_err(PassError::api("patch the finalizers of CandlePipeline"))?;
        }
        Ok(())
    }

    async fn topics(
        &self,
        [topic, dead_letters]: &[Wanted; 2],
        notary: &mut StatusNotary<'_, K>,
        obstacles: &mut Vec<Obstacle>,
    ) -> Result<(Outcome, Outcome), PassError> {
        let Self { shared, key, valid, .. } = *self;
        let cluster = address(valid);
        let rival = shared
            .older(key, &cluster)
            .map(|(rival, topic)| Obstacle::OlderPipeline { pipeline: rival.to_string(), topic });
        let elsewhere = || {
            [&topic.name, &dead_letters.name].into_iter().find_map(|topic| {
                let kafka_topic = shared.strimzi.owner(topic, &cluster)?;
                Some(Obstacle::TopicManagedElsewhere { topic: topic.clone(), kafka_topic })
            })
        };
        let stays_away = valid.topic.management != Management::Observe;
        if let Some(obstacle) = rival.or_else(elsewhere).filter(|_| stays_away) {
            obstacles.push(obstacle);
            return Ok((Outcome::default(), Outcome::default()));
        }
        let recorded = notary.recorded(&topic.name);
        let main = topics::settle(&*shared.kafka, &shared.metrics, &cluster, topic, recorded, notary).await?;
        obstacles.extend(main.obstacles.iter().cloned());
        if main.unreachable.is_some() {
            return Ok((main, Outcome { decision: Decision::default(), ..Outcome::default() }));
        }
        let recorded = notary.recorded(&dead_letters.name);
        let dead =
            topics::settle(&*shared.kafka, &shared.metrics, &cluster, dead_letters, recorded, notary).await?;
        obstacles.extend(dead.obstacles.iter().cloned());
        Ok((main, dead))
    }
}

/// The cluster of a pipeline.
pub fn address(valid: &ValidPipeline) -> Address {
    let kafka = &valid.config.kafka;
    Address::new(kafka.bootstrap_servers.as_str(), kafka.tls.is_some(), kafka.sasl.is_some())
}

fn facts(wanted: &Wanted, topic: &Outcome) -> TopicFacts {
    match (&topic.unreachable, &topic.decision.facts) {
        (Some(message), _) => TopicFacts::Unreachable { message: message.clone() },
        (None, Some(facts)) => TopicFacts::Present(records::state(wanted, facts)),
        (None, None) if topic.decision == Decision::default() => TopicFacts::NotAsked,
        (None, None) => TopicFacts::Missing,
    }
}

/// Writes the status if it differs, and tells what has changed in it as events.
pub async fn report<K: TopicAdmin>(
    shared: &Arc<Shared<K>>,
    key: &Key,
    pipeline: &CandlePipeline,
    previous: &CandlePipelineStatus,
    next: &CandlePipelineStatus,
    news: &[News],
) -> Result<(), PassError> {
    let uid = pipeline.uid().unwrap_or_default();
    let mut events: Vec<Event> = news.iter().map(event).collect();
    events.extend(transitions(previous, next));
    if previous != next {
        let written = shared.objects.write_status(key, &uid, next).await;
        written.map_err(PassError::api("patch the status of CandlePipeline"))?;
    }
    for event in events {
        shared.tell(pipeline, &event).await;
    }
    shared.show(key, next);
    Ok(())
}

fn event(news: &News) -> Event {
    Event {
        type_: if news.warning { EventType::Warning } else { EventType::Normal },
        reason: news.reason.to_owned(),
        note: Some(truncated(&news.note)),
        action: "Topic".to_owned(),
        secondary: None,
    }
}

/// An event for each condition that came to be worth one: it works now, it works no more, somebody has to do something.
fn transitions(previous: &CandlePipelineStatus, next: &CandlePipelineStatus) -> Vec<Event> {
    let event = |condition: &Condition| {
        let before = previous.conditions.iter().find(|before| before.type_ == condition.type_);
        let type_ = notable(before, condition)?;
        Some(Event {
            type_,
            reason: condition.reason.clone(),
            note: Some(truncated(&format!("{}: {}", condition.type_, condition.message))),
            action: condition.type_.clone(),
            secondary: None,
        })
    };
    next.conditions.iter().filter_map(event).collect()
}

fn notable(before: Option<&Condition>, now: &Condition) -> Option<EventType> {
    let (was_true, is_true) = (before.is_some_and(|before| before.status == "True"), now.status == "True");
    // What users ask for is no trouble.
    let is_asked_for = ["RollingOut", "Scaling", "Progressing", "Suspended"].contains(&now.reason.as_str());
    match now.type_.as_str() {
        "Ready" if is_true && !was_true => Some(EventType::Normal),
        "Stalled" if before.is_none_or(|before| before.reason != now.reason) => Some(EventType::Warning),
        "Ready" | "TopicReady" | "ProducerAvailable" | "ConsumerAvailable" if was_true && !is_true => {
            Some(if is_asked_for { EventType::Normal } else { EventType::Warning })
        }
        _ => None,
    }
}

/// Events have room for 1 KiB.
fn truncated(text: &str) -> String {
    const BYTES_MAX: usize = 1000;
    let mut end = text.len().min(BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
