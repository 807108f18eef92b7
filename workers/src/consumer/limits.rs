//! Every limit of the consumer, and its reason.

use std::time::Duration;

/// Records that one poll round may take before the batch is handed over, however many more there are.
pub const ROUND_RECORDS_MAX: usize = 2_000;
/// Bytes of a batch after which a round ends: dead letters keep their values, which may be of any size.
pub const ROUND_BYTES_MAX: usize = 1024 * 1024;
/// Above this, the thread waits for the sink, and pauses its partitions when that lasts.
pub const PENDING_BYTES_HIGH: usize = 3 * 1024 * 1024;
/// Below this, it goes on.
pub const PENDING_BYTES_LOW: usize = 2 * 1024 * 1024;
/// How long the thread waits for the sink before it pauses: pausing throws prefetched records away.
pub const STALL_MAX: Duration = Duration::from_millis(500);
/// Longest wait for a record: how soon a signal is noticed.
pub const POLL_WAIT: Duration = Duration::from_millis(100);
/// How often progress is committed.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How often changed forming candles are written.
pub const LIVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a revoked partition may wait for the sink. What is not acknowledged by then is read again by the next
/// owner.
pub const DRAIN_MAX: Duration = Duration::from_secs(8);
/// How long stopping may take in all, the goodbye to the group included.
pub const LEAVE_MAX: Duration = Duration::from_secs(13);
/// The group's coordinator hands the partitions of a silent member to others after this.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time between two polls before the client leaves the group by itself.
pub const POLL_INTERVAL_MAX: Duration = Duration::from_mins(5);
/// A client that has been no member of the group for so long, though brokers answer, is given up for another one. A
/// first heartbeat without an answer is given up by the client itself after 45 s, and a join takes a few seconds; with
/// the classic protocol it may take longer, but then the client says that it waits for the other members.
pub const OUTSIDE_MAX: Duration = Duration::from_mins(1);
/// Clients that were given up and have not come to their end yet: such a one may never do, and each has threads and
/// buffers of its own. With as many, the last client is kept, whatever its state.
pub const GIVEN_UP_MAX: usize = 3;
/// One call to a broker about offsets.
pub const BROKER_CALL: Duration = Duration::from_secs(5);
/// Prefetched records per partition below which the client fetches more. Each takes about 400 bytes in the client.
pub const PREFETCH_RECORDS: usize = 2_000;
/// Prefetched records, in KiB of their own bytes.
pub const PREFETCH_KIB: usize = 1_024;
/// Most bytes of one partition in one answer of a broker.
pub const FETCH_BYTES_MAX: usize = 64 * 1024;
/// It is looked at this often whether the topic was made anew under the same name.
pub const IDENTITY_INTERVAL: Duration = Duration::from_secs(20);
/// One question for that: nothing depends on the answer's coming.
pub const IDENTITY_CALL: Duration = Duration::from_secs(1);
/// The topic's partitions are looked up this often, as the producer does.
pub const METADATA_REFRESH: Duration = Duration::from_secs(30);
/// Schema ids that are remembered: a hostile topic could name any number.
pub const SCHEMAS_MAX: usize = 1_000;
/// Schema ids that are fetched at the same time. Each takes a few tries, seconds apart, until it counts as unknown.
pub const SCHEMAS_FETCHED_MAX: usize = 256;
/// Requests to the registry at the same time.
pub const SCHEMA_REQUESTS_MAX: usize = 4;
/// How long an id that the registry does not know is remembered as unknown.
pub const UNKNOWN_SCHEMA_AGE: Duration = Duration::from_secs(30);

const _: () = assert!(DRAIN_MAX.as_secs() + BROKER_CALL.as_secs() <= LEAVE_MAX.as_secs());
const _: () = assert!(DRAIN_MAX.as_secs() < SESSION_TIMEOUT.as_secs());
const _: () = assert!(SESSION_TIMEOUT.as_secs() < OUTSIDE_MAX.as_secs());
const _: () = assert!(SESSION_TIMEOUT.as_secs() < POLL_INTERVAL_MAX.as_secs());
const _: () = assert!(SCHEMAS_FETCHED_MAX < SCHEMAS_MAX);
const _: () = assert!(ROUND_BYTES_MAX < PENDING_BYTES_HIGH);
const _: () = assert!(PENDING_BYTES_LOW < PENDING_BYTES_HIGH);
