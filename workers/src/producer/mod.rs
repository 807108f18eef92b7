//! The producer: trades of the exchange in, the log out, complete and in order.
//!
//! One trade's way: `exchange` (socket) -> [`engine`] (one owner of all state) -> [`feed`] (what to publish, and
//! when) -> [`outbox`] (bursts) -> [`publisher`] (Kafka). [`run`] starts and ends it; `tail` tells it where the log ends.

pub mod engine;
pub mod feed;
pub mod fetches;
mod fill;
pub mod limits;
pub mod metrics;
pub mod outbox;
pub mod publisher;
pub mod recent;
mod run;
pub mod sockets;
pub mod tail;

pub use self::run::{Options, run};
