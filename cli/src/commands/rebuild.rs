//! `candlectl rebuild`: writes the final candles of the topic to the database again.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use candles_core::config::PipelineConfig;
use candles_core::symbol::Symbol;
use candles_workers::sink::influxdb::{Influxdb, Outcome};
use candles_workers::sink::line::CandleLines;
use clap::Args;
use tokio::task::spawn_blocking;

use crate::kafka::Cluster;
use crate::output::{Answer, say, tell};
use crate::replay::{self, Replayed};
use crate::settings::Source;

/// Lines of one request.
const LINES_MAX: usize = 5_000;
/// Tries of a request that may succeed later.
const TRIES_MAX: u32 = 6;

/// Writes final candles again, built anew from the topic: after data was lost or altered in the database
///
/// A final candle depends on the topic only, so running consumers are not disturbed: they would write the same. Raw
/// points are not written. Needs a token that may write.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Only this symbol
    #[arg(long)]
    symbol: Option<String>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Reads the whole topic, then writes.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = arguments.source.load()?;
    let settings =
        config.influxdb.clone().context("the configuration has no influxdb section to write to")?;
    let wanted = arguments.symbol;
    let (replayed, config) = spawn_blocking(move || {
        let cluster = Cluster::new(&config, false)?;
        let topic = cluster.topic(config.topic.name.as_str())?;
        let replayed = replay::replay(&cluster, &config, &topic, &replay::whole(&topic)?)?;
        anyhow::Ok((replayed, config))
    })
    .await??;
    let lines = lines(&config, &replayed, wanted.as_deref(), &CandleLines::new(&settings.candles));
    let count = lines.len();
    if arguments.dry_run {
        say(format_args!("{count} final candles would be written, built from {} records", replayed.records))?;
        return Ok(Answer::Yes);
    }
    let influxdb = Influxdb::new(&settings)?;
    for chunk in lines.chunks(LINES_MAX) {
        write(&influxdb, Bytes::from(chunk.concat())).await?;
    }
    say(format_args!("{count} final candles written, built from {} records", replayed.records))?;
    if count == 0 {
        tell("no window of the topic is final; nothing was written");
    }
    Ok(Answer::Yes)
}

/// A line for each candle of the symbols that the pipeline has.
fn lines(
    config: &PipelineConfig,
    replayed: &Replayed,
    wanted: Option<&str>,
    writer: &CandleLines,
) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for ((symbol, interval), candles) in &replayed.candles {
        let known: Option<&Symbol> = config.exchange.symbols.iter().find(|known| known.as_str() == symbol);
        let Some(symbol) = known.filter(|known| wanted.is_none_or(|wanted| wanted == known.as_str())) else {
            continue;
        };
        for (&start_ms, values) in candles {
            let mut line = Vec::new();
            writer.write_final(symbol, *interval, start_ms, values, &mut line);
            lines.push(line);
        }
    }
    lines
}

/// Tries again what may succeed later.
async fn write(influxdb: &Influxdb, body: Bytes) -> anyhow::Result<()> {
    let mut wait = Duration::from_millis(500);
    for _ in 1..TRIES_MAX {
        match influxdb.write(body.clone()).await {
            Outcome::Stored => return Ok(()),
            Outcome::Transient { problem, retry_after } => {
                let pause = retry_after.unwrap_or(wait).max(wait);
                tell(format_args!(
                    "{}: {problem}; next try in {:.1} s",
                    influxdb.name(),
                    pause.as_secs_f64()
                ));
                tokio::time::sleep(pause).await;
                wait *= 2;
            }
            Outcome::Config(problem) => bail!("{}: {problem}", influxdb.name()),
            Outcome::TooLarge => bail!("{}: refuses requests of {} bytes", influxdb.name(), body.len()),
            Outcome::Rejected(rejection) => bail!("{}: {}", influxdb.name(), rejection.error),
        }
    }
    bail!("{}: gave up after {TRIES_MAX} tries; what was written so far stays, run it again", influxdb.name())
}
