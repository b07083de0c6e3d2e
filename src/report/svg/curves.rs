//! Lines over steps: losses and validation metrics.

use std::fmt::Write as _;

use super::scale::{Scale, label};
use super::{Svg, text_width};

/// Width and height of the drawing without its legend, in pixels: about the width of a phone, so
/// that it is hardly scaled down there.
const SIZE: (f64, f64) = (440.0, 210.0);
/// Space for labels: left, right, top, bottom.
const ROOM: (f64, f64, f64, f64) = (56.0, 14.0, 8.0, 38.0);
/// Height of a row of the legend, in pixels.
const KEY: f64 = 17.0;
/// Maximum number of points drawn per line: more than there are pixels could not be seen.
const MOST: usize = 1200;
/// Number of line styles in the style sheet.
const STYLES: usize = 6;

/// A line.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points by increasing x; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// Draws lines in one chart, with a legend if there are several.
pub fn draw(title: &str, x_label: &str, series: &[Series]) -> String {
    let finite = |s: &Series| -> Vec<(f64, f64)> {
        let points = s.points.iter().copied();
        points
            .filter(|p| p.0.is_finite() && p.1.is_finite())
            .collect()
    };
    let lines: Vec<Vec<(f64, f64)>> = series.iter().map(finite).collect();
    let range = |of: fn(&(f64, f64)) -> f64| {
        let all = lines.iter().flatten().map(of);
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let (left, right, top, bottom) = ROOM;
    let (keys, rows) = legend(series);
    let top = top + rows as f64 * KEY;
    let height = SIZE.1 + rows as f64 * KEY;
    let x = Scale::new(range(|p| p.0), (left, SIZE.0 - right));
    let y = Scale::new(range(|p| p.1), (height - bottom, top));
    let mut svg = Svg::new(SIZE.0, height);
    for t in y.ticks(5) {
        svg.line("grid", (left, y.at(t)), (SIZE.0 - right, y.at(t)));
        svg.text("tick", (left - 6.0, y.at(t) + 4.0), "end", &label(t));
    }
    for t in x.ticks(6) {
        let at = (x.at(t), height - bottom + 16.0);
        svg.text("tick", at, "middle", &label(t));
    }
    svg.text("tick", (SIZE.0 - right, height - 6.0), "end", x_label);
    for (i, points) in lines.iter().enumerate() {
        let style = i % STYLES;
        let points = thinned(points);
        let mut path = String::new();
        for (a, b) in &points {
            let _ = write!(path, "{:.1},{:.1} ", x.at(*a), y.at(*b));
        }
        match points.as_slice() {
            // A single point is drawn as a dot.
            [(a, b)] => svg.add(format_args!(
                r#"<circle class="dot c{style}" cx="{:.1}" cy="{:.1}" r="3.5"/>"#,
                x.at(*a),
                y.at(*b)
            )),
            _ => svg.add(format_args!(
                r#"<polyline class="curve c{style}" points="{}"/>"#,
                path.trim_end()
            )),
        }
    }
    for (i, (s, (key_x, key_y))) in series.iter().zip(keys).enumerate() {
        let class = format!("curve c{}", i % STYLES);
        svg.line(&class, (key_x, key_y), (key_x + 22.0, key_y));
        svg.text("tick", (key_x + 27.0, key_y + 4.0), "start", &s.name);
    }
    let ends: Vec<String> = series
        .iter()
        .zip(&lines)
        .filter_map(|(s, l)| {
            let (first, last) = (l.first()?, l.last()?);
            Some(format!("{}: from {:.4} to {:.4}", s.name, first.1, last.1))
        })
        .collect();
    svg.finish("curves", &format!("{title}. {}", ends.join("; ")))
}

/// Positions of the names in the legend, and the number of rows they take; a single line needs no
/// legend.
fn legend(series: &[Series]) -> (Vec<(f64, f64)>, usize) {
    if series.len() < 2 {
        return (Vec::new(), 0);
    }
    let (left, right, ..) = ROOM;
    let (mut x, mut row) = (left, 0);
    let mut places = Vec::new();
    for s in series {
        let width = 44.0 + text_width(&s.name);
        if x > left && x + width > SIZE.0 - right {
            (x, row) = (left, row + 1);
        }
        places.push((x, 9.0 + row as f64 * KEY));
        x += width;
    }
    (places, row + 1)
}

/// The points; if there are too many, the lowest and highest of each stretch, so that peaks stay.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST / 2);
    points
        .chunks(stretch)
        .flat_map(|c| {
            let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let mut ends: Vec<(f64, f64)> = c
                .iter()
                .min_by(by)
                .into_iter()
                .chain(c.iter().max_by(by))
                .copied()
                .collect();
            ends.sort_by(|a, b| a.0.total_cmp(&b.0));
            ends.dedup();
            ends
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_survive_thinning() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 0.5)).collect();
        points[777].1 = 9.0;
        points[5_001].1 = -9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= MOST);
        assert!(thin.contains(&(777.0, 9.0)) && thin.contains(&(5_001.0, -9.0)));
        assert!(thin.windows(2).all(|w| w[0].0 <= w[1].0));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let of = |points| Series {
            name: "loss".to_owned(),
            points,
        };
        let text = draw(
            "t",
            "step",
            &[of(vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)])],
        );
        assert!(!text.contains("NaN"), "{text}");
        assert!(text.contains("loss: from 1.0000 to 3.0000"));
        for odd in [vec![], vec![(1.0, 2.0)], vec![(1.0, f64::INFINITY)]] {
            let text = draw("t", "step", &[of(odd)]);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
