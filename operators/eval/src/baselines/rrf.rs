//! Reciprocal rank fusion: one ranking from several (Cormack, Clarke and Büttcher 2009).
//!
//! A document's score is the sum of 1 / (60 + rank) over the systems, with one-based ranks. A
//! system that could not answer the question is left out.

use crate::top;

/// Dampens the first ranks; the paper's value.
const DAMPING: f64 = 60.0;

/// Fused scores of all documents, from the scores of each system (`None` for a system that could
/// not answer); `None` when no system could.
pub fn fuse(systems: &[Option<&[f64]>]) -> Option<Vec<f64>> {
    let mut fused: Option<Vec<f64>> = None;
    for scores in systems.iter().flatten() {
        let fused = fused.get_or_insert_with(|| vec![0.0; scores.len()]);
        for (rank, document) in (1..).zip(top(scores, scores.len())) {
            fused[document as usize] += 1.0 / (DAMPING + f64::from(rank));
        }
    }
    fused
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hand_computed_scores() {
        // First: 1, 0, 2. Second: 2, 1, 0. The third could not answer.
        let fused = fuse(&[Some(&[0.5, 0.9, 0.1]), Some(&[1.0, 2.0, 3.0]), None]).unwrap();
        let at = |a: f64, b: f64| 1.0 / (60.0 + a) + 1.0 / (60.0 + b);
        for (got, want) in fused.iter().zip([at(2.0, 3.0), at(1.0, 2.0), at(3.0, 1.0)]) {
            assert!((got - want).abs() < 1e-15, "{fused:?}");
        }
        assert_eq!(top(&fused, 3), [1, 2, 0]);
    }

    #[test]
    fn without_an_answer_there_is_no_ranking() {
        assert_eq!(fuse(&[None, None]), None);
        assert_eq!(fuse(&[]), None);
    }
}
