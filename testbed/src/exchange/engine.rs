//! Keeps the exchange up with its clock: sleeps until the next event is due, or, jumping, hands out
//! events as fast as the sockets take them. The only place that waits for time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::core::Core;

/// Moments with events between two looks at the sockets when jumping.
const BATCH_MOMENTS: usize = 512;
/// Unwritten bytes of a connection at which jumping waits.
const UNREAD_WAIT: usize = 1 << 20;
/// How long jumping waits for a reader before it is cut.
const READER_MAX: Duration = Duration::from_secs(30);

enum Next {
    Now,
    Drained,
    After(Option<Duration>),
}

/// Runs until the stop signal.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let next = shared.with(step);
        tokio::select! {
            () = stop.cancelled() => break,
            () = wait(&shared, next) => {}
        }
    }
    shared.with(Core::flush);
}

async fn wait(shared: &Shared, next: Next) {
    match next {
        Next::Now => tokio::task::yield_now().await,
        Next::Drained => {
            if tokio::time::timeout(READER_MAX, drained(shared)).await.is_err() {
                shared.with(|core| full(core).for_each(|c| c.shared.kill.cancel()));
            }
        }
        Next::After(None) => shared.wake.notified().await,
        Next::After(Some(time)) => {
            let _ = tokio::time::timeout(time, shared.wake.notified()).await;
        }
    }
}

async fn drained(shared: &Shared) {
    while shared.with(|core| full(core).next().is_some()) {
        shared.drained.notified().await;
    }
}

fn full(core: &Core) -> impl Iterator<Item = &super::conn::Conn> {
    core.conns.values().filter(|c| c.shared.unread_bytes.load(Ordering::Relaxed) > UNREAD_WAIT)
}

fn step(core: &mut Core) -> Next {
    core.set_speed();
    if core.jumps() {
        if full(core).next().is_some() {
            return Next::Drained;
        }
        core.jump(BATCH_MOMENTS);
        core.flush();
        return Next::Now;
    }
    core.catch_up();
    core.flush();
    let next = core.next_due_ms();
    Next::After(next.and_then(|ms| core.clock.until(ms)))
}
