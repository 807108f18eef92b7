//! What really happened, for a judge. The trades themselves follow from the markets (see `market`); this
//! keeps what does not: which frames were lost on the way, and the log file. Bounded.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::row::Row;

/// Lost frames remembered; beyond it further ones are only counted.
const LOST_MAX: usize = 1_000_000;
/// Trades that one query returns at most.
pub(crate) const QUERY_MAX: usize = 5_000_000;

/// One trade that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrueTrade {
    /// The symbol.
    pub symbol: String,
    /// The exchange's id.
    pub id: i64,
    /// The exchange's time.
    pub ms: i64,
    /// Number text exactly as served.
    pub price: String,
    /// Number text exactly as served; negative: the taker sold.
    pub amount: String,
    /// REST history has it, now or once the configured lag has passed: it lies in no history hole and
    /// its symbol is listed. In the log file as of the trade's own time; a hole made later follows as
    /// `{"hole":SYMBOL,"start_ms":..,"end_ms":..}`.
    pub history: bool,
    /// At least one connection that was subscribed did not get its `te`.
    #[serde(default)]
    pub te_lost: bool,
    /// The same for its `tu`.
    #[serde(default)]
    pub tu_lost: bool,
}

/// Which trades to tell about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruthQuery {
    /// Only this symbol.
    pub symbol: Option<String>,
    /// First ms, inclusive; default: the exchange's start. Earlier: history from before it.
    pub start_ms: Option<i64>,
    /// Last ms, inclusive; default: now.
    pub end_ms: Option<i64>,
    /// Oldest so many of each symbol.
    pub limit: Option<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    file: Option<BufWriter<File>>,
    lost: HashMap<(usize, i64), u8>,
    pub happened: u64,
    pub frames_lost: u64,
}

impl Truth {
    pub fn new(log: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = File::create(path).with_context(|| format!("create truth log {}", path.display()))?;
            anyhow::Ok(BufWriter::with_capacity(1 << 20, file))
        };
        Ok(Self { file: log.map(open).transpose()?, ..Self::default() })
    }

    pub fn happened(&mut self, symbol: &str, row: &Row, history: bool) {
        self.happened += 1;
        if let Some(file) = &mut self.file {
            let (price, amount) = (row.price.text(), row.amount.text());
            let line = writeln!(
                file,
                r#"{{"symbol":"{symbol}","id":{},"ms":{},"price":"{price}","amount":"{amount}","history":{history}}}"#,
                row.id, row.ms
            );
            self.check(line);
        }
    }

    /// A hole made after the trades in it were logged.
    pub fn hole(&mut self, symbol: &str, start_ms: i64, end_ms: i64) {
        if let Some(file) = &mut self.file {
            let line = writeln!(file, r#"{{"hole":"{symbol}","start_ms":{start_ms},"end_ms":{end_ms}}}"#);
            self.check(line);
        }
    }

    pub fn lost(&mut self, symbol: usize, id: i64, tu: bool) {
        self.frames_lost += 1;
        if self.lost.len() < LOST_MAX {
            *self.lost.entry((symbol, id)).or_default() |= 1 << u8::from(tu);
        }
    }

    pub fn tell(&self, symbol: usize, name: &str, row: &Row, history: bool) -> TrueTrade {
        let lost = self.lost.get(&(symbol, row.id)).copied().unwrap_or_default();
        TrueTrade {
            symbol: name.into(),
            id: row.id,
            ms: row.ms,
            price: row.price.text(),
            amount: row.amount.text(),
            history,
            te_lost: lost & 1 != 0,
            tu_lost: lost & 2 != 0,
        }
    }

    pub fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            let flushed = file.flush();
            self.check(flushed);
        }
    }

    /// A log that cannot be written is worthless: say so once and stop.
    fn check(&mut self, result: std::io::Result<()>) {
        if let Err(error) = result {
            tracing::error!(%error, "truth log not writable, closed");
            self.file = None;
        }
    }
}
