//! Fuzz targets: one function for each parser of outside input. Bytes in, nothing out; a wrong answer is a panic.
//!
//! Exists in tests, which run the targets on their corpus and on mutations of it, and in builds for libFuzzer
//! (`fuzz/README.md`). Every target takes any bytes, without panicking and without holding more memory than they
//! explain; what can be written back must read back as the same.

use candles_core::{
    avro::{self, TRADE_SCHEMA_JSON, TradeEncoder, TradeSchema},
    checkpoint::Checkpoint,
    config::PipelineConfig,
    interval::Interval,
    mark::Mark,
    symbol::Symbol,
};

pub use crate::{
    exchange::bitfinex::fuzz::{frame, history_page},
    registry::fuzz_answer as registry_answer,
    sink::influxdb::fuzz_error_body as sink_error_body,
};

/// A record's value with its header, by our schema and by one with an added field.
pub fn record(data: &[u8]) {
    let Ok((id, body)) = avro::split(data) else { return };
    let ours = TradeSchema::parse(TRADE_SCHEMA_JSON).expect("our own schema");
    let mut again = Vec::new();
    let written = ours.decode(body, |record| {
        assert_eq!(record.trade.check(), Ok(()), "an invalid trade was let through");
        TradeEncoder::new(id, record.exchange, record.symbol).encode(&record.trade, &mut again);
        (record.exchange.to_owned(), record.symbol.to_owned(), record.trade)
    });
    if let Ok((exchange, symbol, trade)) = written {
        let (same_id, body) = avro::split(&again).expect("what was written has a header");
        assert_eq!(same_id, id);
        let same = ours.decode(body, |record| {
            (record.exchange == exchange, record.symbol == symbol, record.trade == trade)
        });
        assert_eq!(same, Ok((true, true, true)), "written {trade:?}, read another");
    }
    let wider = TRADE_SCHEMA_JSON.replacen(
        "\"fields\": [",
        "\"fields\": [{\"name\": \"venue\", \"type\": [\"null\", \"string\"], \"default\": null},",
        1,
    );
    let wider = TradeSchema::parse(&wider).expect("our own schema with one more field");
    let _ = wider.decode(body, |record| assert_eq!(record.trade.check(), Ok(())));
}

/// A writer schema from the registry, and a record by it: the text up to the first zero byte, then the body.
pub fn schema(data: &[u8]) {
    let (text, body) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let _ = avro::check_evolution(text, TRADE_SCHEMA_JSON);
    if let Ok(schema) = TradeSchema::parse(text) {
        let _ = schema.decode(body, |record| assert_eq!(record.trade.check(), Ok(())));
    }
}

/// A configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = PipelineConfig::from_yaml(text) {
        // YAML has JSON in it.
        let written = serde_json::to_string(&config).expect("a configuration is plain data");
        assert_eq!(PipelineConfig::from_yaml(&written).as_ref(), Ok(&config), "written as {written}");
    }
}

/// Symbols, intervals, marks and the metadata of commits: the texts of records, files and offsets.
pub fn texts(data: &[u8]) {
    let mark = Mark::from_headers([("until", data), ("trace", b"x")]);
    if let Ok(mark) = mark {
        let (name, value) = mark.header();
        assert_eq!(Mark::from_headers([(name, value.as_bytes())]), Ok(mark));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(symbol) = Symbol::new(text) {
        assert_eq!(symbol.as_str(), text);
        assert!(
            !text.contains(|c: char| c.is_control() || " ,=\\\"$".contains(c)),
            "{text:?} could leave its place"
        );
    }
    let _ = Symbol::bitfinex_pair(text);
    if let Ok(interval) = text.parse::<Interval>() {
        assert_eq!(interval.to_string().parse(), Ok(interval));
        let start_ms = interval.window_start_ms(1_767_225_600_000);
        assert!(start_ms <= 1_767_225_600_000 && 1_767_225_600_000 < start_ms + interval.length_ms());
    }
    if let Ok(checkpoint) = Checkpoint::decode(text) {
        // By its text: one of an earlier release says less than its entries could.
        let (written, again) = (checkpoint.encode(), Checkpoint::decode(&checkpoint.encode()));
        assert_eq!(again.map(|again| again.encode()), Ok(written));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candles_testbed::fuzz::{Counting, fuzz};

    #[global_allocator]
    static COUNTING: Counting = Counting;

    fn corpus(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name)
    }

    #[test]
    fn any_frame_is_understood_or_refused() {
        fuzz(&corpus("frame"), super::frame).unwrap();
    }

    #[test]
    fn any_page_of_history_is_understood_or_refused() {
        fuzz(&corpus("history_page"), super::history_page).unwrap();
    }

    #[test]
    fn any_record_is_decoded_or_refused() {
        fuzz(&corpus("record"), super::record).unwrap();
    }

    #[test]
    fn any_writer_schema_is_resolved_or_refused() {
        fuzz(&corpus("schema"), super::schema).unwrap();
    }

    #[test]
    fn any_answer_of_a_registry_is_understood_or_refused() {
        fuzz(&corpus("registry_answer"), super::registry_answer).unwrap();
    }

    #[test]
    fn any_error_of_a_database_is_understood() {
        fuzz(&corpus("sink_error_body"), super::sink_error_body).unwrap();
    }

    #[test]
    fn any_configuration_is_read_or_refused() {
        fuzz(&corpus("config"), super::config).unwrap();
    }

    #[test]
    fn symbols_intervals_marks_and_metadata_read_back_as_written() {
        fuzz(&corpus("texts"), super::texts).unwrap();
    }
}
