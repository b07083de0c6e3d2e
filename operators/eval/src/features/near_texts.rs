//! The best cosines of documents in a table of very many texts, where not all are compared.
//!
//! Sketches say which texts are most similar to a question. The documents of these, a sample of all
//! documents, and those that anything else chooses are then compared with all of their texts. So
//! the cosines that are used are as good as elsewhere. Estimates only decide which documents are
//! compared; mean and deviation are those of the sample. Which documents are in it depends on their
//! texts alone, not on their order.

use std::ops::Range;

use gfm_pipe_api::random::mix;
use gfm_pipe_api::vector_table::{Codes, Query, SketchQuery};
use gfm_pipe_api::{Cancel, OpError, OpResult};
use rayon::prelude::*;

use super::of_question::Partial;
use crate::order::Highest;
use crate::pieces::Pieces;

/// Number of texts with the highest estimates whose documents are compared, for each document that
/// is kept.
const TEXTS: usize = 4;
/// Number of documents in the sample: a mean is off by about a hundredth of the deviation.
const SAMPLE: usize = 16_384;
/// Number of texts that a thread reads the sketches of at once.
const ROWS: usize = 4096;
/// Number of texts of a thread's share. Each share has its own list of the best.
const PART: usize = 1 << 18;

/// What is prepared for all questions.
pub struct Sample {
    /// The texts of each document in the sample.
    rows: Vec<Range<usize>>,
    /// Number of documents that have a text, of which pieces count once.
    with_texts: usize,
}

/// Texts with sketches.
#[derive(Clone, Copy)]
pub struct NearTexts<'a> {
    /// Their vectors.
    pub codes: &'a Codes,
    /// The document of each text, ascending.
    pub documents: &'a [u32],
    /// Which documents are pieces of the same document, if any are.
    pub pieces: Option<&'a Pieces>,
}

/// The most similar texts of a question.
#[derive(Debug)]
pub struct Near {
    question: Vec<f32>,
    mean: f64,
    deviation: f64,
    best: Vec<u32>,
    /// The least cosine of a text that was compared: that of documents without a text.
    least: f64,
}

impl Near {
    /// What is known of a feature.
    pub fn partial(&self, feature: usize) -> Partial<'_> {
        Partial {
            feature,
            mean: self.mean,
            deviation: self.deviation,
            best: &self.best,
        }
    }
}

impl NearTexts<'_> {
    /// The document that a piece counts for.
    fn whole(&self, piece: u32) -> u32 {
        self.pieces.map_or(piece, |pieces| pieces.first(piece))
    }

    /// The document that a text counts for.
    fn document(&self, row: usize) -> u32 {
        self.whole(self.documents[row])
    }

    /// The texts of a document.
    fn of(&self, document: u32) -> Range<usize> {
        let before = |piece: &u32| self.whole(*piece) < document;
        let first = self.documents.partition_point(before);
        let all = &self.documents[first..];
        first..first + all.partition_point(|piece| self.whole(*piece) <= document)
    }

    /// Prepares them for questions.
    pub fn sample(&self) -> Sample {
        let mut first = 0;
        let same = |a: &u32, b: &u32| self.whole(*a) == self.whole(*b);
        let all = self.documents.chunk_by(same).map(|texts| {
            let rows = first..first + texts.len();
            first = rows.end;
            rows
        });
        let all: Vec<Range<usize>> = all.collect();
        let with_texts = all.len();
        let all = all.into_par_iter();
        let hashes = all.map(|rows| (self.codes.hash(rows.clone()), rows.start, rows.end));
        let mut hashes: Vec<(u64, usize, usize)> = hashes.collect();
        if SAMPLE < hashes.len() {
            // Documents with the same texts are in the sample as often as others are.
            hashes.par_sort_unstable();
            hashes.chunk_by_mut(|a, b| a.0 == b.0).for_each(|same| {
                let numbered = same.iter_mut().zip(0..);
                numbered.for_each(|(of, number)| of.0 = mix(of.0 ^ number));
            });
            hashes.select_nth_unstable(SAMPLE);
            hashes.truncate(SAMPLE);
        }
        hashes.sort_unstable_by_key(|of| of.1);
        Sample {
            rows: hashes.into_iter().map(|(_, from, to)| from..to).collect(),
            with_texts,
        }
    }

    /// The largest and the least cosine of these texts, of which there is at least one.
    fn cosines(&self, query: &Query<'_>, rows: Range<usize>) -> OpResult<[f64; 2]> {
        let mut both = [f64::NEG_INFINITY, f64::INFINITY];
        self.codes
            .dots(std::slice::from_ref(query), rows, |_, _, cosine| {
                both = [both[0].max(cosine), both[1].min(cosine)];
            })?;
        // In single precision, as where all texts are compared.
        Ok(both.map(|cosine| f64::from(cosine as f32)))
    }

    /// Compares one question. There are `all` documents, of which `keep` are kept.
    ///
    /// # Errors
    /// When vectors cannot be read, or the user stops.
    pub fn near(
        &self,
        cancel: &Cancel,
        sample: &Sample,
        question: &[f32],
        (all, keep): (usize, usize),
    ) -> OpResult<Near> {
        let most = keep.saturating_mul(TEXTS);
        let sketched = SketchQuery::new(question);
        let parts = (0..self.documents.len()).into_par_iter().step_by(PART);
        let parts = parts.map(|first| {
            let mut highest = Highest::new(most);
            let mut estimates = Vec::with_capacity(ROWS);
            let behind = self.documents.len().min(first + PART);
            for from in (first..behind).step_by(ROWS) {
                if cancel.is_cancelled() {
                    return Err(OpError::Cancelled);
                }
                estimates.clear();
                let rows = from..behind.min(from + ROWS);
                self.codes.estimates(&sketched, rows, &mut estimates);
                let rows = (from as u32..).zip(&estimates);
                rows.for_each(|(row, of)| highest.add(row, f64::from(*of)));
            }
            Ok(highest)
        });
        let highest = parts.try_reduce(|| Highest::new(most), |a, b| Ok(a.join(b)))?;
        let texts = highest.ids().into_par_iter();
        let mut found: Vec<Range<usize>> = texts
            .map(|row| self.of(self.document(row as usize)))
            .collect();
        found.sort_unstable_by_key(|rows| rows.start);
        found.dedup();
        let query = Query::new(question);
        let cosines = |of: &[Range<usize>]| -> OpResult<Vec<[f64; 2]>> {
            let of = of.par_iter();
            of.map(|rows| self.cosines(&query, rows.clone())).collect()
        };
        let (of_found, of_sample) = (cosines(&found)?, cosines(&sample.rows)?);
        let compared = of_found.iter().chain(&of_sample);
        let least = compared.fold(1.0_f64, |least, [_, of]| least.min(*of));
        let mut best = Highest::new(keep);
        for (rows, [cosine, _]) in found.iter().zip(&of_found) {
            best.add(self.document(rows.start), *cosine);
        }
        // Documents with texts count as those of the sample do, and the others have the least
        // cosine.
        let count = sample.rows.len().max(1) as f64;
        let share = sample.with_texts as f64 / all.max(1) as f64;
        let mean_of = |of: &dyn Fn(f64) -> f64| {
            let sum: f64 = of_sample.iter().map(|[cosine, _]| of(*cosine)).sum();
            share * sum / count + (1.0 - share) * of(least)
        };
        let mean = mean_of(&|cosine| cosine);
        let variance = mean_of(&|cosine| (cosine - mean).powi(2));
        Ok(Near {
            question: question.to_vec(),
            mean,
            deviation: variance.sqrt(),
            best: best.ids(),
            least,
        })
    }

    /// The best cosines of some documents with a question.
    ///
    /// # Errors
    /// When vectors cannot be read.
    pub fn of_documents(&self, near: &Near, documents: &[u32]) -> OpResult<Vec<f64>> {
        let query = Query::new(&near.question);
        let best = documents.par_iter().map(|document| {
            let rows = self.of(*document);
            if rows.is_empty() {
                return Ok(near.least);
            }
            Ok(self.cosines(&query, rows)?[0])
        });
        best.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use gfm_pipe_api::points::Points;
    use gfm_pipe_api::vector_table::VectorTable;
    use gfm_pipe_testing::Random;

    use super::*;
    use crate::features::texts::{Similar, Texts, Vectors};

    const DIM: usize = 256;

    /// Texts of these documents, with sketches.
    fn texts(vectors: &[f32], documents: Vec<u32>) -> Texts {
        let mut codes = Codes::new(DIM);
        codes.extend(vectors);
        let table = VectorTable::Coded(codes.sketched().unwrap());
        Texts {
            vectors: Vectors::Ready(Arc::new(table)),
            documents,
            sample: None,
        }
    }

    fn similar(texts: &Texts, pieces: Option<&Pieces>, numbers: (usize, usize, usize)) -> Similar {
        let mut questions = Points::new(DIM);
        questions.extend(&Random::new(5).clustered(3, 40, DIM));
        texts
            .similar(&Cancel::default(), &questions, pieces, numbers)
            .unwrap()
    }

    /// Where the sample is all documents, only the choice of the best is by estimates.
    #[test]
    fn a_small_table_has_the_values_of_a_complete_comparison() {
        let (documents, keep) = (3000_u32, 50);
        // Every tenth document has no text, the others one to three.
        let of = (0..documents).filter(|d| d % 10 != 3);
        let of: Vec<u32> = of
            .flat_map(|d| std::iter::repeat_n(d, 1 + d as usize % 3))
            .collect();
        let vectors = Random::new(5).clustered(of.len(), 40, DIM);
        // Documents 5, 6 and 7 are pieces of one, as are 2990 to 2999.
        let first = |d| match d {
            5..=7 => 5,
            2990.. => 2990,
            d => d,
        };
        let in_pieces = Pieces::of((0..documents).map(first).collect());
        for pieces in [None, Some(&in_pieces)] {
            let all = pieces.map_or(documents as usize, Pieces::documents);
            let numbers = (documents as usize, all, keep);
            let texts = texts(&vectors, of.clone());
            let Similar::All(want) = similar(&texts, pieces, numbers) else {
                panic!()
            };
            let texts = texts.prepared(pieces).unwrap();
            let Similar::Near(got) = similar(&texts, pieces, numbers) else {
                panic!()
            };
            for (want, near) in want.into_iter().zip(&got) {
                let mut want: Vec<f64> = want.into_iter().map(f64::from).collect();
                if let Some(pieces) = pieces {
                    pieces.fold(&mut want);
                }
                let whole: Vec<u32> = (0..documents)
                    .filter(|d| !want[*d as usize].is_nan())
                    .collect();
                assert_eq!(whole.len(), all);
                let value = |d: &u32| want[*d as usize];
                let values = texts.of_documents(near, pieces, &whole).unwrap();
                assert_eq!(values, whole.iter().map(value).collect::<Vec<f64>>());
                let mean = values.iter().sum::<f64>() / all as f64;
                let squares = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
                let deviation = (squares / all as f64).sqrt();
                let partial = near.partial(7);
                assert_eq!(partial.feature, 7);
                assert!((partial.mean - mean).abs() < 1e-9);
                assert!((partial.deviation - deviation).abs() < 1e-9);
                let mut order = whole.clone();
                order.sort_by(|a, b| value(b).total_cmp(&value(a)));
                order.truncate(keep);
                assert_eq!(partial.best.len(), keep);
                let found = order.iter().filter(|d| partial.best.contains(d));
                assert!(found.count() * 10 >= keep * 9);
                assert_eq!(partial.best[..5], order[..5]);
            }
        }
        // In another order, all texts are compared.
        let mut mixed = of.clone();
        mixed.swap(0, 700);
        let numbers = (documents as usize, documents as usize, keep);
        let mixed = texts(&vectors, mixed).prepared(None).unwrap();
        assert!(matches!(similar(&mixed, None, numbers), Similar::All(_)));
        let scattered = Pieces::of((0..documents).map(|d| d / 2 * 2 + 1).collect());
        let scattered = texts(&vectors, of).prepared(Some(&scattered)).unwrap();
        assert!(matches!(
            similar(&scattered, None, numbers),
            Similar::All(_)
        ));
        assert!(texts(&vectors, vec![0; 3]).prepared(None).is_err());
        // A text of a document that does not exist.
        let far = texts(&vectors[..3 * DIM], vec![0, 1, 9]);
        let far = far.prepared(None).unwrap();
        let mut questions = Points::new(DIM);
        questions.extend(&vectors[..DIM]);
        assert!(
            far.similar(&Cancel::default(), &questions, None, (9, 9, 2))
                .is_err()
        );
        assert!(
            far.similar(&Cancel::default(), &questions, None, (10, 10, 2))
                .is_ok()
        );
    }

    #[test]
    fn the_sample_of_a_large_table_does_not_depend_on_order() {
        let documents = SAMPLE + 5000;
        let vectors = Random::new(6).clustered(documents, 400, DIM);
        let reversed: Vec<f32> = vectors.chunks(DIM).rev().flatten().copied().collect();
        let all: Vec<u32> = (0..documents as u32).collect();
        let numbers = (documents, documents, 100);
        let near = |vectors: &[f32]| {
            let texts = texts(vectors, all.clone()).prepared(None).unwrap();
            assert_eq!(texts.sample.as_ref().unwrap().rows.len(), SAMPLE);
            let Similar::Near(near) = similar(&texts, None, numbers) else {
                panic!()
            };
            near
        };
        let want = similar(&texts(&vectors, all.clone()), None, numbers);
        let Similar::All(want) = want else { panic!() };
        for ((a, b), want) in near(&vectors).iter().zip(near(&reversed)).zip(want) {
            assert!((a.mean - b.mean).abs() < 1e-12 && (a.least - b.least).abs() < 1e-12);
            let turned: Vec<u32> = b.best.iter().map(|d| documents as u32 - 1 - d).collect();
            assert_eq!(a.best, turned);
            let mean = want.iter().map(|x| f64::from(*x)).sum::<f64>() / documents as f64;
            assert!(
                (a.mean - mean).abs() < 0.02 * a.deviation,
                "{} {mean}",
                a.mean
            );
        }
    }
}
