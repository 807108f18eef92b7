//! The operator: a `CandlePipeline` in, a running pipeline and its status out.
//!
//! One pass: dereference (the only reads) -> [`validate`] -> [`plan`] -> apply -> [`status`].

pub mod kafka;
pub mod topic;
