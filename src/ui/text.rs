//! Formats numbers and tables for people.

use gfm_pipe_api::printable::one_line;

use crate::store::ItemCounts;

/// A count with separators: `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A number of rows: `1 row`, `12,345 rows`.
pub fn rows(n: u64) -> String {
    number(n, "row")
}

/// A number with its noun: `1 stage`, `12,345 stages`.
pub fn number(n: u64, of: &str) -> String {
    format!("{} {of}{}", count(n), if n == 1 { "" } else { "s" })
}

/// How many items of a stage ran: `3 of 12,401 items (2 new, 1 changed)`.
pub fn items(of: &ItemCounts) -> String {
    let parts = [(of.new, "new"), (of.changed, "changed"), (of.gone, "gone")];
    let parts = parts.iter().filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts
        .map(|(n, what)| format!("{} {what}", count(*n)))
        .collect();
    let of_all = format!("{} of {}", count(of.computed), number(of.total, "item"));
    if parts.is_empty() {
        return of_all;
    }
    format!("{of_all} ({})", parts.join(", "))
}

/// A size in bytes: `12.3 MB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    if n < 1000 {
        return format!("{n} B");
    }
    // Only three digits are shown, so the loss of precision does not matter.
    #[expect(clippy::cast_precision_loss)]
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A duration: `0.42 s`, `3 min 07 s`, `2 h 05 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 99.995 {
        return format!("{seconds:.2} s");
    }
    // The conversion saturates for a negative or absurdly long time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let s = seconds.round() as u64;
    if s < 3600 {
        format!("{} min {:02} s", s / 60, s % 60)
    } else {
        format!("{} h {:02} min", s / 3600, s / 60 % 60)
    }
}

/// Reasons on one line; if there are very many, only the first ones.
pub fn reasons(all: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut out = all[..all.len().min(SHOWN)].join(", ");
    if all.len() > SHOWN {
        out.push_str(&format!(" and {} more", all.len() - SHOWN));
    }
    // Reasons name files, whose names may contain line breaks.
    one_line(&out).into_owned()
}

/// The lines of a table. The first row is the header; the first `left` columns are aligned left,
/// the rest right. Cells are escaped here, each to one line, because their width counts.
pub fn table(rows: &[Vec<String>], left: usize) -> Vec<String> {
    let shown = |row: &Vec<String>| row.iter().map(|c| one_line(c).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        let cells = rows.iter().filter_map(|r| r.get(c));
        cells.map(|s| s.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .enumerate()
                .map(|(c, cell)| {
                    let fill = " ".repeat(widths[c] - cell.chars().count());
                    if c < left {
                        format!("{cell}{fill}")
                    } else {
                        format!("{fill}{cell}")
                    }
                })
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_in_one_line() {
        let counts = |new, changed, gone| ItemCounts {
            total: 12_401,
            computed: 3,
            new,
            changed,
            gone,
            before: None,
        };
        assert_eq!(items(&counts(0, 0, 0)), "3 of 12,401 items");
        assert_eq!(
            items(&counts(2, 1, 0)),
            "3 of 12,401 items (2 new, 1 changed)"
        );
        assert_eq!(
            items(&counts(0, 0, 1_000)),
            "3 of 12,401 items (1,000 gone)"
        );
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 999, 1000, 999_949, 999_950, 5_300_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "5.3 GB"]
        );
        assert_eq!(
            [0.004, 99.99, 100.0, 3599.6, 7500.0].map(duration),
            [
                "0.00 s",
                "99.99 s",
                "1 min 40 s",
                "1 h 00 min",
                "2 h 05 min"
            ]
        );
    }

    #[test]
    fn many_reasons_are_cut() {
        let all: Vec<String> = (0..8).map(|i| format!("r{i}")).collect();
        assert_eq!(reasons(&all[..2]), "r0, r1");
        assert_eq!(reasons(&all), "r0, r1, r2, r3, r4, r5 and 2 more");
        assert_eq!(reasons(&[]), "");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [["system", "mrr"], ["modèle", "0.5"], ["x", "10.25"]];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|r| r.iter().map(|s| (*s).to_owned()).collect())
            .collect();
        assert_eq!(
            table(&rows, 1),
            ["system    mrr", "modèle    0.5", "x       10.25"]
        );
        let hostile = [vec!["a\u{1b}[2J\n".to_owned(), "b".to_owned()]];
        assert_eq!(table(&hostile, 2), ["a\\u001b[2J\\n  b"]);
    }
}
