//! Many short lists of numbers in two flat vectors.
//!
//! A vector of vectors takes 24 bytes for each list besides its numbers, and a piece of memory of
//! its own; graphs have millions of lists.

use std::ops::Range;

use crate::ends::Ends;

/// Lists of ids or rows, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// Where each list ends in `values`.
    ends: Ends,
    values: Vec<u32>,
}

impl Lists {
    /// Groups pairs of a list and a value. The values of a list keep their order.
    ///
    /// # Panics
    /// When a pair names another list than the first `lists` ones.
    pub fn grouped(lists: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        // First the number of values of each list, then where the next value of each goes.
        let mut ends = vec![0; lists];
        for (list, _) in pairs.clone() {
            ends[list as usize] += 1;
        }
        let mut all = 0;
        for end in &mut ends {
            let count = std::mem::replace(end, all);
            all += count;
        }
        let mut values = vec![0; all];
        for (list, value) in pairs {
            let next = &mut ends[list as usize];
            values[*next] = value;
            *next += 1;
        }
        Lists {
            ends: ends.into_iter().collect(),
            values,
        }
    }

    /// Adds a list.
    pub fn push(&mut self, list: impl IntoIterator<Item = u32>) {
        self.values.extend(list);
        self.ends.push(self.values.len());
    }

    /// Releases the memory that was reserved for more lists.
    pub fn shrink(&mut self) {
        self.ends.shrink();
        self.values.shrink_to_fit();
    }

    /// Number of lists.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A list; an empty one where there is no such list.
    pub fn of(&self, list: usize) -> &[u32] {
        let range = self.ends.get(list);
        range.map_or(&[], |range| &self.values[range])
    }

    /// Where a list is in the values of all lists.
    ///
    /// # Panics
    /// When there is no list with this number.
    pub fn range(&self, list: usize) -> Range<usize> {
        self.ends.range(list)
    }

    /// The values of all lists, end to end.
    pub fn values(&self) -> &[u32] {
        &self.values
    }

    /// All lists.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        (0..self.len()).map(|list| self.of(list))
    }

    /// Changes each list: `keep` gets a list, may reorder it, and returns how many of its first
    /// values are kept.
    pub fn retain(&mut self, keep: impl Fn(&mut [u32]) -> usize) {
        let (mut from, mut next) = (0, 0);
        let ends = self.ends.iter().map(|end| {
            let list = from..end;
            from = end;
            let kept = keep(&mut self.values[list.clone()]).min(list.len());
            self.values.copy_within(list.start..list.start + kept, next);
            next += kept;
            next
        });
        self.ends = ends.collect();
        self.values.truncate(next);
        self.values.shrink_to_fit();
    }

    /// For each value below `values` the numbers of the lists that have it, ascending. A list that
    /// has it twice is there twice.
    ///
    /// # Panics
    /// When a value is not below `values`.
    pub fn turned(&self, values: usize) -> Lists {
        let pairs = (0..).zip(self.iter());
        let pairs = pairs.flat_map(|(list, of)| of.iter().map(move |value| (*value, list)));
        Lists::grouped(values, pairs)
    }
}

/// Moves the distinct values of a list to its front, each where it comes first, and returns their
/// number. For short lists: every value is compared with all before it.
pub fn distinct(list: &mut [u32]) -> usize {
    let mut count = 0;
    for i in 0..list.len() {
        if !list[..count].contains(&list[i]) {
            list[count] = list[i];
            count += 1;
        }
    }
    count
}

/// Sorts a list, moves its distinct values to its front, and returns their number.
pub fn sorted(list: &mut [u32]) -> usize {
    list.sort_unstable();
    let mut count = 0;
    for i in 0..list.len() {
        if count == 0 || list[count - 1] != list[i] {
            list[count] = list[i];
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_vectors_of_vectors(pairs in prop::collection::vec((0u32..6, 0u32..5), 0..40)) {
            let mut plain = vec![Vec::new(); 6];
            let mut turned = vec![Vec::new(); 5];
            for (list, value) in &pairs {
                plain[*list as usize].push(*value);
            }
            for (list, of) in (0..).zip(&plain) {
                of.iter().for_each(|value| turned[*value as usize].push(list));
            }
            let lists = Lists::grouped(6, pairs.iter().copied());
            let vectors = |lists: &Lists| lists.iter().map(<[u32]>::to_vec).collect::<Vec<_>>();
            prop_assert_eq!(vectors(&lists), plain.clone());
            prop_assert_eq!(vectors(&lists.turned(5)), turned);
            prop_assert!(lists.of(6).is_empty() && lists.of(usize::MAX).is_empty());

            let mut pushed = Lists::default();
            plain.iter().for_each(|list| pushed.push(list.iter().copied()));
            prop_assert_eq!(&pushed, &lists);

            let mut first = lists.clone();
            first.retain(distinct);
            let mut ascending = lists.clone();
            ascending.retain(sorted);
            let mut short = lists;
            short.retain(|list| if list.len() > 3 { 0 } else { list.len() });
            for (i, list) in plain.iter_mut().enumerate() {
                prop_assert_eq!(short.of(i), if list.len() > 3 { &[][..] } else { &list[..] });
                let mut seen = Vec::new();
                list.iter().for_each(|v| if !seen.contains(v) { seen.push(*v) });
                prop_assert_eq!(first.of(i), &seen[..]);
                list.sort_unstable();
                list.dedup();
                prop_assert_eq!(ascending.of(i), &list[..]);
            }
        }
    }
}
