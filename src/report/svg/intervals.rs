//! Values with their intervals, one row each, and a mark for what can be reached.

use super::scale::{Scale, label};
use super::{Svg, text_width};

/// Width of a drawing beside its names.
const WIDTH: f64 = 450.0;
/// Height of a row.
const ROW: f64 = 22.0;
/// Room below for the axis.
const BOTTOM: f64 = 30.0;

/// A row.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// Whether it stands out.
    pub main: bool,
}

/// The rows, from 0 to 1 or as far as they go; `ceiling` is a line through all of them.
pub fn draw(title: &str, bars: &[Bar], ceiling: Option<f64>) -> String {
    let left = bars
        .iter()
        .map(|b| text_width(&b.name))
        .fold(60.0, f64::max)
        + 14.0;
    let width = left + WIDTH;
    let height = bars.len() as f64 * ROW + BOTTOM + 6.0;
    let ends = bars.iter().flat_map(|b| {
        let (low, high) = b.interval.unwrap_or((b.value, b.value));
        [low, high]
    });
    let high = ends.chain(ceiling).fold(0.0, f64::max);
    let x = Scale::new(
        (0.0, if high > 0.0 { high.min(1.0) } else { 1.0 }),
        (left, width - 56.0),
    );
    let floor = height - BOTTOM;
    let mut svg = Svg::new(width, height);
    for t in x.ticks(6) {
        svg.line("grid", (x.at(t), 4.0), (x.at(t), floor));
        svg.text("tick", (x.at(t), floor + 16.0), "middle", &label(t));
    }
    if let Some(c) = ceiling {
        svg.line("ceiling", (x.at(c), 2.0), (x.at(c), floor + 2.0));
    }
    for (i, b) in bars.iter().enumerate() {
        let y = i as f64 * ROW + ROW / 2.0 + 4.0;
        let class = if b.main { "main" } else { "other" };
        svg.text(
            &format!("name {class}"),
            (left - 10.0, y + 4.0),
            "end",
            &b.name,
        );
        if let Some((low, high)) = b.interval {
            svg.line(&format!("whisker {class}"), (x.at(low), y), (x.at(high), y));
            for end in [low, high] {
                svg.line(
                    &format!("whisker {class}"),
                    (x.at(end), y - 4.0),
                    (x.at(end), y + 4.0),
                );
            }
        }
        svg.add(format_args!(
            r#"<circle class="point {class}" cx="{:.1}" cy="{y:.1}" r="4.5"/>"#,
            x.at(b.value)
        ));
        svg.text(
            "tick",
            (width - 4.0, y + 4.0),
            "end",
            &format!("{:.3}", b.value),
        );
    }
    let said: Vec<String> = bars
        .iter()
        .map(|b| format!("{} {:.3}", b.name, b.value))
        .collect();
    svg.finish("intervals", &format!("{title}: {}", said.join(", ")))
}
