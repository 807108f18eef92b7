//! One run: a schedule in, an [`Outcome`] out. Starts the workers, breaks what is planned while the market trades, waits
//! until everything is as it must be or time is up, stops the workers and asks the judge.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::act;
use super::fault::Fault;
use super::schedule::{Planned, Schedule};
use super::stage::{Lane, Stage};
use super::watcher::{self, Memory, Seen};
use super::world::{BACKFILL_MS, World};
use crate::judge::{Kind, Verdict};

/// How long after the last trade everything may take to be stored: a dead member's session is 15 s, an exchange that
/// was cut off is tried again within seconds.
const SETTLE_MAX: Duration = Duration::from_secs(75);
/// How long the group may take to commit all of it.
const COMMIT_MAX: Duration = Duration::from_secs(25);
/// How long after its end a fault's first sign still counts.
const SIGN_AFTER: Duration = Duration::from_secs(3);
/// Pause between two verdicts while waiting.
const AGAIN: Duration = Duration::from_millis(700);

/// How a fault was met.
#[derive(Debug, Clone)]
pub struct Met {
    /// Which.
    pub fault: Fault,
    /// From its beginning to the first sign: a worker that is not ready, a warning. `None`: nobody noticed.
    pub detected: Option<Duration>,
    /// From its end until the newest candles were final again.
    pub recovered: Option<Duration>,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was planned.
    pub schedule: Schedule,
    /// What the judge says.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// Its faults.
    pub met: Vec<Met>,
    /// Memory of each worker, by name.
    pub memory: Vec<(String, Memory)>,
}

/// Runs a schedule in a lane.
pub async fn run(
    stage: &Stage,
    lane: &Lane,
    schedule: &Schedule,
    attempt: usize,
    planted: Option<&str>,
) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome {
        schedule: schedule.clone(),
        verdict: Verdict::default(),
        took: Duration::ZERO,
        met: Vec::new(),
        memory: Vec::new(),
    };
    if let Err(error) = play(stage, lane, &mut outcome, attempt, planted).await {
        outcome.verdict.add(Kind::Broken, format!("{error:#}"));
    }
    outcome.took = begun.elapsed();
    outcome
}

async fn play(
    stage: &Stage,
    lane: &Lane,
    outcome: &mut Outcome,
    attempt: usize,
    planted: Option<&str>,
) -> anyhow::Result<()> {
    let schedule = outcome.schedule.clone();
    let world = World::new(stage, lane, &schedule, attempt, planted).await?;
    for _ in 0..schedule.producers {
        world.start_producer()?;
    }
    for _ in 0..schedule.consumers {
        world.start_consumer()?;
    }
    world.ready().await?;
    let ready_ms = world.sim.clock_ms();
    let end_ms = ready_ms + World::exchange_ms(schedule.trading);
    world.sim.trade_until(end_ms);

    let (mut seen, stop) = (Seen::default(), CancellationToken::new());
    let course = async {
        let done = async {
            let times = drive(&world, &schedule).await?;
            settle(&world, ready_ms - BACKFILL_MS, end_ms).await?;
            anyhow::Ok(times)
        };
        let done = done.await;
        stop.cancel();
        done
    };
    let (times, ()) = tokio::join!(course, watcher::run(&world, &mut seen, end_ms, stop.clone()));
    // What a half-made run left behind says nothing.
    let times = times?;
    let settled = Instant::now();
    let broken = finish(&world).await;

    let mut evidence = world.evidence().await.context("read the evidence")?;
    evidence.changes = seen.changes(&evidence.finals);
    outcome.verdict = world.verdict(&evidence, ready_ms - BACKFILL_MS, end_ms)?;
    for text in broken {
        outcome.verdict.add(Kind::Broken, text);
    }
    for (planned, (from, to)) in times.into_iter().flatten() {
        let recovered = seen.recovered(to).or_else(|| outcome.verdict.is_clean().then(|| settled - to));
        let detected = seen.detected(from, to + SIGN_AFTER);
        outcome.met.push(Met { fault: planned.fault, detected, recovered });
    }
    outcome.memory = seen.memory.into_iter().collect();
    if outcome.verdict.is_clean() {
        // What cannot be removed now harms nobody: names are used once.
        let _ = world.remove().await;
    }
    Ok(())
}

type Times = Vec<Option<(Planned, (Instant, Instant))>>;

/// Carries out the schedule, and waits until trading ends.
async fn drive(world: &World<'_>, schedule: &Schedule) -> anyhow::Result<Times> {
    let begun = Instant::now();
    let mut steps: Vec<(Duration, usize, bool)> = Vec::new();
    for (n, planned) in schedule.faults.iter().enumerate() {
        steps.push((planned.at, n, true));
        steps.push((planned.at + planned.lasts, n, false));
    }
    steps.sort_unstable();
    let mut times: Vec<Option<(Planned, (Instant, Instant))>> = vec![None; schedule.faults.len()];
    for (at, n, begins) in steps {
        tokio::time::sleep_until((begun + at).into()).await;
        let planned = &schedule.faults[n];
        let now = Instant::now();
        let what = |when: &str| format!("{when} of {}", planned.fault);
        if begins {
            act::begin(world, planned).await.with_context(|| what("beginning"))?;
            times[n] = Some((planned.clone(), (now, now)));
        } else {
            act::end(world, planned).await.with_context(|| what("end"))?;
            if let Some((_, (_, to))) = &mut times[n] {
                *to = Instant::now();
            }
        }
    }
    tokio::time::sleep_until((begun + schedule.trading).into()).await;
    Ok(times)
}

/// Waits until the judge has nothing to say, or until it is too late for that.
async fn settle(world: &World<'_>, covered_by_ms: i64, end_ms: i64) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < SETTLE_MAX {
        // Until the last windows can be final nothing is settled.
        if world.sim.clock_ms() > end_ms {
            // A frozen or restarting database answers later.
            if let Ok(evidence) = world.evidence().await {
                let verdict = world.verdict(&evidence, covered_by_ms, end_ms)?;
                if verdict.is_clean() || verdict.is_final() {
                    return Ok(());
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

/// Stops the workers as a cluster does; says what was not in order.
async fn finish(world: &World<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    for producer in world.producers.all() {
        stop(&producer, "producer stopped", &mut broken).await;
    }
    let begun = Instant::now();
    loop {
        match world.admin.lag().await {
            Ok(Some(0)) => break,
            lag if begun.elapsed() > COMMIT_MAX => {
                broken.push(format!("not everything is committed: lag {lag:?}"));
                break;
            }
            _ => tokio::time::sleep(AGAIN / 2).await,
        }
    }
    for consumer in world.consumers.all() {
        stop(&consumer, "consumer stopped", &mut broken).await;
    }
    let poison = world.excuses.lock().map(|excuses| excuses.poison.clone()).unwrap_or_default();
    match world.admin.dead_letters().await {
        Ok(dead) if dead == poison.iter().copied().collect() => {}
        Ok(dead) => broken.push(format!("dead letters of offsets {dead:?}, injected were {poison:?}")),
        Err(error) => broken.push(format!("{error:#}")),
    }
    broken
}

async fn stop(worker: &crate::servers::Worker, last_words: &str, broken: &mut Vec<String>) {
    if worker.pid().is_none() {
        return;
    }
    if let Err(error) = worker.stop().await {
        broken.push(format!("{}: {error}", worker.name()));
    }
    let log = worker.log();
    if !log.lines().next_back().is_some_and(|line| line.contains(last_words)) {
        let last = log.lines().next_back().unwrap_or_default();
        broken.push(format!("{}: did not stop in good order; its last words: {last}", worker.name()));
    }
}
