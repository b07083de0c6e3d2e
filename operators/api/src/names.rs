//! Names interned to ids by first appearance.
//!
//! Invariant: ids are dense, and id `i` is the `i`-th distinct name. Names lie end to end in one
//! buffer, and the table holds ids only. So a vocabulary costs its text plus about 16 bytes per
//! name: graphs have tens of millions of them.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::text_list::TextList;

/// Distinct names and their ids.
pub struct Names {
    names: TextList,
    table: HashTable<u32>,
    hasher: RandomState,
    limit: u32,
}

impl Names {
    /// An empty vocabulary that takes at most `limit` names.
    pub fn new(limit: u32) -> Self {
        Names {
            names: TextList::new(),
            table: HashTable::new(),
            hasher: RandomState::with_seeds(1, 2, 3, 4),
            limit,
        }
    }

    /// Number of names.
    pub fn len(&self) -> u32 {
        // `intern` never goes past `limit`, a u32.
        self.names.len() as u32
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name with an id that [`Names::intern`] returned.
    pub fn get(&self, id: u32) -> &str {
        &self.names[id as usize]
    }

    /// The id of a name that was interned.
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.table
            .find(hash, |&id| &self.names[id as usize] == name)
            .copied()
    }

    /// The id of a name, new if need be. `None` when the vocabulary is full.
    pub fn intern(&mut self, name: &str) -> Option<u32> {
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        let id = self.len();
        if id >= self.limit {
            return None;
        }
        self.names.push(name);
        let Names {
            names,
            table,
            hasher,
            ..
        } = self;
        table.insert_unique(hasher.hash_one(name), id, |&id| {
            hasher.hash_one(&names[id as usize])
        });
        Some(id)
    }

    /// Names in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter()
    }

    /// The names in order of their ids, where no name is looked up any more.
    pub fn into_list(self) -> TextList {
        let mut names = self.names;
        names.shrink();
        names
    }

    /// Releases the memory that was reserved for more names.
    pub fn shrink(&mut self) {
        self.names.shrink();
        let hasher = &self.hasher;
        let names = &self.names;
        self.table
            .shrink_to_fit(|&id| hasher.hash_one(&names[id as usize]));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_follow_first_appearance_and_the_empty_name_is_a_name() {
        let mut names = Names::new(u32::MAX);
        let ids: Vec<u32> = ["b", "", "a", "b", "", "ab"]
            .iter()
            .map(|n| names.intern(n).unwrap())
            .collect();
        assert_eq!(ids, [0, 1, 2, 0, 1, 3]);
        assert_eq!(names.iter().collect::<Vec<_>>(), ["b", "", "a", "ab"]);
        assert_eq!(names.find("ab"), Some(3));
        assert_eq!(names.find("ba"), None);
        assert!(names.into_list().iter().eq(["b", "", "a", "ab"]));
    }

    #[test]
    fn a_full_vocabulary_still_finds_what_it_has() {
        let mut names = Names::new(2);
        assert_eq!(names.intern("x"), Some(0));
        assert_eq!(names.intern("y"), Some(1));
        assert_eq!(names.intern("z"), None);
        assert_eq!(names.intern("y"), Some(1));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn growth_keeps_ids() {
        let mut names = Names::new(u32::MAX);
        for i in 0..10_000u32 {
            assert_eq!(names.intern(&format!("name {i}")), Some(i));
        }
        for i in 0..10_000u32 {
            assert_eq!(names.find(&format!("name {i}")), Some(i));
        }
    }
}
