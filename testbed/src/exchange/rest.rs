//! REST: a path and its query in, a status and a body out. Applies limits and faults first.
//! Errors are arrays `["error", CODE, "text"]`, as the exchange has them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::candles;
use super::core::Core;
use super::faults::RestFault;
use super::limits::Endpoint;
use super::row::rows_text;

type Query = BTreeMap<String, String>;

/// What a client gets, after `delay` of real time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: String,
    pub delay: Duration,
}

impl Answer {
    fn ok(body: String) -> Self {
        Self { status: 200, body, delay: Duration::ZERO }
    }

    pub fn error(status: u16, code: u32, text: &str) -> Self {
        Self { status, body: format!(r#"["error",{code},"{text}"]"#), delay: Duration::ZERO }
    }

    /// A parameter that makes no sense; the exchange calls that a server error.
    pub fn bad(parameter: &str) -> Self {
        Self::error(500, 10_020, &format!("{parameter}: invalid"))
    }
}

/// A query's numbers, as every history endpoint has them.
pub(crate) struct Page {
    pub start_ms: i64,
    pub end_ms: i64,
    pub limit: usize,
    pub newest_first: bool,
}

impl Page {
    pub fn read(query: &Query, rows_default: usize, rows_max: usize) -> Result<Self, Answer> {
        let number = |name: &str| match query.get(name).filter(|v| !v.is_empty()) {
            Some(text) => text.parse::<i64>().map(Some).map_err(|_| Answer::bad(name)),
            None => Ok(None),
        };
        let limit = match number("limit")? {
            None => rows_default,
            Some(n) => usize::try_from(n)
                .ok()
                .filter(|n| (1..=rows_max).contains(n))
                .ok_or_else(|| Answer::bad("limit"))?,
        };
        let newest_first = match number("sort")? {
            None | Some(-1 | 0) => true,
            Some(1) => false,
            Some(_) => return Err(Answer::bad("sort")),
        };
        let (start_ms, end_ms) = (number("start")?.unwrap_or(i64::MIN), number("end")?.unwrap_or(i64::MAX));
        if start_ms > end_ms {
            Err(Answer::bad("start"))
        } else {
            Ok(Self { start_ms, end_ms, limit, newest_first })
        }
    }
}

impl Core {
    /// Answers `GET /v2/{path}`.
    pub fn rest(&mut self, path: &str, query: &Query) -> Answer {
        self.catch_up();
        let parts: Vec<&str> = path.split('/').collect();
        let endpoint = match parts.as_slice() {
            ["platform", "status"] => Endpoint::Status,
            ["trades", ..] => Endpoint::Trades,
            ["candles", ..] => Endpoint::Candles,
            ["tickers"] => Endpoint::Tickers,
            ["conf", ..] => Endpoint::Conf,
            _ => return Answer::error(404, 10_000, "unknown path"),
        };
        if !self.rest_limits.take(endpoint, self.limits_ms()) {
            return Answer::error(429, 11_010, "ratelimit: error");
        }
        let right = match parts.as_slice() {
            ["platform", "status"] => {
                Ok(Answer::ok(format!("[{}]", u8::from(self.faults.maintenance.is_none()))))
            }
            ["trades", symbol, "hist"] => self.trades_page(symbol, query),
            ["candles", key, "hist"] => self.candles_page(key, query),
            ["tickers"] => Ok(self.tickers(query)),
            ["conf", "pub:list:pair:exchange"] => Ok(self.pairs()),
            _ => Err(Answer::error(404, 10_000, "unknown path")),
        };
        let right = right.unwrap_or_else(|wrong| wrong);
        self.troubled(path, right)
    }

    fn troubled(&mut self, path: &str, right: Answer) -> Answer {
        let now = self.at_ms;
        let hits = |t: &super::inject::RestTrouble| t.path.as_ref().is_none_or(|p| path.contains(p.as_str()));
        let Some(trouble) = self.faults.rest.iter_mut().find(|t| hits(t) && !t.span.over(now)) else {
            return right;
        };
        trouble.span.take(now);
        let with = |status: u16, body: &str| Answer { status, body: body.into(), delay: Duration::ZERO };
        match trouble.kind {
            RestFault::RateLimit => Answer::error(429, 11_010, "ratelimit: error"),
            RestFault::LegacyRateLimit => with(429, r#"{"error":"ERR_RATE_LIMIT"}"#),
            RestFault::Http500 => Answer::error(500, 10_001, "internal error"),
            RestFault::Garbage => with(200, "<html><body>502 Bad Gateway</body></html>"),
            RestFault::Slow => Answer { delay: Duration::from_millis(trouble.slow_ms), ..right },
            RestFault::Empty => with(200, "[]"),
            RestFault::ErrorArray => Answer::error(200, 10_000, "unknown error"),
            RestFault::Maintenance => Answer::error(500, 20_060, "maintenance"),
            RestFault::Truncated => with(200, right.body.get(..right.body.len() / 2).unwrap_or_default()),
        }
    }

    pub fn listed(&self, symbol: &str) -> Result<usize, Answer> {
        let index = self.by_name.get(symbol).copied().filter(|&i| self.symbols[i].listed);
        index.ok_or_else(|| Answer::bad("symbol"))
    }

    fn trades_page(&self, symbol: &str, query: &Query) -> Result<Answer, Answer> {
        let index = self.listed(symbol)?;
        let limits = &self.config.limits;
        let page = Page::read(query, limits.page_rows_default, limits.page_rows)?;
        let range = self.history_range(page.start_ms, page.end_ms, page.limit, page.newest_first);
        let rows = self.symbols[index].history(&range);
        Ok(Answer::ok(rows_text(&rows, self.extra_row())))
    }

    fn candles_page(&self, key: &str, query: &Query) -> Result<Answer, Answer> {
        let mut parts = key.splitn(3, ':');
        let (Some("trade"), Some(timeframe), Some(symbol)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Answer::bad("key"));
        };
        let index = self.listed(symbol)?;
        let width_ms = candles::width_ms(timeframe).ok_or_else(|| Answer::bad("timeframe"))?;
        let page = Page::read(query, 100, self.config.limits.page_rows)?;
        let range = self.history_range(page.start_ms, page.end_ms, candles::TRADES_MAX, page.newest_first);
        Ok(Answer::ok(candles::page(&self.symbols[index], &range, width_ms, page.limit)))
    }

    fn tickers(&self, query: &Query) -> Answer {
        let asked = query.get("symbols").map_or("ALL", String::as_str);
        let wanted = |name: &str| asked == "ALL" || asked.split(',').any(|a| a == name);
        let mut rows = Vec::new();
        for symbol in self.symbols.iter().filter(|s| s.listed && wanted(&s.name)) {
            let last = symbol.history(&self.history_range(i64::MIN, i64::MAX, 1, true));
            let last = last.first().map_or_else(|| "1".into(), |row| row.price.text());
            rows.push(format!(
                r#"["{}",{last},10.5,{last},12.25,0,0,{last},1234.5,{last},{last}]"#,
                symbol.name
            ));
        }
        Answer::ok(format!("[{}]", rows.join(",")))
    }

    fn pairs(&self) -> Answer {
        let listed = self.symbols.iter().filter(|s| s.listed && s.name.starts_with('t'));
        let pairs: Vec<String> = listed.map(|s| format!("\"{}\"", s.pair())).collect();
        Answer::ok(format!("[[{}]]", pairs.join(",")))
    }
}
