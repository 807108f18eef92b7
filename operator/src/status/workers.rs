//! A Deployment as it is in, what to say of its workers out.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};

use super::condition::{Finding, State};
use crate::{
    api::{ConditionReason as Reason, ConditionType as Type},
    observed::{Observed, TopicFacts},
    plan::{Role, is_stopping_for_assignor, selector_text},
    validate::ValidPipeline,
};

/// Pods that exist, pods that are ready.
pub(super) fn counts(deployment: Option<&Deployment>) -> (i32, i32) {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let count = |number: fn(&DeploymentStatus) -> Option<i32>| status.and_then(number).unwrap_or_default();
    (count(|status| status.replicas), count(|status| status.ready_replicas))
}

/// The condition of a role.
pub(super) fn judge(valid: &ValidPipeline, role: Role, observed: &Observed) -> Finding {
    let (kind, workers, live) = match role {
        Role::Producer => (Type::ProducerAvailable, &valid.producer, observed.producer.as_ref()),
        Role::Consumer => (Type::ConsumerAvailable, &valid.consumer, observed.consumer.as_ref()),
    };
    let find = |state, reason, message: &str| Finding::new(kind, state, reason, message);
    let wanted = if valid.suspend { 0 } else { workers.replicas };
    let Some(live) = live else {
        if valid.suspend {
            return find(State::False, Reason::Suspended, "spec.suspend is true");
        }
        return find(
            State::False,
            Reason::RollingOut,
            "not started yet: workers start when the topic is ready",
        );
    };
    let facts = Facts::of(live);
    let who = role.as_str();
    if let Some(refused) = &facts.refused {
        return find(
            State::False,
            Reason::PodsRefused,
            &format!("the API server refuses {who} pods: {refused}"),
        );
    }
    if role == Role::Consumer && is_stopping_for_assignor(valid, Some(live)) {
        let message = "all consumers stop, then start with the new assignor: one group speaks one language";
        return find(State::False, Reason::RollingOut, message);
    }
    if !facts.is_current || facts.replicas_wanted != wanted {
        return find(State::False, Reason::RollingOut, &format!("the {who} Deployment is being changed"));
    }
    if valid.suspend {
        let message = format!("spec.suspend is true; {} {who} pods are left", facts.existing);
        return find(State::False, Reason::Suspended, &message);
    }
    if facts.updated >= wanted && facts.existing <= wanted && facts.available >= wanted {
        return available(valid, role, kind, observed);
    }
    let available = facts.available;
    if facts.deadline_exceeded {
        let message = format!(
            "{available} of {wanted} {who} pods work, and nothing has changed for minutes. {}",
            advice(valid, role)
        );
        return find(State::False, Reason::ProgressDeadlineExceeded, &message);
    }
    if facts.rolled_out && facts.updated >= wanted && facts.existing <= wanted {
        let message = format!("{available} of {wanted} {who} pods are ready. {}", advice(valid, role));
        return find(State::False, Reason::PodsNotReady, &message);
    }
    let (reason, what) = if facts.existing == facts.updated {
        (Reason::Scaling, "start or stop")
    } else {
        (Reason::RollingOut, "change to the current configuration")
    };
    find(State::False, reason, &format!("{who} pods {what}; {available} of {wanted} are ready"))
}

fn available(valid: &ValidPipeline, role: Role, kind: Type, observed: &Observed) -> Finding {
    let wanted = match role {
        Role::Producer => valid.producer.replicas,
        Role::Consumer => valid.consumer.replicas,
    };
    if let (Role::Consumer, TopicFacts::Present(topic)) = (role, &observed.topic)
        && wanted > topic.partitions
    {
        let message = format!(
            "{wanted} consumers share {} partitions: {} stand idle; scale down, or grow topic.partitions",
            topic.partitions,
            wanted - topic.partitions
        );
        return Finding::new(kind, State::True, Reason::ConsumersExceedPartitions, &message);
    }
    Finding::new(
        kind,
        State::True,
        Reason::RolledOut,
        &format!("{wanted} of {wanted} {} pods work", role.as_str()),
    )
}

/// Where to look, and what usually lacks.
fn advice(valid: &ValidPipeline, role: Role) -> String {
    let needed: BTreeSet<String> = valid
        .secrets
        .iter()
        .filter(|secret| role == Role::Consumer || secret.for_producer)
        .map(|file| format!("{} (key {})", file.secret.name, file.secret.key))
        .collect();
    let secrets = if needed.is_empty() {
        String::new()
    } else {
        format!(" Are there the Secrets {}?", Vec::from_iter(needed).join(", "))
    };
    format!(
        "`kubectl -n {0} describe pods -l {1}` tells whether an image cannot be pulled, a Secret lacks or a pod crashes; \
         `kubectl -n {0} logs -l {1}` tells what a worker waits for.{secrets}",
        valid.namespace,
        selector_text(&valid.name, role),
    )
}

/// What matters of a Deployment.
struct Facts {
    /// Its controller has seen its newest generation.
    is_current: bool,
    replicas_wanted: i32,
    existing: i32,
    updated: i32,
    available: i32,
    /// The last rollout came to its end.
    rolled_out: bool,
    deadline_exceeded: bool,
    /// Why pods cannot be created: quota, admission.
    refused: Option<String>,
}

impl Facts {
    fn of(live: &Deployment) -> Self {
        let status = live.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let progressing = conditions.iter().find(|condition| condition.type_ == "Progressing");
        let has_reason =
            |reason| progressing.and_then(|condition| condition.reason.as_deref()) == Some(reason);
        let failure = conditions
            .iter()
            .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
        Self {
            is_current: status.observed_generation >= live.metadata.generation,
            replicas_wanted: live.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            existing: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            rolled_out: has_reason("NewReplicaSetAvailable"),
            deadline_exceeded: has_reason("ProgressDeadlineExceeded"),
            refused: failure.map(|condition| condition.message.clone().unwrap_or_default()),
        }
    }
}
