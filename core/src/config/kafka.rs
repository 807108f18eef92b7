//! Settings of brokers, schema registry and topic.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{BootstrapServers, HttpUrl, SecretRef, TopicName, ValueError};

/// The brokers and how to reach them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaConfig {
    /// Comma-separated `host:port` of some brokers.
    pub bootstrap_servers: BootstrapServers,
    /// Present: connections are encrypted, and the broker's certificate and host name are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Present: the client logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslConfig>,
}

/// Encrypted connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the authorities that may sign the broker's certificate; those of the system when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate, for mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file of the client's key, for mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// Login at the brokers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SaslConfig {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Where the password is.
    pub password: SecretRef,
}

/// How a password is proved to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// The password itself is sent: use it with TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response, SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response, SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Value of the Kafka client's setting `sasl.mechanism`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A registry with Confluent's API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchemaRegistryConfig {
    /// Base URL, with the path prefix if the registry has one, as Apicurio's `/apis/ccompat/v7`.
    pub url: HttpUrl,
    /// Login, if the registry asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<SchemaRegistryAuth>,
    /// PEM file of the authorities that may sign the registry's certificate; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Login at the schema registry: `{basic: {username, password}}` or `{bearer: {token}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawAuth", into = "RawAuth")]
pub enum SchemaRegistryAuth {
    /// User and password.
    Basic(BasicAuth),
    /// A bearer token.
    Bearer(BearerAuth),
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// User name.
    pub username: String,
    /// Where the password is.
    pub password: SecretRef,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BearerAuth {
    /// Where the token is.
    pub token: SecretRef,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAuth {
    #[serde(skip_serializing_if = "Option::is_none")]
    basic: Option<BasicAuth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer: Option<BearerAuth>,
}

impl TryFrom<RawAuth> for SchemaRegistryAuth {
    type Error = ValueError;

    fn try_from(raw: RawAuth) -> Result<Self, ValueError> {
        match (raw.basic, raw.bearer) {
            (Some(basic), None) => Ok(Self::Basic(basic)),
            (None, Some(bearer)) => Ok(Self::Bearer(bearer)),
            _ => {
                Err(ValueError("write either {basic: {username, password}} or {bearer: {token}}".to_owned()))
            }
        }
    }
}

impl From<SchemaRegistryAuth> for RawAuth {
    fn from(auth: SchemaRegistryAuth) -> Self {
        match auth {
            SchemaRegistryAuth::Basic(basic) => Self { basic: Some(basic), bearer: None },
            SchemaRegistryAuth::Bearer(bearer) => Self { basic: None, bearer: Some(bearer) },
        }
    }
}

/// The topic that is the log of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicConfig {
    /// Its name. Records that can never be processed go to `<name>-dlq`.
    pub name: TopicName,
}
