//! The texts of sentences, as they are embedded.

use std::sync::Arc;

use gfm_pipe_api::text_list::TextList;

use super::sentence_places::SentencePlaces;

/// The texts of sentences by row. `extract` writes the title of the document, a colon and the
/// sentence, which are in memory already; other texts are kept.
pub struct SentenceTexts {
    titles: Arc<TextList>,
    texts: Arc<TextList>,
    pub places: Arc<SentencePlaces>,
    /// All texts that have been added, if one of them is another.
    others: Option<TextList>,
    rows: usize,
}

impl SentenceTexts {
    /// Takes titles and texts of documents, and where the sentences are in them.
    pub fn new(
        titles: Arc<TextList>,
        texts: Arc<TextList>,
        places: Arc<SentencePlaces>,
    ) -> SentenceTexts {
        SentenceTexts {
            titles,
            texts,
            places,
            others: None,
            rows: 0,
        }
    }

    /// Adds the text of the next row.
    pub fn push(&mut self, text: &str) {
        if self.others.is_none() && !self.is_made(self.rows, text) {
            self.others = Some((0..self.rows).filter_map(|row| self.made(row)).collect());
        }
        if let Some(others) = &mut self.others {
            others.push(text);
        }
        self.rows += 1;
    }

    /// The text of a row, if there is one.
    pub fn get(&self, row: usize) -> Option<String> {
        match &self.others {
            Some(others) => others.get(row).map(str::to_owned),
            None => self.made(row).filter(|_| row < self.rows),
        }
    }

    /// The title of a row's document, and what the sentence says.
    fn parts(&self, row: usize) -> Option<(&str, &str)> {
        let document = self.places.document(row) as usize;
        let said = self.texts.get(document)?.get(self.places.range(row))?;
        Some((self.titles.get(document)?, said))
    }

    fn made(&self, row: usize) -> Option<String> {
        Some(match self.parts(row)? {
            ("", said) => said.to_owned(),
            (title, said) => format!("{title}: {said}"),
        })
    }

    fn is_made(&self, row: usize, text: &str) -> bool {
        match self.parts(row) {
            Some(("", said)) => text == said,
            Some((title, said)) => {
                let behind = text.strip_prefix(title);
                behind.and_then(|text| text.strip_prefix(": ")) == Some(said)
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_was_added_whether_they_can_be_made_or_not() {
        let titles = ["Rome", "", "Oslo"].into_iter().collect();
        let texts = ["It is old. It is big.", "Nothing.", ""];
        let (titles, texts) = (Arc::new(titles), Arc::new(texts.into_iter().collect()));
        let ranges = [(0, 0..10), (0, 11..21), (1, 0..8), (2, 0..5)];
        let places = Arc::new(SentencePlaces::of(3, ranges));
        let made = ["Rome: It is old.", "Rome: It is big.", "Nothing."];
        for others in [None, Some("Oslo: Fjord.")] {
            let mut of =
                SentenceTexts::new(Arc::clone(&titles), Arc::clone(&texts), Arc::clone(&places));
            let all: Vec<&str> = made.into_iter().chain(others).collect();
            all.iter().for_each(|text| of.push(text));
            // Only the last one is another, because its range is outside of the text.
            assert_eq!(of.others.is_some(), others.is_some());
            for (row, text) in all.iter().enumerate() {
                assert_eq!(of.get(row).as_deref(), Some(*text));
            }
            assert_eq!((of.get(all.len()), of.get(usize::MAX)), (None, None));
        }
    }
}
