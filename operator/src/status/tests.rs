//! Facts in, conditions out; and properties of any status.

use k8s_openapi::api::apps::v1::Deployment;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{condition::MESSAGE_BYTES_MAX, *};
use crate::{
    api::{LagBucket, TopicClaim},
    observed::{Lag, Obstacle, SettingDifference, TopicFacts, TopicState},
    plan::plan,
    test_support::{pipeline, settings},
    validate::validate,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// A Deployment of the plan with all its pods at work, changed by `status`.
fn deployment(of: &CandlePipeline, role: Role, status: &Value) -> Deployment {
    let valid = validate(of).unwrap();
    let planned = plan(&valid, &settings(), None);
    let name = format!("{}-{}", valid.name, role.as_str());
    let mut body = planned.deployments.iter().find(|child| child.id.name == name).unwrap().body.clone();
    let replicas = body["spec"]["replicas"].clone();
    body["metadata"]["generation"] = json!(1);
    body["status"] = json!({
        "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas,
        "availableReplicas": replicas,
        "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
    });
    for (key, value) in status.as_object().into_iter().flatten() {
        body["status"][key] = value.clone();
    }
    serde_json::from_value(body).unwrap()
}

fn topic() -> TopicState {
    TopicState {
        id: Some("AAAA".to_owned()),
        partitions: 3,
        replication_factor_min: 3,
        replication_factor_max: 3,
        ..TopicState::default()
    }
}

/// Everything works.
fn working(of: &CandlePipeline) -> Observed {
    Observed {
        producer: Some(deployment(of, Role::Producer, &Value::Null)),
        consumer: Some(deployment(of, Role::Consumer, &Value::Null)),
        topic: TopicFacts::Present(topic()),
        lag: Some(Lag { total: 12, max: 5 }),
        ..Observed::default()
    }
}

fn status_of(of: &CandlePipeline, observed: &Observed, now: i64) -> CandlePipelineStatus {
    let valid = validate(of);
    status(of, valid.as_ref(), observed, at(now))
}

/// `Ready=False TopicNotReady`, one for each condition.
fn told(status: &CandlePipelineStatus) -> Vec<String> {
    status.conditions.iter().map(|c| format!("{}={} {}", c.type_, c.status, c.reason)).collect()
}

fn message<'a>(status: &'a CandlePipelineStatus, kind: &str) -> &'a str {
    &status.conditions.iter().find(|condition| condition.type_ == kind).unwrap().message
}

#[test]
fn a_pipeline_that_works_is_ready_and_says_no_more() {
    let of = pipeline(&[]);
    let status = status_of(&of, &working(&of), 100);
    assert_eq!(
        told(&status),
        [
            "Ready=True Ready",
            "TopicReady=True InSync",
            "ProducerAvailable=True RolledOut",
            "ConsumerAvailable=True RolledOut"
        ]
    );
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!((status.symbols, status.lag), (Some(2), Some(LagBucket::Below1k)));
    let consumer = status.consumer.unwrap();
    assert_eq!((consumer.summary.as_str(), consumer.replicas), ("1/1", 1));
    assert_eq!(
        consumer.selector,
        "app.kubernetes.io/component=consumer,app.kubernetes.io/instance=demo,app.kubernetes.io/name=candles"
    );
    assert_eq!(consumer.group_id, "candles-markets.demo");
    assert_eq!(status.topic.unwrap().summary.as_deref(), Some("3/3"));
}

#[test]
fn a_new_pipeline_waits_for_its_topic() {
    let of = pipeline(&[]);
    let status = status_of(&of, &Observed { topic: TopicFacts::Missing, ..Observed::default() }, 100);
    assert_eq!(
        told(&status),
        [
            "Ready=False TopicNotReady",
            "Reconciling=True CreatingTopic",
            "TopicReady=False TopicMissing",
            "ProducerAvailable=False RollingOut",
            "ConsumerAvailable=False RollingOut"
        ]
    );
    assert_eq!(status.lag, Some(LagBucket::Unknown));
}

#[test]
fn times_move_only_when_a_condition_changes() {
    let mut of = pipeline(&[]);
    let times = |status: &CandlePipelineStatus| {
        status.conditions.iter().map(|c| (c.type_.clone(), c.last_transition_time.0)).collect::<Vec<_>>()
    };
    of.status = Some(status_of(&of, &working(&of), 100));
    let later = status_of(&of, &working(&of), 200);
    assert_eq!(Some(&later), of.status.as_ref(), "equal facts, equal status");
    let mut broken = working(&of);
    broken.topic = TopicFacts::Unreachable { message: "connection refused".to_owned() };
    of.status = Some(status_of(&of, &broken, 300));
    let changed: Vec<_> =
        times(of.status.as_ref().unwrap()).into_iter().filter(|(_, time)| *time == at(300)).collect();
    assert_eq!(changed.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["Ready", "TopicReady"]);
}

#[test]
fn equal_facts_give_an_equal_status() {
    let mut of = pipeline(&[]);
    let facts = vec![
        Observed::default(),
        working(&of),
        Observed { topic: TopicFacts::Unreachable { message: "x".to_owned() }, ..working(&of) },
        Observed { obstacles: vec![Obstacle::TopicExists { topic: "t".to_owned() }], ..working(&of) },
    ];
    for observed in &facts {
        of.status = Some(status_of(&of, observed, 100));
        assert_eq!(Some(status_of(&of, observed, 200)), of.status);
    }
    of.spec.topic.partitions = 0;
    of.status = Some(status_of(&of, &facts[1], 300));
    assert_eq!(Some(status_of(&of, &facts[1], 400)), of.status, "broken specs too");
}

#[test]
fn reconciling_and_stalled_are_there_only_while_true() {
    let mut of = pipeline(&[]);
    let rolling = Observed {
        consumer: Some(deployment(&of, Role::Consumer, &json!({"updatedReplicas": 0, "conditions": []}))),
        ..working(&of)
    };
    of.status = Some(status_of(&of, &rolling, 100));
    assert_eq!(
        told(of.status.as_ref().unwrap())[..2],
        ["Ready=False Progressing".to_owned(), "Reconciling=True RollingOut".to_owned()]
    );
    let stalled = Observed {
        obstacles: vec![Obstacle::NameConflict { object: "Deployment/demo-consumer".to_owned() }],
        ..rolling
    };
    of.status = Some(status_of(&of, &stalled, 200));
    assert_eq!(
        told(of.status.as_ref().unwrap())[..2],
        ["Ready=False NameConflict".to_owned(), "Stalled=True NameConflict".to_owned()]
    );
    let status = status_of(&of, &working(&of), 300);
    assert!(
        told(&status).iter().all(|told| !told.starts_with("Reconciling") && !told.starts_with("Stalled"))
    );
}

#[test]
fn a_broken_spec_keeps_what_is_known_of_what_runs() {
    let mut of = pipeline(&[]);
    of.status = Some(status_of(&of, &working(&of), 100));
    of.spec.topic.partitions = 0;
    of.metadata.generation = Some(2);
    let status = status_of(&of, &Observed::default(), 200);
    assert_eq!(
        told(&status),
        [
            "Ready=False InvalidSpec",
            "Stalled=True InvalidSpec",
            "TopicReady=True InSync",
            "ProducerAvailable=True RolledOut",
            "ConsumerAvailable=True RolledOut"
        ]
    );
    assert!(message(&status, "Ready").contains("spec.topic.partitions: 0 is not 1 to 1000"));
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(status.consumer, of.status.as_ref().unwrap().consumer);
    assert_eq!(status.lag, of.status.unwrap().lag);
}

#[test]
fn worker_failures_say_where_to_look_and_what_usually_lacks() {
    let of = pipeline(&[]);
    let stuck = deployment(
        &of,
        Role::Consumer,
        &json!({
            "availableReplicas": 0, "readyReplicas": 0,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
        }),
    );
    let status = status_of(&of, &Observed { consumer: Some(stuck), ..working(&of) }, 100);
    assert_eq!(told(&status)[0], "Ready=False ConsumerUnavailable");
    let text = message(&status, "ConsumerAvailable");
    for part in ["0 of 1 consumer pods work", "kubectl -n markets describe pods -l ", "influxdb (key token)"]
    {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    let refused = deployment(
        &of,
        Role::Producer,
        &json!({
            "replicas": 0, "updatedReplicas": 0, "availableReplicas": 0,
            "conditions": [{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small",
            }],
        }),
    );
    let status = status_of(&of, &Observed { producer: Some(refused), ..working(&of) }, 100);
    assert!(told(&status).contains(&"ProducerAvailable=False PodsRefused".to_owned()));
    assert!(message(&status, "Ready").contains("exceeded quota: small"));
}

#[test]
fn pods_that_were_ready_and_are_not_are_no_rollout() {
    let of = pipeline(&[]);
    let lost = deployment(&of, Role::Consumer, &json!({"availableReplicas": 0, "readyReplicas": 0}));
    let status = status_of(&of, &Observed { consumer: Some(lost), ..working(&of) }, 100);
    assert_eq!(told(&status)[0], "Ready=False ConsumerUnavailable");
    assert!(told(&status).contains(&"ConsumerAvailable=False PodsNotReady".to_owned()));
    assert!(!told(&status).iter().any(|told| told.starts_with("Reconciling")));
}

#[test]
fn an_old_answer_of_a_deployment_is_not_taken_for_a_new_one() {
    let of = pipeline(&[]);
    let mut deployment = deployment(&of, Role::Consumer, &Value::Null);
    deployment.metadata.generation = Some(2);
    let status = status_of(&of, &Observed { consumer: Some(deployment), ..working(&of) }, 100);
    assert_eq!(told(&status)[0], "Ready=False Progressing");
}

#[test]
fn a_suspended_pipeline_says_so() {
    let of = pipeline(&[("spec.suspend", json!(true))]);
    let status = status_of(&of, &working(&of), 100);
    assert_eq!(told(&status)[0], "Ready=False Suspended");
    assert!(!told(&status).iter().any(|told| told.starts_with("Reconciling") || told.starts_with("Stalled")));
    assert_eq!(status.consumer.unwrap().summary, "0/0");
}

#[test]
fn consumers_beyond_the_partitions_are_told_and_no_failure() {
    let of = pipeline(&[("spec.consumer", json!({"replicas": 5}))]);
    let status = status_of(&of, &working(&of), 100);
    assert_eq!(told(&status)[0], "Ready=True Ready");
    assert!(told(&status).contains(&"ConsumerAvailable=True ConsumersExceedPartitions".to_owned()));
    assert!(message(&status, "ConsumerAvailable").contains("2 stand idle"));
}

#[test]
fn what_the_topic_lacks_is_told() {
    let of = pipeline(&[]);
    let observe = pipeline(&[("spec.topic", json!({"management": "Observe"}))]);
    let with = |change: fn(&mut TopicState)| {
        let mut topic = topic();
        change(&mut topic);
        Observed { topic: TopicFacts::Present(topic), ..working(&of) }
    };
    let cases: Vec<(&CandlePipeline, Observed, &str, &str)> = vec![
        (
            &of,
            with(|topic| topic.partitions_short_of_in_sync_replicas = 1),
            "TopicReady=False IsrShortfall",
            "is a broker",
        ),
        (&of, with(|topic| topic.partitions = 2), "TopicReady=False GrowingPartitions", "from 2 to 3"),
        (
            &of,
            with(|topic| topic.partitions = 6),
            "Stalled=True PartitionShrinkUnsupported",
            "set topic.partitions: 6",
        ),
        (&observe, with(|topic| topic.partitions = 6), "TopicReady=True Observed", "6 partitions, not 3"),
        (
            &of,
            with(|topic| {
                topic.differences = vec![SettingDifference {
                    key: "retention.ms".to_owned(),
                    actual: "1000".to_owned(),
                    wanted: "604800000".to_owned(),
                }];
            }),
            "TopicReady=False ConfigDrift",
            "retention.ms: 1000, not 604800000",
        ),
        (
            &observe,
            Observed { topic: TopicFacts::Missing, ..working(&of) },
            "TopicReady=False TopicMissing",
            "creates none",
        ),
        (
            &of,
            Observed { topic: TopicFacts::Unreachable { message: "refused".to_owned() }, ..working(&of) },
            "Ready=Unknown TopicNotReady",
            "kafka:9092 do not answer: refused",
        ),
    ];
    for (of, observed, condition, text) in cases {
        let status = status_of(of, &observed, 100);
        assert!(told(&status).contains(&condition.to_owned()), "{condition} in {:?}", told(&status));
        assert!(
            message(&status, "TopicReady").contains(text),
            "{text} in {}",
            message(&status, "TopicReady")
        );
    }
}

#[test]
fn every_obstacle_stalls_with_its_own_reason_and_says_what_to_do() {
    let of = pipeline(&[]);
    let topic = || "trades".to_owned();
    let obstacles = [
        (Obstacle::OlderPipeline { pipeline: "a/b".to_owned(), topic: topic() }, "ResourceConflict", "a/b"),
        (Obstacle::TopicExists { topic: topic() }, "TopicExists", "topic.management: Adopt"),
        (Obstacle::TopicRecreated { topic: topic() }, "TopicRecreated", "trades are missing"),
        (
            Obstacle::TopicManagedElsewhere { topic: topic(), kafka_topic: "kafka/trades".to_owned() },
            "TopicManagedElsewhere",
            "KafkaTopic kafka/trades",
        ),
        (
            Obstacle::KafkaRefused { message: "POLICY_VIOLATION".to_owned() },
            "KafkaPolicyViolation",
            "POLICY_VIOLATION",
        ),
        (
            Obstacle::ReplicationFactorDiffers { actual: 1, wanted: 3 },
            "ReplicationFactorChangeUnsupported",
            "1 copies of each record, not 3",
        ),
        (Obstacle::NameConflict { object: "ConfigMap/x".to_owned() }, "NameConflict", "ConfigMap/x exists"),
        (
            Obstacle::WriteRefused { object: "ConfigMap/x".to_owned(), message: "quota".to_owned() },
            "WriteRefused",
            "quota",
        ),
    ];
    for (obstacle, reason, text) in obstacles {
        let status = status_of(&of, &Observed { obstacles: vec![obstacle], ..working(&of) }, 100);
        assert_eq!(told(&status)[..2], [format!("Ready=False {reason}"), format!("Stalled=True {reason}")]);
        assert!(message(&status, "Ready").contains(text), "{text} in {}", message(&status, "Ready"));
    }
}

#[test]
fn missing_secrets_are_named_where_they_may_be_read() {
    let of = pipeline(&[]);
    let missing = SecretFacts::KeyMissing { secret: "influxdb".to_owned(), key: "token".to_owned() };
    let status = status_of(&of, &Observed { secrets: missing, ..working(&of) }, 100);
    assert_eq!(told(&status)[0], "Ready=False SecretsMissing");
    assert!(told(&status).contains(&"SecretsResolved=False KeyMissing".to_owned()));
    assert!(
        !told(&status_of(&of, &working(&of), 100)).iter().any(|told| told.starts_with("SecretsResolved"))
    );
}

#[test]
fn the_claim_on_a_topic_is_remembered_while_the_brokers_are_away() {
    let mut of = pipeline(&[]);
    let claimed = Observed { claim: Some(TopicClaim::Created), ..working(&of) };
    of.status = Some(status_of(&of, &claimed, 100));
    let status = status_of(&of, &Observed::default(), 200);
    let topic = status.topic.unwrap();
    assert_eq!(
        (topic.claim, topic.id.as_deref(), topic.partitions),
        (Some(TopicClaim::Created), Some("AAAA"), Some(3))
    );
}

proptest! {
    #[test]
    fn messages_are_short_lines(text in "(\\PC|\n|é|\u{1F600}){0,3000}") {
        let of = pipeline(&[]);
        let observed = Observed {
            topic: TopicFacts::Unreachable { message: text.clone() },
            obstacles: vec![Obstacle::WriteRefused { object: "ConfigMap/x".to_owned(), message: text }],
            ..working(&of)
        };
        for condition in status_of(&of, &observed, 100).conditions {
            prop_assert!(condition.message.len() <= MESSAGE_BYTES_MAX);
            prop_assert!(!condition.message.contains('\n'));
        }
    }
}
