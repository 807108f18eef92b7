//! A feed against a model of an exchange, and its rules one by one.

use proptest::prelude::*;

use super::{
    super::limits::{LAG_TRIES_MAX, OUTAGE_MAX},
    *,
};

/// Start of the model's time. The backfill reaches one minute before it.
const START_MS: i64 = 1_564_617_600_000;
const BACKFILL_MS: i64 = 60_000;
const PAGE_ROWS: usize = 4;
const SNAPSHOT_ROWS: usize = 5;

pub fn trade(id: i64, time_ms: i64) -> Trade {
    Trade { id, time_ms, price: 1.0, amount: 1.0, received_us: 0 }
}

/// An exchange with one symbol, a connection to it, and the feed under test.
pub struct Model {
    pub now_ms: i64,
    pub trades: Vec<Trade>,
    /// History shows trades only so long after they happened.
    lag_ms: i64,
    pub feed: Feed,
    request: Option<HistoryRequest>,
    pub log: Vec<Effect>,
    /// Trades that happened before this are in a snapshot or were sent since.
    pub subscribed: bool,
}

impl Model {
    pub fn new() -> Self {
        let feed = Feed::new(BACKFILL_MS, true);
        let lag_ms = 0;
        Self {
            now_ms: START_MS,
            trades: Vec::new(),
            lag_ms,
            feed,
            request: None,
            log: Vec::new(),
            subscribed: false,
        }
    }

    fn with(mut self, trades: impl IntoIterator<Item = Trade>) -> Self {
        self.trades.extend(trades);
        self
    }

    fn step(&mut self, act: impl FnOnce(&mut Feed, &mut Vec<Effect>)) -> Vec<Effect> {
        let mut out = Vec::new();
        act(&mut self.feed, &mut out);
        for effect in &out {
            match effect {
                Effect::Fetch(request, _) => self.request = Some(*request),
                Effect::CancelFetch => self.request = None,
                _ => {}
            }
        }
        self.log.extend(out.iter().copied());
        out
    }

    pub fn subscribe(&mut self) -> Vec<Effect> {
        let mut latest = self.trades.clone();
        latest.sort_by_key(Trade::order);
        let snapshot = latest.split_off(latest.len().saturating_sub(SNAPSHOT_ROWS));
        self.subscribed = true;
        let now_ms = self.now_ms;
        self.step(|feed, out| feed.on_snapshot(snapshot, now_ms, out))
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        self.subscribed = false;
        self.step(|feed, out| feed.on_interrupted(Interruption::Disconnected, out))
    }

    pub fn live(&mut self, stage: Stage, trade: Trade) -> Vec<Effect> {
        let now_ms = self.now_ms;
        self.step(|feed, out| feed.on_trade(stage, trade, now_ms, out))
    }

    fn page(&self, request: HistoryRequest) -> Page {
        let end_ms = request.end_ms.unwrap_or(i64::MAX).min(self.now_ms - self.lag_ms);
        let mut trades = self.trades.clone();
        trades.retain(|t| (request.start_ms..=end_ms).contains(&t.time_ms));
        trades.sort_by_key(Trade::order);
        let full = trades.len() >= PAGE_ROWS;
        if request.newest_first {
            trades.drain(..trades.len().saturating_sub(PAGE_ROWS));
        } else {
            trades.truncate(PAGE_ROWS);
        }
        Page { trades, full, invalid: Vec::new(), more_invalid: 0 }
    }

    pub fn answer(&mut self) -> Vec<Effect> {
        let Some(request) = self.request.take() else { return Vec::new() };
        let page = self.page(request);
        self.step(|feed, out| feed.on_page(page, out))
    }

    pub fn settle(&mut self) {
        self.now_ms += 60_000;
        if !self.subscribed {
            self.subscribe();
        }
        for _ in 0..10_000 {
            if self.request.is_none() {
                break;
            }
            self.answer();
        }
        assert_eq!(self.feed.state(), FeedState::Live);
    }

    fn published(&self) -> Vec<(Trade, Source)> {
        let published = |effect: &Effect| match effect {
            Effect::Publish(trade, source) => Some((*trade, *source)),
            _ => None,
        };
        self.log.iter().filter_map(published).collect()
    }

    fn marks(&self) -> Vec<Mark> {
        self.log
            .iter()
            .filter_map(|effect| if let Effect::Mark(mark) = effect { Some(*mark) } else { None })
            .collect()
    }

    fn gaps(&self) -> Vec<GapReason> {
        let gap =
            |effect: &Effect| if let Effect::Gap { reason, .. } = effect { Some(*reason) } else { None };
        self.log.iter().filter_map(gap).collect()
    }
}

#[derive(Debug, Clone)]
pub enum Step {
    /// Trades so many ms after one another, each sent with what happens to it.
    Trades(Vec<(u8, Sending)>),
    Interrupt,
    Subscribe,
    Answer,
    Fail,
    /// History has failed for too long.
    GiveUp,
    Heartbeat,
    Wait(i64),
    Lag(i64),
}

#[derive(Debug, Clone, Copy)]
pub enum Sending {
    Executed,
    /// Swapped with the one after it.
    Swapped,
    Both,
    StoredOnly,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sending = prop_oneof![
        4 => Just(Sending::Executed),
        1 => Just(Sending::Swapped),
        2 => Just(Sending::Both),
        1 => Just(Sending::StoredOnly),
    ];
    let gap = prop_oneof![4 => 0_u8..40, 1 => Just(0)];
    let step = prop_oneof![
        6 => proptest::collection::vec((gap, sending), 1..6).prop_map(Step::Trades),
        2 => Just(Step::Interrupt),
        3 => Just(Step::Subscribe),
        6 => Just(Step::Answer),
        1 => Just(Step::Fail),
        1 => Just(Step::Heartbeat),
        2 => (1_i64..20_000).prop_map(Step::Wait),
        1 => prop_oneof![Just(0_i64), 1_i64..5_000].prop_map(Step::Lag),
    ];
    proptest::collection::vec(step, 1..60)
}

impl Model {
    pub fn play(&mut self, step: Step) {
        match step {
            Step::Trades(list) => self.play_trades(&list),
            Step::Interrupt => drop(self.interrupt()),
            Step::Subscribe if !self.subscribed => drop(self.subscribe()),
            Step::Answer => drop(self.answer()),
            Step::Fail => {
                if self.request.take().is_some() {
                    self.step(|feed, out| feed.on_history_failed(Duration::from_secs(1), out));
                }
            }
            Step::GiveUp => {
                if self.request.take().is_some() {
                    self.step(|feed, out| feed.on_history_failed(OUTAGE_MAX, out));
                }
            }
            Step::Heartbeat if self.subscribed => {
                let now_ms = self.now_ms;
                self.step(|feed, out| feed.on_heartbeat(now_ms, out));
            }
            Step::Subscribe | Step::Heartbeat => {}
            Step::Wait(ms) => self.now_ms += ms,
            Step::Lag(ms) => self.lag_ms = ms,
        }
    }

    fn play_trades(&mut self, list: &[(u8, Sending)]) {
        let mut sent: Vec<(Trade, Sending)> = Vec::new();
        for &(gap_ms, sending) in list {
            self.now_ms += i64::from(gap_ms);
            let next = trade(1000 + self.trades.len() as i64, self.now_ms);
            // No ms longer than a page: that is a test of its own.
            if self.trades.iter().filter(|t| t.time_ms == next.time_ms).count() < PAGE_ROWS - 1 {
                self.trades.push(next);
                sent.push((next, sending));
            }
        }
        for i in 1..sent.len() {
            if matches!(sent[i - 1].1, Sending::Swapped) {
                sent.swap(i - 1, i);
            }
        }
        if !self.subscribed {
            return;
        }
        for &(trade, sending) in &sent {
            if !matches!(sending, Sending::StoredOnly) {
                self.live(Stage::Executed, trade);
            }
        }
        for &(trade, sending) in &sent {
            if matches!(sending, Sending::Both | Sending::StoredOnly) {
                self.live(Stage::Stored, trade);
            }
        }
    }

    /// Everything of the log that must hold whatever happened.
    fn check(&self) {
        let Some(Mark::From(from_ms)) = self.marks().first().copied() else { panic!("no first mark") };
        let published = self.published();
        let mut ids: Vec<i64> = published.iter().map(|(t, _)| t.id).collect();
        ids.sort_unstable();
        let mut expected: Vec<i64> =
            self.trades.iter().filter(|t| t.time_ms >= from_ms).map(|t| t.id).collect();
        expected.sort_unstable();
        ids.dedup();
        ids.retain(|id| expected.binary_search(id).is_ok());
        assert_eq!(ids, expected, "every trade is in the log");
        let (mut newest_ms, mut last_history) = (i64::MIN, (i64::MIN, 0));
        for effect in &self.log {
            match effect {
                Effect::Publish(trade, source) => {
                    // The model swaps neighbours and sends "stored" after the others of a group: 6 * 40 ms.
                    assert!(trade.time_ms + 500 > newest_ms, "{trade:?} comes late");
                    newest_ms = newest_ms.max(trade.time_ms);
                    if *source == Source::History {
                        assert!(trade.order() > last_history, "{trade:?}: history out of order");
                        last_history = trade.order();
                    }
                }
                Effect::Filled { .. } | Effect::CancelFetch => last_history = (i64::MIN, 0),
                _ => {}
            }
        }
    }
}

/// Ids are known for half a minute at most: history and buffer must not be published one after the other.
#[test]
fn trades_that_waited_long_for_history_are_published_once_and_in_order() {
    let executed = |gaps: &[u8]| Step::Trades(gaps.iter().map(|&gap| (gap, Sending::Executed)).collect());
    let less_than_a_page =
        [executed(&[0]), Step::Wait(15_000), executed(&[37, 28]), Step::Wait(15_000), executed(&[38])];
    let pages = [
        executed(&[0, 1, 0, 2, 5, 1]),
        Step::Wait(15_000),
        executed(&[3]),
        Step::Wait(15_000),
        executed(&[10, 0, 1, 0]),
    ];
    for (steps, trades) in [(less_than_a_page, 4), (pages, 11)] {
        let mut model = Model::new();
        model.subscribe();
        for step in steps {
            model.play(step);
        }
        model.settle();
        model.check();
        assert_eq!(model.published().len(), trades);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_lost_and_history_is_in_order(before in 0_usize..20, steps in steps()) {
        let mut model = Model::new();
        model.trades.extend((0..before as i64).map(|i| trade(i, START_MS - 90_000 + i * 4_000)));
        model.subscribe();
        for step in steps {
            model.play(step);
        }
        model.settle();
        model.check();
        let starts = model.marks().into_iter().filter(|m| matches!(m, Mark::From(_))).count();
        prop_assert_eq!(starts, 1, "nothing is missing, so nothing is marked");
        prop_assert_eq!(model.gaps(), []);
    }

    #[test]
    fn what_is_missing_lies_in_a_marked_gap(
        before in 0_usize..20,
        steps in steps(),
        give_up_every in 2_usize..12,
    ) {
        let mut model = Model::new();
        model.trades.extend((0..before as i64).map(|i| trade(i, START_MS - 90_000 + i * 4_000)));
        model.subscribe();
        for (nth, step) in steps.into_iter().enumerate() {
            model.play(step);
            if nth % give_up_every == 0 {
                model.play(Step::GiveUp);
            }
        }
        model.settle();
        let gap = |effect: &Effect| match *effect {
            Effect::Gap { from_ms, to_ms, .. } => Some((from_ms, to_ms)),
            _ => None,
        };
        let gaps: Vec<(i64, i64)> = model.log.iter().filter_map(gap).collect();
        let marks = model.marks();
        let starts: Vec<i64> = marks.iter().filter_map(|m| if let Mark::From(ms) = m { Some(*ms) } else { None }).collect();
        prop_assert_eq!(&starts[1..], &gaps.iter().map(|gap| gap.1).collect::<Vec<_>>()[..], "a mark for each gap");
        let published: Vec<i64> = model.published().iter().map(|(t, _)| t.id).collect();
        for missing in model.trades.iter().filter(|t| t.time_ms >= starts[0] && !published.contains(&t.id)) {
            // What was covered up to a time may lack swapped neighbours of that time.
            let marked = gaps.iter().any(|&(from, to)| (from - OVERLAP_MS..to).contains(&missing.time_ms));
            prop_assert!(marked, "{:?} is missing, gaps are {:?}", missing, gaps);
        }
    }

    #[test]
    fn a_restart_resumes_from_the_log(first in steps(), second in steps()) {
        let mut model = Model::new();
        model.subscribe();
        for step in first {
            model.play(step);
        }
        // The producer dies; all that it leaves is the log.
        let published = model.published();
        let mut covered_ms = None;
        for effect in &model.log {
            covered_ms = covered_ms.max(match effect {
                Effect::Publish(trade, _) => Some(trade.time_ms),
                Effect::Mark(Mark::From(ms) | Mark::Until(ms)) => Some(*ms),
                _ => None,
            });
        }
        let Some(Mark::From(floor_ms)) = model.marks().first().copied() else { panic!("no mark") };
        model.feed = Feed::new(BACKFILL_MS, true);
        let ids = published.iter().rev().take(20).map(|(t, _)| (t.id, t.time_ms)).collect::<Vec<_>>();
        model.feed.resume(covered_ms.unwrap(), floor_ms, ids);
        model.request = None;
        model.subscribed = false;
        model.log.push(Effect::CancelFetch);
        for step in second {
            model.play(step);
        }
        model.settle();
        let starts = model.marks().into_iter().filter(|m| matches!(m, Mark::From(_))).count();
        prop_assert_eq!(starts, 1);
        let mut ids: Vec<i64> = model.published().iter().map(|(t, _)| t.id).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), model.trades.len());
    }
}

#[test]
fn a_snapshot_that_reaches_back_needs_no_history() {
    let mut model = Model::new().with([trade(1, START_MS - 90_000), trade(2, START_MS - 5_000)]);
    let effects = model.subscribe();
    assert_eq!(
        effects,
        [
            Effect::Mark(Mark::From(START_MS - BACKFILL_MS)),
            Effect::Publish(trade(2, START_MS - 5_000), Source::Snapshot),
            Effect::Filled { trades: 1 },
        ]
    );
}

#[test]
fn an_empty_snapshot_and_an_empty_history_are_a_quiet_symbol() {
    let mut model = Model::new();
    model.subscribe();
    assert_eq!(model.feed.state(), FeedState::Filling);
    assert_eq!(model.answer(), [Effect::Filled { trades: 0 }]);
}

#[test]
fn stored_is_published_only_when_executed_was_missed() {
    let mut model = Model::new();
    model.subscribe();
    model.answer();
    let (a, b) = (trade(1, START_MS), trade(2, START_MS));
    assert_eq!(model.live(Stage::Executed, a), [Effect::Publish(a, Source::Executed)]);
    assert_eq!(model.live(Stage::Stored, a), []);
    assert_eq!(model.live(Stage::Stored, b), [Effect::Publish(b, Source::Stored)]);
    assert_eq!(model.live(Stage::Executed, b), []);
}

#[test]
fn lagging_history_is_asked_again_before_going_live() {
    let rows = (0..6).map(|i| trade(i, START_MS - 3_000 + i * 500));
    let mut model = Model::new().with(rows);
    model.lag_ms = 10_000;
    model.subscribe();
    let effects = model.answer();
    assert!(matches!(effects[..], [Effect::Fetch(_, delay)] if !delay.is_zero()), "{effects:?}");
    let live = trade(6, START_MS + 1);
    assert_eq!(model.live(Stage::Executed, live), [], "held back");
    model.trades.push(live);
    model.lag_ms = 0;
    model.now_ms += 1_000;
    model.settle();
    let ids: Vec<i64> = model.published().iter().map(|(t, _)| t.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_from_mark_says_what_is_missing() {
    let rows: Vec<_> = (0..9).map(|i| trade(i, START_MS - 9_000 + i * 1_000)).collect();
    // History fails.
    let mut model = Model::new().with(rows.clone());
    model.subscribe();
    assert!(matches!(
        model.step(|f, out| f.on_history_failed(Duration::from_secs(299), out))[..],
        [Effect::Fetch(..)]
    ));
    let effects = model.step(|feed, out| feed.on_history_failed(OUTAGE_MAX, out));
    let oldest_ms = rows[4].time_ms;
    let gap = Effect::Gap {
        from_ms: START_MS - BACKFILL_MS,
        to_ms: oldest_ms + 1,
        reason: GapReason::HistoryUnavailable,
    };
    assert_eq!(effects[..2], [gap, Effect::Mark(Mark::From(oldest_ms + 1))]);
    assert_eq!(model.published().len(), SNAPSHOT_ROWS, "raw points are better than nothing");
    assert_eq!(model.feed.state(), FeedState::Live);
    // History answers, and never reaches the snapshot.
    let mut model = Model::new().with(rows);
    model.lag_ms = 6_000;
    model.subscribe();
    // One full page, then short ones.
    for _ in 0..=LAG_TRIES_MAX {
        model.answer();
    }
    assert_eq!(model.gaps(), [GapReason::HistoryEndsEarly]);
    assert_eq!(model.feed.state(), FeedState::Live);
}

#[test]
fn both_ends_of_a_long_millisecond_are_fetched() {
    let fitting = (0..2 * PAGE_ROWS as i64 - 1).map(|i| trade(i, START_MS - 5_000));
    let after = (100..110).map(|i| trade(i, START_MS - 1_000 + i));
    let mut model = Model::new().with(fitting).with(after.clone());
    model.subscribe();
    model.settle();
    assert_eq!(model.published().len(), 2 * PAGE_ROWS - 1 + 10);
    assert_eq!(model.gaps(), []);
    let too_long = (0..=2 * PAGE_ROWS as i64).map(|i| trade(i, START_MS - 5_000));
    let mut model = Model::new().with(too_long).with(after);
    model.subscribe();
    model.settle();
    assert_eq!(model.published().len(), 2 * PAGE_ROWS + 10);
    assert_eq!(model.gaps(), [GapReason::MillisecondTooLong]);
    assert_eq!(model.marks()[1], Mark::From(START_MS - 4_999));
}

#[test]
fn a_full_buffer_is_forgotten_and_comes_as_history() {
    let mut model = Model::new().with((0..9).map(|i| trade(i, START_MS - 9_000 + i * 1_000)));
    model.subscribe();
    for i in 0..20 {
        model.now_ms += 10;
        let next = trade(100 + i, model.now_ms);
        model.trades.push(next);
        model.live(Stage::Executed, next);
        if i == 10 {
            assert_eq!(model.step(Feed::forget_buffer), [Effect::Overflow(11)]);
        }
    }
    model.settle();
    model.check();
    assert_eq!(model.gaps(), []);
}

#[test]
fn only_a_live_quiet_symbol_is_marked() {
    let mut model = Model::new().with((0..9).map(|i| trade(i, START_MS - 9_000 + i * 1_000)));
    let beat = |model: &mut Model| {
        let now_ms = model.now_ms;
        model.step(|feed, out| feed.on_heartbeat(now_ms, out))
    };
    assert_eq!(beat(&mut model), [], "down");
    model.subscribe();
    assert_eq!(beat(&mut model), [], "filling");
    model.settle();
    assert_eq!(beat(&mut model), [Effect::Mark(Mark::Until(model.now_ms))]);
    model.live(Stage::Executed, trade(50, model.now_ms));
    assert_eq!(beat(&mut model), [], "the trade says it");
    model.now_ms += 15_000;
    assert_eq!(beat(&mut model), [Effect::Mark(Mark::Until(model.now_ms))]);
    model.interrupt();
    assert_eq!(beat(&mut model), []);
    // A heartbeat moves the place from which history is needed.
    model.now_ms += 1_000;
    model.trades.extend((60..70).map(|i| trade(i, START_MS + 80_000 + i)));
    model.subscribe();
    assert_eq!(model.request.unwrap().start_ms, model.now_ms - 1_000 - OVERLAP_MS);
}

#[test]
fn a_busy_symbol_is_marked_by_its_own_trades() {
    let mut model = Model::new();
    model.subscribe();
    model.settle();
    for i in 0..45 {
        model.now_ms += 1_000;
        model.live(Stage::Executed, trade(i, model.now_ms));
    }
    let start_ms = model.now_ms - 44_000;
    let untils = [10_000, 20_000, 30_000, 40_000].map(|ms| Mark::Until(start_ms + ms));
    assert_eq!(model.marks()[1..], untils);
}

#[test]
fn a_restart_says_where_it_goes_on() {
    let mut model = Model::new();
    model.feed.resume(START_MS - 5_000, i64::MIN, []);
    let resume = Effect::Resume { since_ms: START_MS - 15_000, until_ms: START_MS - 5_000 };
    assert_eq!(model.subscribe()[0], resume);
    model.settle();
    model.interrupt();
    model.settle();
    assert_eq!(model.log.iter().filter(|effect| **effect == resume).count(), 1, "once");
    assert_eq!(model.marks(), []);
}

#[test]
fn a_trade_from_the_near_future_does_not_hide_a_gap() {
    let mut model = Model::new();
    model.subscribe();
    model.answer();
    model.live(Stage::Executed, trade(1, START_MS + 50_000));
    assert_eq!(model.feed.covered_ms(), Some(START_MS));
}

#[test]
fn a_moved_symbol_starts_anew_where_it_is_told() {
    let mut model = Model::new().with((0..9).map(|i| trade(i, START_MS - 9_000 + i * 1_000)));
    model.subscribe();
    model.settle();
    let before = model.published().len();
    model.step(|feed, out| feed.start_anew(START_MS - 4_500, out));
    model.subscribed = false;
    model.settle();
    assert_eq!(model.marks().last(), Some(&Mark::From(START_MS - 4_500)));
    let again: Vec<i64> = model.published()[before..].iter().map(|(t, _)| t.id).collect();
    assert_eq!(again, [5, 6, 7, 8]);
}

#[test]
fn without_marks_nothing_is_marked() {
    let mut model = Model::new();
    model.feed = Feed::new(BACKFILL_MS, false);
    model.subscribe();
    model.settle();
    let now_ms = model.now_ms;
    model.step(|feed, out| feed.on_heartbeat(now_ms, out));
    assert_eq!(model.marks(), []);
}
