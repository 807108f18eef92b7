//! `candlectl chart`: candles of a symbol in the terminal, from InfluxDB.

use std::time::Duration;

use anyhow::Context as _;
use candles_core::interval::Interval;
use clap::Args;
use serde_json::json;

use super::on_signal;
use crate::chart::screen::{self, Screen};
use crate::chart::{self, Size};
use crate::influx::{Reader, Row};
use crate::output::{Answer, Format, date_time, say, say_json, table, tell};
use crate::settings::Source;

/// How often a followed chart is drawn.
const EVERY: Duration = Duration::from_secs(1);
/// Candles of a chart that is not drawn to the size of a terminal.
const COUNT: u32 = 20;

/// Draws candles of a symbol in the terminal; in a pipe, a line for each
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candlectl chart tBTCUSD --interval 1m --config pipeline.yaml
  candlectl chart --follow
  candlectl chart -o json --count 100 | jq '.[].close'")]
pub struct Arguments {
    /// Symbol [default: the pipeline's first]
    symbol: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Length of the candles [default: the pipeline's first]
    #[arg(long)]
    interval: Option<Interval>,
    /// So many windows, the newest [default: as many as fit]
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
    let influxdb =
        config.influxdb.as_ref().context("the configuration has no influxdb section, so no candles")?;
    let reader = Reader::new(influxdb)?;
    let symbol = arguments.symbol.unwrap_or_else(|| config.exchange.symbols[0].to_string());
    let first = config.candles.intervals.first().copied();
    let interval = arguments.interval.or(first).context("the configuration has no candles.intervals")?;
    let terminal = || screen::size().filter(|_| arguments.output == Format::Table);
    let count = || arguments.count.or(terminal().map(|size| size.width as u32)).unwrap_or(COUNT);
    if !arguments.follow {
        let rows = reader.newest(&symbol, interval, count()).await?;
        print(&symbol, interval, &rows, arguments.output, terminal())?;
        return Ok(if rows.is_empty() { Answer::No } else { Answer::Yes });
    }
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
                let done = rows.into_iter().filter(|row| row.state == crate::influx::State::Final);
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
