//! How far the log holds every trade of one symbol: what records claim in, watermark and coverage out.
//!
//! A producer shows a symbol's trades without a gap; where it begins and after a gap it says so (`from`, `since`). So
//! each of its records claims every trade since then, and several producers cover together what one of them missed.
//! The frontier is the time up to which these claims leave no hole.
//!
//! A producer that starts beyond the frontier is *ahead*: a hole lies before it, which another producer may still
//! close. Until that is known nothing moves the frontier but marks of others, since a trade does not name its producer.
//! After [`PATIENCE_MS`] the hole is taken for one. All of this follows from the log alone.
//!
//! - What one producer missed and another saw is no gap. (`coverage_is_the_union_of_the_producers`)
//! - What nobody saw makes its windows incomplete. (`a_gap_that_nobody_saw_is_incomplete`)
//! - Windows that end before it are not its windows. (`a_window_that_ends_before_a_gap_is_final`)

use crate::{
    checkpoint::{Ahead, Entry, Island, Stretch},
    mark::{Mark, ProducerId, Signed},
    symbol::Symbol,
};

/// A producer that shows a trade of T has shown those before T by this (ms): far beyond the exchange's own disorder.
const DISORDER_MS: i64 = 1_000;
/// How far (ms of event time) the log may go on beyond a hole before it is taken for one. Producers mark at least
/// every 15 s, the exchange's heartbeat.
pub(super) const PATIENCE_MS: i64 = 60_000;
/// Producers ahead that are told apart. With more, the first hole is taken for one at once.
const AHEAD_MAX: usize = 8;
/// Ranges of [`Frontier::doubts`]; beyond it, the oldest two become one.
const DOUBTS_MAX: usize = 8;
/// Stretches before gaps that are told apart; beyond it, the oldest two cover nothing. They matter for the lateness only.
const EARLIER_MAX: usize = 8;
/// Offset of records before the checkpoint that was restored.
const BEFORE: i64 = i64::MIN + 1;

/// What limits coverage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// Nothing.
    None,
    /// The first record of a symbol that has no past.
    FirstRecord,
    /// A mark, known since this offset.
    Mark(i64),
    /// The next record will say: what was before is lost.
    NextRecord,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claimant {
    /// A mark of this producer.
    Producer(ProducerId),
    /// A mark of a producer that is none of those ahead.
    Unsigned,
    /// A trade: it may be of any of them.
    Anyone,
}

/// The largest time that was said, and the offset of the record that said it first.
#[derive(Debug, Clone, Copy)]
struct Seen {
    ms: i64,
    offset: i64,
}

/// A stretch before a gap, which may hold no window at all, and the first of the records that tell it: whoever reads
/// less cannot know what limits it.
#[derive(Debug, Clone, Copy)]
struct Earlier {
    stretch: Stretch,
    offset: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Frontier {
    lateness_ms: i64,
    seen: Option<Seen>,
    /// Windows that start before this (ms) are incomplete, but for those of `earlier`.
    from_ms: i64,
    by: Limit,
    /// What was covered before the last gaps, as long as windows of it may be open.
    earlier: Vec<Earlier>,
    /// Producers beyond a hole, by the start of what they claim.
    ahead: Vec<Island>,
    /// The largest time that anybody said while a producer is ahead; `None` when none is.
    reach: Option<Seen>,
    /// Whoever reads from after the first offset up to the second one cannot tell what they led to.
    doubts: Vec<(i64, i64)>,
    /// As `doubts`, for the producers that are ahead now.
    doubt_since: i64,
    /// Records before this offset were told by a checkpoint.
    told_until: i64,
    /// A trade may do more than raise `seen`.
    unusual: bool,
}

impl Frontier {
    fn new(lateness_ms: i64, from_ms: i64, by: Limit) -> Self {
        Self {
            lateness_ms,
            seen: None,
            from_ms,
            by,
            earlier: Vec::new(),
            ahead: Vec::new(),
            reach: None,
            doubts: Vec::new(),
            doubt_since: 0,
            told_until: i64::MIN,
            unusual: false,
        }
    }

    /// Nothing is missing.
    pub fn unlimited(lateness_ms: i64) -> Self {
        Self::new(lateness_ms, i64::MIN, Limit::None)
    }

    /// Of a symbol without a past, whose first record speaks of `time_ms`.
    pub fn of_first_record(lateness_ms: i64, time_ms: i64) -> Self {
        // Trades of up to `time_ms + lateness` may stand before this record in the log.
        Self::new(lateness_ms, time_ms.saturating_add(lateness_ms), Limit::FirstRecord)
    }

    /// As a checkpoint at `head` says.
    pub fn restored(lateness_ms: i64, entry: &Entry, head: i64) -> Self {
        let mut frontier = match entry.covered_from_ms {
            None => Self::unlimited(lateness_ms),
            Some(i64::MAX) => Self::new(lateness_ms, i64::MAX, Limit::NextRecord),
            Some(from_ms) => Self::new(lateness_ms, from_ms, Limit::Mark(BEFORE)),
        };
        let before = |ms| Seen { ms, offset: BEFORE };
        frontier.seen = entry.seen_ms.map(before);
        let earlier = |&stretch| Earlier { stretch, offset: BEFORE };
        frontier.earlier = entry.earlier.iter().map(earlier).collect();
        if let Some(Ahead { reach_ms, islands }) = &entry.ahead {
            frontier.reach = Some(before(*reach_ms));
            frontier.ahead.clone_from(islands);
            frontier.doubt_since = BEFORE;
        }
        if entry.whole {
            frontier.told_until = head;
            // What the checkpoint told has to be told on.
            frontier.doubts.push((BEFORE, head - 1));
        }
        frontier.watch();
        frontier
    }

    /// Event time (ms) before which no trade is outstanding.
    #[inline]
    pub fn watermark_ms(&self) -> Option<i64> {
        self.seen.map(|seen| seen.ms - self.lateness_ms)
    }

    /// The largest time without a hole before it (ms).
    pub fn seen_ms(&self) -> Option<i64> {
        self.seen.map(|seen| seen.ms)
    }

    /// Whether a checkpoint says of the record at `offset` that its windows are given up.
    #[inline]
    pub fn is_given_up(&self, offset: i64) -> bool {
        self.by == Limit::NextRecord && offset < self.told_until
    }

    /// Whether the log covers a window from its start to its end, or will have done so when the window is final.
    pub fn covers(&self, window_start_ms: i64, window_end_ms: i64) -> bool {
        let holds = |Stretch { from_ms, until_ms }| from_ms <= window_start_ms && window_end_ms <= until_ms;
        window_start_ms >= self.from_ms || self.earlier.iter().any(|earlier| holds(earlier.stretch))
    }

    /// Records of the past are gone; the next one is a first record.
    pub fn lose(&mut self) {
        let reach = self.reach.take();
        let seen = [self.seen, reach].into_iter().flatten().max_by_key(|seen| seen.ms);
        let told_until = i64::MIN;
        *self = Self { seen, told_until, ..Self::new(self.lateness_ms, i64::MAX, Limit::NextRecord) };
        self.watch();
    }

    /// A trade of `ms` stands at `offset`. True: coverage has changed.
    #[inline]
    pub fn trade(&mut self, ms: i64, offset: i64) -> bool {
        if self.unusual {
            return self.claim(Claimant::Anyone, ms, offset);
        }
        self.raise(ms, offset);
        false
    }

    /// A mark stands at `offset`. True: coverage has changed.
    pub fn mark(&mut self, signed: &Signed, offset: i64) -> bool {
        if offset < self.told_until {
            return false;
        }
        let Signed { mark, producer, since_ms } = *signed;
        match (mark, producer, since_ms) {
            // Of a release whose producers were alone: before `from` there is a hole.
            (Mark::From(ms), None, _) => self.begin_at(ms, offset) | self.settle(offset),
            (Mark::From(ms), Some(producer), _) => self.begin(producer, ms, None, offset),
            (Mark::Until(ms), Some(producer), Some(since_ms)) if self.by != Limit::NextRecord => {
                self.begin(producer, since_ms, Some(ms), offset)
            }
            (Mark::Until(ms), Some(producer), _) => self.claim(Claimant::Producer(producer), ms, offset),
            (Mark::Until(ms), None, _) => self.claim(Claimant::Unsigned, ms, offset),
        }
    }

    /// What reading from `reread` on cannot tell, and the offset from which it could. `open_from_ms`: start of the
    /// earliest window that is not final.
    pub fn entry(&self, symbol: &Symbol, reread: i64, open_from_ms: Option<i64>) -> Option<(Entry, i64)> {
        let matters = open_from_ms.is_none_or(|open_ms| open_ms < self.from_ms);
        let seen = self.seen.map(|seen| seen.offset);
        let covered = match self.by {
            Limit::FirstRecord | Limit::NextRecord if matters => Some(i64::MIN),
            Limit::Mark(offset) if matters => Some(offset),
            _ => None,
        };
        let pending = (!self.ahead.is_empty()).then_some(self.doubt_since);
        let earlier: Vec<Earlier> = self.earlier.iter().filter(|e| self.is_open(e)).copied().collect();
        let doubts = self.doubts.iter().filter(|(_, until)| reread <= *until).map(|(since, _)| *since);
        let sources = [seen, covered, pending].into_iter().flatten().chain(doubts);
        let sources = sources.chain(earlier.iter().map(|earlier| earlier.offset));
        let offset = sources.filter(|offset| *offset < reread).min()?;
        let ahead = self.reach.filter(|_| !self.ahead.is_empty());
        let entry = Entry {
            symbol: symbol.clone(),
            seen_ms: self.seen.map(|seen| seen.ms),
            covered_from_ms: covered.map(|_| self.from_ms),
            ahead: ahead.map(|reach| Ahead { reach_ms: reach.ms, islands: self.ahead.clone() }),
            earlier: earlier.iter().map(|earlier| earlier.stretch).collect(),
            whole: true,
        };
        Some((entry, offset))
    }

    fn raise(&mut self, ms: i64, offset: i64) {
        if self.seen.is_none_or(|seen| ms > seen.ms) {
            self.seen = Some(Seen { ms, offset });
        }
    }

    fn watch(&mut self) {
        self.unusual = !self.ahead.is_empty() || self.by == Limit::NextRecord || self.told_until > i64::MIN;
    }

    /// Somebody has shown everything up to `ms`.
    #[cold]
    fn claim(&mut self, by: Claimant, ms: i64, offset: i64) -> bool {
        if offset < self.told_until {
            return false;
        }
        self.told_until = i64::MIN;
        if self.by == Limit::NextRecord {
            let first_ms = self.seen.map_or(ms, |seen| ms.max(seen.ms));
            (self.from_ms, self.by) = (first_ms.saturating_add(self.lateness_ms), Limit::FirstRecord);
        }
        if self.ahead.is_empty() {
            self.raise(ms, offset);
            self.watch();
            return false;
        }
        if self.reach.is_none_or(|reach| ms > reach.ms) {
            self.reach = Some(Seen { ms, offset });
        }
        let is_by = |island: &&mut Island| by == Claimant::Producer(island.producer);
        let island = self.ahead.iter_mut().find(is_by);
        match (by, island) {
            (_, Some(island)) => island.until_ms = island.until_ms.max(Some(ms)),
            (Claimant::Anyone, None) => {}
            (_, None) => self.raise(ms, offset),
        }
        self.settle(offset)
    }

    /// A producer shows every trade from `from_ms` on, and has shown those up to `until_ms`.
    fn begin(&mut self, producer: ProducerId, from_ms: i64, until_ms: Option<i64>, offset: i64) -> bool {
        self.told_until = i64::MIN;
        let was_ahead = !self.ahead.is_empty();
        self.ahead.retain(|island| island.producer != producer);
        let was_last_ahead = was_ahead && self.ahead.is_empty();
        let nothing_known = self.seen.is_none() && matches!(self.by, Limit::None | Limit::FirstRecord);
        if nothing_known || self.by == Limit::NextRecord {
            return self.begin_at(from_ms, offset)
                | until_ms.is_some_and(|ms| self.claim(Claimant::Unsigned, ms, offset));
        }
        let mut evidence = self.evidence(from_ms);
        if was_last_ahead {
            // What led here began when the first was ahead.
            evidence = evidence.min(self.doubt_since);
        }
        if self.reaches(from_ms) {
            self.doubt(evidence, offset);
            if was_last_ahead {
                self.reach = None;
            }
            if let Some(ms) = until_ms {
                self.raise(ms, offset);
            }
        } else {
            if self.ahead.is_empty() {
                self.doubt_since = evidence;
                self.reach = self.reach.or(self.seen).or(Some(Seen { ms: from_ms, offset }));
            }
            self.ahead.push(Island { producer, from_ms, until_ms });
            self.ahead.sort_unstable_by_key(|island| (island.from_ms, island.producer));
            if let Some(ms) = until_ms
                && self.reach.is_none_or(|reach| ms > reach.ms)
            {
                self.reach = Some(Seen { ms, offset });
            }
        }
        self.settle(offset)
    }

    /// Whether claims that start at `from_ms` leave no hole.
    fn reaches(&self, from_ms: i64) -> bool {
        from_ms <= self.from_ms || self.shown_ms().is_some_and(|shown_ms| from_ms <= shown_ms)
    }

    /// Every trade before this (ms) is in the log, since `from_ms`.
    fn shown_ms(&self) -> Option<i64> {
        let disorder_ms = DISORDER_MS.min(self.lateness_ms);
        self.seen.map(|seen| seen.ms.saturating_sub(disorder_ms))
    }

    /// Whether windows of an earlier stretch may still be open.
    fn is_open(&self, earlier: &Earlier) -> bool {
        self.watermark_ms().is_none_or(|watermark_ms| watermark_ms < earlier.stretch.until_ms)
    }

    /// The records that [`Frontier::reaches`] rests on: it holds for everybody who has read from there.
    fn evidence(&self, from_ms: i64) -> i64 {
        let mark = match self.by {
            Limit::Mark(offset) => offset,
            _ => BEFORE,
        };
        match self.seen {
            Some(seen) if from_ms > self.from_ms => seen.offset,
            Some(seen) => seen.offset.min(mark),
            None => mark,
        }
    }

    fn begin_at(&mut self, from_ms: i64, offset: i64) -> bool {
        let changes = self.by == Limit::NextRecord || from_ms > self.from_ms;
        if changes {
            self.set_apart();
            (self.from_ms, self.by) = (from_ms, Limit::Mark(offset));
        }
        self.watch();
        changes
    }

    /// A gap follows: what is covered until now stays so.
    fn set_apart(&mut self) {
        let (Some(seen), Some(until_ms)) = (self.seen, self.shown_ms()) else { return };
        let limit = match self.by {
            Limit::None => seen.offset,
            Limit::Mark(offset) => offset,
            Limit::FirstRecord | Limit::NextRecord => i64::MIN,
        };
        let stretch = Stretch { from_ms: self.from_ms, until_ms };
        self.earlier.push(Earlier { stretch, offset: limit.min(seen.offset) });
        let watermark_ms = seen.ms.saturating_sub(self.lateness_ms);
        self.earlier.retain(|earlier| watermark_ms < earlier.stretch.until_ms);
        if self.earlier.len() > EARLIER_MAX {
            let oldest = self.earlier.remove(0);
            let next = &mut self.earlier[0];
            next.stretch.from_ms = i64::MAX;
            next.offset = next.offset.min(oldest.offset);
        }
    }

    /// Joins the producers that are no longer ahead, after patience is over all of them. True: coverage has changed.
    fn settle(&mut self, offset: i64) -> bool {
        let mut changed = false;
        while let Some(first) = self.ahead.first().copied() {
            let waited =
                self.reach.is_some_and(|reach| reach.ms >= first.from_ms.saturating_add(PATIENCE_MS));
            if !self.reaches(first.from_ms) {
                if !waited && self.ahead.len() <= AHEAD_MAX {
                    break;
                }
                changed |= self.begin_at(first.from_ms, offset);
            }
            self.ahead.remove(0);
            if let Some(ms) = first.until_ms {
                self.raise(ms, offset);
            }
            if self.ahead.is_empty() {
                if let Some(reach) = self.reach.take() {
                    self.raise(reach.ms, offset);
                }
                self.doubt(self.doubt_since, offset);
            }
        }
        self.watch();
        changed
    }

    fn doubt(&mut self, since: i64, until: i64) {
        if self.doubts.len() >= DOUBTS_MAX {
            let (oldest, _) = self.doubts.remove(0);
            self.doubts[0].0 = self.doubts[0].0.min(oldest);
        }
        self.doubts.push((since, until));
    }
}
