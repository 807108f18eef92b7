//! Start, work under the lease, and end.
//!
//! SIGTERM ends the process within [`SHUTDOWN`], whatever the API server and the brokers do: passes get a while to
//! end, then nobody may write any more, then the lease is given back. What was not finished, the next operator does.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use candles_workers::runtime::{health::Health, http, logs, shutdown};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{arguments::Arguments, crd};
use crate::{
    client::{self, MayWrite, Pulse},
    controller::{self, Scope, Shared},
    kafka::Clusters,
    lease::{self, Candidate, KubeLease, Leadership},
    limits::{DRAIN, LEASE_REQUEST, SHUTDOWN, WATCH_SILENCE},
    metrics::Metrics,
};

/// Threads that wait for brokers; each cluster has at most a few calls at a time.
const BLOCKING_THREADS_MAX: usize = 64;
/// Two are enough to answer probes while passes work.
const WORKER_THREADS: usize = 2;
/// How often the process shows that it lives.
const BEAT: Duration = Duration::from_secs(5);

/// Runs until a signal.
pub fn main(arguments: &Arguments) -> ExitCode {
    if let Some(file) = &arguments.kafka_clusters
        && let Err(problem) = crate::kafka::credentials::read(file)
    {
        eprintln!("error: --kafka-clusters: {problem}");
        return ExitCode::from(2);
    }
    logs::init(arguments.log_format);
    // The API server's client and any other must agree on one provider; the first to be installed wins.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let result = runtime.block_on(async {
                let stop = shutdown::on_signal()?;
                end_in_any_case(stop.clone());
                serve(arguments, stop).await
            });
            // Threads that wait for brokers that are gone must not hold the process.
            runtime.shutdown_timeout(Duration::from_millis(500));
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The last resort: a thread of its own, since the runtime itself may be what is stuck.
fn end_in_any_case(stop: CancellationToken) {
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        runtime.block_on(stop.cancelled());
        std::thread::sleep(SHUTDOWN);
        tracing::error!("the end took too long");
        std::process::exit(1);
    });
}

async fn serve(arguments: &Arguments, stop: CancellationToken) -> anyhow::Result<()> {
    let health = Arc::new(Health::starting(&[crd::PART, lease::PART]));
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::new(&mut registry));
    let listener = http::bind(arguments.http_address).await?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "serving");
    let ended = stop.clone().cancelled_owned();
    let http = tokio::spawn(http::serve(listener, Arc::clone(&health), Arc::new(registry), ended));

    let leadership: Arc<OnceLock<Leadership>> = Arc::default();
    let may_write: MayWrite = {
        let leadership = Arc::clone(&leadership);
        Arc::new(move || leadership.get().is_some_and(Leadership::holds))
    };
    let pulse = Arc::new(Pulse::default());
    let client = client::connect(Arc::clone(&may_write), Arc::clone(&metrics), Arc::clone(&pulse)).await?;
    let own = std::env::var("POD_NAMESPACE").unwrap_or_else(|_| client.default_namespace().to_owned());
    let scope = arguments.scope(&own);
    tracing::info!(?scope, "namespaces");
    let lease_namespace = arguments.lease_namespace.as_ref().unwrap_or(&own);
    let api = KubeLease::new(client.clone(), lease_namespace, &arguments.lease_name);
    let (candidate, held) = Candidate::new(api, identity(), Arc::clone(&health));
    let held = leadership.get_or_init(|| held);
    let resign = CancellationToken::new();
    let candidate = tokio::spawn(candidate.run(resign.clone()));
    let beats = tokio::spawn(beat(Arc::clone(&health), held.clone(), pulse, Arc::clone(&metrics)));

    let mut shared = Shared::new(
        client.clone(),
        Arc::new(Clusters::new(arguments.credentials())),
        arguments.settings(),
        metrics,
        may_write,
        std::env::var("POD_NAME").ok(),
    );
    let secrets = arguments.read_secrets.iter().map(|name| name.trim().to_owned());
    shared.readable_secrets = secrets.filter(|name| !name.is_empty()).collect();
    let shared = Arc::new(shared);
    tokio::select! {
        () = crd::wait(&client, &health) => lead(&shared, &client, &scope, held, &stop).await,
        () = stop.cancelled() => {}
    }
    resign.cancel();
    drop(tokio::time::timeout(LEASE_REQUEST + Duration::from_millis(500), candidate).await);
    beats.abort();
    drop(tokio::time::timeout(Duration::from_millis(500), http).await);
    tracing::info!("operator stopped");
    Ok(())
}

/// Works whenever the lease is held, until `stop`.
async fn lead(
    shared: &Arc<Shared<Clusters>>,
    client: &Client,
    scope: &Scope,
    held: &Leadership,
    stop: &CancellationToken,
) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = held.gained() => {}
            () = stop.cancelled() => return,
        }
        let end = stop.child_token();
        let work = controller::run(Arc::clone(shared), client.clone(), scope.clone(), end);
        tokio::select! {
            () = work => {}
            // Dropping the work ends all passes at once.
            () = held.lost() => tracing::warn!("lease lost; nothing is written until it is gained again"),
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN * 2).await } => {}
        }
    }
}

/// Lives as long as the runtime turns and the watches of a leader get answers.
async fn beat(health: Arc<Health>, held: Leadership, pulse: Arc<Pulse>, metrics: Arc<Metrics>) {
    let mut led = false;
    loop {
        let leads = held.holds();
        if leads && !led {
            pulse.watched();
        }
        led = leads;
        metrics.leader.set(i64::from(leads));
        if !leads || pulse.silence() < WATCH_SILENCE {
            health.beat();
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Of this process alone: a restarted one must not take the lease of the one before for its own.
pub(super) fn identity() -> String {
    let host = candles_workers::kafka::unique_client_id("operator");
    format!("{host}-{:08x}", rand::random::<u32>())
}
