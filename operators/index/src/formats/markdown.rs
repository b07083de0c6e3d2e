//! Reads Markdown, and plain text with front matter.
//!
//! Markup is removed (a link becomes its words), because it disturbs the extraction of sentences.
//! Front matter can contain a title and is not part of the text. A block that looks like front
//! matter but is not YAML or TOML stays.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Plain, html};
use crate::titles::one_line;

/// Longest front matter that is parsed, in bytes: real ones have a few lines.
const MAX_FRONT: usize = 64 << 10;

/// A text file without markup.
#[derive(Debug, Default)]
pub struct Text {
    /// From the front matter, else the first heading.
    pub title: Option<String>,
    /// The text, without a heading that is the title and comes first.
    pub plain: Plain,
}

/// Reads plain text.
pub fn text(source: &str) -> Text {
    let front = front_matter(source);
    let body = front.as_ref().map_or(0, |f| f.end);
    Text {
        title: front.and_then(|f| f.title),
        plain: Plain::verbatim(&source[body..], body),
    }
}

/// Reads Markdown.
pub fn markdown(source: &str) -> Text {
    let front = front_matter(source);
    let body = front.as_ref().map_or(0, |f| f.end);
    let mut reader = Reader {
        offset: body,
        named: front.as_ref().is_some_and(|f| f.title.is_some()),
        ..Reader::default()
    };
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_GFM
        | Options::ENABLE_DEFINITION_LIST;
    for (event, range) in Parser::new_ext(&source[body..], options).into_offset_iter() {
        reader.event(event, range);
    }
    Text {
        title: front.and_then(|f| f.title).or(reader.title),
        plain: reader.plain,
    }
}

#[derive(Default)]
struct Reader {
    plain: Plain,
    offset: usize,
    /// Whether the front matter has a title.
    named: bool,
    title: Option<String>,
    /// Where the open heading begins in the text and in the runs.
    heading: Option<(usize, usize)>,
    after_heading: bool,
    /// The open block of HTML: its source so far, and its range.
    html: Option<(String, std::ops::Range<usize>)>,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, range: std::ops::Range<usize>) {
        let range = range.start + self.offset..range.end + self.offset;
        match event {
            Event::Start(tag) => self.start(&tag, range),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.plain.push(&text, range),
            // The range of the text between the backticks.
            Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.plain.push(&text, range);
            }
            Event::Html(text) => match &mut self.html {
                Some((all, source)) => {
                    all.push_str(&text);
                    source.end = range.end;
                }
                None => self.html = Some((text.into_string(), range)),
            },
            Event::SoftBreak => self.plain.text.push(' '),
            Event::HardBreak => self.plain.text.push('\n'),
            Event::Rule => self.plain.break_line(1),
            Event::InlineHtml(_) | Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>, range: std::ops::Range<usize>) {
        match tag {
            Tag::Heading { .. } => {
                self.plain.break_line(1);
                self.heading = Some((self.plain.text.len(), self.plain.runs.len()));
            }
            Tag::HtmlBlock => self.html = Some((String::new(), range)),
            Tag::Item | Tag::TableRow | Tag::TableHead | Tag::DefinitionListDefinition => {
                self.plain.break_line(0);
            }
            Tag::TableCell => {
                let line = self.plain.text.rsplit('\n').next().unwrap_or_default();
                if !line.is_empty() {
                    self.plain.text.push_str(" | ");
                }
            }
            Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough
            | Tag::Superscript
            | Tag::Subscript => return,
            Tag::Link { .. } | Tag::Image { .. } => return,
            _ => self.plain.break_line(usize::from(!self.after_heading)),
        }
        self.after_heading = false;
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                let Some((at, runs)) = self.heading.take() else {
                    return;
                };
                let text = one_line(&self.plain.text[at..]);
                if self.title.is_none() && !text.is_empty() {
                    self.title = Some(text);
                    if !self.named && self.plain.text[..at].trim().is_empty() {
                        self.plain.text.truncate(at);
                        self.plain.runs.truncate(runs);
                        return;
                    }
                }
                self.plain.break_line(0);
                self.after_heading = true;
            }
            TagEnd::HtmlBlock => {
                if let Some((all, source)) = self.html.take() {
                    let page = html::read(&all);
                    let text = page.plain.text.trim();
                    // `html::read` removed a heading as the page's title, but this is not a page.
                    let heading = page.title.filter(|t| !text.contains(t.as_str()));
                    self.plain.break_line(1);
                    for part in [heading.as_deref().unwrap_or_default(), text] {
                        if !part.is_empty() {
                            self.plain.push(part, source.clone());
                            self.plain.break_line(0);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// The front matter of a text.
struct Front {
    title: Option<String>,
    /// Offset where the text begins.
    end: usize,
}

/// Finds the front matter of a text: YAML between lines of `---`, or TOML between lines of `+++`.
fn front_matter(source: &str) -> Option<Front> {
    let mut lines = source.split_inclusive('\n');
    let first = lines.next()?;
    let fence = first.trim_end();
    if !matches!(fence, "---" | "+++") {
        return None;
    }
    let (start, mut at) = (first.len(), first.len());
    for line in lines {
        let end = line.trim_end();
        if end == fence || (fence == "---" && end == "...") {
            let title = title(fence, &source[start..at])?;
            return Some(Front {
                title,
                end: at + line.len(),
            });
        }
        at += line.len();
        if at > MAX_FRONT {
            return None;
        }
    }
    None
}

/// The title in a block of front matter, if any. `None` where the block is not front matter.
fn title(fence: &str, block: &str) -> Option<Option<String>> {
    let title = match fence {
        "---" => yaml_title(block)?,
        _ => toml_title(block)?,
    };
    let title = title.map(|t| one_line(&t));
    Some(title.filter(|t| !t.is_empty()))
}

fn yaml_title(block: &str) -> Option<Option<String>> {
    let serde_yaml::Value::Mapping(map) = serde_yaml::from_str(block).ok()? else {
        return None;
    };
    Some(match map.get("title") {
        Some(serde_yaml::Value::String(title)) => Some(title.clone()),
        // `title: 1984`
        Some(serde_yaml::Value::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

/// The title of TOML. Only lines `title = "…"` are recognised; a block without any `key = value` is
/// not TOML.
fn toml_title(block: &str) -> Option<Option<String>> {
    let mut pairs = block.lines().filter_map(|line| line.split_once('='));
    pairs.clone().next()?;
    let (_, value) = match pairs.find(|(key, _)| key.trim() == "title") {
        Some(pair) => pair,
        None => return Some(None),
    };
    let value = value.trim();
    Some(match value.strip_prefix('\'') {
        Some(literal) => literal.split_once('\'').map(|(title, _)| title.to_owned()),
        None => {
            let mut values = serde_json::Deserializer::from_str(value).into_iter::<String>();
            values.next().and_then(Result::ok)
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markdown_becomes_its_words() {
        let source = "# The *Title*\n\nA [link](http://x \"t\") and\n`code`, **bold** &amp; <b>html</b>[^1].\n\n## Next\nText.\n\n\
                      - one\n- two ![a cat](c.png)\n\n1. first\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```rust\nfn main() {}\n```\n\n\
                      <div>\nIn a div\n</div>\n\n> Quoted\n\n[^1]: A note.\n";
        let got = markdown(source);
        assert_eq!(got.title.as_deref(), Some("The Title"));
        assert_eq!(
            got.plain.text.trim(),
            "A link and code, bold & html.\n\nNext\nText.\n\none\ntwo a cat\n\nfirst\n\na | b\n1 | 2\n\nfn main() {}\n\nIn a div\n\n\
             Quoted\n\nA note."
        );
        let at = got.plain.text.find("bold").unwrap();
        let source_of = |range| &source[got.plain.source(&range).unwrap()];
        assert_eq!(source_of(at..at + 4), "bold");
        assert_eq!(source_of(at..at + 6), "bold** &amp;");
    }

    #[test]
    fn titles_come_from_front_matter_or_the_first_heading() {
        for (source, title, text) in [
            (
                "---\ntitle: \"A: B\"\ntags: [x]\n---\n# Head\nBody",
                Some("A: B"),
                "Head\nBody",
            ),
            ("---\r\ntitle: 1984\r\n---\r\nBody", Some("1984"), "Body"),
            (
                "---\nauthor: x\n---\nHead\n====\nBody",
                Some("Head"),
                "Body",
            ),
            (
                "+++\ntitle = \"A \\\"B\\\"\"\ndraft = true\n+++\nBody",
                Some("A \"B\""),
                "Body",
            ),
            ("+++\ntitle = 'C:\\d' # x\n+++\nBody", Some("C:\\d"), "Body"),
            ("---\nno: [broken\n---\nBody", Some("no: [broken"), "Body"),
            ("---\nfirst part\n\n---\nBody", None, "first part\n\nBody"),
            ("---\ntitle: x\nnever closed", None, "title: x never closed"),
            (
                "```\n# not a heading\n```\n\n## Second level\nx",
                Some("Second level"),
                "# not a heading\n\nSecond level\nx",
            ),
            ("Words.\n\n# Later", Some("Later"), "Words.\n\nLater"),
            ("<h1>Head</h1>\n\nBody", None, "Head\n\nBody"),
            ("", None, ""),
        ] {
            let got = markdown(source);
            assert_eq!(
                (got.title.as_deref(), got.plain.text.trim()),
                (title, text),
                "{source}"
            );
        }
    }

    #[test]
    fn plain_text_is_kept_as_it_is() {
        let got = text("# 5 things\n* a *b*\r\n");
        assert_eq!(
            (got.title, got.plain.text.as_str()),
            (None, "# 5 things\n* a *b*\r\n")
        );
        let got = text("---\ntitle: T\n---\nBody");
        assert_eq!(
            (got.title.as_deref(), got.plain.text.as_str()),
            (Some("T"), "Body")
        );
        assert_eq!(got.plain.source(&(0..4)), Some(17..21));
    }

    #[test]
    fn depth_costs_nothing() {
        for deep in [
            "> ".repeat(20_000),
            "- ".repeat(5_000),
            "[".repeat(50_000),
            "*a ".repeat(20_000),
        ] {
            markdown(&format!("{deep}x"));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_sources_are_within_it(
            parts in prop::collection::vec(prop_oneof![
                Just("---\n".to_owned()), Just("+++\n".to_owned()), Just("# ".to_owned()), Just("\n".to_owned()),
                Just("<div>".to_owned()), Just("```".to_owned()), Just("| ".to_owned()), Just("[^1]".to_owned()),
                Just("title: ".to_owned()), "[*_`\\[\\]()>&;=~a-zé\n -]{0,8}", any::<String>(),
            ], 0..20),
        ) {
            let source = parts.concat();
            for got in [markdown(&source), text(&source)] {
                for (at, c) in got.plain.text.char_indices() {
                    if let Some(range) = got.plain.source(&(at..at + c.len_utf8())) {
                        prop_assert!(range.end <= source.len());
                    }
                }
            }
        }
    }
}
