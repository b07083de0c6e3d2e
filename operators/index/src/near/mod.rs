//! Nearest-neighbour search among unit vectors, for names and for questions.
//!
//! `nearest.rs` has the exact search among vectors as they are, `in_table.rs` the search in a table
//! whose vectors may be coded.

pub mod in_table;
pub mod nearest;

/// The digits of a name. "1990 Cup" and "1994 Cup" are different things, however near they are.
pub fn digits(name: &str) -> String {
    name.chars().filter(|c| c.is_numeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn digits_of_all_scripts_count() {
        assert_eq!(digits("Cup 1990 (x2)"), "19902");
        assert_eq!(digits("٣ and 3"), "٣3");
        assert_eq!(digits("none"), "");
    }
}
