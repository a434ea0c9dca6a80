use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64: small, and good enough to choose moments and contents.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed: `PROMARCHIVE_CRASH_SEED`, else the time. The same seed makes the same choices; the moments at which they meet
    /// the program still differ.
    pub fn from_environment() -> (Self, u64) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let seed = std::env::var("PROMARCHIVE_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(time);
        (Self(seed), seed)
    }

    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another generator, independent of this one.
    pub fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Up to so many milliseconds, to the microsecond.
    pub fn up_to_ms(&mut self, ms: u64) -> Duration {
        Duration::from_micros(self.below(ms * 1000 + 1))
    }
}

/// A number's bits, thoroughly mixed.
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
