//! What tests wait for: a question in, the expected answer or a failure that shows what came instead out.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long [`eventually`] asks: many times what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks again until the answer is as expected.
///
/// # Panics
/// When it is not within [`PATIENCE`]; shows the last answer.
pub async fn eventually<T: PartialEq + Debug>(what: &str, expected: T, mut ask: impl AsyncFnMut() -> T) {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if answer == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {answer:?} instead of {expected:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
