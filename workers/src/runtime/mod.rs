//! What both workers need as processes: logs, secrets, health, metrics, shutdown, retries.

pub mod backoff;
pub mod command;
pub mod health;
pub mod http;
pub mod logs;
pub mod secret;
pub mod shutdown;

use std::path::Path;

use anyhow::Context as _;

/// An error with its causes in one line, for logs and readiness: `a: b: c`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// An HTTP client that trusts the authorities in `ca_file`, or those of the system. It follows no redirects: a
/// redirect would carry a login to a host that nobody configured.
pub fn http_client(ca_file: Option<&Path>) -> anyhow::Result<reqwest::ClientBuilder> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(std::time::Duration::from_secs(5))
        .user_agent(concat!("candles/", env!("CARGO_PKG_VERSION")));
    let Some(path) = ca_file else { return Ok(builder) };
    let pem = std::fs::read(path).with_context(|| format!("cannot read the CA file {}", path.display()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .with_context(|| format!("the CA file {} holds no PEM certificates", path.display()))?;
    Ok(builder.tls_certs_only(certificates))
}

/// The first `bytes_max` bytes of an answer's body; the rest is read too, so that the connection stays usable.
pub async fn read_start(mut response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| chain(&e.without_url()))? {
        body.extend_from_slice(&chunk[..chunk.len().min(bytes_max - body.len())]);
    }
    Ok(body)
}

/// The body of an answer, refused when it is longer than `bytes_max`.
pub async fn read_body(mut response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| chain(&e.without_url()))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("answer is longer than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
