//! Everything that is checked at admission and that bounds and patterns alone cannot say: CEL rules with their messages.
//!
//! - Each rule is cheap: the texts, lists and maps that it walks are bounded in the schema. An API server refuses a
//!   resource definition with a rule that could cost too much.
//! - Each has an example in `examples/invalid/` that shows its message.
//! - A message never repeats a value that may hold a secret, nor one that may hold a line break.

use serde::Serialize;
use serde_json::{Value, json};

use crate::validate::TOPIC_SETTINGS;

/// One CEL rule of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// CEL that is true where the value is allowed.
    #[serde(rename = "rule")]
    allowed: String,
    /// What the user reads.
    message: String,
    /// The same with the value in it; where that has a line break, the API server takes `message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expression: Option<String>,
    /// How the API server classes it; `FieldValueInvalid` when absent. `FieldValueDuplicate` would hide the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The field below this one that is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    field_path: Option<&'static str>,
}

impl Rule {
    fn new(allowed: impl Into<String>, message: impl Into<String>) -> Self {
        let (allowed, message) = (allowed.into(), message.into());
        Self { allowed, message, message_expression: None, reason: None, field_path: None }
    }

    /// CEL that makes the message of the value. `format` is the one way to a text whose cost an API server can bound:
    /// `string()` and `join()` count as endless.
    fn told(self, expression: impl Into<String>) -> Self {
        Self { message_expression: Some(expression.into()), ..self }
    }

    /// The message, then the value that CEL finds.
    fn naming(self, value: &str) -> Self {
        let expression = format!("'{}: %s'.format([{value}])", self.message.replace('\'', "\\'"));
        self.told(expression)
    }

    fn forbidden(self) -> Self {
        Self { reason: Some("FieldValueForbidden"), ..self }
    }

    fn required(self) -> Self {
        Self { reason: Some("FieldValueRequired"), ..self }
    }

    fn at(self, field_path: &'static str) -> Self {
        Self { field_path: Some(field_path), ..self }
    }
}

/// A length of time: a whole number and a unit.
pub const DURATION_PATTERN: &str = r"^[0-9]{1,12}(ms|s|m|h|d)$";
/// Name of a measurement, tag or field: no control character, no backslash, neither `_` nor `#` at its start.
pub const POINT_NAME_PATTERN: &str = r"^[^_#\\\x00-\x1f\x7f-\x9f][^\\\x00-\x1f\x7f-\x9f]*$";
/// One line, without control characters.
pub const PRINTABLE_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// Value of a label.
pub const LABEL_VALUE_PATTERN: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

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

/// Children's names are the pipeline's and a suffix, and its name is a label's value.
pub fn name_leaves_room_for_suffixes() -> Rule {
    Rule::new(
        "size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name: write at most 40 small letters, digits and -, a letter first: it becomes part of other names",
    )
    .naming("self.metadata.name")
}

/// Trades of a symbol in all partitions have no single consumer that could build candles.
pub fn candles_need_one_partition_per_symbol() -> Rule {
    Rule::new(
        "self.producer.partitioner != 'RoundRobin' || size(self.candles.intervals) == 0",
        "RoundRobin spreads the trades of a symbol over partitions, so no consumer could build its candles; set \
         candles.intervals: [] for raw points only, or use KeyHash",
    )
    .at(".producer.partitioner")
}

/// `partitioner: Explicit` knows where every symbol goes.
pub fn explicit_partitions_for_every_symbol() -> Rule {
    let lacking =
        "self.exchange.symbols.filter(s, !has(self.producer.partitions) || !(s in self.producer.partitions))";
    Rule::new(
        format!("self.producer.partitioner != 'Explicit' || size({lacking}) == 0"),
        "partitioner: Explicit needs a partition for each of exchange.symbols",
    )
    .naming(lacking)
    .at(".producer.partitions")
}

/// A partition that does not exist stops its symbol.
pub fn explicit_partitions_exist() -> Rule {
    Rule::new(
        "!has(self.producer.partitions) || \
         self.producer.partitions.all(s, self.producer.partitions[s] < self.topic.partitions)",
        "partitions are numbered from 0, and there are topic.partitions of them",
    )
    .naming("self.topic.partitions")
    .at(".producer.partitions")
}

/// Consumers rebuild open windows from the topic.
pub fn retention_holds_the_longest_window() -> Rule {
    let (interval, retention, lateness) = (ms("i"), ms("self.topic.retention"), ms("self.candles.lateness"));
    Rule::new(
        format!("self.candles.intervals.all(i, {interval} + {lateness} <= {retention})"),
        "shorter than the longest of candles.intervals and candles.lateness: consumers rebuild open windows from the topic",
    )
    .naming("self.topic.retention")
    .at(".topic.retention")
}

/// `wss://host`, with port and path.
pub fn websocket_url() -> Rule {
    url("wss?", "write ws:// or wss://, a host, and if needed a port and a path")
}

/// `https://host`, with port and path.
pub fn http_url() -> Rule {
    url("https?", "write http:// or https://, a host, and if needed a port and a path")
}

/// Leaves what may hold a secret to [`url_without_login`], whose message does not repeat it.
fn url(schemes: &str, message: &str) -> Rule {
    Rule::new(
        format!(
            "self.contains('@') || self.contains('?') || self.contains('#') || \
             self.matches('^{schemes}://([A-Za-z0-9._-]+|\\\\[[0-9A-Fa-f:.]+\\\\])(:[0-9]{{1,5}})?(/[!-~]*)?$')"
        ),
        message,
    )
    .naming("self")
}

/// Logins stand in Secrets.
pub fn url_without_login() -> Rule {
    Rule::new(
        "!self.contains('@') && !self.contains('?') && !self.contains('#')",
        "holds a user, a password, a query or a fragment; name logins by a secretRef: a URL is not a place for secrets",
    )
    .forbidden()
}

/// `host:port,host:port`.
pub fn bootstrap_servers() -> Rule {
    let server = "([A-Za-z0-9._-]+|\\\\[[0-9A-Fa-f:.]+\\\\]):[0-9]{1,5}";
    Rule::new(
        format!("self.matches('^{server}(, ?{server})*$')"),
        "write host:port of some brokers, as in kafka-0:9092,kafka-1:9092",
    )
    .naming("self")
}

/// A key is mounted as a file.
pub fn secret_key_is_a_file_name() -> Rule {
    Rule::new("self != '.' && self != '..'", "is no key of a Secret").naming("self")
}

/// Mutual TLS needs both.
pub fn client_certificate_with_its_key() -> Rule {
    Rule::new(
        "has(self.certificateSecretRef) == has(self.keySecretRef)",
        "mutual TLS needs both certificateSecretRef and keySecretRef",
    )
}

/// Not both, not none.
pub fn one_login() -> Rule {
    Rule::new("has(self.basic) != has(self.bearer)", "write either basic or bearer")
}

/// Another name would be another topic, and the trades would stay behind.
pub fn topic_name_stays() -> Rule {
    Rule::new(
        "has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)",
        "cannot be changed: the trades would stay in the old topic; make a new pipeline",
    )
    .forbidden()
    .at(".name")
}

/// Kafka cannot remove partitions.
pub fn partitions_only_grow() -> Rule {
    Rule::new("self.partitions >= oldSelf.partitions", "cannot shrink: Kafka never removes partitions")
        .told(
            "'cannot shrink from %s to %s: Kafka never removes partitions'.format([oldSelf.partitions, self.partitions])",
        )
        .forbidden()
        .at(".partitions")
}

/// The operator does not move replicas.
pub fn replication_factor_stays() -> Rule {
    Rule::new(
        "self.replicationFactor == oldSelf.replicationFactor",
        "cannot be changed: moving replicas is work for kafka-reassign-partitions",
    )
    .told(
        "'cannot change from %s to %s: moving replicas is work for kafka-reassign-partitions'\
         .format([oldSelf.replicationFactor, self.replicationFactor])",
    )
    .forbidden()
    .at(".replicationFactor")
}

/// More than exist can never be in sync.
pub fn in_sync_within_replication() -> Rule {
    Rule::new(
        "self.minInSyncReplicas <= self.replicationFactor",
        "is more than replicationFactor: no record could ever be published",
    )
    .told(
        "'%s is more than replicationFactor %s: no record could ever be published'\
         .format([self.minInSyncReplicas, self.replicationFactor])",
    )
    .at(".minInSyncReplicas")
}

/// `Observe` never writes, so it never deletes.
pub fn observed_topics_are_not_deleted() -> Rule {
    Rule::new(
        "self.management != 'Observe' || self.deletionPolicy != 'Delete'",
        "Delete contradicts management: Observe, which never writes to the topic",
    )
    .at(".deletionPolicy")
}

/// Names that Kafka keeps for itself, or that are no names.
pub fn topic_name_is_not_reserved() -> Rule {
    Rule::new(
        "!self.startsWith('__') && self != '.' && self != '..'",
        "is reserved: Kafka keeps names that begin with __ for itself, and . and .. are no names",
    )
    .naming("self")
}

/// Only settings that cannot harm the log.
pub fn config_keys_are_known() -> Rule {
    let unknown = format!("self.filter(key, !(key in {}))", cel_list(&TOPIC_SETTINGS));
    let message = format!(
        "allowed are {}; retention and minInSyncReplicas have fields of their own; not",
        TOPIC_SETTINGS.join(", ")
    );
    Rule::new(format!("size({unknown}) == 0"), message).naming(&unknown)
}

/// Numbers are numbers, choices are known.
pub fn config_values_fit_their_keys() -> Rule {
    let unfit = format!(
        "self.filter(key, key in {} && !(\
         key == 'compression.type' ? self[key] in ['uncompressed', 'zstd', 'lz4', 'snappy', 'gzip', 'producer'] : \
         key == 'remote.storage.enable' ? self[key] in ['true', 'false'] : \
         self[key].matches('^-?[0-9]{{1,18}}$')))",
        cel_list(&TOPIC_SETTINGS)
    );
    Rule::new(
        format!("size({unfit}) == 0"),
        "compression.type is uncompressed, zstd, lz4, snappy, gzip or producer; remote.storage.enable is true or false; \
         all others are whole numbers; not",
    )
    .naming(&format!("{unfit}.map(key, '%s %s'.format([key, self[key]]))"))
}

/// A map that nobody reads is a mistake.
pub fn partitions_are_for_explicit() -> Rule {
    Rule::new(
        "self.partitioner == 'Explicit' || !has(self.partitions) || size(self.partitions) == 0",
        "is for partitioner: Explicit only",
    )
    .at(".partitions")
}

/// A number or a text.
pub fn acks() -> Rule {
    Rule::new(
        "self == 'all' || self == '1' || self == '0' || self == 1 || self == 0",
        "write all, 1 or 0, not",
    )
    .told("'write all, 1 or 0, not %s'.format([self])")
}

/// As the workers check it.
pub fn backfill_is_at_most_ten_years() -> Rule {
    Rule::new(format!("{} <= {}", ms("self"), 3_650_i64 * 86_400_000), "is more than 3650d").naming("self")
}

/// As the workers check it.
pub fn silence_is_a_second_or_more() -> Rule {
    Rule::new(format!("{0} >= 1000 && {0} <= 86400000", ms("self")), "write 1s to 1d").naming("self")
}

/// Lateness delays every final candle and holds its window in memory.
pub fn lateness_is_an_hour_or_less() -> Rule {
    Rule::new(format!("{} <= 3600000", ms("self")), "is more than 1h, and it delays every final candle")
        .naming("self")
}

/// 1s to 1d, and 1w.
pub fn intervals_are_in_range() -> Rule {
    let length = ms("i");
    let beyond = format!("self.filter(i, {length} > 86400000 && {length} != 604800000)");
    Rule::new(format!("size({beyond}) == 0"), "allowed are 1s to 1d, and 1w").naming(&beyond)
}

/// `60s` and `1m` are one interval.
pub fn intervals_are_distinct() -> Rule {
    let twice = format!("self.filter(i, !self.exists_one(j, {} == {}))", ms("i"), ms("j"));
    Rule::new(format!("size({twice}) == 0"), "one length stands there twice").naming(&twice)
}

/// Otherwise no node could ever run the pod.
pub fn requests_within_limits(name: &str) -> Rule {
    let field = name.replace('-', "__dash__");
    let (request, limit) = (format!("self.requests.{field}"), format!("self.limits.{field}"));
    Rule::new(
        format!(
            "!has({request}) || !has({limit}) || !isQuantity(string({request})) || !isQuantity(string({limit})) || \
             quantity(string({request})).compareTo(quantity(string({limit}))) <= 0"
        ),
        format!("requests.{name} is more than limits.{name}"),
    )
    .told(format!(
        "'requests.{name} %s is more than limits.{name} %s'.format([{request}, {limit}])"
    ))
}

/// `500m`, `2`, `256Mi`.
pub fn amount_is_a_quantity(name: &str) -> Rule {
    let field = format!("self.{}", name.replace('-', "__dash__"));
    Rule::new(
        format!(
            "!has({field}) || (isQuantity(string({field})) && quantity(string({field})).isGreaterThan(quantity('0')))"
        ),
        format!("{name}: write a quantity above 0, as in 500m, 2 or 256Mi"),
    )
    .told(format!("'{name}: write a quantity above 0, as in 500m, 2 or 256Mi, not %s'.format([{field}])"))
}

/// Names of labels and annotations.
pub fn names_of_metadata() -> Rule {
    let malformed = "self.filter(key, !key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";
    Rule::new(
        format!("size({malformed}) == 0"),
        "names are at most 63 letters, digits, -, _ and ., after a domain and / if there is one",
    )
    .naming(malformed)
}

/// Selectors and owners rest on them.
pub fn labels_are_not_the_operators() -> Rule {
    let taken = "self.filter(key, key.startsWith('app.kubernetes.io/') || key.contains('candles.dev/'))";
    Rule::new(format!("size({taken}) == 0"), "app.kubernetes.io/ and candles.dev/ are the operator\'s own")
        .naming(taken)
}

/// Version 2 writes to a bucket of an organization.
pub fn v2_needs_an_organization() -> Rule {
    Rule::new("self.api != 'v2' || has(self.organization)", "api: v2 needs the organization of the bucket")
        .required()
        .at(".organization")
}

/// Nothing provisional may overwrite something final.
pub fn measurements_are_distinct() -> Rule {
    distinct(
        &["self.trades.measurement", "self.candles.measurement", "self.candles.liveMeasurement"],
        "trades.measurement, candles.measurement and candles.liveMeasurement must differ from each other and from time",
    )
}

/// A tag and a field of one name cannot both be queried.
pub fn trade_names_are_distinct() -> Rule {
    distinct(
        &["self.symbolTag", "self.priceField", "self.amountField", "self.idField"],
        "symbolTag, priceField, amountField and idField must differ from each other and from time",
    )
}

/// A tag and a field of one name cannot both be queried.
pub fn candle_names_are_distinct() -> Rule {
    let fields =
        ["open", "high", "low", "close", "volume", "quoteVolume", "buyVolume", "vwap", "count", "state"];
    let mut names = vec!["self.symbolTag".to_owned(), "self.intervalTag".to_owned()];
    names.extend(fields.map(|field| format!("self.fields.{field}")));
    distinct(
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
        "symbolTag, intervalTag and fields must differ from each other and from time",
    )
}

fn distinct(names: &[&str], message: &str) -> Rule {
    let list = format!("[{}]", names.join(", "));
    let twice = format!("{list}.filter(a, a == 'time' || !{list}.exists_one(b, a == b))");
    Rule::new(format!("size({twice}) == 0"), message).naming(&twice)
}
