//! Entities and their written forms.
//!
//! Ids follow first appearance: by document, then facts before mentions, then by row. Facts and
//! mentions are read one after the other, so ids are known only when everything has been read
//! ([`Entities::order`]).

use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kg::names::Names;

use super::normalize::Normalize;

/// A place where an entity appears, in the order of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Appearance {
    /// Document id.
    pub document: u32,
    /// The table.
    pub source: Source,
    /// Row of the table.
    pub row: u64,
    /// Part of the row: the subject comes before the object.
    pub part: u8,
}

impl Appearance {
    /// No appearance is behind this one.
    const LAST: Appearance = Appearance {
        document: u32::MAX,
        source: Source::Mentions,
        row: u64::MAX,
        part: u8::MAX,
    };
}

/// What a text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The number of its written form, which was seen before.
    Form(u32),
    /// Its name.
    Name(String),
}

/// A table that names entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The table `facts`.
    Facts,
    /// The table `mentions`.
    Mentions,
}

impl Source {
    /// The name of the table.
    pub fn table(self) -> &'static str {
        match self {
            Source::Facts => "facts",
            Source::Mentions => "mentions",
        }
    }
}

/// A written form of an entity, and how often it occurs.
struct Form {
    entity: u32,
    count: u64,
    first: Appearance,
}

/// Entities by name, while tables are read. Their numbers are provisional.
pub struct Entities {
    names: Names,
    first: Vec<Appearance>,
    written: Names,
    forms: Vec<Form>,
}

/// Entities in the order of their ids.
pub struct Ordered {
    /// Names by id.
    pub names: Vec<String>,
    /// Ids by provisional number.
    pub ids: Vec<u32>,
    /// Entity, written form and count, ordered by entity and first appearance.
    pub labels: Vec<(u32, String, u64)>,
}

/// The error for more names than ids.
pub fn too_many(what: &str) -> OpError {
    OpError::data(format!("too many distinct {what}: ids have 32 bits"))
        .hint("divide the documents into several data sets")
}

impl Entities {
    /// No entities yet.
    pub fn new() -> Self {
        Entities {
            names: Names::new(u32::MAX),
            first: Vec::new(),
            written: Names::new(u32::MAX),
            forms: Vec::new(),
        }
    }

    /// Finds what a text names. `None` where nothing in it can be a name. Most texts were seen
    /// before, and need not be normalised again: blanks around a text do not change its name.
    pub fn find(&self, written: &str, normalize: Normalize) -> Option<Found> {
        match self.written.find(written.trim()) {
            Some(form) => Some(Found::Form(form)),
            None => normalize.name(written).map(Found::Name),
        }
    }

    /// Counts an appearance of what [`Entities::find`] found for this text. Returns the entity's
    /// provisional number.
    ///
    /// # Errors
    /// When there are more entities than ids.
    pub fn add(&mut self, written: &str, found: Found, at: Appearance) -> OpResult<u32> {
        let form = match found {
            Found::Form(form) => form as usize,
            Found::Name(name) => self.add_form(written.trim(), &name)?,
        };
        let form = &mut self.forms[form];
        form.count += 1;
        form.first = at.min(form.first);
        let first = &mut self.first[form.entity as usize];
        *first = at.min(*first);
        Ok(form.entity)
    }

    /// The written form of an entity with this name, new if need be.
    fn add_form(&mut self, written: &str, name: &str) -> OpResult<usize> {
        let form = self.written.intern(written);
        let form = form.ok_or_else(|| too_many("written forms of entities"))? as usize;
        if form == self.forms.len() {
            let entity = self.names.intern(name);
            let entity = entity.ok_or_else(|| too_many("entities"))?;
            if entity as usize == self.first.len() {
                self.first.push(Appearance::LAST);
            }
            self.forms.push(Form {
                entity,
                count: 0,
                first: Appearance::LAST,
            });
        }
        Ok(form)
    }

    /// Assigns the ids.
    pub fn order(self) -> Ordered {
        let mut numbers: Vec<u32> = (0..self.names.len()).collect();
        numbers.sort_unstable_by_key(|n| self.first[*n as usize]);
        let mut ids = vec![0; numbers.len()];
        for (id, number) in (0..).zip(&numbers) {
            ids[*number as usize] = id;
        }
        let names = numbers.iter().map(|n| self.names.get(*n).to_owned());
        let names = names.collect();
        let mut forms: Vec<(u32, &Form, &str)> = self
            .forms
            .iter()
            .zip(self.written.iter())
            .map(|(form, text)| (ids[form.entity as usize], form, text))
            .collect();
        forms.sort_unstable_by_key(|(id, form, _)| (*id, form.first));
        let labels = forms
            .into_iter()
            .map(|(id, form, text)| (id, text.to_owned(), form.count))
            .collect();
        Ordered { names, ids, labels }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_follow_documents_whatever_is_read_first() {
        let at = |document, source, row, part| Appearance {
            document,
            source,
            row,
            part,
        };
        let add = |all: &mut Entities, written: &str, at: Appearance| {
            let found = all.find(written, Normalize::Unicode).unwrap();
            all.add(written, found, at).unwrap()
        };
        let mut all = Entities::new();
        let facts = [("B", 0, 0), ("c", 0, 1), ("C", 1, 0)];
        for (written, row, part) in facts {
            let place = at(row as u32, Source::Facts, row, part);
            add(&mut all, written, place);
        }
        // Read last, but in the first document.
        for (row, written) in (0..).zip(["A ", "b", "A"]) {
            let place = at(0, Source::Mentions, row, 0);
            add(&mut all, written, place);
        }
        let late = add(&mut all, "d", at(9, Source::Facts, 9, 0));
        let early = add(&mut all, "e", at(0, Source::Mentions, 9, 0));
        let ordered = all.order();
        assert_eq!(ordered.names, ["b", "c", "a", "e", "d"]);
        assert_eq!(ordered.ids[late as usize], 4);
        assert_eq!(ordered.ids[early as usize], 3);
        let labels: Vec<String> = ordered
            .labels
            .iter()
            .map(|(id, text, count)| format!("{id} {text} {count}"))
            .collect();
        assert_eq!(
            labels,
            [
                "0 B 1", "0 b 1", "1 c 1", "1 C 1", "2 A 2", "3 e 1", "4 d 1"
            ]
        );
    }

    #[test]
    fn a_text_that_was_seen_before_has_the_name_that_it_had() {
        let at = Appearance {
            document: 0,
            source: Source::Facts,
            row: 0,
            part: 0,
        };
        for normalize in [Normalize::Unicode, Normalize::Reference] {
            let mut all = Entities::new();
            for written in [
                "Ada  B",
                " Ada  B\n",
                "\u{2003}Ada  B",
                "ADA  b",
                "x",
                "ada  b",
            ] {
                let name = normalize.name(written).unwrap();
                let found = all.find(written, normalize).unwrap();
                let entity = all.add(written, found, at).unwrap();
                assert_eq!(all.names.get(entity), name, "{written:?}");
            }
            assert_eq!((all.names.len(), all.written.len()), (2, 4));
            for nothing in ["", " ", "—"] {
                assert_eq!(all.find(nothing, normalize), None);
            }
        }
    }
}
