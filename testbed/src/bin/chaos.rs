//! `chaos`: seeded fault runs of the whole pipeline on the real servers. Seeds in; findings, times and a table out.
//! Exit status: 0 nothing found, 1 something found, 2 the runs could not be made.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use candles_testbed::chaos::{self, Fault, Options, fault, report, schedule};
use clap::Parser;

/// Breaks everything around producers and consumers while they work, and judges every candle.
///
/// A seed decides which faults a run has, when, how long, and all of its market: the same seed replays them.
#[derive(Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How many runs, with seeds one after the other (default: 12, or 1 with --seed)
    #[arg(long)]
    runs: Option<u64>,
    /// Replay the schedule of this seed; with --runs, the first of them
    #[arg(long)]
    seed: Option<u64>,
    /// Every run is about this fault (see --list)
    #[arg(long, value_parser = fault_named)]
    only: Option<Fault>,
    /// Seconds of trading in each run; more of them have more faults
    #[arg(long, default_value_t = schedule::TRADING.as_secs(), value_parser = clap::value_parser!(u64).range(12..=3_600))]
    seconds: u64,
    /// How many runs are under way at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    lanes: u8,
    /// Workers are a build with this planted bug; ends with the first run that shows it
    #[arg(long)]
    planted: Option<String>,
    /// List the faults
    #[arg(long)]
    list: bool,
}

fn fault_named(name: &str) -> Result<Fault, String> {
    Fault::named(name).ok_or_else(|| "no such fault; --list shows all".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        let names: Vec<&str> = fault::ALL.iter().map(|(_, name)| *name).collect();
        let _ = writeln!(std::io::stdout(), "{}", names.join("\n"));
        return ExitCode::SUCCESS;
    }
    let options = Options {
        first: arguments.seed.unwrap_or(0),
        runs: arguments.runs.unwrap_or(if arguments.seed.is_some() { 1 } else { 12 }),
        only: arguments.only,
        trading: Duration::from_secs(arguments.seconds),
        lanes: arguments.lanes.into(),
        planted: arguments.planted,
    };
    let say = |text: String| {
        let _ = writeln!(std::io::stdout(), "{text}");
    };
    let outcomes = match chaos::run(&options, |outcome| say(report::line(outcome))).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            return ExitCode::from(2);
        }
    };
    say(format!(
        "\n{}\n{}\n{}",
        report::table(&outcomes),
        report::memory(&outcomes),
        report::totals(&outcomes)
    ));
    let red: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.verdict.is_clean())
        .map(|outcome| replay(outcome.schedule.seed, &options))
        .collect();
    if red.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(format!("replay with:\n{}", red.join("\n")));
    ExitCode::FAILURE
}

fn replay(seed: u64, options: &Options) -> String {
    let only = options.only.map(|fault| format!(" CHAOS_ONLY={fault}")).unwrap_or_default();
    let seconds = options.trading.as_secs();
    let seconds = if seconds == schedule::TRADING.as_secs() {
        String::new()
    } else {
        format!(" CHAOS_SECONDS={seconds}")
    };
    format!("  make chaos CHAOS_SEED={seed}{only}{seconds}")
}
