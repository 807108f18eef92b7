//! Two producers of one market, one log, one candle builder: what the union of both promises.

use candles_core::{
    builder::Builder,
    checkpoint::Settings,
    mark::{ProducerId, Signed},
};
use proptest::prelude::*;

use super::{
    tests::{Model, Step, trade},
    *,
};

const SYMBOL: &str = "tBTCUSD";
const WINDOW_MS: i64 = 10_000;
/// The exchange says at least this often (ms) that it is there.
const HEARTBEAT_MS: i64 = 15_000;

/// A producer and what it has not delivered yet.
struct Producer {
    model: Model,
    id: ProducerId,
    /// Effects of the model that are in the log.
    delivered: usize,
}

struct Pair {
    producers: [Producer; 2],
    runs: u32,
    log: Vec<(ProducerId, Effect)>,
    /// One that hears every heartbeat of the exchange and delivers at once.
    steady: Option<usize>,
}

#[derive(Debug, Clone)]
enum Act {
    /// A trade for all who listen, so many ms after the last.
    Trade(i64),
    Wait(i64),
    /// Something happens to one of them.
    At(usize, Step),
    /// What one has published reaches the log.
    Deliver(usize),
    /// One dies with what it has not delivered, and starts again from the log.
    Restart(usize),
}

/// `faulty`: which of the two has faults.
fn acts(faulty: &'static [usize]) -> impl Strategy<Value = Vec<Act>> {
    let step = prop_oneof![
        3 => Just(Step::Interrupt),
        4 => Just(Step::Subscribe),
        6 => Just(Step::Answer),
        2 => Just(Step::GiveUp),
    ];
    let who = prop::sample::select(faulty);
    let act = prop_oneof![
        12 => (0_i64..3_000).prop_map(Act::Trade),
        1 => (0_i64..40_000).prop_map(Act::Wait),
        6 => (who.clone(), step).prop_map(|(who, step)| Act::At(who, step)),
        3 => (0..2_usize).prop_map(|who| Act::At(who, Step::Heartbeat)),
        5 => (0..2_usize).prop_map(Act::Deliver),
        1 => who.prop_map(Act::Restart),
    ];
    proptest::collection::vec(act, 1..150)
}

impl Pair {
    fn new() -> Self {
        let producer = |id| Producer { model: Model::new(), id: ProducerId::new(id), delivered: 0 };
        let mut pair = Self { producers: [producer(0), producer(1)], runs: 2, log: Vec::new(), steady: None };
        for producer in &mut pair.producers {
            producer.model.subscribe();
            producer.model.answer();
        }
        pair.deliver(1);
        pair.deliver(0);
        pair
    }

    fn play(&mut self, act: Act) {
        match act {
            Act::Trade(after_ms) => {
                self.wait(after_ms);
                let now_ms = self.producers[0].model.now_ms;
                let next = trade(1_000 + self.producers[0].model.trades.len() as i64, now_ms);
                for producer in &mut self.producers {
                    producer.model.trades.push(next);
                    if producer.model.subscribed {
                        producer.model.live(Stage::Executed, next);
                    }
                }
            }
            Act::Wait(ms) => self.wait(ms),
            Act::At(who, step) => self.producers[who].model.play(step),
            Act::Deliver(who) => self.deliver(who),
            Act::Restart(who) => self.restart(who),
        }
    }

    fn wait(&mut self, ms: i64) {
        let mut left_ms = ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(HEARTBEAT_MS);
            left_ms -= step_ms;
            self.producers.iter_mut().for_each(|producer| producer.model.now_ms += step_ms);
            if let Some(who) = self.steady.filter(|_| step_ms == HEARTBEAT_MS) {
                self.producers[who].model.play(Step::Heartbeat);
                self.deliver(who);
            }
        }
    }

    fn deliver(&mut self, who: usize) {
        let producer = &mut self.producers[who];
        let new = &producer.model.log[producer.delivered..];
        self.log.extend(new.iter().map(|effect| (producer.id, *effect)));
        producer.delivered = producer.model.log.len();
    }

    /// As `tail` reads the log.
    fn restart(&mut self, who: usize) {
        let (mut covered_ms, mut floor_ms, mut ids) = (None, i64::MIN, Vec::new());
        for (_, effect) in &self.log {
            let at = match *effect {
                Effect::Publish(trade, _) => {
                    ids.push((trade.id, trade.time_ms));
                    trade.time_ms
                }
                Effect::Mark(Mark::From(ms)) => {
                    floor_ms = ms;
                    ms
                }
                Effect::Mark(Mark::Until(ms)) | Effect::Resume { until_ms: ms, .. } => ms,
                _ => continue,
            };
            covered_ms = covered_ms.max(Some(at));
        }
        let covered_ms = covered_ms.expect("the log begins with marks");
        ids.retain(|(_, time_ms)| *time_ms >= covered_ms - OVERLAP_MS);
        self.runs += 1;
        let producer = &mut self.producers[who];
        let (now_ms, trades) = (producer.model.now_ms, producer.model.trades.clone());
        producer.model = Model::new();
        producer.model.feed.resume(covered_ms, floor_ms, ids);
        (producer.model.now_ms, producer.model.trades) = (now_ms, trades);
        (producer.id, producer.delivered) = (ProducerId::new(self.runs), 0);
    }

    /// Heals everything and lets time go on, so that every window is decided.
    fn settle(&mut self) {
        for who in 0..2 {
            self.producers[who].model.settle();
            self.deliver(who);
        }
        if let Some(who) = self.steady {
            // The minute that has just gone by at once.
            self.producers[who].model.play(Step::Heartbeat);
            self.deliver(who);
        }
        for _ in 0..12 {
            self.wait(HEARTBEAT_MS);
            for who in 0..2 {
                self.play(Act::At(who, Step::Heartbeat));
                self.deliver(who);
            }
        }
    }

    /// Start and count of each window, and whether it is complete.
    fn windows(&self) -> Vec<(i64, u64, bool)> {
        let settings = Settings { intervals: vec!["10s".parse().unwrap()], lateness_ms: 10_000 };
        let mut builder = Builder::new(settings, 0);
        let mut windows = Vec::new();
        let mut offset = 0;
        for (id, effect) in &self.log {
            let mut closed = |closed: candles_core::builder::Closed<'_>| {
                windows.push((closed.start_ms, closed.candle.count(), closed.complete));
            };
            let (mark, since_ms) = match *effect {
                Effect::Publish(trade, _) => {
                    builder.trade(offset, "bitfinex", SYMBOL, &trade, &mut closed);
                    offset += 1;
                    continue;
                }
                Effect::Mark(mark) => (mark, None),
                Effect::Resume { since_ms, until_ms } => (Mark::Until(until_ms), Some(since_ms)),
                _ => continue,
            };
            builder.mark(offset, SYMBOL, Signed { mark, producer: Some(*id), since_ms }, &mut closed);
            offset += 1;
        }
        windows
    }

    /// Number of trades in the window that starts at `start_ms`.
    fn truth(&self, start_ms: i64) -> u64 {
        let in_window = |t: &&Trade| (start_ms..start_ms + WINDOW_MS).contains(&t.time_ms);
        self.producers[0].model.trades.iter().filter(in_window).count() as u64
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn two_producers_with_any_faults_give_no_false_final_candle(acts in acts(&[0, 1])) {
        let mut pair = Pair::new();
        for act in acts {
            pair.play(act);
        }
        pair.settle();
        for (start_ms, count, complete) in pair.windows() {
            prop_assert!(!complete || count == pair.truth(start_ms), "{} at {}", count, start_ms);
        }
    }

    #[test]
    fn what_one_of_two_producers_saw_is_no_gap(acts in acts(&[0])) {
        let mut pair = Pair { steady: Some(1), ..Pair::new() };
        for act in acts {
            pair.play(act);
            pair.deliver(1);
        }
        pair.settle();
        for (start_ms, count, complete) in pair.windows() {
            prop_assert!(complete, "{} is incomplete", start_ms);
            prop_assert_eq!(count, pair.truth(start_ms));
        }
    }
}

#[test]
fn a_gap_of_one_is_none_and_a_gap_of_both_is_one() {
    for both in [false, true] {
        let mut pair = Pair::new();
        let cut: &[usize] = if both { &[0, 1] } else { &[0] };
        let each = |pair: &mut Pair, step: Step| {
            for &who in cut {
                pair.play(Act::At(who, step.clone()));
            }
        };
        (0..20).for_each(|_| pair.play(Act::Trade(1_000)));
        each(&mut pair, Step::Interrupt);
        (0..20).for_each(|_| pair.play(Act::Trade(1_000)));
        each(&mut pair, Step::Subscribe);
        each(&mut pair, Step::GiveUp);
        (0..20).for_each(|_| pair.play(Act::Trade(1_000)));
        (0..2).for_each(|who| pair.deliver(who));
        pair.settle();
        let incomplete = pair.windows().iter().filter(|(_, _, complete)| !complete).count();
        assert_eq!(incomplete > 0, both);
    }
}
