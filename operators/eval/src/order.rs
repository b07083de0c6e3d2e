//! The order of all rankings: higher scores first, of equal scores the lower id.

use std::cmp::{Ordering, Reverse};

use num_traits::Float;

/// Higher score first, then lower id; NaN comes after every number, and 0.0 equals -0.0.
fn by_score<T: Float>(scores: &[T], a: u32, b: u32) -> Ordering {
    let (x, y) = (scores[a as usize], scores[b as usize]);
    y.partial_cmp(&x)
        .unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
        .then(a.cmp(&b))
}

/// Ids of the `k` best scores, best first.
pub fn top<T: Float>(scores: &[T], k: usize) -> Vec<u32> {
    // Ids are u32 throughout; a longer slice has no ids beyond them.
    let mut ids: Vec<u32> = (0..=u32::MAX).zip(scores).map(|(id, _)| id).collect();
    let k = k.min(ids.len());
    if k == 0 {
        return Vec::new();
    }
    if k < ids.len() {
        ids.select_nth_unstable_by(k - 1, |&a, &b| by_score(scores, a, b));
        ids.truncate(k);
    }
    ids.sort_unstable_by(|&a, &b| by_score(scores, a, b));
    ids
}

/// Zero-based places of some items in the ranking of all, in the order of `items`.
pub fn places<T: Float>(scores: &[T], items: &[u32]) -> Vec<usize> {
    items
        .iter()
        .map(|&item| {
            (0..=u32::MAX)
                .zip(scores)
                .filter(|(id, _)| by_score(scores, *id, item) == Ordering::Less)
                .count()
        })
        .collect()
}

/// The highest of many values, which come by ascending id. Of equal ones, the lower ids count.
pub(crate) struct Highest {
    most: usize,
    /// What is not above this is not among them.
    floor: i64,
    all: Vec<(i64, u32)>,
}

impl Highest {
    pub fn new(most: usize) -> Self {
        Highest {
            most,
            floor: i64::MIN,
            all: Vec::new(),
        }
    }

    pub fn add(&mut self, id: u32, value: f64) {
        // Whole numbers in the order of `f64::total_cmp`.
        let bits = value.to_bits().cast_signed();
        let key = bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed();
        if key > self.floor {
            self.all.push((key, id));
            if self.all.len() >= self.most.saturating_mul(2).max(64) {
                self.thin();
            }
        }
    }

    /// Adds those of others, whose ids may be lower or higher.
    pub fn join(mut self, others: Self) -> Self {
        self.all.extend(others.all);
        self.thin();
        self
    }

    fn thin(&mut self) {
        let Some(last) = self.most.checked_sub(1) else {
            return self.all.clear();
        };
        if last < self.all.len() {
            let order = |of: &(i64, u32)| (Reverse(of.0), of.1);
            let (_, of_last, _) = self.all.select_nth_unstable_by_key(last, order);
            self.floor = of_last.0;
            self.all.truncate(self.most);
        }
    }

    /// Their ids, the highest value first.
    pub fn ids(mut self) -> Vec<u32> {
        self.thin();
        self.all.sort_unstable_by_key(|of| (Reverse(of.0), of.1));
        self.all.into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ops::Range;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_lower_id_and_nan_is_last() {
        let scores = [0.5, f64::NAN, 0.0, 2.0, -0.0, 0.5, f64::NAN];
        assert_eq!(top(&scores, 9), [3, 0, 5, 2, 4, 1, 6]);
        assert_eq!(top(&scores, 2), [3, 0]);
        assert_eq!(places(&scores, &[5, 1, 4]), [2, 5, 4]);
        assert!(top::<f32>(&[], 3).is_empty());
        assert!(top(&scores, 0).is_empty());
    }

    proptest! {
        #[test]
        fn places_and_top_agree_with_a_stable_sort(
            scores in prop::collection::vec(0u8..6, 1..40), k in 0usize..45,
        ) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut order: Vec<u32> = (0..scores.len() as u32).collect();
            order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
            prop_assert_eq!(&top(&scores, k), &order[..k.min(order.len())]);
            let place = places(&scores, &order);
            prop_assert_eq!(place, (0..order.len()).collect::<Vec<_>>());
        }

        #[test]
        fn the_highest_are_those_of_a_stable_sort(
            values in prop::collection::vec(-3i8..4, 0..600), most in 0usize..90, cut in 0usize..600,
        ) {
            let values: Vec<f64> = values.into_iter().map(|x| f64::from(x) / 2.0).collect();
            let of = |ids: Range<usize>| {
                let mut highest = Highest::new(most);
                ids.for_each(|id| highest.add(id as u32, values[id]));
                highest
            };
            let mut order: Vec<u32> = (0..values.len() as u32).collect();
            order.sort_by(|&a, &b| values[b as usize].total_cmp(&values[a as usize]));
            order.truncate(most);
            prop_assert_eq!(&of(0..values.len()).ids(), &order);
            let cut = cut.min(values.len());
            prop_assert_eq!(&of(cut..values.len()).join(of(0..cut)).ids(), &order);
        }
    }
}
