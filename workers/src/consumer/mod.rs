//! Records of the topic in, points and committed offsets out.
//!
//! One thread polls ([`intake`]): it decodes, builds candles and fills batches without waiting for anything. The
//! writer of `sink` runs beside it and acknowledges batches in order; only then are offsets committed, with what a
//! successor needs to rebuild the open windows. The consumer keeps no state of its own: the log is the state.
//!
//! - A record is committed only when all it caused is stored. (`killed_at_any_moment_the_final_candles_are_the_same`)
//! - A client that its group has lost for good is replaced in the same process.
//!   (`a_client_that_stays_outside_of_its_group_is_replaced_and_nothing_is_lost`)
//! - A rebuilt window is never written before the rebuilding is complete. (`rereading_writes_nothing`)

mod client;
mod commits;
mod group;
mod intake;
pub mod limits;
mod membership;
pub mod metrics;
mod partition;
mod resume;
mod run;
mod schemas;

pub use self::run::{Options, run};
