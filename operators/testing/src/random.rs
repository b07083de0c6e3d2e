//! Random numbers that are the same on every machine.

/// SplitMix64, a random number generator for tests only.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that starts from a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 where `n` is 0.
    #[expect(clippy::cast_possible_truncation, reason = "smaller than a usize")]
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// A number from 0 to 1, 1 excluded.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of some items.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// `n` numbers from -1 to 1.
    pub fn signed(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| 2.0 * self.unit() - 1.0).collect()
    }

    /// Vectors around `centres` centres, row-major, so near that their cosine is about 0.9.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "vectors are in single precision"
    )]
    pub fn clustered(&mut self, count: usize, centres: usize, dim: usize) -> Vec<f32> {
        let centres = self.signed(centres * dim);
        let around =
            |at: usize| (centres[at % centres.len()] + (2.0 * self.unit() - 1.0) / 3.0) as f32;
        (0..count * dim).map(around).collect()
    }

    /// Lines of hexadecimal digits, at least `bytes` long: text that compression does not shrink
    /// much.
    pub fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 257);
        while text.len() < bytes {
            for _ in 0..16 {
                text.push_str(&format!("{:016x}", self.bits()));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
        assert!((0..100).all(|n| random.below(n + 1) <= n));
        assert!((0..100).all(|_| random.unit() < 1.0));
    }
}
