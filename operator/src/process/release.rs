//! `operator release`, for an operator that goes for good: a scope in, pipelines that nobody holds any more out.
//!
//! With `deletionPolicy: Delete` a finalizer holds a deleted pipeline, and thereby its namespace, until the operator
//! has deleted the topic. Without an operator nobody would take it off. Topics and workers stay as they are; the next
//! operator puts the finalizer on again.
//!
//! It takes the lease first, so it waits for an operator that is ending, and is refused while one works: that one
//! would only put them on again. (`a_namespace_is_gone_within_a_minute_with_the_operator_gone_for_good`)

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, bail};
use candles_workers::runtime::{
    health::Health,
    logs::{self, LogFormat},
    shutdown,
};
use clap::Args;
use kube::{Api, Client, api::ListParams};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{arguments, rbac::Rule, serve::identity};
use crate::{
    api::CandlePipeline,
    client::{self, MayWrite, Pulse},
    controller::{
        Scope,
        objects::{ApiError, FINALIZER, Objects},
        watches,
    },
    lease::{self, Candidate, KubeLease, Leadership},
    limits::{LEASE_DURATION, LEASE_REQUEST, LIST},
    metrics::Metrics,
};

/// An operator that was killed leaves a lease that has to expire.
const TAKE_LEASE: Duration = Duration::from_secs(2 * LEASE_DURATION.as_secs());
/// Pipelines in one answer of the API server.
const PAGE: u32 = 500;
/// A pipeline that changes while it is let go is read again this often.
const ROUNDS: usize = 5;

/// What it needs in the namespaces of pipelines, beside the lease. The chart grants it to the Job of `helm uninstall`.
pub const RULES: [Rule; 1] =
    [Rule { group: "candles.dev", resource: "candlepipelines", verbs: &["list", "patch"] }];

/// Arguments of `operator release`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Namespaces whose pipelines are let go. May be repeated, or separated by commas.
    #[arg(
        long = "namespace",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        required_unless_present = "all_namespaces"
    )]
    pub namespaces: Vec<String>,
    /// Lets the pipelines of all namespaces go.
    #[arg(long, conflicts_with = "namespaces")]
    pub all_namespaces: bool,
    /// Name of the Lease; as in `operator run`.
    #[arg(long, value_name = "NAME", default_value = "candles-operator")]
    pub lease_name: String,
    /// Namespace of that Lease; as in `operator run`.
    #[arg(long, value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// How log events are written to standard error.
    #[arg(long, value_enum, default_value = "auto")]
    pub log_format: LogFormat,
}

/// Lets go, and says of which pipelines.
pub fn main(arguments: &Arguments) -> ExitCode {
    logs::init(arguments.log_format);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(under_lease(arguments))) {
        Ok(count) => {
            tracing::info!(count, "released; their topics stay");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn under_lease(arguments: &Arguments) -> anyhow::Result<usize> {
    let stop = shutdown::on_signal()?;
    let leadership: Arc<OnceLock<Leadership>> = Arc::default();
    let may_write: MayWrite = {
        let leadership = Arc::clone(&leadership);
        Arc::new(move || leadership.get().is_some_and(Leadership::holds))
    };
    let metrics = Arc::new(Metrics::new(&mut Registry::default()));
    let client = client::connect(may_write, metrics, Arc::new(Pulse::default())).await?;
    let own = client.default_namespace().to_owned();
    let scope = arguments::scope(arguments.all_namespaces, &arguments.namespaces, &own);
    let lease_namespace = arguments.lease_namespace.as_ref().unwrap_or(&own);
    let api = KubeLease::new(client.clone(), lease_namespace, &arguments.lease_name);
    let (candidate, held) = Candidate::new(api, identity(), Arc::new(Health::starting(&[lease::PART])));
    let held = leadership.get_or_init(|| held);
    let resign = CancellationToken::new();
    let candidate = tokio::spawn(candidate.run(resign.clone()));
    let outcome = tokio::select! {
        taken = tokio::time::timeout(TAKE_LEASE, held.gained()) => match taken {
            Ok(()) => release(&client, &scope).await,
            Err(_) => Err(anyhow::anyhow!(
                "cannot take Lease {} in namespace {lease_namespace} within {} s: an operator works, and would hold \
                 the pipelines again; stop it first",
                arguments.lease_name,
                TAKE_LEASE.as_secs(),
            )),
        },
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped by a signal")),
    };
    resign.cancel();
    drop(tokio::time::timeout(LEASE_REQUEST, candidate).await);
    outcome
}

async fn release(client: &Client, scope: &Scope) -> anyhow::Result<usize> {
    let objects = Objects::new(client.clone());
    let mut count = 0;
    for api in scope.apis::<CandlePipeline>(client) {
        for _ in 0..ROUNDS {
            let (released, again) = release_all(&api, &objects).await?;
            count += released;
            if again == 0 {
                break;
            }
        }
        if release_all(&api, &objects).await?.1 > 0 {
            bail!("pipelines change all the time; try again");
        }
    }
    Ok(count)
}

/// How many were let go, and how many changed meanwhile.
async fn release_all(api: &Api<CandlePipeline>, objects: &Objects) -> anyhow::Result<(usize, usize)> {
    let (mut released, mut again) = (0, 0);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        // Metadata only: a spec that cannot be read is held as well.
        let listed = tokio::time::timeout(LIST, api.list_metadata(&page)).await;
        let listed = match listed.context("the API server does not answer")? {
            // The definition is gone, and all pipelines with it.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok((released, again)),
            listed => listed.context("list CandlePipelines")?,
        };
        for pipeline in listed.items {
            if pipeline.metadata.finalizers.iter().flatten().all(|finalizer| finalizer != FINALIZER) {
                continue;
            }
            let key = watches::key(&pipeline.metadata);
            match objects.set_finalizer(&key, &pipeline.metadata, false).await {
                Ok(()) => {
                    tracing::info!(pipeline = %key, "released");
                    released += 1;
                }
                Err(ApiError::Conflict) => again += 1,
                Err(error) => return Err(error).with_context(|| format!("release CandlePipeline {key}")),
            }
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok((released, again)),
        }
    }
}
