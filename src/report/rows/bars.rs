//! Bar charts of counts.

use super::{Row, Track};
use crate::report::svg::scale::label;
use crate::ui::count;

/// One bar per row, in the order given, starting at 0.
pub fn draw(title: &str, rows: &[(String, u64)]) -> String {
    let most = rows.iter().map(|r| r.1).max().unwrap_or(0);
    let track = Track::new(most.max(1) as f64, 4, label);
    let drawn: Vec<Row> = rows
        .iter()
        .map(|(name, n)| {
            let mut row = Row::new(name, count(*n), "ran");
            track.stretch(&mut row, "bar", (0.0, *n as f64));
            row
        })
        .collect();
    let said: Vec<String> = rows
        .iter()
        .map(|(name, n)| format!("{name} {}", count(*n)))
        .collect();
    track.draw(
        "bars",
        &format!("{title}: {}", said.join(", ")),
        &drawn,
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_and_drawn() {
        let html = draw("relations", &[("a".to_owned(), 1200), ("b".to_owned(), 0)]);
        assert!(html.contains("relations: a 1,200, b 0"), "{html}");
        assert!(html.contains("width:100.00%") && html.contains("width:0.00%"));
        assert!(draw("nothing", &[]).starts_with("<div"));
    }
}
