//! Records of a topic, decoded: a topic and where to start in, what each record holds out. Blocks while it waits.
//!
//! A value is Avro with a schema of the registry, a mark, text, or bytes; one that cannot be decoded says why. None
//! stops the reading. (`values_say_what_they_are`)

use std::collections::HashMap;
use std::time::Duration;

use candles_core::avro::{self, AnySchema};
use candles_core::mark::Mark;
use candles_workers::registry::{Registry, RegistryError};
use candles_workers::runtime::chain;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use serde::Serialize;
use serde_json::Value as Json;
use tokio::runtime::Handle;

use super::topics::{Partition, Topic};
use super::{Cluster, LastWords, Offsets};

/// Bytes of a value or header that are shown of what is neither Avro nor text.
const SHOWN_BYTES_MAX: usize = 256;
/// Characters of a text that are shown.
const SHOWN_CHARS_MAX: usize = 4_096;
/// Different schemas that are kept.
const SCHEMAS_MAX: usize = 1_000;

/// A record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Number of the partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Kafka's time (ms), which for ours is the time of publishing.
    pub timestamp_ms: Option<i64>,
    /// Its key, as text.
    pub key: Option<String>,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Its value.
    #[serde(flatten)]
    pub content: Content,
}

/// What the value of a record is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Content {
    /// Avro in Confluent's framing.
    Avro {
        /// Id of the writer's schema.
        #[serde(rename = "schemaId")]
        schema_id: u32,
        /// The decoded value.
        value: Json,
    },
    /// A mark of the producer: no value, a header that says up to or from when the log is complete.
    Mark {
        /// `until` or `from`.
        mark: &'static str,
        /// ms since 1970-01-01 UTC.
        time: i64,
    },
    /// No value and no mark.
    Null,
    /// Text, or bytes in hexadecimal digits; why it is not decoded.
    Raw {
        /// Its beginning.
        value: String,
        /// What stands against decoding.
        problem: String,
    },
}

/// Where to start in each partition.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// At the oldest record.
    Beginning,
    /// So many records before the end.
    Last(i64),
}

/// A reader of all partitions of one topic.
pub struct Reader {
    consumer: BaseConsumer<LastWords>,
    schemas: Schemas,
}

/// Schemas by id, fetched as they are met.
struct Schemas {
    registry: Registry,
    runtime: Handle,
    known: HashMap<u32, Result<AnySchema, String>>,
}

/// What the log said.
#[derive(Debug)]
pub enum Read {
    /// A record.
    Record(Record),
    /// There is nothing more in this partition for now.
    End(i32),
    /// Nothing for a while.
    Nothing,
    /// The client said something is wrong; it goes on by itself.
    Problem(String),
}

impl Reader {
    /// Reads `topic`; the brokers must be reachable. `partition`: only this one.
    pub fn new(
        cluster: &Cluster,
        registry: Registry,
        topic: &Topic,
        partition: Option<i32>,
        start: Start,
    ) -> anyhow::Result<Self> {
        let wanted = topic.partitions.iter().filter(|p| partition.is_none_or(|wanted| wanted == p.id));
        let offset = |p: &Partition| match (start, p.first, p.end) {
            (Start::Last(count), Some(first), Some(end)) => (p.id, (end - count).max(first)),
            // A partition that does not tell: from its beginning, whatever that is.
            _ => (p.id, p.first.unwrap_or(0)),
        };
        let starts: Offsets = wanted.map(offset).collect();
        anyhow::ensure!(
            !starts.is_empty(),
            "topic {} has no partition {}",
            topic.name,
            partition.unwrap_or_default()
        );
        let consumer = cluster.reader(&topic.name, &starts)?;
        let schemas = Schemas { registry, runtime: Handle::current(), known: HashMap::new() };
        Ok(Self { consumer, schemas })
    }

    /// The next record, or nothing after `wait`. Not to be called from an asynchronous task.
    pub fn next(&mut self, wait: Duration) -> Read {
        match self.consumer.poll(wait) {
            None => Read::Nothing,
            Some(Err(KafkaError::PartitionEOF(partition))) => Read::End(partition),
            // Of no use here, so not needed.
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed))) => {
                Read::Nothing
            }
            Some(Err(error)) => {
                let words = self.consumer.context().take();
                Read::Problem(words.unwrap_or_else(|| error.to_string()))
            }
            Some(Ok(message)) => Read::Record(record(&mut self.schemas, &message)),
        }
    }
}

fn record(schemas: &mut Schemas, message: &BorrowedMessage<'_>) -> Record {
    let pairs: Vec<(&str, &[u8])> = message
        .headers()
        .map(|headers| headers.iter().map(|h| (h.key, h.value.unwrap_or_default())).collect())
        .unwrap_or_default();
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(shown),
        content: content(message.payload(), &pairs, |id| schemas.get(id)),
        headers: pairs.iter().map(|(name, value)| ((*name).to_owned(), shown(value))).collect(),
    }
}

impl Schemas {
    fn get(&mut self, id: u32) -> Result<&AnySchema, String> {
        if self.known.len() >= SCHEMAS_MAX {
            self.known.clear();
        }
        if !self.known.contains_key(&id) {
            let schema = match self.runtime.block_on(self.registry.schema(id)) {
                Ok(text) => AnySchema::parse(&text).map_err(|e| format!("schema id {id}: {}", chain(&e))),
                // This may pass: the next record asks again.
                Err(error @ RegistryError::Transient { .. }) => return Err(chain(&error)),
                Err(error) => Err(chain(&error)),
            };
            self.known.insert(id, schema);
        }
        self.known[&id].as_ref().map_err(Clone::clone)
    }
}

fn content<'s>(
    value: Option<&[u8]>,
    headers: &[(&str, &[u8])],
    schema: impl FnOnce(u32) -> Result<&'s AnySchema, String>,
) -> Content {
    let Some(value) = value else {
        return match Mark::from_headers(headers.iter().copied()) {
            Ok(Mark::Until(time)) => Content::Mark { mark: "until", time },
            Ok(Mark::From(time)) => Content::Mark { mark: "from", time },
            Err(_) => Content::Null,
        };
    };
    let decoded = avro::split(value).map_err(|e| e.to_string()).and_then(|(schema_id, body)| {
        let decoded = schema(schema_id)?.decode(body).map_err(|e| e.to_string())?;
        let value = Json::try_from(decoded).map_err(|e| e.to_string())?;
        Ok(Content::Avro { schema_id, value })
    });
    decoded.unwrap_or_else(|problem| Content::Raw { value: shown(value), problem })
}

/// Text as it is; other bytes in hexadecimal digits. Long ones are cut.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().nth(SHOWN_CHARS_MAX).is_none() => text.to_owned(),
        Ok(text) => text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect(),
        Err(_) => {
            let digits = bytes.iter().take(SHOWN_BYTES_MAX).map(|byte| format!("{byte:02x}"));
            let cut = if bytes.len() > SHOWN_BYTES_MAX { "…" } else { "" };
            format!("0x{}{cut}", digits.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use candles_core::avro::{TRADE_SCHEMA_JSON, TradeEncoder};
    use candles_core::trade::Trade;

    use super::*;

    #[test]
    fn values_say_what_they_are() {
        let schema = AnySchema::parse(TRADE_SCHEMA_JSON).unwrap();
        let trade = Trade { id: 7, time_ms: 1_570_752_011_620, price: 2e-8, amount: -1.5, received_us: 3 };
        let mut value = Vec::new();
        TradeEncoder::new(5, "bitfinex", "tBTCUSD").encode(&trade, &mut value);
        let Content::Avro { schema_id: 5, value: json } = content(Some(&value), &[], |_| Ok(&schema)) else {
            panic!("a trade is Avro");
        };
        assert_eq!(json["price"], 2e-8);
        assert_eq!(json["id"], 7);

        let until = [("until", &b"1570752000000"[..])];
        assert_eq!(
            content(None, &until, |_| Ok(&schema)),
            Content::Mark { mark: "until", time: 1_570_752_000_000 }
        );
        assert_eq!(content(None, &[], |_| Ok(&schema)), Content::Null);
        let raw = |bytes: &[u8]| match content(Some(bytes), &[], |_| Err("no schema".to_owned())) {
            Content::Raw { value, problem } => (value, problem),
            other => panic!("{other:?}"),
        };
        assert_eq!(raw(b"hello").0, "hello");
        assert!(raw(b"hello").1.contains("magic byte"), "{:?}", raw(b"hello"));
        assert_eq!(raw(&[0, 0, 0, 0, 9, 0xff]), ("0x0000000009ff".to_owned(), "no schema".to_owned()));
        assert!(raw(&[0xff; 300]).0.ends_with("ff…"));
    }
}
