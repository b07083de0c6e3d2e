//! Drawings with one row per item: its name, a track with marks, its value.
//!
//! They are elements of the page, not pictures: tracks take the available width, while names and
//! numbers keep their size, even on a phone. Marks are drawn as borders, because borders are
//! printed and stay visible in forced colours.

pub mod bars;
pub mod intervals;
pub mod timeline;

use std::fmt::Write as _;

use super::svg::Escaped;
use super::svg::scale::Scale;

/// A row.
pub struct Row {
    /// Its name.
    pub name: String,
    /// The text after its track.
    pub value: String,
    /// CSS class of the row, which determines its colours.
    pub class: &'static str,
    /// The marks drawn in its track, as HTML.
    marks: String,
}

impl Row {
    /// A row without marks.
    pub fn new(name: &str, value: String, class: &'static str) -> Self {
        Row {
            name: name.to_owned(),
            value,
            class,
            marks: String::new(),
        }
    }
}

/// Maps numbers to positions in the tracks.
pub struct Track {
    scale: Scale,
    ticks: Vec<(f64, String)>,
}

impl Track {
    /// Tracks from 0 to `most`, with about `wanted` ticks.
    pub fn new(most: f64, wanted: usize, label: fn(f64) -> String) -> Self {
        let scale = Scale::new((0.0, most), (0.0, 100.0));
        let ticks = scale.ticks(wanted);
        let ticks = ticks.into_iter().map(|t| (scale.at(t), label(t)));
        Track {
            ticks: ticks.collect(),
            scale,
        }
    }

    /// The position of a number, in per cent of a track.
    fn at(&self, x: f64) -> f64 {
        self.scale.at(x).clamp(0.0, 100.0)
    }

    /// Adds a mark at a number.
    pub fn mark(&self, row: &mut Row, class: &str, x: f64) {
        // Writing to a String cannot fail.
        let _ = write!(
            row.marks,
            r#"<i class="{class}" style="left:{:.2}%"></i>"#,
            self.at(x)
        );
    }

    /// Adds a mark over a range.
    pub fn stretch(&self, row: &mut Row, class: &str, (from, to): (f64, f64)) {
        let (from, to) = (self.at(from), self.at(to));
        let _ = write!(
            row.marks,
            r#"<i class="{class}" style="left:{from:.2}%;width:{:.2}%"></i>"#,
            (to - from).max(0.0)
        );
    }

    /// The drawing. `title` is read out in its place by screen readers; `line` is a number that is
    /// marked in all tracks.
    pub fn draw(&self, kind: &str, title: &str, rows: &[Row], line: Option<f64>) -> String {
        let title = Escaped(title);
        let mut out = format!(r#"<div class="rows {kind}" role="img" aria-label="{title}">"#);
        let grid = self
            .ticks
            .iter()
            .map(|(at, _)| format!(r#"<i class="grid" style="left:{at:.2}%"></i>"#));
        let grid: String = grid.collect();
        let line = line.map_or_else(String::new, |x| {
            format!(r#"<i class="line" style="left:{:.2}%"></i>"#, self.at(x))
        });
        for r in rows {
            let (name, value) = (Escaped(&r.name), Escaped(&r.value));
            let _ = write!(
                out,
                r#"<div class="row {}"><span class="name">{name}</span><span class="track">{grid}{line}{}</span><span class="value">{value}</span></div>"#,
                r.class, r.marks
            );
        }
        out.push_str(r#"<div class="row axis"><span class="track">"#);
        for (at, label) in &self.ticks {
            let _ = write!(
                out,
                r#"<span style="left:{at:.2}%">{}</span>"#,
                Escaped(label)
            );
        }
        out.push_str("</span></div></div>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_in_their_tracks_and_texts_in_their_elements() {
        let track = Track::new(2.0, 4, |x| format!("{x}"));
        let mut row = Row::new("<b> & \"c\"", "1".to_owned(), "main");
        track.mark(&mut row, "point", 1.0);
        track.mark(&mut row, "point", 7.0);
        track.stretch(&mut row, "bar", (-1.0, 0.5));
        let html = track.draw("k", "a \"title\"", &[row], Some(1.5));
        for want in [
            r#"aria-label="a &quot;title&quot;""#,
            "<span class=\"name\">&lt;b&gt; &amp; &quot;c&quot;</span>",
            r#"<i class="point" style="left:50.00%">"#,
            r#"<i class="point" style="left:100.00%">"#,
            r#"<i class="bar" style="left:0.00%;width:25.00%">"#,
            r#"<i class="line" style="left:75.00%">"#,
        ] {
            assert!(html.contains(want), "{want}: {html}");
        }
    }
}
