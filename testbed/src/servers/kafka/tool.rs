//! Kafka's own Java programs: a main class in, a [`Tool`] out. Each costs a second of CPU or two.

use std::process::Command;

use super::config;
use super::java::Java;
use crate::servers::error::{Error, Result};
use crate::servers::rundir::RunDir;
use crate::servers::tool::Tool;

/// How to run Java, and where the run's files are.
#[derive(Debug, Clone)]
pub(crate) struct ToolBox {
    pub(crate) java: Java,
    pub(crate) run: RunDir,
}

impl ToolBox {
    /// Writes how the tools log: warnings, to standard error.
    pub(crate) fn new(java: Java, run: &RunDir) -> Result<Self> {
        let file = run.folder("tools")?.join("log4j2.properties");
        std::fs::write(&file, config::log4j_properties("warn", "SYSTEM_ERR"))
            .map_err(Error::io(format!("write {}", file.display())))?;
        Ok(Self { java, run: run.clone() })
    }

    pub(crate) fn tool(&self, main_class: &str) -> Tool {
        let log4j = self.run.path().join("tools/log4j2.properties");
        let fast = [config::FIRST_COMPILER_ONLY.to_owned()];
        let mut command = Command::new("java");
        command.args(self.java.arguments(&log4j, 256, &fast)).arg(main_class);
        Tool::new("kafka", main_class, command, &self.run)
    }
}
