//! Values with their intervals, and a line for the ceiling.

use super::{Row, Track};
use crate::report::svg::scale::label;

/// A system's row.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// The interval of its value.
    pub interval: Option<(f64, f64)>,
    /// Whether it is highlighted.
    pub main: bool,
}

/// The rows, on a scale from 0 to 1 or narrower if no value goes that far; `ceiling` draws a line
/// through all of them.
pub fn draw(title: &str, bars: &[Bar], ceiling: Option<f64>) -> String {
    let ends = bars.iter().flat_map(|b| {
        let (low, high) = b.interval.unwrap_or((b.value, b.value));
        [low, high]
    });
    let high = ends.chain(ceiling).fold(0.0, f64::max);
    let most = if high > 0.0 { high.min(1.0) } else { 1.0 };
    let track = Track::new(most, 5, label);
    let rows: Vec<Row> = bars
        .iter()
        .map(|b| {
            let class = if b.main { "main" } else { "other" };
            let mut row = Row::new(&b.name, format!("{:.3}", b.value), class);
            if let Some(interval) = b.interval {
                track.stretch(&mut row, "whisker", interval);
            }
            track.mark(&mut row, "point", b.value);
            row
        })
        .collect();
    let said: Vec<String> = bars
        .iter()
        .map(|b| format!("{} {:.3}", b.name, b.value))
        .collect();
    let title = format!("{title}: {}", said.join(", "));
    track.draw("intervals", &title, &rows, ceiling)
}
