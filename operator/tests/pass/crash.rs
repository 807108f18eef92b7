//! The operator stops before and after every single write to the API server and to the brokers, in each scenario; the
//! next process must come to where the undisturbed run ends.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::world::{Fault, Operator, Planned, World, run, settle, spec};

/// What a user does, one after the other; `None` deletes the pipeline.
type Steps = Vec<Option<Value>>;

fn scenarios() -> Vec<(&'static str, Steps)> {
    let delete = json!({"topic": {"deletionPolicy": "Delete"}});
    let some = |changes: Value| Some(spec(changes));
    vec![
        ("create", vec![some(json!({}))]),
        ("create with a finalizer", vec![some(delete.clone())]),
        ("scale", vec![some(json!({})), some(json!({"consumer": {"replicas": 3}}))]),
        ("grow", vec![some(json!({})), some(json!({"topic": {"partitions": 6}}))]),
        (
            "change settings",
            vec![
                some(json!({"topic": {"config": {"segment.ms": "1000"}}})),
                some(json!({"topic": {"config": {"compression.type": "lz4"}, "retention": "8d"}})),
            ],
        ),
        ("change symbols", vec![some(json!({})), some(json!({"exchange": {"symbols": ["tBTCUSD"]}}))]),
        ("suspend and go on", vec![some(json!({})), some(json!({"suspend": true})), some(json!({}))]),
        (
            "dashboard and none",
            vec![some(json!({"grafana": {"dashboard": {"enabled": true}}})), some(json!({}))],
        ),
        ("flip the policy", vec![some(delete.clone()), some(json!({}))]),
        ("delete, topic kept", vec![some(json!({})), None]),
        ("delete, topic too", vec![some(delete), None]),
    ]
}

struct End {
    state: Value,
    made: Vec<String>,
    deleted: Vec<String>,
    writes: usize,
}

/// Plays a scenario; the write `planned` goes wrong.
async fn play(steps: &Steps, planned: Option<Planned>) -> End {
    let world = World::new();
    world.lock().planned = planned;
    let mut operator = Operator::start(&world);
    for step in steps {
        match step {
            Some(spec) => world.user_applies("demo", spec.clone()),
            None => world.lock().api.user_deletes("candlepipelines", "demo"),
        }
        settle(&world, &mut operator, "demo").await;
    }
    let missed = world.lock().planned.filter(|planned| planned.writes_only);
    assert!(missed.is_none(), "the operator did not die: {missed:?}");
    let (state, writes) = (world.end_state(), world.writes());
    let brokers = Arc::clone(&world);
    let brokers = brokers.lock();
    End { state, made: brokers.brokers.made.clone(), deleted: brokers.brokers.deleted.clone(), writes }
}

#[test]
fn a_crash_at_any_write_ends_like_the_undisturbed_run() {
    run(async {
        for (name, steps) in scenarios() {
            let undisturbed = play(&steps, None).await;
            assert!(undisturbed.writes > 5, "{name}: {} writes", undisturbed.writes);
            for nth in 0..undisturbed.writes {
                for fault in [Fault::CrashBefore, Fault::CrashAfter] {
                    let end = play(&steps, Some(Planned { nth, writes_only: true, fault })).await;
                    let at = format!("{name}, {fault:?} write {nth}");
                    assert_eq!(end.state, undisturbed.state, "{at}");
                    assert_eq!(
                        (end.made, end.deleted),
                        (undisturbed.made.clone(), undisturbed.deleted.clone()),
                        "{at}"
                    );
                }
            }
        }
    });
}

#[test]
fn a_wrong_answer_to_any_call_changes_nothing_in_the_end() {
    run(async {
        let steps: Steps = vec![
            Some(spec(json!({"topic": {"deletionPolicy": "Delete"}}))),
            Some(spec(
                json!({"topic": {"deletionPolicy": "Delete", "partitions": 6, "config": {"segment.ms": "1000"}}}),
            )),
        ];
        let undisturbed = play(&steps, None).await;
        let calls = {
            let world = World::new();
            let mut operator = Operator::start(&world);
            for step in steps.iter().flatten() {
                world.user_applies("demo", step.clone());
                settle(&world, &mut operator, "demo").await;
            }
            world.lock().calls.len()
        };
        for nth in 0..calls {
            let faults = [
                Fault::Status(403),
                Fault::Status(409),
                Fault::Status(429),
                Fault::Status(500),
                Fault::Silence,
                Fault::LostAfter,
            ];
            for fault in faults {
                let end = play(&steps, Some(Planned { nth, writes_only: false, fault })).await;
                assert_eq!(end.state, undisturbed.state, "{fault:?} at call {nth}");
                assert_eq!(end.made, undisturbed.made, "{fault:?} at call {nth}: each topic is made once");
            }
        }
    });
}
