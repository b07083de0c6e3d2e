//! Tables of named entries, such as rankers and losses, and parameters that name one of them.
//!
//! An entry has a name, a meaning and a function. The words in schemas, help texts and pages come
//! from the table, and a parameter holds the entry itself ([`Choice`]): a name that is not in the
//! table is an error when parameters are read, so nothing ever falls back to a default.

use std::fmt;
use std::ops::Deref;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An entry of a table.
pub trait Named: Sized + Sync + 'static {
    /// What an entry is called in messages, such as `ranker`.
    const WHAT: &'static str;

    /// The table, in the order in which schemas and pages list it.
    fn all() -> &'static [&'static Self];

    /// The name by which pipelines choose the entry.
    fn name(&self) -> &'static str;

    /// The entry with this name.
    fn named(name: &str) -> Option<&'static Self> {
        Self::all().iter().copied().find(|e| e.name() == name)
    }

    /// All names, in the order of the table.
    fn names() -> Vec<&'static str> {
        Self::all().iter().map(|e| e.name()).collect()
    }
}

/// A parameter that names an entry. It is serialized as the name.
pub struct Choice<T: Named>(pub &'static T);

impl<T: Named> Clone for Choice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Named> Copy for Choice<T> {}

impl<T: Named> Deref for Choice<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: Named> PartialEq for Choice<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<T: Named> fmt::Debug for Choice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl<T: Named> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Named> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        T::named(&name).map(Choice).ok_or_else(|| {
            let known = T::names().join(", ");
            D::Error::custom(format!("there is no {} `{name}`; use {known}", T::WHAT))
        })
    }
}

/// Joins words into a list for messages; `last`, which is `and` or `or`, comes before the last
/// word: `` a, b or c ``.
pub fn listed(words: &[impl AsRef<str>], last: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Fruit(&'static str);

    impl Named for Fruit {
        const WHAT: &'static str = "fruit";

        fn all() -> &'static [&'static Self] {
            &[&Fruit("apple"), &Fruit("pear")]
        }

        fn name(&self) -> &'static str {
            self.0
        }
    }

    #[test]
    fn a_name_that_is_not_in_the_table_is_an_error() {
        let pear: Choice<Fruit> = serde_json::from_str("\"pear\"").unwrap();
        assert_eq!(serde_json::to_string(&pear).unwrap(), "\"pear\"");
        let e = serde_json::from_str::<Choice<Fruit>>("\"plum\"").unwrap_err();
        assert!(
            e.to_string()
                .starts_with("there is no fruit `plum`; use apple, pear"),
            "{e}"
        );
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(listed(&["a"], "or"), "a");
        assert_eq!(listed(&["a", "b", "c"], "and"), "a, b and c");
    }
}
