//! Everything that is checked at admission and that bounds and patterns alone cannot say: CEL rules with their messages.
//!
//! - Each rule is cheap: the texts, lists and maps that it walks are bounded in the schema. An API server refuses a
//!   resource definition with a rule that could cost too much.
//! - Each has an example in `examples/invalid/` that shows its message.
//! - A message never repeats a value that may hold a secret, nor one that may hold a line break.

use kube::core::{Message, Reason, Rule};
use serde_json::{Value, json};

/// A length of time: a whole number and a unit.
pub const DURATION_PATTERN: &str = r"^[0-9]{1,12}(ms|s|m|h|d)$";
/// Name of a measurement, tag or field: no control character, no backslash, neither `_` nor `#` at its start.
pub const POINT_NAME_PATTERN: &str = r"^[^_#\\\x00-\x1f\x7f-\x9f][^\\\x00-\x1f\x7f-\x9f]*$";
/// One line, without control characters.
pub const PRINTABLE_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// Value of a label.
pub const LABEL_VALUE_PATTERN: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// Settings of a topic that a pipeline may set, besides those with a field of their own. `cleanup.policy` is not among
/// them: a compacted log loses trades.
const TOPIC_NUMBERS: [&str; 12] = [
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "local.retention.bytes",
    "local.retention.ms",
    "max.message.bytes",
    "retention.bytes",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
];

/// Schema of the values of a map.
pub fn texts(length_max: u32, pattern: &str) -> Value {
    json!({"type": "string", "maxLength": length_max, "pattern": pattern})
}

/// Schema of the values of a map.
pub fn numbers(max: u32) -> Value {
    json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": max})
}

/// A duration's or an interval's text as an expression of milliseconds.
fn ms(text: &str) -> String {
    format!(
        "({text}.endsWith('ms') ? int({text}.replace('ms', '')) : \
         {text}.endsWith('s') ? int({text}.replace('s', '')) * 1000 : \
         {text}.endsWith('m') ? int({text}.replace('m', '')) * 60000 : \
         {text}.endsWith('h') ? int({text}.replace('h', '')) * 3600000 : \
         {text}.endsWith('d') ? int({text}.replace('d', '')) * 86400000 : \
         int({text}.replace('w', '')) * 604800000)"
    )
}

fn cel_list(texts: &[&str]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("'{text}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn expression(text: &str) -> Message {
    Message::Expression(text.to_owned())
}

/// Children's names are the pipeline's and a suffix, and its name is a label's value.
pub fn name_leaves_room_for_suffixes() -> Rule {
    Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message(
            "metadata.name: write at most 40 small letters, digits and '-', beginning with a letter: it becomes part of \
             other names",
        )
}

/// Trades of a symbol in all partitions have no single consumer that could build candles.
pub fn candles_need_one_partition_per_symbol() -> Rule {
    Rule::new("self.producer.partitioner != 'RoundRobin' || size(self.candles.intervals) == 0")
        .message(
            "RoundRobin spreads the trades of a symbol over partitions, so no consumer could build its candles; set \
             candles.intervals: [] for raw points only, or use KeyHash",
        )
        .field_path(".producer.partitioner")
}

/// `partitioner: Explicit` knows where every symbol goes.
pub fn explicit_partitions_for_every_symbol() -> Rule {
    Rule::new(
        "self.producer.partitioner != 'Explicit' || (has(self.producer.partitions) && \
         self.exchange.symbols.all(s, s in self.producer.partitions))",
    )
    .message("partitioner: Explicit needs a partition for each of exchange.symbols")
    .field_path(".producer.partitions")
}

/// A partition that does not exist stops its symbol.
pub fn explicit_partitions_exist() -> Rule {
    Rule::new(
        "!has(self.producer.partitions) || \
         self.producer.partitions.all(s, self.producer.partitions[s] < self.topic.partitions)",
    )
    .message(expression(
        "'partitions are numbered from 0 to ' + string(self.topic.partitions - 1) + ', by topic.partitions'",
    ))
    .field_path(".producer.partitions")
}

/// Consumers rebuild open windows from the topic.
pub fn retention_holds_the_longest_window() -> Rule {
    let (interval, retention, lateness) = (ms("i"), ms("self.topic.retention"), ms("self.candles.lateness"));
    Rule::new(format!("self.candles.intervals.all(i, {interval} + {lateness} <= {retention})"))
        .message(expression(
            "self.topic.retention + ' is shorter than the longest of candles.intervals and candles.lateness: consumers \
             rebuild open windows from the topic'",
        ))
        .reason(Reason::FieldValueInvalid)
        .field_path(".topic.retention")
}

/// `wss://host`, with port and path.
pub fn websocket_url() -> Rule {
    Rule::new(r"self.matches('^wss?://[A-Za-z0-9._:@\\[\\]-]+(/[!-~]*)?$')")
        .message("write ws:// or wss://, a host, and if needed a port and a path")
}

/// `https://host`, with port and path.
pub fn http_url() -> Rule {
    Rule::new(r"self.matches('^https?://[^/?#@ ]*@') || self.matches('^https?://[A-Za-z0-9._:\\[\\]-]+(/[!-~]*)?$')")
        .message("write http:// or https://, a host, and if needed a port and a path")
}

/// Logins stand in Secrets.
pub fn url_without_login() -> Rule {
    Rule::new(r"!self.matches('^[a-z]+://[^/?#]*@') && !self.contains('?') && !self.contains('#')")
        .message(
            "holds a user, a password, a query or a fragment; name logins by a secretRef: the URL is not a place for \
             secrets",
        )
        .reason(Reason::FieldValueForbidden)
}

/// `host:port,host:port`.
pub fn bootstrap_servers() -> Rule {
    Rule::new(
        r"self.matches('^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}(, ?([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5})*$')",
    )
    .message("write host:port of some brokers, as in kafka-0:9092,kafka-1:9092")
}

/// A key is mounted as a file.
pub fn secret_key_is_a_file_name() -> Rule {
    Rule::new("self != '.' && self != '..'").message("is no key of a Secret")
}

/// Mutual TLS needs both.
pub fn client_certificate_with_its_key() -> Rule {
    Rule::new("has(self.certificateSecretRef) == has(self.keySecretRef)")
        .message("mutual TLS needs both certificateSecretRef and keySecretRef")
}

/// Not both, not none.
pub fn one_login() -> Rule {
    Rule::new("has(self.basic) != has(self.bearer)").message("write either basic or bearer")
}

/// Another name would be another topic, and the trades would stay behind.
pub fn topic_name_stays() -> Rule {
    Rule::new("has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)")
        .message("cannot be changed: the trades would stay in the old topic; make a new pipeline")
        .reason(Reason::FieldValueForbidden)
        .field_path(".name")
}

/// Kafka cannot remove partitions.
pub fn partitions_only_grow() -> Rule {
    Rule::new("self.partitions >= oldSelf.partitions")
        .message(expression(
            "'cannot shrink from ' + string(oldSelf.partitions) + ' to ' + string(self.partitions) + ': Kafka never \
             removes partitions'",
        ))
        .reason(Reason::FieldValueForbidden)
        .field_path(".partitions")
}

/// The operator does not move replicas.
pub fn replication_factor_stays() -> Rule {
    Rule::new("self.replicationFactor == oldSelf.replicationFactor")
        .message(expression(
            "'cannot change from ' + string(oldSelf.replicationFactor) + ' to ' + string(self.replicationFactor) + ': \
             moving replicas is work for kafka-reassign-partitions'",
        ))
        .reason(Reason::FieldValueForbidden)
        .field_path(".replicationFactor")
}

/// More than exist can never be in sync.
pub fn in_sync_within_replication() -> Rule {
    Rule::new("self.minInSyncReplicas <= self.replicationFactor")
        .message(expression(
            "string(self.minInSyncReplicas) + ' is more than replicationFactor ' + string(self.replicationFactor) + ': \
             no record could ever be published'",
        ))
        .field_path(".minInSyncReplicas")
}

/// `Observe` never writes, so it never deletes.
pub fn observed_topics_are_not_deleted() -> Rule {
    Rule::new("self.management != 'Observe' || self.deletionPolicy != 'Delete'")
        .message("Delete contradicts management: Observe, which never writes to the topic")
        .field_path(".deletionPolicy")
}

/// Names that Kafka keeps for itself, or that are no names.
pub fn topic_name_is_not_reserved() -> Rule {
    Rule::new("!self.startsWith('__') && self != '.' && self != '..'")
        .message("is reserved: Kafka keeps names that begin with __ for itself, and . and .. are no names")
}

/// Only settings that cannot harm the log.
pub fn config_keys_are_known() -> Rule {
    let mut known = vec!["compression.type", "remote.storage.enable"];
    known.extend(TOPIC_NUMBERS);
    let message =
        format!("allowed are {}; retention and minInSyncReplicas have fields of their own", known.join(", "));
    Rule::new(format!("self.all(key, key in {})", cel_list(&known))).message(message.as_str())
}

/// Numbers are numbers, choices are known.
pub fn config_values_fit_their_keys() -> Rule {
    Rule::new(
        "self.all(key, \
         key == 'compression.type' ? self[key] in ['uncompressed', 'zstd', 'lz4', 'snappy', 'gzip', 'producer'] : \
         key == 'remote.storage.enable' ? self[key] in ['true', 'false'] : \
         self[key].matches('^-?[0-9]{1,18}$'))",
    )
    .message(
        "compression.type is uncompressed, zstd, lz4, snappy, gzip or producer; remote.storage.enable is true or false; \
         all others are whole numbers",
    )
}

/// A map that nobody reads is a mistake.
pub fn partitions_are_for_explicit() -> Rule {
    Rule::new("self.partitioner == 'Explicit' || !has(self.partitions) || size(self.partitions) == 0")
        .message("is for partitioner: Explicit only")
        .field_path(".partitions")
}

/// A number or a text.
pub fn acks() -> Rule {
    Rule::new("type(self) == int ? self in [0, 1] : self in ['all', '1', '0']").message("write all, 1 or 0")
}

/// As the workers check it.
pub fn backfill_is_at_most_ten_years() -> Rule {
    Rule::new(format!("{} <= {}", ms("self"), 3_650_i64 * 86_400_000)).message("is more than 3650d")
}

/// As the workers check it.
pub fn silence_is_a_second_or_more() -> Rule {
    Rule::new(format!("{0} >= 1000 && {0} <= 86400000", ms("self"))).message("write 1s to 1d")
}

/// Lateness delays every final candle and holds its window in memory.
pub fn lateness_is_an_hour_or_less() -> Rule {
    Rule::new(format!("{} <= 3600000", ms("self"))).message("is more than 1h: it delays every final candle")
}

/// `30s`, `2m`, `1h`, `1d`, `1w`.
pub fn intervals_are_known() -> Rule {
    Rule::new("self.all(i, i.matches('^[1-9][0-9]{0,6}[smhdw]$'))")
        .message("write a whole number and s, m, h, d or w, as in 30s, 2m, 1h, 1d or 1w")
}

/// 1s to 1d, and 1w.
pub fn intervals_are_in_range() -> Rule {
    let length = ms("i");
    Rule::new(format!(
        "self.all(i, !i.matches('^[1-9][0-9]{{0,6}}[smhdw]$') || {length} <= 86400000 || {length} == 604800000)"
    ))
    .message("allowed are 1s to 1d, and 1w")
}

/// `60s` and `1m` are one interval.
pub fn intervals_are_distinct() -> Rule {
    let (one, other) = (ms("i"), ms("j"));
    Rule::new(format!(
        "self.exists(i, !i.matches('^[1-9][0-9]{{0,6}}[smhdw]$')) || self.all(i, self.exists_one(j, {one} == {other}))"
    ))
    .message("one length stands there twice: 60s is 1m")
    .reason(Reason::FieldValueDuplicate)
}

/// Otherwise no node could ever run the pod.
pub fn requests_within_limits() -> Rule {
    let within = |name: &str| {
        format!(
            "(!has(self.requests.{name}) || !has(self.limits.{name}) || !isQuantity(string(self.requests.{name})) || \
             !isQuantity(string(self.limits.{name})) || \
             quantity(string(self.requests.{name})).compareTo(quantity(string(self.limits.{name}))) <= 0)"
        )
    };
    Rule::new(["cpu", "memory", "ephemeral__dash__storage"].map(within).join(" && "))
        .message("requests are more than limits")
}

/// `500m`, `2`, `256Mi`.
pub fn amounts_are_quantities() -> Rule {
    let positive = |name: &str| {
        format!(
            "(!has(self.{name}) || (isQuantity(string(self.{name})) && \
             quantity(string(self.{name})).isGreaterThan(quantity('0'))))"
        )
    };
    Rule::new(["cpu", "memory", "ephemeral__dash__storage"].map(positive).join(" && "))
        .message("write quantities above 0, as in 500m, 2 or 256Mi")
}

/// Names of labels and annotations.
pub fn names_of_metadata() -> Rule {
    Rule::new(
        "self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
    )
    .message("names are at most 63 letters, digits, '-', '_' and '.', after a domain and '/' if there is one")
}

/// Selectors and owners rest on them.
pub fn labels_are_not_the_operators() -> Rule {
    Rule::new("self.all(key, !key.startsWith('app.kubernetes.io/') && !key.contains('candles.dev/'))")
        .message("app.kubernetes.io/ and candles.dev/ are the operator's own")
}

/// Version 2 writes to a bucket of an organization.
pub fn v2_needs_an_organization() -> Rule {
    Rule::new("self.api != 'v2' || has(self.organization)")
        .message("api: v2 needs the organization of the bucket")
        .reason(Reason::FieldValueRequired)
        .field_path(".organization")
}

/// Nothing provisional may overwrite something final.
pub fn measurements_are_distinct() -> Rule {
    distinct(&["self.trades.measurement", "self.candles.measurement", "self.candles.liveMeasurement"]).message(
        "trades.measurement, candles.measurement and candles.liveMeasurement must differ from each other and from time",
    )
}

/// A tag and a field of one name cannot both be queried.
pub fn trade_names_are_distinct() -> Rule {
    distinct(&["self.symbolTag", "self.priceField", "self.amountField", "self.idField"])
        .message("symbolTag, priceField, amountField and idField must differ from each other and from time")
}

/// A tag and a field of one name cannot both be queried.
pub fn candle_names_are_distinct() -> Rule {
    let fields =
        ["open", "high", "low", "close", "volume", "quoteVolume", "buyVolume", "vwap", "count", "state"];
    let mut names = vec!["self.symbolTag".to_owned(), "self.intervalTag".to_owned()];
    names.extend(fields.map(|field| format!("self.fields.{field}")));
    distinct(&names.iter().map(String::as_str).collect::<Vec<_>>())
        .message("symbolTag, intervalTag and fields must differ from each other and from time")
}

fn distinct(names: &[&str]) -> Rule {
    let list = format!("[{}]", names.join(", "));
    Rule::new(format!("{list}.all(a, a != 'time' && {list}.exists_one(b, a == b))"))
        .reason(Reason::FieldValueDuplicate)
}
