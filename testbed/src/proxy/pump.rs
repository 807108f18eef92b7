//! Bytes of one direction in, the same bytes later, slower or in pieces out.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Flow, Trouble};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads that may be under way, so that a delay costs latency and not throughput.
const READS_MAX: usize = 64;
/// Pause between two slices.
const SLICE_PAUSE: Duration = Duration::from_millis(1);

/// One direction of one connection.
pub(super) struct Pump {
    pub trouble: watch::Receiver<Trouble>,
    /// Which part of the trouble is this direction's.
    pub flow: fn(&Trouble) -> &Flow,
}

impl Pump {
    /// Runs until the stream ends; an error means that the connection must be reset.
    pub async fn run(mut self, from: OwnedReadHalf, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let (sender, mut arrivals) = mpsc::channel(READS_MAX);
        let reading = read(from, sender);
        let writing = async {
            while let Some((read_at, bytes)) = arrivals.recv().await {
                self.write(read_at, bytes, to).await?;
            }
            to.shutdown().await
        };
        tokio::try_join!(reading, writing).map(drop)
    }

    async fn write(
        &mut self,
        read_at: Instant,
        mut bytes: VecDeque<u8>,
        to: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let flow = self.passable().await;
            if flow.fatal {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            sleep_until(read_at + flow.delay).await;
            // What passes in a tenth of a second, so that a slow direction is smooth.
            let share = flow.bytes_per_s.map_or(usize::MAX, |rate| (rate as usize / 10).max(1));
            let count = bytes.len().min(flow.slice.unwrap_or(usize::MAX)).min(share).max(1);
            let piece: Vec<u8> = bytes.drain(..count).collect();
            to.write_all(&piece).await?;
            if let Some(rate) = flow.bytes_per_s {
                sleep(Duration::from_secs_f64(count as f64 / f64::from(rate.max(1)))).await;
            } else if flow.slice.is_some() {
                sleep(SLICE_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Waits while the direction is blocked.
    async fn passable(&mut self) -> Flow {
        loop {
            let flow = (self.flow)(&self.trouble.borrow_and_update()).clone();
            if !flow.blocked || self.trouble.changed().await.is_err() {
                return flow;
            }
        }
    }
}

async fn read(mut from: OwnedReadHalf, arrivals: mpsc::Sender<(Instant, VecDeque<u8>)>) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        let bytes: VecDeque<u8> = buffer[..count].iter().copied().collect();
        if count == 0 || arrivals.send((Instant::now(), bytes)).await.is_err() {
            return Ok(());
        }
    }
}
