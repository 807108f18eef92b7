//! A layer around the client's requests: refuses changes without the lease, limits their time, counts all.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use tower::{BoxError, Layer, Service};

use crate::{
    limits::{LIST, READ, WRITE},
    metrics::{ApiLabels, Metrics},
};

/// Asked right before each change.
pub type MayWrite = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why a change was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this operator does not hold the lease, so it changes nothing")]
pub struct NotLeader;

/// When the API server last answered a watch. It ends each after a few minutes, so a long silence means that none of
/// them is made anew.
#[derive(Debug)]
pub struct Pulse(Mutex<Instant>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Pulse {
    /// A watch was answered, or the watches begin.
    pub fn watched(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Since when no watch was answered.
    pub fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Puts a fence around a service.
#[derive(Clone)]
pub struct Fence {
    may_write: MayWrite,
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
}

impl Fence {
    /// Asks `may_write` before each change.
    pub fn new(may_write: MayWrite, metrics: Arc<Metrics>, pulse: Arc<Pulse>) -> Self {
        Self { may_write, metrics, pulse }
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { inner, fence: self.clone() }
    }
}

/// A service behind the fence.
#[derive(Clone)]
pub struct Fenced<S> {
    inner: S,
    fence: Fence,
}

impl<S, A, B> Service<Request<A>> for Fenced<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let call = Call::of(&request);
        let (metrics, pulse) = (Arc::clone(&self.fence.metrics), Arc::clone(&self.fence.pulse));
        if call.changes && call.resource != "leases" && !(self.fence.may_write)() {
            metrics.api(
                &ApiLabels { verb: call.verb, resource: call.resource, code: "fenced".to_owned() },
                None,
            );
            return Box::pin(std::future::ready(Err(BoxError::from(NotLeader))));
        }
        let limit = match call.verb {
            // The server answers a watch with its first event.
            "watch" | "list" => LIST,
            _ if call.changes => WRITE,
            _ => READ,
        };
        let began = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = tokio::time::timeout(limit, answer).await;
            let code = match &answer {
                Ok(Ok(answer)) => answer.status().as_u16().to_string(),
                Ok(Err(_)) => "error".to_owned(),
                Err(_) => "timeout".to_owned(),
            };
            if call.verb == "watch" && matches!(&answer, Ok(Ok(answer)) if answer.status().is_success()) {
                pulse.watched();
            }
            let labels = ApiLabels { verb: call.verb, resource: call.resource, code };
            metrics.api(&labels, (call.verb != "watch").then(|| began.elapsed()));
            match answer {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(format!("no answer from the API server within {} s", limit.as_secs()).into()),
            }
        })
    }
}

/// A request as RBAC and metrics see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    verb: &'static str,
    resource: String,
    changes: bool,
}

impl Call {
    fn of<A>(request: &Request<A>) -> Self {
        let path: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
        // api/v1/... or apis/GROUP/VERSION/..., then perhaps namespaces/NAME.
        let rest = match path.first() {
            Some(&"api") => path.get(2..),
            Some(&"apis") => path.get(3..),
            _ => None,
        };
        let rest = match rest.unwrap_or_default() {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let verb = match (request.method(), rest.len()) {
            (&Method::GET, 1) if is_watch => "watch",
            (&Method::GET, 1) => "list",
            (&Method::GET, _) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, 1) => "deletecollection",
            (&Method::DELETE, _) => "delete",
            _ => "other",
        };
        let resource = match rest {
            [] => "discovery".to_owned(),
            [resource] | [resource, _] => (*resource).to_owned(),
            [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
        };
        Self { verb, resource, changes: !matches!(verb, "get" | "list" | "watch") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str) -> (&'static str, String) {
        let call = Call::of(&Request::builder().method(method).uri(uri).body(()).unwrap());
        (call.verb, call.resource)
    }

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        let base = "http://k/apis/apps/v1/namespaces/ns/deployments";
        assert_eq!(call("GET", base), ("list", "deployments".to_owned()));
        assert_eq!(call("GET", &format!("{base}?watch=true&x=1")), ("watch", "deployments".to_owned()));
        assert_eq!(call("PATCH", &format!("{base}/a?fieldManager=m")), ("patch", "deployments".to_owned()));
        assert_eq!(
            call("POST", "http://k/api/v1/namespaces/ns/configmaps"),
            ("create", "configmaps".to_owned())
        );
        assert_eq!(call("GET", "http://k/api/v1/configmaps"), ("list", "configmaps".to_owned()));
        assert_eq!(call("GET", "http://k/api/v1/namespaces/ns"), ("get", "namespaces".to_owned()));
        let status = "http://k/apis/candles.dev/v1alpha1/namespaces/ns/candlepipelines/a/status";
        assert_eq!(call("PATCH", status), ("patch", "candlepipelines/status".to_owned()));
        assert_eq!(call("GET", "http://k/apis/kafka.strimzi.io"), ("get", "discovery".to_owned()));
    }

    #[tokio::test]
    async fn a_process_without_the_lease_changes_nothing() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let server = {
            let sent = Arc::clone(&sent);
            tower::service_fn(move |request: Request<()>| {
                sent.lock().unwrap().push(request.method().clone());
                async { Ok::<_, BoxError>(Response::new(())) }
            })
        };
        let metrics = Arc::new(Metrics::new(&mut prometheus_client::registry::Registry::default()));
        let mut fenced = Fence::new(Arc::new(|| false), metrics, Arc::default()).layer(server);
        let uri = "http://k/apis/apps/v1/namespaces/ns/deployments/a";
        let request = |method: &str, uri: &str| Request::builder().method(method).uri(uri).body(()).unwrap();
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let error = fenced.call(request(method, uri)).await.unwrap_err();
            assert!(error.downcast_ref::<NotLeader>().is_some(), "{error}");
        }
        fenced.call(request("GET", uri)).await.unwrap();
        let lease = "http://k/apis/coordination.k8s.io/v1/namespaces/ns/leases/l";
        fenced.call(request("PATCH", lease)).await.unwrap();
        assert_eq!(*sent.lock().unwrap(), [Method::GET, Method::PATCH]);
    }
}
