//! The end of a pipeline, in both policies, with Kafka there and gone.

use std::time::Duration;

use serde_json::json;

use crate::world::{Operator, World, run, settle, spec};

#[test]
fn retained_topics_need_no_finalizer_and_no_operator() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        assert!(world.lock().api.get("candlepipelines", "demo").unwrap()["metadata"]["finalizers"].is_null());
        drop(operator);
        world.lock().api.user_deletes("candlepipelines", "demo");
        let end = world.end_state();
        assert_eq!(end["objects"].as_object().unwrap().len(), 0, "{end}");
        assert_eq!(end["topics"].as_object().unwrap().len(), 2);
    });
}

#[test]
fn deleted_topics_go_after_their_workers() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"topic": {"deletionPolicy": "Delete"}})));
        settle(&world, &mut operator, "demo").await;
        let calls = world.lock().calls.len();
        world.lock().api.user_deletes("candlepipelines", "demo");
        settle(&world, &mut operator, "demo").await;
        let end = world.end_state();
        assert_eq!(
            (end["objects"].as_object().unwrap().len(), end["topics"].as_object().unwrap().len()),
            (0, 0),
            "{end}"
        );
        let state = world.lock();
        let place = |verb: &str, resource: &str| {
            state.calls[calls..]
                .iter()
                .position(|call| call.verb == verb && call.resource == resource)
                .unwrap()
        };
        assert!(place("patch", "deployments") < place("delete", "kafka"));
    });
}

#[test]
fn the_finalizer_comes_before_the_topic_and_goes_when_the_policy_does() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"topic": {"deletionPolicy": "Delete"}})));
        settle(&world, &mut operator, "demo").await;
        let finalizers = |world: &World| {
            world.lock().api.get("candlepipelines", "demo").unwrap()["metadata"]["finalizers"].clone()
        };
        assert_eq!(finalizers(&world), json!(["candles.dev/topic"]));
        {
            let state = world.lock();
            let place = |verb: &str, resource: &str| {
                state.calls.iter().position(|call| call.verb == verb && call.resource == resource).unwrap()
            };
            assert!(place("patch", "candlepipelines") < place("create", "kafka"));
        }
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(finalizers(&world), json!([]));
    });
}

#[test]
fn deletion_ends_with_kafka_gone() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"topic": {"deletionPolicy": "Delete"}})));
        settle(&world, &mut operator, "demo").await;
        world.lock().brokers.down = true;
        world.lock().api.user_deletes("candlepipelines", "demo");
        operator.pass("demo").await.unwrap();
        world.lock().api.controllers_work();
        operator.pass("demo").await.unwrap();
        assert!(world.lock().api.get("candlepipelines", "demo").is_some(), "not let go at the first failure");
        // As the API server's clock says; the operator may have been away all the time.
        let asked = jiff::Timestamp::now() - Duration::from_secs(31);
        world.lock().api.get_mut("candlepipelines", "demo").unwrap()["metadata"]["deletionTimestamp"] =
            json!(asked.to_string());
        settle(&world, &mut operator, "demo").await;
        assert!(world.lock().api.get("candlepipelines", "demo").is_none());
        assert_eq!(world.lock().brokers.topics.len(), 2, "they stay, and an event says so");
        let events = world.lock().calls.iter().filter(|call| call.resource == "events").count();
        assert!(events > 0);
    });
}

#[test]
fn a_foreign_topic_is_not_deleted_with_the_pipeline() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.lock().brokers.make("trades", 3, 3);
        world.user_applies("demo", spec(json!({"topic": {"deletionPolicy": "Delete"}})));
        settle(&world, &mut operator, "demo").await;
        world.lock().api.user_deletes("candlepipelines", "demo");
        settle(&world, &mut operator, "demo").await;
        assert!(world.lock().brokers.topics.contains_key("trades"));
        assert!(world.lock().api.get("candlepipelines", "demo").is_none());
    });
}
