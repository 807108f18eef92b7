//! SQL as InfluxDB 3 runs it: points and a query in, the answer out. DataFusion is the engine of InfluxDB 3, whose
//! server itself cannot be had from a package registry. It shows what a query means, not what a server's API does.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use super::artefacts::DATAFUSION;
use super::error::{Error, Result, tail};
use super::rundir::RunDir;
use super::{install, process};

/// Runs `sql` on one table. `points` and the answer are CSV with a header and a column `time`, in ns since 1970.
pub async fn query(run: &RunDir, table: &str, points: &str, sql: &str) -> Result<String> {
    let entry = install::ensure_async(&DATAFUSION).await?;
    let folder = run.folder("datafusion")?;
    let (points, sql, table) = (points.to_owned(), sql.to_owned(), table.to_owned());
    let work = tokio::task::spawn_blocking(move || ask(&entry, &folder, &table, &points, &sql));
    work.await.map_err(|error| Error::io("run DataFusion")(error.into()))?
}

fn ask(entry: &Path, folder: &Path, table: &str, points: &str, sql: &str) -> Result<String> {
    let file = |name: &str| folder.join(name);
    let prepare = || {
        std::fs::write(file("points.csv"), points)?;
        std::fs::write(file("query.sql"), sql)?;
        Ok((File::open(file("query.sql"))?, File::create(file("answer.csv"))?, File::create(file("log"))?))
    };
    let (input, output, errors) = prepare().map_err(Error::io(format!("write to {}", folder.display())))?;
    let mut command = Command::new(entry.join("venv/bin/python"));
    command.arg(entry.join("query.py")).arg(table).arg(file("points.csv"));
    command.stdin(Stdio::from(input)).stdout(output).stderr(errors);
    let ended = process::spawn(command).and_then(|mut child| child.wait());
    let status = ended.map_err(Error::io("run DataFusion"))?;
    if !status.success() {
        return Err(Error::Refused {
            server: "datafusion".to_owned(),
            action: "query".to_owned(),
            status: status.to_string(),
            body: tail(&file("log"), 20),
        });
    }
    std::fs::read_to_string(file("answer.csv")).map_err(Error::io("read DataFusion's answer"))
}
