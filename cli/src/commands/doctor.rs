//! `candlectl doctor`: each thing that the pipeline depends on, checked with the pipeline's own settings.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candles_core::avro::{TRADE_SCHEMA_JSON, check_evolution};
use candles_core::config::PipelineConfig;
use candles_workers::registry::Registry;
use candles_workers::runtime::{self, chain};
use candles_workers::sink::influxdb::{Influxdb, Outcome};
use clap::Args;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::influx::Reader;
use crate::kafka::Cluster;
use crate::kafka::topics::Topic;
use crate::output::{Answer, Format, clean, colours, say, say_json, tell};
use crate::settings::Source;

/// Checks everything that the pipeline depends on; every failure says what to do next
///
/// Exit code 1 if anything does not work. Writes nothing: InfluxDB is sent a comment to see whether it would take points.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

/// A comment in line protocol: no point, so that nothing is stored.
const PROBE: &[u8] = b"# candlectl doctor\n";

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    name: String,
    ok: bool,
    /// What was found.
    found: String,
    /// What to do; empty if nothing.
    next: String,
}

impl Check {
    fn good(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: true, found: found.into(), next: String::new() }
    }

    fn bad(name: &str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: false, found: found.into(), next: next.into() }
    }
}

/// Looks once.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = Arc::new(arguments.source.load()?);
    let again = arguments.source.as_arguments();
    let mut checks = vec![exchange(&config).await];
    let asked = Arc::clone(&config);
    checks.extend(spawn_blocking(move || kafka(&asked)).await?);
    if checks.iter().any(|check| check.name == "topic" && check.ok) {
        checks.push(durability(&config).await);
    }
    checks.push(registry(&config, &again).await);
    checks.extend(influxdb(&config, &again).await);
    let well = checks.iter().all(|check| check.ok);
    if arguments.output == Format::Json {
        say_json(&checks)?;
    } else {
        for check in &checks {
            print(check)?;
        }
        tell(if well { "everything works" } else { "something does not work: see what to do above" });
    }
    Ok(if well { Answer::Yes } else { Answer::No })
}

fn print(check: &Check) -> std::io::Result<()> {
    let (word, code) = if check.ok { ("ok  ", 32) } else { ("FAIL", 31) };
    let word = if colours() { crate::chart::coloured(word, code) } else { word.to_owned() };
    say(format_args!("{word}  {:<16} {}", check.name, clean(&check.found)))?;
    if !check.next.is_empty() {
        say(format_args!("      {:<16} next: {}", "", check.next))?;
    }
    Ok(())
}

/// Any answer will do: the exchange is reached.
async fn exchange(config: &PipelineConfig) -> Check {
    let url = config.exchange.rest_url.join(&["platform", "status"]);
    let answer = async {
        let client = runtime::http_client(None)?.timeout(Duration::from_secs(10)).build()?;
        anyhow::Ok(client.get(url).send().await.map_err(reqwest::Error::without_url)?.status())
    };
    match answer.await {
        Ok(status) => Check::good("exchange", format!("{} answers ({status})", config.exchange.rest_url)),
        Err(error) => Check::bad(
            "exchange",
            format!("{}: {error:#}", config.exchange.rest_url),
            "is the network there, or a proxy needed? see exchange.restUrl",
        ),
    }
}

fn kafka(config: &PipelineConfig) -> Vec<Check> {
    let cluster = match Cluster::new(config, false) {
        Ok(cluster) => cluster,
        Err(error) => return vec![Check::bad("kafka", format!("{error:#}"), "correct the section kafka")],
    };
    match cluster.brokers() {
        Ok(count) => {
            let mut checks = vec![Check::good("kafka", format!("{count} brokers"))];
            checks.extend([("topic", config.topic.name.as_str().to_owned()), ("dead letters", config.topic.name.dlq())].map(
                |(name, topic)| match cluster.topic(&topic) {
                    Ok(found) => replicated(name, &found),
                    Err(error) => {
                        let partitions = if name == "topic" { 3 } else { 1 };
                        let next = format!(
                            "kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions {partitions} \
                             --replication-factor 3 --config min.insync.replicas=2",
                            config.kafka.bootstrap_servers.as_str()
                        );
                        Check::bad(name, format!("{error:#}"), next)
                    }
                },
            ));
            checks.push(group(&cluster, config));
            checks
        }
        Err(error) => {
            vec![Check::bad("kafka", format!("{error:#}"), "start the brokers, or correct the section kafka")]
        }
    }
}

fn replicated(name: &str, topic: &Topic) -> Check {
    let found = format!(
        "{}: {} partitions, {} replicas, {} out of sync",
        topic.name,
        topic.partitions.len(),
        topic.replication(),
        topic.out_of_sync()
    );
    let leaderless = topic.partitions.iter().filter(|partition| partition.leader.is_none()).count();
    if leaderless > 0 {
        return Check::bad(
            name,
            format!("{found}, {leaderless} without a leader"),
            "start the brokers that are down",
        );
    }
    if topic.out_of_sync() > 0 {
        return Check::bad(
            name,
            found,
            format!("start the brokers that are down; then: candlectl topics {}", topic.name),
        );
    }
    Check::good(name, found)
}

fn group(cluster: &Cluster, config: &PipelineConfig) -> Check {
    let (id, name) = (config.group_id(), "consumer group");
    match cluster.groups() {
        Ok(groups) => match groups.iter().find(|group| group.id == id && !group.members.is_empty()) {
            Some(group) => {
                Check::good(name, format!("{id}: {} members, {}", group.members.len(), group.state))
            }
            None => {
                Check::bad(name, format!("{id} has no members"), "start a consumer: consumer --config FILE")
            }
        },
        Err(error) => Check::bad(name, format!("{error:#}"), "may this user describe groups?"),
    }
}

/// Whether an acknowledged record survives the loss of a broker.
async fn durability(config: &PipelineConfig) -> Check {
    let (name, topic) = ("durability", config.topic.name.as_str());
    let found = match Cluster::new(config, false) {
        Ok(cluster) => cluster.settings(topic).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(settings) => {
            let of = |name: &str| settings.iter().find(|s| s.name == name).and_then(|s| s.value.clone());
            let least = of("min.insync.replicas").unwrap_or_default();
            if least.parse::<u32>().is_ok_and(|least| least >= 2) {
                Check::good(name, format!("{topic}: min.insync.replicas {least}"))
            } else {
                let next = format!(
                    "kafka-configs.sh --bootstrap-server {} --alter --topic {topic} --add-config min.insync.replicas=2",
                    config.kafka.bootstrap_servers.as_str()
                );
                Check::bad(
                    name,
                    format!("{topic}: min.insync.replicas {least}: a lost broker may lose records"),
                    next,
                )
            }
        }
        Err(error) => Check::bad(name, format!("{error:#}"), "may this user describe the topic's settings?"),
    }
}

async fn registry(config: &PipelineConfig, again: &str) -> Check {
    let (name, subject) = ("schema registry", format!("{}-value", config.topic.name.as_str()));
    let found = async {
        let registry = Registry::new(&config.schema_registry)?;
        let Some(&newest) = registry.versions(&subject).await?.last() else { return Ok(None) };
        anyhow::Ok(registry.version(&subject, newest).await?)
    };
    match found.await {
        Ok(None) => {
            Check::good(name, format!("{subject} has no versions yet; the producer registers the first"))
        }
        Ok(Some(version)) => match check_evolution(&version.schema, TRADE_SCHEMA_JSON) {
            Ok(()) => Check::good(name, format!("{subject} version {}, id {}", version.version, version.id)),
            Err(problem) => Check::bad(
                name,
                format!("{subject} version {} does not fit this release: {problem}", version.version),
                format!("candlectl schema diff{again}"),
            ),
        },
        Err(error) => Check::bad(name, format!("{error:#}"), "start the registry, or correct schemaRegistry"),
    }
}

async fn influxdb(config: &PipelineConfig, again: &str) -> Vec<Check> {
    let Some(settings) = &config.influxdb else {
        return vec![Check::bad(
            "influxdb",
            "the configuration has no influxdb section",
            "add one; the consumer needs it",
        )];
    };
    let write = match Influxdb::new(settings) {
        Ok(client) => match client.write(Bytes::from_static(PROBE)).await {
            Outcome::Stored => Check::good("influxdb writes", client.name().to_owned()),
            Outcome::Config(problem) | Outcome::Transient { problem, .. } => {
                let found = format!("{}: {problem}", client.name());
                Check::bad(
                    "influxdb writes",
                    found,
                    "start InfluxDB, or correct influxdb.url, .bucket or .token",
                )
            }
            Outcome::TooLarge | Outcome::Rejected(_) => {
                Check::bad("influxdb writes", "refuses a comment: is this an InfluxDB?", "check influxdb.url")
            }
        },
        Err(error) => Check::bad("influxdb writes", chain(&*error), "correct the section influxdb"),
    };
    let (symbol, interval) = (config.exchange.symbols[0].as_str(), config.candles.intervals.first());
    let read = match (Reader::new(settings), interval) {
        (_, None) => Check::good("influxdb reads", "candles.intervals is empty: raw points only"),
        (Ok(reader), Some(interval)) => match reader.newest_ms(symbol, *interval).await {
            Ok(Some(newest_ms)) => {
                let newest = crate::output::date_time(newest_ms);
                Check::good(
                    "influxdb reads",
                    format!("newest candle of {symbol} {interval} starts at {newest}"),
                )
            }
            Ok(None) => Check::bad(
                "influxdb reads",
                format!("no candle of {symbol} {interval} yet"),
                format!("candlectl lag{again}"),
            ),
            Err(error) => Check::bad(
                "influxdb reads",
                format!("{error:#}"),
                "a token that may only write cannot show candles",
            ),
        },
        (Err(error), _) => Check::bad("influxdb reads", format!("{error:#}"), "correct the section influxdb"),
    };
    vec![write, read]
}
