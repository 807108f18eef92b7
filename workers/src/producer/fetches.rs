//! Which symbol's history is fetched next, and when. Requests of feeds in, one request at a time out. Pure: time is
//! an argument; the HTTP client is `exchange`'s.
//!
//! One budget for all symbols. The symbol that holds back the most live trades goes first, then the oldest gap.
//! - A rate limit answer stops every request for a minute. (`a_rate_limit_stops_everything`)

use std::time::{Duration, Instant};

use super::limits::HISTORY_BACKOFF;
use crate::{
    exchange::{HistoryError, HistoryRequest, SymbolIndex, budget::SharedBudget, limits::RATE_LIMIT_PAUSE},
    runtime::backoff::Backoff,
};

/// Maintenance of the exchange is asked about again after this.
const MAINTENANCE_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
struct Wanted {
    request: HistoryRequest,
    not_before: Instant,
    ticket: u64,
}

/// A request that is under way. Its ticket tells an answer that is still wanted from one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// For which symbol.
    pub symbol: SymbolIndex,
    ticket: u64,
}

/// All wanted pages.
#[derive(Debug)]
pub struct Fetches {
    wanted: Vec<Option<Wanted>>,
    budget: SharedBudget,
    backoff: Backoff,
    retry_at: Option<Instant>,
    failing_since: Option<Instant>,
    tickets: u64,
}

/// What an answer means for the symbol that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody waits for it any more.
    Stale,
    /// Hand it over.
    Deliver,
    /// It will be asked again without more ado: the exchange wants to be left alone.
    Postponed,
    /// It failed, as every request for so long.
    Failed(Duration),
}

impl Fetches {
    /// For so many symbols, within the budget.
    pub fn new(symbols: usize, budget: SharedBudget) -> Self {
        let (first, cap) = HISTORY_BACKOFF;
        Self {
            wanted: vec![None; symbols],
            budget,
            backoff: Backoff::new(first, cap),
            retry_at: None,
            failing_since: None,
            tickets: 0,
        }
    }

    /// A symbol wants a page, not before `not_before`.
    pub fn want(&mut self, symbol: SymbolIndex, request: HistoryRequest, not_before: Instant) {
        self.tickets += 1;
        self.wanted[symbol] = Some(Wanted { request, not_before, ticket: self.tickets });
    }

    /// A symbol wants no page any more.
    pub fn cancel(&mut self, symbol: SymbolIndex) {
        self.wanted[symbol] = None;
    }

    /// Takes the next request, or says when to ask again (`None`: when somebody wants something).
    pub fn next(
        &mut self,
        now: Instant,
        buffered: impl Fn(SymbolIndex) -> usize,
    ) -> Result<(Ticket, HistoryRequest), Option<Instant>> {
        if self.wanted.iter().all(Option::is_none) {
            return Err(None);
        }
        if let Some(at) = self.retry_at.filter(|&at| at > now) {
            return Err(Some(at));
        }
        let due = |wanted: &Wanted| wanted.not_before <= now;
        let best = (0..self.wanted.len())
            .filter_map(|symbol| self.wanted[symbol].filter(due).map(|wanted| (symbol, wanted)))
            .max_by_key(|(symbol, wanted)| (buffered(*symbol), std::cmp::Reverse(wanted.request.start_ms)));
        let Some((symbol, wanted)) = best else {
            return Err(self.wanted.iter().flatten().map(|wanted| wanted.not_before).min());
        };
        self.budget.try_take(now).map_err(|wait| Some(now + wait))?;
        Ok((Ticket { symbol, ticket: wanted.ticket }, wanted.request))
    }

    /// A request is over.
    pub fn over(&mut self, ticket: Ticket, error: Option<&HistoryError>, now: Instant) -> Verdict {
        self.retry_at = None;
        match error {
            None => {
                self.failing_since = None;
                self.backoff.reset();
            }
            Some(HistoryError::RateLimited) => self.budget.pause(now, RATE_LIMIT_PAUSE),
            Some(HistoryError::Maintenance) => self.retry_at = Some(now + MAINTENANCE_PAUSE),
            Some(HistoryError::Failed(_)) => self.retry_at = Some(now + self.backoff.next_delay()),
        }
        let current = self.wanted[ticket.symbol].is_some_and(|wanted| wanted.ticket == ticket.ticket);
        match error {
            Some(HistoryError::Failed(_)) => {
                let outage = now.duration_since(*self.failing_since.get_or_insert(now));
                if !current {
                    return Verdict::Stale;
                }
                self.wanted[ticket.symbol] = None;
                Verdict::Failed(outage)
            }
            _ if !current => Verdict::Stale,
            None => {
                self.wanted[ticket.symbol] = None;
                Verdict::Deliver
            }
            Some(_) => Verdict::Postponed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(start_ms: i64) -> HistoryRequest {
        HistoryRequest { start_ms, end_ms: None, newest_first: false }
    }

    #[test]
    fn the_busiest_goes_first_then_the_oldest_gap() {
        let now = Instant::now();
        let mut fetches = Fetches::new(3, SharedBudget::new(60));
        fetches.want(0, from(20), now);
        fetches.want(1, from(10), now);
        fetches.want(2, from(30), now);
        let (ticket, _) = fetches.next(now, |symbol| if symbol == 2 { 7 } else { 0 }).expect("one is due");
        assert_eq!(ticket.symbol, 2);
        assert_eq!(fetches.over(ticket, None, now), Verdict::Deliver);
        assert_eq!(fetches.next(now, |_| 0).expect("one is due").0.symbol, 1);
    }

    #[test]
    fn an_answer_to_an_older_question_is_stale() {
        let now = Instant::now();
        let mut fetches = Fetches::new(1, SharedBudget::new(60));
        fetches.want(0, from(20), now);
        let (ticket, _) = fetches.next(now, |_| 0).expect("due");
        fetches.want(0, from(30), now);
        assert_eq!(fetches.over(ticket, None, now), Verdict::Stale);
        let (ticket, request) = fetches.next(now, |_| 0).expect("due");
        assert_eq!(request.start_ms, 30);
        fetches.cancel(0);
        assert_eq!(fetches.over(ticket, None, now), Verdict::Stale);
        assert_eq!(fetches.next(now, |_| 0), Err(None));
    }

    #[test]
    fn a_rate_limit_stops_everything() {
        let now = Instant::now();
        let mut fetches = Fetches::new(2, SharedBudget::new(60));
        fetches.want(0, from(20), now);
        fetches.want(1, from(20), now);
        let (ticket, _) = fetches.next(now, |_| 0).expect("due");
        assert_eq!(fetches.over(ticket, Some(&HistoryError::RateLimited), now), Verdict::Postponed);
        assert_eq!(fetches.next(now, |_| 0), Err(Some(now + RATE_LIMIT_PAUSE)));
        assert!(fetches.next(now + RATE_LIMIT_PAUSE, |_| 0).is_ok());
    }

    #[test]
    fn failures_are_timed_from_the_first_and_forgotten_after_a_success() {
        let now = Instant::now();
        let failed = HistoryError::Failed("HTTP 500".to_owned());
        let mut fetches = Fetches::new(1, SharedBudget::new(600));
        let fail_at = |fetches: &mut Fetches, at: Instant| {
            fetches.want(0, from(20), at);
            let (ticket, _) = fetches.next(at, |_| 0).expect("due");
            fetches.over(ticket, Some(&failed), at)
        };
        assert_eq!(fail_at(&mut fetches, now), Verdict::Failed(Duration::ZERO));
        let later = now + Duration::from_secs(100);
        assert_eq!(fail_at(&mut fetches, later), Verdict::Failed(Duration::from_secs(100)));
        fetches.want(0, from(20), later);
        assert!(matches!(fetches.next(later, |_| 0), Err(Some(at)) if at > later), "backs off");
        let (ticket, _) = fetches.next(later + Duration::from_secs(60), |_| 0).expect("due");
        fetches.over(ticket, None, later);
        let much_later = later + Duration::from_secs(100);
        assert_eq!(fail_at(&mut fetches, much_later), Verdict::Failed(Duration::ZERO));
    }
}
