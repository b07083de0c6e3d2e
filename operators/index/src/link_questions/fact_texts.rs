//! The texts of facts, as they are embedded.

use gfm_pipe_api::artifact::TextsDigest;
use gfm_pipe_api::names::Names;
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{OpResult, columns};

use super::nearest::Embedded;

/// The texts of facts by row. `extract` writes subject, relation and object, each of which is in
/// many facts and is kept once; other texts are kept as they are.
pub struct FactTexts {
    /// The different subjects, relations and objects.
    parts: TextList,
    /// The parts of each fact.
    facts: Vec<[u32; 3]>,
    /// All texts, if one of them does not consist of its parts.
    others: Option<TextList>,
}

/// Collects the texts of facts.
struct Builder {
    parts: Names,
    facts: Vec<[u32; 3]>,
    others: Option<TextList>,
}

impl FactTexts {
    /// Reads the texts, and checks that the embeddings were made from them.
    ///
    /// # Errors
    /// When they were not, or the table cannot be read.
    pub fn read(of: Embedded<'_>) -> OpResult<Self> {
        let mut out = Builder::new(of.texts.rows("facts")?);
        let mut digest = TextsDigest::default();
        let names = ["subject", "relation", "object", "text"];
        for batch in of.texts.batches_of("facts", &names)? {
            let batch = batch?;
            let [subjects, relations, objects, texts] = names.map(|of| columns::text(&batch, of));
            let (subjects, relations) = (subjects?, relations?);
            let (objects, texts) = (objects?, texts?);
            for row in 0..batch.num_rows() {
                let parts = [subjects, relations, objects].map(|of| of.value(row));
                let text = texts.value(row);
                digest.add(text);
                out.push(parts, text);
            }
        }
        digest.check(of.embeddings, &of.texts.name)?;
        Ok(out.finish())
    }

    /// Number of facts.
    pub fn len(&self) -> usize {
        self.others.as_ref().map_or(self.facts.len(), TextList::len)
    }

    /// The text of a row, if there is one.
    pub fn get(&self, row: usize) -> Option<String> {
        match &self.others {
            Some(others) => others.get(row).map(str::to_owned),
            None => {
                let parts = self.facts.get(row)?;
                Some(joined(parts.map(|part| &self.parts[part as usize])))
            }
        }
    }
}

fn joined([subject, relation, object]: [&str; 3]) -> String {
    format!("{subject} {relation} {object}")
}

fn is_joined([subject, relation, object]: [&str; 3], text: &str) -> bool {
    let behind = text.strip_prefix(subject).and_then(|t| t.strip_prefix(' '));
    let behind = behind.and_then(|t| t.strip_prefix(relation)?.strip_prefix(' '));
    behind == Some(object)
}

impl Builder {
    fn new(facts: usize) -> Self {
        Builder {
            parts: Names::new(u32::MAX),
            facts: Vec::with_capacity(facts),
            others: None,
        }
    }

    /// Adds the text of the next row.
    fn push(&mut self, parts: [&str; 3], text: &str) {
        if self.others.is_none() {
            let known = is_joined(parts, text).then(|| self.known(parts)).flatten();
            match known {
                Some(parts) => self.facts.push(parts),
                None => self.others = Some(self.texts()),
            }
        }
        if let Some(others) = &mut self.others {
            others.push(text);
        }
    }

    /// The numbers of the parts of a fact; `None` if there are too many different ones.
    fn known(&mut self, parts: [&str; 3]) -> Option<[u32; 3]> {
        let before = self.facts.last().copied();
        let mut out = [0; 3];
        for (place, (out, part)) in out.iter_mut().zip(parts).enumerate() {
            // Facts of one sentence often have the same subject.
            let same = before.map(|before| before[place]);
            let same = same.filter(|same| self.parts.get(*same) == part);
            *out = same.or_else(|| self.parts.intern(part))?;
        }
        Some(out)
    }

    /// The texts so far, which all consist of their parts.
    fn texts(&mut self) -> TextList {
        let facts = std::mem::take(&mut self.facts).into_iter();
        let mut out = TextList::new();
        facts.for_each(|fact| out.push(&joined(fact.map(|part| self.parts.get(part)))));
        self.parts = Names::new(u32::MAX);
        out
    }

    fn finish(mut self) -> FactTexts {
        self.facts.shrink_to_fit();
        if let Some(others) = &mut self.others {
            others.shrink();
        }
        FactTexts {
            parts: self.parts.into_list(),
            facts: self.facts,
            others: self.others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_was_added_whether_they_consist_of_their_parts_or_not() {
        let made = [
            (["Rome", "is", "old"], "Rome is old"),
            (["Rome", "has", "seven hills"], "Rome has seven hills"),
            (["Oslo", "is", ""], "Oslo is "),
            (["", "is", "Rome"], " is Rome"),
        ];
        for other in [None, Some((["Rome", "is", "old"], "Rome is very old"))] {
            let mut texts = Builder::new(0);
            let all: Vec<_> = made.into_iter().chain(other).chain(made).collect();
            all.iter()
                .for_each(|(parts, text)| texts.push(*parts, text));
            let texts = texts.finish();
            assert_eq!(texts.others.is_some(), other.is_some());
            assert_eq!(texts.parts.len(), if other.is_some() { 0 } else { 7 });
            assert_eq!(texts.len(), all.len());
            for (row, (_, text)) in all.iter().enumerate() {
                assert_eq!(texts.get(row).as_deref(), Some(*text));
            }
            assert_eq!((texts.get(all.len()), texts.get(usize::MAX)), (None, None));
        }
    }
}
