//! Rows of InfluxDB in, lines of a table out: each final candle once, in the order of its window.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;

use anyhow::Context as _;

/// A window that was closed this long before the newest one is not asked for again: longer than any of the demo's
/// windows together with its lateness.
const AGE_MS_MAX: i64 = 10 * 60_000;
const NS_PER_MS: i64 = 1_000_000;

type Row = BTreeMap<String, String>;

/// What was shown, and what to ask for next.
#[derive(Debug)]
pub struct Table {
    from_ms: i64,
    shown: usize,
    /// Window start, interval, symbol.
    recent: BTreeSet<(i64, String, String)>,
    colour: bool,
}

impl Table {
    /// Of windows that start at `from_ms` or later.
    pub fn new(from_ms: i64) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { from_ms, shown: 0, recent: BTreeSet::new(), colour }
    }

    /// Names of the columns.
    pub fn header() -> String {
        format!(
            "{:<10} {:<8} {:>8} {:>12} {:>12} {:>12} {:>12} {:>14} {:>7}",
            "UTC", "symbol", "interval", "open", "high", "low", "close", "volume", "trades"
        )
    }

    /// How many candles were shown.
    pub fn shown(&self) -> usize {
        self.shown
    }

    /// Asks for every final candle that may be new.
    pub fn query(&self, bucket: &str) -> String {
        // The exchange's clock may be ahead of the database's: without a stop, the future is left out.
        format!(
            r#"from(bucket: "{bucket}") |> range(start: time(v: {}), stop: 2200-01-01T00:00:00Z)
               |> filter(fn: (r) => r._measurement == "candles")
               |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
               |> group() |> map(fn: (r) => ({{r with time_ns: int(v: r._time)}}))"#,
            self.from_ms * NS_PER_MS
        )
    }

    /// Lines of those that were not shown yet.
    pub fn take(&mut self, rows: &[Row]) -> anyhow::Result<Vec<String>> {
        let mut new = BTreeMap::new();
        for row in rows {
            let cell =
                |name: &str| row.get(name).with_context(|| format!("a candle without {name}: {row:?}"));
            let key = (
                cell("time_ns")?.parse::<i64>()? / NS_PER_MS,
                cell("interval")?.clone(),
                cell("symbol")?.clone(),
            );
            if self.recent.contains(&key) {
                continue;
            }
            let numbers: Vec<&str> = ["open", "high", "low", "close", "volume", "count"]
                .into_iter()
                .map(|name| cell(name).map(String::as_str))
                .collect::<anyhow::Result<_>>()?;
            let line = self.line(&key, &numbers)?;
            new.insert(key, line);
        }
        self.shown += new.len();
        let (keys, lines): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        self.recent.extend(keys);
        if let Some((newest_ms, ..)) = self.recent.last() {
            self.from_ms = self.from_ms.max(newest_ms - AGE_MS_MAX);
            self.recent = self.recent.split_off(&(self.from_ms, String::new(), String::new()));
        }
        Ok(lines)
    }

    fn line(
        &self,
        (start_ms, interval, symbol): &(i64, String, String),
        numbers: &[&str],
    ) -> anyhow::Result<String> {
        let &[open, high, low, close, volume, count] = numbers else {
            anyhow::bail!("six numbers are a candle")
        };
        let line = format!(
            "{:<10} {symbol:<8} {interval:>8} {open:>12} {high:>12} {low:>12} {close:>12} {volume:>14} {count:>7}",
            clock(*start_ms)
        );
        let rises = close.parse::<f64>()? >= open.parse::<f64>()?;
        Ok(match (self.colour, rises) {
            (true, true) => format!("\x1b[32m{line}\x1b[0m"),
            (true, false) => format!("\x1b[31m{line}\x1b[0m"),
            (false, _) => line,
        })
    }
}

/// `hh:mm:ss` of a time, UTC.
fn clock(ms: i64) -> String {
    let s = ms.div_euclid(1_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(start_ms: i64, symbol: &str) -> Row {
        let cells = [
            ("interval", "10s"),
            ("open", "1.5"),
            ("high", "2"),
            ("low", "1"),
            ("close", "1.25"),
            ("volume", "0.125"),
            ("count", "3"),
        ];
        let cells = cells.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let key = [
            ("time_ns".to_owned(), (start_ms * NS_PER_MS).to_string()),
            ("symbol".to_owned(), symbol.to_owned()),
        ];
        cells.into_iter().chain(key).collect()
    }

    fn table() -> Table {
        Table { colour: false, ..Table::new(0) }
    }

    #[test]
    fn each_candle_is_a_line_once_in_order_of_time() {
        let mut table = table();
        let lines = table.take(&[row(20_000, "tBTCUSD"), row(10_000, "tETHUSD")]).unwrap();
        assert_eq!(
            lines,
            [
                "00:00:10   tETHUSD       10s          1.5            2            1         1.25          0.125       3",
                "00:00:20   tBTCUSD       10s          1.5            2            1         1.25          0.125       3",
            ]
        );
        assert_eq!(Table::header().len(), lines[0].len());
        assert_eq!(table.take(&[row(20_000, "tBTCUSD"), row(20_000, "tETHUSD")]).unwrap().len(), 1);
        assert_eq!(table.shown(), 3);
    }

    #[test]
    fn old_windows_are_neither_kept_nor_asked_for() {
        let mut table = table();
        table.take(&[row(0, "tBTCUSD"), row(AGE_MS_MAX + 1_000, "tBTCUSD")]).unwrap();
        assert_eq!(table.recent.len(), 1);
        assert!(table.query("b").contains("time(v: 1000000000)"));
    }

    #[test]
    fn a_row_without_a_price_is_an_error_that_names_it() {
        let mut bad = row(0, "tBTCUSD");
        bad.remove("close");
        let error = table().take(&[bad]).unwrap_err().to_string();
        assert!(error.starts_with("a candle without close"), "{error}");
    }
}
