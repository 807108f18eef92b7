//! What the demo needs, looked at before anything starts: all that is missing out at once, each with what to do.

use anyhow::bail;

use crate::servers::artefacts::{APICURIO, AXONOPS, Artefact, INFLUXDB, JAVA, KAFKA};
use crate::servers::cache::Cache;
use crate::servers::{install, worker};

const SERVERS: [&Artefact; 4] = [&KAFKA, &APICURIO, &AXONOPS, &INFLUXDB];
/// Three brokers, two registries, InfluxDB, three workers: 980 MiB resident were measured; the rest is for caches.
const MEMORY_MIB_MIN: u64 = 1_500;

/// Says in a line that all is there, and what will be built first, if anything; or everything that is missing.
pub fn check() -> anyhow::Result<String> {
    let cache = Cache::from_env()?;
    let path = std::env::var_os("PATH");
    let missing: Vec<&Artefact> =
        SERVERS.into_iter().filter(|artefact| cache.get(&install::key(artefact)).is_none()).collect();
    let mut problems = Vec::new();
    let tools = missing.iter().flat_map(|artefact| artefact.tools.iter().map(|tool| (tool, artefact.name)));
    for (tool, needed_for) in tools.chain([(&JAVA, "Kafka and the registry")]) {
        if let Err(error) = tool.check(needed_for, path.as_deref()) {
            problems.push(error.to_string());
        }
    }
    for binary in ["producer", "consumer"] {
        if let Err(error) = worker::binary(binary) {
            problems.push(error.to_string());
        }
    }
    let available = available_mib(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
    if available.is_some_and(|mib| mib < MEMORY_MIB_MIN) {
        let mib = available.unwrap_or_default();
        problems.push(format!("{mib} MiB of memory are available; the demo needs {MEMORY_MIB_MIN}"));
    }
    if !problems.is_empty() {
        bail!("the demo cannot start:\n  {}", problems.join("\n  "));
    }
    let memory = available.map_or_else(String::new, |mib| format!(", {mib} MiB of memory available"));
    Ok(if missing.is_empty() {
        format!("programs and installed servers are there{memory}; servers start ...")
    } else {
        let names: Vec<_> = missing.iter().map(|artefact| artefact.name).collect();
        format!(
            "programs are there{memory}; first, and once: build {} (InfluxDB takes 5 to 7 minutes) ...",
            names.join(", ")
        )
    })
}

/// `MemAvailable` of `/proc/meminfo`.
fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_from_what_linux_says() {
        assert_eq!(available_mib("MemTotal: 8 kB\nMemAvailable:   22020096 kB\n"), Some(21_504));
        assert_eq!(available_mib(""), None);
    }
}
