//! Settings of brokers and schema registry, and references to secrets, as users write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// A key of a Secret in the namespace of the pipeline. The workers read it as a file, and read it again when it
/// changes: a rotated secret needs no restart. The operator itself never reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    #[schemars(extend("x-kubernetes-validations" = [rules::secret_key_is_a_file_name()]))]
    pub key: String,
}

/// The brokers and how to reach them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaSpec {
    /// Comma-separated `host:port` of some brokers.
    #[schemars(length(min = 3, max = 1024))]
    #[schemars(extend("x-kubernetes-validations" = [rules::bootstrap_servers()]))]
    pub bootstrap_servers: String,
    /// Present: connections are encrypted, and the broker's certificate and host name are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Present: the client logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslSpec>,
}

/// Encrypted connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::client_certificate_with_its_key()]))]
pub struct TlsSpec {
    /// PEM certificates of the authorities that may sign the broker's certificate; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
    /// PEM certificate of the client, for mutual TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_secret_ref: Option<SecretKeyRef>,
    /// PEM key of the client, for mutual TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeyRef>,
}

/// Login at the brokers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaslSpec {
    /// How the password is proved. `PLAIN` sends the password itself: use it with TLS only.
    pub mechanism: SaslMechanism,
    /// User name.
    #[schemars(length(min = 1, max = 255), regex(pattern = rules::PRINTABLE_PATTERN))]
    pub username: String,
    /// Where the password is.
    pub password_secret_ref: SecretKeyRef,
}

/// How a password is proved to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A registry with Confluent's API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRegistrySpec {
    /// Base URL, with the path prefix if the registry has one, as Apicurio's `/apis/ccompat/v7`.
    #[schemars(length(max = 512))]
    #[schemars(extend("x-kubernetes-validations" = [rules::http_url(), rules::url_without_login()]))]
    pub url: String,
    /// Login, if the registry asks for one: either `basic` or `bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<SchemaRegistryAuthSpec>,
    /// PEM certificates of the authorities that may sign the registry's certificate; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

/// Login at the schema registry: either `basic` or `bearer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::one_login()]))]
pub struct SchemaRegistryAuthSpec {
    /// User and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuthSpec>,
    /// A bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuthSpec>,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuthSpec {
    /// User name.
    #[schemars(length(min = 1, max = 255), regex(pattern = rules::PRINTABLE_PATTERN))]
    pub username: String,
    /// Where the password is.
    pub password_secret_ref: SecretKeyRef,
}

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BearerAuthSpec {
    /// Where the token is.
    pub token_secret_ref: SecretKeyRef,
}
