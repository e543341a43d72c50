//! Random choices that a failing test names, so that one can make them again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

/// Random numbers from a seed (xorshift64*).
pub struct Random(u64);

impl Random {
    /// Numbers of a new seed, which is printed; `CATCHAT_TEST_SEED` sets it.
    pub fn new() -> Random {
        let given = std::env::var("CATCHAT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("CATCHAT_TEST_SEED={seed}");
        Random(seed | 1)
    }

    /// Numbers for another thread.
    pub fn fork(&mut self) -> Random {
        Random(self.next() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in this range.
    pub fn in_range(&mut self, range: Range<usize>) -> usize {
        range.start + ((self.next() >> 33) as usize) % range.len()
    }

    /// One of these.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.in_range(0..all.len())]
    }
}
