//! Texts of documents that questions are compared with: sentences or facts.

use std::ops::Range;
use std::sync::Arc;

use gfm_pipe_api::parts::Parts;
use gfm_pipe_api::points::Points;
use gfm_pipe_api::vector_table::{Query, VectorTable};
use gfm_pipe_api::{Cancel, OpError, OpResult};
use rayon::prelude::*;

use super::near_texts::{Near, NearTexts, Sample};
use crate::BadShape;
use crate::pieces::Pieces;

/// Number of texts that a thread compares with all questions at once: their vectors fit into its
/// cache.
const ROWS: usize = 1024;
/// Number of cosines that are in memory at once.
const COSINES: usize = 16 << 20;
/// Most parts of a table that are in memory at once. They have 64 MB each.
const PARTS: usize = 8;

/// Vectors of texts.
pub enum Vectors {
    /// In memory, for questions that come one by one, or coded, on disk.
    Ready(Arc<VectorTable>),
    /// In a table, of which a few parts at a time are read for many questions together.
    Stored(Parts),
}

/// Texts of documents with their vectors.
pub struct Texts {
    /// The vectors, by text.
    pub vectors: Vectors,
    /// The document of each text.
    pub documents: Vec<u32>,
    /// What is prepared where not all texts are compared ([`Texts::prepared`]).
    pub sample: Option<Sample>,
}

/// The best cosines of documents, by question.
#[derive(Debug)]
pub enum Similar {
    /// Of all documents, in single precision, so that they take little memory.
    All(Vec<Vec<f32>>),
    /// Of the most similar documents and others that are asked for.
    Near(Vec<Near>),
}

/// The best cosines of documents for several questions.
struct Best {
    /// For each question, by document.
    of: Vec<Vec<f32>>,
    /// The least cosine of a text, for each question.
    least: Vec<f32>,
}

impl Texts {
    /// Reads the vectors, if they are not in memory.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load(&mut self) -> OpResult<()> {
        match &mut self.vectors {
            Vectors::Stored(parts) => {
                let points = Points::of_parts(parts, 0..parts.rows().len())?;
                self.vectors = Vectors::Ready(Arc::new(VectorTable::Exact(points)));
                Ok(())
            }
            // A table that others have, too, has been loaded by them.
            Vectors::Ready(table) => Arc::get_mut(table).map_or(Ok(()), VectorTable::load),
        }
    }

    /// Prepares them for questions where sketches say which texts are worth comparing. `pieces`
    /// says which documents are pieces of the same one.
    ///
    /// # Errors
    /// When there are not as many vectors as texts.
    pub fn prepared(mut self, pieces: Option<&Pieces>) -> OpResult<Self> {
        self.sample = None;
        if let Some(near) = self.near(pieces) {
            if near.codes.len() != self.documents.len() {
                return Err(self.other_number(near.codes.len()));
            }
            // Texts in another order are all compared.
            if self.documents.is_sorted() && pieces.is_none_or(Pieces::in_order) {
                self.sample = Some(near.sample());
            }
        }
        Ok(self)
    }

    /// The texts, if they have sketches.
    fn near<'a>(&'a self, pieces: Option<&'a Pieces>) -> Option<NearTexts<'a>> {
        match &self.vectors {
            Vectors::Ready(table) => match &**table {
                VectorTable::Coded(codes) if codes.has_sketches() => Some(NearTexts {
                    codes,
                    documents: &self.documents,
                    pieces,
                }),
                _ => None,
            },
            Vectors::Stored(_) => None,
        }
    }

    /// Compares several questions. There are `all` documents, of which pieces count once, and
    /// `keep` of them are kept.
    ///
    /// # Errors
    /// See [`Texts::best`].
    pub fn similar(
        &self,
        cancel: &Cancel,
        questions: &Points,
        pieces: Option<&Pieces>,
        (documents, all, keep): (usize, usize, usize),
    ) -> OpResult<Similar> {
        let (Some(near), Some(sample)) = (self.near(pieces), &self.sample) else {
            return Ok(Similar::All(self.best(cancel, questions, documents)?));
        };
        if near.codes.dim() != questions.dim() {
            return Err(other_length(questions.dim(), near.codes.dim()));
        }
        // They are ascending.
        if let Some(last) = self.documents.last().filter(|d| **d as usize >= documents) {
            return Err(no_document(*last, documents));
        }
        let rows = (0..questions.len()).map(|q| questions.row(q));
        let near = rows.map(|question| near.near(cancel, sample, question, (all, keep)));
        Ok(Similar::Near(near.collect::<OpResult<_>>()?))
    }

    /// The best cosines of some documents with a question.
    ///
    /// # Errors
    /// When vectors cannot be read.
    pub fn of_documents(
        &self,
        near: &Near,
        pieces: Option<&Pieces>,
        documents: &[u32],
    ) -> OpResult<Vec<f64>> {
        let texts = self.near(pieces);
        let texts = texts.ok_or_else(|| OpError::internal("texts without sketches"))?;
        texts.of_documents(near, documents)
    }

    /// The largest cosine of each document's texts for each question, in single precision, so that
    /// it takes little memory. A document without any text has the least cosine of all.
    ///
    /// # Errors
    /// When the vectors of questions and texts have different lengths, a document does not exist,
    /// a table cannot be read, or the user stops.
    pub fn best(
        &self,
        cancel: &Cancel,
        questions: &Points,
        documents: usize,
    ) -> OpResult<Vec<Vec<f32>>> {
        let mut best = Best {
            of: vec![vec![f32::NEG_INFINITY; documents]; questions.len()],
            least: vec![1.0; questions.len()],
        };
        let dim = questions.dim();
        let asked = (0..questions.len()).map(|q| Query::new(questions.row(q)));
        let questions = (dim, asked.collect::<Vec<_>>());
        let mut first = 0;
        match &self.vectors {
            Vectors::Ready(vectors) => {
                self.compare(cancel, &questions, vectors, &mut first, &mut best)?;
            }
            Vectors::Stored(parts) => {
                let all = parts.rows().len();
                let together = rayon::current_num_threads().min(PARTS);
                for some in (0..all).step_by(together) {
                    let some = some..all.min(some + together);
                    let vectors = VectorTable::Exact(Points::of_parts(parts, some)?);
                    self.compare(cancel, &questions, &vectors, &mut first, &mut best)?;
                }
            }
        }
        if first != self.documents.len() {
            return Err(self.other_number(first));
        }
        for (of, least) in best.of.iter_mut().zip(best.least) {
            of.iter_mut().for_each(|best| *best = best.max(least));
        }
        Ok(best.of)
    }

    /// Compares the texts from `first` on, whose vectors these are, and moves `first` behind them.
    fn compare(
        &self,
        cancel: &Cancel,
        (dim, questions): &(usize, Vec<Query<'_>>),
        vectors: &VectorTable,
        first: &mut usize,
        best: &mut Best,
    ) -> OpResult<()> {
        if !vectors.is_empty() && vectors.dim() != *dim {
            return Err(other_length(*dim, vectors.dim()));
        }
        let behind = *first + vectors.len();
        let documents = self.documents.get(*first..behind);
        let documents = documents.ok_or_else(|| self.other_number(behind))?;
        *first = behind;
        let together = (COSINES / questions.len().max(1)).next_multiple_of(ROWS);
        for from in (0..vectors.len()).step_by(together) {
            let rows = from..vectors.len().min(from + together);
            best.take(cancel, questions, vectors, documents, rows)?;
        }
        Ok(())
    }

    fn other_number(&self, vectors: usize) -> OpError {
        let texts = self.documents.len();
        shape(format!("{vectors} vectors of {texts} texts"))
    }
}

impl Best {
    /// Compares some rows of `vectors`, which are of these documents.
    fn take(
        &mut self,
        cancel: &Cancel,
        questions: &[Query<'_>],
        vectors: &VectorTable,
        documents: &[u32],
        rows: Range<usize>,
    ) -> OpResult<()> {
        let blocks = rows.clone().step_by(ROWS);
        let blocks: Vec<Range<usize>> =
            blocks.map(|from| from..rows.end.min(from + ROWS)).collect();
        // By question and text in each block.
        let cosines = blocks.par_iter().map(|rows| {
            if cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            let mut all = vec![0.0; questions.len() * rows.len()];
            vectors.dots(questions, rows.clone(), |q, row, cosine| {
                all[q * rows.len() + row - rows.start] = cosine as f32;
            })?;
            Ok(all)
        });
        let cosines: Vec<Vec<f32>> = cosines.collect::<OpResult<_>>()?;
        let of_questions = self.of.par_iter_mut().zip(&mut self.least).enumerate();
        of_questions.try_for_each(|(q, (best, least))| {
            for (rows, cosines) in blocks.iter().zip(&cosines) {
                let cosines = &cosines[q * rows.len()..][..rows.len()];
                for (document, cosine) in documents[rows.clone()].iter().zip(cosines) {
                    let all = best.len();
                    let outside = || no_document(*document, all);
                    let best = best.get_mut(*document as usize).ok_or_else(outside)?;
                    *best = best.max(*cosine);
                    *least = least.min(*cosine);
                }
            }
            Ok(())
        })
    }
}

fn no_document(document: u32, all: usize) -> OpError {
    shape(format!("a text of document {document} of {all}"))
}

fn other_length(question: usize, texts: usize) -> OpError {
    shape(format!(
        "a question's embedding has length {question}, that of texts {texts}"
    ))
}

fn shape(problem: String) -> OpError {
    BadShape(problem).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gfm_pipe_api::points::quick_dot;
    use gfm_pipe_api::vector_table::{Codes, Keep};
    use gfm_pipe_api::{columns, kinds, local};

    const DIM: usize = 3;

    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * step) % 17) as f32 / 8.0 - 1.0)
            .collect()
    }

    #[test]
    fn stored_and_loaded_vectors_give_the_slow_result() {
        let (texts, documents) = (2 * ROWS + 7, 9);
        let vectors = numbers(texts * DIM, 5);
        // Document 3 has no text, and texts of one document are not side by side.
        let of = |text: usize| [0, 8, 1, 2, 4, 5, 6, 7][text % 8];
        let of: Vec<u32> = (0..texts).map(of).collect();
        let mut questions = Points::new(DIM);
        questions.extend(&numbers(4 * DIM, 3));
        let mut points = Points::new(DIM);
        points.extend(&vectors);

        let cosine = |q: usize, t: usize| quick_dot(questions.row(q), points.row(t)) as f32;
        let best = |q: usize, document: u32| {
            let mine = (0..texts).filter(|t| document == 3 || of[*t] == document);
            let cosines = mine.map(|t| cosine(q, t));
            match document {
                3 => cosines.fold(1.0, f32::min),
                _ => cosines.fold(f32::NEG_INFINITY, f32::max),
            }
        };
        let want: Vec<Vec<f32>> = (0..4)
            .map(|q| (0..documents).map(|d| best(q, d)).collect())
            .collect();

        let ask = |texts: &Texts, documents| texts.best(&Cancel::default(), &questions, documents);
        // Coded vectors give nearly the same, and the same bits from disk and in memory.
        let dir = tempfile::tempdir().unwrap();
        let column = columns::build_vectors(DIM, vectors.clone()).unwrap();
        let table = columns::batch(&kinds::EMBEDDINGS.tables[0], vec![column]).unwrap();
        let embeddings = local::artifact(dir.path(), &kinds::EMBEDDINGS, "e", vec![table]).unwrap();
        let kept = local::keeping_codes(embeddings, dir.path());
        let mut coded = Texts {
            vectors: Vectors::Ready(Arc::new(VectorTable::Coded(Codes::open(&kept).unwrap()))),
            documents: of.clone(),
            sample: None,
        };
        let by_codes = ask(&coded, documents as usize).unwrap();
        coded.load().unwrap();
        assert_eq!(ask(&coded, documents as usize).unwrap(), by_codes);
        let mut in_memory = VectorTable::new(Keep::Coded, DIM);
        in_memory.extend(&vectors);
        coded.vectors = Vectors::Ready(Arc::new(in_memory));
        assert_eq!(ask(&coded, documents as usize).unwrap(), by_codes);
        let pairs = by_codes.iter().flatten().zip(want.iter().flatten());
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 0.01));
        assert!(pairs.clone().any(|(a, b)| a != b));

        let path = dir.path().join("parts");
        let mut texts = Texts {
            vectors: Vectors::Stored(local::vectors_in_parts(&path, DIM, &vectors, 300).unwrap()),
            documents: of.clone(),
            sample: None,
        };
        assert_eq!(ask(&texts, documents as usize).unwrap(), want);
        texts.load().unwrap();
        assert!(matches!(texts.vectors, Vectors::Ready(_)));
        assert_eq!(ask(&texts, documents as usize).unwrap(), want);

        assert!(ask(&texts, 8).is_err());
        texts.documents.pop();
        assert!(ask(&texts, documents as usize).is_err());
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(texts.best(&cancel, &questions, 9).is_err());
        assert!(texts.best(&cancel, &Points::new(2), 9).is_err());
    }
}
