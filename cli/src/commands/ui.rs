//! `candlectl ui`: the web application for a running pipeline.

use std::net::SocketAddr;

use clap::Args;

use super::on_signal;
use crate::output::{Answer, say, tell};
use crate::settings::Source;
use crate::ui::{self, About};

/// Shows a running pipeline in the browser: live candles, topics, records, groups, schemas
///
/// Reads only. It asks Kafka, the schema registry and InfluxDB, and works while some of them are down.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candlectl ui --config examples/pipeline.yaml
  candlectl ui --brokers localhost:9092 --symbols tBTCUSD,tETHUSD --intervals 1m,5m")]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Where to listen; port 0 takes any free one. Whoever reaches it can read: there is no login
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    address: SocketAddr,
}

/// Serves until a signal.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = arguments.source.load()?;
    let stop = on_signal()?;
    let listener = ui::bind(arguments.address).await?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tell("warning: the pages are open to everybody who reaches this machine; they ask for no login");
    }
    say(format_args!("http://{address}/"))?;
    tell("Ctrl-C ends it.");
    ui::serve(listener, config, About::default(), stop).await?;
    Ok(Answer::Yes)
}
