//! Limits of what an exchange may send and how long things may take. Rates of the exchange itself are configuration.

use std::time::Duration;

/// Longest frame. The largest recorded has 4.8 KB; beyond this the connection is cut and made anew.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Longest page of history: 10,000 rows of 60 bytes, with room for appended fields.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Of an invalid frame so much is kept for the dead letter.
pub const INVALID_BYTES_MAX: usize = 4 * 1024;
/// A trade later than the exchange's own time by more than this is not believed: it would make every later
/// trade of its symbol a late one.
pub const FUTURE_MS_MAX: i64 = 60_000;
/// Rows of a snapshot that are looked at. The exchange sends 30.
pub const SNAPSHOT_ROWS_MAX: usize = 10_000;
/// The server answers a connect, a `conf` and a `subscribe` within this, or the connection is made anew.
pub const HANDSHAKE: Duration = Duration::from_secs(15);
/// One request for history, answer included.
pub const REQUEST: Duration = Duration::from_secs(30);
/// Longest wait between two tries to connect (full jitter).
pub const RECONNECT_CAP: Duration = Duration::from_secs(60);
/// First wait between two tries to connect.
pub const RECONNECT_FIRST: Duration = Duration::from_secs(1);
/// A connection that held this long is a success: the next failure starts with a short wait again.
pub const STABLE: Duration = Duration::from_secs(60);
/// Waits before connecting again after the exchange announced a restart are drawn up to this.
pub const RESTART_JITTER: Duration = Duration::from_secs(5);
/// Maintenance ends within 120 s by the exchange's documentation; later the connection is made anew.
pub const MAINTENANCE: Duration = Duration::from_secs(150);
/// A rejected symbol is asked for again after this.
pub const REJECTED_RETRY: Duration = Duration::from_secs(300);
/// More holes in a minute than this: the connection itself is bad and is made anew.
pub const HOLES_PER_MINUTE_MAX: usize = 5;
/// Bytes that one socket reads at once. 64 connections hold 2 MiB.
pub const READ_BUFFER_BYTES: usize = 32 * 1024;
/// Events of one connection that travel together.
pub const BATCH_EVENTS_MAX: usize = 256;
/// Batches between the connections and the producer. Beyond this, sockets are not read.
pub const INBOX_BATCHES: usize = 4;
/// After the exchange says that the rate is too high: no request for this long (it blocks for about 60 s).
pub const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(60);
/// A connection that waited longer than this for room in the inbox did not read meanwhile: its exchange may have
/// spoken, so its silence is counted anew.
pub const INBOX_STALL: Duration = Duration::from_millis(200);
