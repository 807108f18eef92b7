//! Looks at topics and lag between passes, at a bounded rate: what changed wakes the pipeline that it concerns. Kafka has
//! no watches.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Shared, Subject, labels, topics};
use crate::{
    kafka::{KafkaError, TopicAdmin},
    limits::{LAG_EVERY, LOOKS_PER_SECOND},
    observed::Lag,
    topic::{Live, claims::Key},
};

/// Looks that wait for answers at the same time.
const AT_ONCE: usize = 16;
/// Pipelines that wait for another one are woken this often.
const WAKE_EVERY: Duration = Duration::from_millis(200);

/// Looks at one pipeline after the other until `stop`, and sends those that need a pass to `wake`.
pub async fn run<K: TopicAdmin>(shared: Arc<Shared<K>>, wake: mpsc::Sender<Key>, stop: CancellationToken) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut last: Option<Key> = None;
    let mut woken = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1) / LOOKS_PER_SECOND) => {}
            () = stop.cancelled() => return,
        }
        if woken.elapsed() > WAKE_EVERY {
            woken = Instant::now();
            for key in shared.take_waiting() {
                if wake.send(key).await.is_err() {
                    return;
                }
            }
        }
        let Some((key, subject)) = shared.due(last.as_ref()) else {
            last = None;
            continue;
        };
        last = Some(key.clone());
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let (shared, wake) = (Arc::clone(&shared), wake.clone());
        tokio::spawn(async move {
            if look(&shared, &key, &subject).await {
                // A full queue is no loss: the next look finds the same.
                drop(wake.try_send(key));
            }
            drop(turn);
        });
    }
}

/// Whether something has changed that the status should tell.
async fn look<K: TopicAdmin>(shared: &Shared<K>, key: &Key, subject: &Subject) -> bool {
    let (kafka, metrics, cluster) = (&*shared.kafka, &shared.metrics, &subject.cluster);
    let live = match topics::look(kafka, metrics, cluster, &subject.topic).await {
        Ok(live) => live,
        Err(KafkaError::Unreachable(_) | KafkaError::NoAccess(_)) => return shared.not_answered(key),
        Err(KafkaError::Refused { .. }) => return false,
    };
    let partitions = live.as_ref().map_or(0, |live| live.partitions.len());
    let lag = if partitions == 0 {
        Ok(None)
    } else {
        kafka.lag(cluster, &subject.topic, &subject.group, partitions).await
    };
    let lag = topics::counted(metrics, "lag", lag).ok().flatten();
    if let Some(lag) = lag {
        metrics.lag(&labels(key), lag.sum, lag.max);
    }
    let number = |records: u64| i64::try_from(records).unwrap_or(i64::MAX);
    let lag = lag.map(|lag| Lag { total: number(lag.sum), max: number(lag.max) });
    shared.looked(key, digest(live.as_ref()), lag)
}

/// Everything of a topic that a status may tell, in short.
fn digest(live: Option<&Live>) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(live) = live {
        live.id.hash(&mut hasher);
        for replicas in &live.partitions {
            (replicas.has_leader, replicas.total, replicas.in_sync).hash(&mut hasher);
        }
        for (key, value) in &live.config {
            (key, &value.value, value.is_set).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Lag in steps of ten: what lies in the same step is no news.
fn step(lag: Option<Lag>) -> Option<u32> {
    lag.map(|lag| lag.total.max(1).ilog10().clamp(2, 6))
}

impl<K: TopicAdmin> Shared<K> {
    /// The next pipeline after `last` that has not been looked at for a while.
    fn due(&self, last: Option<&Key>) -> Option<(Key, Subject)> {
        let mut state = self.lock();
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let is_due = |subject: &Subject| subject.looked.is_none_or(|at| at.elapsed() > LAG_EVERY);
        let range = state.subjects.range_mut::<Key, _>((after, Bound::Unbounded));
        let (key, subject) = range.into_iter().find(|(_, subject)| is_due(subject))?;
        subject.looked = Some(Instant::now());
        Some((key.clone(), subject.clone()))
    }

    /// Brokers did not answer a look. Returns whether it is news; what the status tells already is none.
    fn not_answered(&self, key: &Key) -> bool {
        self.lock().subjects.get(key).is_some_and(|subject| !subject.unreachable)
    }

    /// Keeps what a look has shown. Returns whether it is news.
    fn looked(&self, key: &Key, digest: u64, lag: Option<Lag>) -> bool {
        let mut state = self.lock();
        let Some(subject) = state.subjects.get_mut(key) else { return false };
        let changed = subject.digest.is_some_and(|before| before != digest);
        // A look that is answered at all is news after brokers that did not answer.
        let is_news = changed || subject.unreachable || step(subject.told) != step(lag);
        subject.digest = Some(digest);
        subject.lag = lag;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_within_a_step_is_no_news() {
        let of = |total| step(Some(Lag { total, max: 0 }));
        assert!(of(0) == of(999) && of(999) != of(1_000) && of(1_000) == of(9_999));
        assert!(of(1_000_000) == of(i64::MAX) && of(999_999) != of(1_000_000) && of(0) != step(None));
    }
}
