//! What happened at the exchange, what the topic holds and what the database holds in; what is wrong out.
//! Pure: no server, no clock. Shares no code with the workers: records are decoded by `apache-avro` (`topic.rs`), sums
//! are those of `bigdecimal` (`truth.rs`), rows come from the database's own answers (`database.rs`).
//!
//! - A clean run has no finding. (`what_happened_is_what_is_stored`)
//! - What is lost, counted twice, changed later or too late is found, each by its own name.
//!   (`a_lost_trade_is_found_wherever_it_was_lost`, `a_trade_counted_twice_is_found`,
//!   `a_final_candle_that_changes_is_found`)
//! - An incomplete window needs a gap that could not be filled. (`an_incomplete_window_needs_a_reason`)

pub mod database;
pub mod topic;
pub mod truth;
mod verdict;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use self::database::RawPoint;
pub use self::topic::{Entry, LogRecord};
pub use self::truth::{Candle, Candles, Window};
pub use self::verdict::{Finding, Kind, Verdict};
pub use self::watch::Change;
use crate::exchange::TrueTrade;

/// What a run promises.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// Every trade that happened, by (time, id); history from before the first subscription included.
    pub truth: &'a [TrueTrade],
    /// Lengths of the candles, ms.
    pub lengths_ms: &'a [i64],
    /// How long a window stays open after its end, ms.
    pub lateness_ms: i64,
    /// Coverage of each symbol must begin by then (exchange ms).
    pub covered_by_ms: i64,
    /// Windows that end by then must be final (exchange ms).
    pub end_ms: i64,
    /// Where trades could truly not be had.
    pub gaps: &'a [Gap],
    /// Symbols may move to another partition: the topic grows.
    pub grows: bool,
    /// Parts of the log that were removed before anybody had read them: partition, first offset, end.
    pub removed: &'a [(i32, i64, i64)],
}

/// A part of a symbol's past that nobody can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Whose; `None`: everybody's.
    pub symbol: Option<String>,
    /// From, exchange ms.
    pub from_ms: i64,
    /// To, exchange ms, exclusive.
    pub to_ms: i64,
    /// Why, for people.
    pub why: String,
}

impl Gap {
    fn explains(&self, window: &Window) -> bool {
        self.symbol.as_ref().is_none_or(|symbol| *symbol == window.symbol)
            && self.from_ms < window.end_ms()
            && window.start_ms < self.to_ms
    }
}

/// What a run left behind.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The topic, each partition in the order of its offsets.
    pub log: Vec<LogRecord>,
    /// Raw points.
    pub raw: Vec<RawPoint>,
    /// Final candles.
    pub finals: Candles,
    /// Windows that the database calls incomplete.
    pub incomplete: BTreeSet<Window>,
    /// Final candles that were not the same in a later read, or gone.
    pub changes: Vec<Change>,
}

/// Compares what happened with what is there.
pub fn judge(case: &Case<'_>, evidence: &Evidence) -> Verdict {
    let log = topic::Log::read(&evidence.log, case.lateness_ms);
    let covered = covered_from(case, &log);
    let mut verdict = Verdict::default();
    for (symbol, from_ms) in &covered {
        if *from_ms > case.covered_by_ms {
            let text = format!("{symbol}: covered from {from_ms}, not from {} on", case.covered_by_ms);
            verdict.add(Kind::Lost, text);
        }
    }
    let expected: Vec<&TrueTrade> = case
        .truth
        .iter()
        .filter(|trade| covered.get(&trade.symbol).is_some_and(|f| trade.ms >= *f))
        .collect();
    judge_topic(case, &log, &expected, &mut verdict);
    judge_raw(case, &log, &expected, &evidence.raw, &mut verdict);
    judge_candles(case, &covered, &log, evidence, &mut verdict);
    for change in &evidence.changes {
        verdict.add(Kind::Regressed, change.to_string());
    }
    verdict.trades = expected.len();
    verdict.records = evidence.log.len();
    verdict.duplicates = log.duplicates;
    verdict
}

/// From when on each symbol must be whole: its first `from` mark, which must be early enough.
fn covered_from(case: &Case<'_>, log: &topic::Log<'_>) -> BTreeMap<String, i64> {
    let symbols: BTreeSet<&String> = case.truth.iter().map(|trade| &trade.symbol).collect();
    let from = |symbol: &String| log.first_from_ms.get(symbol.as_str()).copied().unwrap_or(i64::MAX);
    symbols.into_iter().map(|symbol| (symbol.clone(), from(symbol))).collect()
}

fn judge_topic(case: &Case<'_>, log: &topic::Log<'_>, expected: &[&TrueTrade], verdict: &mut Verdict) {
    let happened: HashMap<(&str, i64), &TrueTrade> =
        case.truth.iter().map(|trade| ((trade.symbol.as_str(), trade.id), trade)).collect();
    for trade in expected {
        if !log.first.contains_key(&(trade.symbol.as_str(), trade.id)) && trade.ms < case.end_ms {
            let excused = case.gaps.iter().any(|gap| {
                gap.symbol.as_ref().is_none_or(|symbol| *symbol == trade.symbol)
                    && (gap.from_ms..gap.to_ms).contains(&trade.ms)
            });
            if !excused {
                verdict.add(
                    Kind::Lost,
                    format!("{} {} at {}: not in the topic", trade.symbol, trade.id, trade.ms),
                );
            }
        }
    }
    for ((symbol, id), seen) in &log.first {
        let stored = (seen.trade.ms, seen.trade.price, seen.trade.amount);
        match happened.get(&(*symbol, *id)) {
            Some(trade) if truth::same(trade, stored) => {}
            Some(trade) => {
                verdict
                    .add(Kind::Foreign, format!("{symbol} {id} in the topic as {stored:?}, true: {trade:?}"));
            }
            None => verdict.add(Kind::Foreign, format!("{symbol} {id} in the topic never happened")),
        }
    }
    verdict.behind.clone_from(&log.late);
    for text in log.disordered.iter().chain(log.moved.iter().filter(|_| !case.grows)) {
        verdict.add(Kind::Disordered, text.clone());
    }
}

fn judge_raw(
    case: &Case<'_>,
    log: &topic::Log<'_>,
    expected: &[&TrueTrade],
    raw: &[RawPoint],
    verdict: &mut Verdict,
) {
    let mut stored: HashMap<(&str, i64), &RawPoint> = HashMap::new();
    for point in raw {
        if stored.insert((&point.symbol, point.id), point).is_some() {
            verdict.add(Kind::Doubled, format!("{} {}: two raw points", point.symbol, point.id));
        }
    }
    for trade in expected.iter().filter(|trade| trade.ms < case.end_ms) {
        match stored.get(&(trade.symbol.as_str(), trade.id)) {
            Some(point) if point.is(trade) => {}
            Some(point) => verdict.add(Kind::Wrong, format!("raw {point:?}, true: {trade:?}")),
            None => {
                let places = log.places.get(&(trade.symbol.as_str(), trade.id));
                // Not in the topic either: said already.
                let Some(places) = places else { continue };
                let gone = |(partition, offset): &(i32, i64)| {
                    case.removed.iter().any(|(p, from, to)| p == partition && (from..to).contains(&offset))
                };
                if !places.iter().all(gone) {
                    let text = format!("{} {} at {}: no raw point", trade.symbol, trade.id, trade.ms);
                    verdict.add(Kind::Lost, text);
                }
            }
        }
    }
}

fn judge_candles(
    case: &Case<'_>,
    covered: &BTreeMap<String, i64>,
    log: &topic::Log<'_>,
    evidence: &Evidence,
    verdict: &mut Verdict,
) {
    let truth = truth::candles(case.truth, case.lengths_ms);
    for (window, candle) in &truth {
        let is_covered = covered.get(&window.symbol).is_some_and(|from_ms| window.start_ms >= *from_ms);
        if window.end_ms() > case.end_ms {
            continue;
        }
        match evidence.finals.get(window) {
            Some(stored) if stored == candle => verdict.windows += 1,
            Some(stored) => {
                let kind = if stored.count > candle.count { Kind::Doubled } else { Kind::Wrong };
                let late = log.late_in(window);
                let lacks = if late.is_some() { Kind::Late } else { Kind::Lost };
                let kind = if stored.count < candle.count { lacks } else { kind };
                let late = late.unwrap_or_default();
                verdict.add(kind, format!("{window} final as {stored:?}, true: {candle:?}{late}"));
            }
            // Before coverage there is nothing to expect, and a final candle that is right does no harm.
            None if !is_covered => {}
            None => match case.gaps.iter().find(|gap| gap.explains(window)) {
                Some(gap) => verdict.explained.push((window.clone(), gap.why.clone())),
                None if evidence.incomplete.contains(window) => {
                    verdict.add(Kind::Incomplete, format!("{window} incomplete without a gap"));
                }
                None => verdict.add(Kind::Lost, format!("{window}: no candle, true: {candle:?}")),
            },
        }
    }
    for (window, stored) in &evidence.finals {
        if !truth.contains_key(window) {
            verdict.add(Kind::Foreign, format!("{window} final as {stored:?}, but nothing traded"));
        }
    }
}

#[cfg(test)]
mod tests;
