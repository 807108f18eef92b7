//! Client of a schema registry with Confluent's API, with or without a path prefix.
//!
//! A subject and a schema in, an id out ([`Registry::register`]); an id in, a schema out ([`Registry::schema`]).
//! One try for each call; what the caller does about a failure follows from [`RegistryError`]. Caching and retrying
//! are the caller's.

mod inspect;

use std::time::Duration;

use candles_core::config::{SchemaRegistryAuth, SchemaRegistryConfig};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;

pub use self::inspect::Version;
use crate::runtime::secret::{self, SecretError};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Versions may be rolled back and topics outlive releases: every version must read every other.
const COMPATIBILITY: &str = "FULL_TRANSITIVE";

/// Why the registry gave no answer, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Try again: network, time-out, 429, 5xx.
    #[error("schema registry {url}: {problem}; will try again")]
    Transient {
        /// Which address.
        url: String,
        /// What happened.
        problem: String,
    },
    /// Somebody has to change something: login, address, path prefix.
    #[error(
        "schema registry {url}: {problem}; check schemaRegistry.url (path prefix?) and schemaRegistry.auth"
    )]
    Config {
        /// Which address.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The subject has a version that does not fit this release's schema.
    #[error(
        "SchemaIncompatible: subject {subject}: {problem}; use another topic, or a release whose schema fits"
    )]
    Incompatible {
        /// Which subject.
        subject: String,
        /// What the registry said.
        problem: String,
    },
    /// The registry knows no such schema.
    #[error("schema registry {url}: no schema has id {id}")]
    UnknownId {
        /// Which address.
        url: String,
        /// Which id.
        id: u32,
    },
    /// The secret for the login cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// A client; cheap to share.
#[derive(Debug, Clone)]
pub struct Registry {
    config: SchemaRegistryConfig,
    client: reqwest::Client,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct Schema {
    schema: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    error_code: u32,
    message: String,
}

/// Status and body of an answer that is no success.
struct Refusal {
    status: StatusCode,
    problem: Problem,
}

/// Fuzz target: any answer, read as each of those that a registry gives.
#[cfg(any(test, fuzzing))]
pub fn fuzz_answer(data: &[u8]) {
    let _ = serde_json::from_slice::<Registered>(data).map(|answer| answer.id);
    let _ = serde_json::from_slice::<Problem>(data).map(|problem| problem.message.len());
    if let Ok(Schema { schema }) = serde_json::from_slice(data) {
        let _ = candles_core::avro::TradeSchema::parse(&schema);
        let _ = candles_core::avro::check_evolution(&schema, candles_core::avro::TRADE_SCHEMA_JSON);
    }
}

impl Registry {
    /// Reads the CA file, if there is one; connects on the first request.
    pub fn new(config: &SchemaRegistryConfig) -> anyhow::Result<Self> {
        let client =
            crate::runtime::http_client(config.ca_file.as_deref())?.timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { config: config.clone(), client })
    }

    /// The id of `schema` under `subject`: looked up, else checked and registered.
    ///
    /// Sets the subject's compatibility to `FULL_TRANSITIVE` when it has none of its own, and compares with the
    /// latest version by itself: some registries check only subjects that have a rule.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let body = json!({ "schema": schema });
        let lookup = ["subjects", subject];
        if let Ok(found) = self.send::<Registered>(Method::POST, &lookup, Some(&body)).await? {
            return Ok(found.id);
        }
        self.check_latest(subject, schema).await?;
        let versions = ["subjects", subject, "versions"];
        let id = match self.send::<Registered>(Method::POST, &versions, Some(&body)).await? {
            Ok(registered) => registered.id,
            Err(refusal) => return Err(self.refused(subject, &refusal)),
        };
        self.set_compatibility(subject).await;
        Ok(id)
    }

    /// The schema of `id`.
    pub async fn schema(&self, id: u32) -> Result<String, RegistryError> {
        match self.send::<Schema>(Method::GET, &["schemas", "ids", &id.to_string()], None).await? {
            Ok(found) => Ok(found.schema),
            // 40403: schema not found. A registry behind a wrong path prefix answers 404 with another body.
            Err(refusal) if refusal.problem.error_code == 40403 => {
                Err(RegistryError::UnknownId { url: self.config.url.to_string(), id })
            }
            Err(refusal) => Err(self.refused("", &refusal)),
        }
    }

    async fn check_latest(&self, subject: &str, schema: &str) -> Result<(), RegistryError> {
        let latest = ["subjects", subject, "versions", "latest"];
        let existing = match self.send::<Schema>(Method::GET, &latest, None).await? {
            Ok(existing) => existing.schema,
            Err(refusal) if [40401, 40402].contains(&refusal.problem.error_code) => return Ok(()),
            Err(refusal) => return Err(self.refused(subject, &refusal)),
        };
        candles_core::avro::check_evolution(&existing, schema)
            .map_err(|problem| RegistryError::Incompatible { subject: subject.to_owned(), problem })
    }

    /// Not having a rule is no reason not to publish: the next start tries again.
    async fn set_compatibility(&self, subject: &str) {
        let path = ["config", subject];
        if matches!(self.send::<serde_json::Value>(Method::GET, &path, None).await, Ok(Ok(_))) {
            return;
        }
        let body = json!({ "compatibility": COMPATIBILITY });
        match self.send::<serde_json::Value>(Method::PUT, &path, Some(&body)).await {
            Ok(Ok(_)) => tracing::info!(subject, compatibility = COMPATIBILITY, "schema compatibility set"),
            Ok(Err(refusal)) => {
                tracing::warn!(subject, status = %refusal.status, "schema registry keeps no compatibility rule");
            }
            Err(error) => tracing::warn!(subject, %error, "schema compatibility not set"),
        }
    }

    fn refused(&self, subject: &str, refusal: &Refusal) -> RegistryError {
        let problem = format!("{} {}", refusal.status, refusal.problem.message);
        match refusal.status {
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                RegistryError::Incompatible { subject: subject.to_owned(), problem }
            }
            _ => RegistryError::Config { url: self.config.url.to_string(), problem },
        }
    }

    /// One request. The outer error is what no caller can use; the inner one is the registry's refusal.
    async fn send<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&serde_json::Value>,
    ) -> Result<Result<T, Refusal>, RegistryError> {
        let url = self.config.url.join(path);
        let transient =
            |problem: String| RegistryError::Transient { url: self.config.url.to_string(), problem };
        let mut request = self.login(self.client.request(method, url))?.header("Accept", CONTENT_TYPE);
        if let Some(body) = body {
            request = request.header("Content-Type", CONTENT_TYPE).body(body.to_string());
        }
        let response =
            request.send().await.map_err(|e| transient(crate::runtime::chain(&e.without_url())))?;
        let status = response.status();
        let bytes = crate::runtime::read_body(response, ANSWER_BYTES_MAX).await.map_err(transient)?;
        if status.is_success() {
            return match serde_json::from_slice(&bytes) {
                Ok(answer) => Ok(Ok(answer)),
                Err(error) => Err(RegistryError::Config {
                    url: self.config.url.to_string(),
                    problem: format!("answer is not a schema registry's: {error}"),
                }),
            };
        }
        if status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
        {
            return Err(transient(status.to_string()));
        }
        let problem = serde_json::from_slice(&bytes).unwrap_or_default();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(self.refused("", &Refusal { status, problem }));
        }
        Ok(Err(Refusal { status, problem }))
    }

    fn login(&self, request: RequestBuilder) -> Result<RequestBuilder, SecretError> {
        Ok(match &self.config.auth {
            None => request,
            Some(SchemaRegistryAuth::Basic(basic)) => {
                request.basic_auth(&basic.username, Some(secret::read(&basic.password)?.expose()))
            }
            Some(SchemaRegistryAuth::Bearer(bearer)) => {
                request.bearer_auth(secret::read(&bearer.token)?.expose())
            }
        })
    }
}
