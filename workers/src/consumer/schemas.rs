//! Writer schemas by id: a lookup that never waits, and a fetch beside the polling thread.
//!
//! A schema never changes, so a known one is kept for ever; an unknown one is asked for again after a while. While
//! an id is being fetched, the record that named it waits, and with it its partitions; ids of the records behind it
//! are fetched meanwhile.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use candles_core::avro::TradeSchema;
use tokio::{runtime::Handle, sync::Semaphore};

use super::limits::{SCHEMA_REQUESTS_MAX, SCHEMAS_FETCHED_MAX, SCHEMAS_MAX, UNKNOWN_SCHEMA_AGE};
use crate::{
    registry::{Registry, RegistryError},
    runtime::{backoff::Backoff, chain, health::Health},
};

/// A registry that has just been told of a schema may not show it yet.
const UNKNOWN_TRIES: u32 = 5;
/// The part of the worker that `/readyz` reports.
pub const HEALTH_PART: &str = "registry";

/// The cache. Owned by the polling thread.
pub struct Schemas {
    registry: Registry,
    runtime: Handle,
    health: Arc<Health>,
    known: HashMap<u32, Known>,
    fetched: Receiver<(u32, Known)>,
    fetched_in: Sender<(u32, Known)>,
    fetching: HashSet<u32>,
    requests: Arc<Semaphore>,
}

enum Known {
    Schema(TradeSchema),
    /// The registry's schema is no trade: that will not change.
    Unusable(String),
    /// The registry does not know it; that may change.
    Unknown(Instant, String),
}

/// What is known about an id.
pub enum Lookup<'a> {
    /// Its schema.
    Schema(&'a TradeSchema),
    /// Records with it can never be decoded: class and reason.
    Dead(&'static str, String),
    /// It is being fetched.
    Wait,
}

impl Schemas {
    /// An empty cache.
    pub fn new(registry: Registry, runtime: Handle, health: Arc<Health>) -> Self {
        let (fetched_in, fetched) = mpsc::channel();
        Self {
            registry,
            runtime,
            health,
            known: HashMap::new(),
            fetched,
            fetched_in,
            fetching: HashSet::new(),
            requests: Arc::new(Semaphore::new(SCHEMA_REQUESTS_MAX)),
        }
    }

    /// What is known about `id`. Starts a fetch when nothing is.
    pub fn lookup(&mut self, id: u32) -> Lookup<'_> {
        if self.prefetch(id) {
            return Lookup::Wait;
        }
        match &self.known[&id] {
            Known::Schema(schema) => Lookup::Schema(schema),
            Known::Unusable(reason) => Lookup::Dead("schema_unusable", reason.clone()),
            Known::Unknown(_, reason) => Lookup::Dead("schema_unknown", reason.clone()),
        }
    }

    /// Starts a fetch of what is not known, unless many are under way. True: it is not known.
    pub fn prefetch(&mut self, id: u32) -> bool {
        let stale = match self.known.get(&id) {
            None => true,
            Some(Known::Unknown(since, _)) => since.elapsed() > UNKNOWN_SCHEMA_AGE,
            Some(_) => false,
        };
        if stale && self.fetching.len() < SCHEMAS_FETCHED_MAX && self.fetching.insert(id) {
            self.fetch(id);
        }
        stale
    }

    /// Takes what was fetched. True if nothing is under way any more.
    pub fn settled(&mut self) -> bool {
        while let Ok((id, known)) = self.fetched.try_recv() {
            if self.known.len() >= SCHEMAS_MAX {
                self.known.clear();
            }
            self.known.insert(id, known);
            self.fetching.remove(&id);
        }
        self.fetching.is_empty()
    }

    fn fetch(&self, id: u32) {
        let requests = Arc::clone(&self.requests);
        let (registry, health, fetched) =
            (self.registry.clone(), Arc::clone(&self.health), self.fetched_in.clone());
        self.runtime.spawn(async move {
            let known = fetch(&registry, &requests, &health, id).await;
            let _ = fetched.send((id, known));
        });
    }
}

/// Asks until the registry has decided about the id.
async fn fetch(registry: &Registry, requests: &Semaphore, health: &Health, id: u32) -> Known {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    // Its own, so that an id is not asked for minutes after an outage.
    let mut unknown = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    loop {
        let permit = requests.acquire().await;
        let answer = registry.schema(id).await;
        drop(permit);
        let (error, wait) = match answer {
            Ok(text) => {
                health.works(HEALTH_PART);
                return match TradeSchema::parse(&text) {
                    Ok(schema) => Known::Schema(schema),
                    Err(error) => Known::Unusable(format!("schema id {id}: {}", chain(&error))),
                };
            }
            Err(error @ RegistryError::UnknownId { .. }) => {
                let wait = unknown.next_delay();
                if unknown.attempt() >= UNKNOWN_TRIES {
                    health.works(HEALTH_PART);
                    return Known::Unknown(Instant::now(), error.to_string());
                }
                (error, wait)
            }
            Err(error) => (error, backoff.next_delay()),
        };
        if health.fails(HEALTH_PART, chain(&error)) {
            tracing::warn!(id, error = %chain(&error), "schema not fetched; partitions wait");
        }
        tokio::time::sleep(wait).await;
    }
}
