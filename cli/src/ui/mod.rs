//! The web application: settings of a pipeline in, pages, JSON and event streams out. Reads only; anyone who can reach
//! its address can read, so it listens on this machine unless told otherwise.
//!
//! - Works while parts are down: each answer says which part has a problem and what to do. (`parts_that_are_down_are_named`)
//! - Refuses requests for foreign names (DNS rebinding) and all methods but GET. (`foreign_hosts_and_other_methods_are_refused`)
//! - Pages load nothing from other hosts and run no code but their own. (`pages_load_nothing_from_elsewhere`)

mod api;
mod assets;
mod live;
mod members;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use candles_core::config::PipelineConfig;
use candles_workers::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::members::Consumer;
use crate::influx;
use crate::kafka::Cluster;

/// Where the pages are when nobody says another.
pub const USUAL_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);
/// Event streams at one time; each follows the database or the brokers.
const STREAMS_MAX: usize = 32;

/// What the pages say about where they come from.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The brokers are librdkafka's mock cluster.
    pub stand_in: bool,
    /// Consumers that are asked themselves where brokers list no groups.
    pub consumers: Vec<Consumer>,
    /// One line at the foot of the pages; empty for none.
    pub note: String,
}

/// What the handlers share.
struct App {
    config: PipelineConfig,
    about: About,
    cluster: Arc<Cluster>,
    registry: Registry,
    influxdb: Option<influx::Reader>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

type Shared = State<Arc<App>>;

/// Binds `address`; the error says what to do when it is taken.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; give another with --address, or port 0 for any")
    })
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    config: PipelineConfig,
    about: About,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = App {
        cluster: Arc::new(Cluster::new(&config, about.stand_in)?),
        registry: Registry::new(&config.schema_registry)?,
        influxdb: config.influxdb.as_ref().map(influx::Reader::new).transpose()?,
        config,
        about,
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        stop: stop.clone(),
    };
    let router = Router::new()
        .route("/", get(assets::index))
        .route("/assets/{name}", get(assets::asset))
        .route("/api/pipeline", get(api::pipeline))
        .route("/api/status", get(api::status))
        .route("/api/candles", get(api::candles))
        .route("/api/candles/live", get(live::candles))
        .route("/api/topics", get(api::topics))
        .route("/api/topics/{topic}/settings", get(api::topic_settings))
        .route("/api/groups", get(api::groups))
        .route("/api/schemas", get(api::schemas))
        .route("/api/records/live", get(live::records))
        .with_state(Arc::new(app))
        .layer(middleware::from_fn(guard));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

/// Headers of every answer. A page may load and ask this server only, and may not be framed.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

async fn guard(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut response = if !is_literal(host) {
        let text = "This page answers to localhost and IP addresses only, not to other names.\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    } else if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, "Read only.\n").into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().extend(HEADERS);
    response
}

/// Whether a `Host` header names this machine in a way that no foreign DNS server decides about.
fn is_literal(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_no_dns_server_decides_about_are_ours() {
        for host in ["localhost", "localhost:8090", "127.0.0.1:1", "[::1]:8090", "10.1.2.3"] {
            assert!(is_literal(host), "{host}");
        }
        for host in ["", "example.com", "example.com:8090", "127.0.0.1.example.com", "localhost.evil"] {
            assert!(!is_literal(host), "{host}");
        }
    }
}
