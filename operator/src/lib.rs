//! The operator: a `CandlePipeline` in, a running pipeline and its status out.
//!
//! One pass: dereference (the only reads) -> [`validate`] -> [`plan`] -> apply -> [`status`].
//! [`api`], [`validate`], [`plan`], [`drift`], [`topic`] and [`status`] are pure: no client, no clock, no async.
//! [`controller`] makes the passes; [`client`], [`kafka`] and [`lease`] are its edges; [`process`] is around them.

pub mod api;
pub mod client;
pub mod controller;
pub mod drift;
pub mod kafka;
pub mod lease;
pub mod limits;
pub mod metrics;
pub mod observed;
pub mod plan;
pub mod process;
pub mod quantity;
pub mod status;
pub mod topic;
pub mod validate;

#[cfg(test)]
mod test_support;
