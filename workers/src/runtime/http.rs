//! `/healthz`, `/readyz` and `/metrics`: health and metrics in, answers to probes and Prometheus out. Read only.

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::health::Health;

/// What Prometheus is told the body is.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Binds `address`; the error says what to do when it is taken.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; give another with --http-address, or port 0 for any")
    })
}

/// Answers until `shutdown` completes.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: Arc<Registry>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let live = Arc::clone(&health);
    let router = Router::new()
        .route("/healthz", get(async move || healthz(&live)))
        .route("/readyz", get(async move || readyz(&health)))
        .route("/metrics", get(async move || encode(&metrics)));
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

fn healthz(health: &Health) -> (StatusCode, &'static str) {
    if health.is_live() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the main loop does not turn\n")
    }
}

fn readyz(health: &Health) -> (StatusCode, String) {
    let reasons = health.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}

fn encode(metrics: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, metrics) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
