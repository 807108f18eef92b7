//! Everything that can go wrong on purpose: the vocabulary (`Fault`, JSON over the admin endpoint), the
//! faults in force, and the seeded schedule. Decides; `core` carries out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::market::mix;

/// Which frame of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeFrame {
    /// The `te`.
    Te,
    /// The `tu`.
    Tu,
    /// The `te` and the `tu` of the same trade.
    Both,
}

/// How a connection ends or is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutHow {
    /// A close frame with code 1012; at connect: HTTP 503.
    Close,
    /// A TCP reset.
    Reset,
    /// The connection just ends, without a close frame.
    Drop,
}

/// A frame that no exchange should send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GarbageKind {
    /// A text frame that is not JSON.
    BadJson,
    /// The first half of a `te`.
    Truncated,
    /// A binary frame.
    Binary,
    /// A text frame that is not UTF-8.
    BadUtf8,
    /// A frame of 2 MiB.
    Huge,
    /// 100,000 nested arrays.
    Deep,
    /// A `te` with price `1e999`.
    Overflow,
    /// A `te` with a negative price.
    NegativePrice,
    /// A `te` with price 0.
    ZeroPrice,
    /// A `te` with amount 0.
    ZeroAmount,
    /// A `te` whose time is 9e18.
    AbsurdTime,
    /// A `te` whose row has text where numbers belong.
    WrongTypes,
    /// A `te` on a channel that nobody subscribed.
    UnknownChannel,
}

impl GarbageKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::BadJson,
        Self::Truncated,
        Self::Binary,
        Self::BadUtf8,
        Self::Huge,
        Self::Deep,
        Self::Overflow,
        Self::NegativePrice,
        Self::ZeroPrice,
        Self::ZeroAmount,
        Self::AbsurdTime,
        Self::WrongTypes,
        Self::UnknownChannel,
    ];
}

/// What REST does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestFault {
    /// 429 and `["error",11010,"ratelimit: error"]`.
    RateLimit,
    /// 429 and the legacy `{"error":"ERR_RATE_LIMIT"}`.
    LegacyRateLimit,
    /// 500 and `["error",10001,"internal error"]`.
    Http500,
    /// 200 and a body that is not JSON.
    Garbage,
    /// The right answer after `slow_ms` of real time.
    Slow,
    /// 200 and `[]`.
    Empty,
    /// 200 and `["error",10000,"unknown error"]`.
    ErrorArray,
    /// 500 and `["error",20060,"maintenance"]`.
    Maintenance,
    /// The right answer cut in half.
    Truncated,
}

/// Where an unexpected element goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraIn {
    /// Nowhere.
    #[default]
    None,
    /// Before the sequence number (after the payload).
    BeforeSequence,
    /// At the very end, after sequence and time.
    AtEnd,
}

/// One fault. Times are exchange ms; `symbol` and `conn` absent means all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the field names are the wire vocabulary and are explained per variant")]
pub enum Fault {
    /// Ends one connection or all.
    Cut { conn: Option<u64>, how: CutHow },
    /// Sends nothing, answers nothing, keeps the socket. Without `conn` new connections too.
    /// What would have been sent is lost, with its sequence numbers.
    Silence { conn: Option<u64>, for_ms: i64 },
    /// The next `count` trades lose that frame *and* its sequence number (lost on the way).
    Lose { frame: TradeFrame, symbol: Option<String>, conn: Option<u64>, count: u32 },
    /// The next `count` trades never had that frame: no hole in the sequence.
    Omit { frame: TradeFrame, symbol: Option<String>, conn: Option<u64>, count: u32 },
    /// The next `count` frames come twice; `same_seq`: byte for byte, else with a number of its own.
    Duplicate { frame: TradeFrame, symbol: Option<String>, count: u32, same_seq: bool },
    /// The next `count` trades arrive up to `within_ms` late, in another order.
    Reorder { within_ms: i64, symbol: Option<String>, count: u32 },
    /// The next `count` trades arrive exactly `by_ms` late.
    Delay { by_ms: i64, symbol: Option<String>, count: u32 },
    /// A snapshot as of `age_ms` ago, again, on every trades channel of the symbol.
    OldSnapshot { symbol: Option<String>, age_ms: i64 },
    /// An info event with this code (20051: reconnect now).
    Info { code: u32 },
    /// 20060 now, no data and REST status 0 for so long, then 20061; channels opened before stay
    /// mute until they are unsubscribed. `halt`: nothing trades meanwhile.
    Maintenance { for_ms: i64, halt: bool },
    /// Refuses the next `count` connections, or all for `for_ms`.
    Refuse { count: Option<u32>, for_ms: Option<i64>, how: CutHow },
    /// REST misbehaves for `count` requests or for `for_ms`; `path` limits it to paths containing that.
    Rest {
        kind: RestFault,
        count: Option<u32>,
        for_ms: Option<i64>,
        path: Option<String>,
        slow_ms: Option<u64>,
    },
    /// REST history and snapshots lack `[start_ms, end_ms]` for good: an unfillable gap.
    HistoryHole { symbol: Option<String>, start_ms: i64, end_ms: i64 },
    /// REST shows trades so long after they happened.
    HistoryLag { lag_ms: i64 },
    /// `count` such frames on every trades channel of the symbol; `replace`: each instead of the next
    /// real `te`, with its number and, where the frame has a row, its id; the `tu` follows.
    Garbage { kind: GarbageKind, symbol: Option<String>, count: u32, replace: bool },
    /// The symbol is unknown from now on and does not trade.
    Delist { symbol: String },
    /// The symbol is listed and trades again.
    Relist { symbol: String },
    /// The symbol does not trade; its channels stay.
    Halt { symbol: String },
    /// The symbol trades again.
    Resume { symbol: String },
    /// Ids of all markets restart near `base`.
    IdReset { base: i64 },
    /// An unexpected element in every trade row, and in every frame.
    ExtraElements { rows: bool, frames: ExtraIn },
    /// Sends `bytes` per `every_ms` of real time. 0 bytes: full speed again.
    Trickle { conn: Option<u64>, bytes: usize, every_ms: u64 },
    /// From `subscribe` to `subscribed`.
    SubscribeDelay { delay_ms: i64 },
    /// Ends every fault that lasts (holes, delistings and id resets stay).
    Heal,
}

/// Faults drawn from a seed while the exchange runs.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Seed of times and choices.
    pub seed: u64,
    /// Mean time between faults, exchange ms.
    pub every_ms: i64,
    /// Drawn from with equal chance; empty: [`Schedule::survivable`].
    pub faults: Vec<Fault>,
    /// None after this exchange time.
    pub until_ms: Option<i64>,
}

impl Schedule {
    /// A schedule over everything that an exact producer survives without losing a trade.
    pub fn new(seed: u64, every_ms: i64) -> Self {
        Self { seed, every_ms, faults: Vec::new(), until_ms: None }
    }

    /// Faults after which every trade is still obtainable.
    pub fn survivable() -> Vec<Fault> {
        let lose = |frame, count| Fault::Lose { frame, symbol: None, conn: None, count };
        let omit = |frame| Fault::Omit { frame, symbol: None, conn: None, count: 2 };
        let rest = |kind, count| Fault::Rest {
            kind,
            count: Some(count),
            for_ms: None,
            path: None,
            slow_ms: Some(1_500),
        };
        let mut all = vec![
            Fault::Cut { conn: None, how: CutHow::Close },
            Fault::Cut { conn: None, how: CutHow::Reset },
            Fault::Silence { conn: None, for_ms: 60_000 },
            lose(TradeFrame::Te, 1),
            lose(TradeFrame::Tu, 1),
            lose(TradeFrame::Both, 3),
            omit(TradeFrame::Te),
            omit(TradeFrame::Tu),
            Fault::Duplicate { frame: TradeFrame::Te, symbol: None, count: 3, same_seq: false },
            Fault::Reorder { within_ms: 500, symbol: None, count: 10 },
            Fault::OldSnapshot { symbol: None, age_ms: 30_000 },
            Fault::Info { code: 20_051 },
            Fault::Maintenance { for_ms: 20_000, halt: true },
            Fault::Refuse { count: Some(2), for_ms: None, how: CutHow::Close },
            rest(RestFault::RateLimit, 1),
            rest(RestFault::Http500, 2),
            rest(RestFault::Garbage, 1),
            rest(RestFault::Slow, 2),
            rest(RestFault::ErrorArray, 1),
        ];
        let garbage =
            [GarbageKind::BadJson, GarbageKind::NegativePrice, GarbageKind::Deep, GarbageKind::Binary];
        all.extend(garbage.map(|kind| Fault::Garbage { kind, symbol: None, count: 1, replace: false }));
        all
    }

    /// Time and choice of the `nth` fault after one at `after_ms`.
    pub(crate) fn draw(&self, nth: u64, after_ms: i64) -> Option<(i64, Fault)> {
        let r = mix(self.seed ^ mix(nth));
        let every = self.every_ms.max(1);
        let at = after_ms + every / 2 + (r >> 16) as i64 % every;
        if self.until_ms.is_some_and(|until| at > until) {
            return None;
        }
        let all = if self.faults.is_empty() { Self::survivable() } else { self.faults.clone() };
        let pick = (mix(r) % all.len() as u64) as usize;
        Some((at, all[pick].clone()))
    }
}

/// What happens to one frame of one trade on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Send,
    /// Number used, frame gone.
    Lose,
    /// Neither number nor frame.
    Omit,
    Twice {
        same_seq: bool,
    },
    Garbage(GarbageKind),
}

/// A fault that waits for trades.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub what: Want,
    pub symbol: Option<Arc<str>>,
    pub conn: Option<u64>,
    pub left: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Want {
    Lose(TradeFrame),
    Omit(TradeFrame),
    Duplicate(TradeFrame, bool),
    Reorder(i64),
    Delay(i64),
    Garbage(GarbageKind),
}

/// What the faults in force decided for one trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fates {
    pub te: Fate,
    pub tu: Fate,
    /// Only on this connection; all if `None`.
    pub conn: Option<u64>,
}

impl Fates {
    pub const CLEAN: Self = Self { te: Fate::Send, tu: Fate::Send, conn: None };

    pub fn on(self, conn: u64, tu: bool) -> Fate {
        match self.conn {
            Some(only) if only != conn => Fate::Send,
            _ if tu => self.tu,
            _ => self.te,
        }
    }
}

/// The trade faults in force, in order of arrival; at most one of each trade's frames is decided.
#[derive(Debug, Default)]
pub(crate) struct PendingFaults(Vec<Pending>);

impl PendingFaults {
    pub fn push(&mut self, pending: Pending) {
        // Beyond this many at once the oldest is forgotten.
        if self.0.len() >= 1_000 {
            self.0.remove(0);
        }
        self.0.push(pending);
    }

    /// How much later a trade that is due now shall arrive.
    pub fn postpone(&mut self, symbol: &str, random: u64) -> Option<i64> {
        let pick = |want: Want| match want {
            Want::Reorder(within) => Some((random % (within.max(0) as u64 + 1)) as i64),
            Want::Delay(by) => Some(by.max(0)),
            _ => None,
        };
        self.take(symbol, pick).map(|(by, _)| by)
    }

    pub fn fates(&mut self, symbol: &str) -> Fates {
        if self.0.is_empty() {
            return Fates::CLEAN;
        }
        let split = |frame, fate| match frame {
            TradeFrame::Te => (fate, Fate::Send),
            TradeFrame::Tu => (Fate::Send, fate),
            TradeFrame::Both => (fate, fate),
        };
        let pick = |want: Want| match want {
            Want::Lose(frame) => Some(split(frame, Fate::Lose)),
            Want::Omit(frame) => Some(split(frame, Fate::Omit)),
            Want::Duplicate(frame, same_seq) => Some(split(frame, Fate::Twice { same_seq })),
            Want::Garbage(kind) => Some((Fate::Garbage(kind), Fate::Send)),
            Want::Reorder(_) | Want::Delay(_) => None,
        };
        self.take(symbol, pick).map_or(Fates::CLEAN, |((te, tu), conn)| Fates { te, tu, conn })
    }

    fn take<T>(&mut self, symbol: &str, pick: impl Fn(Want) -> Option<T>) -> Option<(T, Option<u64>)> {
        let fits = |p: &Pending| p.symbol.as_deref().is_none_or(|s| s == symbol);
        let at = self.0.iter().position(|p| fits(p) && pick(p.what).is_some())?;
        let pending = &mut self.0[at];
        let taken = (pick(pending.what)?, pending.conn);
        pending.left = pending.left.saturating_sub(1);
        if pending.left == 0 {
            self.0.remove(at);
        }
        Some(taken)
    }
}
