//! The consumer's client, and another one in its place when it has been outside of its group for too long: a way to make
//! clients in, polling until the stop out.

use std::thread::{self, JoinHandle};

use rdkafka::consumer::Consumer as _;
use tokio_util::sync::CancellationToken;

use super::{
    group::GroupConsumer,
    intake::{End, poll_until},
    limits::GIVEN_UP_MAX,
};

/// Polls until `stop`. The last client leaves the group before this returns.
pub fn poll(
    mut consumer: GroupConsumer,
    make: impl Fn() -> anyhow::Result<GroupConsumer>,
    stop: &CancellationToken,
) {
    let mut given_up: Vec<JoinHandle<()>> = Vec::new();
    while let End::Outside(reason) = poll_until(&consumer, stop) {
        given_up.retain(|client| !client.is_finished());
        let next = if given_up.len() < GIVEN_UP_MAX {
            make()
        } else {
            Err(anyhow::anyhow!("{} earlier clients have not come to their end", given_up.len()))
        };
        let group = consumer.context();
        match next {
            Ok(next) => {
                group.give_up(&reason);
                let old = std::mem::replace(&mut consumer, next);
                given_up.extend(leave(old));
            }
            Err(error) => group.keep(&format!("{reason}; no other client: {error:#}")),
        }
    }
    drop(consumer);
}

/// A client that is stuck may take for ever to say goodbye.
fn leave(consumer: GroupConsumer) -> Option<JoinHandle<()>> {
    match thread::Builder::new().name("leave".to_owned()).spawn(move || drop(consumer)) {
        Ok(leaving) => Some(leaving),
        // It has left already, in this thread: it is dropped with the closure.
        Err(error) => {
            tracing::warn!(%error, "no thread for a client to leave in");
            None
        }
    }
}
