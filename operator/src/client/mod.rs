//! The connection to the API server: where it is in, a client whose every request is counted and fenced out.
//!
//! - Without the lease no request that changes anything leaves the process; only the lease itself may be asked for.
//!   (`a_process_without_the_lease_changes_nothing`)
//! - Requests are not repeated behind the caller's back: the pass over the pipeline fails and comes again, with a
//!   backoff of its own.

mod fence;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::{Client, Config, client::ClientBuilder};

pub use self::fence::{Fence, MayWrite, NotLeader, Pulse};
use crate::metrics::Metrics;

/// Reads kubeconfig or the pod's service account, and makes a client.
pub async fn connect(
    may_write: MayWrite,
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
) -> anyhow::Result<Client> {
    let mut config = Config::infer()
        .await
        .context("no way to the API server: neither KUBECONFIG nor a service account's token leads to one")?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(concat!("candles-operator/", env!("CARGO_PKG_VERSION"))),
    ));
    let builder = ClientBuilder::try_from(config).context("the settings of the API server cannot be used")?;
    Ok(builder.with_layer(&Fence::new(may_write, metrics, pulse)).build())
}
