//! Whether the client is a member of its group, and how long it has not been: the client's statistics in, the reason to
//! give it up out.
//!
//! The client may come into a state in which it asks nobody any more: with the protocol in which the broker assigns, a
//! heartbeat that is never answered, and every fatal error. Only another client helps then.
//!
//! - A client that stays outside though brokers answer is given up, and no other.
//!   (`only_a_client_that_stays_outside_while_brokers_answer_is_given_up`)

use std::time::{Duration, Instant};

use rdkafka::Statistics;

use super::limits::OUTSIDE_MAX;

/// Where the client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In the group.
    Member,
    /// Not in the group, and another client would not be either: no broker answers, or other members are waited for.
    Waiting,
    /// Not in the group, and nothing explains it.
    Outside,
}

impl Standing {
    /// From what the client says of itself. `owns`: it has partitions, which are not to be taken from it.
    pub fn new(statistics: &Statistics, owns: bool) -> Self {
        let answered = statistics.brokers.values().any(|broker| broker.state == "UP");
        let Some(group) = &statistics.cgrp else { return Self::Waiting };
        match group.join_state.as_str() {
            "steady" if answered && group.state == "up" => Self::Member,
            // Of the classic protocol: the coordinator answers when the other members have.
            "wait-join" | "wait-sync" => Self::Waiting,
            _ if owns || !answered => Self::Waiting,
            _ => Self::Outside,
        }
    }
}

/// Since when a client stands outside.
#[derive(Debug, Default)]
pub struct Membership {
    outside_since: Option<Instant>,
}

impl Membership {
    /// The client stands so at `now`.
    pub fn stands(&mut self, standing: Standing, now: Instant) {
        self.outside_since = match standing {
            Standing::Outside => self.outside_since.or(Some(now)),
            Standing::Member | Standing::Waiting => None,
        };
    }

    /// How long the client has stood outside at `now`, if that is too long.
    pub fn outside_too_long(&self, now: Instant) -> Option<Duration> {
        let outside = now.saturating_duration_since(self.outside_since?);
        (outside >= OUTSIDE_MAX).then_some(outside)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, ConsumerGroup};

    use super::*;

    fn statistics(state: &str, join_state: &str, brokers: &[&str]) -> Statistics {
        let broker = |(number, state): (usize, &&str)| {
            (number.to_string(), Broker { state: (*state).to_owned(), ..Broker::default() })
        };
        let group = ConsumerGroup {
            state: state.to_owned(),
            join_state: join_state.to_owned(),
            ..ConsumerGroup::default()
        };
        Statistics {
            cgrp: Some(group),
            brokers: brokers.iter().enumerate().map(broker).collect(),
            ..Statistics::default()
        }
    }

    #[test]
    fn only_a_client_that_stays_outside_while_brokers_answer_is_given_up() {
        let cases = [
            (("up", "steady", &["DOWN", "UP"][..]), false, Standing::Member),
            (("up", "init", &["DOWN", "UP"]), false, Standing::Outside),
            (("wait-coord", "init", &["UP"]), false, Standing::Outside),
            (("up", "init", &["DOWN", "TRY_CONNECT"]), false, Standing::Waiting),
            (("up", "wait-join", &["UP"]), false, Standing::Waiting),
            (("query-coord", "steady", &["UP"]), true, Standing::Waiting),
        ];
        for ((state, join_state, brokers), owns, standing) in cases {
            let statistics = statistics(state, join_state, brokers);
            assert_eq!(Standing::new(&statistics, owns), standing, "{state} {join_state} {brokers:?}");
        }
        assert_eq!(Standing::new(&Statistics::default(), false), Standing::Waiting);
    }

    #[test]
    fn the_time_outside_counts_from_the_last_time_that_it_was_not() {
        let begun = Instant::now();
        let after = |s| begun + Duration::from_secs(s);
        let mut membership = Membership::default();
        assert_eq!(membership.outside_too_long(after(1_000)), None);
        membership.stands(Standing::Outside, after(5));
        membership.stands(Standing::Outside, after(50));
        membership.stands(Standing::Waiting, after(55));
        membership.stands(Standing::Outside, after(60));
        assert_eq!(membership.outside_too_long(after(119)), None);
        assert_eq!(membership.outside_too_long(after(120)), Some(OUTSIDE_MAX));
        membership.stands(Standing::Member, after(121));
        assert_eq!(membership.outside_too_long(after(1_000)), None);
    }
}
