//! Plans of the examples as golden files, and properties of any plan.

use candles_core::config::PipelineConfig;
use k8s_openapi::api::apps::v1::Deployment;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    drift::drift,
    test_support::{full, settings, valid},
};

fn planned(pipeline: &ValidPipeline) -> Plan {
    plan(pipeline, &settings(), None)
}

fn child<'a>(plan: &'a Plan, id: &str) -> &'a Value {
    &plan.children().find(|child| child.id.to_string() == id).unwrap().body
}

/// Paths of all fields that differ, from one plan to the next.
fn changes(before: &Plan, after: &Plan) -> Vec<String> {
    let mut changes = Vec::new();
    for child in after.children() {
        match before.children().find(|other| other.id == child.id) {
            Some(other) => {
                let differences = drift(&child.body, &other.body);
                changes.extend(differences.iter().map(|difference| format!("{} {difference}", child.id)));
            }
            None => changes.push(format!("{} added", child.id)),
        }
    }
    let gone = before.children().filter(|child| after.children().all(|other| other.id != child.id));
    changes.extend(gone.map(|child| format!("{} removed", child.id)));
    changes
}

fn yaml(plan: &Plan) -> String {
    let texts: Vec<String> =
        plan.children().map(|child| serde_yaml::to_string(&child.body).unwrap()).collect();
    let topic = |topic: &DesiredTopic| {
        let DesiredTopic { name, partitions, replication_factor, config } = topic;
        format!("# topic {name}: {partitions} partitions, {replication_factor} copies, {config:?}\n")
    };
    let topics: Vec<String> = plan.topics.iter().map(topic).collect();
    let unwanted: Vec<String> = plan.unwanted.iter().map(|id| format!("# unwanted: {id}\n")).collect();
    [texts.join("---\n"), topics.concat(), unwanted.concat()].concat()
}

/// Compares with `plan/golden/NAME`; `UPDATE=1 make test` rewrites it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/src/plan/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let differing = golden.lines().zip(text.lines()).find(|(golden, new)| golden != new);
    assert!(golden == text, "{path}: {differing:?}; run UPDATE=1 make test and read the difference");
}

#[test]
fn the_shortest_example_becomes_these_objects() {
    golden("candlepipeline.yaml", &yaml(&planned(&valid(&[]))));
}

#[test]
fn the_long_example_becomes_these_objects() {
    golden("candlepipeline-full.yaml", &yaml(&planned(&full(&[]))));
}

#[test]
fn a_replica_change_changes_one_number() {
    let (before, after) = (planned(&full(&[])), planned(&full(&[("spec.consumer.replicas", json!(5))])));
    assert_eq!(changes(&before, &after), ["Deployment/markets-consumer spec.replicas 3 -> 5"]);
}

#[test]
fn suspending_changes_replicas_only() {
    let (before, after) = (planned(&full(&[])), planned(&full(&[("spec.suspend", json!(true))])));
    assert_eq!(
        changes(&before, &after),
        [
            "Deployment/markets-producer spec.replicas 1 -> 0",
            "Deployment/markets-consumer spec.replicas 3 -> 0"
        ]
    );
}

#[test]
fn only_those_restart_who_read_what_has_changed() {
    let restarted = |path: &str, value: Value| {
        let (before, after) = (planned(&full(&[])), planned(&full(&[(path, value)])));
        let changed = changes(&before, &after);
        ["producer", "consumer"].map(|role| {
            changed
                .iter()
                .any(|change| change.starts_with(&format!("Deployment/markets-{role} spec.template")))
        })
    };
    assert_eq!(restarted("spec.candles.intervals", json!(["1m"])), [false, true]);
    assert_eq!(restarted("spec.influxdb.bucket", json!("other")), [false, true]);
    assert_eq!(restarted("spec.producer.backfill", json!("2h")), [true, false]);
    assert_eq!(restarted("spec.exchange.restUrl", json!("https://proxy/v2")), [true, false]);
    assert_eq!(restarted("spec.exchange.symbols", json!(["tBTCUSD"])), [true, true]);
    assert_eq!(restarted("spec.kafka.bootstrapServers", json!("other:9093")), [true, true]);
    assert_eq!(restarted("spec.topic.retention", json!("30d")), [false, false]);
    assert_eq!(restarted("spec.topic.deletionPolicy", json!("Delete")), [false, false]);
    assert_eq!(restarted("spec.grafana.dashboard.enabled", json!(false)), [false, false]);
}

#[test]
fn every_child_is_owned_and_labelled() {
    let pipeline = full(&[]);
    for child in planned(&pipeline).children() {
        let metadata = &child.body["metadata"];
        assert_eq!(metadata["namespace"], "markets", "{}", child.id);
        assert_eq!(metadata["ownerReferences"][0]["uid"], "b6a3ff6e-0001", "{}", child.id);
        assert_eq!(metadata["ownerReferences"][0]["controller"], true, "{}", child.id);
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "markets", "{}", child.id);
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], MANAGED_BY, "{}", child.id);
    }
}

#[test]
fn names_fit_into_labels_even_at_their_longest() {
    let name = "a".repeat(40);
    for child in planned(&full(&[("metadata.name", json!(name))])).children() {
        assert!(child.id.name.len() <= 63, "{}", child.id);
    }
}

#[test]
fn pods_meet_the_restricted_security_standard() {
    for role in ["producer", "consumer"] {
        let plan = planned(&full(&[]));
        let pod = &child(&plan, &format!("Deployment/markets-{role}"))["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(container["privileged"], Value::Null);
        for volume in pod["volumes"].as_array().unwrap() {
            assert!(volume["configMap"].is_object() || volume["projected"].is_object(), "{volume}");
        }
    }
}

#[test]
fn the_producer_never_sees_the_secrets_of_the_database() {
    let plan = planned(&full(&[]));
    let volumes = |role: &str| {
        child(&plan, &format!("Deployment/markets-{role}"))["spec"]["template"]["spec"]["volumes"].to_string()
    };
    assert!(!volumes("producer").contains("influxdb"));
    assert!(volumes("consumer").contains("influxdb-token"));
}

#[test]
fn no_text_of_the_user_reaches_arguments_or_variables() {
    let plan = planned(&full(&[]));
    for role in ["producer", "consumer"] {
        let container =
            &child(&plan, &format!("Deployment/markets-{role}"))["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["env"], Value::Null);
        assert_eq!(container["command"], Value::Null);
        assert_eq!(
            container["args"],
            json!([
                "--config=/etc/candles/config/pipeline.yaml",
                "--http-address=0.0.0.0:8080",
                "--log-format=json"
            ])
        );
    }
}

#[test]
fn labels_of_the_user_do_not_replace_the_operators() {
    let plan = planned(&full(&[]));
    let template = &child(&plan, "Deployment/markets-consumer")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(template["team"], "markets");
    assert_eq!(template["app.kubernetes.io/component"], "consumer");
}

#[test]
fn a_field_no_longer_wanted_is_drift() {
    let (with, without) = (planned(&full(&[])), planned(&full(&[("spec.consumer.pod", json!({}))])));
    // The API server still has the node selector and the toleration; the plan says nothing of them.
    let differences =
        drift(child(&without, "Deployment/markets-consumer"), child(&with, "Deployment/markets-consumer"));
    assert!(differences.iter().any(|difference| difference.path.contains(DESIRED_HASH)), "{differences:?}");
}

#[test]
fn what_is_switched_off_is_unwanted() {
    let unwanted = |pipeline: &ValidPipeline| {
        planned(pipeline).unwanted.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(unwanted(&full(&[])), Vec::<String>::new());
    assert_eq!(unwanted(&valid(&[])), ["PodMonitor/demo", "ConfigMap/demo-dashboard"]);
}

#[test]
fn topics_are_the_log_and_its_dead_letters() {
    let [log, dead_letters] = planned(&full(&[])).topics;
    assert_eq!((log.name.as_str(), log.partitions, log.replication_factor), ("trades", 6, 3));
    assert_eq!(log.config["retention.ms"], "1209600000");
    assert_eq!(log.config["min.insync.replicas"], "2");
    assert_eq!(log.config["compression.type"], "zstd");
    assert_eq!((dead_letters.name.as_str(), dead_letters.partitions), ("trades-dlq", 1));
    assert_eq!(dead_letters.config, log.config);
}

/// The consumers' Deployment as the API server has it: `existing` pods of the plan for `pipeline`.
fn live(pipeline: &ValidPipeline, before: Option<&Deployment>, existing: i32) -> Deployment {
    let plan = plan(pipeline, &settings(), before);
    let mut body = child(&plan, "Deployment/markets-consumer").clone();
    body["metadata"]["generation"] = json!(1);
    body["status"] = json!({"observedGeneration": 1, "replicas": existing});
    serde_json::from_value(body).unwrap()
}

#[test]
fn another_assignor_goes_over_zero_consumers() {
    let eager = full(&[("spec.consumer.assignor", json!("Range"))]);
    let consumers = |live: &Deployment| {
        let plan = plan(&eager, &settings(), Some(live));
        let body = child(&plan, "Deployment/markets-consumer");
        (body["spec"]["replicas"].clone(), body["metadata"]["annotations"][ASSIGNOR].clone())
    };
    let running = live(&full(&[]), None, 3);
    assert_eq!(consumers(&running), (json!(0), json!("CooperativeSticky")), "first all stop");
    let stopping = live(&eager, Some(&running), 1);
    assert_eq!(consumers(&stopping), (json!(0), json!("CooperativeSticky")), "until the last has gone");
    let stopped = live(&eager, Some(&running), 0);
    assert_eq!(consumers(&stopped), (json!(3), json!("Range")), "then they start in the new way");
    let fresh = plan(&eager, &settings(), None);
    assert_eq!(
        drift(
            child(&fresh, "Deployment/markets-consumer"),
            child(&plan(&eager, &settings(), Some(&stopped)), "Deployment/markets-consumer")
        ),
        vec![],
        "as a fresh one"
    );
}

#[test]
fn every_field_changed_and_changed_back_gives_the_fresh_plan() {
    let changed: &[(&str, Value)] = &[
        ("spec.suspend", json!(true)),
        ("spec.exchange.symbols", json!(["tBTCUSD"])),
        ("spec.exchange.limits", json!({"historyRows": 100})),
        ("spec.kafka.bootstrapServers", json!("other:9092")),
        ("spec.kafka.tls", Value::Null),
        ("spec.kafka.sasl", Value::Null),
        ("spec.schemaRegistry.url", json!("http://other")),
        ("spec.schemaRegistry.auth", Value::Null),
        ("spec.topic.retention", json!("30d")),
        ("spec.topic.config", json!({})),
        ("spec.topic.management", json!("Adopt")),
        ("spec.topic.deletionPolicy", json!("Delete")),
        ("spec.producer.replicas", json!(2)),
        ("spec.producer.acks", json!(1)),
        ("spec.producer.backfill", json!("2h")),
        ("spec.producer.resources", json!({"limits": {"cpu": 1}})),
        ("spec.consumer.replicas", json!(0)),
        ("spec.consumer.groupId", Value::Null),
        ("spec.consumer.offsetReset", json!("Latest")),
        ("spec.consumer.pod", json!({"annotations": {"a": "b"}, "priorityClassName": "high"})),
        ("spec.candles.intervals", json!([])),
        ("spec.candles.lateness", json!("1s")),
        ("spec.influxdb.url", json!("http://other:8086")),
        ("spec.influxdb.api", json!("v3")),
        ("spec.influxdb.tokenSecretRef", json!({"name": "other", "key": "t"})),
        ("spec.influxdb.trades", json!({})),
        ("spec.grafana", json!({})),
        ("spec.monitoring", json!({})),
    ];
    let fresh = planned(&full(&[]));
    for (path, value) in changed {
        let away = planned(&full(&[(path, value.clone())]));
        let moved = changes(&fresh, &away);
        let topics_moved = away.topics != fresh.topics;
        let operator_only = ["spec.topic.management", "spec.topic.deletionPolicy"].contains(path);
        assert!(!moved.is_empty() || topics_moved || operator_only, "{path} changes nothing");
        // Whatever the way, each step that changes something is seen as drift against what stands there.
        for child in away.children() {
            if let Some(before) = fresh.children().find(|other| other.id == child.id) {
                let differs = child.body != before.body;
                assert_eq!(differs, !drift(&child.body, &before.body).is_empty(), "{path}: {}", child.id);
                assert_eq!(
                    differs,
                    !drift(&before.body, &child.body).is_empty(),
                    "{path}: {} back",
                    child.id
                );
            }
        }
        assert_eq!(planned(&full(&[])), fresh, "{path}");
    }
}

#[test]
fn no_secret_of_another_kind_is_in_any_object() {
    // Only names of Secrets may appear: the plan has never seen one.
    let text = yaml(&planned(&full(&[])));
    for word in ["password:", "token:"] {
        for line in text.lines().filter(|line| line.trim_start().starts_with(word)) {
            assert!(line.trim_end().ends_with(word), "{line}");
        }
    }
}

fn specs() -> impl Strategy<Value = ValidPipeline> {
    (
        prop::collection::btree_set("t[A-Z0-9]{6}", 1..20),
        1..50_i32,
        0..20_i32,
        prop::sample::subsequence(vec!["1s", "1m", "2m", "5m", "1h", "1d"], 0..6),
        prop::sample::select(vec!["CooperativeSticky", "Range", "RoundRobin", "Broker"]),
        "[a-zA-Z$ {}\"\\[\\]%&*!|>'@`,-]{1,30}",
        any::<bool>(),
    )
        .prop_filter_map(
            "a name that is allowed",
            |(symbols, partitions, replicas, intervals, assignor, text, on)| {
                let pipeline = crate::test_support::full_pipeline(&[
                    ("spec.exchange.symbols", json!(symbols)),
                    ("spec.topic.partitions", json!(partitions)),
                    ("spec.consumer.replicas", json!(replicas)),
                    ("spec.consumer.assignor", json!(assignor)),
                    ("spec.candles.intervals", json!(intervals)),
                    ("spec.influxdb.bucket", json!(text)),
                    ("spec.influxdb.trades.measurement", json!(text)),
                    (
                        "spec.influxdb.candles",
                        json!({"measurement": format!("{text}2"), "fields": {"open": text}}),
                    ),
                    ("spec.consumer.pod.annotations", json!({"note": text})),
                    ("spec.suspend", json!(on)),
                ]);
                crate::validate::validate(&pipeline).ok()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_inputs_give_equal_bytes(pipeline in specs()) {
        let text = |plan: &Plan| plan.children().map(|child| child.body.to_string()).collect::<Vec<_>>();
        prop_assert_eq!(text(&planned(&pipeline)), text(&planned(&pipeline.clone())));
    }

    #[test]
    fn the_workers_read_the_configuration_that_is_written(pipeline in specs()) {
        let plan = planned(&pipeline);
        let text = child(&plan, "ConfigMap/markets-config")["data"][CONFIG_FILE].as_str().unwrap();
        prop_assert_eq!(PipelineConfig::from_yaml(text).unwrap(), pipeline.config);
    }

    #[test]
    fn what_was_applied_is_not_written_again(pipeline in specs()) {
        for child in planned(&pipeline).children() {
            prop_assert_eq!(drift(&child.body, &child.body), vec![]);
        }
    }

    #[test]
    fn dashboards_are_json_whatever_names_are_in_them(pipeline in specs()) {
        let plan = planned(&pipeline);
        let data = &child(&plan, "ConfigMap/markets-dashboard")["data"]["markets-markets.json"];
        let dashboard: Value = serde_json::from_str(data.as_str().unwrap()).unwrap();
        prop_assert!(dashboard["panels"][0]["targets"][0]["query"].as_str().unwrap().contains("range(start: v.timeRangeStart"));
    }
}
