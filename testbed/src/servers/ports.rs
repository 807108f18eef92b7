//! Leases of free TCP ports of 127.0.0.1 out; a lease is exclusive among all testbeds of this user until it is
//! dropped or the process ends. Never from the kernel's ephemeral range: there an outgoing connection could take
//! the port of a server that is down, and a client that retries would at last connect to itself.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;

use rand::Rng;

use super::error::{Error, Result};

/// Attempts before giving up: with thousands of candidates, running out means that something else is wrong.
const ATTEMPTS_MAX: u32 = 2_000;

/// Times that a server's start is tried, each time with other ports.
const START_ATTEMPTS: u32 = 3;

/// A port that no other testbed takes while this lives.
#[derive(Debug)]
pub(crate) struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Leases `count` distinct ports.
pub(crate) fn lease(count: usize) -> Result<Vec<PortLease>> {
    let folder = std::env::temp_dir().join(format!("candles-ports-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
    let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let range = candidates(ephemeral.as_deref());
    let mut leases: Vec<PortLease> = Vec::with_capacity(count);
    for _ in 0..ATTEMPTS_MAX {
        if leases.len() == count {
            return Ok(leases);
        }
        leases.extend(try_lease(&folder, rand::rng().random_range(range.clone())));
    }
    let found = std::io::Error::other(format!("{} of {count} found in {range:?}", leases.len()));
    Err(Error::io("find free ports on 127.0.0.1")(found))
}

/// Leases `count` ports and hands them to `start`; once more, with others, if one of them was taken in between.
pub(crate) async fn with_ports<T>(
    count: usize,
    start: impl AsyncFn(Vec<PortLease>) -> Result<T>,
) -> Result<T> {
    for _ in 1..START_ATTEMPTS {
        match start(lease(count)?).await {
            Err(error) if error.is_port_taken() => eprintln!("testbed: {error}; with other ports again"),
            result => return result,
        }
    }
    start(lease(count)?).await
}

fn try_lease(folder: &Path, port: u16) -> Option<PortLease> {
    let lock = File::create(folder.join(port.to_string())).ok()?;
    lock.try_lock().ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(PortLease { port, _lock: lock })
}

/// Unprivileged ports below the ephemeral range, or above it when there is no room below.
fn candidates(ephemeral: Option<&str>) -> Range<u16> {
    let mut bounds = ephemeral.unwrap_or_default().split_whitespace().map(|word| word.parse::<u16>().ok());
    let low = bounds.next().flatten().unwrap_or(32_768);
    let high = bounds.next().flatten().unwrap_or(60_999);
    match low {
        13_000.. => 11_000..low,
        _ if high < 63_000 => high + 1..65_535,
        _ => 11_000..65_535,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_stay_out_of_the_ephemeral_range() {
        assert_eq!(candidates(Some("32768\t60999\n")), 11_000..32_768);
        assert_eq!(candidates(Some("1024 50000")), 50_001..65_535);
        assert_eq!(candidates(Some("1024 65535")), 11_000..65_535);
        assert_eq!(candidates(None), 11_000..32_768);
    }

    #[test]
    fn leases_are_distinct_and_free() {
        let leases = lease(40).unwrap();
        let mut ports: Vec<u16> = leases.iter().map(PortLease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 40);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[tokio::test]
    async fn start_is_tried_again_with_other_ports_only_while_they_are_taken() {
        let ended = |port_taken| Error::Ended {
            server: "s".into(),
            outcome: "exit status: 1".into(),
            log: "s.log".into(),
            tail: String::new(),
            port_taken,
        };
        let seen = std::sync::Mutex::new(Vec::new());
        let start = async |leases: Vec<PortLease>| {
            let mut seen = seen.lock().unwrap();
            seen.push(leases[0].port());
            if seen.len() < 3 { Err(ended(true)) } else { Ok(()) }
        };
        with_ports(1, start).await.unwrap();
        assert_eq!(seen.lock().unwrap().len(), 3);
        assert!(with_ports(1, async |_| Err::<(), _>(ended(true))).await.is_err());
        let tries = std::sync::atomic::AtomicU32::new(0);
        let start = async |_| {
            tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err::<(), _>(ended(false))
        };
        assert!(with_ports(1, start).await.is_err());
        assert_eq!(tries.into_inner(), 1);
    }

    #[test]
    fn leased_port_is_not_leased_again() {
        let folder = tempfile::tempdir().unwrap();
        let port = lease(1).unwrap()[0].port();
        let first = try_lease(folder.path(), port);
        assert!(first.is_some());
        assert!(try_lease(folder.path(), port).is_none());
        drop(first);
        assert!(try_lease(folder.path(), port).is_some());
    }
}
