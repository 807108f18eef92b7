//! Chaos runs: seeds in; what broke, what the judge says about it, and how long it took, out.
//!
//! Every run has a topic, a group, a bucket, an exchange and proxies of its own; several are under way at once. Faults of
//! the brokers themselves concern everybody, so those runs are alone. What a run does by chance is drawn from its seed
//! alone (`schedule.rs`), so that the seed replays it; only the timing of processes differs.
//!
//! - A seed gives the same schedule. (`a_seed_gives_the_same_schedule`)
//! - Every fault has its turn. (`every_fault_has_its_turn_and_ends_in_time`)

mod act;
pub mod fault;
mod group;
pub mod report;
mod run;
pub mod schedule;
mod stage;
mod tap;
mod watcher;
mod world;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use self::fault::Fault;
pub use self::run::{Met, Outcome};
use self::schedule::Schedule;
use self::stage::{Lane, Stage};

/// What a caller may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The first seed; the others follow it.
    pub first: u64,
    /// How many runs.
    pub runs: u64,
    /// All runs are about this fault.
    pub only: Option<Fault>,
    /// How long each trades.
    pub trading: Duration,
    /// How many are under way at once.
    pub lanes: usize,
    /// Workers have this planted bug, and the first run that shows it is the last one.
    pub planted: Option<String>,
}

/// Runs them all; `tell` hears of each as it ends.
pub async fn run(options: &Options, tell: impl Fn(&Outcome) + Sync) -> anyhow::Result<Vec<Outcome>> {
    let schedule = |seed| Schedule::new(seed, options.only, options.trading);
    let all = (options.first..options.first + options.runs).map(schedule);
    let (alone, beside): (VecDeque<Schedule>, VecDeque<Schedule>) = all.partition(Schedule::is_exclusive);
    let lanes = if beside.is_empty() { 1 } else { options.lanes.clamp(1, beside.len()) };
    let stage = Stage::start(lanes).await?;
    let (queue, outcomes) = (Mutex::new(beside), Mutex::new(Vec::new()));
    let enough = || {
        let outcomes: &Vec<Outcome> = &outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        options.planted.is_some() && outcomes.iter().any(|outcome| !outcome.verdict.is_clean())
    };
    let one = async |lane: &Lane, schedule: Schedule| {
        let outcome = run::run(&stage, lane, &schedule, 1, options.planted.as_deref()).await;
        tell(&outcome);
        outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
    };
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let lane = async |lane: &Lane| {
        while let (false, Some(schedule)) = (enough(), next()) {
            one(lane, schedule).await;
            heal(lane).await?;
        }
        anyhow::Ok(())
    };
    futures_util::future::try_join_all(stage.lanes.iter().map(lane)).await?;
    for schedule in alone {
        if enough() {
            break;
        }
        one(&stage.lanes[0], schedule).await;
        heal(&stage.lanes[0]).await?;
        stage.heal().await?;
    }
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    if outcomes.iter().all(|outcome| outcome.verdict.is_clean()) {
        stage.finish();
    }
    Ok(outcomes)
}

/// What a run that ended early may have left broken.
async fn heal(lane: &Lane) -> anyhow::Result<()> {
    lane.brokers.iter().for_each(crate::proxy::Proxy::heal);
    stage::revive(&lane.influxdb)?;
    Ok(lane.influxdb.wait_ready().await?)
}
