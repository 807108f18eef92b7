//! The API server as a program without a client library sees it: a path and JSON in, JSON or the server's refusal out.
//! Never retries and never waits: a test wants to see the answer. Each handle has connections of its own.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::servers::error::{Error, Result};

/// Limit of one request; lists of thousands of objects included.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Field manager of what tests apply.
const FIELD_MANAGER: &str = "testbed";

/// Requests with one user's rights.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    client: reqwest::Client,
}

/// What a refused request is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Machine readable, such as `Invalid` or `Forbidden`.
    pub reason: String,
    /// What people read.
    pub message: String,
}

impl Api {
    pub(super) fn new(url: &str, client: reqwest::Client) -> Self {
        Self { url: url.to_owned(), client }
    }

    /// The object or list at `path`, such as `/api/v1/namespaces/default`; an error if there is none.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send("get", path, self.request(Method::GET, path)).await
    }

    /// The object at `path`, `None` if there is none.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        match self.ask(self.request(Method::GET, path)).await {
            Ok(Ok(object)) => Ok(Some(object)),
            Ok(Err(refusal)) if refusal.status == 404 => Ok(None),
            Ok(Err(refusal)) => Err(refused("get", path, refusal)),
            Err(error) => Err(unreachable("get", path, error)),
        }
    }

    /// Items of the list at `path`.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut list = self.get(path).await?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Creates an object in the collection at `path`.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send("create", path, self.request(Method::POST, path).json(object)).await
    }

    /// [`Api::create`] whose refusal is an answer.
    pub async fn try_create(&self, path: &str, object: &Value) -> Result<Result<Value, Refusal>> {
        let answer = self.ask(self.request(Method::POST, path).json(object)).await;
        answer.map_err(|error| unreachable("create", path, error))
    }

    /// Server-side apply of an object to its own path, with force.
    pub async fn apply(&self, path: &str, object: &Value) -> Result<Value> {
        let request = self.request(Method::PATCH, path);
        let request = request.query(&[("fieldManager", FIELD_MANAGER), ("force", "true")]);
        let request = request.header("Content-Type", "application/apply-patch+yaml").body(object.to_string());
        self.send("apply", path, request).await
    }

    /// JSON merge patch of the object at `path`; a subresource has a path of its own.
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send("patch", path, self.merge_request(path, patch)).await
    }

    /// [`Api::merge`] whose refusal is an answer.
    pub async fn try_merge(&self, path: &str, patch: &Value) -> Result<Result<Value, Refusal>> {
        self.ask(self.merge_request(path, patch)).await.map_err(|error| unreachable("patch", path, error))
    }

    /// Replaces the object at `path`.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value> {
        self.send("replace", path, self.request(Method::PUT, path).json(object)).await
    }

    /// Deletes what is at `path`, in the background; no error if there is nothing.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let body = serde_json::json!({"propagationPolicy": "Background"});
        self.delete_with(path, &body).await
    }

    /// [`Api::delete`] with options of the caller's choice.
    pub async fn delete_with(&self, path: &str, options: &Value) -> Result<()> {
        match self.ask(self.request(Method::DELETE, path).json(options)).await {
            Ok(Err(refusal)) if refusal.status != 404 => Err(refused("delete", path, refusal)),
            Ok(_) => Ok(()),
            Err(error) => Err(unreachable("delete", path, error)),
        }
    }

    /// Objects of the collection at `path` as they are created or changed, from the beginning; returns when the server
    /// ends the stream (it always does, sooner or later) or `each` returns false.
    pub async fn watch(&self, path: &str, mut each: impl AsyncFnMut(&str, Value) -> bool) -> Result<()> {
        let request = self.client.get(format!("{}{path}", self.url)).query(&[("watch", "true")]);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        let mut body = answer.map_err(|error| unreachable("watch", path, error))?.bytes_stream();
        let mut buffer = Vec::new();
        while let Some(bytes) = body.next().await {
            buffer.extend_from_slice(&bytes.map_err(|error| unreachable("watch", path, error))?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let Ok(mut event) = serde_json::from_slice::<Value>(&line) else { continue };
                let object = event["object"].take();
                if !each(event["type"].as_str().unwrap_or_default(), object).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn merge_request(&self, path: &str, patch: &Value) -> RequestBuilder {
        let request = self.request(Method::PATCH, path).query(&[("fieldManager", FIELD_MANAGER)]);
        request.header("Content-Type", "application/merge-patch+json").body(patch.to_string())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).timeout(REQUEST_LIMIT)
    }

    async fn send(&self, verb: &str, path: &str, request: RequestBuilder) -> Result<Value> {
        match self.ask(request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refusal)) => Err(refused(verb, path, refusal)),
            Err(error) => Err(unreachable(verb, path, error)),
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Result<Value, Refusal>, reqwest::Error> {
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) })
    }
}

fn refusal(status: StatusCode, body: &Value) -> Refusal {
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    Refusal {
        status: status.as_u16(),
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or_else(|| body.to_string()),
    }
}

fn refused(verb: &str, path: &str, refusal: Refusal) -> Error {
    Error::Refused {
        server: "kube-apiserver".to_owned(),
        action: format!("{verb} {path}"),
        status: format!("{} {}", refusal.status, refusal.reason),
        body: refusal.message,
    }
}

fn unreachable(verb: &str, path: &str, source: reqwest::Error) -> Error {
    let action = format!("{verb} {path}");
    Error::Unreachable { server: "kube-apiserver".to_owned(), action, source: Box::new(source) }
}
