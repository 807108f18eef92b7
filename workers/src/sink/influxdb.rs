//! One write request in, what became of it out. Retrying, cutting and waiting are the writer's.
//!
//! Why not the `influxdb2` crate: it is dormant, fails `cargo deny`, and lets a newline in a tag inject lines.

use std::{path::Path, sync::Mutex, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use candles_core::config::{InfluxApi, InfluxdbConfig};
use reqwest::{StatusCode, Url, header};
use serde::{Deserialize, Deserializer};

use crate::runtime::{
    chain, http_client, read_start,
    secret::{self, Secret},
};

/// Longest answer that is read; the rest of an error text helps nobody.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// InfluxDB answers within milliseconds, or v3 within its flush interval of a second; beyond this, send again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a write request.
#[derive(Debug)]
pub enum Outcome {
    /// Every point is stored.
    Stored,
    /// Outcome unknown, or the server is busy: send the same bytes again.
    Transient {
        /// What happened.
        problem: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// Token, organization, bucket or address: hold the data until somebody has changed something.
    Config(String),
    /// Too large: send smaller pieces.
    TooLarge,
    /// Some points can never be stored.
    Rejected(Rejection),
}

/// Points that can never be stored.
#[derive(Debug)]
pub struct Rejection {
    /// The server's words.
    pub error: String,
    /// Lines by index, where the server names them and has stored all others. Otherwise cut the batch to find them.
    pub lines: Vec<(usize, String)>,
}

/// A client for one bucket.
#[derive(Debug)]
pub struct Influxdb {
    client: reqwest::Client,
    url: Url,
    /// The address for people: no query.
    name: String,
    config: InfluxdbConfig,
    authorization: Mutex<Option<header::HeaderValue>>,
}

/// InfluxDB 2 says `code` and `message`; InfluxDB 3 `error`, and `data` where it names lines.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    code: String,
    message: String,
    error: String,
    #[serde(deserialize_with = "named_lines")]
    data: Vec<LineError>,
}

#[derive(Deserialize)]
struct LineError {
    /// From 1.
    line_number: usize,
    #[serde(default)]
    error_message: String,
}

/// Anything else than a list (InfluxDB 3 has an object there when it stored nothing) names no lines.
fn named_lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LineError>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl ErrorBody {
    /// What the answer says, and whether InfluxDB said it: a proxy, or another server, must not decide about points.
    fn read(answer: &[u8]) -> (Self, bool) {
        let body: Self = serde_json::from_slice(answer).unwrap_or_default();
        // An answer that quotes thousands of lines may have been cut.
        let cut = answer.len() >= ANSWER_BYTES_MAX
            && (answer.starts_with(b"{\"code\":\"") || answer.starts_with(b"{\"error\":\""));
        let ours = cut || !body.code.is_empty() || !body.error.is_empty();
        (body, ours)
    }
}

/// Fuzz target: any body of a refusal. Only InfluxDB's own words may decide about points.
#[cfg(any(test, fuzzing))]
pub fn fuzz_error_body(data: &[u8]) {
    let (body, from_influxdb) = ErrorBody::read(data);
    let said = !body.code.is_empty() || !body.error.is_empty();
    assert!(
        from_influxdb == said || data.len() >= ANSWER_BYTES_MAX,
        "somebody else's words were taken for its own"
    );
}

impl Influxdb {
    /// Reads the CA file, if there is one; the token is read with the first request.
    pub fn new(config: &InfluxdbConfig) -> anyhow::Result<Self> {
        let url = match config.api {
            InfluxApi::V2 => {
                let mut url = config.url.join(&["api", "v2", "write"]);
                let organization = config.organization.as_deref().unwrap_or_default();
                url.query_pairs_mut()
                    .append_pair("org", organization)
                    .append_pair("bucket", &config.bucket)
                    .append_pair("precision", "ns");
                url
            }
            InfluxApi::V3 => {
                let mut url = config.url.join(&["api", "v3", "write_lp"]);
                url.query_pairs_mut()
                    .append_pair("db", &config.bucket)
                    .append_pair("precision", "nanosecond")
                    .append_pair("accept_partial", "true");
                url
            }
        };
        let client = Self::client(config.ca_file.as_deref()).context("influxdb.caFile")?;
        let name = format!("influxdb {} bucket {:?}", config.url, config.bucket);
        Ok(Self { client, url, name, config: config.clone(), authorization: Mutex::new(None) })
    }

    fn client(ca_file: Option<&Path>) -> anyhow::Result<reqwest::Client> {
        Ok(http_client(ca_file)?
            .timeout(REQUEST_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(90))
            .build()?)
    }

    /// Address and bucket, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends some lines.
    pub async fn write(&self, body: Bytes) -> Outcome {
        let authorization = match self.authorization() {
            Ok(value) => value,
            Err(problem) => return Outcome::Config(problem),
        };
        let mut request = self
            .client
            .post(self.url.clone())
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        request = if self.config.gzip {
            match gzip(&body) {
                Ok(compressed) => request.header(header::CONTENT_ENCODING, "gzip").body(compressed),
                Err(error) => return Outcome::Config(format!("cannot compress: {error}")),
            }
        } else {
            request.body(body)
        };
        match request.send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => Outcome::Transient { problem: chain(&error.without_url()), retry_after: None },
        }
    }

    async fn judge(&self, response: reqwest::Response) -> Outcome {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // The body is read in any case: an unread one would close the connection.
        let answer = read_start(response, ANSWER_BYTES_MAX).await;
        if status.is_success() {
            return Outcome::Stored;
        }
        let (body, from_influxdb) = match answer {
            Ok(answer) => ErrorBody::read(&answer),
            Err(problem) => {
                return Outcome::Transient { problem: format!("{status}, then {problem}"), retry_after };
            }
        };
        let text = if body.message.is_empty() { body.error } else { body.message };
        let text: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
        let problem = format!("{status} {text}");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                // The token may have been rotated: read it again next time.
                *self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
                Outcome::Config(format!("{problem}, for the token in {}", self.config.token))
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Outcome::Config(problem),
            StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if !from_influxdb => {
                Outcome::Config(format!("{problem}: this is no answer of InfluxDB; check influxdb.url"))
            }
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                let line = |e: LineError| Some((e.line_number.checked_sub(1)?, e.error_message));
                Outcome::Rejected(Rejection {
                    error: problem,
                    lines: body.data.into_iter().filter_map(line).collect(),
                })
            }
            _ if status.is_redirection() => {
                Outcome::Config(format!("{problem}: redirected; check influxdb.url"))
            }
            _ if status.is_client_error() && !matches!(status.as_u16(), 408 | 425 | 429) => {
                Outcome::Config(problem)
            }
            _ => Outcome::Transient { problem, retry_after },
        }
    }

    fn authorization(&self) -> Result<header::HeaderValue, String> {
        let mut cached = self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(value) = &*cached {
            return Ok(value.clone());
        }
        let token = secret::read(&self.config.token).map_err(|e| chain(&e))?;
        Ok(cached.insert(self.header(&token)?).clone())
    }

    fn header(&self, token: &Secret) -> Result<header::HeaderValue, String> {
        let scheme = match self.config.api {
            InfluxApi::V2 => "Token",
            InfluxApi::V3 => "Bearer",
        };
        let mut value =
            header::HeaderValue::try_from(format!("{scheme} {}", token.expose())).map_err(|_| {
                format!("the token in {} holds characters that no header can carry", self.config.token)
            })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Write as _;
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// Seconds only: InfluxDB sends no dates.
fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>().ok()?;
    // A server that asks for a day is not obeyed for longer than this.
    Some(Duration::from_secs(seconds.min(300)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_influxdb_decides_about_points() {
        let said = |text: &str| {
            let (body, from_influxdb) = ErrorBody::read(text.as_bytes());
            (from_influxdb, body.data.len())
        };
        assert_eq!(said(r#"{"code":"invalid","message":"unable to parse 'x'"}"#), (true, 0));
        assert_eq!(
            said(r#"{"error":"partial write","data":[{"line_number":2,"error_message":"x"}]}"#),
            (true, 1)
        );
        assert_eq!(said(r#"{"error":"parsing failed","data":{"line_number":2}}"#), (true, 0));
        let long = format!(r#"{{"code":"invalid","message":"{}"#, "x".repeat(ANSWER_BYTES_MAX));
        assert_eq!(said(&long[..ANSWER_BYTES_MAX]), (true, 0), "cut, so no JSON");
        for foreign in ["", "Client sent an HTTP request to an HTTPS server.", "<html>", "{}", "[1]"] {
            assert_eq!(said(foreign), (false, 0), "{foreign}");
        }
    }
}
