//! The operator: a `CandlePipeline` in, a running pipeline and its status out.
//!
//! One pass: dereference (the only reads) -> [`validate`] -> [`plan`] -> apply -> [`status`].
//! [`api`], [`validate`], [`plan`], [`drift`] and [`status`] are pure: no client, no clock, no async.

pub mod api;
pub mod drift;
pub mod observed;
pub mod plan;
pub mod quantity;
pub mod status;
pub mod validate;

#[cfg(test)]
mod test_support;
