//! Matches titles that questions name with documents.

use ahash::AHashMap;
use gfm_pipe_api::{Artifact, OpResult, columns};
use unicode_normalization::UnicodeNormalization;

use crate::titles::one_line;

/// The titles of documents, in three indexes.
#[derive(Debug, Default)]
pub struct Titles {
    /// Ids by exact title. For a document in pieces, the id of the first piece.
    exact: AHashMap<String, u32>,
    /// Ids by normalised spelling; `None` where several documents share it.
    loose: AHashMap<String, Option<u32>>,
    /// By the title in the file: the titles of the documents that have it in common.
    written: AHashMap<String, Vec<String>>,
}

/// The documents that a title names.
#[derive(Debug, PartialEq, Eq)]
pub enum TitleMatch {
    /// A document with this title.
    Exact(u32),
    /// The only document whose title differs only in case, width or blanks.
    Loose(u32),
    /// This document, whose title other documents had in their files, too.
    First(u32, Vec<String>),
    /// Several documents, none of which has exactly this title.
    Several(Vec<String>),
    /// No document.
    Unknown,
}

/// The normalised spelling of a title: without differences in case, width and blanks.
fn spelling(title: &str) -> String {
    one_line(
        &title
            .replace('_', " ")
            .nfkc()
            .collect::<String>()
            .to_lowercase(),
    )
}

impl Titles {
    /// Reads the titles of documents, and which of them were the same in their files.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn read(documents: &Artifact, sources: Option<&Artifact>) -> OpResult<Titles> {
        let mut titles = Titles::default();
        for batch in documents.batches("documents")? {
            let batch = batch?;
            let ids = columns::u32s(&batch, "id")?;
            for (id, title) in ids.values().iter().zip(columns::text(&batch, "title")?) {
                titles.add(*id, title.unwrap_or_default());
            }
        }
        let Some(sources) = sources else {
            return Ok(titles);
        };
        let names: AHashMap<u32, &str> = titles
            .exact
            .iter()
            .map(|(title, id)| (*id, title.as_str()))
            .collect();
        let mut written: AHashMap<String, Vec<String>> = AHashMap::new();
        for batch in sources.batches("sources")? {
            let batch = batch?;
            let (ids, parents) = (
                columns::u32s(&batch, "document")?,
                columns::u32s(&batch, "parent")?,
            );
            for ((id, parent), title) in ids
                .values()
                .iter()
                .zip(parents.values())
                .zip(columns::text(&batch, "title")?)
            {
                if id == parent
                    && let (Some(name), Some(title)) = (names.get(id), title)
                {
                    written
                        .entry(title.to_owned())
                        .or_default()
                        .push((*name).to_owned());
                }
            }
        }
        written.retain(|_, names| names.len() > 1);
        titles.written = written;
        Ok(titles)
    }

    fn add(&mut self, id: u32, title: &str) {
        if self.exact.contains_key(title) {
            return;
        }
        self.exact.insert(title.to_owned(), id);
        self.loose
            .entry(spelling(title))
            .and_modify(|known| *known = None)
            .or_insert(Some(id));
    }

    /// Looks a title up.
    pub fn find(&self, title: &str) -> TitleMatch {
        let same = self.written.get(title);
        let exact = self.exact.get(title).copied();
        match (exact, same) {
            (Some(id), Some(names)) => {
                let others = names.iter().filter(|name| *name != title);
                TitleMatch::First(id, others.cloned().collect())
            }
            (Some(id), None) => TitleMatch::Exact(id),
            (None, Some(names)) => TitleMatch::Several(names.clone()),
            (None, None) => match self.loose.get(&spelling(title)) {
                Some(Some(id)) => TitleMatch::Loose(*id),
                _ => TitleMatch::Unknown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(all: &[&str]) -> Titles {
        let mut titles = Titles::default();
        for (id, title) in (0..).zip(all) {
            titles.add(id, title);
        }
        titles
    }

    #[test]
    fn titles_are_found_exactly_or_as_the_only_one_of_their_spelling() {
        let known = titles(&["Paris", "Paris (France)", "Sao", "sao", "Paris", "Ａ 1"]);
        for (title, want) in [
            ("Paris", TitleMatch::Exact(0)),
            ("Paris_(france)", TitleMatch::Loose(1)),
            (" paris  (France) ", TitleMatch::Loose(1)),
            ("a 1", TitleMatch::Loose(5)),
            ("Sao", TitleMatch::Exact(2)),
            ("SAO", TitleMatch::Unknown),
            ("Lyon", TitleMatch::Unknown),
            ("", TitleMatch::Unknown),
        ] {
            assert_eq!(known.find(title), want, "{title}");
        }
    }

    #[test]
    fn titles_that_several_documents_would_have_are_said_to_be_so() {
        let mut known = titles(&["Intro", "Intro (a)", "Plan (a)", "Plan (b)"]);
        let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        known
            .written
            .insert("Intro".to_owned(), names(&["Intro", "Intro (a)"]));
        known
            .written
            .insert("Plan".to_owned(), names(&["Plan (a)", "Plan (b)"]));
        assert_eq!(
            known.find("Intro"),
            TitleMatch::First(0, names(&["Intro (a)"]))
        );
        assert_eq!(
            known.find("Plan"),
            TitleMatch::Several(names(&["Plan (a)", "Plan (b)"]))
        );
        assert_eq!(known.find("Plan (b)"), TitleMatch::Exact(3));
    }
}
