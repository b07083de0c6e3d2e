//! The order of all rankings: higher scores first, of equal scores the lower id.

use std::cmp::Ordering;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
    }
}
