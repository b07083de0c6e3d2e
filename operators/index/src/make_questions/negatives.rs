//! Documents that rank high for a question though they are not gold.

use gfm_pipe_api::bm25::Bm25;

use super::corpus::Corpus;

/// A document that is no gold document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negative {
    pub document: u32,
    pub system: &'static str,
    /// One-based, among those of the system.
    pub rank: u32,
}

/// Vectors of all documents.
#[derive(Debug)]
pub struct Vectors {
    pub dim: usize,
    /// Rows of length one, or 0.
    pub values: Vec<f32>,
}

impl Vectors {
    /// Scales the rows to length one.
    pub fn new(dim: usize, mut values: Vec<f32>) -> Vectors {
        for row in values.chunks_mut(dim.max(1)) {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|x| *x /= length);
            }
        }
        Vectors { dim, values }
    }

    fn row(&self, document: u32) -> &[f32] {
        let at = document as usize * self.dim;
        &self.values[at..at + self.dim]
    }

    /// For each document, the largest cosine to one of these.
    fn scores(&self, near: &[u32]) -> Vec<f64> {
        let rows = self.values.chunks(self.dim.max(1));
        rows.map(|row| {
            let cosines = near.iter().map(|n| {
                let pairs = self.row(*n).iter().zip(row);
                f64::from(pairs.map(|(a, b)| a * b).sum::<f32>())
            });
            cosines.fold(0.0, f64::max)
        })
        .collect()
    }
}

/// The documents with the highest scores above 0, which are not these or pieces of them.
fn best(corpus: &Corpus<'_>, scores: &[f64], not: &[u32], most: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..)
        .zip(scores)
        .filter(|(_, s)| **s > 0.0)
        .map(|(d, _)| d)
        .collect();
    let by_score = |a: &u32, b: &u32| {
        let [a_score, b_score] = [a, b].map(|d| scores[*d as usize]);
        b_score.total_cmp(&a_score).then(a.cmp(b))
    };
    // Gold documents and their pieces take places, which `most` does not count.
    let kept = (most + 64).min(order.len());
    if kept > 0 && kept < order.len() {
        order.select_nth_unstable_by(kept - 1, by_score);
        order.truncate(kept);
    }
    order.sort_unstable_by(by_score);
    order.retain(|d| not.iter().all(|n| !corpus.same(*n, *d)));
    order.truncate(most);
    order
}

/// The best documents for a text by BM25, without these.
pub fn by_words(
    corpus: &Corpus<'_>,
    bm25: &Bm25,
    text: &str,
    not: &[u32],
    most: usize,
) -> Vec<u32> {
    best(corpus, &bm25.scores(text), not, most)
}

/// The negatives of a question: half of them by words, the rest by vectors where there are any.
/// `not` are gold documents and what else may be right.
pub fn negatives(
    corpus: &Corpus<'_>,
    by_words: &[u32],
    vectors: Option<&Vectors>,
    gold: &[u32],
    not: &[u32],
    most: usize,
) -> Vec<Negative> {
    let words = if vectors.is_some() {
        most.div_ceil(2)
    } else {
        most
    };
    let allowed = by_words
        .iter()
        .filter(|d| not.iter().all(|n| !corpus.same(*n, **d)));
    let mut found: Vec<Negative> = Vec::new();
    let mut add = |documents: &mut dyn Iterator<Item = u32>, system, most: usize| {
        let mut rank = 0;
        for document in documents {
            if rank as usize >= most {
                break;
            }
            if found.iter().all(|n| n.document != document) {
                rank += 1;
                found.push(Negative {
                    document,
                    system,
                    rank,
                });
            }
        }
    };
    add(&mut allowed.copied(), "bm25", words);
    if let Some(vectors) = vectors {
        let near = best(corpus, &vectors.scores(gold), not, most);
        add(&mut near.into_iter(), "dense", most - words);
    }
    found
}
