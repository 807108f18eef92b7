//! A pipeline from its first pass to its changes.

use serde_json::json;

use crate::world::{Operator, World, run, settle, spec};

#[test]
fn a_pipeline_comes_to_life_topic_first() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        let state = world.lock();
        assert_eq!(state.api.condition("demo", "Ready"), "True/Ready", "{}", state.api.status_of("demo"));
        assert_eq!(state.api.condition("demo", "TopicReady"), "True/InSync");
        assert_eq!(state.brokers.topics["trades"].config["min.insync.replicas"], "2");
        assert_eq!(state.brokers.made, ["trades", "trades-dlq"]);
        let place = |verb: &str, resource: &str| {
            state.calls.iter().position(|call| call.verb == verb && call.resource == resource).unwrap()
        };
        assert!(
            place("patch", "candlepipelines/status") < place("create", "kafka"),
            "the intent is recorded first"
        );
        assert!(place("patch", "configmaps") < place("create", "kafka"));
        assert!(
            place("create", "kafka") < place("patch", "deployments"),
            "workers start when the topic is there"
        );
    });
}

#[test]
fn steady_state_writes_nothing() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"topic": {"deletionPolicy": "Delete"}})));
        settle(&world, &mut operator, "demo").await;
        let before = world.writes();
        for _ in 0..5 {
            operator.pass("demo").await.unwrap();
        }
        // Another process knows nothing but what it reads.
        Operator::start(&world).pass("demo").await.unwrap();
        assert_eq!(world.writes(), before, "{:#?}", &world.lock().calls[before..]);
    });
}

#[test]
fn a_replica_change_is_one_write_and_restarts_nothing() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        let template = |world: &World| {
            world.lock().api.get("deployments", "demo-consumer").unwrap()["spec"]["template"].clone()
        };
        let (before, calls) = (template(&world), world.lock().calls.len());
        world.user_applies("demo", spec(json!({"consumer": {"replicas": 3}})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(template(&world), before);
        let state = world.lock();
        let objects = state.calls[calls..].iter().filter(|call| call.writes && call.resource != "events");
        let written: Vec<_> =
            objects.map(|call| call.resource.as_str()).filter(|r| *r != "candlepipelines/status").collect();
        assert_eq!(written, ["deployments"]);
        assert_eq!(state.api.get("deployments", "demo-consumer").unwrap()["spec"]["replicas"], 3);
    });
}

#[test]
fn outside_edits_are_reverted_and_restarts_are_respected() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        {
            let mut state = world.lock();
            let deployment = state.api.get_mut("deployments", "demo-producer").unwrap();
            deployment["spec"]["replicas"] = json!(7);
            deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] =
                json!("now");
            state.api.user_deletes("networkpolicies", "demo-worker");
            let configmap = state.api.get_mut("configmaps", "demo-config");
            if let Some(configmap) = configmap {
                configmap["data"] = json!({"pipeline.yaml": "nonsense"});
            }
        }
        let before = world.end_state();
        settle(&world, &mut operator, "demo").await;
        assert_ne!(world.end_state(), before);
        let state = world.lock();
        let deployment = state.api.get("deployments", "demo-producer").unwrap();
        assert_eq!(deployment["spec"]["replicas"], 1);
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(
            annotations["kubectl.kubernetes.io/restartedAt"], "now",
            "`kubectl rollout restart` is the user's"
        );
        assert_eq!(state.api.condition("demo", "Ready"), "True/Ready");
    });
}

#[test]
fn foreign_objects_are_refused() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"mine": "yes"}}, "spec": {"replicas": 5}});
        world.lock().api.insert(&("deployments".to_owned(), "demo-consumer".to_owned()), theirs);
        let before = world.lock().api.get("deployments", "demo-consumer").cloned();
        world.lock().api.controllers_sleep = true;
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        let state = world.lock();
        assert_eq!(state.api.get("deployments", "demo-consumer"), before.as_ref());
        assert_eq!(state.api.condition("demo", "Stalled"), "True/NameConflict");
    });
}

#[test]
fn nothing_that_runs_is_torn_down_by_trouble() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        let deployments = |world: &World| {
            ["demo-producer", "demo-consumer"]
                .map(|name| world.lock().api.get("deployments", name).unwrap()["spec"].clone())
        };
        let before = deployments(&world);
        // A spec that an older definition let through.
        world.user_applies("demo", spec(json!({"topic": {"partitions": 0}})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(deployments(&world), before);
        assert_eq!(world.lock().api.condition("demo", "Ready"), "False/InvalidSpec");
        assert_eq!(world.lock().api.condition("demo", "TopicReady"), "True/InSync", "what is known stays");
        world.user_applies("demo", spec(json!({})));
        world.lock().brokers.down = true;
        settle(&world, &mut operator, "demo").await;
        assert_eq!(deployments(&world), before);
        assert_eq!(world.lock().api.condition("demo", "TopicReady"), "Unknown/KafkaUnreachable");
        // And what runs still follows its spec.
        world.user_applies("demo", spec(json!({"consumer": {"replicas": 2}})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(deployments(&world)[1]["replicas"], 2);
        world.lock().brokers.down = false;
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.lock().api.condition("demo", "Ready"), "True/Ready");
    });
}

#[test]
fn suspending_stops_workers_and_keeps_all_else() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        world.user_applies("demo", spec(json!({"suspend": true})));
        settle(&world, &mut operator, "demo").await;
        let state = world.lock();
        for name in ["demo-producer", "demo-consumer"] {
            assert_eq!(state.api.get("deployments", name).unwrap()["spec"]["replicas"], 0);
        }
        assert!(state.brokers.deleted.is_empty());
        assert_eq!(state.api.condition("demo", "Ready"), "False/Suspended");
    });
}

#[test]
fn what_is_not_wanted_any_more_goes() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({"grafana": {"dashboard": {"enabled": true}}})));
        settle(&world, &mut operator, "demo").await;
        let with = world.end_state()["objects"].as_object().unwrap().len();
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        assert_eq!(world.end_state()["objects"].as_object().unwrap().len(), with - 1);
    });
}

#[test]
fn secrets_are_read_only_where_the_user_says_so_and_what_lacks_is_named() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        world.user_applies("demo", spec(json!({})));
        settle(&world, &mut operator, "demo").await;
        let asked =
            |world: &World| world.lock().calls.iter().filter(|call| call.resource == "secrets").count();
        assert_eq!(asked(&world), 0);
        assert_eq!(world.lock().api.condition("demo", "SecretsResolved"), "-/-");
        world.lock().readable_secrets.insert("influxdb".to_owned());
        let operator = Operator::start(&world);
        let secret = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "Secret", "data": data, "metadata": {}});
        let place = ("secrets".to_owned(), "influxdb".to_owned());
        for (data, expected) in [
            (None, "False/Missing"),
            (Some(json!({"other": "eA=="})), "False/KeyMissing"),
            (Some(json!({"token": "c2VjcmV0"})), "True/Found"),
        ] {
            let is_found = expected.ends_with("Found");
            if let Some(data) = data {
                world.lock().api.insert(&place, secret(data));
            }
            let again = operator.pass("demo").await.unwrap();
            assert_eq!(world.lock().api.condition("demo", "SecretsResolved"), expected);
            let ready = if is_found { "True/Ready" } else { "False/SecretsMissing" };
            assert_eq!(world.lock().api.condition("demo", "Ready"), ready);
            assert_eq!(again.unwrap() > candles_operator::limits::PROGRESS, is_found, "it looks again soon");
            assert!(
                world.lock().api.get("deployments", "demo-consumer").is_some(),
                "what runs is left alone"
            );
        }
        let all = world.end_state().to_string();
        assert_eq!(all.matches("c2VjcmV0").count(), 1, "its content is nowhere but in the Secret");
        world.lock().readable_secrets.insert("another".to_owned());
        let before = world.writes();
        operator.pass("demo").await.unwrap();
        assert_eq!(world.writes(), before);
    });
}

#[test]
fn a_resource_that_cannot_be_read_is_told_once_by_an_event() {
    run(async {
        let world = World::new();
        let operator = Operator::start(&world);
        world.user_applies("broken", json!({"exchange": "not a map"}));
        for _ in 0..3 {
            operator.pass("broken").await.unwrap();
        }
        assert_eq!(world.writes(), 1, "{:#?}", world.lock().calls);
        let event = {
            let state = world.lock();
            let call = state.calls.iter().find(|call| call.writes).cloned().unwrap();
            assert_eq!((call.verb, call.resource.as_str()), ("create", "events"));
            state.api.events().next().cloned().unwrap()
        };
        assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("InvalidSpec")), "{event}");
        assert_eq!(
            (&event["regarding"]["kind"], &event["regarding"]["name"]),
            (&json!("CandlePipeline"), &json!("broken"))
        );
        assert!(event["note"].as_str().unwrap().contains("not a map"), "{event}");
        // Corrected, and broken again: that is news.
        world.user_applies("broken", json!({"exchange": 7}));
        operator.pass("broken").await.unwrap();
        assert_eq!(world.writes(), 2);
    });
}
