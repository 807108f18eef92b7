//! The judge on small made-up worlds: a clean one, and each with one thing wrong.

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;

use super::topic::LogTrade;
use super::watch::Watch;
use super::*;

const LATENESS_MS: i64 = 2_000;
const LENGTHS_MS: [i64; 2] = [10_000, 60_000];
const BEGIN_MS: i64 = 1_767_225_600_000;
const END_MS: i64 = BEGIN_MS + 60_000;

/// A world in which everything went well: two symbols, a trade each second, prices and amounts with decimals.
struct World {
    truth: Vec<TrueTrade>,
    evidence: Evidence,
    gaps: Vec<Gap>,
    grows: bool,
    removed: Vec<(i32, i64, i64)>,
}

fn world() -> World {
    let mut truth = Vec::new();
    for second in 0..70 {
        for (n, symbol) in ["tBTCUSD", "tETHUSD"].into_iter().enumerate() {
            let amount =
                if second % 3 == 0 { format!("-0.{}", second + 1) } else { format!("0.{}", second + 1) };
            truth.push(TrueTrade {
                symbol: symbol.to_owned(),
                id: 1_000 + 2 * second + n as i64,
                ms: BEGIN_MS + second * 1_000,
                price: format!("{}.1", 100 + second % 7),
                amount,
                history: true,
                te_lost: false,
                tu_lost: false,
            });
        }
    }
    let mut log: Vec<LogRecord> = Vec::new();
    let mut ends = [0, 0];
    let mut push = |partition: i32, entry| {
        let end = &mut ends[partition as usize];
        log.push(LogRecord { partition, offset: *end, entry });
        *end += 1;
    };
    for (partition, symbol) in (0..).zip(["tBTCUSD", "tETHUSD"]) {
        push(partition, Entry::From(symbol.to_owned(), BEGIN_MS));
    }
    for trade in &truth {
        push(i32::from(trade.symbol == "tETHUSD"), Entry::Trade(as_logged(trade)));
    }
    let raw = truth.iter().map(as_stored).collect();
    let finals = truth::candles(&truth, &LENGTHS_MS);
    let finals = finals.into_iter().filter(|(window, _)| window.end_ms() <= END_MS).collect();
    let evidence = Evidence { log, raw, finals, ..Evidence::default() };
    World { truth, evidence, gaps: Vec::new(), grows: false, removed: Vec::new() }
}

fn as_logged(trade: &TrueTrade) -> LogTrade {
    let (price, amount) = (trade.price.parse().unwrap(), trade.amount.parse().unwrap());
    LogTrade { symbol: trade.symbol.clone(), id: trade.id, ms: trade.ms, price, amount }
}

fn as_stored(trade: &TrueTrade) -> RawPoint {
    let LogTrade { symbol, id, ms, price, amount } = as_logged(trade);
    RawPoint { symbol, time_ns: ms * 1_000_000 + id % 1_000_000, id, price, amount }
}

impl World {
    fn verdict(&self) -> Verdict {
        let case = Case {
            truth: &self.truth,
            lengths_ms: &LENGTHS_MS,
            lateness_ms: LATENESS_MS,
            covered_by_ms: BEGIN_MS,
            end_ms: END_MS,
            gaps: &self.gaps,
            grows: self.grows,
            removed: &self.removed,
        };
        judge(&case, &self.evidence)
    }

    /// Kinds of findings, each once.
    fn kinds(&self) -> Vec<Kind> {
        let verdict = self.verdict();
        Kind::ALL.into_iter().filter(|kind| verdict.count(*kind) > 0).collect()
    }

    fn window(&self, n: usize) -> Window {
        self.evidence.finals.keys().nth(n).unwrap().clone()
    }
}

#[test]
fn what_happened_is_what_is_stored() {
    let world = world();
    let verdict = world.verdict();
    assert_eq!(verdict.findings, []);
    assert_eq!((verdict.windows, verdict.trades, verdict.duplicates), (14, 140, 0));
    assert_eq!(verdict.summary(), "ok");
}

#[test]
fn candles_are_folded_by_time_and_id_with_decimal_sums() {
    let trade = |id, ms, price: &str, amount: &str| TrueTrade {
        symbol: "tX".to_owned(),
        id,
        ms,
        price: price.to_owned(),
        amount: amount.to_owned(),
        history: true,
        te_lost: false,
        tu_lost: false,
    };
    // Same ms: the id decides. 0.1 ten times is 1, which sums of doubles miss.
    let mut trades: Vec<TrueTrade> = (0..10).map(|id| trade(id, 5, "2", "0.1")).collect();
    trades.push(trade(11, 5, "3", "-1"));
    trades.push(trade(10, 5, "1e1", "-1"));
    let found = candles(&trades);
    let expected = Candle {
        open: 2.0,
        high: 10.0,
        low: 2.0,
        close: 3.0,
        volume: 3.0,
        quote_volume: 15.0,
        buy_volume: 1.0,
        vwap: 5.0,
        count: 12,
    };
    assert_eq!(found, expected);
}

fn candles(trades: &[TrueTrade]) -> Candle {
    *truth::candles(trades, &[10_000]).values().next().unwrap()
}

#[test]
fn a_lost_trade_is_found_wherever_it_was_lost() {
    let mut of_topic = world();
    of_topic.evidence.log.remove(7);
    let lost = |n: usize| (of_topic.truth[n].symbol.clone(), of_topic.truth[n].id);
    let verdict = of_topic.verdict();
    assert_eq!(verdict.summary(), "1 lost");
    assert!(verdict.findings[0].text.contains(&format!("{} {}", lost(5).0, lost(5).1)), "{verdict:?}");

    let mut of_raw = world();
    of_raw.evidence.raw.remove(3);
    assert_eq!(of_raw.verdict().summary(), "1 lost");

    let mut of_candles = world();
    let window = of_candles.window(2);
    of_candles.evidence.finals.remove(&window);
    assert_eq!(of_candles.kinds(), [Kind::Lost]);

    let mut short = world();
    let window = short.window(3);
    short.evidence.finals.get_mut(&window).unwrap().count -= 1;
    assert_eq!(short.kinds(), [Kind::Lost]);
}

#[test]
fn a_trade_counted_twice_is_found() {
    let mut in_candle = world();
    let window = in_candle.window(0);
    let candle = in_candle.evidence.finals.get_mut(&window).unwrap();
    candle.count += 1;
    candle.volume += 0.5;
    assert_eq!(in_candle.kinds(), [Kind::Doubled]);

    let mut in_raw = world();
    let again = RawPoint { time_ns: 7, ..in_raw.evidence.raw[0].clone() };
    in_raw.evidence.raw.insert(0, again);
    assert_eq!(in_raw.kinds(), [Kind::Doubled]);

    // In the topic it is legal.
    let mut in_topic = world();
    let again = LogRecord { offset: 1_000, ..in_topic.evidence.log[9].clone() };
    in_topic.evidence.log.push(again);
    assert_eq!((in_topic.kinds(), in_topic.verdict().duplicates), (vec![], 1));
}

#[test]
fn the_smallest_wrong_number_is_found() {
    let mut world = world();
    let window = world.window(5);
    let candle = world.evidence.finals.get_mut(&window).unwrap();
    candle.volume = candle.volume.next_up();
    assert_eq!(world.kinds(), [Kind::Wrong]);
}

#[test]
fn a_final_candle_that_changes_is_found() {
    let mut world = world();
    let mut watch = Watch::default();
    let all = world.evidence.finals.clone();
    let mut half = all.clone();
    half.retain(|window, _| window.length_ms == 10_000);
    watch.read(&half);
    watch.read(&all);
    let mut other = all.clone();
    other.get_mut(&world.window(1)).unwrap().close = 5.0;
    other.remove(&world.window(4));
    watch.read(&other);
    // It came back right: it was wrong all the same.
    watch.read(&all);
    world.evidence.changes = watch.changes();
    let verdict = world.verdict();
    assert_eq!(verdict.count(Kind::Regressed), 3, "{verdict:?}");
    assert_eq!(world.kinds(), [Kind::Regressed]);
    let mut calm = Watch::default();
    calm.read(&half);
    calm.read(&all);
    calm.read(&all);
    assert_eq!(calm.changes(), []);
}

#[test]
fn an_incomplete_window_needs_a_reason() {
    let mut world = world();
    let window = world.window(2);
    world.evidence.finals.remove(&window);
    world.evidence.incomplete.insert(window.clone());
    assert_eq!(world.kinds(), [Kind::Incomplete]);

    let gap = Gap {
        symbol: Some(window.symbol.clone()),
        from_ms: window.start_ms + 1,
        to_ms: window.start_ms + 2,
        why: "history has a hole".to_owned(),
    };
    world.gaps = vec![Gap { from_ms: window.end_ms(), to_ms: window.end_ms() + 1, ..gap.clone() }];
    assert_eq!(world.kinds(), [Kind::Incomplete], "a gap beside it explains nothing");
    world.gaps = vec![Gap { symbol: Some("tOTHER".to_owned()), ..gap.clone() }];
    assert_eq!(world.kinds(), [Kind::Incomplete], "a gap of another symbol explains nothing");
    world.gaps = vec![gap];
    let verdict = world.verdict();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.explained, [(window.clone(), "history has a hole".to_owned())]);
    // A wrong final candle is never excused.
    let wrong = Candle { count: 1, ..truth::candles(&world.truth, &LENGTHS_MS)[&window] };
    world.evidence.finals.insert(window, wrong);
    assert_eq!(world.kinds(), [Kind::Lost]);
}

#[test]
fn coverage_that_begins_too_late_is_found() {
    let mut world = world();
    world.evidence.log[0].entry = Entry::From("tBTCUSD".to_owned(), BEGIN_MS + 30_000);
    assert_eq!(world.kinds(), [Kind::Lost]);
    world.evidence.log.remove(0);
    assert_eq!(world.kinds(), [Kind::Lost], "a symbol without any mark");
}

#[test]
fn what_never_happened_is_found() {
    let mut in_topic = world();
    let Entry::Trade(trade) = &mut in_topic.evidence.log[10].entry else { panic!() };
    trade.price += 1.0;
    assert_eq!(in_topic.kinds(), [Kind::Foreign]);

    let mut in_database = world();
    let candle = in_database.evidence.finals[&in_database.window(0)];
    let window = Window { start_ms: BEGIN_MS - 10_000, ..in_database.window(0) };
    in_database.evidence.finals.insert(window, candle);
    assert_eq!(in_database.kinds(), [Kind::Foreign]);
}

#[test]
fn a_trade_behind_the_watermark_is_late_and_one_within_the_lateness_is_not() {
    let mut world = world();
    let until = |ms| Entry::Until("tBTCUSD".to_owned(), ms);
    // Before the trade of the 20th second, so that it stands 2 s or more behind.
    let at = world
        .evidence
        .log
        .iter()
        .position(|record| matches!(&record.entry, Entry::Trade(trade) if trade.ms == BEGIN_MS + 20_000));
    let place = world.evidence.log[at.unwrap()].clone();
    world.evidence.log.insert(at.unwrap(), LogRecord { entry: until(BEGIN_MS + 22_000), ..place });
    // The offset that now stands there twice is another finding.
    assert_eq!(world.kinds(), [Kind::Disordered]);
    assert_eq!(world.verdict().behind, Vec::<String>::new());
    world.evidence.log[at.unwrap()].entry = until(BEGIN_MS + 22_001);
    // Its candle has it: somebody waited.
    assert_eq!((world.kinds(), world.verdict().behind.len()), (vec![Kind::Disordered], 1));
    let window = Window { symbol: "tBTCUSD".to_owned(), length_ms: 10_000, start_ms: BEGIN_MS + 20_000 };
    world.evidence.finals.get_mut(&window).unwrap().count -= 1;
    assert_eq!(world.kinds(), [Kind::Late, Kind::Disordered]);
}

#[test]
fn a_symbol_in_two_partitions_is_disordered_unless_the_topic_grows() {
    let mut world = world();
    world.evidence.log.last_mut().unwrap().partition = 0;
    world.evidence.log.last_mut().unwrap().offset = 1_000;
    assert_eq!(world.kinds(), [Kind::Disordered]);
    world.grows = true;
    assert_eq!(world.kinds(), []);
}

#[test]
fn unread_records_that_were_removed_excuse_their_raw_points_and_no_others() {
    let mut world = world();
    let logged = world.evidence.log[8].clone();
    let Entry::Trade(trade) = logged.entry else { panic!() };
    world.evidence.raw.retain(|point| point.id != trade.id);
    world.removed = vec![(logged.partition, logged.offset + 1, logged.offset + 5)];
    assert_eq!(world.kinds(), [Kind::Lost]);
    world.removed = vec![(logged.partition, logged.offset, logged.offset + 1)];
    assert_eq!(world.kinds(), []);
}

#[test]
fn records_are_read_with_the_registrys_schema() {
    let text = include_str!("../../../schemas/trade.avsc");
    let schema = Schema::parse_str(text).unwrap();
    let fields = [
        ("exchange", Value::String("bitfinex".to_owned())),
        ("symbol", Value::String("tBTCUSD".to_owned())),
        ("id", Value::Long(7)),
        ("time", Value::TimestampMillis(BEGIN_MS)),
        ("price", Value::Double(1.5)),
        ("amount", Value::Double(-2.0)),
        ("received", Value::TimestampMicros(0)),
    ];
    let record = Value::Record(fields.map(|(name, value)| (name.to_owned(), value)).to_vec());
    let mut value = vec![0, 0, 0, 0, 1];
    GenericDatumWriter::builder(&schema).build().unwrap().write_value(&mut value, record).unwrap();
    let expected = LogTrade { symbol: "tBTCUSD".to_owned(), id: 7, ms: BEGIN_MS, price: 1.5, amount: -2.0 };
    assert_eq!(topic::trade(&value, &schema), Some(expected));
    assert_eq!(topic::trade(&value[..value.len() - 1], &schema), None);
    value.push(0);
    assert_eq!(topic::trade(&value, &schema), None);
    let headers = [("trace", &b"x"[..]), ("until", b"17")];
    assert_eq!(topic::mark("tX", headers), Entry::Until("tX".to_owned(), 17));
    assert_eq!(topic::mark("tX", [("until", &b"x"[..])]), Entry::Other);
}

#[test]
fn rows_of_the_database_are_read_whole_or_not_at_all() {
    let row = |pairs: &[(&str, &str)]| -> database::Row {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let place = [("symbol", "tX"), ("interval", "1m"), ("time_ns", "60000000000")];
    let numbers = ["open", "high", "low", "close", "volume", "quote_volume", "buy_volume", "vwap"];
    let mut whole = row(&place);
    whole.extend(numbers.map(|name| (name.to_owned(), "1.5".to_owned())));
    assert!(database::candles(&[whole.clone()]).unwrap_err().starts_with("no candle"), "no count");
    whole.insert("count".to_owned(), "3".to_owned());
    let candles = database::candles(&[whole]).unwrap();
    let window = Window { symbol: "tX".to_owned(), length_ms: 60_000, start_ms: 60_000 };
    assert_eq!(candles[&window].count, 3);
    let mut marked = row(&place);
    marked.insert("state".to_owned(), "incomplete".to_owned());
    assert_eq!(database::incomplete(&[marked, row(&place)]).into_iter().collect::<Vec<_>>(), [window]);
    assert_eq!(database::length_ms("10s"), Some(10_000));
    assert_eq!(database::length_ms(""), None);
}
