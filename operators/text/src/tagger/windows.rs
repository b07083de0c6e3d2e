//! Divides a long text into windows, which go through the network separately.

use std::ops::Range;

/// A range of a text's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// Tokens that the network sees.
    pub(super) seen: Range<usize>,
    /// The tokens among them whose labels are taken from this window.
    pub(super) decided: Range<usize>,
}

/// Divides tokens into windows of at most `room` tokens. Adjacent windows share a quarter. Of the
/// shared tokens, each window decides the half that is farther from its edge, so that every token
/// has context on both sides.
pub(super) fn windows(tokens: usize, room: usize) -> Vec<Window> {
    let step = room - room / 4;
    let mut out: Vec<Window> = Vec::new();
    let mut start = 0;
    let mut decided = 0;
    while decided < tokens {
        let end = tokens.min(start + room);
        let next = start + step;
        let until = if end == tokens {
            tokens
        } else {
            (next + end) / 2
        };
        out.push(Window {
            seen: start..end,
            decided: decided..until,
        });
        (start, decided) = (next, until);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_share_a_quarter() {
        let cut = |tokens, room| -> Vec<[usize; 4]> {
            let all = windows(tokens, room).into_iter();
            all.map(|w| [w.seen.start, w.seen.end, w.decided.start, w.decided.end])
                .collect()
        };
        assert_eq!(cut(0, 8), [[0; 4]; 0]);
        assert_eq!(cut(8, 8), [[0, 8, 0, 8]]);
        assert_eq!(cut(9, 8), [[0, 8, 0, 7], [6, 9, 7, 9]]);
        assert_eq!(cut(20, 8), [[0, 8, 0, 7], [6, 14, 7, 13], [12, 20, 13, 20]]);
    }

    proptest! {
        #[test]
        fn every_token_is_decided_once_by_a_window_that_sees_it(tokens in 0_usize..300, room in 1_usize..40) {
            let mut next = 0;
            for window in windows(tokens, room) {
                prop_assert_eq!(window.decided.start, next);
                prop_assert!(window.decided.start < window.decided.end);
                prop_assert!(window.seen.len() <= room);
                prop_assert!(window.seen.start <= next && window.decided.end <= window.seen.end);
                next = window.decided.end;
            }
            prop_assert_eq!(next, tokens);
        }
    }
}
