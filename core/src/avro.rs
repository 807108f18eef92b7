//! Record values of the topic: Confluent framing around one Avro trade.
//!
//! A [`Trade`] in, bytes out ([`TradeEncoder`]); bytes in, a [`TradeRecord`] out ([`TradeSchema::decode`]).
//! The schema of this release is coded by hand, since every trade passes here; any other writer schema goes
//! through `apache-avro` and schema resolution. Fetching schemas by id is the worker's job.
//!
//! - Hand-written bytes equal those of `apache-avro`, both ways. (`bytes_equal_those_of_apache_avro`)
//! - No input makes it panic or allocate more than [`VALUE_BYTES_MAX`]. (`hostile_bytes_are_refused`)

mod any;

use std::sync::LazyLock;

use apache_avro::{
    Schema,
    reader::datum::GenericDatumReader,
    schema_compatibility::{Compatibility, SchemaCompatibility},
    types::Value,
};

pub use self::any::AnySchema;
use crate::trade::{InvalidTrade, Trade, TradeRecord};
/// A decoded value of any Avro type.
pub use apache_avro::types::Value as AvroValue;

/// The schema that this release writes, as registered: `schemas/trade.avsc`.
pub const TRADE_SCHEMA_JSON: &str = include_str!("../../schemas/trade.avsc");
/// Magic byte and schema id before the Avro body.
pub const HEADER_BYTES: usize = 5;
/// Longest record value that is decoded. Ours have about 70 bytes; schemas of others may add fields.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Longest writer schema text that is parsed.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of a writer schema: `apache-avro` 0.22 recurses without a limit of its own.
const SCHEMA_DEPTH_MAX: usize = 32;
const MAGIC: u8 = 0;

static TRADE_SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse_str(TRADE_SCHEMA_JSON).expect("schemas/trade.avsc is checked by tests"));

/// Why a record value holds no trade. All are permanent: the bytes will never get better.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its header.
    #[error("value of {0} bytes is too short for a schema id")]
    TooShort(usize),
    /// Longer than [`VALUE_BYTES_MAX`].
    #[error("value of {0} bytes is longer than {VALUE_BYTES_MAX}")]
    TooLong(usize),
    /// The first byte is not 0: not written by a client of a schema registry.
    #[error("first byte is {0:#04x}, not the magic byte 0x00 of the schema registry's framing")]
    Magic(u8),
    /// The body ends early, has bytes left, or is not what its schema says.
    #[error("Avro body does not fit its schema: {0}")]
    Body(String),
    /// Decoded, but it cannot be true.
    #[error("invalid trade: {0}")]
    Invalid(#[from] InvalidTrade),
}

/// Why a writer schema cannot be read as a trade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Larger or deeper than any schema of a trade.
    #[error(
        "schema has {bytes} bytes and nesting {depth}; allowed are {SCHEMA_BYTES_MAX} and {SCHEMA_DEPTH_MAX}"
    )]
    TooLarge {
        /// Length of the text.
        bytes: usize,
        /// Deepest nesting of objects and arrays.
        depth: usize,
    },
    /// No Avro schema.
    #[error("not an Avro schema: {0}")]
    Parse(String),
    /// An Avro schema whose records cannot be resolved to a trade.
    #[error("schema cannot be read as dev.candles.Trade: {0}")]
    Incompatible(String),
}

/// Splits a record value into the schema id and the Avro body.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match value {
        [MAGIC, a, b, c, d, body @ ..] if value.len() <= VALUE_BYTES_MAX => {
            Ok((u32::from_be_bytes([*a, *b, *c, *d]), body))
        }
        [MAGIC, _, _, _, _, ..] => Err(DecodeError::TooLong(value.len())),
        _ if value.len() < HEADER_BYTES => Err(DecodeError::TooShort(value.len())),
        _ => Err(DecodeError::Magic(value[0])),
    }
}

/// Writes the trades of one symbol: what never changes is kept as a prefix.
#[derive(Debug, Clone)]
pub struct TradeEncoder {
    prefix: Vec<u8>,
}

impl TradeEncoder {
    /// `schema_id` is the registry's id of [`TRADE_SCHEMA_JSON`].
    pub fn new(schema_id: u32, exchange: &str, symbol: &str) -> Self {
        let mut prefix = vec![MAGIC];
        prefix.extend_from_slice(&schema_id.to_be_bytes());
        for text in [exchange, symbol] {
            put_long(&mut prefix, text.len() as i64);
            prefix.extend_from_slice(text.as_bytes());
        }
        Self { prefix }
    }

    /// Replaces the contents of `value` by the record value of `trade`.
    pub fn encode(&self, trade: &Trade, value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(&self.prefix);
        put_long(value, trade.id);
        put_long(value, trade.time_ms);
        value.extend_from_slice(&trade.price.to_le_bytes());
        value.extend_from_slice(&trade.amount.to_le_bytes());
        put_long(value, trade.received_us);
    }
}

/// A writer schema, ready to decode bodies.
#[derive(Debug)]
pub struct TradeSchema(Writer);

#[derive(Debug)]
enum Writer {
    /// Same fields in the same order as ours: the hand-written decoder reads it.
    Ours,
    /// Read with its own schema, then resolved to ours.
    Other(Box<Schema>),
}

impl TradeSchema {
    /// Checks that records of this schema can be read as trades.
    pub fn parse(json: &str) -> Result<Self, SchemaError> {
        let depth = nesting(json);
        if json.len() > SCHEMA_BYTES_MAX || depth > SCHEMA_DEPTH_MAX {
            return Err(SchemaError::TooLarge { bytes: json.len(), depth });
        }
        let schema = Schema::parse_str(json).map_err(|e| SchemaError::Parse(e.to_string()))?;
        if same_layout(&schema, &TRADE_SCHEMA) {
            return Ok(Self(Writer::Ours));
        }
        SchemaCompatibility::can_read(&schema, &TRADE_SCHEMA)
            .map_err(|e| SchemaError::Incompatible(e.to_string()))?;
        Ok(Self(Writer::Other(Box::new(schema))))
    }

    /// Decodes and checks an Avro body (without the header of [`split`]) and hands the trade to `with`.
    pub fn decode<T>(&self, body: &[u8], with: impl FnOnce(TradeRecord<'_>) -> T) -> Result<T, DecodeError> {
        let record = match &self.0 {
            Writer::Ours => decode_ours(body).ok_or_else(|| {
                DecodeError::Body(format!("{} bytes are no trade of schemas/trade.avsc", body.len()))
            })?,
            Writer::Other(schema) => {
                let value = read_value(schema, body)?;
                let record = from_value(&value)
                    .ok_or_else(|| DecodeError::Body("record lacks a field of a trade".to_owned()))?;
                record.trade.check()?;
                return Ok(with(record));
            }
        };
        record.trade.check()?;
        Ok(with(record))
    }
}

/// Whether two versions of a schema can each read what the other wrote; the error says what stands against it.
pub fn check_evolution(existing: &str, new: &str) -> Result<(), String> {
    if nesting(existing) > SCHEMA_DEPTH_MAX || existing.len() > SCHEMA_BYTES_MAX {
        return Err("the registered schema is larger or deeper than any schema of a trade".to_owned());
    }
    let parse = |json: &str| Schema::parse_str(json).map_err(|e| e.to_string());
    match SchemaCompatibility::mutual_read(&parse(existing)?, &parse(new)?) {
        Ok(Compatibility::Full) => Ok(()),
        Ok(Compatibility::Partial) => {
            Err("only some records of one schema can be read with the other".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn same_layout(a: &Schema, b: &Schema) -> bool {
    let (Schema::Record(a), Schema::Record(b)) = (a, b) else { return false };
    a.fields.len() == b.fields.len()
        && a.fields.iter().zip(&b.fields).all(|(x, y)| {
            x.name == y.name && std::mem::discriminant(&x.schema) == std::mem::discriminant(&y.schema)
        })
}

/// Deepest nesting of braces and brackets outside strings.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn decode_ours(body: &[u8]) -> Option<TradeRecord<'_>> {
    let mut rest = body;
    let exchange = take_str(&mut rest)?;
    let symbol = take_str(&mut rest)?;
    let trade = Trade {
        id: take_long(&mut rest)?,
        time_ms: take_long(&mut rest)?,
        price: take_double(&mut rest)?,
        amount: take_double(&mut rest)?,
        received_us: take_long(&mut rest)?,
    };
    rest.is_empty().then_some(TradeRecord { exchange, symbol, trade })
}

/// Zigzag variable-length long. Source: Avro specification, "Binary Encoding".
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline]
fn take_long(rest: &mut &[u8]) -> Option<i64> {
    let (mut zigzag, mut shift) = (0_u64, 0);
    let mut bytes = *rest;
    loop {
        let (&byte, tail) = bytes.split_first()?;
        bytes = tail;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return None;
            }
            *rest = bytes;
            return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

#[inline]
fn take_double(rest: &mut &[u8]) -> Option<f64> {
    let (bytes, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(f64::from_le_bytes(*bytes))
}

#[inline]
fn take_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take_long(rest)?).ok()?;
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}

fn read_value(writer: &Schema, body: &[u8]) -> Result<Value, DecodeError> {
    apache_avro::util::max_allocation_bytes(VALUE_BYTES_MAX);
    let mut rest = body;
    let error = |e: apache_avro::Error| DecodeError::Body(e.to_string());
    let reader = GenericDatumReader::builder(writer).reader_schema(&TRADE_SCHEMA).build().map_err(error)?;
    let value = reader.read_value(&mut rest).map_err(error)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Body(format!("{} bytes left over", rest.len())))
    }
}

fn from_value(value: &Value) -> Option<TradeRecord<'_>> {
    let Value::Record(fields) = value else { return None };
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v);
    let text = |name| if let Value::String(s) = field(name)? { Some(s.as_str()) } else { None };
    let double = |name| if let Value::Double(x) = field(name)? { Some(*x) } else { None };
    let long = |name| match field(name)? {
        Value::Long(n) | Value::TimestampMillis(n) | Value::TimestampMicros(n) => Some(*n),
        _ => None,
    };
    let trade = Trade {
        id: long("id")?,
        time_ms: long("time")?,
        price: double("price")?,
        amount: double("amount")?,
        received_us: long("received")?,
    };
    Some(TradeRecord { exchange: text("exchange")?, symbol: text("symbol")?, trade })
}

#[cfg(test)]
mod tests {
    use apache_avro::writer::datum::GenericDatumWriter;
    use proptest::prelude::*;

    use super::*;

    fn trades() -> impl Strategy<Value = Trade> {
        let time = crate::trade::TIME_MS_MIN..crate::trade::TIME_MS_MAX;
        (0..=i64::MAX, time, 1e-12..1e12_f64, -1e9..1e9_f64, any::<i64>()).prop_map(
            |(id, time_ms, price, amount, received_us)| Trade {
                id,
                time_ms,
                price,
                amount: if amount == 0.0 { 1.0 } else { amount },
                received_us,
            },
        )
    }

    fn avro_value(record: &TradeRecord<'_>) -> Value {
        let trade = record.trade;
        Value::Record(vec![
            ("exchange".into(), Value::String(record.exchange.into())),
            ("symbol".into(), Value::String(record.symbol.into())),
            ("id".into(), Value::Long(trade.id)),
            ("time".into(), Value::TimestampMillis(trade.time_ms)),
            ("price".into(), Value::Double(trade.price)),
            ("amount".into(), Value::Double(trade.amount)),
            ("received".into(), Value::TimestampMicros(trade.received_us)),
        ])
    }

    fn write(schema: &Schema, value: Value) -> Vec<u8> {
        let mut body = Vec::new();
        GenericDatumWriter::builder(schema).build().unwrap().write_value(&mut body, value).unwrap();
        body
    }

    /// The schema of this release with `change` made to its JSON text.
    fn evolved(from: &str, to: &str) -> String {
        assert!(TRADE_SCHEMA_JSON.contains(from));
        TRADE_SCHEMA_JSON.replace(from, to)
    }

    const TRADE: Trade = Trade {
        id: 7,
        time_ms: 1_570_752_011_620,
        price: 0.5,
        amount: -2.0,
        received_us: 1_570_752_011_700_000,
    };
    const RECORD: TradeRecord<'static> =
        TradeRecord { exchange: "bitfinex", symbol: "tBTCUSD", trade: TRADE };

    proptest! {
        #[test]
        fn bytes_equal_those_of_apache_avro(trade in trades(), symbol in "[a-zA-Z:é]{0,20}") {
            let record = TradeRecord { exchange: "bitfinex", symbol: &symbol, trade };
            let mut value = Vec::new();
            TradeEncoder::new(42, "bitfinex", &symbol).encode(&trade, &mut value);
            let (id, body) = split(&value).unwrap();
            prop_assert_eq!(id, 42);
            prop_assert_eq!(body, &write(&TRADE_SCHEMA, avro_value(&record))[..]);
            let ours = TradeSchema::parse(TRADE_SCHEMA_JSON).unwrap();
            prop_assert!(matches!(ours.0, Writer::Ours));
            ours.decode(body, |read| assert_eq!(read, record)).unwrap();
        }

        #[test]
        fn hostile_bytes_are_refused(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let ours = TradeSchema::parse(TRADE_SCHEMA_JSON).unwrap();
            let other = TradeSchema(Writer::Other(Box::new(TRADE_SCHEMA.clone())));
            let by_hand = ours.decode(&body, |r| format!("{r:?}"));
            let by_library = other.decode(&body, |r| format!("{r:?}"));
            if by_hand.is_ok() {
                prop_assert_eq!(by_hand, by_library);
            }
        }
    }

    #[test]
    fn every_cut_of_a_body_is_refused() {
        let body = write(&TRADE_SCHEMA, avro_value(&RECORD));
        let ours = TradeSchema::parse(TRADE_SCHEMA_JSON).unwrap();
        for cut in 0..body.len() {
            assert!(matches!(ours.decode(&body[..cut], |_| ()), Err(DecodeError::Body(_))), "cut at {cut}");
        }
        let longer = [&body[..], b"x"].concat();
        assert!(matches!(ours.decode(&longer, |_| ()), Err(DecodeError::Body(_))));
    }

    #[test]
    fn header_is_checked_before_the_body() {
        assert_eq!(split(b""), Err(DecodeError::TooShort(0)));
        assert_eq!(split(&[0, 0, 0, 1]), Err(DecodeError::TooShort(4)));
        assert_eq!(split(b"{\"price\":1}"), Err(DecodeError::Magic(b'{')));
        assert_eq!(split(&vec![0; VALUE_BYTES_MAX + 1]), Err(DecodeError::TooLong(VALUE_BYTES_MAX + 1)));
        assert_eq!(split(&[0, 0, 0, 1, 2, 9]), Ok((258, &[9_u8][..])));
    }

    #[test]
    fn reads_records_of_a_schema_with_another_field_order_and_more_fields() {
        let writer = r#"{"type":"record","name":"Trade","namespace":"dev.candles","fields":[
            {"name":"venue","type":["null","string"],"default":null},
            {"name":"amount","type":"double"},{"name":"price","type":"double"},{"name":"id","type":"int"},
            {"name":"received","type":{"type":"long","logicalType":"timestamp-micros"}},
            {"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}},
            {"name":"symbol","type":"string"},{"name":"exchange","type":"string"}]}"#;
        let body = write(
            &Schema::parse_str(writer).unwrap(),
            Value::Record(vec![
                ("venue".into(), Value::Union(1, Box::new(Value::String("x".into())))),
                ("amount".into(), Value::Double(TRADE.amount)),
                ("price".into(), Value::Double(TRADE.price)),
                ("id".into(), Value::Int(7)),
                ("received".into(), Value::TimestampMicros(TRADE.received_us)),
                ("time".into(), Value::TimestampMillis(TRADE.time_ms)),
                ("symbol".into(), Value::String("tBTCUSD".into())),
                ("exchange".into(), Value::String("bitfinex".into())),
            ]),
        );
        TradeSchema::parse(writer).unwrap().decode(&body, |read| assert_eq!(read, RECORD)).unwrap();
    }

    #[test]
    fn schemas_that_are_no_trade_are_refused() {
        let no_price = evolved(r#""name": "price""#, r#""name": "cost""#);
        assert!(matches!(TradeSchema::parse(&no_price), Err(SchemaError::Incompatible(_))));
        assert!(matches!(TradeSchema::parse("{"), Err(SchemaError::Parse(_))));
        assert!(matches!(TradeSchema::parse(&"[".repeat(40)), Err(SchemaError::TooLarge { depth: 40, .. })));
        let long = format!(r#""{}""#, "x".repeat(SCHEMA_BYTES_MAX));
        assert!(matches!(TradeSchema::parse(&long), Err(SchemaError::TooLarge { .. })));
    }

    #[test]
    fn a_field_without_default_breaks_the_evolution_of_the_schema() {
        let venue = r#"{"name": "venue", "type": "string"}, {"name": "id","#;
        let with_default = venue.replace("\"string\"", "\"string\", \"default\": \"\"");
        assert_eq!(check_evolution(&evolved(r#"{"name": "id","#, &with_default), TRADE_SCHEMA_JSON), Ok(()));
        assert!(check_evolution(&evolved(r#"{"name": "id","#, venue), TRADE_SCHEMA_JSON).is_err());
    }

    #[test]
    fn what_cannot_be_true_is_refused_after_decoding() {
        let record = TradeRecord { trade: Trade { price: 0.0, ..TRADE }, ..RECORD };
        let ours = TradeSchema::parse(TRADE_SCHEMA_JSON).unwrap();
        let body = write(&TRADE_SCHEMA, avro_value(&record));
        assert_eq!(ours.decode(&body, |_| ()), Err(DecodeError::Invalid(InvalidTrade::Price(0.0))));
    }
}
