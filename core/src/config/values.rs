//! Texts of the configuration in, values out that cannot hold anything bad.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

use crate::{interval::Interval, symbol::Symbol};

/// Why a text is not allowed at its key: what was found, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(super) String);

/// A length of time: a whole number and ms, s, m, h or d, as in `500ms`, `10s`, `1h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    ms: i64,
}

impl Duration {
    /// Of so many milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self { ms }
    }

    /// In milliseconds.
    pub const fn as_ms(self) -> i64 {
        self.ms
    }

    /// For timers.
    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms.unsigned_abs())
    }
}

const DURATION_UNITS: [(&str, i64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Duration {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || {
            ValueError(format!(
                "{text:?} is no length of time; write a whole number and ms, s, m, h or d, as in 10s"
            ))
        };
        let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let (_, unit_ms) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let ms = number.parse::<i64>().ok().and_then(|n| n.checked_mul(*unit_ms)).ok_or_else(bad)?;
        // Ten years: beyond any retention, and far from overflowing sums with times.
        if ms > 3_650 * 86_400_000 { Err(bad()) } else { Ok(Self { ms }) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = DURATION_UNITS.iter().find(|(_, ms)| self.ms != 0 && self.ms % ms == 0);
        let (name, ms) = unit.copied().unwrap_or(("s", 1_000));
        write!(f, "{}{name}", self.ms / ms)
    }
}

/// A URL without credentials, query or fragment, and with one of the `schemes`.
fn plain_url(text: &str, schemes: [&str; 2]) -> Result<Url, ValueError> {
    let [plain, secure] = schemes;
    let url = Url::parse(text).map_err(|e| ValueError(format!("{text:?} is no URL: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        // The text itself may hold a password: it is not repeated.
        return Err(ValueError("the URL holds a user or a password; name them at their own keys".to_owned()));
    }
    if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(ValueError(format!("{text:?} does not start with {plain}:// or {secure}:// and a host")));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ValueError(
            "the URL holds a query or a fragment; write scheme, host, port and path".to_owned(),
        ));
    }
    Ok(url)
}

/// An `http` or `https` URL, with or without a path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(Url);

impl HttpUrl {
    /// The URL with `segments` appended to its path, each percent-encoded.
    pub fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        plain_url(&text, ["http", "https"]).map(Self)
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A `ws` or `wss` URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebSocketUrl(Url);

impl WebSocketUrl {
    /// The whole URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for WebSocketUrl {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        plain_url(&text, ["ws", "wss"]).map(Self)
    }
}

impl From<WebSocketUrl> for String {
    fn from(url: WebSocketUrl) -> Self {
        url.0.into()
    }
}

/// Name of a Kafka topic that a pipeline may own: 1 to 245 of `A-Z a-z 0-9 . _ -` (room for `-dlq`), not `__*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(String);

impl TopicName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where records and points go that can never be processed: `<topic>-dlq`.
    pub fn dlq(&self) -> String {
        format!("{}-dlq", self.0)
    }
}

impl TryFrom<String> for TopicName {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > 245 || text == "." || text == ".." || !text.bytes().all(allowed) {
            return Err(ValueError(format!(
                "{text:?} is no topic name; write 1 to 245 letters, digits, '.', '_' or '-'"
            )));
        }
        if text.starts_with("__") {
            return Err(ValueError(format!("topic {text:?} starts with __, which Kafka keeps for itself")));
        }
        Ok(Self(text))
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0
    }
}

/// Comma-separated `host:port` of brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootstrapServers(String);

impl BootstrapServers {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BootstrapServers {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let well_formed = |server: &str| {
            server.rsplit_once(':').is_some_and(|(host, port)| {
                let host_allowed =
                    |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
                !host.is_empty() && host.bytes().all(host_allowed) && port.parse::<u16>().is_ok_and(|p| p > 0)
            })
        };
        match text.split(',').find(|server| !well_formed(server.trim())) {
            Some(server) => Err(ValueError(format!(
                "{server:?} is not host:port; write them as in kafka-0:9092,kafka-1:9092"
            ))),
            None => Ok(Self(text)),
        }
    }
}

impl From<BootstrapServers> for String {
    fn from(servers: BootstrapServers) -> Self {
        servers.0
    }
}

/// Name of a measurement, tag or field: 1 to 64 printable characters, not starting with `_` or `#`, no backslash.
///
/// A line that starts with `#` is a comment which InfluxDB drops and answers with success; names that start with
/// `_` are its own; a backslash could eat the separator after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PointName(String);

impl PointName {
    /// The name, unescaped.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For names in code.
    pub(super) fn constant(text: &str) -> Self {
        text.to_owned().try_into().expect("names in code are well formed")
    }
}

impl TryFrom<String> for PointName {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let allowed = |c: char| !c.is_control() && c != '\\';
        let length = text.chars().count();
        if length == 0 || length > 64 || !text.chars().all(allowed) || text.starts_with(['_', '#']) {
            return Err(ValueError(format!(
                "{text:?} is no name of a measurement, tag or field; write 1 to 64 printable characters, no backslash, \
                 and neither _ nor # at the start"
            )));
        }
        Ok(Self(text))
    }
}

impl From<PointName> for String {
    fn from(name: PointName) -> Self {
        name.0
    }
}

/// Where a secret is: `{env: NAME}` or `{file: PATH}`. A file is read again when it is needed again, so that a
/// rotated secret needs no restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSecretRef", into = "RawSecretRef")]
pub enum SecretRef {
    /// Name of an environment variable.
    Env(String),
    /// Path of a file; white space at its end is not part of the secret.
    File(PathBuf),
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSecretRef {
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

impl TryFrom<RawSecretRef> for SecretRef {
    type Error = ValueError;

    fn try_from(raw: RawSecretRef) -> Result<Self, ValueError> {
        match (raw.env, raw.file) {
            (Some(name), None) => Ok(Self::Env(name)),
            (None, Some(path)) => Ok(Self::File(path)),
            _ => Err(ValueError("write either {env: NAME} or {file: PATH}".to_owned())),
        }
    }
}

impl From<SecretRef> for RawSecretRef {
    fn from(secret: SecretRef) -> Self {
        match secret {
            SecretRef::Env(name) => Self { env: Some(name), file: None },
            SecretRef::File(path) => Self { env: None, file: Some(path) },
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// How many brokers must have a record before it counts as published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// All in-sync replicas: survives the loss of a broker. The default.
    All,
    /// The leader only.
    One,
    /// None: not even the leader's word.
    Zero,
}

impl Acks {
    /// Value of the Kafka client's setting `acks`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::One => "1",
            Self::Zero => "0",
        }
    }
}

impl Serialize for Acks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Acks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Acks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("all, 1 or 0")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Acks, E> {
                match text {
                    "all" | "-1" => Ok(Acks::All),
                    "1" => Ok(Acks::One),
                    "0" => Ok(Acks::Zero),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Acks, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Acks, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Text in the file, a checked value in memory.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
as_text!(Duration, Interval);

impl Serialize for Symbol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
