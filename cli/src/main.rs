//! `candlectl`: see, check and try a candle pipeline. Arguments in; data on standard output, messages on standard error,
//! an exit code out: 0 done or yes, 1 no, 2 error, 130 interrupted, 141 nobody reads the output any more.

mod chart;
mod commands;
mod demo;
mod influx;
mod kafka;
mod output;
mod replay;
mod settings;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::output::{Answer, tell};

const EXIT_CODES: &str = "\
Exit codes:
  0    done, or the answer is yes
  1    the answer is no: differences, an incompatible schema, a part that does not work
  2    error: wrong arguments, or a server that does not answer
  130  interrupted before it was done
  141  nobody reads the output any more

Environment:
  CANDLES_CONFIG  configuration file, where --config is not given
  NO_COLOR        no colours
  RUST_LOG        log level of what runs inside `demo`";

/// Sees, checks and tries a pipeline of candlesticks: trades of an exchange in Kafka, candles in InfluxDB.
///
/// It only reads, except for `rebuild`, `schema register` and `demo`, which starts a pipeline of its own.
#[derive(Debug, Parser)]
#[command(name = "candlectl", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(commands::demo::Arguments),
    Ui(commands::ui::Arguments),
    Status(commands::status::Arguments),
    #[command(visible_alias = "plot")]
    Chart(commands::chart::Arguments),
    Peek(commands::peek::Arguments),
    Topics(commands::topics::Arguments),
    Lag(commands::lag::Arguments),
    Schema(commands::schema::Arguments),
    Verify(commands::verify::Arguments),
    Rebuild(commands::rebuild::Arguments),
    Doctor(commands::doctor::Arguments),
    Completions(commands::completions::Arguments),
    Man(commands::completions::ManArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // reqwest and tungstenite must agree on one provider; the first to be installed wins.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(format_args!("candlectl: cannot start: {error}"));
            return ExitCode::from(2);
        }
    };
    let answer = runtime.block_on(run(arguments.command));
    // Blocking calls to servers that are gone must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(141),
        Err(error) => {
            tell(format_args!("candlectl: {}", output::clean(&format!("{error:#}"))));
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<Answer> {
    match command {
        Command::Demo(arguments) => commands::demo::run(arguments).await,
        Command::Ui(arguments) => commands::ui::run(arguments).await,
        Command::Status(arguments) => commands::status::run(arguments).await,
        Command::Chart(arguments) => commands::chart::run(arguments).await,
        Command::Peek(arguments) => commands::peek::run(arguments).await,
        Command::Topics(arguments) => commands::topics::run(arguments).await,
        Command::Lag(arguments) => commands::lag::run(arguments).await,
        Command::Schema(arguments) => commands::schema::run(arguments).await,
        Command::Verify(arguments) => commands::verify::run(arguments).await,
        Command::Rebuild(arguments) => commands::rebuild::run(arguments).await,
        Command::Doctor(arguments) => commands::doctor::run(arguments).await,
        Command::Completions(arguments) => commands::completions::run(&arguments, command_line()),
        Command::Man(arguments) => commands::completions::man(&arguments, command_line()),
    }
}

/// The whole command line, for completions and the manual.
fn command_line() -> clap::Command {
    Arguments::command()
}

/// Whether the reader of our output has gone: then there is nobody to tell.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(broken))
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_make_sense_together() {
        super::command_line().debug_assert();
    }
}
