//! The exchange's own time: an anchor and a speed. Reads the machine's monotonic clock and nothing else
//! in the simulator does, limits excepted.

use std::time::{Duration, Instant};

/// Exchange time = anchor + speed * (now - anchored).
#[derive(Debug)]
pub(crate) struct Clock {
    anchor_ms: f64,
    anchored: Instant,
    speed: f64,
}

impl Clock {
    pub fn new(start_ms: i64, speed: f64) -> Self {
        Self { anchor_ms: start_ms as f64, anchored: Instant::now(), speed }
    }

    pub fn now_ms(&self) -> i64 {
        (self.anchor_ms + self.anchored.elapsed().as_secs_f64() * 1000.0 * self.speed) as i64
    }

    /// Jumps to `ms`; the speed stays.
    pub fn set_ms(&mut self, ms: i64) {
        self.anchor_ms = ms as f64;
        self.anchored = Instant::now();
    }

    /// Changes the speed from now on; the time does not jump.
    pub fn set_speed(&mut self, speed: f64) {
        #[allow(clippy::float_cmp, reason = "the same value set again must not move the anchor")]
        if self.speed != speed {
            self.set_exact();
            self.speed = speed;
        }
    }

    fn set_exact(&mut self) {
        self.anchor_ms += self.anchored.elapsed().as_secs_f64() * 1000.0 * self.speed;
        self.anchored = Instant::now();
    }

    /// Real time until exchange time `ms`; `None` when the clock stands.
    pub fn until(&self, ms: i64) -> Option<Duration> {
        if self.speed <= 0.0 {
            return None;
        }
        let now = self.anchor_ms + self.anchored.elapsed().as_secs_f64() * 1000.0 * self.speed;
        let seconds = ((ms as f64 - now) / 1000.0 / self.speed).clamp(0.0, 3600.0);
        Some(Duration::from_secs_f64(seconds))
    }
}
