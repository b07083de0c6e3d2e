//! Where consecutive pieces of a buffer end.

use std::ops::Range;

/// The ends of pieces that lie end to end in a buffer, ascending. They take 4 bytes each while the
/// buffer is not longer than 32 bits can count, and 8 in a longer one.
#[derive(Debug, Clone)]
pub struct Ends(Kept);

#[derive(Debug, Clone)]
enum Kept {
    Short(Vec<u32>),
    Long(Vec<usize>),
}

impl Default for Ends {
    fn default() -> Self {
        Ends(Kept::Short(Vec::new()))
    }
}

impl PartialEq for Ends {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Ends {}

impl FromIterator<usize> for Ends {
    fn from_iter<I: IntoIterator<Item = usize>>(ends: I) -> Self {
        let ends = ends.into_iter();
        let mut out = Ends(Kept::Short(Vec::with_capacity(ends.size_hint().0)));
        ends.for_each(|end| out.push(end));
        out
    }
}

impl Ends {
    /// Adds the end of the next piece.
    pub fn push(&mut self, end: usize) {
        match (&mut self.0, u32::try_from(end)) {
            (Kept::Short(ends), Ok(end)) => ends.push(end),
            (Kept::Long(ends), _) => ends.push(end),
            (Kept::Short(_), Err(_)) => {
                self.0 = Kept::Long(self.iter().chain([end]).collect());
            }
        }
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Short(ends) => ends.len(),
            Kept::Long(ends) => ends.len(),
        }
    }

    /// Whether there is no piece.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a piece is, if there is one of this number.
    pub fn get(&self, piece: usize) -> Option<Range<usize>> {
        (piece < self.len()).then(|| self.range(piece))
    }

    /// Where a piece is.
    ///
    /// # Panics
    /// When there is no piece with this number.
    pub fn range(&self, piece: usize) -> Range<usize> {
        let from = match piece {
            0 => 0,
            _ => self.end(piece - 1),
        };
        from..self.end(piece)
    }

    fn end(&self, piece: usize) -> usize {
        match &self.0 {
            Kept::Short(ends) => ends[piece] as usize,
            Kept::Long(ends) => ends[piece],
        }
    }

    /// The ends of all pieces.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).map(|piece| self.end(piece))
    }

    /// Releases the memory that was reserved for more pieces.
    pub fn shrink(&mut self) {
        match &mut self.0 {
            Kept::Short(ends) => ends.shrink_to_fit(),
            Kept::Long(ends) => ends.shrink_to_fit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_beyond_32_bits_are_kept_as_well() {
        let long = u32::MAX as usize + 7;
        let mut ends: Ends = [0, 3, 3].into_iter().collect();
        assert!(matches!(ends.0, Kept::Short(_)));
        let short = ends.clone();
        ends.push(u32::MAX as usize);
        ends.push(long);
        assert!(matches!(ends.0, Kept::Long(_)));
        ends.push(long + 1);
        let ranges: Vec<_> = (0..7).map(|piece| ends.get(piece)).collect();
        let last = u32::MAX as usize;
        let want = [0..0, 0..3, 3..3, 3..last, last..long, long..long + 1];
        let want: Vec<_> = want.into_iter().map(Some).chain([None]).collect();
        assert_eq!(ranges, want);
        assert_eq!((ends.len(), ends.get(usize::MAX)), (6, None));
        // The same ends are equal however they are kept.
        assert_eq!(short, Ends(Kept::Long(vec![0, 3, 3])));
        assert_ne!(short, ends);
        assert!(Ends::default().is_empty());
    }
}
