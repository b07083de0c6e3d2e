//! A timeline of stages.

use super::{Row, Track};
use crate::ui::duration;

/// When a stage ran.
#[derive(Debug, Clone)]
pub struct Span {
    /// Name of the stage.
    pub name: String,
    /// How it ended: ran, cached, failed, skipped.
    pub status: &'static str,
    /// Seconds after the start of the run at which it started and ended.
    pub at: (f64, f64),
}

/// One row per stage, in the order given.
pub fn draw(spans: &[Span]) -> String {
    let end = spans.iter().map(|s| s.at.1).fold(0.0, f64::max);
    let track = Track::new(end.max(1e-3), 4, duration);
    let rows: Vec<Row> = spans
        .iter()
        .map(|s| {
            let value = match s.status {
                "ran" => duration(s.at.1 - s.at.0),
                other => other.to_owned(),
            };
            let mut row = Row::new(&s.name, value, s.status);
            track.stretch(&mut row, "bar", s.at);
            row
        })
        .collect();
    let longest = spans
        .iter()
        .max_by(|a, b| (a.at.1 - a.at.0).total_cmp(&(b.at.1 - b.at.0)));
    let longest = longest.map_or_else(String::new, |s| {
        format!("; longest: {}, {}", s.name, duration(s.at.1 - s.at.0))
    });
    let title = format!("Stages over {}{longest}", duration(end));
    track.draw("timeline", &title, &rows, None)
}
