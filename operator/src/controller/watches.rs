//! Resources as they change: watches of one or more namespaces in, one stream of slim resources out.
//!
//! A slim resource is its metadata; of its spec only the claim on topics is kept, in [`Shared`]. So thousands of
//! resources cost little memory, a resource that does not fit the types stops nobody, and a pass reads the resource
//! as it is then.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use futures_util::{Stream, StreamExt as _, stream};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, PartialObjectMeta, PartialObjectMetaExt as _},
    core::NamespaceResourceScope,
    runtime::watcher::{self, Event, watcher},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Shared, records::dead_letter_topic, run::Scope};
use crate::{
    api::CandlePipeline,
    kafka::{Address, TopicAdmin},
    topic::claims::{Claim, Key},
};

/// Metadata of a pipeline.
pub type Slim = PartialObjectMeta<CandlePipeline>;

/// A pipeline whose spec may be anything.
#[derive(Clone, Debug, Deserialize)]
pub struct Loose {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

impl Resource for Loose {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        CandlePipeline::kind(&())
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        CandlePipeline::group(&())
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        CandlePipeline::version(&())
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        CandlePipeline::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// All pipelines of the scope: first each that exists, then [`Event::InitDone`] once, then changes.
pub fn pipelines<K: TopicAdmin>(
    client: &Client,
    scope: &Scope,
    shared: &Arc<Shared<K>>,
) -> impl Stream<Item = watcher::Result<Event<Slim>>> + Send + use<K> {
    let apis: Vec<Api<Loose>> = scope.apis(client);
    let mut merged = Merged::new(apis.len());
    let shared = Arc::clone(shared);
    let streams = apis.into_iter().enumerate().map(|(nth, api)| {
        watcher(api, watcher::Config::default().streaming_lists()).map(move |event| (nth, event)).boxed()
    });
    stream::select_all(streams).flat_map(move |(nth, event)| {
        let out = match event {
            Ok(event) => {
                let event = slim(&shared, event);
                let out = merged.take(nth, event);
                if merged.is_complete()
                    && out.iter().any(|event| matches!(event, Event::InitDone | Event::Delete(_)))
                {
                    shared.retain(&merged.keys());
                }
                shared.metrics.pipelines.set(merged.len() as i64);
                out.into_iter().map(Ok).collect()
            }
            Err(error) => {
                shared.metrics.watch_errors.inc();
                vec![Err(error)]
            }
        };
        stream::iter(out)
    })
}

/// Keeps the claim of a resource and drops the rest of its spec.
fn slim<K: TopicAdmin>(shared: &Shared<K>, event: Event<Loose>) -> Event<Slim> {
    let keep = |loose: Loose| {
        let key = key(&loose.metadata);
        shared.claim(&key, claim(&key, &loose));
        meta(loose.metadata)
    };
    match event {
        Event::Apply(loose) => Event::Apply(keep(loose)),
        Event::InitApply(loose) => Event::InitApply(keep(loose)),
        Event::Delete(loose) => {
            shared.forget(&key(&loose.metadata));
            Event::Delete(meta(loose.metadata))
        }
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

/// Namespace and name.
pub fn key(metadata: &ObjectMeta) -> Key {
    Key {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn meta(metadata: ObjectMeta) -> Slim {
    let metadata = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        deletion_timestamp: metadata.deletion_timestamp,
        finalizers: metadata.finalizers,
        ..ObjectMeta::default()
    };
    metadata.into_response_partial()
}

/// What a spec claims, whatever else is wrong with it. Nothing, for a topic that is only observed.
fn claim(key: &Key, loose: &Loose) -> Claim {
    let text = |path: &str| loose.spec.pointer(path).and_then(Value::as_str);
    let topic = text("/topic/name").map_or_else(|| format!("{}.{}", key.namespace, key.name), str::to_owned);
    let dead_letters = dead_letter_topic(&topic);
    let is_observed = text("/topic/management") == Some("Observe");
    let created = loose.metadata.creation_timestamp.as_ref();
    Claim {
        created_s: created.map_or(i64::MAX, |time| time.0.as_second()),
        brokers: Address::new(text("/kafka/bootstrapServers").unwrap_or_default(), false, false).brokers,
        topics: if is_observed { Vec::new() } else { vec![topic, dead_letters] },
    }
}

/// Several watches as one. A list that is made anew becomes the changes that it shows.
#[derive(Debug)]
struct Merged {
    sources: Vec<Source>,
}

#[derive(Debug, Default)]
struct Source {
    known: BTreeSet<Key>,
    listing: Option<BTreeSet<Key>>,
    is_listed: bool,
}

impl Merged {
    fn new(sources: usize) -> Self {
        Self { sources: (0..sources).map(|_| Source::default()).collect() }
    }

    fn is_complete(&self) -> bool {
        self.sources.iter().all(|source| source.is_listed)
    }

    fn len(&self) -> usize {
        self.sources.iter().map(|source| source.known.len()).sum()
    }

    fn keys(&self) -> BTreeSet<Key> {
        self.sources.iter().flat_map(|source| source.known.iter().cloned()).collect()
    }

    fn take(&mut self, nth: usize, event: Event<Slim>) -> Vec<Event<Slim>> {
        let was_complete = self.is_complete();
        let Some(source) = self.sources.get_mut(nth) else { return Vec::new() };
        match event {
            Event::Init => {
                source.listing = Some(BTreeSet::new());
                Vec::new()
            }
            Event::InitApply(slim) => {
                let key = key(&slim.metadata);
                source.known.insert(key.clone());
                source.listing.get_or_insert_default().insert(key);
                vec![if was_complete { Event::Apply(slim) } else { Event::InitApply(slim) }]
            }
            Event::InitDone => {
                let listed = source.listing.take().unwrap_or_default();
                let gone: Vec<Key> = source.known.difference(&listed).cloned().collect();
                source.known = listed;
                source.is_listed = true;
                let gone = gone.into_iter().map(|key| {
                    let metadata = ObjectMeta {
                        name: Some(key.name),
                        namespace: Some(key.namespace),
                        ..ObjectMeta::default()
                    };
                    Event::Delete(metadata.into_response_partial())
                });
                // Before the first complete list, what is gone was never shown as existing.
                let mut out: Vec<Event<Slim>> = if was_complete { gone.collect() } else { Vec::new() };
                if !was_complete && self.is_complete() {
                    out.push(Event::InitDone);
                }
                out
            }
            Event::Apply(slim) => {
                source.known.insert(key(&slim.metadata));
                vec![if was_complete { Event::Apply(slim) } else { Event::InitApply(slim) }]
            }
            Event::Delete(slim) => {
                source.known.remove(&key(&slim.metadata));
                if was_complete { vec![Event::Delete(slim)] } else { Vec::new() }
            }
        }
    }
}

/// The owners that are pipelines, by name.
pub fn owners(metadata: &ObjectMeta) -> BTreeMap<String, String> {
    let owners = metadata.owner_references.iter().flatten();
    let ours = owners.filter(|owner| owner.kind == "CandlePipeline" && owner.controller == Some(true));
    ours.map(|owner| (owner.name.clone(), owner.uid.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slim(name: &str) -> Slim {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("ns".to_owned()),
            ..ObjectMeta::default()
        };
        metadata.into_response_partial()
    }

    fn shown(events: &[Event<Slim>]) -> Vec<String> {
        let name = |slim: &Slim| slim.metadata.name.clone().unwrap();
        let one = |event: &Event<Slim>| match event {
            Event::Apply(slim) => format!("apply {}", name(slim)),
            Event::InitApply(slim) => format!("init {}", name(slim)),
            Event::Delete(slim) => format!("delete {}", name(slim)),
            Event::Init => "init".to_owned(),
            Event::InitDone => "done".to_owned(),
        };
        events.iter().map(one).collect()
    }

    #[test]
    fn several_namespaces_are_complete_once_and_a_new_list_shows_what_is_gone() {
        let mut merged = Merged::new(2);
        let mut take = |nth, event| shown(&merged.take(nth, event));
        assert_eq!(take(0, Event::Init), [""; 0]);
        assert_eq!(take(0, Event::InitApply(slim("a"))), ["init a"]);
        assert_eq!(take(0, Event::InitApply(slim("b"))), ["init b"]);
        assert_eq!(take(0, Event::InitDone), [""; 0], "the other is not complete yet");
        assert_eq!(take(1, Event::Init), [""; 0]);
        assert_eq!(take(1, Event::InitApply(slim("c"))), ["init c"]);
        assert_eq!(take(1, Event::InitDone), ["done"]);
        assert_eq!(take(0, Event::Init), [""; 0]);
        assert_eq!(take(0, Event::InitApply(slim("b"))), ["apply b"]);
        assert_eq!(take(0, Event::InitDone), ["delete a"]);
        assert_eq!(take(1, Event::Delete(slim("c"))), ["delete c"]);
        assert_eq!(merged.keys().len(), 1);
    }

    #[test]
    fn a_spec_of_any_shape_has_a_claim() {
        let loose: Loose = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"topic": "not even a map", "kafka": {"bootstrapServers": "B:1,a:1"}},
        }))
        .unwrap();
        let claim = claim(&key(&loose.metadata), &loose);
        assert_eq!(claim.topics, ["ns.p", "ns.p-dlq"]);
        assert_eq!(claim.brokers.into_iter().collect::<Vec<_>>(), ["a:1", "b:1"]);
    }
}
