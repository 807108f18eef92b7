//! What was asked for and what has been observed, in; the status, out.
//!
//! Pure: the time is an argument, and goes only into conditions that change.
//! - Equal facts give an equal status: steady state writes nothing. (`equal_facts_give_an_equal_status`)
//! - `lastTransitionTime` moves only when a condition changes. (`times_move_only_when_a_condition_changes`)
//! - `Reconciling` and `Stalled` are there only while true, as kstatus reads them.
//!   (`reconciling_and_stalled_are_there_only_while_true`)
//! - No message is longer than 1 KiB or holds a line break. (`messages_are_short_lines`)
//!
//! Why a pod does not start is told by its own events and states, which the operator has no right to read. What it knows
//! are its Deployment's conditions: pods refused by a quota, no progress for minutes. From these it says where to look,
//! and names what usually lacks.

mod condition;
mod lag;
mod topic;
mod workers;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};

use self::condition::{Finding, State};
use crate::{
    api::{
        CandlePipeline, CandlePipelineStatus, ConditionReason as Reason, ConditionType as Type,
        ConsumerStatus, ProducerStatus,
    },
    observed::{Observed, SecretFacts},
    plan::{Role, selector_text},
    validate::{InvalidSpec, ValidPipeline},
};

/// The new status. `valid` is what [`crate::validate::validate`] said of this generation.
pub fn status(
    pipeline: &CandlePipeline,
    valid: Result<&ValidPipeline, &InvalidSpec>,
    observed: &Observed,
    now: Timestamp,
) -> CandlePipelineStatus {
    let previous = pipeline.status.clone().unwrap_or_default();
    let generation = pipeline.metadata.generation;
    let findings = match valid {
        Ok(valid) => findings(valid, observed),
        Err(invalid) => broken(invalid),
    };
    let mut status = CandlePipelineStatus {
        observed_generation: generation,
        conditions: findings
            .into_iter()
            .map(|finding| finding.into_condition(&previous.conditions, generation, now))
            .collect(),
        symbols: i32::try_from(pipeline.spec.exchange.symbols.len()).ok(),
        lag: if valid.is_ok() { Some(lag::bucket(observed.lag, previous.lag)) } else { previous.lag },
        ..previous.clone()
    };
    let Ok(valid) = valid else {
        // What runs is still that of an older generation: what is known of it stays.
        status.conditions.extend(kept(&previous.conditions));
        return status;
    };
    status.topic = Some(topic::facts(valid, observed, previous.topic));
    let wanted = |replicas: i32| if valid.suspend { 0 } else { replicas };
    let (existing, ready) = workers::counts(observed.producer.as_ref());
    status.producer = Some(ProducerStatus {
        replicas: existing,
        ready,
        summary: format!("{ready}/{}", wanted(valid.producer.replicas)),
    });
    let (existing, ready) = workers::counts(observed.consumer.as_ref());
    status.consumer = Some(ConsumerStatus {
        replicas: existing,
        ready,
        summary: format!("{ready}/{}", wanted(valid.consumer.replicas)),
        selector: selector_text(&valid.name, Role::Consumer),
        group_id: valid.config.group_id(),
    });
    status
}

fn kept(conditions: &[Condition]) -> impl Iterator<Item = Condition> {
    let kinds = [Type::TopicReady, Type::ProducerAvailable, Type::ConsumerAvailable].map(Type::as_str);
    conditions.iter().filter(move |condition| kinds.contains(&condition.type_.as_str())).cloned()
}

/// A broken spec changes nothing of what runs.
fn broken(invalid: &InvalidSpec) -> Vec<Finding> {
    let message = format!("{invalid}. What runs stays as it is; correct the spec");
    vec![
        Finding::new(Type::Ready, State::False, Reason::InvalidSpec, &message),
        Finding::new(Type::Stalled, State::True, Reason::InvalidSpec, &message),
    ]
}

fn findings(valid: &ValidPipeline, observed: &Observed) -> Vec<Finding> {
    let topic = topic::judge(valid, observed);
    let producer = workers::judge(valid, Role::Producer, observed);
    let consumer = workers::judge(valid, Role::Consumer, observed);
    let secrets = secrets(&observed.secrets);
    let stalled = condition::stalled(&observed.obstacles).or_else(|| topic::stalled(&topic));
    let parts = [&topic, &producer, &consumer];
    let mut findings = vec![ready(valid, stalled.as_ref(), secrets.as_ref(), parts)];
    if let Some(stalled) = stalled {
        findings.push(stalled);
    } else if let Some(reconciling) = reconciling(valid, observed, parts) {
        findings.push(reconciling);
    }
    findings.extend([topic, producer, consumer]);
    findings.extend(secrets);
    findings
}

/// One answer: does it work, and if not, why?
fn ready(
    valid: &ValidPipeline,
    stalled: Option<&Finding>,
    secrets: Option<&Finding>,
    parts: [&Finding; 3],
) -> Finding {
    let not = |reason, message: &str| Finding::new(Type::Ready, State::False, reason, message);
    if let Some(stalled) = stalled {
        return not(stalled.reason, &stalled.message);
    }
    if let Some(missing) = secrets.filter(|secrets| secrets.state != State::True) {
        return not(Reason::SecretsMissing, &missing.message);
    }
    if valid.suspend {
        return not(Reason::Suspended, "spec.suspend is true: no worker runs; set it to false to go on");
    }
    let reasons = [Reason::TopicNotReady, Reason::ProducerUnavailable, Reason::ConsumerUnavailable];
    let faulty = parts.into_iter().zip(reasons).find(|(part, _)| part.state != State::True);
    match faulty {
        Some((part, _)) if matches!(part.reason, Reason::RollingOut | Reason::Scaling) => {
            not(Reason::Progressing, &part.message)
        }
        Some((part, reason)) => Finding::new(Type::Ready, part.state, reason, &part.message),
        None => Finding::new(Type::Ready, State::True, Reason::Ready, "topic, producer and consumers work"),
    }
}

fn reconciling(valid: &ValidPipeline, observed: &Observed, parts: [&Finding; 3]) -> Option<Finding> {
    let [topic, producer, consumer] = parts;
    let (reason, message) = match topic::progress(valid, observed) {
        Some(reason) => (reason, &topic.message),
        None => [producer, consumer]
            .into_iter()
            .find(|part| matches!(part.reason, Reason::RollingOut | Reason::Scaling))
            .map(|part| (part.reason, &part.message))?,
    };
    Some(Finding::new(Type::Reconciling, State::True, reason, message))
}

fn secrets(facts: &SecretFacts) -> Option<Finding> {
    let (state, reason, message) = match facts {
        SecretFacts::NotRead => return None,
        SecretFacts::Found => (State::True, Reason::Found, "all Secrets exist".to_owned()),
        SecretFacts::Missing { secret } => {
            (State::False, Reason::Missing, format!("there is no Secret {secret}; create it"))
        }
        SecretFacts::KeyMissing { secret, key } => {
            (State::False, Reason::KeyMissing, format!("Secret {secret} has no key {key}; add it"))
        }
    };
    Some(Finding::new(Type::SecretsResolved, state, reason, &message))
}

#[cfg(test)]
mod tests;
