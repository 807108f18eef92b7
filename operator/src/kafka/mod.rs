//! The brokers' side: topics described, made and changed, lag read. Cluster and names in, plain answers out.
//!
//! [`TopicAdmin`] is what the controller knows; [`Clusters`] is it on real brokers: one client for each cluster, bounded
//! concurrency, a time limit on every call, never a topic by accident. Credentials are the operator's own
//! ([`credentials`]): it has no right on the Secrets that pipelines name.

mod admin;
pub mod clusters;
pub mod credentials;
mod native;

pub use self::{
    admin::{Address, KafkaError, Lag, NewTopic, Refusal, TopicAdmin},
    clusters::Clusters,
};
