//! Sets of characters.

/// A set of characters, kept as ranges of code points.
#[derive(Debug, Clone, Default)]
pub(crate) struct CharSet {
    /// One bit for each ASCII character, because nearly every look-up is for one.
    ascii: u128,
    ranges: Box<[(u32, u32)]>,
}

impl CharSet {
    /// The set of all characters in inclusive ranges, which must ascend and not overlap.
    pub(crate) fn new(ranges: &[(u32, u32)]) -> Result<Self, String> {
        let mut previous = None;
        let mut ascii = 0;
        for &(low, high) in ranges {
            if low > high || previous.is_some_and(|p| low <= p) {
                return Err(format!("range {low}-{high} does not ascend"));
            }
            previous = Some(high);
            for code in low..=high.min(127) {
                ascii |= 1 << code;
            }
        }
        Ok(CharSet {
            ascii,
            ranges: ranges.into(),
        })
    }

    /// The set of the given characters.
    pub(crate) fn of(characters: impl IntoIterator<Item = char>) -> Self {
        let mut codes: Vec<u32> = characters.into_iter().map(u32::from).collect();
        codes.sort_unstable();
        codes.dedup();
        let ranges: Vec<(u32, u32)> = codes.into_iter().map(|c| (c, c)).collect();
        CharSet::new(&ranges).unwrap_or_default()
    }

    pub(crate) fn contains(&self, c: char) -> bool {
        let code = u32::from(c);
        if code < 128 {
            return self.ascii >> code & 1 == 1;
        }
        let at = self.ranges.partition_point(|(low, _)| *low <= code);
        at > 0 && code <= self.ranges[at - 1].1
    }

    /// Whether the first character of `text` is in the set.
    pub(crate) fn starts(&self, text: &str) -> bool {
        text.chars().next().is_some_and(|c| self.contains(c))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_set_holds_its_ranges_with_both_ends() {
        let set = CharSet::new(&[(48, 57), (100, 100), (0x3b1, 0x3c9)]).unwrap();
        for (c, held) in [
            ('0', true),
            ('9', true),
            ('/', false),
            (':', false),
            ('d', true),
            ('e', false),
            ('α', true),
            ('ω', true),
            ('ΰ', false),
            ('ϊ', false),
            ('\u{10ffff}', false),
        ] {
            assert_eq!(set.contains(c), held, "{c:?}");
        }
        assert!(!CharSet::default().contains('a'));
        let two = CharSet::of(['z', 'é', 'z']);
        assert!(two.contains('z') && two.contains('é') && !two.contains('y'));
    }

    #[test]
    fn ranges_out_of_order_are_refused() {
        assert!(CharSet::new(&[(5, 4)]).is_err());
        assert!(CharSet::new(&[(1, 4), (4, 9)]).is_err());
    }
}
