//! `candlectl schema`: registers a schema, checks whether it may come next, shows what it changes.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use candles_core::avro::{TRADE_SCHEMA_JSON, check_evolution};
use candles_workers::registry::{Registry, RegistryError, Version};
use clap::{Args, Subcommand};
use similar::TextDiff;

use crate::output::{Answer, clean, say, tell};
use crate::settings::Source;

/// Registers the schema of the trades, checks whether another may follow it, shows the difference
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  candlectl schema check schemas/trade.avsc --config pipeline.yaml
  candlectl schema diff --config pipeline.yaml")]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register it, unless it is registered already; prints its id. Exit code 1 if it is incompatible
    Register(Schema),
    /// Say whether every version can read what the other wrote. Exit code 1 if not
    Check(Schema),
    /// Show what it changes in the newest version. Exit code 1 if anything
    Diff(Schema),
}

#[derive(Debug, Args)]
struct Schema {
    /// Avro schema, - for standard input [default: the one that this release writes]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Subject [default: TOPIC-value]
    #[arg(long)]
    subject: Option<String>,
}

/// What each action needs.
struct Case {
    registry: Registry,
    subject: String,
    text: String,
}

impl Schema {
    fn open(self) -> anyhow::Result<Case> {
        let config = self.source.load()?;
        let text = match self.file {
            None => TRADE_SCHEMA_JSON.to_owned(),
            Some(path) if path.as_os_str() == "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
                text
            }
            Some(path) => {
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
            }
        };
        let subject = self.subject.unwrap_or_else(|| format!("{}-value", config.topic.name.as_str()));
        Ok(Case { registry: Registry::new(&config.schema_registry)?, subject, text })
    }
}

/// Carries out one action.
pub async fn run(arguments: Arguments) -> anyhow::Result<Answer> {
    match arguments.action {
        Action::Register(schema) => schema.open()?.register().await,
        Action::Check(schema) => schema.open()?.check().await,
        Action::Diff(schema) => schema.open()?.diff().await,
    }
}

impl Case {
    async fn register(self) -> anyhow::Result<Answer> {
        match self.registry.register(&self.subject, &self.text).await {
            Ok(id) => {
                say(id)?;
                tell(format_args!("subject {}: schema id {id}", self.subject));
                Ok(Answer::Yes)
            }
            Err(RegistryError::Incompatible { problem, .. }) => {
                tell(format_args!("subject {}: {}", self.subject, clean(&problem)));
                Ok(Answer::No)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Both by the registry's rule and by ours, which is stricter than most.
    async fn check(self) -> anyhow::Result<Answer> {
        let Some(newest) = self.newest().await? else {
            say(format_args!("compatible: subject {} has no versions", self.subject))?;
            return Ok(Answer::Yes);
        };
        let mut problems = self.registry.check(&self.subject, &self.text).await?;
        if let Err(problem) = check_evolution(&newest.schema, &self.text) {
            problems.push(format!("version {}: {problem}", newest.version));
        }
        for problem in &problems {
            say(clean(problem))?;
        }
        if problems.is_empty() {
            say(format_args!("compatible with version {} of subject {}", newest.version, self.subject))?;
        }
        Ok(if problems.is_empty() { Answer::Yes } else { Answer::No })
    }

    async fn diff(self) -> anyhow::Result<Answer> {
        let newest = self.newest().await?;
        let (name, old) = newest.map_or_else(
            || (format!("{} (no versions)", self.subject), String::new()),
            |version| {
                (format!("{} version {} (id {})", self.subject, version.version, version.id), version.schema)
            },
        );
        let (old, new) = (pretty(&old), pretty(&self.text));
        if old == new {
            tell(format_args!("the same as {name}"));
            return Ok(Answer::Yes);
        }
        let diff = TextDiff::from_lines(&old, &new);
        let text = diff.unified_diff().header(&name, "new").to_string();
        for line in text.lines() {
            say(clean(line))?;
        }
        Ok(Answer::No)
    }

    async fn newest(&self) -> anyhow::Result<Option<Version>> {
        match self.registry.versions(&self.subject).await?.last() {
            Some(&version) => Ok(self.registry.version(&self.subject, version).await?),
            None => Ok(None),
        }
    }
}

/// JSON in one form, so that only what it says differs.
fn pretty(text: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(text);
    value.ok().and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
        + "\n"
}
