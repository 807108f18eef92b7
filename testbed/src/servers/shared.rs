//! Testbeds that the tests of a test binary share, each leased to one test at a time. Started by the first test,
//! healed between two, ended by the last; logs and data are kept if any test panicked.
//! Tests that share must fail by panicking (`unwrap`, `assert!`): an `Err` returned by a test is not seen here.
//!
//! A testbed lives as long as a test has it or waits for it. So there is one for every two test threads: with one
//! thread, each test starts servers of its own. Tests mostly wait, for sessions that expire and servers that come
//! back: two testbeds on two cores halve the time.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::{Mutex, MutexGuard};

use super::error::Result;
use super::testbed::Testbed;

static LANES: [Lane; 2] = [Lane::new(), Lane::new()];
/// Tests that have or await each lane's testbed.
static TESTS: std::sync::Mutex<[usize; 2]> = std::sync::Mutex::new([0; 2]);
static FAILED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Lane {
    testbed: Mutex<Weak<Shared>>,
    turn: Mutex<()>,
}

impl Lane {
    const fn new() -> Self {
        Self { testbed: Mutex::const_new(Weak::new()), turn: Mutex::const_new(()) }
    }
}

/// A test's place in a lane.
#[derive(Debug)]
struct Place(usize);

impl Place {
    fn take() -> Self {
        let mut tests = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
        // First as the one who waits, so that its servers go on; then where none run yet.
        let lane = [1, 0].iter().find_map(|wanted| tests.iter().position(|count| count == wanted));
        let lane = lane.unwrap_or(usize::from(tests[1] < tests[0]));
        tests[lane] += 1;
        Self(lane)
    }

    fn lane(&self) -> &'static Lane {
        &LANES[self.0]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TESTS.lock().unwrap_or_else(PoisonError::into_inner)[self.0] -= 1;
    }
}

#[derive(Debug)]
struct Shared(Testbed);

impl Drop for Shared {
    fn drop(&mut self) {
        if !FAILED.load(Ordering::SeqCst) && !std::thread::panicking() {
            self.0.run_dir().finish();
        }
    }
}

/// A testbed for one test alone, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    _turn: MutexGuard<'static, ()>,
    _place: Place,
}

impl Deref for Lease {
    type Target = Testbed;
    fn deref(&self) -> &Testbed {
        &self.shared.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if std::thread::panicking() {
            FAILED.store(true, Ordering::SeqCst);
        }
    }
}

/// Waits for this test's turn; all servers run and are ready then. Topics, schemas and buckets of earlier tests
/// are still there: use names of your own.
pub async fn lease() -> Result<Lease> {
    let place = Place::take();
    let lane = place.lane();
    let shared = {
        let mut current = lane.testbed.lock().await;
        if let Some(shared) = current.upgrade() {
            shared
        } else {
            let shared = Arc::new(Shared(Testbed::builder("shared").start().await?));
            *current = Arc::downgrade(&shared);
            shared
        }
    };
    let turn = lane.turn.lock().await;
    shared.0.heal().await?;
    Ok(Lease { shared, _turn: turn, _place: place })
}
