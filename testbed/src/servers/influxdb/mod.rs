//! InfluxDB 2: a run folder in, a running database with an organisation, a bucket and an all-access token out;
//! writes, Flux queries, buckets and tokens over its HTTP API. Never retries: a test wants to see the refusal.

mod csv;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::artefacts::INFLUXDB;
use super::error::{Error, Result};
use super::install;
use super::ports::{self, PortLease};
use super::rundir::RunDir;
use super::server::{Plan, Probe, Server, http_client};

/// Limit for influxd to be ready; 0.3 s are usual.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Limit of one request, a large query included.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
const ORG: &str = "candles";
const BUCKET: &str = "candles";
/// All access; no secret, since only 127.0.0.1 is listened on and the data ends with the run.
const TOKEN: &str = "candles-testbed-token";

/// A running InfluxDB; a [`Server`] with an API. Ends when dropped.
#[derive(Debug)]
pub struct InfluxDb {
    server: Server,
    url: String,
    org_id: String,
    client: reqwest::Client,
    _lease: PortLease,
}

/// What a new token allows on its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Queries only.
    Read,
    /// Writes only.
    Write,
    /// Both.
    ReadWrite,
}

/// A token that can be revoked.
#[derive(Debug, Clone)]
pub struct Token {
    /// Id, with which it is revoked.
    pub id: String,
    /// The token itself, for `Authorization: Token ...`.
    pub token: String,
}

impl std::ops::Deref for InfluxDb {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Installs InfluxDB if need be (minutes, once), starts it and sets it up.
pub async fn start(run: &RunDir) -> Result<InfluxDb> {
    let program = install::ensure_async(&INFLUXDB).await?.join("bin/influxd");
    let (server, url, lease) = ports::with_ports(1, async |mut leases| {
        let lease = leases.remove(0);
        let server = Server::new(plan(&program, lease.port(), run)?, run);
        server.start()?;
        server.wait_ready().await?;
        Ok((server, format!("http://127.0.0.1:{}", lease.port()), lease))
    })
    .await?;
    let client = http_client(REQUEST_LIMIT);
    let mut influxdb = InfluxDb { server, url, org_id: String::new(), client, _lease: lease };
    influxdb.org_id = influxdb.set_up().await?;
    Ok(influxdb)
}

impl InfluxDb {
    async fn set_up(&self) -> Result<String> {
        let body = json!({
            "username": "candles", "password": "candles-testbed", "org": ORG, "bucket": BUCKET, "token": TOKEN,
        });
        let answer = self.request_json("set up", Method::POST, "/api/v2/setup", Some(body)).await?;
        Ok(text_of(&answer["org"], "id"))
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name of the organisation.
    pub fn org(&self) -> &str {
        ORG
    }

    /// Name of the first bucket; its retention is without limit.
    pub fn bucket(&self) -> &str {
        BUCKET
    }

    /// The all-access token.
    pub fn token(&self) -> &str {
        TOKEN
    }

    /// Writes line protocol (ns) to `bucket`.
    pub async fn write_lines(&self, bucket: &str, lines: impl Into<String>) -> Result<()> {
        let request = self.request(Method::POST, "/api/v2/write");
        let query = [("org", ORG), ("bucket", bucket), ("precision", "ns")];
        self.send(&format!("write to {bucket}"), request.query(&query).body(lines.into())).await.map(drop)
    }

    /// Answer of a Flux query as CSV with annotations, as any client would get it.
    pub async fn query_flux(&self, query: &str) -> Result<String> {
        let body = json!({
            "query": query, "type": "flux",
            "dialect": {"annotations": ["datatype", "group", "default"], "header": true},
        });
        let request = self.request(Method::POST, "/api/v2/query").query(&[("org", ORG)]);
        self.send("query", request.header("Accept", "application/csv").json(&body)).await
    }

    /// Rows of a Flux query's answer, all tables one after the other: column name to text.
    pub async fn query_rows(&self, query: &str) -> Result<Vec<BTreeMap<String, String>>> {
        Ok(csv::rows(&self.query_flux(query).await?))
    }

    /// Creates a bucket without a retention limit.
    pub async fn create_bucket(&self, name: &str) -> Result<()> {
        let body = json!({"orgID": self.org_id, "name": name, "retentionRules": []});
        let action = format!("create bucket {name}");
        self.request_json(&action, Method::POST, "/api/v2/buckets", Some(body)).await.map(drop)
    }

    /// Deletes a bucket with all it holds; writes to it are then answered 404.
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        let path = format!("/api/v2/buckets/{}", self.bucket_id(name).await?);
        self.request_json(&format!("delete bucket {name}"), Method::DELETE, &path, None).await.map(drop)
    }

    /// Makes a token for one bucket.
    pub async fn create_token(&self, bucket: &str, access: Access) -> Result<Token> {
        let resource = json!({"type": "buckets", "id": self.bucket_id(bucket).await?, "orgID": self.org_id});
        let actions: &[&str] = match access {
            Access::Read => &["read"],
            Access::Write => &["write"],
            Access::ReadWrite => &["read", "write"],
        };
        let permissions: Vec<Value> =
            actions.iter().map(|action| json!({"action": action, "resource": resource})).collect();
        let body = json!({"orgID": self.org_id, "permissions": permissions});
        let action = format!("create a token for {bucket}");
        let answer = self.request_json(&action, Method::POST, "/api/v2/authorizations", Some(body)).await?;
        Ok(Token { id: text_of(&answer, "id"), token: text_of(&answer, "token") })
    }

    /// Makes a token inactive, or active again.
    pub async fn set_token_active(&self, token: &Token, active: bool) -> Result<()> {
        let path = format!("/api/v2/authorizations/{}", token.id);
        let body = json!({"status": if active { "active" } else { "inactive" }});
        self.request_json("change a token", Method::PATCH, &path, Some(body)).await.map(drop)
    }

    /// Revokes a token for good; its requests are then answered 401.
    pub async fn delete_token(&self, token: &Token) -> Result<()> {
        let path = format!("/api/v2/authorizations/{}", token.id);
        self.request_json("delete a token", Method::DELETE, &path, None).await.map(drop)
    }

    async fn bucket_id(&self, name: &str) -> Result<String> {
        let action = format!("find bucket {name}");
        let request = self.request(Method::GET, "/api/v2/buckets").query(&[("org", ORG), ("name", name)]);
        let answer = json_of(&self.send(&action, request).await?);
        Ok(text_of(&answer["buckets"][0], "id"))
    }

    async fn request_json(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        Ok(json_of(&self.send(action, request).await?))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.header("Authorization", format!("Token {TOKEN}"))
    }

    async fn send(&self, action: &str, request: RequestBuilder) -> Result<String> {
        let (server, action) = ("influxdb".to_owned(), action.to_owned());
        let answer = async {
            let answer = request.send().await?;
            Ok((answer.status(), answer.text().await?))
        };
        match answer.await {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(Error::Refused { server, action, status: status.to_string(), body }),
            Err(source) => {
                let source: reqwest::Error = source;
                Err(Error::Unreachable { server, action, source: Box::new(source) })
            }
        }
    }
}

fn plan(program: &Path, port: u16, run: &RunDir) -> Result<Plan> {
    let folder = run.folder("influxdb")?;
    let path = |name: &str| folder.join(name).display().to_string();
    let args = [
        "--bolt-path",
        &path("influxd.bolt"),
        "--sqlite-path",
        &path("influxd.sqlite"),
        "--engine-path",
        &path("engine"),
        "--http-bind-address",
        &format!("127.0.0.1:{port}"),
        "--reporting-disabled",
    ];
    let (args, probe) =
        (args.map(str::to_owned).to_vec(), Probe::Http(format!("http://127.0.0.1:{port}/health")));
    let name = "influxdb".to_owned();
    let program = program.to_owned();
    Ok(Plan { name, program, args, env: vec![], folder, probe, ready_limit: READY_LIMIT })
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or(Value::Null)
}

fn text_of(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
