//! The text of queries, in Flux and in SQL: names and a range in, one table of candles with a column `time_ns` asked for.
//!
//! - Names are quoted, so that none can leave its place. (`names_cannot_leave_their_place`)

use candles_core::config::{CandlePoints, PointName};

use super::{NS_PER_MS, Range};

/// How far back InfluxDB 3 is searched for the newest candle: its Core edition limits the files that a query may read,
/// which is about three days. By the server's clock.
const V3_SEARCH: &str = "INTERVAL '1 day'";

/// Points of one measurement with one symbol and interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series<'a> {
    pub bucket: &'a str,
    pub names: &'a CandlePoints,
    pub measurement: &'a PointName,
    pub symbol: &'a str,
    pub interval: &'a str,
}

impl Series<'_> {
    /// All fields of a range, in Flux.
    pub fn flux(&self, range: Range) -> String {
        self.source(range)
            + " |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\") \
                |> group() |> sort(columns: [\"_time\"]) |> map(fn: (r) => ({r with time_ns: int(v: r._time)}))"
    }

    /// The newest time of a range, in Flux.
    pub fn newest_flux(&self, range: Range) -> String {
        format!(
            "{} |> filter(fn: (r) => r._field == {}) |> last() |> map(fn: (r) => ({{time_ns: int(v: r._time)}}))",
            self.source(range),
            string(self.names.fields.close.as_str())
        )
    }

    fn source(&self, range: Range) -> String {
        format!(
            "from(bucket: {}) |> range(start: time(v: {}), stop: time(v: {})) \
             |> filter(fn: (r) => r._measurement == {} and r[{}] == {} and r[{}] == {})",
            string(self.bucket),
            range.from_ms * NS_PER_MS,
            range.to_ms * NS_PER_MS,
            string(self.measurement.as_str()),
            string(self.names.symbol_tag.as_str()),
            string(self.symbol),
            string(self.names.interval_tag.as_str()),
            string(self.interval),
        )
    }

    /// All fields of a range, in SQL; the state only of live points, which have one.
    pub fn sql(&self, range: Range, live: bool) -> String {
        let fields = &self.names.fields;
        let numbers = [
            &fields.open,
            &fields.high,
            &fields.low,
            &fields.close,
            &fields.volume,
            &fields.quote_volume,
            &fields.buy_volume,
            &fields.vwap,
            &fields.count,
        ];
        let columns = numbers.into_iter().chain(live.then_some(&fields.state));
        let columns: Vec<String> = columns.map(|name| identifier(name.as_str())).collect();
        let nanoseconds = |ms: i64| format!("to_timestamp_nanos({})", ms * NS_PER_MS);
        format!(
            "SELECT CAST(time AS BIGINT) AS time_ns, {} FROM {} AND time >= {} AND time < {} ORDER BY time",
            columns.join(", "),
            self.condition(),
            nanoseconds(range.from_ms),
            nanoseconds(range.to_ms),
        )
    }

    /// The newest time of the last day, in SQL.
    pub fn newest_sql(&self) -> String {
        format!(
            "SELECT CAST(max(time) AS BIGINT) AS time_ns FROM {} AND time >= now() - {V3_SEARCH}",
            self.condition()
        )
    }

    fn condition(&self) -> String {
        format!(
            "{} WHERE {} = {} AND {} = {}",
            identifier(self.measurement.as_str()),
            identifier(self.names.symbol_tag.as_str()),
            literal(self.symbol),
            identifier(self.names.interval_tag.as_str()),
            literal(self.interval),
        )
    }
}

/// A string of Flux: `"`, `\` and `$` (interpolation is `${`) are escaped.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name in SQL.
fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A text in SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let names = CandlePoints::default();
        let measurement: PointName = "a\"b'c".to_owned().try_into().unwrap();
        let series = |symbol| Series {
            bucket: "x\"y",
            names: &names,
            measurement: &measurement,
            symbol,
            interval: "1m",
        };
        let range = Range { from_ms: 1, to_ms: 2 };
        let flux = series("${x}\"\\").flux(range);
        assert!(flux.contains(r#"from(bucket: "x\"y") |> range(start: time(v: 1000000), stop"#), "{flux}");
        assert!(flux.contains(r#"r._measurement == "a\"b'c" and r["symbol"] == "\${x}\"\\" and"#), "{flux}");
        let sql = series("x' OR '1'='1").sql(range, false);
        assert!(sql.contains(r#"FROM "a""b'c" WHERE "symbol" = 'x'' OR ''1''=''1' AND"#), "{sql}");
        assert!(!sql.contains("state") && series("x").sql(range, true).contains(r#""state" FROM"#));
    }
}
