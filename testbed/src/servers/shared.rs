//! One testbed for all tests of a test binary, leased to one test at a time. Started by the first, healed
//! between two, ended by the last; logs and data are kept if any test panicked.
//! Tests that share must fail by panicking (`unwrap`, `assert!`): an `Err` returned by a test is not seen here.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::{Mutex, MutexGuard};

use super::error::Result;
use super::testbed::Testbed;

/// The running testbed, if some test holds it. The test harness starts the next test while another one still
/// runs or waits, so that with two test threads or more there is one start; with one, each test starts its own.
static CURRENT: Mutex<Weak<Shared>> = Mutex::const_new(Weak::new());
static TURN: Mutex<()> = Mutex::const_new(());
static FAILED: AtomicBool = AtomicBool::new(false);

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
    let shared = {
        let mut current = CURRENT.lock().await;
        if let Some(shared) = current.upgrade() {
            shared
        } else {
            let shared = Arc::new(Shared(Testbed::builder("shared").start().await?));
            *current = Arc::downgrade(&shared);
            shared
        }
    };
    let turn = TURN.lock().await;
    shared.0.heal().await?;
    Ok(Lease { shared, _turn: turn })
}
