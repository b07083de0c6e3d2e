//! Written forms of names, which a file can hold and which are all different.

use std::collections::HashMap;

use crate::lines::is_blank;
use crate::names::Names;

/// A name whose written form differs.
#[derive(Debug, PartialEq)]
pub struct Changed {
    /// Position in the list of names.
    pub row: usize,
    /// The original name.
    pub name: String,
    /// Whether a number was appended to distinguish it from another name.
    pub numbered: bool,
}

/// Replaces each name by a distinct written form. `fit` returns the form of a name that a file
/// cannot hold as it is. Names that need no change keep theirs; the others get a number where their
/// form is taken.
pub fn distinct(names: &mut [String], fit: impl Fn(usize, &str) -> Option<String>) -> Vec<Changed> {
    let mut taken = Names::new(u32::MAX);
    let mut open = Vec::new();
    for (row, name) in names.iter().enumerate() {
        let form = fit(row, name);
        if form.is_none() && taken.find(name).is_none() {
            taken.intern(name);
        } else {
            open.push((row, form.unwrap_or_else(|| name.clone())));
        }
    }
    // The last number tried, so that many equal names do not start over each time.
    let mut tried: HashMap<String, u32> = HashMap::new();
    let mut changed = Vec::with_capacity(open.len());
    for (row, form) in open {
        let mut written = form.clone();
        if taken.find(&form).is_some() {
            let number = tried.entry(form.clone()).or_insert(1);
            while taken.find(&written).is_some() {
                *number += 1;
                written = format!("{form} ({number})");
            }
        }
        taken.intern(&written);
        changed.push(Changed {
            row,
            numbered: written != form,
            name: std::mem::replace(&mut names[row], written),
        });
    }
    changed
}

/// Whether a field of a line of kg.txt is read back unchanged. At the beginning and the end, where
/// the line is stripped, it must not have a blank.
pub fn fits_line(name: &str, at_beginning: bool, at_end: bool) -> bool {
    let stripped = at_beginning && name.starts_with(is_blank) || at_end && name.ends_with(is_blank);
    !(stripped || name.contains(breaks))
}

/// The form of a name that does not fit a line. If no character is left, it is `unnamed`.
pub fn for_line(name: &str) -> String {
    let parts = name.split(|c| is_blank(c) || breaks(c));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        "unnamed".to_owned()
    } else {
        parts.join(" ")
    }
}

/// Whether a character ends a field or a line, or is NUL: a text with NULs looks like another
/// encoding.
fn breaks(c: char) -> bool {
    matches!(c, ',' | '\n' | '\r' | '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_keep_their_form_and_the_others_never_share_one() {
        let given = [
            "b, c", "a", "b c", "b\n c ", "a", "b c (2)", ",", "", "unnamed", "a",
        ];
        let mut names: Vec<String> = given.map(str::to_owned).into();
        let changed = distinct(&mut names, |_, name| {
            (!fits_line(name, true, true)).then(|| for_line(name))
        });
        assert_eq!(
            names,
            [
                "b c (3)",
                "a",
                "b c",
                "b c (4)",
                "a (2)",
                "b c (2)",
                "unnamed (2)",
                "",
                "unnamed",
                "a (3)"
            ]
        );
        let rows: Vec<usize> = changed.iter().map(|c| c.row).collect();
        assert_eq!(rows, [0, 3, 4, 6, 9]);
        for change in &changed {
            assert_eq!(change.name, given[change.row]);
            assert!(change.numbered, "{change:?}");
        }
        let mut one = vec!["x,y".to_owned()];
        let changed = distinct(&mut one, |_, name| Some(for_line(name)));
        assert_eq!((one[0].as_str(), changed[0].numbered), ("x y", false));
    }

    #[test]
    fn blanks_matter_where_the_line_is_stripped() {
        for (name, at_beginning, at_end) in [
            ("a  b", true, true),
            ("", true, true),
            ("\"a\"", true, true),
            (" a", false, true),
            ("a\u{1c}", true, false),
            ("\u{3000}", false, false),
        ] {
            assert_eq!(fits_line(name, true, false), at_beginning, "{name:?}");
            assert_eq!(fits_line(name, false, true), at_end, "{name:?}");
            assert!(fits_line(name, false, false), "{name:?}");
        }
        for name in ["a,b", "a\nb", "a\rb", "a\0b"] {
            assert!(!fits_line(name, false, false));
            assert_eq!(for_line(name), "a b");
        }
        assert_eq!(for_line(" a,\u{2003}\t b\u{85}"), "a b");
    }
}
