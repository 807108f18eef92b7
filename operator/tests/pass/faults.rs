//! What the operator asks for, held against what it is granted.

use std::collections::BTreeSet;

use candles_operator::process::rbac::RULES;
use serde_json::json;

use crate::world::{Operator, World, run, settle, spec};

/// Used by watches, by discovery of other kinds, or by the API server itself, which this world does not have.
const ELSEWHERE: [(&str, &str); 4] = [
    ("candlepipelines/finalizers", "update"),
    ("kafkatopics", "list"),
    // Only where Prometheus' operator is installed.
    ("podmonitors", "patch"),
    // A second event of the same kind within minutes.
    ("events", "patch"),
];

#[test]
fn what_is_granted_is_what_is_used() {
    run(async {
        let world = World::new();
        let mut operator = Operator::start(&world);
        let monitored = json!({
            "grafana": {"dashboard": {"enabled": true}}, "monitoring": {"podMonitor": {"enabled": true}},
            "topic": {"deletionPolicy": "Delete"},
        });
        world.user_applies("demo", spec(monitored));
        settle(&world, &mut operator, "demo").await;
        world.user_applies("demo", spec(json!({"topic": {"deletionPolicy": "Delete"}})));
        settle(&world, &mut operator, "demo").await;
        world.lock().api.user_deletes("candlepipelines", "demo");
        settle(&world, &mut operator, "demo").await;
        let mut used: BTreeSet<(String, &str)> = BTreeSet::new();
        for call in world.lock().calls.iter().filter(|call| call.resource != "kafka") {
            used.insert((call.resource.clone(), call.verb));
            // An apply that makes an object needs both.
            if call.verb == "patch"
                && !call.resource.starts_with("candlepipelines")
                && call.resource != "events"
            {
                used.insert((call.resource.clone(), "create"));
            }
        }
        let granted: BTreeSet<(String, &str)> = RULES
            .iter()
            .flat_map(|rule| rule.verbs.iter().map(|verb| (rule.resource.to_owned(), *verb)))
            .collect();
        let excess: Vec<_> = used.difference(&granted).collect();
        assert!(excess.is_empty(), "used and not granted: {excess:?}");
        let idle: Vec<_> = granted
            .difference(&used)
            .filter(|(resource, verb)| {
                !matches!(*verb, "list" | "watch") && !ELSEWHERE.contains(&(resource.as_str(), *verb))
            })
            .collect();
        assert!(idle.is_empty(), "granted and not used: {idle:?}");
    });
}
