//! The features of the documents of one question.

use ahash::AHashMap;
use rayon::prelude::*;

use super::fit::{Weights, alone};
use super::{BM25, COUNT, DENSE, FEATURES, FeatureKind, PPR, START, place, rely_on_walks};
use crate::order::Highest;

/// The mass that is added before the logarithm of a walk's mass is taken.
const LEAST_MASS: f64 = 1e-5;

/// The logarithm of the mass of a walk, with a floor for documents that it does not reach.
pub fn log_mass(mass: f64) -> f64 {
    // A document without a node has no mass.
    (mass.max(0.0) + LEAST_MASS).ln()
}

/// Standardised features of the documents that some feature finds, and what counts for all others.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionFeatures {
    /// The documents whose features are known one by one, ascending.
    pub documents: Vec<u32>,
    /// Their features, `[documents, COUNT]`, row-major.
    pub values: Vec<f32>,
    /// The features of every other document: their means.
    pub others: [f32; COUNT],
}

/// Gold documents of a question, by their rows of [`QuestionFeatures::documents`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldRows {
    /// Rows of those whose features are known.
    pub known: Vec<usize>,
    /// Number of the others.
    pub others: usize,
}

/// What is known of a feature whose values are computed only for the documents that are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial<'a> {
    /// Its place in [`FEATURES`].
    pub feature: usize,
    /// The mean of all documents, nearly.
    pub mean: f64,
    /// Their standard deviation, nearly.
    pub deviation: f64,
    /// The documents that it ranks best, the best first.
    pub best: &'a [u32],
}

/// The documents whose features are kept.
pub struct Chosen<'a> {
    /// Their ids, ascending.
    pub documents: Vec<u32>,
    /// Number of documents, of which pieces count once.
    whole: usize,
    /// Standardised, by document.
    known: [Option<Vec<f64>>; COUNT],
    partial: &'a [Partial<'a>],
}

impl<'a> Chosen<'a> {
    /// Standardises the features of all documents, and chooses the `keep` documents that some
    /// feature ranks best. `raw` has the values of each feature by document; `None` for a feature
    /// that is not known, or partially. A document is left out where a value is NaN: it is a later
    /// piece of another one. `None` where nothing is known of all documents.
    pub fn of(
        mut raw: [Option<Vec<f64>>; COUNT],
        partial: &'a [Partial<'a>],
        keep: usize,
    ) -> Option<Self> {
        let documents = raw.iter().flatten().next()?.len();
        let pieces = raw.par_iter().flatten();
        let pieces = pieces.any(|of| of.par_iter().any(|value| value.is_nan()));
        let is_whole = |d: &u32| !raw.iter().flatten().any(|of| of[*d as usize].is_nan());
        let all = 0..documents as u32;
        let whole: Vec<u32> = if pieces {
            all.filter(is_whole).collect()
        } else {
            all.collect()
        };
        let known = raw.par_iter_mut().flatten();
        known.for_each(|values| standardise(values, &whole));
        Some(Chosen {
            documents: best(&raw, partial, &whole, keep),
            whole: whole.len(),
            known: raw,
            partial,
        })
    }

    /// Their features. `partial` has the values of the documents chosen for each feature that was
    /// known partially.
    pub fn features(self, partial: &[Vec<f64>]) -> QuestionFeatures {
        let mut out = QuestionFeatures {
            values: vec![0.0; self.documents.len() * COUNT],
            documents: self.documents,
            others: [0.0; COUNT],
        };
        let rest = self.whole - out.documents.len();
        let mut take = |feature: usize, values: &mut dyn Iterator<Item = f64>| {
            let mut sum = 0.0;
            for (row, value) in values.enumerate() {
                sum += value;
                out.values[row * COUNT + feature] = value as f32;
            }
            if rest > 0 {
                // All values together add up to 0, or nearly.
                out.others[feature] = (-sum / rest as f64) as f32;
            }
        };
        let chosen = out.documents.iter();
        for (feature, values) in self.known.iter().enumerate() {
            if let Some(values) = values {
                take(feature, &mut chosen.clone().map(|d| values[*d as usize]));
            }
        }
        for (of, values) in self.partial.iter().zip(partial) {
            let values = values.iter();
            let mut values = values.map(|x| standard(*x, (of.mean, of.deviation)));
            take(of.feature, &mut values);
        }
        out
    }
}

impl QuestionFeatures {
    /// No feature of any document.
    pub fn none() -> Self {
        QuestionFeatures {
            documents: Vec::new(),
            values: Vec::new(),
            others: [0.0; COUNT],
        }
    }

    /// Standardises the features of all documents and keeps those of the `keep` documents that some
    /// feature ranks best. `raw` has the values of each feature by document; `None` for a feature
    /// that is not known. A document is left out where a value is NaN: it is a later piece of
    /// another one.
    pub fn standardised(raw: [Option<Vec<f64>>; COUNT], keep: usize) -> Self {
        match Chosen::of(raw, &[], keep) {
            Some(chosen) => chosen.features(&[]),
            None => Self::none(),
        }
    }

    /// Whether the question starts at no node of a graph, so that nothing is known of walks.
    pub fn start_nowhere(&self) -> bool {
        !self.is_known(&START) && !self.is_known(&PPR)
    }

    /// The weights that rank this question's documents: these, unless they rely on walks and the
    /// question starts nowhere. Such a question is ranked by the similarity of texts alone: by
    /// `dense`, or by `bm25` without embeddings. Beside walks, some features of texts have a weight
    /// below 0, because walks find the same documents.
    pub fn ranking(&self, weights: &Weights) -> Weights {
        if rely_on_walks(weights) && self.start_nowhere() {
            alone(if self.is_known(&DENSE) { &DENSE } else { &BM25 })
        } else {
            *weights
        }
    }

    /// Whether a feature tells documents apart.
    pub fn is_known(&self, feature: &FeatureKind) -> bool {
        let place = place(feature);
        let known = self.values.iter().skip(place).step_by(COUNT);
        known.chain([&self.others[place]]).any(|x| *x != 0.0)
    }

    /// Where these documents stand. Those whose features are not known are counted.
    pub fn rows(&self, documents: &[u32]) -> GoldRows {
        let rows = documents.iter().map(|d| self.documents.binary_search(d));
        let known: Vec<usize> = rows.filter_map(Result::ok).collect();
        GoldRows {
            others: documents.len() - known.len(),
            known,
        }
    }

    /// The features of a document.
    pub fn of(&self, document: u32) -> &[f32] {
        match self.documents.binary_search(&document) {
            Ok(row) => self.row(row),
            Err(_) => &self.others,
        }
    }

    /// The features of a row of [`QuestionFeatures::documents`].
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * COUNT..(row + 1) * COUNT]
    }

    /// The weighted sum of the features of every document, by document. `weights` has one weight
    /// for each feature.
    pub fn scores(&self, weights: &[f64], documents: usize) -> Vec<f64> {
        let mut out = vec![sum(weights, &self.others); documents];
        for (row, document) in self.documents.iter().enumerate() {
            if let Some(out) = out.get_mut(*document as usize) {
                *out = sum(weights, self.row(row));
            }
        }
        out
    }

    /// One feature of every document, by document.
    pub fn feature(&self, feature: usize, documents: usize) -> Vec<f64> {
        self.scores(&alone(FEATURES[feature]), documents)
    }
}

/// The weighted sum of features.
pub fn sum(weights: &[f64], features: &[f32]) -> f64 {
    let products = weights.iter().zip(features);
    products.map(|(w, x)| w * f64::from(*x)).sum()
}

/// Subtracts the mean of these documents and divides by their standard deviation. Where all values
/// are the same, they become 0.
fn standardise(values: &mut [f64], documents: &[u32]) {
    let count = documents.len().max(1) as f64;
    let mean = documents.iter().map(|d| values[*d as usize]).sum::<f64>() / count;
    let squares = documents
        .iter()
        .map(|d| (values[*d as usize] - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    for value in values {
        *value = standard(*value, (mean, deviation));
    }
}

fn standard(value: f64, (mean, deviation): (f64, f64)) -> f64 {
    if deviation > 1e-9 {
        (value - mean) / deviation
    } else {
        0.0
    }
}

/// The `keep` documents that have the best place in any feature, ascending. Of equal places the
/// lower id comes first.
fn best(
    raw: &[Option<Vec<f64>>; COUNT],
    partial: &[Partial<'_>],
    documents: &[u32],
    keep: usize,
) -> Vec<u32> {
    if documents.len() <= keep {
        return documents.to_vec();
    }
    let orders = raw.par_iter().flatten().map(|values| {
        let mut highest = Highest::new(keep);
        let all = documents.iter();
        all.for_each(|d| highest.add(*d, values[*d as usize]));
        highest.ids()
    });
    let orders: Vec<Vec<u32>> = orders.collect();
    let orders = orders.iter().map(Vec::as_slice);
    let mut places: AHashMap<u32, usize> = AHashMap::new();
    for order in orders.chain(partial.iter().map(|of| of.best)) {
        for (place, document) in order.iter().take(keep).enumerate() {
            let best = places.entry(*document).or_insert(place);
            *best = place.min(*best);
        }
    }
    let mut places: Vec<(usize, u32)> = places.into_iter().map(|(d, place)| (place, d)).collect();
    places.sort_unstable();
    places.truncate(keep);
    let mut out: Vec<u32> = places.into_iter().map(|(_, document)| document).collect();
    out.sort_unstable();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(of: &[(usize, &[f64])]) -> [Option<Vec<f64>>; COUNT] {
        let mut out = [const { None }; COUNT];
        for (f, values) in of {
            out[*f] = Some(values.to_vec());
        }
        out
    }

    #[test]
    fn features_are_standardised_over_documents() {
        let got = QuestionFeatures::standardised(
            raw(&[(0, &[1.0, 2.0, 3.0]), (4, &[5.0, 5.0, 5.0])]),
            10,
        );
        let root = 1.5f32.sqrt();
        assert_eq!(got.documents, [0, 1, 2]);
        assert_eq!(got.feature(0, 3), [-root, 0.0, root].map(f64::from));
        // What is the same for all documents says nothing, nor does what is not known.
        assert_eq!(got.feature(4, 3), [0.0; 3]);
        assert_eq!(got.feature(7, 3), [0.0; 3]);
    }

    #[test]
    fn documents_that_are_not_kept_have_the_mean_of_the_others() {
        let values = [9.0, 0.0, 1.0, 8.0, 2.0];
        let all = QuestionFeatures::standardised(raw(&[(2, &values)]), 5);
        let two = QuestionFeatures::standardised(raw(&[(2, &values)]), 2);
        assert_eq!(two.documents, [0, 3]);
        let (all, two) = (all.feature(2, 5), two.feature(2, 5));
        assert_eq!((all[0], all[3]), (two[0], two[3]));
        let mean = (all[1] + all[2] + all[4]) / 3.0;
        for d in [1, 2, 4] {
            assert!((two[d] - mean).abs() < 1e-6);
        }
    }

    #[test]
    fn a_document_is_kept_for_its_best_place() {
        // Document 2 is first by one feature and last by the other.
        let got = QuestionFeatures::standardised(
            raw(&[(0, &[3.0, 2.0, 1.0, 0.0]), (1, &[0.0, 2.0, 3.0, 1.0])]),
            2,
        );
        assert_eq!(got.documents, [0, 2]);
    }

    #[test]
    fn without_a_start_documents_are_ranked_by_their_texts() {
        let (dense, start) = (place(&DENSE), place(&START));
        let by_walks = alone(&PPR);
        let walks = raw(&[(dense, &[1.0, 2.0]), (start, &[0.5, 0.0])]);
        let walks = QuestionFeatures::standardised(walks, 2);
        assert!(!walks.start_nowhere());
        assert_eq!(walks.ranking(&by_walks), by_walks);
        let embedded = raw(&[(dense, &[1.0, 2.0]), (place(&BM25), &[3.0, 0.0])]);
        let embedded = QuestionFeatures::standardised(embedded, 2);
        assert!(embedded.start_nowhere());
        assert_eq!(embedded.ranking(&by_walks), alone(&DENSE));
        // Weights that need no walks are used.
        assert_eq!(embedded.ranking(&alone(&BM25)), alone(&BM25));
        let words = QuestionFeatures::standardised(raw(&[(place(&BM25), &[3.0, 0.0])]), 2);
        assert_eq!(words.ranking(&by_walks), alone(&BM25));
    }

    #[test]
    fn of_some_features_only_what_is_chosen_is_known() {
        let walks = place(&PPR);
        let partial = [Partial {
            feature: 1,
            mean: 2.0,
            deviation: 0.5,
            best: &[3, 0],
        }];
        let all = raw(&[(walks, &[1.0, 5.0, 3.0, 2.0, 4.0])]);
        let chosen = Chosen::of(all.clone(), &partial, 3);
        let chosen = chosen.unwrap_or_else(|| unreachable!());
        // The best of each, then the second of the one whose id is lower.
        assert_eq!(chosen.documents, [0, 1, 3]);
        let got = chosen.features(&[vec![2.5, 1.0, 3.0]]);
        let want = QuestionFeatures::standardised(all, 5).feature(walks, 5);
        for (row, document) in [0, 1, 3].into_iter().enumerate() {
            assert_eq!(f64::from(got.row(row)[walks]), want[document]);
            assert_eq!(got.row(row)[1], [1.0, -2.0, 2.0][row]);
        }
        assert_eq!(got.others[1], -0.5);
    }

    #[test]
    fn later_pieces_have_no_features() {
        let nan = f64::NAN;
        let got = QuestionFeatures::standardised(raw(&[(0, &[1.0, nan, 3.0])]), 10);
        assert_eq!(got.documents, [0, 2]);
        assert_eq!(got.feature(0, 3), [-1.0, 0.0, 1.0]);
        assert_eq!(
            QuestionFeatures::standardised(raw(&[]), 3),
            QuestionFeatures::none()
        );
    }
}
