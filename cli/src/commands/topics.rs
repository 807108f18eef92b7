//! `candlectl topics`: topics, or one of them with its partitions and settings.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::kafka::Cluster;
use crate::kafka::topics::{Setting, Topic};
use crate::output::{Answer, Format, say, say_json, table, tell};
use crate::settings::Source;

/// Lists topics with partitions, replicas and records; with a name, its partitions and settings
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show this topic
    name: Option<String>,
    #[command(flatten)]
    source: Source,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
    /// Kafka's own topics too
    #[arg(long)]
    internal: bool,
}

/// Asks the brokers once.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    let cluster = Arc::new(Cluster::new(&arguments.source.load()?, false)?);
    let asked = Arc::clone(&cluster);
    let Some(name) = arguments.name else {
        let mut topics = spawn_blocking(move || asked.topics()).await??;
        topics.retain(|topic| arguments.internal || !topic.internal);
        list(&topics, arguments.output)?;
        return Ok(Answer::Yes);
    };
    let topic = spawn_blocking(move || asked.topic(&name)).await??;
    // Who may see partitions may not be allowed to see settings.
    let settings = cluster.settings(&topic.name).await;
    let settings = settings.inspect_err(|error| tell(format_args!("{error:#}"))).unwrap_or_default();
    one(&topic, &settings, arguments.output)?;
    Ok(Answer::Yes)
}

fn list(topics: &[Topic], output: Format) -> anyhow::Result<()> {
    if output == Format::Json {
        return say_json(&topics);
    }
    let row = |topic: &Topic| {
        let records = topic.records().map_or_else(|| "?".to_owned(), |count| count.to_string());
        vec![
            topic.name.clone(),
            topic.partitions.len().to_string(),
            topic.replication().to_string(),
            topic.out_of_sync().to_string(),
            records,
        ]
    };
    let rows: Vec<_> = topics.iter().map(row).collect();
    for line in table(&["TOPIC", "PARTITIONS", "REPLICAS", "OUT-OF-SYNC", "RECORDS"], &rows) {
        say(line)?;
    }
    Ok(())
}

fn one(topic: &Topic, settings: &[Setting], output: Format) -> anyhow::Result<()> {
    if output == Format::Json {
        return say_json(&json!({ "topic": topic, "settings": settings }));
    }
    let numbers = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let known = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let rows: Vec<_> = topic
        .partitions
        .iter()
        .map(|p| {
            let leader = p.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
            let records = p.end.zip(p.first).map(|(end, first)| end - first);
            vec![
                p.id.to_string(),
                leader,
                numbers(&p.replicas),
                numbers(&p.in_sync),
                known(p.first),
                known(p.end),
                known(records),
            ]
        })
        .collect();
    let headings = ["PARTITION", "LEADER", "REPLICAS", "IN-SYNC", "FIRST", "END", "RECORDS"];
    for line in table(&headings, &rows) {
        say(line)?;
    }
    if settings.is_empty() {
        return Ok(());
    }
    say("")?;
    let own = settings.iter().filter(|setting| setting.own);
    let rows: Vec<_> = own.map(|s| vec![s.name.clone(), s.value.clone().unwrap_or_default()]).collect();
    for line in table(&["SETTING", "VALUE"], &rows) {
        say(line)?;
    }
    Ok(())
}
