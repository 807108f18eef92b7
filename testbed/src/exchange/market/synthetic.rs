//! Seed, symbol and time in; trades out. Pure and random-access: the trades of any slot of time follow
//! from (seed, symbol, slot) alone, in integer arithmetic, so every run and every platform agrees.

use super::super::config::{PriceStyle, SyntheticSymbol};
use super::super::decimal::Dec;
use super::super::row::{Num, Row};

/// Ids count from here (2013-01-14, the exchange's first trades); also the floor of history.
pub(crate) const EPOCH_MS: i64 = 1_358_121_600_000;

/// SplitMix64's finaliser: a hash good enough for a market.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hash_name(seed: u64, name: &str) -> u64 {
    name.bytes().fold(mix(seed), |h, b| mix(h ^ u64::from(b)))
}

/// How ids interleave: per millisecond `per_ms` rounds of `symbols` ids, so they are unique over the
/// exchange, roughly rise with time and are not dense per symbol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdSpace {
    symbols: i64,
    per_ms: i64,
}

impl IdSpace {
    pub fn new(symbols: usize, trades_per_s_max: f64) -> Self {
        let per_slot = (slot_ms(trades_per_s_max) as f64 * trades_per_s_max / 1000.0 * 2.5).ceil() as u64 + 2;
        Self {
            symbols: (symbols as u64 + 1).next_power_of_two().max(64) as i64,
            per_ms: per_slot.next_power_of_two().max(16) as i64,
        }
    }

    /// Id of the `nth` trade of one millisecond and symbol.
    pub fn id(self, ms: i64, symbol: usize, nth: i64) -> i64 {
        ((ms - EPOCH_MS) * self.per_ms + nth.rem_euclid(self.per_ms)) * self.symbols + symbol as i64
    }

    /// Distance of two ids of one symbol that follow each other.
    pub fn stride(self) -> i64 {
        self.symbols
    }

    /// The slot that belongs to no symbol: ids of published trades.
    pub fn spare(self) -> usize {
        self.symbols as usize - 1
    }
}

fn slot_ms(trades_per_s: f64) -> i64 {
    ((1500.0 / trades_per_s).floor() as i64).clamp(1, 3_600_000)
}

/// A seeded market of one symbol.
#[derive(Debug, Clone)]
pub(crate) struct Synthetic {
    hash: u64,
    index: usize,
    ids: IdSpace,
    slot_ms: i64,
    /// Mean trades per slot, in 1/1024.
    mean_1024: u64,
    base: i64,
    scale: u8,
    amplitude: i64,
    disorder_permille: u64,
}

impl Synthetic {
    pub fn new(seed: u64, index: usize, config: &SyntheticSymbol, ids: IdSpace) -> Self {
        let hash = hash_name(seed, &config.symbol);
        let rate = config.trades_per_s;
        let slot_ms = slot_ms(rate);
        let (base, scale, amplitude) = price_shape(config.price, hash);
        Self {
            hash,
            index,
            ids,
            slot_ms,
            mean_1024: (rate * slot_ms as f64 / 1000.0 * 1024.0) as u64,
            base,
            scale,
            amplitude,
            disorder_permille: u64::from(config.disorder_permille),
        }
    }

    pub fn chunk(&self, from_ms: i64, out: &mut Vec<Row>) -> i64 {
        let slot = from_ms.max(EPOCH_MS).div_euclid(self.slot_ms);
        self.slot(slot, out, |ms| ms >= from_ms);
        (slot + 1) * self.slot_ms
    }

    pub fn chunk_back(&self, to_ms: i64, out: &mut Vec<Row>) -> Option<i64> {
        if to_ms <= EPOCH_MS {
            return None;
        }
        let slot = (to_ms - 1).div_euclid(self.slot_ms);
        self.slot(slot, out, |ms| ms < to_ms);
        Some(slot * self.slot_ms)
    }

    /// Common to all symbols, so that shifted ids stay unique.
    pub fn id_floor(&self, ms: i64) -> i64 {
        self.ids.id(ms, 0, 0)
    }

    /// How many trades a slot has: 0, half, once or 2.5 times the mean, so bursts and lulls exist.
    fn count(&self, h: u64) -> u64 {
        let weighted = match h & 3 {
            0 => 0,
            1 => self.mean_1024 / 2,
            2 => self.mean_1024,
            _ => self.mean_1024 * 5 / 2,
        };
        (weighted + (h >> 8) % 1024) / 1024
    }

    fn slot(&self, slot: i64, out: &mut Vec<Row>, keep: impl Fn(i64) -> bool) {
        let h = mix(self.hash ^ (slot as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let count = self.count(h);
        let (mut ms, mut nth) = (slot * self.slot_ms, 0);
        for k in 0..count {
            let r = mix(h ^ (k + 1));
            // Half of the trades share the millisecond of the one before.
            let room = slot * self.slot_ms + self.slot_ms - ms;
            if k == 0 || (r & 1 == 0 && room > 1) {
                let step = (r >> 1) as i64 & 0x7fff_ffff;
                let advanced = step % (room / (count - k) as i64).max(1);
                if k > 0 && advanced > 0 {
                    nth = -1;
                }
                ms += advanced;
            }
            nth = if k == 0 { 0 } else { nth + 1 };
            if ms >= EPOCH_MS && keep(ms) {
                out.push(self.row(ms, nth, mix(r)));
            }
        }
    }

    fn row(&self, ms: i64, nth: i64, r: u64) -> Row {
        let late = if r % 1000 < self.disorder_permille { 1 + (r >> 20) as i64 % 4 } else { 0 };
        Row {
            id: self.ids.id(ms, self.index, nth),
            ms,
            arrival_ms: ms + late,
            amount: Num::Dec(amount(mix(r ^ 1))),
            price: Num::Dec(Dec::new(self.price(ms, mix(r ^ 2)), self.scale)),
        }
    }

    /// Base plus smooth noise of three periods plus a spread of a few ticks; never below one tick.
    fn price(&self, ms: i64, r: u64) -> i64 {
        let wave = |octave: u64, period_ms: i64, amplitude: i64| {
            let (cell, at) = (ms.div_euclid(period_ms), ms.rem_euclid(period_ms));
            let node = |c: i64| {
                let h = mix(self.hash ^ mix(octave ^ (c as u64).wrapping_mul(0x9e37_79b9)));
                (h % (2 * amplitude.max(1) as u64 + 1)) as i64 - amplitude.max(1)
            };
            let (a, b) = (i128::from(node(cell)), i128::from(node(cell + 1)));
            (a + (b - a) * i128::from(at) / i128::from(period_ms)) as i64
        };
        let slow = wave(11, 86_400_000, self.amplitude);
        let middle = wave(12, 600_000, self.amplitude / 8);
        let fast = wave(13, 7_000, self.amplitude / 64);
        (self.base + slow + middle + fast + (r % 3) as i64 - 1).max(1)
    }
}

/// (base ticks, decimals, swing in ticks).
fn price_shape(style: PriceStyle, hash: u64) -> (i64, u8, i64) {
    match style {
        PriceStyle::Any => {
            let all = [PriceStyle::Large, PriceStyle::Integer, PriceStyle::Small, PriceStyle::Tiny];
            price_shape(all[(hash >> 7) as usize % all.len()], hash)
        }
        PriceStyle::Large => (601_234, 1, 60_000),
        PriceStyle::Integer => (1_500, 0, 150),
        PriceStyle::Small => (76_989, 6, 7_000),
        PriceStyle::Precise => (123_456_789, 8, 9_876_543),
        PriceStyle::Tiny => (3, 8, 1),
    }
}

/// Up to eight decimals, sometimes a round number, sometimes tiny; the sign is the taker's side.
fn amount(r: u64) -> Dec {
    let magnitude = (r >> 8) as i64 & 0x7fff_ffff;
    let (mantissa, scale) = match r & 7 {
        0 | 1 => (1 + magnitude % 5_000, 0),
        2 => (1 + magnitude % 99, 8),
        3 => (1 + magnitude % 99_999, 3),
        _ => (1 + magnitude, 8),
    };
    Dec::new(if r & 8 == 0 { mantissa } else { -mantissa }, scale)
}
