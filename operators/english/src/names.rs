//! The names of tags, dependency labels and kinds of entities.

use crate::Map;

/// The number of a name in a list of names.
pub(crate) type NameId = u16;

/// A list of distinct names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: Vec<String>,
    ids: Map<String, NameId>,
}

impl Names {
    /// The number of a name. A new name is added.
    pub(crate) fn add(&mut self, name: &str) -> NameId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = NameId::try_from(self.names.len()).expect("there are a few hundred names");
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }

    pub(crate) fn name(&self, id: NameId) -> &str {
        &self.names[usize::from(id)]
    }
}
