//! What the demo needs, looked at before anything starts: all that is missing out at once, each with what to do.

use anyhow::bail;
use candles_testbed::servers::artefacts::{APICURIO, AXONOPS, Artefact, INFLUXDB, KAFKA};
use candles_testbed::servers::{install, worker};

use super::Options;

const SERVERS: [&Artefact; 4] = [&KAFKA, &APICURIO, &AXONOPS, &INFLUXDB];
/// Three brokers, two registries, InfluxDB, three workers: 980 MiB resident were measured; the rest is for caches.
const MEMORY_MIB_MIN: u64 = 1_500;
/// One process: 46 MiB resident were measured after the start, and 45 MB more after an hour of the market.
const EMBEDDED_MEMORY_MIB_MIN: u64 = 200;

/// Says in a line that all is there, and what will be built first, if anything; or everything that is missing.
pub fn check(options: &Options) -> anyhow::Result<String> {
    let available = available_mib(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let wanted = if options.real { MEMORY_MIB_MIN } else { EMBEDDED_MEMORY_MIB_MIN };
    let mut problems = Vec::new();
    if let Some(mib) = available.filter(|&mib| mib < wanted) {
        problems.push(format!("{mib} MiB of memory are available; the demo needs {wanted}"));
    }
    let memory = available.map_or_else(String::new, |mib| format!("{mib} MiB of memory available"));
    let found = if options.real {
        servers(&mut problems)?
    } else {
        if let Err(error) = std::net::TcpListener::bind(("127.0.0.1", 0)) {
            problems.push(format!("no port of 127.0.0.1 can be had: {error}"));
        }
        "ports are there; nothing else is needed".to_owned()
    };
    if !problems.is_empty() {
        bail!("the demo cannot start:\n  {}", problems.join("\n  "));
    }
    Ok(format!("{memory}; {found}"))
}

/// Programs and servers that `--real` needs.
fn servers(problems: &mut Vec<String>) -> anyhow::Result<String> {
    let (missing, against) = install::look(&SERVERS)?;
    problems.extend(against.iter().map(ToString::to_string));
    for binary in ["producer", "consumer"] {
        if let Err(error) = worker::binary(binary) {
            problems.push(error.to_string());
        }
    }
    Ok(if missing.is_empty() {
        "programs and installed servers are there; servers start ...".to_owned()
    } else {
        let names: Vec<_> = missing.iter().map(|artefact| artefact.name).collect();
        let names = names.join(", ");
        format!("programs are there; first, and once: build {names} (InfluxDB takes 5 to 7 minutes) ...")
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
