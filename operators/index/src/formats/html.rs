//! Converts HTML to plain text, in one pass over its tokens.
//!
//! The text does not need a tree, and without one a page may be nested to any depth. Elements that
//! readers do not see (scripts, styles, navigation) are left out, unless they are never closed:
//! then the rest of the page would be lost with them.

use encoding_rs::Encoding;
use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};

use super::Plain;
use crate::titles::one_line;

/// Elements whose content is not part of the text.
const SKIPPED: &[&str] = &[
    "script", "style", "template", "noscript", "nav", "svg", "math", "iframe", "object", "canvas",
    "noframes", "noembed",
];
/// Elements with an empty line before and after them.
const PARAGRAPHS: &[&str] = &[
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "dl",
    "table",
    "blockquote",
    "pre",
    "section",
    "article",
    "main",
    "figure",
    "hr",
    "address",
    "details",
];
/// Elements with a line of their own.
const LINES: &[&str] = &[
    "div",
    "li",
    "tr",
    "dt",
    "dd",
    "br",
    "header",
    "footer",
    "aside",
    "form",
    "fieldset",
    "figcaption",
    "caption",
    "summary",
    "option",
    "legend",
    "body",
    "head",
    "html",
    "thead",
    "tbody",
    "tfoot",
];
/// Bytes at the beginning of a page that are searched for its encoding, as in browsers.
const PRESCAN: usize = 1024;

/// A page as plain text.
#[derive(Debug, Default)]
pub struct Page {
    /// The first `h1`, else the title, else the first heading.
    pub title: Option<String>,
    /// The text, without an `h1` that is the title and comes first.
    pub plain: Plain,
}

/// The encoding that a page declares.
pub fn encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(PRESCAN)].to_ascii_lowercase();
    let at = head.windows(7).position(|w| w == b"charset")?;
    let rest = head[at + 7..]
        .trim_ascii_start()
        .strip_prefix(b"=")?
        .trim_ascii_start();
    let label: Vec<u8> = rest
        .iter()
        .copied()
        .skip_while(|b| matches!(b, b'"' | b'\''))
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.'))
        .collect();
    let encoding = Encoding::for_label(&label)?;
    // The declaration was read as ASCII, so the page is not in a two-byte encoding.
    Some(encoding).filter(|e| e.is_ascii_compatible())
}

/// Reads a page.
pub fn read(text: &str) -> Page {
    let mut skipped = SKIPPED.to_vec();
    loop {
        let mut reader = Reader::default();
        let mut emitter = DefaultEmitter::new_with_span();
        emitter.naively_switch_states(true);
        for Ok(token) in Tokenizer::new_with_emitter(text, emitter) {
            reader.token(token, &skipped);
        }
        match reader.skipping {
            // The element is never closed: the page is read again with its content.
            Some((name, _)) => skipped.retain(|s| *s != name),
            None => return reader.page(),
        }
    }
}

#[derive(Default)]
struct Reader {
    plain: Plain,
    /// The element that is being skipped, and how many of its name are open.
    skipping: Option<(&'static str, usize)>,
    /// Number of open `pre` elements.
    verbatim: usize,
    in_title: bool,
    title: Option<String>,
    /// The level of the open heading, and where it begins in the text and in the runs.
    heading: Option<(u8, usize, usize)>,
    first_h1: Option<String>,
    first_other: Option<String>,
}

impl Reader {
    fn page(self) -> Page {
        Page {
            title: self.first_h1.or(self.title).or(self.first_other),
            plain: self.plain,
        }
    }

    fn token(&mut self, token: Token<usize>, skipped: &[&'static str]) {
        match token {
            Token::StartTag(tag) => self.start(&tag, skipped),
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name.0).into_owned();
                self.end(&name);
            }
            Token::String(string) if self.skipping.is_none() => {
                let text = String::from_utf8_lossy(&string.value.0);
                self.text(&text, string.span.start..string.span.end);
            }
            _ => {}
        }
    }

    fn start(&mut self, tag: &StartTag<usize>, skipped: &[&'static str]) {
        let name = String::from_utf8_lossy(&tag.name.0);
        let name = name.as_ref();
        if let Some((skipping, depth)) = &mut self.skipping {
            *depth += usize::from(*skipping == name && !tag.self_closing);
            return;
        }
        if let Some(skip) = skipped.iter().find(|s| **s == name) {
            if !tag.self_closing {
                self.skipping = Some((skip, 1));
            }
            return;
        }
        self.block(name);
        match name {
            "title" => self.in_title = self.title.is_none(),
            "pre" => self.verbatim += 1,
            "td" | "th" => self.cell(),
            "img" => {
                let alt = tag.attributes.iter().find(|(name, _)| name.0 == b"alt");
                if let Some((_, alt)) = alt {
                    let text = String::from_utf8_lossy(&alt.value.0).into_owned();
                    self.text(&text, tag.span.start..tag.span.end);
                }
            }
            _ => {
                if let Some(level) = level(name) {
                    self.heading = Some((level, self.plain.text.len(), self.plain.runs.len()));
                }
            }
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((skipping, depth)) = &mut self.skipping {
            if *skipping == name {
                *depth -= 1;
                if *depth == 0 {
                    self.skipping = None;
                }
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "pre" => self.verbatim = self.verbatim.saturating_sub(1),
            _ => {
                if level(name).is_some() {
                    self.end_heading();
                }
            }
        }
        if name != "br" && name != "hr" {
            self.block(name);
        }
    }

    fn end_heading(&mut self) {
        let Some((level, at, runs)) = self.heading.take() else {
            return;
        };
        let text = one_line(&self.plain.text[at..]);
        if text.is_empty() {
            return;
        }
        if level > 1 {
            self.first_other.get_or_insert(text);
        } else if self.first_h1.is_none() {
            self.first_h1 = Some(text);
            if self.plain.text[..at].trim().is_empty() {
                self.plain.text.truncate(at);
                self.plain.runs.truncate(runs);
            }
        }
    }

    fn block(&mut self, name: &str) {
        if PARAGRAPHS.contains(&name) {
            self.plain.break_line(1);
        } else if LINES.contains(&name) {
            self.plain.break_line(0);
        }
    }

    fn cell(&mut self) {
        let line = self.plain.text.rsplit('\n').next().unwrap_or_default();
        if !line.trim().is_empty() {
            let gap = if line.ends_with(' ') { "| " } else { " | " };
            self.plain.text.push_str(gap);
        }
    }

    fn text(&mut self, text: &str, source: std::ops::Range<usize>) {
        if self.in_title {
            self.title = Some(one_line(text)).filter(|t| !t.is_empty());
            return;
        }
        // Entities are shorter in the text than in the page, so the positions of single words are
        // not known.
        let exact = text.len() == source.len();
        if self.verbatim > 0 {
            self.plain.push(text, source);
            return;
        }
        let mut at = 0;
        for word in text.split_inclusive(|c: char| c.is_ascii_whitespace()) {
            let bare = word.trim_ascii();
            let open = self.plain.text.is_empty() || self.plain.text.ends_with([' ', '\n']);
            if bare.is_empty() {
                if !open {
                    self.plain.text.push(' ');
                }
            } else {
                let from = source.start + at;
                let source = if exact {
                    from..from + bare.len()
                } else {
                    source.clone()
                };
                self.plain.push(bare, source);
                if bare.len() < word.len() {
                    self.plain.text.push(' ');
                }
            }
            at += word.len();
        }
    }
}

fn level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', digit @ b'1'..=b'6'] => Some(digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_becomes_its_text() {
        let page = read(
            "<!DOCTYPE html><html><head><meta charset=utf-8><title>Zoë &amp; Co - Site</title><style>p{}</style></head>\n\
             <body><nav><ul><li>Home</ul></nav><h1>Zoë <i>&amp;</i> Co</h1>\n<p>A   <b>bold</b>\n word.<p>Second&nbsp;one<br>broken\n\
             <ul><li>one<li>two</ul><table><tr><th>a<th>b<tr><td>1<td>2</table><script>if (a < b) {}</script>\n\
             <pre>x\n  y</pre><img alt=\"a cat\" src=x><!-- no --></body></html>",
        );
        assert_eq!(page.title.as_deref(), Some("Zoë & Co"));
        assert_eq!(
            page.plain.text.trim(),
            "A bold word.\n\nSecond\u{a0}one\nbroken\n\none\ntwo\n\na | b\n1 | 2\n\nx\n  y\n\na cat"
        );
    }

    #[test]
    fn titles_come_from_the_first_heading_or_the_title() {
        for (html, title, text) in [
            ("<title>T</title><h2>Two</h2><p>x", Some("T"), "Two\n\nx"),
            (
                "<h2>Two</h2><p>x<h1>One</h1>",
                Some("One"),
                "Two\n\nx\n\nOne",
            ),
            ("<h3>\n Three \n</h3>x", Some("Three"), "Three\n\nx"),
            ("just text", None, "just text"),
            ("<title> </title>x", None, "x"),
            ("", None, ""),
        ] {
            let page = read(html);
            assert_eq!(
                (page.title.as_deref(), page.plain.text.trim()),
                (title, text),
                "{html}"
            );
        }
    }

    #[test]
    fn an_element_that_is_never_closed_does_not_swallow_the_page() {
        for html in [
            "<nav>Home<p>All of it",
            "<svg><p>Home<p>All of it",
            "<nav><svg>Home<p>All of it",
        ] {
            assert!(read(html).plain.text.contains("All of it"), "{html}");
        }
        assert_eq!(read("a<svg/>b").plain.text, "ab");
        assert_eq!(read("<nav>x<nav>y</nav>z</nav>b").plain.text, "b");
    }

    #[test]
    fn words_lead_back_to_the_page() {
        let html = "<p>Tom &amp; Jerry</p>\n<p>met  at <b>noon</b>.</p>";
        let page = read(html);
        let of = |part: &str| {
            let at = page.plain.text.find(part).unwrap();
            &html[page.plain.source(&(at..at + part.len())).unwrap()]
        };
        assert_eq!(of("met at noon"), "met  at <b>noon");
        assert_eq!(of("Tom"), "Tom &amp; Jerry");
    }

    #[test]
    fn a_page_says_its_encoding() {
        for (html, want) in [
            (
                "<meta charset=\"windows-1251\">",
                Some(encoding_rs::WINDOWS_1251),
            ),
            (
                "<META http-equiv=x content='text/html; CHARSET=Shift_JIS'>",
                Some(encoding_rs::SHIFT_JIS),
            ),
            ("<meta charset=utf-16>", None),
            ("<meta charset=nonsense>", None),
            ("no charset", None),
        ] {
            assert_eq!(encoding(html.as_bytes()), want, "{html}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        let html = format!(
            "{}deep{}",
            "<div>".repeat(200_000),
            "</div>".repeat(200_000)
        );
        assert_eq!(read(&html).plain.text.trim(), "deep");
        let skipped = format!("{}deep", "<nav>".repeat(100_000));
        assert_eq!(read(&skipped).plain.text.trim(), "deep");
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic_and_sources_are_within_it(
            parts in prop::collection::vec(prop_oneof![
                Just("<nav>".to_owned()), Just("</nav>".to_owned()), Just("<h1>".to_owned()), Just("</h1>".to_owned()),
                Just("<title>".to_owned()), Just("<pre>".to_owned()), Just("<script>".to_owned()), Just("&amp;".to_owned()),
                Just("<td>".to_owned()), Just("<!--".to_owned()), "[<>&;/a-zé\n ]{0,8}", any::<String>(),
            ], 0..20),
        ) {
            let html = parts.concat();
            let page = read(&html);
            for (at, c) in page.plain.text.char_indices() {
                if let Some(source) = page.plain.source(&(at..at + c.len_utf8())) {
                    prop_assert!(source.end <= html.len());
                }
            }
        }
    }
}
