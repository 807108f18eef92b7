//! Configurations in, their values or the message that a user reads out.

use super::*;

const MINIMAL: &str = "\
exchange:
  name: bitfinex
  symbols: [tBTCUSD, tETHUSD]
kafka:
  bootstrapServers: localhost:9092
schemaRegistry:
  url: http://localhost:8081/apis/ccompat/v7
topic:
  name: trades
influxdb:
  url: http://localhost:8086
  organization: acme
  bucket: candles
  token: {env: INFLUX_TOKEN}
";

fn error(yaml: &str) -> String {
    PipelineConfig::from_yaml(yaml).unwrap_err().to_string()
}

/// The minimal configuration with `more` behind it.
fn with(more: &str) -> String {
    format!("{MINIMAL}{more}")
}

#[test]
fn defaults_are_those_of_the_design() {
    let config = PipelineConfig::from_yaml(MINIMAL).unwrap();
    assert_eq!(config.producer.acks, Acks::All);
    assert_eq!(config.candles.lateness, Duration::from_ms(10_000));
    assert_eq!(config.group_id(), "candles-trades");
    assert_eq!(config.topic.name.dlq(), "trades-dlq");
    assert_eq!(config.influxdb.unwrap().token, SecretRef::Env("INFLUX_TOKEN".to_owned()));
}

#[test]
fn reads_back_what_the_operator_writes() {
    let full = with(
        "producer: {acks: 1, partitioner: Explicit, partitions: {tBTCUSD: 0, tETHUSD: 1}, backfill: 90m}\n\
         consumer: {groupId: g, assignor: Broker, offsetReset: Latest}\n\
         candles: {intervals: [1s, 120s, 1w], lateness: 500ms}\n",
    )
    .replace("  bootstrapServers: localhost:9092", "  bootstrapServers: a:9092,b:9093\n  tls: {caFile: /ca.pem}\n  sasl: {mechanism: SCRAM-SHA-512, username: u, password: {file: /p}}");
    let config = PipelineConfig::from_yaml(&full).unwrap();
    let written = serde_yaml::to_string(&config).unwrap();
    assert_eq!(PipelineConfig::from_yaml(&written).unwrap(), config, "{written}");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let message = error(&MINIMAL.replace("  name: trades", "  name: trades\n  partions: 3"));
    assert!(message.starts_with("line 10: topic.partions: unknown field `partions`"), "{message}");
}

#[test]
fn a_bad_value_is_named_with_its_key_and_line() {
    let message = error(&with("candles:\n  intervals: [1m, 2m, '7']\n"));
    assert_eq!(message, r#"line 16: candles.intervals[2]: "7" has no unit; write 7s, 7m or 7h"#);
    let message = error(&MINIMAL.replace("localhost:9092", "localhost"));
    assert!(
        message.starts_with(r#"line 5: kafka.bootstrapServers: "localhost" is not host:port"#),
        "{message}"
    );
}

#[test]
fn rejects_what_does_not_fit_together() {
    for (yaml, expected) in [
        (MINIMAL.replace("tETHUSD", "tBTCUSD"), "exchange.symbols[1]: tBTCUSD stands there twice"),
        (MINIMAL.replace("[tBTCUSD, tETHUSD]", "[]"), "exchange.symbols: has 0 entries"),
        (MINIMAL.replace("tETHUSD", "ETHUSD"), "exchange.symbols[1]: symbol \"ETHUSD\" is not a Bitfinex"),
        (with("candles: {intervals: [60s, 1m]}"), "candles.intervals[1]: 1m stands there twice"),
        (with("candles: {lateness: 2h}"), "candles.lateness: 2h is more than 1h"),
        (with("producer: {partitioner: RoundRobin}"), "producer.partitioner: RoundRobin spreads"),
        (
            with("producer: {partitioner: Explicit, partitions: {tBTCUSD: 1}}"),
            "producer.partitions: has no partition for tETHUSD",
        ),
        (
            with("producer: {partitions: {tBTCUSD: 1}}"),
            "producer.partitions: is for partitioner: Explicit only",
        ),
        (MINIMAL.replace("  organization: acme\n", ""), "influxdb.organization: api: v2 needs"),
        (with("  trades: {symbolTag: price}"), "influxdb.trades: symbolTag"),
        (with("  candles: {measurement: trades}"), "influxdb: trades.measurement"),
        (with("  trades: {priceField: time}"), "influxdb.trades: symbolTag"),
        (
            MINIMAL.replace("  symbols:", "  limits: {historyRows: 0}\n  symbols:"),
            "exchange.limits.historyRows: 0",
        ),
    ] {
        let message = error(&yaml);
        assert!(message.starts_with(expected), "{message}\nexpected: {expected}");
    }
}

#[test]
fn rejects_values_that_could_carry_something_else() {
    for (yaml, expected) in [
        (
            MINIMAL.replace("http://localhost:8086", "http://u:hunter2@localhost"),
            "the URL holds a user or a password",
        ),
        (MINIMAL.replace("http://localhost:8086", "ftp://localhost"), "does not start with http://"),
        (MINIMAL.replace("name: trades", "name: __consumer_offsets"), "which Kafka keeps for itself"),
        (MINIMAL.replace("name: trades", "name: a/b"), "is no topic name"),
        (with("  trades: {measurement: '#x'}"), "is no name of a measurement"),
        (with("  trades: {measurement: \"a\\nb\"}"), "is no name of a measurement"),
        (with("  trades: {measurement: 'a\\'}"), "is no name of a measurement"),
        (with("producer: {acks: 2}"), "expected all, 1 or 0"),
        (with("producer: {backfill: 1 hour}"), "is no length of time"),
        (MINIMAL.replace("{env: INFLUX_TOKEN}", "plain-secret"), "influxdb.token"),
    ] {
        let message = error(&yaml);
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn original_names_are_allowed() {
    let yaml = with("  trades: {measurement: criptomonedas666, symbolTag: Coin, priceField: close_price}");
    let trades = PipelineConfig::from_yaml(&yaml).unwrap().influxdb.unwrap().trades;
    assert_eq!(trades.measurement.as_str(), "criptomonedas666");
}
