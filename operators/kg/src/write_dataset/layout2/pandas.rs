//! How the Python package of GFM-RAG 2.0 reads a column of a CSV file: with pandas, which guesses
//! types from what a column holds. A column of numbers is read as numbers, so that `007` becomes 7
//! and a name is not found again. Quotation marks do not prevent it.

/// What a cell looks like to pandas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A whole number of 64 bits, from 0 on.
    Whole,
    /// A negative whole number of 64 bits.
    Negative,
    /// A whole number that fits only where there is no sign.
    Unsigned,
    /// A whole number of more than 64 bits.
    Huge,
    /// A number with a point or an exponent, or infinity.
    Float,
    /// `True`, `false`.
    Truth,
    /// Anything else.
    Text,
}

/// Names that stand for missing values where a file is read with pandas' defaults, as the package's
/// `GraphIndexDatasetV1` reads edges.csv.
pub const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Finds out what a cell looks like.
pub fn look(cell: &str) -> Look {
    if ["True", "TRUE", "true", "False", "FALSE", "false"].contains(&cell) {
        return Look::Truth;
    }
    let word = unsigned(cell);
    if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("infinity") {
        return Look::Float;
    }
    let blank = |c: char| matches!(c, ' ' | '\t'..='\r');
    let number = cell.trim_matches(blank);
    let digits = unsigned(number);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return if number.parse::<i64>().is_ok() {
            if number.starts_with('-') {
                Look::Negative
            } else {
                Look::Whole
            }
        } else if number.parse::<u64>().is_ok() {
            Look::Unsigned
        } else {
            Look::Huge
        };
    }
    let known = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let float = number.chars().all(known) && digits.starts_with(|c: char| c != '+' && c != '-');
    match number.parse::<f64>() {
        Ok(x) if float && x.is_finite() => Look::Float,
        _ => Look::Text,
    }
}

/// A number without its sign.
fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

/// What pandas takes a column for, if not for texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Misread {
    /// In words.
    pub what: &'static str,
    /// The rows, counted from one, in which nothing else is.
    pub rows: [usize; 2],
}

/// Finds the first piece of a column that pandas does not read as texts. Types are guessed piece by
/// piece, and a piece is shorter in a file of more `columns`.
pub fn misread(column: &[Look], columns: usize) -> Option<Misread> {
    let size = piece(columns);
    let all = column.chunks(size).enumerate();
    let mut wrong = all.filter_map(|(i, part)| {
        let from = i * size;
        Some(Misread {
            what: guess(part)?,
            rows: [from + 1, from + part.len()],
        })
    });
    wrong.next()
}

/// The number of rows that pandas reads at once.
fn piece(columns: usize) -> usize {
    let most = (1 << 20) / columns.max(1);
    let mut rows = 1;
    while rows * 2 < most {
        rows *= 2;
    }
    rows
}

fn guess(part: &[Look]) -> Option<&'static str> {
    let all = |looks: &[Look]| part.iter().all(|look| looks.contains(look));
    if all(&[Look::Truth]) {
        return Some("truth values");
    }
    if part.contains(&Look::Text) || part.contains(&Look::Truth) {
        return None;
    }
    // What does not fit 64 bits with a sign decides how all others are read.
    let first = part
        .iter()
        .find(|look| !matches!(look, Look::Whole | Look::Negative));
    let numbers = match first {
        None | Some(Look::Float) => true,
        Some(Look::Unsigned) => all(&[Look::Whole, Look::Unsigned]),
        Some(_) => false,
    };
    numbers.then_some("numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As pandas 2.2.3 reads them.
    #[test]
    fn columns_are_taken_for_what_pandas_takes_them_for() {
        let numbers = Some("numbers");
        for (cells, want) in [
            (&["1", "2"][..], numbers),
            (&["007", "-1"], numbers),
            (&["1", "99999999999999999999"], None),
            (&["99999999999999999999", "1.5"], None),
            (&["1.5", "99999999999999999999"], numbers),
            (&["18446744073709551615", "1"], numbers),
            (&["18446744073709551615", "-1"], None),
            (&["18446744073709551615", "1.5"], None),
            (&["1", "inf"], numbers),
            (&["inf", "Infinity", "-INF"], numbers),
            (&["1", " inf"], None),
            (&["nan", "1"], None),
            (&["1e5", ".5", "1."], numbers),
            (&["1E-3", "+1e+5 "], numbers),
            (&["1", "."], None),
            (&["1", "1e"], None),
            (&["+5", " 6 ", "\t7", "1\u{b}"], numbers),
            (&["1_0", "2"], None),
            (&["0x10", "2"], None),
            (&["1e400", "2"], None),
            (&["--1", "2"], None),
            (&["- 1", "2"], None),
            (&["+", "2"], None),
            (&["\u{661}", "2"], None),
            (&["1\u{a0}", "2"], None),
            (&["", "1"], None),
            (&["1.5.2", "1"], None),
            (&["True", "false"], Some("truth values")),
            (&["True", "1"], None),
            (&[" True", "true"], None),
            (&["True", "yes"], None),
        ] {
            let looks: Vec<Look> = cells.iter().map(|cell| look(cell)).collect();
            assert_eq!(misread(&looks, 3).map(|m| m.what), want, "{cells:?}");
        }
        assert_eq!(misread(&[], 3), None);
    }

    #[test]
    fn a_long_column_is_read_in_pieces() {
        assert_eq!([2, 3, 4].map(piece), [262_144, 262_144, 131_072]);
        let mut column = vec![Look::Whole; 200_000];
        column[0] = Look::Text;
        assert_eq!(misread(&column, 3), None);
        let found = misread(&column, 4).map(|m| m.rows);
        assert_eq!(found, Some([131_073, 200_000]));
    }
}
