//! The engine's requests for history: one under way at a time, its page handed to the symbol that waits for it.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{End, Engine, HISTORY, joined};
use crate::{
    exchange::{HistoryError, InvalidReason, Page},
    producer::fetches::{Ticket, Verdict},
};

/// Wishes for history are looked at anew after this, whatever happens.
const FETCH_LOOK: Duration = Duration::from_secs(1);
/// History that fails for this long is worth saying.
const HISTORY_TROUBLE: Duration = Duration::from_secs(20);

/// A request under way.
pub(super) type Fetching = (Ticket, JoinHandle<Result<Page, HistoryError>>);

impl Engine {
    pub(super) fn start_fetch(&mut self) {
        let now = Instant::now();
        if self.fetching.is_some() || self.fetch_at.is_some_and(|at| at > now) {
            return;
        }
        let lines = &self.lines;
        match self.fetches.next(now, |symbol| lines[symbol].feed.buffered()) {
            Ok((ticket, request)) => {
                let history = self.history.clone();
                let (index, symbol) = (ticket.symbol, self.lines[ticket.symbol].symbol.clone());
                let server_ms = self.server_ms;
                tracing::debug!(%symbol, start_ms = request.start_ms, "history requested");
                let task =
                    tokio::spawn(async move { history.page(index, &symbol, request, server_ms).await });
                self.fetching = Some((ticket, task));
                self.fetch_at = None;
            }
            // A new wish, or an answer, looks again at once.
            Err(at) => self.fetch_at = Some(at.unwrap_or(now + FETCH_LOOK)),
        }
    }

    pub(super) async fn on_fetched(
        &mut self,
        ticket: Ticket,
        page: Result<Page, HistoryError>,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        self.now = Instant::now();
        self.fetch_at = None;
        let verdict = self.fetches.over(ticket, page.as_ref().err(), self.now);
        self.metrics.history_request(match &page {
            Ok(_) => "ok",
            Err(HistoryError::RateLimited) => "rate_limited",
            Err(HistoryError::Maintenance) => "maintenance",
            Err(HistoryError::Failed(_)) => "failed",
        });
        let symbol = ticket.symbol;
        match &page {
            Ok(_) => {
                self.health.works(HISTORY);
            }
            Err(error) => {
                tracing::warn!(symbol = %self.lines[symbol].symbol, %error, "no history; will try again");
            }
        }
        match (verdict, page) {
            (Verdict::Deliver, Ok(page)) => {
                page.invalid.iter().for_each(|invalid| self.on_invalid(invalid));
                (0..page.more_invalid).for_each(|_| self.metrics.invalid(InvalidReason::Row));
                self.lines[symbol].feed.on_page(page, &mut self.effects);
            }
            (Verdict::Failed(outage), Err(error)) => {
                if outage > HISTORY_TROUBLE {
                    let url = &self.config.exchange.rest_url;
                    let seconds = outage.as_secs();
                    self.health.fails(
                        HISTORY,
                        format!("{url} fails for {seconds} s: {error}; symbols with a gap wait"),
                    );
                }
                self.lines[symbol].feed.on_history_failed(outage, &mut self.effects);
            }
            _ => {}
        }
        self.finish(symbol, stop).await
    }
}

/// The page that is being fetched; never, if none is.
pub(super) async fn fetched(fetching: &mut Option<Fetching>) -> (Ticket, Result<Page, HistoryError>) {
    let Some((ticket, task)) = fetching else { return std::future::pending().await };
    let result = (*ticket, joined(task.await).unwrap_or_else(|e| Err(HistoryError::Failed(e))));
    *fetching = None;
    result
}
