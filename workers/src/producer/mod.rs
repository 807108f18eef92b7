//! The producer: trades of the exchange in, the log out, complete and in order.
//!
//! One trade's way: `exchange` (socket) -> [`engine`] (one owner of all state) -> [`feed`] (what to publish, and
//! when) -> [`publisher`] (Kafka). Started and ended by [`run`].

pub mod feed;
mod fill;
pub mod limits;
pub mod recent;
