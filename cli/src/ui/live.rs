//! Event streams: candles as they change, records as they come. Each ends with its page, or with the program.
//!
//! Events: `candles` and `records` hold lists; `problem` says what is wrong with a part, and `well` that it is over.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::api::{self, CandlesQuery, Problem};
use super::{App, Shared};
use crate::influx::{FAR_MS, Range, Row};
use crate::kafka::records::{Read, Reader, Record, Start};

/// How often the database is asked: forming candles are written about once a second.
const CANDLES_EVERY: Duration = Duration::from_secs(1);
/// How often records are handed on.
const RECORDS_EVERY: Duration = Duration::from_millis(250);
/// Records of one event, the newest; a page shows no more at once.
const RECORDS_MAX: usize = 100;
/// How long after a failure the brokers are asked again.
const AGAIN: Duration = Duration::from_secs(3);
/// Records from before, for each partition.
const LAST: i64 = 30;

type Events = Sse<axum::response::sse::KeepAliveStream<Receiver>>;
type Receiver = std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>;

/// Where events go. Full while the page is slow; closed when it is gone.
struct Sender {
    events: mpsc::Sender<Event>,
    _permit: OwnedSemaphorePermit,
}

impl Sender {
    /// `false`: there is no page any more.
    async fn hand_on(&self, name: &str, data: &Value) -> bool {
        self.events.send(event(name, data)).await.is_ok()
    }

    /// From a thread that may block. That there is no page any more shows in `events`.
    fn send(&self, name: &str, data: &Value) {
        let _ = self.events.blocking_send(event(name, data));
    }
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

fn channel(app: &App) -> Result<(Sender, Events), Problem> {
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| Problem::busy())?;
    let (events, receiver) = mpsc::channel::<Event>(4);
    let stop = app.stop.clone();
    let stream = futures_util::stream::unfold((receiver, stop), |(mut receiver, stop)| async {
        tokio::select! {
            event = receiver.recv() => event.map(|event| (Ok(event), (receiver, stop))),
            () = stop.cancelled() => None,
        }
    });
    let stream: Receiver = Box::pin(stream);
    Ok((Sender { events, _permit: permit }, Sse::new(stream).keep_alive(KeepAlive::default())))
}

/// The newest candles, then those that change.
pub(super) async fn candles(
    State(app): Shared,
    Query(query): Query<CandlesQuery>,
) -> Result<Events, Problem> {
    let (symbol, interval) = query.check(&app)?;
    let reader = api::influxdb(&app)?.clone();
    let count = query.count.clamp(1, api::CANDLES_MAX);
    let lateness_ms = app.config.candles.lateness.as_ms();
    let (sender, events) = channel(&app)?;
    tokio::spawn(async move {
        let mut sent: BTreeMap<i64, Row> = BTreeMap::new();
        let mut ill = false;
        loop {
            // A window may be open until the lateness after its end, and its neighbours with it.
            let open_from =
                sent.keys().next_back().map(|newest| newest - lateness_ms - 3 * interval.length_ms());
            let rows = match open_from {
                None => reader.newest(&symbol, interval, count).await,
                Some(from_ms) => {
                    let range = Range { from_ms: from_ms.max(0), to_ms: FAR_MS };
                    reader.candles(&symbol, interval, range).await
                }
            };
            let alive = match rows {
                Ok(rows) => {
                    let changed: Vec<Row> =
                        rows.into_iter().filter(|row| sent.get(&row.start_ms) != Some(row)).collect();
                    let news: Vec<Value> = changed.iter().map(api::candle).collect();
                    sent.extend(changed.into_iter().map(|row| (row.start_ms, row)));
                    while sent.len() > count as usize {
                        sent.pop_first();
                    }
                    let was_ill = std::mem::take(&mut ill);
                    (!was_ill || sender.hand_on("well", &json!({})).await)
                        && (news.is_empty() || sender.hand_on("candles", &json!(news)).await)
                }
                Err(error) => {
                    ill = true;
                    sender.hand_on("problem", &Problem::of("InfluxDB", &error).json()).await
                }
            };
            if !alive {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(CANDLES_EVERY) => {}
                () = sender.events.closed() => return,
            }
        }
    });
    Ok(events)
}

/// Which records are followed.
#[derive(Debug, Deserialize)]
pub(super) struct RecordsQuery {
    topic: String,
    partition: Option<i32>,
}

/// The last records of a topic, then those that come.
pub(super) async fn records(
    State(app): Shared,
    Query(query): Query<RecordsQuery>,
) -> Result<Events, Problem> {
    let (sender, events) = channel(&app)?;
    tokio::task::spawn_blocking(move || {
        let mut ill = false;
        while !sender.events.is_closed() {
            match open(&app, &query) {
                Ok(reader) => {
                    if std::mem::take(&mut ill) {
                        sender.send("well", &json!({}));
                    }
                    follow(reader, &sender);
                }
                Err(error) => {
                    ill = true;
                    sender.send("problem", &Problem::of("Kafka", &error).json());
                    std::thread::sleep(AGAIN);
                }
            }
        }
    });
    Ok(events)
}

fn open(app: &App, query: &RecordsQuery) -> anyhow::Result<Reader> {
    let topic = app.cluster.topic(&query.topic)?;
    Reader::new(&app.cluster, app.registry.clone(), &topic, query.partition, Start::Last(LAST))
}

/// Runs on a thread of its own until the page is gone.
fn follow(mut reader: Reader, sender: &Sender) {
    while !sender.events.is_closed() {
        let (mut batch, mut skipped) = (VecDeque::<Record>::new(), 0_u64);
        let until = Instant::now() + RECORDS_EVERY;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || sender.events.is_closed() {
                break;
            }
            match reader.next(left) {
                Read::Record(record) => {
                    batch.push_back(record);
                    if batch.len() > RECORDS_MAX {
                        batch.pop_front();
                        skipped += 1;
                    }
                }
                Read::Nothing | Read::End(_) => {}
                Read::Problem(problem) => {
                    sender.send("problem", &json!({ "part": "Kafka", "problem": problem }));
                }
            }
        }
        if !batch.is_empty() {
            sender.send("records", &json!({ "records": batch, "skipped": skipped }));
        }
    }
}
