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
pub mod planted;
pub mod report;
mod run;
pub mod schedule;
mod stage;
mod tap;
mod watcher;
mod world;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

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
    /// Workers have this planted bug.
    pub planted: Option<String>,
}

/// The servers of all runs. Ends with its handle; logs and data stay unless it is told that all went well.
pub struct Chaos {
    stage: Stage,
    /// Keeps the names of repeated seeds apart.
    runs: AtomicUsize,
}

impl Chaos {
    /// Starts the servers for so many runs side by side.
    pub async fn start(lanes: usize) -> anyhow::Result<Self> {
        Ok(Self { stage: Stage::start(lanes).await?, runs: AtomicUsize::new(1) })
    }

    /// Everything went well: logs and data go.
    pub fn finish(&self) {
        self.stage.finish();
    }

    /// Runs them all; `tell` hears of each as it ends. `enough`: with the first outcome like this the rest is left.
    pub async fn run(
        &self,
        options: &Options,
        tell: impl Fn(&Outcome),
        enough: impl Fn(&Outcome) -> bool,
    ) -> anyhow::Result<Vec<Outcome>> {
        let schedule = |seed| Schedule::new(seed, options.only, options.trading);
        let all = (options.first..options.first + options.runs).map(schedule);
        let (alone, beside): (VecDeque<Schedule>, VecDeque<Schedule>) = all.partition(Schedule::is_exclusive);
        let (queue, outcomes) = (RefCell::new(beside), RefCell::new(Vec::new()));
        let stop = CancellationToken::new();
        let one = async |lane: &Lane, schedule: Schedule| {
            let attempt = self.runs.fetch_add(1, Ordering::Relaxed);
            let planted = options.planted.as_deref();
            let outcome = run::run(&self.stage, lane, &schedule, attempt, planted).await;
            tell(&outcome);
            if enough(&outcome) {
                stop.cancel();
            }
            outcomes.borrow_mut().push(outcome);
            heal(lane).await
        };
        let next = || queue.borrow_mut().pop_front();
        let lane = async |lane: &Lane| {
            while let Some(schedule) = next() {
                one(lane, schedule).await?;
            }
            anyhow::Ok(())
        };
        let lanes = futures_util::future::try_join_all(self.stage.lanes.iter().map(lane));
        // Those that are still under way are given up when it is enough.
        stop.run_until_cancelled(lanes).await.transpose()?;
        for schedule in alone {
            if stop.is_cancelled() {
                break;
            }
            one(&self.stage.lanes[0], schedule).await?;
            self.stage.heal().await?;
        }
        for lane in &self.stage.lanes {
            heal(lane).await?;
        }
        Ok(outcomes.into_inner())
    }
}

/// What a run that ended early may have left broken.
async fn heal(lane: &Lane) -> anyhow::Result<()> {
    lane.brokers.iter().for_each(crate::proxy::Proxy::heal);
    stage::revive(&lane.influxdb)?;
    Ok(lane.influxdb.wait_ready().await?)
}
