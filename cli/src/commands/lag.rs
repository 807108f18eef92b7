//! `candlectl lag`: how far the pipeline's consumer group is behind, and who owns which partition.

use clap::Args;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::kafka::Cluster;
use crate::kafka::groups::Group;
use crate::output::{Answer, Format, say, say_json, table, tell};
use crate::settings::Source;

/// Shows how far the consumer group is behind the end of the topic, by partition, and who owns it
///
/// Exit code 1 if a partition has lag that nobody owns, so that nobody will make it less.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

/// Asks the brokers once.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let config = arguments.source.load()?;
    let (id, name) = (config.group_id(), config.topic.name.as_str().to_owned());
    let (group, topic) = (id.clone(), name.clone());
    let (positions, group) = spawn_blocking(move || {
        let cluster = Cluster::new(&config, false)?;
        let positions = cluster.positions(&cluster.topic(&topic)?)?;
        anyhow::Ok((
            positions,
            cluster.groups().map(|groups| groups.into_iter().find(|found| found.id == group)),
        ))
    })
    .await??;
    if let Err(problem) = &group {
        tell(format_args!("{problem:#}"));
    }
    let (known_members, group) = (group.is_ok(), group.ok().flatten());
    let owner = |partition: i32| owner_of(group.as_ref(), &name, partition);
    let absent = if known_members { "there is no such group yet" } else { "not known" };
    let state = group.as_ref().map_or(absent, |group| group.state.as_str());
    let total: Option<i64> = positions.iter().map(|position| position.lag).sum();
    if arguments.output == Format::Json {
        say_json(&json!({ "group": id, "state": state, "topic": name, "lag": total, "positions": positions,
            "members": group.as_ref().map(|group| &group.members) }))?;
    } else {
        let known = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let rows: Vec<_> = positions
            .iter()
            .map(|p| {
                let committed = p.committed.map_or_else(String::new, |offset| offset.to_string());
                let owner =
                    owner(p.partition).unwrap_or(if known_members { "nobody" } else { "?" }).to_owned();
                vec![p.partition.to_string(), committed, known(p.end), known(p.lag), owner]
            })
            .collect();
        for line in table(&["PARTITION", "COMMITTED", "END", "LAG", "OWNER"], &rows) {
            say(line)?;
        }
        tell(format_args!("group {id} ({state}), topic {name}: {} records behind", known(total)));
    }
    let left = known_members
        && positions.iter().any(|p| p.lag.is_some_and(|lag| lag > 0) && owner(p.partition).is_none());
    if left {
        tell("partitions with lag have no owner; start consumers: consumer --config FILE");
    }
    Ok(if left { Answer::No } else { Answer::Yes })
}

/// Client id of the member that a partition is assigned to.
fn owner_of<'a>(group: Option<&'a Group>, topic: &str, partition: i32) -> Option<&'a str> {
    let owns = |assigned: &(String, i32)| assigned.0 == topic && assigned.1 == partition;
    let members = group?.members.iter();
    members
        .into_iter()
        .find(|member| member.assigned.iter().any(owns))
        .map(|member| member.client_id.as_str())
}
