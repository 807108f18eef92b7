//! Lines and dead records in, a [`Batch`] out: what is acknowledged together.

use std::ops::Range;

use bytes::Bytes;

/// The record that a line or a dead letter comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Partition of the topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// A record that can never be processed.
#[derive(Debug, Clone)]
pub struct DeadRecord {
    /// Where it stands.
    pub origin: Origin,
    /// Its timestamp (ms), if it has one.
    pub timestamp_ms: Option<i64>,
    /// Its key, unchanged.
    pub key: Option<Vec<u8>>,
    /// Its value, unchanged.
    pub value: Option<Vec<u8>>,
    /// Kind of error: a short constant for a metric label.
    pub class: &'static str,
    /// What was wrong with it.
    pub error: String,
}

/// Points and dead records in log order.
#[derive(Debug, Default)]
pub struct Batch {
    body: Vec<u8>,
    /// End of each line in `body`, and its origin.
    lines: Vec<(u32, Origin)>,
    dead: Vec<DeadRecord>,
    dead_bytes: usize,
    /// Holds points of the live measurement.
    live: bool,
}

impl Batch {
    /// Room for a full batch without growing.
    pub fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { body: Vec::with_capacity(bytes), lines: Vec::with_capacity(lines), ..Self::default() }
    }

    /// Lets `write` append one line, which comes from the record at `origin`.
    pub fn line(&mut self, origin: Origin, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.body);
        self.lines.push((self.body.len() as u32, origin));
    }

    /// As [`Batch::line`], for the live measurement: no other request for it may be under way at the same time.
    pub fn live_line(&mut self, origin: Origin, write: impl FnOnce(&mut Vec<u8>)) {
        self.live = true;
        self.line(origin, write);
    }

    /// Adds a dead record.
    pub fn dead(&mut self, record: DeadRecord) {
        self.dead_bytes += 256 + record.value.as_ref().map_or(0, Vec::len);
        self.dead.push(record);
    }

    /// Adds what another batch holds, behind what is here.
    pub fn append(&mut self, mut other: Self) {
        let shift = self.body.len() as u32;
        self.body.append(&mut other.body);
        self.lines.extend(other.lines.into_iter().map(|(end, origin)| (shift + end, origin)));
        self.dead.append(&mut other.dead);
        self.dead_bytes += other.dead_bytes;
        self.live |= other.live;
    }

    /// Number of lines.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Bytes that it holds in memory, nearly.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.lines.len() * size_of::<(u32, Origin)>() + self.dead_bytes
    }

    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dead.is_empty()
    }

    /// Whether it holds points of the live measurement.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Splits it into what goes to the dead letter topic and what goes to the database.
    pub fn into_parts(self) -> (Vec<DeadRecord>, Lines) {
        (self.dead, Lines { body: self.body.into(), ends: self.lines })
    }
}

/// Lines that share one buffer, and can be cut without copying.
#[derive(Debug, Clone)]
pub struct Lines {
    body: Bytes,
    ends: Vec<(u32, Origin)>,
}

impl Lines {
    /// Number of lines.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of some lines, each with its newline.
    pub fn slice(&self, lines: &Range<usize>) -> Bytes {
        let at = |index: usize| if index == 0 { 0 } else { self.ends[index - 1].0 as usize };
        self.body.slice(at(lines.start)..at(lines.end))
    }

    /// Where a line comes from.
    pub fn origin(&self, index: usize) -> Origin {
        self.ends[index].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(offset: i64) -> Origin {
        Origin { partition: 0, offset }
    }

    #[test]
    fn appended_batches_keep_their_lines_and_origins() {
        let mut first = Batch::default();
        first.line(origin(1), |out| out.extend_from_slice(b"a 1\n"));
        let mut second = Batch::default();
        second.line(origin(2), |out| out.extend_from_slice(b"bb 2\n"));
        second.live_line(origin(3), |out| out.extend_from_slice(b"c 3\n"));
        first.append(second);
        assert!(first.is_live());
        let (_, lines) = first.into_parts();
        assert_eq!(lines.slice(&(0..3)), "a 1\nbb 2\nc 3\n");
        assert_eq!(lines.slice(&(1..2)), "bb 2\n");
        assert_eq!(lines.origin(2), origin(3));
    }
}
