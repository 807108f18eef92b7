//! `chaos`: seeded fault runs of the whole pipeline on the real servers. Seeds in; findings, times and a table out.
//! Exit status: 0 nothing found, 1 something found, 2 the runs could not be made.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use candles_testbed::chaos::{Chaos, Fault, Options, fault, planted, report, schedule};
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
    /// Judge the judge: workers have a planted bug, each of which must be seen within 12 seeds
    #[arg(long, conflicts_with_all = ["runs", "seed", "only"])]
    planted: bool,
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
    let done = if arguments.planted { judge_the_judge(&arguments).await } else { runs(&arguments).await };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Runs the seeds; false: something was found.
async fn runs(arguments: &Arguments) -> anyhow::Result<bool> {
    let options = Options {
        first: arguments.seed.unwrap_or(0),
        runs: arguments.runs.unwrap_or(if arguments.seed.is_some() { 1 } else { 12 }),
        only: arguments.only,
        trading: Duration::from_secs(arguments.seconds),
        planted: None,
    };
    let lanes = usize::from(arguments.lanes).min(options.runs as usize).max(1);
    let chaos = Chaos::start(lanes).await?;
    let outcomes = chaos.run(&options, |outcome| say(&report::line(outcome)), |_| false).await?;
    let (table, memory, totals) =
        (report::table(&outcomes), report::memory(&outcomes), report::totals(&outcomes));
    say(&format!("\n{table}\n{memory}\n{totals}"));
    let red = outcomes.iter().filter(|outcome| !outcome.verdict.is_clean());
    let red: Vec<String> = red.map(|outcome| replay(outcome.schedule.seed, &options)).collect();
    if red.is_empty() {
        chaos.finish();
    } else {
        say(&format!("replay with:\n{}", red.join("\n")));
    }
    Ok(red.is_empty())
}

/// Runs each planted bug until the judge sees it; false: one was not seen.
async fn judge_the_judge(arguments: &Arguments) -> anyhow::Result<bool> {
    let chaos = Chaos::start(arguments.lanes.into()).await?;
    let mut seen = 0;
    say("| planted bug | runs | seen by seed | as |\n|---|---|---|---|");
    for bug in planted::BUGS {
        let outcomes = planted::catch(&chaos, bug, Duration::from_secs(arguments.seconds)).await?;
        let (name, runs) = (bug.name, outcomes.len());
        match outcomes.iter().find(|outcome| bug.is_shown_by(outcome)) {
            Some(outcome) => {
                seen += 1;
                let (seed, summary) = (outcome.schedule.seed, outcome.verdict.summary());
                say(&format!("| {name} | {runs} | {seed} | {summary} |"));
            }
            None => say(&format!("| {name} | {runs} | never | |")),
        }
    }
    if seen == planted::BUGS.len() {
        chaos.finish();
    }
    Ok(seen == planted::BUGS.len())
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
