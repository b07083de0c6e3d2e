//! Documents that rank high for a question though they are not gold.

use gfm_pipe_api::points::{Points, dot};

use super::corpus::Corpus;

/// A document that is no gold document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negative {
    pub document: u32,
    pub system: &'static str,
    /// One-based, among those of the system.
    pub rank: u32,
}

/// For each document, the largest cosine to one of these; 0 where none is above.
fn cosines(vectors: &Points, near: &[u32]) -> Vec<f64> {
    let all = 0..vectors.len();
    all.map(|i| {
        let cosines = near.iter();
        let cosines = cosines.map(|n| dot(vectors.row(*n as usize), vectors.row(i)));
        cosines.fold(0.0, f64::max)
    })
    .collect()
}

/// Pieces with the highest scores above 0, best first: at most `most`.
fn best(scores: &[f64], most: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..)
        .zip(scores)
        .filter(|(_, s)| **s > 0.0)
        .map(|(d, _)| d)
        .collect();
    let by_score = |a: &u32, b: &u32| {
        let [a_score, b_score] = [a, b].map(|d| scores[*d as usize]);
        b_score.total_cmp(&a_score).then(a.cmp(b))
    };
    if most > 0 && most < order.len() {
        order.select_nth_unstable_by(most - 1, by_score);
        order.truncate(most);
    }
    order.sort_unstable_by(by_score);
    order
}

/// The first `most` distinct results of `take` over the pieces, best first. A piece for which it
/// returns `None` is skipped.
fn first(scores: &[f64], most: usize, take: impl Fn(u32) -> Option<u32>) -> Vec<u32> {
    // Some of them are left out: mostly few, but a document may have many pieces.
    let mut looked = most + 64;
    loop {
        let order = best(scores, looked);
        let all = order.len() < looked;
        let mut found: Vec<u32> = Vec::with_capacity(most);
        for new in order.into_iter().filter_map(&take) {
            if found.len() < most && !found.contains(&new) {
                found.push(new);
            }
        }
        if found.len() == most || all {
            return found;
        }
        looked *= 8;
    }
}

/// The best pieces by these scores, without these documents.
pub fn pieces(corpus: &Corpus<'_>, scores: &[f64], not: &[u32], most: usize) -> Vec<u32> {
    let other = |d: &u32| not.iter().all(|n| !corpus.same(*n, *d));
    first(scores, most, |d| Some(d).filter(other))
}

/// The negatives of a question, whole documents: half of them by words, the rest by vectors where
/// there are any. `by_words` are the scores of BM25, `gold` the pieces that the question was made
/// from; `not` are gold documents and what else may be right.
pub fn negatives(
    corpus: &Corpus<'_>,
    by_words: &[f64],
    vectors: Option<&Points>,
    gold: &[u32],
    not: &[u32],
    most: usize,
) -> Vec<Negative> {
    let words = if vectors.is_some() {
        most.div_ceil(2)
    } else {
        most
    };
    let mut found: Vec<Negative> = Vec::new();
    let mut add = |scores: &[f64], system, most: usize| {
        let whole = |piece: u32| {
            let document = corpus.documents[piece as usize].parent;
            let known = found.iter().any(|n| n.document == document);
            let wrong = not.iter().all(|n| !corpus.same(*n, document));
            (wrong && !known).then_some(document)
        };
        let new = first(scores, most, whole);
        let ranked = (1..).zip(new);
        found.extend(ranked.map(|(rank, document)| Negative {
            document,
            system,
            rank,
        }));
    };
    add(by_words, "bm25", words);
    if let Some(vectors) = vectors {
        add(&cosines(vectors, gold), "dense", most - words);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_makes_room_for_what_is_worse() {
        // Three of four are pieces of the document before them.
        let scores: Vec<f64> = (0..4000).map(|i| f64::from(4000 - i)).collect();
        let whole = |d: u32| Some(d - d % 4);
        assert_eq!(first(&scores, 3, whole), [0, 4, 8]);
        let far = |d: u32| (d >= 3990).then_some(d);
        assert_eq!(first(&scores, 3, far), [3990, 3991, 3992]);
        assert_eq!(first(&scores, 30, far).len(), 10);
        assert!(first(&[0.0, 0.0], 3, Some).is_empty());
    }
}
