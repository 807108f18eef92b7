//! `candlectl status`: a running pipeline in a few lines: topic, workers, lag, and the last final candle of each symbol.
//!
//! A part that does not answer is named, and the others are told all the same.

use candles_core::config::PipelineConfig;
use candles_core::interval::Interval;
use clap::Args;
use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::influx::{Reader, Row, State};
use crate::kafka::Cluster;
use crate::kafka::groups::{Group, Position};
use crate::kafka::topics::Topic;
use crate::output::{Answer, Format, date_time, say, say_json, table, tell};
use crate::settings::Source;

/// Windows that are looked through for a final one: more are never open at once.
const LOOK_BACK: u32 = 200;
/// Questions that the database is asked at a time.
const AT_ONCE: usize = 8;

/// Shows topic, consumers, lag, and the last final candle of each symbol and interval
///
/// Exit code 1 if the consumer group has no members, a partition lacks replicas in sync, or a symbol has no final candle.
#[derive(Debug, Args)]
#[command(after_help = "\
In Kubernetes `kubectl get candles` lists all pipelines. What to do about a failure: candlectl doctor")]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

/// What the brokers say.
struct Log {
    topic: Topic,
    positions: Vec<Position>,
    /// `Err`: brokers that list no groups.
    group: anyhow::Result<Option<Group>>,
}

/// The newest candles of a symbol and interval.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    symbol: String,
    interval: String,
    /// Start of the last final candle.
    last_final: Option<String>,
    close: Option<f64>,
    /// Windows after it that are not final.
    open: usize,
}

impl Series {
    fn of(symbol: &str, interval: Interval, rows: &[Row]) -> Self {
        let last = rows.iter().rposition(|row| row.state == State::Final);
        let row = last.map(|at| &rows[at]);
        Self {
            symbol: symbol.to_owned(),
            interval: interval.to_string(),
            last_final: row.map(|row| date_time(row.start_ms)),
            close: row.map(|row| row.values.close),
            open: rows.len() - last.map_or(0, |at| at + 1),
        }
    }
}

/// Asks once.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = arguments.source.load()?;
    let (id, name) = (config.group_id(), config.topic.name.as_str().to_owned());
    let for_log = config.clone();
    let log = spawn_blocking(move || log(&for_log)).await?;
    let series = series(&config).await;
    let works = log.as_ref().is_ok_and(works)
        && series.as_ref().is_ok_and(|all| all.iter().all(|one| one.last_final.is_some()));
    for problem in [log.as_ref().err(), series.as_ref().err()].into_iter().flatten() {
        tell(format_args!("{problem:#}"));
    }
    let (log, series) = (log.ok(), series.ok());
    if arguments.output == Format::Json {
        let topic = log.as_ref().map(|log| {
            json!({ "name": name, "partitions": log.topic.partitions.len(),
            "records": log.topic.records(), "outOfSync": log.topic.out_of_sync() })
        });
        let group = log.as_ref().map(|log| {
            json!({ "id": id, "lag": lag(log), "state": state(log),
            "members": log.group.as_ref().ok().and_then(|group| group.as_ref().map(|group| &group.members)) })
        });
        say_json(&json!({ "works": works, "topic": topic, "group": group, "candles": series }))?;
    } else {
        print(&id, log.as_ref(), series.as_deref().unwrap_or_default())?;
    }
    Ok(if works { Answer::Yes } else { Answer::No })
}

fn log(config: &PipelineConfig) -> anyhow::Result<Log> {
    let cluster = Cluster::new(config, false)?;
    let topic = cluster.topic(config.topic.name.as_str())?;
    let positions = cluster.positions(&topic)?;
    let id = config.group_id();
    let group = cluster.groups().map(|groups| groups.into_iter().find(|group| group.id == id));
    Ok(Log { topic, positions, group })
}

async fn series(config: &PipelineConfig) -> anyhow::Result<Vec<Series>> {
    let Some(influxdb) = &config.influxdb else { return Ok(Vec::new()) };
    let reader = Reader::new(influxdb)?;
    let symbols = config.exchange.symbols.iter();
    let wanted: Vec<(&str, Interval)> = symbols
        .flat_map(|symbol| config.candles.intervals.iter().map(|interval| (symbol.as_str(), *interval)))
        .collect();
    let answers = futures_util::stream::iter(wanted).map(async |(symbol, interval)| {
        let rows = reader.newest(symbol, interval, LOOK_BACK).await?;
        anyhow::Ok(Series::of(symbol, interval, &rows))
    });
    answers.buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// Whether somebody reads, and every record has its copies. Brokers that list no groups are believed.
fn works(log: &Log) -> bool {
    let has_members = |group: &Option<Group>| group.as_ref().is_some_and(|group| !group.members.is_empty());
    log.topic.out_of_sync() == 0 && log.group.as_ref().map_or(true, has_members)
}

fn lag(log: &Log) -> Option<i64> {
    log.positions.iter().map(|position| position.lag).sum()
}

fn state(log: &Log) -> String {
    match &log.group {
        Ok(Some(group)) => group.state.clone(),
        Ok(None) => "there is no such group yet".to_owned(),
        Err(_) => "not known".to_owned(),
    }
}

fn print(id: &str, log: Option<&Log>, series: &[Series]) -> anyhow::Result<()> {
    if let Some(log) = log {
        let known = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let topic = &log.topic;
        say(format_args!(
            "topic      {}: {} partitions, {} short of replicas in sync, {} records",
            topic.name,
            topic.partitions.len(),
            topic.out_of_sync(),
            known(topic.records()),
        ))?;
        let members = match &log.group {
            Ok(group) => group.as_ref().map_or(0, |group| group.members.len()).to_string(),
            Err(_) => "?".to_owned(),
        };
        say(format_args!(
            "consumers  {members} in group {id} ({}), {} records behind",
            state(log),
            known(lag(log))
        ))?;
        say("")?;
    }
    let row = |one: &Series| {
        vec![
            one.symbol.clone(),
            one.interval.clone(),
            one.last_final.clone().unwrap_or_else(|| "none yet".to_owned()),
            one.close.map_or_else(String::new, |close| close.to_string()),
            one.open.to_string(),
        ]
    };
    let rows: Vec<_> = series.iter().map(row).collect();
    for line in table(&["SYMBOL", "INTERVAL", "LAST FINAL", "CLOSE", "NOT FINAL"], &rows) {
        say(line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::row;

    #[test]
    fn the_last_final_candle_is_found_behind_those_that_form() {
        let minute = "1m".parse().unwrap();
        let mut rows = vec![row(0, [1.0; 4]), row(60, [2.0; 4]), row(120, [3.0; 4]), row(180, [4.0; 4])];
        (rows[2].state, rows[3].state) = (State::Incomplete, State::Forming);
        let found = Series::of("tX", minute, &rows);
        assert_eq!(
            (found.last_final.as_deref(), found.close, found.open),
            (Some("1970-01-01T00:01:00Z"), Some(2.0), 2)
        );
        let none = Series::of("tX", minute, &rows[2..]);
        assert_eq!((none.last_final, none.close, none.open), (None, None, 2));
        assert_eq!(Series::of("tX", minute, &[]).open, 0);
    }
}
