//! The consumer: trades of a Kafka topic in, raw points and candles in InfluxDB out.

use std::process::ExitCode;

use candles_workers::{
    consumer,
    runtime::command::{self, Arguments, EXIT_CODES},
};
use clap::Parser;

/// Stores the trades of a topic in InfluxDB, raw and as candles.
///
/// Start as many as the topic has partitions: they share the work as a consumer group. Final candles are exact
/// however often consumers are killed, added or removed.
#[derive(Debug, Parser)]
#[command(name = "consumer", version, after_help = EXIT_CODES)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    let Command { arguments } = Command::parse();
    let options = consumer::Options { http_address: arguments.http_address };
    command::main(&arguments, |config, stop| consumer::run(config, options, stop))
}
