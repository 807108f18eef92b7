//! Specs in, and what is said of them: one change of the shortest example at a time.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::test_support::{full_pipeline, pipeline, valid};

/// What is wrong with the shortest example after one change.
fn problem(path: &str, value: Value) -> String {
    validate(&pipeline(&[(path, value)])).unwrap_err().to_string()
}

#[test]
fn the_examples_are_valid() {
    validate(&pipeline(&[])).unwrap();
    validate(&full_pipeline(&[])).unwrap();
}

#[test]
fn defaults_are_those_of_the_workers() {
    let workers = PipelineConfig::from_yaml(
        "exchange: {name: bitfinex, symbols: [tBTCUSD, tETHUSD]}\n\
         kafka: {bootstrapServers: 'kafka:9092'}\n\
         schemaRegistry: {url: 'http://schema-registry:8081'}\n\
         topic: {name: markets.demo}\n\
         influxdb:\n  url: http://influxdb:8086\n  organization: candles\n  bucket: candles\n  \
           token: {file: /etc/candles/secrets/influxdb-token}\n",
    )
    .unwrap();
    assert_eq!(valid(&[]).config, workers);
}

#[test]
fn the_topic_is_named_after_namespace_and_pipeline_unless_it_has_a_name() {
    assert_eq!(valid(&[]).topic.name, "markets.demo");
    assert_eq!(valid(&[("spec.topic", json!({"name": "trades"}))]).config.topic.name.as_str(), "trades");
}

#[test]
fn secrets_become_files_and_their_names_stay_out_of_the_configuration() {
    let pipeline = validate(&full_pipeline(&[])).unwrap();
    let files: Vec<&str> = pipeline.secrets.iter().map(|secret| secret.file).collect();
    assert_eq!(files, ["kafka-ca.crt", "kafka-password", "schema-registry-login", "influxdb-token"]);
    let text = serde_yaml::to_string(&pipeline.config).unwrap();
    assert!(text.contains("/etc/candles/secrets/kafka-password"), "{text}");
    for secret in ["kafka-user", "kafka-cluster-ca", "key: token"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn symbols_that_could_leave_their_place_are_refused() {
    for symbol in
        ["$(KAFKA_PASSWORD)", "tBTC\nUSD", "tBTCUSD\n", "tBTCÜSD", "tВТСUSD", "tBTC,a=b", "t\u{0}BTCUS", ""]
    {
        let problem = problem("spec.exchange.symbols", json!([symbol]));
        assert!(problem.starts_with("spec.exchange.symbols[0]: "), "{symbol:?}: {problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }
    assert!(problem("spec.exchange.symbols", json!(["t".repeat(33)])).contains("33 bytes"));
    assert!(problem("spec.exchange.symbols", json!([])).contains("0 entries"));
    assert!(
        problem("spec.exchange.symbols", json!(["tBTCUSD", "tBTCUSD"]))
            .contains("tBTCUSD stands there twice")
    );
}

#[test]
fn problems_name_field_value_and_rule() {
    let cases = [
        ("metadata.name", json!("Demo"), r#"metadata.name: "Demo" is not at most 40"#),
        ("spec.topic.partitions", json!(0), "spec.topic.partitions: 0 is not 1 to 1000"),
        ("spec.topic.minInSyncReplicas", json!(4), "4 is more than replicationFactor 3"),
        ("spec.topic.retention", json!("30s"), "spec.topic.retention: 30000 ms is shorter than"),
        ("spec.topic.retention", json!("7"), r#"spec.topic.retention: "7" is no length of time"#),
        ("spec.topic.name", json!("__secret"), r#"spec.topic.name: topic "__secret" starts with __"#),
        (
            "spec.topic.config",
            json!({"cleanup.policy": "compact"}),
            "spec.topic.config[cleanup.policy]: no such setting",
        ),
        (
            "spec.topic.config",
            json!({"segment.ms": "soon"}),
            r#"spec.topic.config[segment.ms]: "soon" is no value"#,
        ),
        ("spec.producer.partitioner", json!("RoundRobin"), "spec.producer.partitioner: RoundRobin spreads"),
        ("spec.producer.replicas", json!(4), "spec.producer.replicas: 4 is not 0 to 3"),
        ("spec.producer.acks", json!("2"), "spec.producer.acks: "),
        ("spec.consumer.replicas", json!(-1), "spec.consumer.replicas: -1 is not 0 to 1000"),
        ("spec.consumer.groupId", json!("my group"), r#"spec.consumer.groupId: "my group" holds more than"#),
        ("spec.candles.intervals", json!(["1m", "7"]), r#"spec.candles.intervals[1]: "7" has no unit"#),
        ("spec.candles.intervals", json!(["1m", "60s"]), "spec.candles.intervals[1]: 1m stands there twice"),
        ("spec.influxdb.organization", Value::Null, "spec.influxdb.organization: api: v2 needs"),
        ("spec.influxdb.bucket", json!("a\nb"), r#"spec.influxdb.bucket: "a\nb" is not one line"#),
        (
            "spec.influxdb.tokenSecretRef.key",
            json!("../x"),
            r#"spec.influxdb.tokenSecretRef.key: "../x" is no key"#,
        ),
        (
            "spec.kafka.bootstrapServers",
            json!("kafka"),
            r#"spec.kafka.bootstrapServers: "kafka" is not host:port"#,
        ),
        (
            "spec.consumer.resources",
            json!({"limits": {"memory": "lots"}}),
            r#"spec.consumer.resources.limits.memory: "lots" is no quantity"#,
        ),
        (
            "spec.consumer.resources",
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}),
            "spec.consumer.resources.requests.cpu: is more than the limit",
        ),
        (
            "spec.consumer.pod",
            json!({"labels": {"app.kubernetes.io/name": "x"}}),
            r#"spec.consumer.pod.labels: "app.kubernetes.io/name" is the operator's own"#,
        ),
        (
            "spec.producer.pod",
            json!({"labels": {"team": "a\nb"}}),
            r#"spec.producer.pod.labels[team]: "a\nb" is not"#,
        ),
    ];
    for (path, value, expected) in cases {
        let problem = problem(path, value.clone());
        assert!(problem.contains(expected), "{path} = {value}: {problem}");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let problem = problem("spec.influxdb.url", json!("https://user:hunter2@influxdb"));
    assert!(problem.starts_with("spec.influxdb.url: ") && !problem.contains("hunter2"), "{problem}");
}

#[test]
fn all_problems_are_told_at_once() {
    let both = pipeline(&[("spec.topic.partitions", json!(0)), ("spec.consumer.replicas", json!(-1))]);
    assert_eq!(validate(&both).unwrap_err().0.len(), 2);
}

#[test]
fn explicit_partitions_must_exist() {
    let explicit = |partition: i32| {
        pipeline(&[(
            "spec.producer",
            json!({"partitioner": "Explicit", "partitions": {"tBTCUSD": 0, "tETHUSD": partition}}),
        )])
    };
    validate(&explicit(2)).unwrap();
    let problem = validate(&explicit(3)).unwrap_err().to_string();
    assert!(problem.contains("spec.producer.partitions[tETHUSD]: 3 does not exist"), "{problem}");
}

proptest! {
    /// Whatever text stands wherever: an answer, no panic, and what passes has a file that the workers read.
    #[test]
    fn no_text_makes_it_panic_and_what_passes_is_read_by_the_workers(
        path in prop::sample::select(vec![
            "metadata.name", "spec.kafka.bootstrapServers", "spec.schemaRegistry.url", "spec.topic.name",
            "spec.topic.retention", "spec.producer.backfill", "spec.producer.acks", "spec.consumer.groupId",
            "spec.candles.lateness", "spec.influxdb.url", "spec.influxdb.bucket", "spec.influxdb.organization",
            "spec.influxdb.trades.measurement", "spec.influxdb.candles.fields.open", "spec.influxdb.tokenSecretRef.name",
            "spec.exchange.websocketUrl",
        ]),
        text in prop_oneof![".{0,40}", "[a-z0-9.:-]{1,12}", Just("$(VAR)".to_owned()), Just("a\nb: {c: d}".to_owned())],
    ) {
        if let Ok(valid) = validate(&pipeline(&[(path, json!(text))])) {
            let yaml = serde_yaml::to_string(&valid.config).unwrap();
            prop_assert_eq!(PipelineConfig::from_yaml(&yaml).unwrap(), valid.config);
        }
    }
}
