//! Where the sentences of documents are.

use std::ops::Range;

use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

/// The ranges of sentences in the texts of their documents. A sentence has a row in its table, and
/// a number in its document.
#[derive(Debug, Default)]
pub struct SentencePlaces {
    /// The first row of each document, and then the number of rows.
    first: Vec<u32>,
    /// The number of each row; `None` where every document has 0, 1, 2 and so on.
    numbers: Option<Vec<u32>>,
    /// First byte of each sentence in the text of its document, and the first byte behind it.
    ranges: Vec<[u32; 2]>,
}

impl SentencePlaces {
    /// Reads a `sentences` artifact of this number of documents.
    ///
    /// # Errors
    /// When a document does not exist, or sentences do not come by document, then by number.
    pub fn read(artifact: &Artifact, documents: usize) -> OpResult<Self> {
        let rows = artifact.rows("sentences")?;
        let mut out = SentencePlaces {
            first: Vec::with_capacity(documents + 1),
            numbers: None,
            ranges: Vec::with_capacity(rows),
        };
        let mut numbers: Vec<u32> = Vec::with_capacity(rows);
        for batch in artifact.batches_of("sentences", &["document", "sentence", "start", "end"])? {
            let batch = batch?;
            let of = columns::u32s(&batch, "document")?;
            let number = columns::u32s(&batch, "sentence")?;
            let (starts, ends) = (
                columns::u64s(&batch, "start")?,
                columns::u64s(&batch, "end")?,
            );
            for i in 0..batch.num_rows() {
                let row = numbers.len();
                let (document, number) = (of.value(i) as usize, number.value(i));
                let wrong = |problem: &str| {
                    OpError::data(problem)
                        .artifact(&artifact.name)
                        .row(row as u64)
                        .hint("connect `documents`, and `sentences` that were made from them")
                };
                if document >= documents {
                    return Err(wrong("a sentence is of a document that does not exist"));
                }
                let begins = out.first.len() <= document;
                let behind = begins || numbers.last().is_some_and(|last| *last < number);
                if document + 1 < out.first.len() || !behind {
                    return Err(OpError::data(
                        "sentences are not in the order of documents and numbers",
                    )
                    .artifact(&artifact.name)
                    .row(row as u64)
                    .hint("sort the rows by `document` and `sentence`"));
                }
                out.first
                    .resize(out.first.len().max(document + 1), row as u32);
                numbers.push(number);
                // Texts are shorter than 4 GB, so what is cut off here is beyond them as well.
                let place = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
                out.ranges
                    .push([place(starts.value(i)), place(ends.value(i))]);
            }
        }
        out.first.resize(documents + 1, numbers.len() as u32);
        let dense = (0..documents).all(|document| {
            let rows = out.rows(document as u32..document as u32 + 1);
            numbers[rows].iter().zip(0..).all(|(a, b)| *a == b)
        });
        out.numbers = (!dense).then_some(numbers);
        Ok(out)
    }

    /// The sentences of documents, in their order, for tests.
    #[cfg(test)]
    pub fn of<const N: usize>(documents: usize, sentences: [(u32, Range<u32>); N]) -> Self {
        let rows_before = |document: usize| {
            let before = sentences.iter().filter(|s| (s.0 as usize) < document);
            before.count() as u32
        };
        SentencePlaces {
            first: (0..=documents).map(rows_before).collect(),
            numbers: None,
            ranges: sentences.iter().map(|(_, of)| [of.start, of.end]).collect(),
        }
    }

    /// Number of sentences.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no sentence.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The rows of the sentences of consecutive documents.
    pub fn rows(&self, documents: Range<u32>) -> Range<usize> {
        let first = |document: u32| {
            let first = self.first.get(document as usize);
            first.map_or(self.len(), |row| *row as usize)
        };
        first(documents.start)..first(documents.end)
    }

    /// The row of a sentence, if there is one of this number.
    pub fn row(&self, document: u32, number: u32) -> Option<usize> {
        let rows = self.rows(document..document.checked_add(1)?);
        match &self.numbers {
            None => rows.clone().nth(number as usize),
            Some(numbers) => {
                let place = numbers[rows.clone()].binary_search(&number).ok()?;
                Some(rows.start + place)
            }
        }
    }

    /// The document of a row's sentence.
    pub fn document(&self, row: usize) -> u32 {
        let behind = self.first.partition_point(|first| *first as usize <= row);
        behind.saturating_sub(1) as u32
    }

    /// The range of a row's sentence in the text of its document; an empty one where there is no
    /// such row.
    pub fn range(&self, row: usize) -> Range<usize> {
        let range = self.ranges.get(row);
        range.map_or(0..0, |[from, to]| *from as usize..*to as usize)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
    use gfm_pipe_api::{kinds, local};
    use proptest::prelude::*;

    /// Sentences of these documents and numbers; number `i` is at `i..2 * i`.
    fn read(dir: &Path, of: &[(u32, u32)], documents: usize) -> OpResult<SentencePlaces> {
        let ids = |values: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(values)) };
        let at = |times: u64| -> ArrayRef {
            let values = of.iter().map(|(_, number)| times * u64::from(*number));
            Arc::new(UInt64Array::from_iter_values(values))
        };
        let columns = vec![
            ids(of.iter().map(|s| s.0).collect()),
            ids(of.iter().map(|s| s.1).collect()),
            at(1),
            at(2),
            Arc::new(StringArray::from_iter_values(of.iter().map(|_| ""))),
        ];
        let table = columns::batch(&kinds::SENTENCES.tables[0], columns).unwrap();
        let made = local::artifact(dir, &kinds::SENTENCES, "made", vec![table]).unwrap();
        SentencePlaces::read(&made, documents)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn each_sentence_is_found(
            all in prop::collection::btree_set((0u32..6, 0u32..4), 0..20), dense in any::<bool>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut of: Vec<(u32, u32)> = all.into_iter().collect();
            if dense {
                for same in of.chunk_by_mut(|a, b| a.0 == b.0) {
                    (0..).zip(same).for_each(|(number, place)| place.1 = number);
                }
            }
            let places = read(dir.path(), &of, 7).unwrap();
            prop_assert_eq!((places.len(), places.is_empty()), (of.len(), of.is_empty()));
            prop_assert!(!dense || places.numbers.is_none());
            for document in 0..8 {
                let of_it: Vec<usize> = (0..of.len()).filter(|i| of[*i].0 == document).collect();
                let rows = places.rows(document..document + 1);
                prop_assert_eq!(rows.collect::<Vec<_>>(), of_it);
                for number in 0..5 {
                    let row = of.iter().position(|place| *place == (document, number));
                    prop_assert_eq!(places.row(document, number), row);
                    if let Some(row) = row {
                        prop_assert_eq!(places.document(row), document);
                        let at = number as usize;
                        prop_assert_eq!(places.range(row), at..2 * at);
                    }
                }
            }
            prop_assert_eq!(places.rows(1..u32::MAX).end, of.len());
            prop_assert_eq!(places.row(u32::MAX, 0), None);
        }
    }

    #[test]
    fn sentences_in_another_order_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (of, said) in [
            (&[(1, 0), (0, 0)][..], "row 1: "),
            (&[(0, 0), (0, 1), (0, 1)], "row 2: "),
            (&[(0, 0), (3, 0)], "that does not exist"),
        ] {
            let e = read(dir.path(), of, 3).unwrap_err().to_string();
            assert!(e.contains(said), "{e}");
        }
        assert!(read(dir.path(), &[], 0).unwrap().is_empty());
    }
}
