//! The producer: trades of an exchange in, records of a Kafka topic out.

use std::process::ExitCode;

use candles_workers::{
    producer,
    runtime::command::{self, Arguments, EXIT_CODES},
};
use clap::Parser;

/// Publishes the trades of an exchange to a Kafka topic, complete and in order.
///
/// It keeps no state of its own: after a restart it reads the end of the topic and fetches what is missing from the
/// exchange's history. Two at once lose nothing and disturb nobody. What it waits for is told by /readyz and the log.
#[derive(Debug, Parser)]
#[command(name = "producer", version, after_help = EXIT_CODES)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    let Command { arguments } = Command::parse();
    let options = producer::Options { http_address: arguments.http_address };
    command::main(&arguments, |config, stop| producer::run(config, options, stop))
}
