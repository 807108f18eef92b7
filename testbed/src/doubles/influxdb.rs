//! A small InfluxDB 2 and 3: checks token and bucket, parses every line, keeps points in memory, answers the queries
//! that `candlectl` sends to version 2 (`flux.rs`), and can be told to misbehave.
//!
//! Identity of a point: measurement, tags and time; a later write of the same fields wins. Unlike the real server,
//! it keeps a note of every point that was written again with other values.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;

use super::{Server, flux};

/// Organization of the endpoint.
pub const ORGANIZATION: &str = "candles";
/// Bucket (v2) or database (v3) of the endpoint.
pub const BUCKET: &str = "candles";
/// Token of the endpoint.
pub const TOKEN: &str = "canary-token-of-the-double";

type Shared = Arc<Mutex<Contents>>;

/// Measurement, tags, time (ns).
pub type Key = (String, String, i64);
/// Fields by name, as written.
pub type Fields = BTreeMap<String, String>;

/// How the endpoint answers one request.
#[derive(Debug, Clone)]
pub enum Misbehaviour {
    /// With this status, storing nothing.
    Status(u16),
    /// With 429 or 503 and `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// Stores the points, and answers 500 all the same.
    LoseAnswer,
    /// As always, but this late.
    Slow(Duration),
    /// Cuts the connection, storing nothing.
    Cut,
    /// Stores the points, and cuts the connection.
    CutAfterStoring,
    /// With this status and an HTML page, as a proxy or another server would.
    Foreign(u16),
}

#[derive(Debug)]
struct Contents {
    token: String,
    /// Bodies with more bytes are refused with 413.
    bytes_max: usize,
    /// When each request came.
    times: Vec<Instant>,
    points: BTreeMap<Key, Fields>,
    rewritten: Vec<(Key, Fields, Fields)>,
    script: VecDeque<Misbehaviour>,
    outage: Option<u16>,
    /// Lines that contain this text are refused.
    poison: Option<String>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            token: TOKEN.to_owned(),
            bytes_max: usize::MAX,
            times: Vec::new(),
            points: BTreeMap::new(),
            rewritten: Vec::new(),
            script: VecDeque::new(),
            outage: None,
            poison: None,
        }
    }
}

/// A running endpoint.
#[derive(Debug)]
pub struct Influxdb {
    server: Server,
    contents: Shared,
}

impl Influxdb {
    /// Starts an empty one on a free port.
    pub async fn start() -> std::io::Result<Self> {
        let contents = Shared::default();
        let router = Router::new()
            .route("/api/v2/write", post(write_v2))
            .route("/api/v2/query", post(query_v2))
            .route("/api/v3/write_lp", post(write_v3))
            .with_state(Arc::clone(&contents));
        Ok(Self { server: Server::start(router).await?, contents })
    }

    /// Base URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// All points of a measurement.
    pub fn points(&self, measurement: &str) -> BTreeMap<Key, Fields> {
        self.lock()
            .points
            .iter()
            .filter(|(key, _)| key.0 == measurement)
            .map(|(k, f)| (k.clone(), f.clone()))
            .collect()
    }

    /// Number of points of a measurement at or after a time (ns).
    pub fn count_since(&self, measurement: &str, from_ns: i64) -> usize {
        self.lock().points.keys().filter(|key| key.0 == measurement && key.2 >= from_ns).count()
    }

    /// Points of a measurement that were written again with other values: before and after.
    pub fn rewritten(&self, measurement: &str) -> Vec<(Key, Fields, Fields)> {
        self.lock().rewritten.iter().filter(|(key, _, _)| key.0 == measurement).cloned().collect()
    }

    /// Answers the next requests in these ways.
    pub fn misbehave(&self, ways: impl IntoIterator<Item = Misbehaviour>) {
        self.lock().script.extend(ways);
    }

    /// Until told otherwise, answers every request with this status.
    pub fn set_outage(&self, status: Option<u16>) {
        self.lock().outage = status;
    }

    /// Refuses lines that contain `text`.
    pub fn poison(&self, text: &str) {
        self.lock().poison = Some(text.to_owned());
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.lock().times.len()
    }

    /// When each request came.
    pub fn request_times(&self) -> Vec<Instant> {
        self.lock().times.clone()
    }

    /// Whether all that [`Self::misbehave`] asked for was done.
    pub fn behaves(&self) -> bool {
        self.lock().script.is_empty()
    }

    /// From now on, only this token is known.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.lock().token);
    }

    /// Refuses longer bodies with 413.
    pub fn set_bytes_max(&self, bytes: usize) {
        self.lock().bytes_max = bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write_v2(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let place = query.get("org").is_some_and(|org| org == ORGANIZATION)
        && query.get("bucket").is_some_and(|b| b == BUCKET);
    let (way, mut answer) = match enter(&shared, &headers, "Token", place, body.len()).await {
        Ok(way) => way,
        Err(answer) => return answer,
    };
    let mut contents = lock(&shared);
    let lines: Vec<&str> = std::str::from_utf8(&body).unwrap_or("\u{0}").lines().collect();
    // v2 stores nothing of a request with a malformed line.
    if let Some(line) = lines.iter().find(|line| contents.refuses(line)) {
        return problem(StatusCode::BAD_REQUEST, &format!("unable to parse '{line}': poisoned"));
    }
    for line in lines {
        contents.store(line);
    }
    drop(contents);
    match way {
        Some(Misbehaviour::LoseAnswer) => {
            answer = problem(StatusCode::INTERNAL_SERVER_ERROR, "answer lost");
        }
        Some(Misbehaviour::CutAfterStoring) => cut(),
        _ => {}
    }
    answer
}

/// Ends the connection's task, and with it the connection: the client gets no answer.
fn cut() -> ! {
    std::panic::resume_unwind(Box::new("connection cut, as told"))
}

async fn write_v3(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let place = query.get("db").is_some_and(|db| db == BUCKET);
    let (_, answer) = match enter(&shared, &headers, "Bearer", place, body.len()).await {
        Ok(way) => way,
        Err(answer) => return answer,
    };
    let mut contents = lock(&shared);
    let mut refused = Vec::new();
    for (index, line) in std::str::from_utf8(&body).unwrap_or("\u{0}").lines().enumerate() {
        if contents.refuses(line) {
            refused.push(
                json!({ "line_number": index + 1, "original_line": line, "error_message": "poisoned" }),
            );
        } else {
            contents.store(line);
        }
    }
    if refused.is_empty() {
        return answer;
    }
    refused.truncate(100);
    let body = json!({ "error": "partial write of line protocol occurred", "data": refused });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// One table with a column for each tag and field, as CSV.
async fn query_v2(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    Json(body): Json<serde_json::Value>,
) -> Response {
    let contents = lock(&shared);
    if let Some(status) = contents.outage {
        return problem(StatusCode::from_u16(status).unwrap_or_default(), "outage");
    }
    let token = format!("Token {}", contents.token);
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != &token) {
        return problem(StatusCode::UNAUTHORIZED, "unauthorized access");
    }
    let asked = match flux::parse(body["query"].as_str().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error),
    };
    if asked.bucket != BUCKET || query.get("org").is_none_or(|org| org != ORGANIZATION) {
        return problem(StatusCode::NOT_FOUND, "bucket not found");
    }
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], contents.answer(&asked)).into_response()
}

/// Token, place and script: how to go on, or the answer.
async fn enter(
    shared: &Shared,
    headers: &HeaderMap,
    scheme: &str,
    place: bool,
    bytes: usize,
) -> Result<(Option<Misbehaviour>, Response), Response> {
    let way = {
        let mut contents = lock(shared);
        contents.times.push(Instant::now());
        if bytes > contents.bytes_max {
            return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "too long"));
        }
        if let Some(status) = contents.outage {
            return Err(problem(StatusCode::from_u16(status).unwrap_or_default(), "outage"));
        }
        contents.script.pop_front()
    };
    match way {
        Some(Misbehaviour::Status(status)) => {
            return Err(problem(StatusCode::from_u16(status).unwrap_or_default(), "as told"));
        }
        Some(Misbehaviour::RetryAfter(status, seconds)) => {
            let mut answer = problem(StatusCode::from_u16(status).unwrap_or_default(), "busy");
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            return Err(answer);
        }
        Some(Misbehaviour::Slow(delay)) => tokio::time::sleep(delay).await,
        Some(Misbehaviour::Cut) => cut(),
        Some(Misbehaviour::Foreign(status)) => {
            let page = "<html>Client sent an HTTP request to an HTTPS server.</html>";
            return Err((StatusCode::from_u16(status).unwrap_or_default(), page).into_response());
        }
        _ => {}
    }
    let expected = format!("{scheme} {}", lock(shared).token);
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != &expected) {
        return Err(problem(StatusCode::UNAUTHORIZED, "unauthorized access"));
    }
    if !place {
        return Err(problem(StatusCode::NOT_FOUND, "bucket not found"));
    }
    Ok((way, StatusCode::NO_CONTENT.into_response()))
}

/// As InfluxDB 2 says it.
fn problem(status: StatusCode, message: &str) -> Response {
    let code = match status {
        StatusCode::BAD_REQUEST => "invalid",
        StatusCode::UNPROCESSABLE_ENTITY => "unprocessable entity",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::NOT_FOUND => "not found",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        _ => "internal error",
    };
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}

impl Contents {
    fn refuses(&self, line: &str) -> bool {
        let poisoned = self.poison.as_ref().is_some_and(|text| line.contains(text.as_str()));
        poisoned || !(line.is_empty() || line.starts_with('#') || parse(line).is_some())
    }

    /// Rows in order of time. Cells hold neither commas nor quotes: lines with escapes are not understood.
    fn answer(&self, asked: &flux::Query) -> String {
        let tags: Vec<String> = asked.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        let wanted = |(key, _): &(&Key, &Fields)| {
            let has = |tag: &String| key.1.split(',').any(|found| found == tag);
            (asked.start_ns..asked.stop_ns).contains(&key.2) && tags.iter().all(has)
        };
        let first = (asked.measurement.clone(), String::new(), i64::MIN);
        let measured = self.points.range(first..).take_while(|(key, _)| key.0 == asked.measurement);
        let mut found: Vec<(&Key, &Fields)> = measured.filter(wanted).collect();
        found.sort_by_key(|(key, _)| key.2);
        let Some((_, fields)) = found.first() else { return "\r\n".to_owned() };
        if asked.newest {
            let newest_ns = found.last().map_or(0, |(key, _)| key.2);
            return format!(",result,table,time_ns\r\n,_result,0,{newest_ns}\r\n\r\n");
        }
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        let row = |(key, fields): &(&Key, &Fields)| {
            let cell = |name: &&str| {
                let value = fields.get(*name).map(String::as_str).unwrap_or_default();
                value.trim_end_matches('i').trim_matches('"').to_owned()
            };
            let cells: Vec<String> = names.iter().map(cell).collect();
            format!(",_result,0,{},{}\r\n", key.2, cells.join(","))
        };
        let rows: String = found.iter().map(row).collect();
        format!(",result,table,time_ns,{}\r\n{rows}\r\n", names.join(","))
    }

    fn store(&mut self, line: &str) {
        let Some((key, fields)) = parse(line) else { return };
        let stored = self.points.entry(key.clone()).or_default();
        let before = stored.clone();
        stored.extend(fields);
        if !before.is_empty() && before != *stored {
            self.rewritten.push((key, before, stored.clone()));
        }
    }
}

/// A line without escapes: the pipeline's usual names have none.
fn parse(line: &str) -> Option<(Key, Fields)> {
    let mut parts = line.split(' ');
    let (series, fields, time) = (parts.next()?, parts.next()?, parts.next()?);
    let (measurement, tags) = series.split_once(',').unwrap_or((series, ""));
    let fields =
        fields.split(',').map(|field| field.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())));
    let fields: Fields = fields.collect::<Option<_>>()?;
    let known_types = |value: &String| {
        let number = value.strip_suffix('i').unwrap_or(value);
        number.parse::<f64>().is_ok() || (value.starts_with('"') && value.ends_with('"'))
    };
    let well_formed = parts.next().is_none() && !measurement.is_empty() && fields.values().all(known_types);
    well_formed.then_some(())?;
    Some(((measurement.to_owned(), tags.to_owned(), time.parse().ok()?), fields))
}
