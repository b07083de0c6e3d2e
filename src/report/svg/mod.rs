//! Drawings as SVG text, to be put into a page.
//!
//! Colours are classes of the page's style sheet, so that a drawing works in light mode, dark mode
//! and print. Whatever a colour says is also said by a shape, a dash or a word. Every drawing has a
//! title for screen readers.

pub mod curves;
pub mod dag;
pub mod scale;

use std::fmt::{self, Write as _};

/// A text escaped for XML.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // XML has no character reference for these.
                c if c.is_control() && c != '\t' => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A drawing being built.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    /// An empty drawing of this size in CSS pixels.
    pub fn new(width: f64, height: f64) -> Self {
        Svg {
            body: String::new(),
            width,
            height,
        }
    }

    /// Adds elements.
    pub fn add(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
    }

    /// Adds a line.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.add(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// Adds a text; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = Escaped(text);
        self.add(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// The finished drawing. Screen readers read out `title` in its place, or before its links if
    /// it has any.
    pub fn finish(self, class: &str, title: &str) -> String {
        // Screen readers cannot reach links inside an image.
        let role = if self.body.contains("<a ") {
            "group"
        } else {
            "img"
        };
        let Svg {
            body,
            width,
            height,
        } = self;
        let title = Escaped(title);
        format!(
            r#"<svg class="{class}" role="{role}" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" xmlns="http://www.w3.org/2000/svg"><title>{title}</title>{body}</svg>"#
        )
    }
}

/// The approximate width of a text in the page's small font, in pixels. Fonts differ between
/// browsers, so boxes leave room.
pub fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 7.2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_element() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text("a", (0.0, 0.0), "start", "<b> & \"c\"\u{0}");
        let text = svg.finish("x", "</title>");
        assert!(
            text.contains(r#">&lt;b&gt; &amp; &quot;c&quot; </text>"#),
            "{text}"
        );
        assert!(text.contains("<title>&lt;/title&gt;</title>"), "{text}");
    }
}
