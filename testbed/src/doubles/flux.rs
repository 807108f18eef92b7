//! The two shapes of Flux query that `candlectl` sends: text in, what is asked for out. Anything else is refused.
//!
//! `from(bucket) |> range(start, stop) |> filter(r._measurement == .. and r["tag"] == ..)`, and then what makes one
//! table with a column for each field and `time_ns`, or what leaves the newest `time_ns` of a field.

/// What makes one table of all fields.
const TABLE: &str = "pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\") |> group() \
                     |> sort(columns: [\"_time\"]) |> map(fn: (r) => ({r with time_ns: int(v: r._time)}))";

/// The newest time only, after a filter for one field.
const NEWEST: &str = ") |> last() |> map(fn: (r) => ({time_ns: int(v: r._time)}))";

/// What a query asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub bucket: String,
    /// ns since 1970-01-01 UTC.
    pub start_ns: i64,
    /// Points before this.
    pub stop_ns: i64,
    pub measurement: String,
    /// Tags and their values.
    pub tags: Vec<(String, String)>,
    /// Only the newest time.
    pub newest: bool,
}

/// Reads a query; the error says where it is another one.
pub(super) fn parse(text: &str) -> Result<Query, String> {
    let mut rest = Rest(text);
    rest.skip("from(bucket: ")?;
    let bucket = rest.string()?;
    rest.skip(") |> range(start: time(v: ")?;
    let start_ns = rest.number()?;
    rest.skip("), stop: time(v: ")?;
    let stop_ns = rest.number()?;
    rest.skip(")) |> filter(fn: (r) => r._measurement == ")?;
    let measurement = rest.string()?;
    let mut tags = Vec::new();
    while rest.skip(" and r[").is_ok() {
        let tag = rest.string()?;
        rest.skip("] == ")?;
        tags.push((tag, rest.string()?));
    }
    rest.skip(") |> ")?;
    let newest = rest.skip("filter(fn: (r) => r._field == ").is_ok();
    if newest {
        rest.string()?;
        rest.skip(NEWEST)?;
    } else {
        rest.skip(TABLE)?;
    }
    if rest.0.is_empty() {
        Ok(Query { bucket, start_ns, stop_ns, measurement, tags, newest })
    } else {
        Err(format!("not understood: {:?}", rest.0))
    }
}

struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn skip(&mut self, expected: &str) -> Result<(), String> {
        self.0 =
            self.0.strip_prefix(expected).ok_or_else(|| format!("expected {expected:?} at {:?}", self.0))?;
        Ok(())
    }

    fn number(&mut self) -> Result<i64, String> {
        let end = self.0.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(self.0.len());
        let (number, rest) = self.0.split_at(end);
        self.0 = rest;
        number.parse().map_err(|_| format!("{number:?} is no number"))
    }

    fn string(&mut self) -> Result<String, String> {
        self.skip("\"")?;
        let mut text = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(text);
                }
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                c => text.push(c),
            }
        }
        Err("a string does not end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_candlectl_asks_and_refuses_the_rest() {
        let text = |measurement: &str| {
            format!(
                "from(bucket: \"b\") |> range(start: time(v: -1), stop: time(v: 20)) |> filter(fn: (r) => \
                 r._measurement == {measurement} and r[\"symbol\"] == \"tBTCUSD\") |> {TABLE}"
            )
        };
        let query = Query {
            bucket: "b".to_owned(),
            start_ns: -1,
            stop_ns: 20,
            measurement: "a\"b\\".to_owned(),
            tags: vec![("symbol".to_owned(), "tBTCUSD".to_owned())],
            newest: false,
        };
        assert_eq!(parse(&text(r#""a\"b\\""#)), Ok(query));
        assert!(parse(&text("\"a").replace('$', "")).is_err());
        assert!(parse(&(text("\"a\"") + " |> limit(n: 1)")).unwrap_err().contains("limit"));
        assert!(parse("buckets()").unwrap_err().starts_with("expected \"from(bucket: "));
    }
}
