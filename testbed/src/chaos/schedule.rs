//! A seed in, everything that a run decides by chance out: how many workers, which faults, when and how long.
//! Pure. The same seed gives the same schedule, on every machine. (`a_seed_gives_the_same_schedule`)

use std::fmt;
use std::time::Duration;

use super::fault::{ALL, Fault};

/// Trading goes on so long after all workers are ready.
pub const TRADING: Duration = Duration::from_secs(12);
/// No fault begins later than this.
const FAULTS_UNTIL: Duration = Duration::from_secs(6);

/// How partitions are shared in the group; the names of the configuration.
const ASSIGNORS: [&str; 4] = ["CooperativeSticky", "Broker", "Range", "RoundRobin"];

/// Numbers from a seed (`SplitMix64`, Steele et al. 2014): written out, so that no library's change changes a schedule.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..count`; 0 if there is none.
    pub fn below(&mut self, count: usize) -> usize {
        (self.number() % count.max(1) as u64) as usize
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span_ms = most.saturating_sub(least).as_millis() as usize;
        least + Duration::from_millis(self.below(span_ms + 1) as u64)
    }
}

/// One fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub fault: Fault,
    /// When, after all workers are ready.
    pub at: Duration,
    /// How long.
    pub lasts: Duration,
    /// For what else is drawn: which worker, which broker.
    pub chance: u64,
}

/// Everything that a run decides by chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The seed of it all, the market included.
    pub seed: u64,
    /// Producers at the start.
    pub producers: usize,
    /// Consumers at the start.
    pub consumers: usize,
    /// How partitions are shared.
    pub assignor: &'static str,
    /// How long trading goes on.
    pub trading: Duration,
    /// The faults by time; the first of `faults` that was drawn is what the run is about.
    pub faults: Vec<Planned>,
    /// What the run is about.
    pub about: Fault,
}

impl Schedule {
    /// The schedule of a seed. `only`: it is about that fault; else each seed in turn is about the next one of all.
    /// `trading` beyond [`TRADING`] repeats faults, about one in six seconds.
    pub fn new(seed: u64, only: Option<Fault>, trading: Duration) -> Self {
        let mut dice = Dice::new(seed);
        let about = only.unwrap_or(ALL[(seed % ALL.len() as u64) as usize].0);
        let mut schedule = Self {
            seed,
            producers: if about.needs_two_producers() { 2 } else { 1 },
            consumers: 1 + dice.below(3),
            assignor: ASSIGNORS[dice.below(ASSIGNORS.len())],
            trading: trading.max(about.needs_trading()),
            faults: Vec::new(),
            about,
        };
        if about == Fault::ConsumerZombie {
            // Only there a session is shorter than a run; and somebody has to take over.
            schedule.assignor = "Broker";
            schedule.consumers = schedule.consumers.max(2);
        }
        let first = Duration::from_millis(500);
        schedule.add(about, &mut dice, first, FAULTS_UNTIL / 2);
        let others: Vec<Fault> =
            ALL.iter().map(|(fault, _)| *fault).filter(|fault| fault.combines()).collect();
        let rounds = (trading.saturating_sub(TRADING).as_secs() / 6) as usize;
        for _ in 0..dice.below(3) {
            let other = others[dice.below(others.len())];
            if other != about && schedule.suits(other) {
                schedule.add(other, &mut dice, first, FAULTS_UNTIL);
            }
        }
        for round in 0..rounds {
            let other = others[dice.below(others.len())];
            if schedule.suits(other) {
                let begin = Duration::from_secs(6 * (round as u64 + 1));
                schedule.add(other, &mut dice, begin, begin + Duration::from_secs(6));
            }
        }
        schedule.faults.sort_by_key(|planned| planned.at);
        schedule
    }

    /// Whether this fault can come beside what the run is about. A zombie needs a session that ends within a run.
    fn suits(&self, other: Fault) -> bool {
        !self.about.excludes(other) && (other != Fault::ConsumerZombie || self.assignor == "Broker")
    }

    fn add(&mut self, fault: Fault, dice: &mut Dice, least: Duration, most: Duration) {
        let (shortest, longest) = fault.lasts();
        let planned = Planned {
            fault,
            at: dice.between(least, most),
            lasts: dice.between(shortest, longest),
            chance: dice.number(),
        };
        // The same thing cannot be broken twice at once.
        let meets = |other: &Planned| {
            other.fault == fault
                && planned.at < other.at + other.lasts
                && other.at < planned.at + planned.lasts
        };
        if !self.faults.iter().any(meets) {
            self.faults.push(planned);
        }
    }

    /// Whether no other run may be under way.
    pub fn is_exclusive(&self) -> bool {
        self.about.is_exclusive()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, planned) in self.faults.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let (at, lasts) = (planned.at.as_secs_f64(), planned.lasts.as_secs_f64());
            write!(f, "{comma}{} at {at:.1} s for {lasts:.1} s", planned.fault)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_schedule() {
        assert_eq!(Dice::new(7).number(), 7_191_089_600_892_374_487);
        for seed in 0..200 {
            assert_eq!(Schedule::new(seed, None, TRADING), Schedule::new(seed, None, TRADING));
        }
        assert_ne!(Schedule::new(1, None, TRADING).to_string(), Schedule::new(2, None, TRADING).to_string());
    }

    #[test]
    fn every_fault_has_its_turn_and_ends_in_time() {
        let about: std::collections::BTreeSet<Fault> =
            (0..ALL.len() as u64).map(|seed| Schedule::new(seed, None, TRADING).about).collect();
        assert_eq!(about.len(), ALL.len());
        for seed in 0..500 {
            let schedule = Schedule::new(seed, None, TRADING);
            assert!(schedule.faults.iter().any(|planned| planned.fault == schedule.about));
            assert!((1..=3).contains(&schedule.faults.len()), "{schedule}");
            for planned in &schedule.faults {
                assert!(planned.at <= FAULTS_UNTIL, "{schedule}");
                assert!(planned.fault == schedule.about || planned.fault.combines(), "{schedule}");
            }
        }
    }

    #[test]
    fn a_long_run_has_faults_to_its_end() {
        let schedule = Schedule::new(3, None, Duration::from_secs(120));
        assert!(schedule.faults.len() >= 15, "{schedule}");
        assert!(schedule.faults.last().unwrap().at > Duration::from_secs(90), "{schedule}");
    }

    #[test]
    fn names_read_back() {
        for (fault, name) in ALL {
            assert_eq!(Fault::named(name), Some(*fault));
            assert_eq!(fault.to_string(), *name);
        }
        assert_eq!(Fault::named("earthquake"), None);
    }
}
