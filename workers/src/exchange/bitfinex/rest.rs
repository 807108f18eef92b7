//! History over REST: a [`HistoryRequest`] in, a [`Page`] out. One try for each call; rates and retries are the
//! caller's. Answers are classified by their body, since the HTTP status does not tell. Source: `exchange.md`, section 3.

use std::time::SystemTime;

use candles_core::{
    config::{ExchangeConfig, HttpUrl},
    symbol::Symbol,
    trade::Trade,
};
use reqwest::StatusCode;
use serde_json::Value;

use super::{check::checked, frame};
use crate::{
    exchange::{
        HistoryError, HistoryRequest, Page, SymbolIndex,
        limits::{PAGE_BYTES_MAX, REQUEST},
    },
    runtime::{chain, http_client, read_body},
};

/// Invalid rows of one page that are reported one by one.
const INVALID_ROWS_MAX: usize = 20;

/// The REST client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History {
    client: reqwest::Client,
    url: HttpUrl,
    rows_max: u16,
}

impl History {
    /// Connects on the first request.
    pub fn new(config: &ExchangeConfig) -> anyhow::Result<Self> {
        let client = http_client(None)?.timeout(REQUEST).build()?;
        Ok(Self { client, url: config.rest_url.clone(), rows_max: config.limits.history_rows })
    }

    /// One page. `server_ms` is the exchange's present time, where it is known: later trades are not believed.
    pub async fn page(
        &self,
        index: SymbolIndex,
        symbol: &Symbol,
        request: HistoryRequest,
        server_ms: Option<i64>,
    ) -> Result<Page, HistoryError> {
        let mut query = vec![
            ("limit", i64::from(self.rows_max)),
            ("start", request.start_ms),
            ("sort", if request.newest_first { -1 } else { 1 }),
        ];
        query.extend(request.end_ms.map(|end| ("end", end)));
        let url = self.url.join(&["trades", symbol.as_str(), "hist"]);
        let failed = |e: reqwest::Error| HistoryError::Failed(chain(&e.without_url()));
        let response = self.client.get(url).query(&query).send().await.map_err(failed)?;
        let status = response.status();
        let body = read_body(response, PAGE_BYTES_MAX).await.map_err(HistoryError::Failed)?;
        parse(status, &body, self.rows_max, index, server_ms)
    }
}

/// Understands an answer. `server_ms`: the exchange's time, where it is known.
pub(super) fn parse(
    status: StatusCode,
    body: &[u8],
    rows_max: u16,
    index: SymbolIndex,
    server_ms: Option<i64>,
) -> Result<Page, HistoryError> {
    if let Some(error) = refusal(status, body) {
        return Err(error);
    }
    let text =
        std::str::from_utf8(body).map_err(|_| HistoryError::Failed("answer is not UTF-8".to_owned()))?;
    let no_page = || HistoryError::Failed(format!("HTTP {status}, and the answer is no list of trades"));
    if !text.trim_start().starts_with('[') {
        return Err(no_page());
    }
    let rows = frame::rows(text).map_err(|_| no_page())?;
    let full = rows.len() >= usize::from(rows_max);
    let received_us =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    let mut page =
        Page { trades: Vec::with_capacity(rows.len()), full, invalid: Vec::new(), more_invalid: 0 };
    for row in rows {
        match checked(row, server_ms, received_us) {
            Ok(trade) => page.trades.push(trade),
            Err(refusal) if page.invalid.len() < INVALID_ROWS_MAX => {
                page.invalid.push(refusal.into_invalid(Some(index), &format!("history row {row:?}")));
            }
            Err(_) => page.more_invalid += 1,
        }
    }
    page.trades.sort_unstable_by_key(Trade::order);
    Ok(page)
}

/// What an answer that is no page says.
fn refusal(status: StatusCode, body: &[u8]) -> Option<HistoryError> {
    // Errors are short; a page that begins so is none.
    let value: Option<Value> = if body.len() < 4096 { serde_json::from_slice(body).ok() } else { None };
    let code = value.as_ref().and_then(|value| match value {
        Value::Array(array) if array.first().is_some_and(|tag| tag == "error") => {
            Some(array.get(1).and_then(Value::as_i64).unwrap_or_default())
        }
        Value::Object(object) => match object.get("error") {
            Some(error) if error == "ERR_RATE_LIMIT" => Some(11_010),
            Some(_) => Some(0),
            None => None,
        },
        _ => None,
    });
    match code {
        Some(11_010) => Some(HistoryError::RateLimited),
        Some(20_060) => Some(HistoryError::Maintenance),
        Some(code) => Some(HistoryError::Failed(format!("the exchange answers with error {code}"))),
        None if status == StatusCode::TOO_MANY_REQUESTS => Some(HistoryError::RateLimited),
        None if !status.is_success() => Some(HistoryError::Failed(format!("HTTP {status}"))),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(status: u16, body: &str) -> Result<Page, HistoryError> {
        parse(StatusCode::from_u16(status).unwrap(), body.as_bytes(), 3, 0, Some(1_564_617_700_000))
    }

    #[test]
    fn answers_are_classified_by_their_body() {
        assert_eq!(page(500, r#"["error",11010,"ratelimit: error"]"#), Err(HistoryError::RateLimited));
        assert_eq!(page(200, r#"{"error":"ERR_RATE_LIMIT"}"#), Err(HistoryError::RateLimited));
        assert_eq!(page(429, "slow down"), Err(HistoryError::RateLimited));
        assert_eq!(page(503, r#"["error",20060,"maintenance"]"#), Err(HistoryError::Maintenance));
        for (status, body) in
            [(500, r#"["error",10020,"x"]"#), (502, "<html>"), (200, "<html>"), (200, "{}"), (200, "[")]
        {
            assert!(matches!(page(status, body), Err(HistoryError::Failed(_))), "{body}");
        }
    }

    #[test]
    fn a_page_is_sorted_and_knows_whether_there_is_more() {
        let rows = "[[3,1564617600709,1,5],[2,1564617600709,1,5],[1,1564617600708,-1,4]]";
        let sorted = page(200, rows).unwrap();
        assert_eq!(sorted.trades.iter().map(|t| t.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(sorted.full);
        let empty = page(200, "[]").unwrap();
        assert!(empty.trades.is_empty() && !empty.full);
    }

    #[test]
    fn bad_rows_are_reported_and_the_others_kept() {
        let rows = "[[1,1564617600708,1,4],[2,1564617600709,1,0],[\"x\"]]";
        let page = page(200, rows).unwrap();
        assert_eq!((page.trades.len(), page.invalid.len(), page.full), (1, 2, true));
        let future =
            parse(StatusCode::OK, b"[[1,1564617600708,1,4]]", 3, 0, Some(1_564_617_500_000)).unwrap();
        assert_eq!((future.trades.len(), future.invalid.len()), (0, 1));
    }
}
