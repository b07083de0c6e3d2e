//! A text without what stands in brackets.

use std::ops::Range;

/// A text without what stands in brackets, which knows where its parts come from.
pub struct Plain {
    pub text: String,
    /// Byte ranges of the given text that were left out, ascending.
    left_out: Vec<Range<usize>>,
}

impl Plain {
    pub fn new(given: &str) -> Plain {
        let mut left_out: Vec<Range<usize>> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for (at, letter) in given.char_indices() {
            match letter {
                '(' => open.push(at),
                ')' => {
                    if let Some(start) = open.pop() {
                        let blanks = given[..start].len() - given[..start].trim_end().len();
                        // An outer pair contains the inner ones before it.
                        left_out.retain(|r| r.start < start);
                        left_out.push(start - blanks..at + 1);
                    }
                }
                // A bracket that is never closed leaves nothing out.
                '\n' => open.clear(),
                _ => (),
            }
        }
        let mut text = String::with_capacity(given.len());
        let mut from = 0;
        for range in &left_out {
            text.push_str(&given[from..range.start]);
            from = range.end;
        }
        text.push_str(&given[from..]);
        Plain { text, left_out }
    }

    /// Where a byte range of the given text is. `None` where some of it was left out.
    pub fn place(&self, given: &Range<usize>) -> Option<Range<usize>> {
        let mut gone = 0;
        for range in &self.left_out {
            if range.start < given.end && given.start < range.end {
                return None;
            }
            if range.end <= given.start {
                gone += range.len();
            }
        }
        let place = given.start - gone..given.end - gone;
        (place.end <= self.text.len()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_left_out_with_the_blanks_before_them() {
        let given = "Ada (born (as Eda) 1920) wrote :) and ( on.";
        let plain = Plain::new(given);
        assert_eq!(plain.text, "Ada wrote :) and ( on.");
        let at = given.find("wrote").unwrap_or_default();
        let place = plain.place(&(at..at + 5)).map(|r| &plain.text[r]);
        assert_eq!(place, Some("wrote"));
        assert_eq!(plain.place(&(5..9)), None);
        assert_eq!(Plain::new("(").text, "(");
    }
}
