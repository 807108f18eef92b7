//! The loop itself: watches that show pipelines, passes over each of them, and its end.

use std::{sync::Arc, time::Duration};

use candles_operator::{
    controller::{self, Scope},
    limits::DRAIN,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::world::{Operator, World, run, spec};

#[test]
fn a_resource_that_cannot_be_read_stops_nobody() {
    run(async {
        let world = World::new();
        let operator = Operator::start(&world);
        world.user_applies("broken", json!({"exchange": "not a map"}));
        for nth in 0..40 {
            let name = format!("good-{nth}");
            world.user_applies(&name, spec(json!({"topic": {"name": format!("topic-{nth}")}})));
        }
        let stop = CancellationToken::new();
        let namespaces = Scope::Namespaces(vec!["ns".to_owned()]);
        let work =
            controller::run(Arc::clone(&operator.shared), operator.client.clone(), namespaces, stop.clone());
        let work = tokio::spawn(work);
        for _ in 0..120 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.lock().api.controllers_work();
        }
        stop.cancel();
        work.await.unwrap();
        for nth in 0..40 {
            let ready = world.lock().api.condition(&format!("good-{nth}"), "Ready");
            assert_eq!(ready, "True/Ready", "good-{nth}");
        }
        assert!(world.lock().api.get("deployments", "broken-producer").is_none());
        assert_eq!(world.lock().brokers.made.len(), 80, "a topic and its dead letters for each");
    });
}

#[test]
fn it_ends_in_seconds_while_the_first_list_has_not_come() {
    run(async {
        let world = World::new();
        world.lock().api.watches_hang = true;
        let operator = Operator::start(&world);
        let stop = CancellationToken::new();
        let work =
            controller::run(operator.shared.clone(), operator.client.clone(), Scope::All, stop.clone());
        let work = tokio::spawn(work);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let asked = Instant::now();
        stop.cancel();
        work.await.unwrap();
        assert!(asked.elapsed() <= DRAIN + Duration::from_secs(1), "{:?}", asked.elapsed());
    });
}
