//! `candlectl demo`: a whole pipeline that shows what it does.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::on_signal;
use crate::demo::{self, Options};
use crate::output::Answer;

/// Runs a whole pipeline and shows its candles, in the browser and here; Ctrl-C ends everything
///
/// Producer and consumers are the real ones. Without flags everything they talk to is inside this process: an exchange
/// simulator, librdkafka's mock cluster, a small schema registry and a small InfluxDB. It needs no network.
///
/// Exit code 0 if every trade that the simulated exchange made is in the database at the end, 1 if not.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Real servers on this machine: three Kafka brokers, a schema registry, InfluxDB; built once, in minutes
    #[arg(long)]
    real: bool,
    /// The real exchange instead of the simulated one; needs the network
    #[arg(long, conflicts_with = "speed")]
    live: bool,
    /// End after so many seconds of candles
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Seconds of the simulated exchange for each second
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Where the pages are [default: 127.0.0.1:8090, or any free port where that is taken]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
}

/// A factor that every part of the demo can follow.
fn speed(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|speed| (0.1..=100.0).contains(speed))
        .ok_or_else(|| "write a number from 0.1 to 100".to_owned())
}

/// Runs until a signal or the end of its time.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let Arguments { real, live, seconds, speed, address } = arguments;
    let options = Options { real, live, show: seconds.map(Duration::from_secs), speed, address };
    match demo::run(options, on_signal()?).await? {
        Some(summary) if summary.trades.is_none_or(|trades| trades == summary.stored) => Ok(Answer::Yes),
        Some(_) => Ok(Answer::No),
        // Not by returning: that would wait for a build that is under way.
        None => std::process::exit(130),
    }
}
