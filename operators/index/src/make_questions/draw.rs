//! Random choices that depend only on the stream of numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A number below `end`, which must not be 0.
pub fn below(random: &mut ChaCha8Rng, end: usize) -> usize {
    // The tiny bias of the remainder does not matter for a choice among few.
    (random.next_u64() % end.max(1) as u64) as usize
}

/// One of them. `None` where there are none.
pub fn chosen<'a, T>(random: &mut ChaCha8Rng, all: &'a [T]) -> Option<&'a T> {
    if all.is_empty() {
        return None;
    }
    all.get(below(random, all.len()))
}

/// The number of a weight, chosen by the weights. `None` where all are 0.
pub fn weighted(random: &mut ChaCha8Rng, weights: &[f64]) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    let mut at = total * ((random.next_u64() >> 11) as f64 / (1u64 << 53) as f64);
    let last = weights.iter().rposition(|w| *w > 0.0)?;
    for (number, weight) in weights.iter().enumerate() {
        if at < *weight {
            return Some(number);
        }
        at -= weight;
    }
    Some(last)
}
