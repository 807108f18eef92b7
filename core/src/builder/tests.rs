//! The builder against a naive one that sorts and folds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    candle::CandleValues,
    mark::{ProducerId, Signed},
};

const SYMBOL: &str = "tBTCUSD";
const LATENESS_MS: i64 = 10_000;
/// 2019-10-11 00:00 UTC.
const BASE_MS: i64 = 1_570_752_000_000;

fn settings(intervals: &[&str]) -> Settings {
    let intervals = intervals.iter().map(|text| text.parse().unwrap()).collect();
    Settings { intervals, lateness_ms: LATENESS_MS }
}

/// A trade `time_ms` after the base time.
fn trade(id: i64, time_ms: i64, price: f64, amount: f64) -> Trade {
    Trade { id, time_ms: BASE_MS + time_ms, price, amount, received_us: 0 }
}

/// What a log holds, at its offset.
#[derive(Debug, Clone, PartialEq)]
enum Record {
    Trade(&'static str, Trade),
    Until(&'static str, i64),
    From(&'static str, i64),
    /// Of a producer that signs, times after the base time.
    Signed(&'static str, Signed),
}

/// Marks of producer `id`, `ms` after the base time.
fn from(id: u32, ms: i64) -> Record {
    signed(id, Mark::From(BASE_MS + ms), None)
}

fn until(id: u32, ms: i64) -> Record {
    signed(id, Mark::Until(BASE_MS + ms), None)
}

fn resumes(id: u32, since_ms: i64, until_ms: i64) -> Record {
    signed(id, Mark::Until(BASE_MS + until_ms), Some(BASE_MS + since_ms))
}

fn signed(id: u32, mark: Mark, since_ms: Option<i64>) -> Record {
    Record::Signed(SYMBOL, Signed { mark, producer: Some(ProducerId::new(id)), since_ms })
}

/// Symbol, interval, start after the base time, whether complete, values.
type Row = (String, String, i64, bool, CandleValues);

fn row(closed: Closed<'_>) -> Row {
    let Closed { symbol, interval, start_ms, candle, complete } = closed;
    (symbol.to_string(), interval.to_string(), start_ms - BASE_MS, complete, candle.values())
}

fn feed(builder: &mut Builder, offset: i64, record: &Record, rows: &mut Vec<Row>) -> Option<TradeOutcome> {
    let mut push = |closed: Closed<'_>| rows.push(row(closed));
    match record {
        Record::Trade(symbol, trade) => builder.trade(offset, "bitfinex", symbol, trade, push),
        Record::Until(symbol, ms) => {
            builder.mark(offset, symbol, Mark::Until(BASE_MS + ms), &mut push);
            None
        }
        Record::From(symbol, ms) => {
            builder.mark(offset, symbol, Mark::From(BASE_MS + ms), &mut push);
            None
        }
        Record::Signed(symbol, signed) => {
            builder.mark(offset, symbol, *signed, &mut push);
            None
        }
    }
}

fn run(settings: &Settings, log: &[Record]) -> Vec<Row> {
    let mut builder = Builder::new(settings.clone(), 0);
    let mut rows = Vec::new();
    for (offset, record) in log.iter().enumerate() {
        feed(&mut builder, offset as i64, record, &mut rows);
    }
    rows
}

fn final_rows(settings: &Settings, log: &[Record]) -> Vec<Row> {
    let mut rows: Vec<Row> = run(settings, log).into_iter().filter(|row| row.3).collect();
    rows.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    rows
}

/// The candles of all trades, by sorting and folding decimals.
fn oracle(intervals: &[&str], trades: &[Trade]) -> Vec<Row> {
    use bigdecimal::{BigDecimal, Zero as _};
    let exact = |x: f64| x.to_string().parse::<BigDecimal>().unwrap();
    let nearest = |d: &BigDecimal| d.to_string().parse::<f64>().unwrap();
    let mut rows = Vec::new();
    for name in intervals {
        let interval: Interval = name.parse().unwrap();
        let mut windows: BTreeMap<i64, Vec<Trade>> = BTreeMap::new();
        for trade in trades {
            windows.entry(interval.window_start_ms(trade.time_ms)).or_default().push(*trade);
        }
        for (start_ms, mut trades) in windows {
            trades.sort_by_key(|t| (t.time_ms, t.id));
            trades.dedup_by_key(|t| t.id);
            let sum = |f: &dyn Fn(&Trade) -> BigDecimal| {
                trades.iter().map(f).fold(BigDecimal::zero(), |a, b| a + b)
            };
            let volume = sum(&|t| exact(t.amount.abs()));
            let quote = sum(&|t| exact(t.amount.abs()) * exact(t.price));
            let buy = sum(&|t| if t.amount > 0.0 { exact(t.amount) } else { BigDecimal::zero() });
            let values = CandleValues {
                open: trades[0].price,
                high: trades.iter().map(|t| t.price).fold(f64::MIN, f64::max),
                low: trades.iter().map(|t| t.price).fold(f64::MAX, f64::min),
                close: trades[trades.len() - 1].price,
                volume: nearest(&volume),
                quote_volume: nearest(&quote),
                buy_volume: nearest(&buy),
                vwap: nearest(&(quote / volume)),
                count: trades.len() as u64,
            };
            rows.push((SYMBOL.to_owned(), interval.to_string(), start_ms - BASE_MS, true, values));
        }
    }
    rows.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    rows
}

/// Up to 60 trades over four minutes, several in one ms, prices with up to 8 decimals.
fn trades() -> impl Strategy<Value = Vec<Trade>> {
    let one = (0..240_000_i64, 1..2_000_000_000_u64, 1..1_000_000_u64, any::<bool>());
    proptest::collection::vec(one, 1..60).prop_map(|rows| {
        let rows = rows.into_iter().enumerate().map(|(id, (time_ms, price, amount, buy))| {
            let amount = amount as f64 / 1e4;
            let coarse_ms = time_ms - time_ms % 50;
            trade(id as i64, coarse_ms, price as f64 / 1e8, if buy { amount } else { -amount })
        });
        rows.collect()
    })
}

/// The trades as they might stand in a log: each late by less than the lateness, some of them twice.
fn disordered() -> impl Strategy<Value = (Vec<Trade>, Vec<Record>)> {
    trades().prop_flat_map(|trades| {
        let n = trades.len();
        let delays = proptest::collection::vec(0..=LATENESS_MS, n);
        let again = proptest::collection::vec(proptest::option::of(0..=LATENESS_MS), n);
        (Just(trades), delays, again).prop_map(|(trades, delays, again)| {
            let mut arrivals: Vec<(i64, Trade)> = Vec::new();
            for ((trade, delay), again) in trades.iter().zip(delays).zip(again) {
                arrivals.push((trade.time_ms + delay, *trade));
                arrivals.extend(again.map(|delay| (trade.time_ms + delay, *trade)));
            }
            arrivals.sort_by_key(|(arrival_ms, trade)| (*arrival_ms, trade.id));
            let mut log = vec![Record::From(SYMBOL, -60_000)];
            log.extend(arrivals.into_iter().map(|(_, trade)| Record::Trade(SYMBOL, trade)));
            log.push(Record::Until(SYMBOL, 86_400_000));
            (trades, log)
        })
    })
}

/// Any log: trades and marks of three symbols, in an order that makes some late and some windows incomplete.
fn any_log() -> impl Strategy<Value = Vec<Record>> {
    let symbol = prop_oneof![Just("tBTCUSD"), Just("tETHUSD"), Just("tXRPUSD")];
    let record = (symbol, 0..14_u8, -30_000..30_000_i64, 0..30_i64);
    proptest::collection::vec(record, 1..80).prop_map(|rows| {
        let mut now_ms = 0;
        let records = rows.into_iter().map(|(symbol, kind, jump_ms, id)| {
            now_ms += jump_ms.max(0);
            let ms = now_ms + jump_ms.min(0);
            match kind {
                0 => Record::From(symbol, ms),
                1 | 2 => Record::Until(symbol, ms),
                10..=13 => {
                    let producer = Some(ProducerId::new((id % 3) as u32));
                    let (mark, since_ms) = match kind {
                        10 => (Mark::From(BASE_MS + ms), None),
                        11 => (Mark::Until(BASE_MS + ms), Some(BASE_MS + ms - id * 1_000)),
                        _ => (Mark::Until(BASE_MS + ms), None),
                    };
                    Record::Signed(symbol, Signed { mark, producer, since_ms })
                }
                // Duplicates are the same trade: time and price follow from the id where it repeats.
                _ => Record::Trade(symbol, trade(id * 1_000_000 + ms, ms, 1.0 + id as f64, 0.5)),
            }
        });
        records.collect()
    })
}

/// A log with gaps, and what it covers between them.
fn gappy_log() -> impl Strategy<Value = (Vec<(i64, i64)>, Vec<Record>)> {
    let trades = proptest::collection::vec(any::<prop::sample::Index>(), 0..8);
    let segment = (1..20_000_i64, 1..90_000_i64, trades);
    proptest::collection::vec(segment, 1..8).prop_map(|rows| {
        let (mut now_ms, mut segments, mut log) = (0, Vec::new(), Vec::new());
        for (gap_ms, length_ms, trades) in rows {
            let from_ms = now_ms + gap_ms;
            now_ms = from_ms + length_ms;
            segments.push((from_ms, now_ms));
            log.push(Record::From(SYMBOL, from_ms));
            let mut times: Vec<i64> =
                trades.iter().map(|at| from_ms + at.index(length_ms as usize) as i64).collect();
            times.sort_unstable();
            log.extend(times.into_iter().map(|ms| at(ms, ms)));
            log.push(Record::Until(SYMBOL, now_ms));
        }
        log.push(Record::Until(SYMBOL, 86_400_000));
        if let Some(last) = segments.last_mut() {
            last.1 = 86_400_000;
        }
        (segments, log)
    })
}

/// Rows and checkpoints of a builder that read the log up to `head` and then was replaced by a restored one.
fn resumed(settings: &Settings, log: &[Record], heads: &[usize]) -> Vec<Row> {
    let mut builder = Builder::new(settings.clone(), 0);
    let mut rows = Vec::new();
    let mut next = 0;
    for &head in heads {
        for (offset, record) in log.iter().enumerate().take(head).skip(next) {
            feed(&mut builder, offset as i64, record, &mut rows);
        }
        let text = builder.checkpoint(head as i64).encode();
        assert!(text.len() <= crate::checkpoint::METADATA_BYTES_MAX);
        let checkpoint = Checkpoint::decode(&text).unwrap();
        let start = Builder::start_offset(settings, &checkpoint);
        assert!(start <= head as i64);
        builder = Builder::restore(settings.clone(), &checkpoint, head as i64);
        next = start as usize;
    }
    for (offset, record) in log.iter().enumerate().skip(next) {
        feed(&mut builder, offset as i64, record, &mut rows);
    }
    rows
}

proptest! {
    #[test]
    fn order_and_duplicates_do_not_matter((trades, log) in disordered()) {
        let intervals = ["1m", "2m", "7s"];
        prop_assert_eq!(final_rows(&settings(&intervals), &log), oracle(&intervals, &trades));
    }

    #[test]
    fn restored_builder_behaves_like_one_that_read_the_whole_log(
        log in any_log(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let settings = settings(&["15s", "1m", "1h"]);
        let mut heads: Vec<usize> = cuts.iter().map(|cut| cut.index(log.len() + 1)).collect();
        heads.sort_unstable();
        prop_assert_eq!(resumed(&settings, &log, &heads), run(&settings, &log));
    }

    #[test]
    fn covered_windows_and_no_others_are_final((segments, log) in gappy_log()) {
        for (_, interval, start_ms, complete, _) in run(&settings(&["1s", "15s", "1m"]), &log) {
            let end_ms = start_ms + interval.parse::<Interval>().unwrap().length_ms();
            // The last trade of a segment says nothing about the second before it.
            let covers = |(from_ms, until_ms): &(i64, i64)| *from_ms <= start_ms && end_ms <= until_ms - 1_000;
            prop_assert_eq!(complete, segments.iter().any(covers), "{} from {}", interval, start_ms);
        }
    }

    #[test]
    fn rolled_up_candles_equal_direct_ones(trades in trades()) {
        let mut rolled: BTreeMap<i64, Candle> = BTreeMap::new();
        let minute: Interval = "1m".parse().unwrap();
        let two: Interval = "2m".parse().unwrap();
        let mut minutes: BTreeMap<i64, Candle> = BTreeMap::new();
        for trade in &trades {
            let quantities = crate::decimal::Quantities::new(trade.price, trade.amount);
            let start_ms = minute.window_start_ms(trade.time_ms);
            minutes
                .entry(start_ms)
                .and_modify(|candle| candle.add(trade, &quantities))
                .or_insert_with(|| Candle::new(trade, &quantities));
        }
        for (start_ms, candle) in minutes {
            let start_ms = two.window_start_ms(start_ms);
            rolled.entry(start_ms).and_modify(|c| c.merge(&candle)).or_insert(candle);
        }
        let rolled: Vec<CandleValues> = rolled.values().map(Candle::values).collect();
        let direct: Vec<CandleValues> = oracle(&["2m"], &trades).into_iter().map(|row| row.4).collect();
        prop_assert_eq!(rolled, direct);
    }

    #[test]
    fn a_final_candle_is_written_once(log in any_log()) {
        let rows = run(&settings(&["15s", "1m"]), &log);
        let keys: BTreeSet<_> = rows.iter().map(|row| (&row.0, &row.1, row.2)).collect();
        prop_assert_eq!(keys.len(), rows.len());
    }
}

#[test]
fn late_trade_is_not_in_its_candle() {
    let settings = settings(&["1m", "2m"]);
    let mut builder = Builder::new(settings, 0);
    let mut rows = Vec::new();
    let log = [
        Record::From(SYMBOL, 0),
        Record::Trade(SYMBOL, trade(1, 59_999, 5.0, 1.0)),
        Record::Trade(SYMBOL, trade(2, 69_999, 6.0, 1.0)),
    ];
    for (offset, record) in log.iter().enumerate() {
        feed(&mut builder, offset as i64, record, &mut rows);
    }
    assert_eq!(rows, [], "the watermark is 1 ms short of the end of the minute");
    let on_time = Record::Trade(SYMBOL, trade(3, 59_999, 7.0, 1.0));
    assert_eq!(feed(&mut builder, 3, &on_time, &mut rows), Some(TradeOutcome::Counted));
    feed(&mut builder, 4, &Record::Until(SYMBOL, 70_000), &mut rows);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].2, rows[0].3, rows[0].4.close, rows[0].4.count), (0, true, 7.0, 2));
    let late = Record::Trade(SYMBOL, trade(4, 59_999, 8.0, 1.0));
    assert_eq!(
        feed(&mut builder, 5, &late, &mut rows),
        Some(TradeOutcome::PartlyLate),
        "still in the 2m candle"
    );
    assert_eq!(feed(&mut builder, 6, &late, &mut rows), Some(TradeOutcome::Duplicate));
    feed(&mut builder, 7, &Record::Until(SYMBOL, 130_000), &mut rows);
    assert_eq!(feed(&mut builder, 8, &late, &mut rows), Some(TradeOutcome::Late));
    let two_minutes = rows.iter().find(|row| row.1 == "2m").unwrap();
    assert_eq!(two_minutes.4.count, 4);
}

#[test]
fn uncovered_windows_are_incomplete() {
    let settings = settings(&["1m"]);
    let complete = |log: &[Record]| run(&settings, log).iter().map(|row| (row.2, row.3)).collect::<Vec<_>>();
    let trade_at = |id, ms| Record::Trade(SYMBOL, trade(id, ms, 1.0, 1.0));
    let end = Record::Until(SYMBOL, 600_000);
    let without_mark = [trade_at(1, 30_000), trade_at(2, 60_000), end.clone()];
    assert_eq!(complete(&without_mark), [(0, false), (60_000, true)], "covered from the next window");
    let near_the_edge = [trade_at(1, 55_000), trade_at(2, 60_000), trade_at(3, 120_000), end.clone()];
    assert_eq!(
        complete(&near_the_edge),
        [(0, false), (60_000, false), (120_000, true)],
        "a trade of the second minute may stand before the first record"
    );
    let with_mark = [Record::From(SYMBOL, 0), trade_at(1, 30_000), end.clone()];
    assert_eq!(complete(&with_mark), [(0, true)]);
    let gap = [
        Record::From(SYMBOL, 0),
        trade_at(1, 50_000),
        Record::From(SYMBOL, 130_000),
        trade_at(2, 131_000),
        trade_at(3, 180_000),
        end,
    ];
    assert_eq!(complete(&gap), [(0, false), (120_000, false), (180_000, true)]);
}

/// Windows of a minute, by start, and whether they are complete.
fn minutes(log: &[Record]) -> Vec<(i64, bool)> {
    run(&settings(&["1m"]), log).iter().map(|row| (row.2 / 60_000, row.3)).collect()
}

fn at(id: i64, ms: i64) -> Record {
    Record::Trade(SYMBOL, trade(id, ms, 1.0, 1.0))
}

#[test]
fn coverage_is_the_union_of_the_producers() {
    // 1 misses 70..130 s for good, 2 does not.
    let behind =
        [from(1, 0), resumes(2, 0, 0), at(1, 10_000), at(2, 69_000), at(3, 150_000), from(1, 130_000)];
    let log = [&behind[..], &[at(4, 200_000)]].concat();
    assert_eq!(minutes(&log), [(0, true), (1, true), (2, true)], "2 was there already");

    // The same, but 1 is the first to go on, and 2 shows what it saw only then.
    let before = [from(1, 0), from(2, 0), at(1, 10_000), at(2, 69_000), from(1, 130_000), at(5, 151_000)];
    assert_eq!(minutes(&before), [], "nobody knows yet");
    let log = [&before[..], &[at(3, 75_000), until(2, 130_000), until(2, 131_000), at(6, 200_000)]].concat();
    assert_eq!(minutes(&log), [(0, true), (1, true), (2, true)]);
    let counts: Vec<u64> = run(&settings(&["1m"]), &log).iter().map(|row| row.4.count).collect();
    assert_eq!(counts, [1, 2, 1], "what came in time is counted");
}

#[test]
fn a_gap_that_nobody_saw_is_incomplete() {
    // Alone: known when the log has gone on for a minute.
    let alone = [from(1, 0), at(1, 10_000), at(2, 69_000), from(1, 130_000), at(3, 131_000), at(4, 185_000)];
    assert_eq!(minutes(&alone), []);
    let after = [&alone[..], &[at(5, 190_000), at(6, 250_000)]].concat();
    assert_eq!(minutes(&after), [(0, true), (1, false), (2, false), (3, true)]);

    // Both miss a part of it: 2 resumes at 120 s, beyond what 1 showed.
    let both = [
        from(1, 0),
        from(2, 0),
        at(1, 69_000),
        from(1, 130_000),
        from(2, 120_000),
        at(2, 131_000),
        until(2, 150_000),
        until(1, 150_000),
        at(3, 250_000),
    ];
    assert_eq!(minutes(&both), [(1, false), (2, true)], "2 saw the third minute from its start");

    // The other one is dead: its silence does not hold the candles for ever.
    let dead = [from(1, 0), from(2, 0), at(1, 69_000), from(1, 130_000), at(2, 131_000), until(1, 200_000)];
    assert_eq!(minutes(&dead), [(1, false), (2, false)]);
}

#[test]
fn a_window_that_ends_before_a_gap_is_final() {
    // The first minute is still open when a gap follows, and a trade of it is still to come.
    let log = [
        Record::From(SYMBOL, 0),
        at(1, 10_000),
        at(2, 65_000),
        Record::From(SYMBOL, 130_000),
        at(3, 58_000),
        at(4, 200_000),
    ];
    assert_eq!(minutes(&log), [(0, true), (1, false)]);
    assert_eq!(run(&settings(&["1m"]), &log)[0].4.count, 2);

    // Two gaps within the lateness.
    let log = [
        Record::From(SYMBOL, 0),
        at(1, 500),
        Record::Until(SYMBOL, 4_100),
        Record::From(SYMBOL, 5_000),
        at(2, 5_500),
        at(3, 7_500),
        Record::Until(SYMBOL, 8_100),
        Record::From(SYMBOL, 9_000),
        at(4, 9_500),
        Record::Until(SYMBOL, 30_000),
    ];
    let seconds: Vec<(i64, bool)> =
        run(&settings(&["1s"]), &log).iter().map(|row| (row.2 / 1_000, row.3)).collect();
    assert_eq!(seconds, [(0, true), (5, true), (7, false), (9, true)], "7 may lack a trade");
}

#[test]
fn a_restarted_producer_goes_on_without_a_gap() {
    let log = [from(1, 0), at(1, 10_000), at(2, 69_000), resumes(2, 59_000, 69_000), at(3, 131_000)];
    assert_eq!(minutes(&log), [(0, true), (1, true)]);
    // Whoever starts to read at the restart does not know what stood before it.
    assert_eq!(minutes(&log[3..]), []);
    let on = [&log[3..], &[at(4, 200_000)]].concat();
    assert_eq!(minutes(&on), [(2, true)]);
}

#[test]
fn more_producers_than_are_told_apart_are_no_reason_to_believe_them() {
    let mut log = vec![from(100, 0), at(1, 30_000)];
    log.extend((0..40).map(|id| from(id, 100_000 + i64::from(id) * 1_000)));
    log.extend([at(2, 139_000), at(3, 260_000)]);
    assert_eq!(minutes(&log), [(0, false), (2, false)]);
}

#[test]
fn a_delisted_symbol_does_not_hold_the_others_log_for_ever() {
    const HOUR_MS: i64 = 3_600_000;
    let settings = settings(&["1h"]);
    let hours = |from: i64, to: i64| {
        (from..to).flat_map(move |hour| {
            ["tBTCUSD", "tETHUSD", "tLTCUSD"]
                .map(|symbol| Record::Trade(symbol, trade(hour, hour * HOUR_MS + 1_000, 1.0, 1.0)))
        })
    };
    let mut log = vec![Record::From("tXRPUSD", 0), Record::Trade("tXRPUSD", trade(1, 1_000, 1.0, 1.0))];
    log.extend(hours(0, 24));
    let mut builder = Builder::new(settings.clone(), 0);
    let mut rows = Vec::new();
    let mut offset = 0;
    for record in &log {
        feed(&mut builder, offset, record, &mut rows);
        offset += 1;
    }
    assert_eq!(builder.checkpoint(offset).reread, 1, "it may come back");
    log.extend(hours(24, 29));
    for record in &log[offset as usize..] {
        feed(&mut builder, offset, record, &mut rows);
        offset += 1;
    }
    assert!(builder.checkpoint(offset).reread > 70, "it did not");
    log.push(Record::Trade("tXRPUSD", trade(2, 29 * HOUR_MS + 2_000, 1.0, 1.0)));
    log.push(Record::Trade("tXRPUSD", trade(3, 30 * HOUR_MS + 2_000, 1.0, 1.0)));
    log.push(Record::Until("tXRPUSD", 32 * HOUR_MS));
    let xrp = |rows: &[Row]| -> Vec<(i64, bool)> {
        rows.iter().filter(|row| row.0 == "tXRPUSD").map(|row| (row.2 / HOUR_MS, row.3)).collect()
    };
    assert_eq!(xrp(&run(&settings, &log)), [(29, false), (30, true)], "what it missed is not made up");
    assert_eq!(xrp(&resumed(&settings, &log, &[offset as usize])), [(29, false), (30, true)]);
}

#[test]
fn lost_records_make_a_gap_and_never_lower_a_watermark() {
    let settings = settings(&["1m"]);
    let mut first = Builder::new(settings.clone(), 0);
    let mut rows = Vec::new();
    for (offset, record) in [
        Record::From(SYMBOL, 0),
        Record::Trade(SYMBOL, trade(1, 30_000, 1.0, 1.0)),
        Record::Until(SYMBOL, 80_000),
    ]
    .iter()
    .enumerate()
    {
        feed(&mut first, offset as i64, record, &mut rows);
    }
    assert_eq!(rows.len(), 1);
    let checkpoint = first.checkpoint(3);
    let mut second = Builder::restore(settings, &checkpoint, 3);
    second.lost_until(10);
    rows.clear();
    let late = Record::Trade(SYMBOL, trade(2, 31_000, 1.0, 1.0));
    assert_eq!(feed(&mut second, 10, &late, &mut rows), Some(TradeOutcome::Late));
    feed(&mut second, 11, &Record::Trade(SYMBOL, trade(3, 100_000, 1.0, 1.0)), &mut rows);
    feed(&mut second, 12, &Record::Trade(SYMBOL, trade(4, 120_000, 1.0, 1.0)), &mut rows);
    feed(&mut second, 13, &Record::Until(SYMBOL, 600_000), &mut rows);
    assert_eq!(rows.iter().map(|row| (row.2, row.3)).collect::<Vec<_>>(), [(60_000, false), (120_000, true)]);
}

#[test]
fn other_settings_read_the_log_from_its_origin() {
    let old = settings(&["1m"]);
    let new = settings(&["1m", "1h"]);
    let log = [
        Record::From(SYMBOL, 0),
        Record::Trade(SYMBOL, trade(1, 1_000, 1.0, 1.0)),
        Record::Until(SYMBOL, 600_000),
        Record::Trade(SYMBOL, trade(2, 601_000, 2.0, 1.0)),
        Record::Until(SYMBOL, 3_700_000),
    ];
    let mut builder = Builder::new(old, 0);
    let mut rows = Vec::new();
    for (offset, record) in log.iter().enumerate().take(4) {
        feed(&mut builder, offset as i64, record, &mut rows);
    }
    let checkpoint = builder.checkpoint(4);
    assert_eq!(checkpoint.reread, 3);
    assert_eq!(Builder::start_offset(&new, &checkpoint), 0);
    let mut builder = Builder::restore(new, &checkpoint, 4);
    rows.clear();
    for (offset, record) in log.iter().enumerate() {
        feed(&mut builder, offset as i64, record, &mut rows);
    }
    let hour = rows.iter().find(|row| row.1 == "1h").unwrap();
    assert_eq!((hour.3, hour.4.count), (true, 2));
}

#[test]
fn a_checkpoint_of_many_quiet_symbols_fits_by_reading_further_back() {
    let settings = settings(&["1m"]);
    let names: Vec<String> = (0..400).map(|i| format!("tQ{i:03}:USD")).collect();
    let mut builder = Builder::new(settings.clone(), 0);
    for (offset, name) in names.iter().enumerate() {
        builder.mark(offset as i64, name, Mark::From(BASE_MS), |_| ());
    }
    for (offset, name) in names.iter().enumerate() {
        builder.mark(400 + offset as i64, name, Mark::Until(BASE_MS + 600_000), |_| ());
    }
    let checkpoint = builder.checkpoint(800);
    assert!(checkpoint.fits() && !checkpoint.fresh);
    assert!(checkpoint.reread < 800 && checkpoint.reread > 400, "{}", checkpoint.reread);
    assert!(checkpoint.entries.len() > 100);
}

#[test]
fn a_checkpoint_that_cannot_fit_reads_from_the_origin() {
    let settings = settings(&["1d"]);
    let mut builder = Builder::new(settings.clone(), 7);
    for i in 0..400 {
        builder.trade(7 + i, "bitfinex", &format!("tQ{i:03}:USD"), &trade(i, 1_000, 1.0, 1.0), |_| ());
    }
    let checkpoint = builder.checkpoint(407);
    assert!(checkpoint.fits() && checkpoint.fresh);
    assert_eq!(Builder::start_offset(&settings, &checkpoint), 7);
}

/// The only producer ahead starts anew: what its first claims led to must be told to whoever reads less of the log.
#[test]
fn a_producer_ahead_that_starts_again_is_in_the_checkpoint() {
    let settings = settings(&["15s", "1m", "1h"]);
    let log = [
        Record::From(SYMBOL, 0),
        resumes(0, 1, 12_001),
        at(30_379, 30_379),
        at(57_313, 57_313),
        resumes(1, 41_001, 60_001),
        from(1, 60_001),
        Record::From(SYMBOL, 60_001),
        Record::From(SYMBOL, 64_956),
        Record::Until(SYMBOL, 64_956),
    ];
    for head in 0..=log.len() {
        assert_eq!(resumed(&settings, &log, &[head]), run(&settings, &log), "restarted at {head}");
    }
}
