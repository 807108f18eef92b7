//! Members of a group by their own account, for brokers that list no groups: addresses of consumers' metrics in, members
//! with their partitions out.
//!
//! A consumer reports the lag of each partition that it owns, and of no other.

use std::time::Duration;

use crate::kafka::groups::{Group, Member};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const LAG: &str = "candles_consumer_lag_records{partition=\"";

/// A consumer, and where its metrics are.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// What to call it.
    pub name: String,
    /// `http://host:port`.
    pub url: String,
}

/// The group of those consumers that answer.
pub(super) async fn group(id: &str, topic: &str, consumers: &[Consumer]) -> Group {
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().unwrap_or_default();
    let answers = consumers.iter().map(async |consumer| {
        let answer = client.get(format!("{}/metrics", consumer.url)).send().await.ok()?;
        let assigned = partitions(&answer.text().await.ok()?);
        Some(Member {
            id: String::new(),
            client_id: consumer.name.clone(),
            host: consumer.url.clone(),
            assigned: assigned.into_iter().map(|partition| (topic.to_owned(), partition)).collect(),
        })
    });
    let members = futures_util::future::join_all(answers).await.into_iter().flatten().collect();
    Group { id: id.to_owned(), state: "as its members tell".to_owned(), assignor: String::new(), members }
}

/// Partitions whose lag is reported.
fn partitions(metrics: &str) -> Vec<i32> {
    let partition = |line: &str| line.strip_prefix(LAG)?.split('"').next()?.parse().ok();
    let mut found: Vec<i32> = metrics.lines().filter_map(partition).collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_with_a_lag() {
        let metrics = "# TYPE candles_consumer_lag_records gauge\n\
                       candles_consumer_lag_records{partition=\"2\"} 5\ncandles_consumer_lag_records{partition=\"0\"} 0\n\
                       candles_consumer_paused 0\n";
        assert_eq!(partitions(metrics), [0, 2]);
    }
}
