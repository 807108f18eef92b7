//! `candlectl peek`: records of a topic, decoded.

use std::time::{Duration, Instant};

use anyhow::bail;
use candles_workers::registry::Registry;
use clap::Args;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::on_signal;
use crate::kafka::records::{Content, Read, Reader, Record, Start};
use crate::kafka::{CALL, Cluster};
use crate::output::{Answer, Format, clean, date_time, say, tell};
use crate::settings::Source;

/// Shows records of a topic, decoded from Avro through the registry
///
/// Shows the last records of each partition, or all, and ends; with --follow it goes on until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candlectl peek --config pipeline.yaml --symbol tBTCUSD --follow
  candlectl peek --config pipeline.yaml -o json | jq .value.price
  candlectl peek --config pipeline.yaml --dead-letters --last 5")]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The dead letter topic instead of the topic of the trades
    #[arg(long)]
    dead_letters: bool,
    /// Another topic than the pipeline's
    #[arg(long, value_name = "TOPIC", conflicts_with = "dead_letters")]
    of: Option<String>,
    /// Only this partition
    #[arg(long)]
    partition: Option<i32>,
    /// Only records with this key
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// Start so many records before the end of each partition
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(0..))]
    last: i64,
    /// Start at the oldest record
    #[arg(long, conflicts_with = "last")]
    all: bool,
    /// Go on with records that come
    #[arg(long, short)]
    follow: bool,
    /// A line for each record, or a JSON object for each
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

/// Reads to the end, or until a signal.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = arguments.source.load()?;
    let stop = on_signal()?;
    let name = match &arguments.of {
        Some(name) => name.clone(),
        None if arguments.dead_letters => config.topic.name.dlq(),
        None => config.topic.name.as_str().to_owned(),
    };
    let registry = Registry::new(&config.schema_registry)?;
    spawn_blocking(move || read(&arguments, &Cluster::new(&config, false)?, registry, &name, &stop))
        .await??;
    Ok(Answer::Yes)
}

fn read(
    arguments: &Arguments,
    cluster: &Cluster,
    registry: Registry,
    name: &str,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let topic = cluster.topic(name)?;
    let start = if arguments.all { Start::Beginning } else { Start::Last(arguments.last) };
    // How far each partition is to be read: what is there now.
    let wanted = topic.partitions.iter().filter(|p| arguments.partition.is_none_or(|wanted| wanted == p.id));
    let mut left: Vec<(i32, i64)> = wanted
        .filter(|p| p.end > p.first && (arguments.all || arguments.last > 0))
        .filter_map(|p| Some((p.id, p.end?)))
        .collect();
    let mut reader = Reader::new(cluster, registry, &topic, arguments.partition, start)?;
    let mut quiet_since = Instant::now();
    while !stop.is_cancelled() && (arguments.follow || !left.is_empty()) {
        match reader.next(Duration::from_millis(200)) {
            Read::Record(record) => {
                quiet_since = Instant::now();
                left.retain(|&(partition, end)| record.partition != partition || record.offset + 1 < end);
                if arguments.symbol.is_none() || arguments.symbol == record.key {
                    say(line(&record, arguments.output)?)?;
                }
            }
            // The last offsets may be those of a transaction's markers, which are no records.
            Read::End(partition) => left.retain(|&(of, _)| of != partition),
            Read::Nothing if !arguments.follow && quiet_since.elapsed() > 2 * CALL => {
                bail!("topic {name}: no records came for {} s; try again", 2 * CALL.as_secs())
            }
            Read::Nothing => {}
            Read::Problem(problem) => tell(format_args!("kafka: {}", clean(&problem))),
        }
    }
    Ok(())
}

fn line(record: &Record, output: Format) -> anyhow::Result<String> {
    if output == Format::Json {
        return Ok(serde_json::to_string(record)?);
    }
    let value = match &record.content {
        Content::Avro { schema_id, value } => format!("{value} (schema {schema_id})"),
        Content::Mark { mark, time } => format!("mark: {mark} {}", date_time(*time)),
        Content::Null => "no value".to_owned(),
        Content::Raw { value, problem } => format!("{value} ({problem})"),
    };
    let headers: serde_json::Map<_, _> =
        record.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let headers = if headers.is_empty() || matches!(record.content, Content::Mark { .. }) {
        String::new()
    } else {
        format!("  headers {}", serde_json::Value::from(headers))
    };
    let time = record.timestamp_ms.map_or_else(String::new, date_time);
    let key = record.key.as_deref().unwrap_or("-");
    let text = format!("{time} {}@{} {key}  {value}{headers}", record.partition, record.offset);
    Ok(clean(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_harmless_line() {
        let record = Record {
            partition: 1,
            offset: 7,
            timestamp_ms: Some(0),
            key: Some("t\x1b[31mX\nY".to_owned()),
            headers: vec![("error".to_owned(), "a\rb".to_owned())],
            content: Content::Raw { value: "x\ty".to_owned(), problem: "no".to_owned() },
        };
        let text = line(&record, Format::Table).unwrap();
        assert_eq!(
            text,
            "1970-01-01T00:00:00Z 1@7 t\u{fffd}[31mX\u{fffd}Y  x\u{fffd}y (no)  headers {\"error\":\"a\\rb\"}"
        );
        let json: serde_json::Value = serde_json::from_str(&line(&record, Format::Json).unwrap()).unwrap();
        assert_eq!((json["kind"].as_str(), json["offset"].as_i64()), (Some("raw"), Some(7)));
    }
}
