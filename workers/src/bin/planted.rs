//! Either worker with a bug on purpose, for the test of the judge. `CANDLES_PLANTED` names the bug and
//! `CANDLES_PLANTED_ROLE` the worker; the arguments are the worker's own.

use std::process::ExitCode;

use candles_core::planted::{self, Bug};
use candles_workers::{
    consumer, producer,
    runtime::command::{self, Arguments},
};
use clap::Parser;

/// A worker with a planted bug.
#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let Some(bug) = Bug::named(&variable("CANDLES_PLANTED")) else {
        let names: Vec<&str> = Bug::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("error: CANDLES_PLANTED must name a bug: {}", names.join(", "));
        return ExitCode::from(2);
    };
    planted::plant(bug);
    let Command { arguments } = Command::parse();
    let http_address = arguments.http_address;
    if variable("CANDLES_PLANTED_ROLE") == "producer" {
        let options = producer::Options { http_address };
        command::main(&arguments, |config, stop| producer::run(config, options, stop))
    } else {
        let options = consumer::Options { http_address };
        command::main(&arguments, |config, stop| consumer::run(config, options, stop))
    }
}
