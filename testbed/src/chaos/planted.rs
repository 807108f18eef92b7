//! The test of the judge: workers with a planted bug in, the seeds that it took to see each bug out.

use std::time::Duration;

use super::{Chaos, Options, Outcome};
use crate::judge::Kind;

/// Seeds that each bug may take.
pub const SEEDS_MAX: u64 = 12;

/// A bug by its name in `core/src/planted.rs`, and what the judge must call it.
#[derive(Debug, Clone, Copy)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// Any of these kinds of findings is it.
    pub shows_as: &'static [Kind],
}

/// Every bug.
pub const BUGS: &[Bug] = &[
    Bug { name: "skip-one", shows_as: &[Kind::Lost] },
    Bug { name: "count-twice", shows_as: &[Kind::Doubled] },
    Bug { name: "live-into-final", shows_as: &[Kind::Regressed] },
    Bug { name: "commit-early", shows_as: &[Kind::Lost] },
    Bug { name: "forget-marks", shows_as: &[Kind::Lost, Kind::Incomplete] },
    Bug { name: "forget-metadata", shows_as: &[Kind::Lost, Kind::Incomplete] },
    Bug { name: "skip-publishing", shows_as: &[Kind::Lost] },
    Bug { name: "skip-history", shows_as: &[Kind::Lost] },
    Bug { name: "promise-too-much", shows_as: &[Kind::Late] },
];

impl Bug {
    /// Whether the outcome shows it. That a run could not be made shows nothing.
    pub fn is_shown_by(&self, outcome: &Outcome) -> bool {
        self.shows_as.iter().any(|kind| outcome.verdict.count(*kind) > 0)
    }
}

/// Runs workers with the bug until the judge sees it. Returns the runs it took, the last of which shows it.
pub async fn catch(chaos: &Chaos, bug: &Bug, trading: Duration) -> anyhow::Result<Vec<Outcome>> {
    let options =
        Options { first: 0, runs: SEEDS_MAX, only: None, trading, planted: Some(bug.name.to_owned()) };
    chaos.run(&options, |_| (), |outcome| bug.is_shown_by(outcome)).await
}
