//! Numbers of things, one row each.

use super::scale::{Scale, label};
use super::{Svg, text_width};
use crate::ui::count;

/// Width of a drawing.
const WIDTH: f64 = 540.0;
/// Height of a row.
const ROW: f64 = 20.0;
/// Room below for the axis.
const BOTTOM: f64 = 26.0;
/// Characters of a name that are shown.
const NAME: usize = 34;

/// The rows in the order given, bars from 0.
pub fn draw(title: &str, rows: &[(String, u64)]) -> String {
    let names: Vec<String> = rows.iter().map(|(name, _)| shortened(name)).collect();
    let left = names.iter().map(|n| text_width(n)).fold(30.0, f64::max) + 10.0;
    let most = rows.iter().map(|r| r.1).max().unwrap_or(0);
    let x = Scale::new((0.0, most.max(1) as f64), (left, WIDTH - 60.0));
    let floor = rows.len() as f64 * ROW + 4.0;
    let mut svg = Svg::new(WIDTH, floor + BOTTOM);
    for t in x.ticks(4) {
        svg.line("grid", (x.at(t), 2.0), (x.at(t), floor));
        svg.text("tick", (x.at(t), floor + 15.0), "middle", &label(t));
    }
    for (i, ((_, value), name)) in rows.iter().zip(&names).enumerate() {
        let y = i as f64 * ROW + 4.0;
        let to = x.at(*value as f64);
        svg.text("name", (left - 6.0, y + 12.0), "end", name);
        svg.add(format_args!(
            r#"<rect class="bar ran" x="{left:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"/>"#,
            (to - left).max(1.0),
            ROW - 6.0
        ));
        svg.text("tick", (to + 5.0, y + 11.0), "start", &count(*value));
    }
    let said: Vec<String> = rows
        .iter()
        .map(|(name, n)| format!("{name} {}", count(*n)))
        .collect();
    svg.finish("bars", &format!("{title}: {}", said.join(", ")))
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    let start: String = name.chars().take(NAME - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_said_whole() {
        let long = "ü".repeat(80);
        let text = draw("relations", &[(long.clone(), 3), ("b".to_owned(), 0)]);
        assert!(
            text.contains(&format!("{}…</text>", "ü".repeat(33))),
            "{text}"
        );
        assert!(
            text.contains(&format!("relations: {long} 3, b 0")),
            "{text}"
        );
        assert!(draw("nothing", &[]).starts_with("<svg"));
    }
}
