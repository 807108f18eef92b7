//! Outcomes in, lines and a table out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::fault::Fault;
use super::run::Outcome;
use crate::judge::Kind;

/// One run in a few lines.
pub fn line(outcome: &Outcome) -> String {
    let Outcome { schedule, verdict, took, met, .. } = outcome;
    let mut text = format!(
        "seed {:<4} {} ({:.0} s) {schedule}; {} producers, {} consumers, {}\n",
        schedule.seed,
        verdict.summary(),
        took.as_secs_f64(),
        schedule.producers,
        schedule.consumers,
        schedule.assignor,
    );
    let _ = write!(
        text,
        "          {} trades, {} candles right, {} of {} records repeat a trade",
        verdict.trades, verdict.windows, verdict.duplicates, verdict.records
    );
    if !verdict.behind.is_empty() {
        let _ = write!(text, ", {} came late and count", verdict.behind.len());
    }
    if !verdict.explained.is_empty() {
        let _ = write!(text, ", {} windows explained: {}", verdict.explained.len(), verdict.explained[0].1);
    }
    for met in met {
        let (detected, recovered) = (seconds(met.detected), seconds(met.recovered));
        let _ = write!(text, "\n          {}: detected {detected}, recovered {recovered}", met.fault);
    }
    for finding in &verdict.findings {
        let _ = write!(text, "\n          {}: {}", finding.kind, finding.text);
    }
    text
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

/// Sums of what runs with one fault came to.
#[derive(Default)]
struct Row {
    runs: usize,
    clean: usize,
    counts: BTreeMap<Kind, usize>,
    explained: usize,
    detected: Vec<Duration>,
    recovered: Vec<Duration>,
    unnoticed: usize,
}

/// A table in Markdown: for each fault the runs that had it, alone or with others.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<Fault, Row> = BTreeMap::new();
    for outcome in outcomes {
        let mut faults: Vec<Fault> = outcome.schedule.faults.iter().map(|planned| planned.fault).collect();
        faults.sort_unstable();
        faults.dedup();
        for fault in faults {
            let row = rows.entry(fault).or_default();
            row.runs += 1;
            row.clean += usize::from(outcome.verdict.is_clean());
            row.explained += outcome.verdict.explained.len();
            for kind in Kind::ALL {
                *row.counts.entry(kind).or_default() += outcome.verdict.count(kind);
            }
            for met in outcome.met.iter().filter(|met| met.fault == fault) {
                match met.detected {
                    Some(time) => row.detected.push(time),
                    None => row.unnoticed += 1,
                }
                row.recovered.extend(met.recovered);
            }
        }
    }
    let mut text = "| fault | runs | ok | lost | double-counted | regressed | late | other | explained | detected: median, longest | recovered: median, longest |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (fault, row) in &rows {
        let count = |kind| row.counts.get(&kind).copied().unwrap_or(0);
        let named = [Kind::Lost, Kind::Doubled, Kind::Regressed, Kind::Late];
        let other: usize = row.counts.iter().filter(|(kind, _)| !named.contains(kind)).map(|(_, n)| n).sum();
        let unnoticed =
            if row.unnoticed > 0 { format!(" (unnoticed: {})", row.unnoticed) } else { String::new() };
        let _ = writeln!(
            text,
            "| {fault} | {} | {} | {} | {} | {} | {} | {other} | {} | {}{unnoticed} | {} |",
            row.runs,
            row.clean,
            count(Kind::Lost),
            count(Kind::Doubled),
            count(Kind::Regressed),
            count(Kind::Late),
            row.explained,
            spread(&row.detected),
            spread(&row.recovered),
        );
    }
    text
}

fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(longest)) => {
            format!("{:.1} s, {:.1} s", median.as_secs_f64(), longest.as_secs_f64())
        }
        _ => "-".to_owned(),
    }
}

/// Memory of the workers by role.
pub fn memory(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for role in ["producer", "consumer"] {
        let of_role =
            outcomes.iter().flat_map(|outcome| &outcome.memory).filter(|(name, _)| name.contains(role));
        let all: Vec<_> = of_role.map(|(_, memory)| memory).collect();
        let max = all.iter().map(|memory| memory.max_kib()).max().unwrap_or(0);
        // A worker that was started again starts small again; growth is that of the others.
        let growth = all.iter().filter(|memory| memory.resident_kib.len() > 30).map(|memory| {
            let (second, last) = memory.thirds_kib();
            last as i64 - second as i64
        });
        let mut growth: Vec<i64> = growth.collect();
        growth.sort_unstable();
        let _ = writeln!(
            text,
            "{role}: {} MiB at most; from the second to the last third of a run {:+} KiB (median), {:+} KiB (most)",
            max.div_ceil(1024),
            growth.get(growth.len() / 2).copied().unwrap_or(0),
            growth.last().copied().unwrap_or(0),
        );
    }
    text
}

/// One line about all.
pub fn totals(outcomes: &[Outcome]) -> String {
    let clean = outcomes.iter().filter(|outcome| outcome.verdict.is_clean()).count();
    let counts = Kind::ALL.map(|kind| {
        let count: usize = outcomes.iter().map(|outcome| outcome.verdict.count(kind)).sum();
        format!("{count} {kind}")
    });
    let trades: usize = outcomes.iter().map(|outcome| outcome.verdict.trades).sum();
    let windows: usize = outcomes.iter().map(|outcome| outcome.verdict.windows).sum();
    format!(
        "{clean} of {} runs ok; {}; {trades} trades, {windows} candles right",
        outcomes.len(),
        counts.join(", ")
    )
}
