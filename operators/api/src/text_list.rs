//! Many short texts in one buffer.

use std::ops::Index;

use crate::ends::Ends;

/// Texts by number, end to end in one buffer. A text takes its bytes and 4 more (8 in very long
/// lists), where a `String` takes 24 more and a piece of memory of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextList {
    text: String,
    /// Where each text ends in the buffer.
    ends: Ends,
}

impl TextList {
    /// An empty list.
    pub fn new() -> Self {
        TextList::default()
    }

    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A text, if there is one of this number.
    pub fn get(&self, number: usize) -> Option<&str> {
        self.ends.get(number).map(|range| &self.text[range])
    }

    /// All texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len()).map(|number| &self[number])
    }

    /// Releases the memory that was reserved for more texts.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink();
    }
}

impl Index<usize> for TextList {
    type Output = str;

    fn index(&self, number: usize) -> &str {
        &self.text[self.ends.range(number)]
    }
}

impl<S: AsRef<str>> FromIterator<S> for TextList {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let mut out = TextList::new();
        texts.into_iter().for_each(|text| out.push(text.as_ref()));
        out.shrink();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_vector_of_texts(texts in prop::collection::vec(any::<String>(), 0..9)) {
            let list: TextList = texts.iter().collect();
            prop_assert_eq!(list.len(), texts.len());
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), texts.clone());
            for (i, text) in texts.iter().enumerate() {
                prop_assert_eq!(&list[i], text.as_str());
            }
            prop_assert_eq!(list.get(texts.len()), None);
            prop_assert_eq!(list.get(usize::MAX), None);
        }
    }
}
