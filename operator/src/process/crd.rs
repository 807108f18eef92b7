//! Whether the API server knows `CandlePipeline`: asked by discovery, which needs no right of its own.

use std::time::Duration;

use candles_workers::runtime::{chain, health::Health};
use kube::Client;

/// The part of readiness that is about the definition.
pub const PART: &str = "api";
/// Between two looks while it is missing.
const AGAIN: Duration = Duration::from_secs(5);

/// Returns when the API server serves the resource; says what to do until then.
pub async fn wait(client: &Client, health: &Health) {
    loop {
        let problem = match client.list_api_group_resources("candles.dev/v1alpha1").await {
            Ok(list) if list.resources.iter().any(|resource| resource.name == "candlepipelines") => {
                health.works(PART);
                return;
            }
            Ok(_) => MISSING.to_owned(),
            Err(kube::Error::Api(status)) if status.code == 404 => MISSING.to_owned(),
            Err(error) => format!("the API server does not answer: {}", chain(&error)),
        };
        if health.fails(PART, problem.clone()) {
            tracing::warn!(problem, "waiting for the API server");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

const MISSING: &str = "the API server does not know candlepipelines.candles.dev/v1alpha1; install the definition: \
                       operator crd | kubectl apply --server-side -f -";
