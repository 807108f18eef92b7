//! The HTTP listener: `/v2/..` as the exchange, `/sim/..` for judges and test drivers in other processes.
//! Admin requests meet no limit and no fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Json, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::faults::Fault;
use super::rest::Answer;
use super::row::NewTrade;
use super::truth::TruthQuery;
use super::{Shared, truth_of};

type Site = State<Arc<Shared>>;

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v2/{*path}", get(exchange))
        .route("/sim/clock", get(clock))
        .route("/sim/advance", post(advance))
        .route("/sim/clock/pause", post(|State(s): Site| async move { clock_paused(&s, true) }))
        .route("/sim/clock/resume", post(|State(s): Site| async move { clock_paused(&s, false) }))
        .route("/sim/market/pause", post(|State(s): Site| async move { market(&s, false) }))
        .route("/sim/market/resume", post(|State(s): Site| async move { market(&s, true) }))
        .route("/sim/trade_until", post(trade_until))
        .route("/sim/connections", get(connections))
        .route("/sim/truth", get(truth))
        .route("/sim/fault", post(fault))
        .route("/sim/faults", get(faults))
        .route("/sim/publish", post(publish))
        .with_state(shared)
}

async fn exchange(
    State(shared): Site,
    Path(path): Path<String>,
    query: Result<Query<BTreeMap<String, String>>, QueryRejection>,
) -> Response {
    let answer = match query {
        Ok(Query(query)) => shared.with(|core| core.rest(&path, &query)),
        Err(_) => Answer::bad("query"),
    };
    shared.wake.notify_one();
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], answer.body).into_response()
}

fn refusal(error: impl std::fmt::Display) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error.to_string()}))).into_response()
}

async fn clock(State(shared): Site) -> Response {
    let clock = shared.with(|core| {
        core.catch_up();
        json!({
            "ms": core.at_ms,
            "start_ms": core.start_ms,
            "trades_happened": core.truth.happened,
            "frames_lost": core.truth.frames_lost,
            "paused": core.clock_paused,
        })
    });
    Json(clock).into_response()
}

#[derive(Deserialize)]
struct Ms {
    ms: i64,
}

async fn advance(State(shared): Site, query: Result<Query<Ms>, QueryRejection>) -> Response {
    match query {
        Ok(Query(Ms { ms })) => Json(json!({"ms": shared.advance(ms)})).into_response(),
        Err(error) => refusal(error),
    }
}

async fn trade_until(State(shared): Site, query: Result<Query<Ms>, QueryRejection>) -> Response {
    match query {
        Ok(Query(Ms { ms })) => {
            shared.trade_until(ms);
            Json(json!({"trade_until_ms": ms})).into_response()
        }
        Err(error) => refusal(error),
    }
}

fn clock_paused(shared: &Shared, paused: bool) -> Response {
    shared.pause_clock(paused);
    Json(json!({"paused": paused})).into_response()
}

fn market(shared: &Shared, open: bool) -> Response {
    shared.open_market(open);
    Json(json!({"trading": open})).into_response()
}

async fn connections(State(shared): Site) -> Response {
    Json(super::connections_of(&shared)).into_response()
}

async fn truth(State(shared): Site, query: Result<Query<TruthQuery>, QueryRejection>) -> Response {
    let trades = match query {
        Ok(Query(query)) => truth_of(&shared, &query),
        Err(error) => return refusal(error),
    };
    match trades {
        Ok(trades) => {
            let lines: Vec<String> = trades.iter().filter_map(|t| serde_json::to_string(t).ok()).collect();
            ([(header::CONTENT_TYPE, "application/jsonl")], lines.join("\n") + "\n").into_response()
        }
        Err(error) => refusal(error),
    }
}

async fn fault(State(shared): Site, fault: Result<Json<Fault>, JsonRejection>) -> Response {
    match fault {
        Ok(Json(fault)) => match shared.fault(&fault) {
            Ok(at_ms) => Json(json!({"at_ms": at_ms})).into_response(),
            Err(error) => refusal(error),
        },
        Err(error) => refusal(error),
    }
}

async fn faults(State(shared): Site) -> Response {
    let log = shared.with(|core| core.fault_log.clone());
    let rows: Vec<_> =
        log.into_iter().map(|(at_ms, fault)| json!({"at_ms": at_ms, "fault": fault})).collect();
    Json(rows).into_response()
}

#[derive(Deserialize)]
struct Publish {
    symbol: String,
    #[serde(flatten)]
    trade: serde_json::Map<String, serde_json::Value>,
}

async fn publish(State(shared): Site, body: Result<Json<Publish>, JsonRejection>) -> Response {
    let publish = match body {
        Ok(Json(publish)) => publish,
        Err(error) => return refusal(error),
    };
    let trade: Result<NewTrade, _> = serde_json::from_value(publish.trade.into());
    let done = trade.map_err(anyhow::Error::from).and_then(|trade| shared.publish(&publish.symbol, &trade));
    match done {
        Ok((id, ms)) => Json(json!({"id": id, "ms": ms})).into_response(),
        Err(error) => refusal(error),
    }
}
