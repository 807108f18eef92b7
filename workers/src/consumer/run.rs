//! Puts a consumer together and runs it: configuration in, exit when told to stop.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::Context as _;
use candles_core::{
    checkpoint::Settings,
    config::{CandlePoints, PipelineConfig},
};
use hashbrown::HashMap;
use prometheus_client::registry::Registry as MetricsRegistry;
use rdkafka::{ClientConfig, consumer::Consumer as _};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    client,
    group::{self, Group, GroupConsumer},
    intake::{Intake, Parts},
    limits::LEAVE_MAX,
    metrics::Metrics,
    partition::Shared,
    schemas::{self, Schemas},
};
use crate::{
    kafka,
    registry::Registry,
    runtime::{health::Health, http, secret::SecretError},
    sink::{
        dead_letter::DeadLetters,
        influxdb::Influxdb,
        line::{CandleLines, TradeLines},
        writer::{self, Writer},
    },
};

/// What is not in the configuration, since it differs between members of a group.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub http_address: SocketAddr,
}

/// Runs until `stop`; then finishes what is under way, commits it and leaves the group.
pub async fn run(config: PipelineConfig, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = http::bind(options.http_address).await?;
    tracing::info!(address = %listener.local_addr()?, "health and metrics");
    let mut registry = MetricsRegistry::default();
    let metrics = Metrics::new(&mut registry);
    let health = Arc::new(Health::starting(&[group::HEALTH_PART, writer::HEALTH_PART]));
    let server_stop = CancellationToken::new();
    let server = tokio::spawn(http::serve(
        listener,
        Arc::clone(&health),
        Arc::new(registry),
        server_stop.clone().cancelled_owned(),
    ));
    consume(&config, &metrics, &health, stop).await?;
    server_stop.cancel();
    server.await??;
    Ok(())
}

async fn consume(
    config: &PipelineConfig,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let influxdb =
        config.influxdb.as_ref().context("influxdb: missing; the consumer needs to know where to write")?;
    let topic = config.topic.name.as_str();
    let dead_letters = DeadLetters::new(client_config(config)?, topic, config.topic.name.dlq());
    let (outbox, writer, inbox) =
        Writer::new(Influxdb::new(influxdb)?, dead_letters, Arc::clone(metrics), Arc::clone(health));
    let probe = tokio::spawn(writer::probe(&writer));
    let writing = tokio::spawn(writer.run(inbox));
    let registry = Registry::new(&config.schema_registry)?;
    let intake = Intake::new(Parts {
        topic: topic.to_owned(),
        settings: Settings {
            intervals: config.candles.intervals.clone(),
            lateness_ms: config.candles.lateness.as_ms(),
        },
        offset_reset: config.consumer.offset_reset,
        live: influxdb.candles.live,
        shared: shared(config, &influxdb.candles, metrics),
        schemas: Schemas::new(registry, Handle::current(), Arc::clone(health)),
        outbox,
        health: Arc::clone(health),
        stop: stop.clone(),
    });
    health.works(schemas::HEALTH_PART);
    let make = {
        let (config, health, metrics) = (config.clone(), Arc::clone(health), Arc::clone(metrics));
        let intake = Arc::new(Mutex::new(intake));
        move || join(&config, &intake, &health, &metrics)
    };
    let consumer = make()?;
    tracing::info!(topic, group = config.group_id(), "consumer started");
    let told = stop.clone();
    // When the last client leaves the group, the revocation waits for the sink and commits.
    let polling = std::thread::Builder::new()
        .name("poll".to_owned())
        .spawn(move || client::poll(consumer, make, &stop))?;
    let too_long = async {
        told.cancelled().await;
        tokio::time::sleep(LEAVE_MAX).await;
    };
    // The runtime goes on writing meanwhile.
    tokio::select! {
        left = tokio::task::spawn_blocking(move || polling.join()) => left?
            .map_err(|_| anyhow::anyhow!("the polling thread panicked; the log above says where"))?,
        // The client waits a minute and more for a coordinator that does not answer. The thread ends with the process.
        () = too_long => tracing::warn!(
            waited_s = LEAVE_MAX.as_secs(),
            "brokers do not answer; not waiting any longer to commit and to leave the group: its other members take \
             the partitions when this one's session has expired, and read again what is not committed"
        ),
    }
    probe.abort();
    // With the consumer the outbox is gone: what was not acknowledged in time is not worth waiting for.
    writing.abort();
    tracing::info!("consumer stopped");
    Ok(())
}

/// A client that is on its way into the group. Reads the password anew: it may have changed.
fn join(
    config: &PipelineConfig,
    intake: &Arc<Mutex<Intake>>,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<GroupConsumer> {
    let topic = config.topic.name.as_str();
    let context = Group::new(Arc::clone(intake), Arc::clone(health), Arc::clone(metrics), topic.to_owned());
    let settings = group::settings(client_config(config)?, config);
    let consumer: GroupConsumer = settings.create_with_context(context)?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

fn client_config(config: &PipelineConfig) -> Result<ClientConfig, SecretError> {
    kafka::client_config(&config.kafka, &kafka::unique_client_id("consumer"))
}

fn shared(config: &PipelineConfig, candles: &CandlePoints, metrics: &Arc<Metrics>) -> Shared {
    let names = config.influxdb.as_ref().map(|influxdb| influxdb.trades.clone()).unwrap_or_default();
    let lines = |symbol: &candles_core::symbol::Symbol| (symbol.clone(), TradeLines::new(&names, symbol));
    Shared {
        trade_lines: config.exchange.symbols.iter().map(lines).collect::<HashMap<_, _>>(),
        candle_lines: CandleLines::new(candles),
        metrics: Arc::clone(metrics),
    }
}
