//! A small schema registry with Confluent's API: what the workers and `candlectl` use of it, kept in memory.
//!
//! It compares schemas as text; a subject may be closed, so that anything new is refused as incompatible.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::Server;

type Answer = (StatusCode, Json<Value>);
type Shared = Arc<Mutex<Contents>>;

#[derive(Debug, Default)]
struct Contents {
    /// Schema texts; the id is the index + 1.
    schemas: Vec<String>,
    /// Versions of each subject, as ids.
    subjects: BTreeMap<String, Vec<usize>>,
    configs: BTreeMap<String, Value>,
    closed: BTreeSet<String>,
    unavailable: bool,
    requests: Vec<String>,
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    contents: Shared,
}

impl Registry {
    /// Starts an empty one on a free port.
    pub async fn start() -> std::io::Result<Self> {
        let contents = Shared::default();
        let router = Router::new()
            .route("/subjects", get(subjects))
            .route("/subjects/{subject}", post(lookup))
            .route("/subjects/{subject}/versions", get(versions).post(register))
            .route("/subjects/{subject}/versions/{version}", get(version))
            .route("/schemas/ids/{id}", get(by_id))
            .route("/compatibility/subjects/{subject}/versions/latest", post(compatibility))
            .route("/config/{subject}", get(config).put(set_config))
            .with_state(Arc::clone(&contents));
        Ok(Self { server: Server::start(router).await?, contents })
    }

    /// Base URL, without a path prefix.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Puts a schema under a subject, as another client would. Returns its id.
    pub fn put(&self, subject: &str, schema: &str) -> u32 {
        self.lock().put(subject, schema) as u32
    }

    /// From now on, new schemas under `subject` are refused with 409.
    pub fn close(&self, subject: &str) {
        self.lock().closed.insert(subject.to_owned());
    }

    /// While true, every request is answered with 503.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.lock().unavailable = unavailable;
    }

    /// Requests so far, as method and path.
    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}

impl Contents {
    fn put(&mut self, subject: &str, schema: &str) -> usize {
        let known = self.schemas.iter().position(|s| s == schema);
        let id = 1 + known.unwrap_or_else(|| {
            self.schemas.push(schema.to_owned());
            self.schemas.len() - 1
        });
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        if !versions.contains(&id) {
            versions.push(id);
        }
        id
    }

    /// Notes the request; an error while the registry is unavailable.
    fn enter(&mut self, request: String) -> Result<(), Answer> {
        self.requests.push(request);
        if self.unavailable {
            Err(problem(StatusCode::SERVICE_UNAVAILABLE, 50003, "unavailable"))
        } else {
            Ok(())
        }
    }
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

fn problem(status: StatusCode, code: u32, message: &str) -> Answer {
    (status, Json(json!({ "error_code": code, "message": message })))
}

fn schema_text(body: &Value) -> &str {
    body["schema"].as_str().unwrap_or_default()
}

async fn lookup(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let mut contents = lock(&shared);
    if let Err(answer) = contents.enter(format!("POST /subjects/{subject}")) {
        return answer;
    }
    let Some(versions) = contents.subjects.get(&subject) else {
        return problem(StatusCode::NOT_FOUND, 40401, "Subject not found");
    };
    match versions.iter().find(|id| contents.schemas[**id - 1] == schema_text(&body)) {
        Some(id) => (StatusCode::OK, Json(json!({ "subject": subject, "id": id }))),
        None => problem(StatusCode::NOT_FOUND, 40403, "Schema not found"),
    }
}

async fn register(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let mut contents = lock(&shared);
    if let Err(answer) = contents.enter(format!("POST /subjects/{subject}/versions")) {
        return answer;
    }
    let schema = schema_text(&body).to_owned();
    if contents.closed.contains(&subject) {
        return problem(
            StatusCode::CONFLICT,
            409,
            "Schema being registered is incompatible with an earlier schema",
        );
    }
    if serde_json::from_str::<Value>(&schema).is_err() {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, 42201, "Invalid schema");
    }
    let id = contents.put(&subject, &schema);
    (StatusCode::OK, Json(json!({ "id": id })))
}

async fn subjects(State(shared): State<Shared>) -> Answer {
    let mut contents = lock(&shared);
    if let Err(answer) = contents.enter("GET /subjects".to_owned()) {
        return answer;
    }
    (StatusCode::OK, Json(json!(contents.subjects.keys().collect::<Vec<_>>())))
}

async fn versions(State(shared): State<Shared>, Path(subject): Path<String>) -> Answer {
    let mut contents = lock(&shared);
    if let Err(answer) = contents.enter(format!("GET /subjects/{subject}/versions")) {
        return answer;
    }
    match contents.subjects.get(&subject) {
        Some(ids) => (StatusCode::OK, Json(json!((1..=ids.len()).collect::<Vec<_>>()))),
        None => problem(StatusCode::NOT_FOUND, 40401, "Subject not found"),
    }
}

/// A number, or `latest`.
async fn version(State(shared): State<Shared>, Path((subject, version)): Path<(String, String)>) -> Answer {
    let mut contents = lock(&shared);
    if let Err(answer) = contents.enter(format!("GET /subjects/{subject}/versions/{version}")) {
        return answer;
    }
    let Some(ids) = contents.subjects.get(&subject) else {
        return problem(StatusCode::NOT_FOUND, 40401, "Subject not found");
    };
    let number = if version == "latest" { ids.len() } else { version.parse().unwrap_or(0) };
    match number.checked_sub(1).and_then(|index| ids.get(index)) {
        Some(id) => {
            let schema = &contents.schemas[id - 1];
            let answer = json!({ "subject": subject, "version": number, "id": id, "schema": schema });
            (StatusCode::OK, Json(answer))
        }
        None => problem(StatusCode::NOT_FOUND, 40402, "Version not found"),
    }
}

async fn by_id(State(shared): State<Shared>, Path(id): Path<usize>) -> Answer {
    let mut contents = lock(&shared);
    if let Err(answer) = contents.enter(format!("GET /schemas/ids/{id}")) {
        return answer;
    }
    match id.checked_sub(1).and_then(|index| contents.schemas.get(index)) {
        Some(schema) => (StatusCode::OK, Json(json!({ "schema": schema }))),
        None => problem(StatusCode::NOT_FOUND, 40403, "Schema not found"),
    }
}

/// A closed subject takes only what it has.
async fn compatibility(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let mut contents = lock(&shared);
    if let Err(answer) = contents.enter(format!("POST /compatibility/subjects/{subject}/versions/latest")) {
        return answer;
    }
    let Some(ids) = contents.subjects.get(&subject) else {
        return problem(StatusCode::NOT_FOUND, 40401, "Subject not found");
    };
    let known = ids.iter().any(|id| contents.schemas[*id - 1] == schema_text(&body));
    (StatusCode::OK, Json(json!({ "is_compatible": known || !contents.closed.contains(&subject) })))
}

async fn config(State(shared): State<Shared>, Path(subject): Path<String>) -> Answer {
    match lock(&shared).configs.get(&subject) {
        Some(config) => (StatusCode::OK, Json(config.clone())),
        None => problem(
            StatusCode::NOT_FOUND,
            40408,
            "Subject does not have subject-level compatibility configured",
        ),
    }
}

async fn set_config(
    State(shared): State<Shared>,
    Path(subject): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    lock(&shared).configs.insert(subject, body.clone());
    (StatusCode::OK, Json(body))
}
