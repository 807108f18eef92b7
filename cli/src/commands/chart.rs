//! `candlectl chart`: candles of a symbol in the terminal or as a picture, from InfluxDB or from the topic itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use candles_core::config::PipelineConfig;
use candles_core::interval::Interval;
use clap::Args;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::on_signal;
use crate::chart::screen::{self, Screen};
use crate::chart::svg::{self, Picture};
use crate::chart::{self, Size, png};
use crate::influx::{Reader, Row, State};
use crate::kafka::Cluster;
use crate::output::{Answer, Format, date_time, say, say_json, table, tell};
use crate::replay;
use crate::settings::Source;

/// How often a followed chart is drawn.
const EVERY: Duration = Duration::from_secs(1);
/// Candles of a chart that is not drawn to the size of a terminal.
const COUNT: u32 = 20;
/// Candles of a picture.
const PICTURE_COUNT: u32 = 120;
const PICTURE: Picture = Picture { width: 1_280, height: 720 };

/// Draws candles of a symbol in the terminal or as a picture; in a pipe, a line for each
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candlectl chart tBTCUSD --interval 1m --config pipeline.yaml
  candlectl chart --follow
  candlectl plot tBTCUSD --file btc.png
  candlectl plot --from-topic --interval 5m --file btc.svg
  candlectl chart -o json --count 100 | jq '.[].close'")]
pub struct Arguments {
    /// Symbol [default: the pipeline's first]
    symbol: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Length of the candles [default: the pipeline's first]
    #[arg(long)]
    interval: Option<Interval>,
    /// Write a picture instead: its name ends in .svg or .png
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "output"])]
    file: Option<PathBuf>,
    /// Build the candles from the records of the topic instead of reading them from InfluxDB
    #[arg(long, conflicts_with = "follow")]
    from_topic: bool,
    /// So many windows, the newest [default: as many as fit, 120 in a picture]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: Option<u32>,
    /// Draw again every second, until Ctrl-C
    #[arg(long, short, conflicts_with = "output")]
    follow: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

/// Draws once, or until a signal. Exit code 1 if there is nothing to draw.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = arguments.source.load()?;
    let symbol = arguments.symbol.clone().unwrap_or_else(|| config.exchange.symbols[0].to_string());
    let first = config.candles.intervals.first().copied();
    let interval = arguments.interval.or(first).context("the configuration has no candles.intervals")?;
    let terminal = || screen::size().filter(|_| arguments.output == Format::Table);
    let kind = arguments.file.as_deref().map(Kind::of).transpose()?;
    let count = || {
        let fits =
            if kind.is_some() { Some(PICTURE_COUNT) } else { terminal().map(|size| size.width as u32) };
        arguments.count.or(fits).unwrap_or(COUNT)
    };
    if !arguments.follow {
        let rows = if arguments.from_topic {
            of_topic(config, &symbol, interval, count()).await?
        } else {
            reader(&config)?.newest(&symbol, interval, count()).await?
        };
        match arguments.file.as_deref().zip(kind) {
            Some((file, kind)) if !rows.is_empty() => {
                let picture = svg::draw(&symbol, interval, &rows, PICTURE);
                let bytes = match kind {
                    Kind::Svg => picture.into_bytes(),
                    Kind::Png => {
                        let rendered = png::render(&picture)?;
                        if !rendered.letters {
                            tell(
                                "this machine has no fonts, so the picture has no letters; install fonts-dejavu-core",
                            );
                        }
                        rendered.png
                    }
                };
                std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
                tell(format_args!("{} candles in {}", rows.len(), file.display()));
            }
            _ => print(&symbol, interval, &rows, arguments.output, terminal())?,
        }
        return Ok(if rows.is_empty() { Answer::No } else { Answer::Yes });
    }
    let reader = reader(&config)?;
    let (stop, mut canvas) = (on_signal()?, Screen::default());
    let mut last_ms = None;
    while !stop.is_cancelled() {
        match (reader.newest(&symbol, interval, count()).await, terminal()) {
            (Ok(rows), Some(size)) => {
                // The cursor stands below the last line.
                let size = Size { height: size.height.saturating_sub(1), ..size };
                canvas.draw(&chart::draw(&symbol, interval, &rows, size))?;
            }
            (Ok(rows), None) => {
                let done = rows.into_iter().filter(|row| row.state == State::Final);
                for row in done
                    .filter(|row| last_ms.is_none_or(|last_ms| row.start_ms > last_ms))
                    .collect::<Vec<_>>()
                {
                    say(cells(&row).join("  "))?;
                    last_ms = Some(row.start_ms);
                }
            }
            (Err(error), _) => tell(format_args!("{error:#}; next try in a second")),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(Answer::Yes)
}

/// What a picture's name says it is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Svg,
    Png,
}

impl Kind {
    fn of(file: &Path) -> anyhow::Result<Self> {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => bail!("--file {}: its name must end in .svg or .png", file.display()),
        }
    }
}

fn reader(config: &PipelineConfig) -> anyhow::Result<Reader> {
    let missing = "the configuration has no influxdb section, so no candles; --from-topic needs none";
    Reader::new(config.influxdb.as_ref().context(missing)?)
}

/// The newest windows that the whole topic gives.
async fn of_topic(
    mut config: PipelineConfig,
    symbol: &str,
    interval: Interval,
    count: u32,
) -> anyhow::Result<Vec<Row>> {
    config.candles.intervals = vec![interval];
    let series = (symbol.to_owned(), interval);
    let replayed = spawn_blocking(move || {
        let cluster = Cluster::new(&config, false)?;
        let topic = cluster.topic(config.topic.name.as_str())?;
        replay::replay(&cluster, &config, &topic, &replay::whole(&topic)?)
    })
    .await??;
    let others = replayed.others.get(&series).into_iter().flatten();
    let others = others.map(|(&start_ms, &(values, state))| Row { start_ms, values, state });
    let done = replayed.candles.get(&series).into_iter().flatten();
    let done = done.map(|(&start_ms, &values)| Row { start_ms, values, state: State::Final });
    let by_start: BTreeMap<i64, Row> = others.chain(done).map(|row| (row.start_ms, row)).collect();
    let newest_ms = by_start.last_key_value().map_or(0, |(start_ms, _)| *start_ms);
    let from_ms = newest_ms.saturating_sub(interval.length_ms() * i64::from(count.saturating_sub(1)));
    Ok(by_start.into_values().filter(|row| row.start_ms >= from_ms).collect())
}

fn cells(row: &Row) -> Vec<String> {
    let v = &row.values;
    let numbers = [v.open, v.high, v.low, v.close, v.volume].map(|number| number.to_string());
    let state = format!("{:?}", row.state).to_lowercase();
    [vec![date_time(row.start_ms)], numbers.to_vec(), vec![v.count.to_string(), state]].concat()
}

fn print(
    symbol: &str,
    interval: Interval,
    rows: &[Row],
    output: Format,
    terminal: Option<Size>,
) -> anyhow::Result<()> {
    if output == Format::Json {
        let object = |row: &Row| {
            let v = &row.values;
            json!({ "time": date_time(row.start_ms), "open": v.open, "high": v.high, "low": v.low, "close": v.close,
                "volume": v.volume, "quoteVolume": v.quote_volume, "buyVolume": v.buy_volume, "vwap": v.vwap,
                "count": v.count, "state": row.state })
        };
        return say_json(&rows.iter().map(object).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        tell(format_args!("no candles of {symbol} {interval} yet; does the consumer run? candlectl lag"));
    }
    let lines = if let Some(size) = terminal {
        // Room for the prompt.
        chart::draw(symbol, interval, rows, Size { height: size.height.saturating_sub(2), ..size })
    } else {
        let headings = ["TIME", "OPEN", "HIGH", "LOW", "CLOSE", "VOLUME", "TRADES", "STATE"];
        table(&headings, &rows.iter().map(cells).collect::<Vec<_>>())
    };
    for line in lines {
        say(line)?;
    }
    Ok(())
}
