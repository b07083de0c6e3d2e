//! When stages ran.

use super::scale::Scale;
use super::{Escaped, Svg, text_width};
use crate::ui::duration;

/// Width of the drawing.
const WIDTH: f64 = 900.0;
/// Height of a row.
const ROW: f64 = 20.0;

/// A stage in time.
#[derive(Debug, Clone)]
pub struct Span {
    /// Stage.
    pub name: String,
    /// How it ended: ran, cached, failed, skipped.
    pub status: &'static str,
    /// Seconds after the start of the run at which it started and ended.
    pub at: (f64, f64),
}

/// One row a stage, in the order given.
pub fn draw(spans: &[Span]) -> String {
    let end = spans.iter().map(|s| s.at.1).fold(0.0, f64::max);
    let longest = spans
        .iter()
        .map(|s| text_width(&s.name))
        .fold(40.0, f64::max);
    let left = longest.min(WIDTH / 3.0) + 12.0;
    let x = Scale::new((0.0, end.max(1e-3)), (left, WIDTH - 90.0));
    let floor = spans.len() as f64 * ROW + 6.0;
    let mut svg = Svg::new(WIDTH, floor + 24.0);
    for t in x.ticks(8) {
        svg.line("grid", (x.at(t), 2.0), (x.at(t), floor));
        svg.text("tick", (x.at(t), floor + 16.0), "middle", &duration(t));
    }
    for (i, s) in spans.iter().enumerate() {
        let y = i as f64 * ROW + 4.0;
        let (from, to) = (x.at(s.at.0), x.at(s.at.1));
        svg.text("name", (left - 8.0, y + 13.0), "end", &s.name);
        // Short stages would not be seen.
        let width = (to - from).max(2.0);
        let took = duration(s.at.1 - s.at.0);
        svg.add(format_args!(
            r#"<rect class="bar {}" x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{:.1}" rx="2"><title>{}: {}, {took}</title></rect>"#,
            s.status,
            ROW - 5.0,
            Escaped(&s.name),
            s.status,
        ));
        let text = match s.status {
            "ran" => took,
            other => other.to_owned(),
        };
        svg.text("tick", (from + width + 5.0, y + 12.0), "start", &text);
    }
    let longest = spans
        .iter()
        .max_by(|a, b| (a.at.1 - a.at.0).total_cmp(&(b.at.1 - b.at.0)));
    let longest = longest.map_or_else(String::new, |s| {
        format!("; longest: {}, {}", s.name, duration(s.at.1 - s.at.0))
    });
    svg.finish(
        "timeline",
        &format!("Stages over {}{longest}", duration(end)),
    )
}
