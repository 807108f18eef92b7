//! Looks at a running world all the time: what workers say, how much memory they have, what the database holds.
//! A world in; signs of trouble, freshness, memory and changed candles out.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::world::{LATENESS_MS, LENGTHS_MS, SYMBOLS, World};
use crate::judge::watch::Watch;
use crate::judge::{Candles, Change, Window};

/// Pause between two looks at the workers.
const LOOK: Duration = Duration::from_millis(200);
/// Looks at the workers for each look at the database.
const LOOKS_FOR_READ: u32 = 3;
/// A candle is fresh this long after it could be final (exchange ms): 0.6 s of real time.
const FRESH_MS: i64 = 6_000;

/// Memory of one worker over time.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Resident KiB at each look.
    pub resident_kib: Vec<u64>,
}

impl Memory {
    /// The most.
    pub fn max_kib(&self) -> u64 {
        self.resident_kib.iter().copied().max().unwrap_or(0)
    }

    /// Median of the second and of the last third: equal when it does not grow.
    pub fn thirds_kib(&self) -> (u64, u64) {
        let third = self.resident_kib.len() / 3;
        let median = |part: &[u64]| {
            let mut sorted = part.to_vec();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).copied().unwrap_or(0)
        };
        (median(&self.resident_kib[third..2 * third]), median(&self.resident_kib[2 * third..]))
    }
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// When a worker was first not ready, or warned.
    pub signs: Vec<Instant>,
    /// Whether the newest final candles were there, over time.
    pub fresh: Vec<(Instant, bool)>,
    /// By the worker's name.
    pub memory: HashMap<String, Memory>,
    watch: Watch,
    logs: HashMap<String, u64>,
}

impl Seen {
    /// Final candles that did not stay, after a last read.
    pub fn changes(&mut self, last: &Candles) -> Vec<Change> {
        let mut watch = std::mem::take(&mut self.watch);
        watch.read(last);
        watch.changes()
    }

    /// How long after `from` the first sign of trouble was seen, before `until`.
    pub fn detected(&self, from: Instant, until: Instant) -> Option<Duration> {
        self.signs.iter().find(|at| (from..until).contains(*at)).map(|at| *at - from)
    }

    /// How long after `from` the newest candles were there again.
    pub fn recovered(&self, from: Instant) -> Option<Duration> {
        self.fresh.iter().find(|(at, fresh)| *fresh && *at >= from).map(|(at, _)| *at - from)
    }
}

/// Looks until told to stop. `until_ms`: the exchange time after which nothing trades.
pub async fn run(world: &World<'_>, seen: &mut Seen, until_ms: i64, stop: CancellationToken) {
    let mut look = 0;
    while !stop.is_cancelled() {
        workers(world, seen).await;
        if look % LOOKS_FOR_READ == 0 {
            database(world, seen, until_ms).await;
        }
        look += 1;
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn workers(world: &World<'_>, seen: &mut Seen) {
    for worker in world.workers() {
        let pid = worker.pid();
        // A frozen one does not answer for 5 s: that it is frozen is known at once.
        let running = worker.state() == crate::servers::State::Running;
        let ready = running && worker.get("/readyz").await.is_some_and(|(status, _)| status == 200);
        let from = seen.logs.entry(worker.name().to_owned()).or_default();
        if !ready || warned(worker.log_path(), from) {
            seen.signs.push(Instant::now());
        }
        if let Some(kib) = pid.and_then(resident_kib) {
            seen.memory.entry(worker.name().to_owned()).or_default().resident_kib.push(kib);
        }
    }
}

/// Whether the log has warnings or errors since the last look.
fn warned(log: &Path, from: &mut u64) -> bool {
    let mut new = String::new();
    let read = || {
        let mut file = std::fs::File::open(log)?;
        file.seek(SeekFrom::Start(*from))?;
        file.read_to_string(&mut new)
    };
    // Text that is cut within a character comes whole with the next look.
    *from += { read }().unwrap_or(0) as u64;
    new.contains("\"level\":\"WARN\"") || new.contains("\"level\":\"ERROR\"")
}

fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

async fn database(world: &World<'_>, seen: &mut Seen, until_ms: i64) {
    let now_ms = world.sim.clock_ms().min(until_ms);
    // While the database is down there is nothing to see.
    let answer = tokio::time::timeout(Duration::from_secs(3), world.finals()).await;
    let fresh = match answer {
        Ok(Ok(finals)) => {
            let busiest = SYMBOLS[..2].iter().map(|(symbol, _)| {
                let of_it = finals.keys().filter(|w| w.symbol == *symbol && w.length_ms == LENGTHS_MS[0]);
                of_it.map(Window::end_ms).max().unwrap_or(i64::MIN)
            });
            let newest_ms = busiest.min().unwrap_or(i64::MIN);
            seen.watch.read(&finals);
            newest_ms >= now_ms - LENGTHS_MS[0] - LATENESS_MS - FRESH_MS
        }
        _ => false,
    };
    seen.fresh.push((Instant::now(), fresh));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_does_not_grow_has_equal_thirds() {
        let flat = Memory { resident_kib: [vec![5], vec![10; 8]].concat() };
        assert_eq!((flat.max_kib(), flat.thirds_kib()), (10, (10, 10)));
        let growing = Memory { resident_kib: (0..30).collect() };
        assert_eq!(growing.thirds_kib(), (15, 25));
        assert_eq!(Memory::default().thirds_kib(), (0, 0));
    }

    #[test]
    fn a_sign_counts_for_the_fault_that_was_on() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let fresh = vec![(at(50), true), (at(400), false), (at(900), true)];
        let seen = Seen { signs: vec![at(100), at(500)], fresh, ..Seen::default() };
        assert_eq!(seen.detected(at(200), at(600)), Some(Duration::from_millis(300)));
        assert_eq!(seen.detected(at(200), at(400)), None);
        assert_eq!(seen.recovered(at(300)), Some(Duration::from_millis(600)));
        assert_eq!(seen.recovered(at(901)), None);
    }

    #[test]
    fn warnings_are_seen_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut from = 0;
        assert!(!warned(file.path(), &mut from));
        std::fs::write(file.path(), "{\"level\":\"INFO\"}\n{\"level\":\"WARN\"}\n").unwrap();
        assert!(warned(file.path(), &mut from));
        assert!(!warned(file.path(), &mut from));
    }
}
