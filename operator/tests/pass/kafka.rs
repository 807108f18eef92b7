//! Topics that are there already, that others change, or that the brokers refuse.

use std::time::Duration;

use candles_operator::kafka::Refusal;
use serde_json::json;

use crate::world::{Operator, World, run, settle, spec};

#[test]
fn a_foreign_topic_is_refused_until_it_is_adopted() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.lock().brokers.make("trades", 3, 3);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().api.condition("demo", "Stalled"), "True/TopicExists");
        assert!(world.lock().api.get("deployments", "demo-producer").is_none(), "nobody writes into it");
        assert!(world.lock().brokers.topics["trades"].config.is_empty());
        world.user_applies("demo", spec(json!({"topic": {"management": "Adopt"}})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().api.condition("demo", "Ready"), "True/Ready");
        assert_eq!(world.lock().brokers.topics["trades"].config["min.insync.replicas"], "2");
    });
}

#[test]
fn an_observed_topic_is_used_and_never_written() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"topic": {"management": "Observe"}})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().api.condition("demo", "TopicReady"), "False/TopicMissing");
        world.lock().brokers.make("trades", 2, 3);
        world.lock().brokers.make("trades-dlq", 1, 3);
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().api.condition("demo", "TopicReady"), "True/Observed");
        assert_eq!(world.lock().api.condition("demo", "Ready"), "True/Ready");
        let state = world.lock();
        assert!(!state.calls.iter().any(|call| call.resource == "kafka" && call.writes));
    });
}

#[test]
fn partitions_grow_settings_drift_back_and_foreign_settings_stay() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"topic": {"config": {"segment.ms": "1000"}}})));
        settle(&world, &mut operator, "demo").await;
        {
            let mut state = world.lock();
            let topic = state.brokers.topics.get_mut("trades").unwrap();
            topic.config.insert("retention.ms".to_owned(), "1".to_owned());
            topic.config.insert("compression.type".to_owned(), "lz4".to_owned());
        }
        world.user_applies("demo", spec(json!({"topic": {"partitions": 6}})));
        settle(&world, &mut operator, "demo").await;
        let state = world.lock();
        let topic = &state.brokers.topics["trades"];
        assert_eq!(topic.partitions, 6);
        assert_eq!(topic.config["retention.ms"], "604800000");
        assert_eq!(topic.config["compression.type"], "lz4", "somebody else's");
        assert!(!topic.config.contains_key("segment.ms"), "dropped from the spec: back to its default");
        let records = state.api.status_of("demo")["topicRecords"].clone();
        assert_eq!(records[0]["foreignSettings"], json!(["compression.type"]), "{records}");
        assert_eq!(state.api.condition("demo", "Ready"), "True/Ready");
    });
}

#[test]
fn a_topic_that_shows_late_is_made_once() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.lock().brokers.late = 5;
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().brokers.made, ["trades", "trades-dlq"]);
        assert_eq!(world.lock().api.condition("demo", "Ready"), "True/Ready");
    });
}

#[test]
fn what_the_brokers_refuse_is_told_and_tried_again() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.lock().brokers.refuses = Some(("create", Refusal::Policy));
        world.user_applies("demo", spec(json!({})));
        for _ in 0..3 {
            let again = operator.pass("demo").await.unwrap().unwrap();
            assert!(again > Duration::from_secs(20), "a refusal is no reason to hurry: {again:?}");
        }
        assert_eq!(world.lock().api.condition("demo", "Stalled"), "True/KafkaPolicyViolation");
        assert!(world.lock().api.status_of("demo").to_string().contains("not by the rules of this cluster"));
        world.lock().brokers.refuses = None;
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().api.condition("demo", "Ready"), "True/Ready");
    });
}

#[test]
fn of_two_pipelines_the_older_has_the_topic_and_the_other_inherits_nothing_by_itself() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("older", spec(json!({})));
        world.user_applies("younger", spec(json!({})));
        for name in ["younger", "older", "younger"] {
            settle(&world, &mut operator, name).await;
        }
        assert_eq!(world.lock().api.condition("older", "Ready"), "True/Ready");
        assert_eq!(world.lock().api.condition("younger", "Stalled"), "True/ResourceConflict");
        assert!(world.lock().api.get("deployments", "younger-producer").is_none());
        world.lock().api.user_deletes("candlepipelines", "older");
        settle(&world, &mut operator, "older").await;
        settle(&world, &mut operator, "younger").await;
        assert_eq!(
            world.lock().api.condition("younger", "Stalled"),
            "True/TopicExists",
            "it did not make the topic"
        );
    });
}

#[test]
fn a_topic_made_anew_by_somebody_else_is_told_and_left_alone() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"topic": {"deletionPolicy": "Delete"}})));
        settle(&world, &mut operator, "demo").await;
        world.lock().brokers.make("trades", 1, 1);
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().api.condition("demo", "TopicReady"), "False/TopicRecreated");
        assert_eq!(world.lock().brokers.topics["trades"].partitions, 1);
        world.lock().api.user_deletes("candlepipelines", "demo");
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().brokers.deleted, ["trades-dlq"], "only what is ours is deleted");
    });
}
