//! Limits of the producer, and why they are what they are.

use std::time::Duration;

/// History is asked for from this long before the last published trade: trades swap places within a few ms, and
/// the exchange stores them a second or two after they happened. Well below the consumers' lateness would do.
pub const OVERLAP_MS: i64 = 10_000;
/// A snapshot that reaches back to trades published this long before the interruption proves that none is missing.
pub const DISORDER_MS: i64 = 1_000;
/// Ids are remembered for this long in event time, and for at most twice that. A trade is sent as stored 1-2 s
/// after it was sent as executed.
pub const RECENT_MS: i64 = 15_000;
/// Ids of one generation. At 20,000 trades/s this is 3 s, beyond the 1-2 s until a trade is sent as stored; a
/// duplicate that gets through is legal, the consumer removes it.
pub const RECENT_IDS_MAX: usize = 65_536;
/// Live trades of one symbol kept while its history is fetched: 40 bytes each. Beyond it they are forgotten and
/// fetched as history instead.
pub const BUFFER_TRADES_MAX: usize = 50_000;
/// The same for all symbols together: 4 MB.
pub const BUFFER_TRADES_TOTAL_MAX: usize = 100_000;
/// History that ends before the live trades begin is asked for again after this: it lags by seconds.
pub const LAG_RETRY: Duration = Duration::from_secs(3);
/// After so many tries (a minute and more, by the request budget) it is believed not to hold the range.
pub const LAG_TRIES_MAX: u32 = 20;
/// History that fails for this long is given up: the gap is marked and the symbol goes live.
pub const OUTAGE_MAX: Duration = Duration::from_secs(300);
/// First and longest wait after a failed request for history.
pub const HISTORY_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// A busy symbol is marked about this often (ms of its trades' times): well within the consumers' patience with a
/// producer that may have seen what another missed.
pub const MARK_EVERY_MS: i64 = 10_000;
/// A heartbeat this long after the last published trade says something that the trade did not.
pub const QUIET_MS: i64 = 1_000;

const _: () = assert!(RECENT_MS > OVERLAP_MS, "a fill must know the ids of its overlap");
const _: () = assert!(DISORDER_MS < OVERLAP_MS);
const _: () = assert!(BUFFER_TRADES_MAX <= BUFFER_TRADES_TOTAL_MAX);
/// Records between the producer and the brokers. Beyond it, sockets are not read: RAM is not the buffer.
pub const QUEUE_RECORDS_MAX: usize = 20_000;
/// The same in KiB: with 50 symbols a worker stays below 24 MiB.
pub const QUEUE_KBYTES_MAX: usize = 8 * 1024;
/// Records of one partition that are handed over together: with their keys below the client's `batch.size` of 1 MB
/// and `batch.num.messages`, so that they go as one request.
pub const BURST_RECORDS_MAX: usize = 5_000;
/// How long the client waits for the rest of a burst. Gathering is the outbox's.
pub const LINGER_MS: u32 = 1;
/// Requests whose delivery reports are taken at once. More wait for the next turn.
pub const REPORT_POLLS_MAX: usize = 1_000;
/// No delivery report for this long while records wait: not ready, and the reason is said.
pub const DELIVERY_STALL: Duration = Duration::from_secs(5);
/// The number of partitions is looked up this often.
pub const PARTITIONS_REFRESH: Duration = Duration::from_secs(30);
/// One call to the brokers on a blocking thread.
pub const KAFKA_CALL: Duration = Duration::from_secs(10);
/// After SIGTERM: records get this long to be delivered. What is not is found in history by the next start.
pub const FLUSH: Duration = Duration::from_secs(5);
/// First and longest wait before asking brokers, registry or a missing topic again.
pub const START_BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// Records that the tail of the topic is searched in first; then eight times as many, and so on.
pub const TAIL_RECORDS_FIRST: i64 = 1_000;
/// Records of one partition that are read at most in search of a symbol's last trade.
pub const TAIL_RECORDS_MAX: i64 = 5_000_000;
/// No record for this long while reading the tail: tried again.
pub const TAIL_STALL: Duration = Duration::from_secs(20);
/// Ids per symbol that the tail reader keeps: those of the overlap, at most.
pub const TAIL_IDS_MAX: usize = 65_536;
