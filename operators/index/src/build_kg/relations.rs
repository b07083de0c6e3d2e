//! Relations and their written forms, while facts are read.

use gfm_pipe_api::OpResult;
use gfm_pipe_kg::names::Names;

use super::entities::{Found, too_many};
use super::normalize::Normalize;

/// Relations by name; ids follow first appearance.
pub struct Relations {
    names: Names,
    written: Names,
    /// The relation of each written form.
    of_form: Vec<u32>,
}

impl Relations {
    /// No relations yet.
    pub fn new() -> Self {
        Relations {
            // The other half of the ids is for inverse relations.
            names: Names::new(u32::MAX / 2),
            written: Names::new(u32::MAX),
            of_form: Vec::new(),
        }
    }

    /// Finds what a text names, as [`Entities::find`](super::entities::Entities::find) does.
    pub fn find(&self, written: &str, normalize: Normalize) -> Option<Found> {
        match self.written.find(written) {
            Some(form) => Some(Found::Form(form)),
            None => normalize.name(written).map(Found::Name),
        }
    }

    /// The id of what [`Relations::find`] found for this text.
    ///
    /// # Errors
    /// When there are more relations than ids.
    pub fn add(&mut self, written: &str, found: Found) -> OpResult<u32> {
        let name = match found {
            Found::Form(form) => return Ok(self.of_form[form as usize]),
            Found::Name(name) => name,
        };
        let relation = self.names.intern(&name);
        let relation = relation.ok_or_else(|| too_many("relations"))?;
        let form = self.written.intern(written);
        let form = form.ok_or_else(|| too_many("written forms of relations"))?;
        if form as usize == self.of_form.len() {
            self.of_form.push(relation);
        }
        Ok(relation)
    }

    /// The names, by id.
    pub fn into_names(self) -> Names {
        self.names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn written_forms_of_a_relation_have_its_id() {
        let mut all = Relations::new();
        let mut ids = Vec::new();
        for written in [
            "lives in",
            "Lives in",
            "born in",
            "lives  in",
            "Lives in",
            "BORN in",
        ] {
            let found = all.find(written, Normalize::Unicode).unwrap();
            ids.push(all.add(written, found).unwrap());
        }
        assert_eq!(ids, [0, 0, 1, 0, 0, 1]);
        assert_eq!(
            all.find("Lives in", Normalize::Unicode),
            Some(Found::Form(1))
        );
        assert_eq!(all.find("?", Normalize::Unicode), None);
        assert_eq!(
            all.into_names().iter().collect::<Vec<_>>(),
            ["lives in", "born in"]
        );
    }
}
