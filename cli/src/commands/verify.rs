//! `candlectl verify`: whether the database holds exactly the candles that the topic gives.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use candles_core::candle::CandleValues;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::influx::{Range, Reader};
use crate::kafka::Cluster;
use crate::output::{Answer, Format, date_time, say, say_json, table, tell};
use crate::replay::{self, Replayed, Series};
use crate::settings::Source;

/// Builds the candles anew from the topic and compares them with the database, bit by bit
///
/// It reads what the consumer group has finished: up to its committed offsets, from where the group began or the topic
/// still goes back to. Windows that the topic no longer covers are not compared. Exit code 1 if there is any difference.
#[derive(Debug, Args)]
#[command(after_help = "\
Differences can be mended: candlectl rebuild writes the candles of the topic again.")]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

/// A candle that is not the same in both.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    symbol: String,
    interval: String,
    start: String,
    /// `missing` in the database, not in the `topic`, or the field's name.
    what: &'static str,
    topic: Option<f64>,
    database: Option<f64>,
}

/// Compares once.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = arguments.source.load()?;
    let influxdb =
        config.influxdb.as_ref().context("the configuration has no influxdb section to compare with")?;
    let reader = Reader::new(influxdb)?;
    let replayed = spawn_blocking(move || {
        let cluster = Cluster::new(&config, false)?;
        let topic = cluster.topic(config.topic.name.as_str())?;
        let group = config.group_id();
        let stretches = replay::finished(&topic, &cluster.positions(&topic)?);
        if stretches.is_empty() {
            bail!("group {group} has not finished any record of topic {} that is still there", topic.name);
        }
        replay::replay(&cluster, &config, &topic, &stretches)
    })
    .await??;

    let (mut compared, mut found) = (0, Vec::new());
    for (series, candles) in &replayed.candles {
        let (Some(first), Some(last)) = (candles.first_key_value(), candles.last_key_value()) else {
            continue;
        };
        let range = Range { from_ms: *first.0, to_ms: last.0 + 1 };
        let stored = reader.final_candles(&series.0, series.1, range).await?;
        let stored: BTreeMap<i64, CandleValues> =
            stored.iter().map(|row| (row.start_ms, row.values)).collect();
        compared += candles.len();
        found.extend(differences(series, candles, &stored));
    }
    print(&replayed, compared, &found, arguments.output)?;
    Ok(if found.is_empty() { Answer::Yes } else { Answer::No })
}

fn print(replayed: &Replayed, compared: usize, found: &[Difference], output: Format) -> anyhow::Result<()> {
    let exact = found.is_empty();
    if output == Format::Json {
        return say_json(&json!({ "exact": exact, "candles": compared, "series": replayed.candles.len(),
            "records": replayed.records, "differences": found }));
    }
    if !exact {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let row = |d: &Difference| {
            let texts = [&d.symbol, &d.interval, &d.start, d.what].map(str::to_owned);
            [texts.to_vec(), vec![number(d.topic), number(d.database)]].concat()
        };
        let headings = ["SYMBOL", "INTERVAL", "START", "WHAT", "TOPIC", "DATABASE"];
        for line in table(&headings, &found.iter().map(row).collect::<Vec<_>>()) {
            say(line)?;
        }
    }
    let verdict = if exact { "exact".to_owned() } else { format!("{} differences", found.len()) };
    say(format_args!(
        "{verdict}: {compared} final candles of {} series, built from {} records",
        replayed.candles.len(),
        replayed.records
    ))?;
    if compared == 0 {
        tell("no window of the topic is final yet; try again later");
    }
    Ok(())
}

fn differences(
    (symbol, interval): &Series,
    topic: &BTreeMap<i64, CandleValues>,
    database: &BTreeMap<i64, CandleValues>,
) -> Vec<Difference> {
    let difference = |start_ms: i64, what, topic, database| Difference {
        symbol: symbol.clone(),
        interval: interval.to_string(),
        start: date_time(start_ms),
        what,
        topic,
        database,
    };
    let mut found = Vec::new();
    for (&start_ms, expected) in topic {
        match database.get(&start_ms) {
            None => found.push(difference(start_ms, "missing", Some(expected.close), None)),
            Some(stored) => {
                let fields = fields(expected).into_iter().zip(fields(stored));
                let unequal = fields.filter(|((_, a), (_, b))| a.to_bits() != b.to_bits());
                found.extend(unequal.map(|((name, a), (_, b))| difference(start_ms, name, Some(a), Some(b))));
            }
        }
    }
    let extra = database.iter().filter(|(start_ms, _)| !topic.contains_key(start_ms));
    found.extend(
        extra.map(|(&start_ms, stored)| difference(start_ms, "not in topic", None, Some(stored.close))),
    );
    found
}

fn fields(v: &CandleValues) -> [(&'static str, f64); 9] {
    [
        ("open", v.open),
        ("high", v.high),
        ("low", v.low),
        ("close", v.close),
        ("volume", v.volume),
        ("quote volume", v.quote_volume),
        ("buy volume", v.buy_volume),
        ("vwap", v.vwap),
        ("count", v.count as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_by_candle_and_field() {
        let candle = CandleValues {
            open: 1.0,
            high: 4.0,
            low: 0.5,
            close: 2.0,
            volume: 0.1,
            quote_volume: 1.0,
            buy_volume: 0.0,
            vwap: 3.0,
            count: 7,
        };
        let series = ("tBTCUSD".to_owned(), "1m".parse().unwrap());
        let topic = BTreeMap::from([(0, candle), (60_000, candle), (120_000, candle)]);
        assert_eq!(differences(&series, &topic, &topic), []);
        // The next double after 0.1.
        let altered = CandleValues { volume: f64::from_bits(0.1_f64.to_bits() + 1), ..candle };
        let database = BTreeMap::from([(0, altered), (60_000, candle), (180_000, candle)]);
        let found = differences(&series, &topic, &database);
        let told: Vec<_> = found.iter().map(|d| (d.start.as_str(), d.what)).collect();
        assert_eq!(
            told,
            [
                ("1970-01-01T00:00:00Z", "volume"),
                ("1970-01-01T00:02:00Z", "missing"),
                ("1970-01-01T00:03:00Z", "not in topic")
            ]
        );
        assert_eq!(found[0].database, Some(altered.volume));
    }
}
