//! Limits of the operator, with their reasons.

use std::time::Duration;

/// A lease that nobody renewed for this long is free: the longest failover after a kill, but for one look.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long stops writing, counted from before its last successful request.
pub const LEASE_RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// A holder renews this often.
pub const LEASE_RENEW_EVERY: Duration = Duration::from_secs(2);
/// Others look this often: the failover after a graceful end.
pub const LEASE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// One request for the lease.
pub const LEASE_REQUEST: Duration = Duration::from_secs(3);

/// One request that changes something, at the API server or at a broker. A request that was sent by the last moment of
/// a lease has ended before anybody else may take it.
pub const WRITE: Duration = Duration::from_secs(4);
/// One request that reads.
pub const READ: Duration = Duration::from_secs(5);
/// A request that lists objects of many pipelines.
pub const LIST: Duration = Duration::from_secs(30);
/// One pass over one pipeline; the slowest of its calls ends long before.
pub const PASS: Duration = Duration::from_secs(60);

/// Pipelines at the same time. Passes wait for servers rather than for the processor.
pub const PASSES: u16 = 16;
/// A pipeline on which nothing happens is looked at this often, within a quarter of it.
pub const RESYNC: Duration = Duration::from_secs(300);
/// The same while something is on its way.
pub const PROGRESS: Duration = Duration::from_secs(15);
/// Between two requests for a change that the brokers refuse.
pub const REFUSED: Duration = Duration::from_secs(60);
/// Between a change that Kafka accepted and a look at what became of it.
pub const SETTLE: Duration = Duration::from_secs(1);
/// After a failure: the first wait and the longest, for each pipeline by itself.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// A topic that cannot be deleted holds its resource no longer than this: a namespace has to go.
pub const DELETION: Duration = Duration::from_secs(30);
/// After SIGTERM the process ends within this, whatever happens.
pub const SHUTDOWN: Duration = Duration::from_secs(8);
/// Passes that are under way at SIGTERM may end within this.
pub const DRAIN: Duration = Duration::from_secs(3);
/// Without word from the API server for this long the watches are stuck. The server ends each within 290 s by itself.
pub const WATCH_SILENCE: Duration = Duration::from_secs(420);

/// Lag of one group is read this often, at most.
pub const LAG_EVERY: Duration = Duration::from_secs(30);
/// Topics and groups looked at in a second, over all pipelines.
pub const LOOKS_PER_SECOND: u32 = 50;

const _: () = assert!(LEASE_RENEW_DEADLINE.as_millis() + WRITE.as_millis() < LEASE_DURATION.as_millis());
const _: () =
    assert!(LEASE_RENEW_EVERY.as_millis() + LEASE_REQUEST.as_millis() < LEASE_RENEW_DEADLINE.as_millis());
const _: () = assert!(DRAIN.as_millis() + LEASE_REQUEST.as_millis() < SHUTDOWN.as_millis());
const _: () = assert!(DELETION.as_secs() < 60, "a namespace is gone within a minute");
