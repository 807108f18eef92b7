//! What Grafana does with a query before a database sees it: a dashboard's text, its variables and a time range in, the
//! query out. After `applyTemplateVariables` of its InfluxDB data source and the macros of its back end.

use jiff::Timestamp;

/// Values of a dashboard's variables by name, and the time range, in ms.
pub struct View<'a> {
    pub variables: &'a [(&'a str, &'a str)],
    pub from_ms: i64,
    pub to_ms: i64,
}

impl View<'_> {
    /// `v.*` become literals.
    pub fn flux(&self, query: &str, bucket: &str) -> String {
        self.variables(query)
            .replace("v.timeRangeStart", &rfc3339(self.from_ms))
            .replace("v.timeRangeStop", &rfc3339(self.to_ms))
            .replace("v.defaultBucket", &format!("{bucket:?}"))
    }

    /// `$timeFilter` is a variable.
    pub fn influxql(&self, query: &str) -> String {
        // For this language Grafana sets a variable `interval` of its own, which hides a dashboard's.
        assert!(self.variables.iter().all(|(name, _)| *name != "interval"));
        let filter = format!("time >= {}ms and time <= {}ms", self.from_ms, self.to_ms);
        self.variables(query).replace("$timeFilter", &filter)
    }

    /// Macros begin with `$__`.
    pub fn sql(&self, query: &str) -> String {
        let (from, to) = (rfc3339(self.from_ms), rfc3339(self.to_ms));
        self.variables(query)
            .replace("$__timeFilter(time)", &format!("time >= '{from}' AND time <= '{to}'"))
            .replace("$__timeFrom", &format!("cast('{from}' as timestamp)"))
            .replace("$__timeTo", &format!("cast('{to}' as timestamp)"))
    }

    fn variables(&self, query: &str) -> String {
        let all = self.variables.iter();
        let replaced =
            all.fold(query.to_owned(), |query, (name, value)| query.replace(&format!("${{{name}}}"), value));
        assert!(!replaced.contains("${"), "a variable that the dashboard does not have: {replaced}");
        replaced
    }
}

fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap().to_string()
}
