//! The mistakes in a pipeline, and the text that reports them.
//!
//! Invariant: a [`SpecErrors`] is never empty, is sorted by place, has no duplicates, and carries
//! the lines it shows, so that it can be rendered after the file is gone. This module adds no
//! colours and prints nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use gfm_pipe_api::printable::{lines, one_line};

use super::pipeline::Origin;
use super::source::{Source, Sources, Span};

/// Longest stretch of a line that is shown, in characters.
const SHOWN: usize = 120;
/// How much of a long line is shown before the mistake.
const BEFORE: usize = 40;
/// Longest message, in characters: a message quotes what the user wrote, which may be of any
/// length.
const LONGEST: usize = 600;
/// Longest line that is shown at all, in bytes. Nobody writes a longer one by hand.
const SHOWABLE: usize = 1 << 16;
/// Largest number of mistakes shown. Further ones are only counted, which takes no time.
pub(super) const MOST: usize = 1000;

/// Where a mistake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(Origin),
    /// In an override on the command line, as the user would write it.
    Override(String),
    /// A file as a whole, because it cannot be read.
    Whole(PathBuf),
}

impl Place {
    pub(super) fn of(sources: &Sources, span: Span) -> Self {
        match sources.get(span.source) {
            Source::Override(text) => Place::Override(text.clone()),
            Source::File { name, .. } => Place::File(Origin {
                file: name.clone(),
                line: span.start.line,
                column: span.start.column,
            }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(Origin { file, line, column }) => {
                write!(f, "{}:{line}:{column}", shown_path(file))
            }
            Place::Override(text) => match text.split_once('=') {
                Some((name, _)) if may_hold_secret(text) => {
                    write!(f, "{}=…", one_line(&crop(name)))
                }
                _ => f.write_str(&one_line(&crop(text))),
            },
            Place::Whole(file) => f.write_str(&shown_path(file)),
        }
    }
}

/// A path on one line: it is also written into YAML comments.
fn shown_path(file: &Path) -> String {
    one_line(&file.display().to_string()).into_owned()
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// Where it is.
    pub place: Place,
    /// How many characters of its line it spans; at least one.
    pub len: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether it is only a warning: the pipeline works.
    pub warning: bool,
    shown: Option<Shown>,
}

/// The part of a line that is shown, and how many of its characters come before the mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    text: String,
    before: usize,
}

impl Shown {
    /// The text below the line: the space up to the mistake, and a marker for `len` characters.
    /// Both are as wide as the text above them, escapes included; tabs stay tabs.
    fn mark(&self, len: usize) -> (String, String) {
        let from = self.text.char_indices().nth(self.before);
        let (before, rest) = self
            .text
            .split_at(from.map_or(self.text.len(), |(at, _)| at));
        let spaces = |c| if c == '\t' { '\t' } else { ' ' };
        let mut lead: String = lines(before).chars().map(spaces).collect();
        let missing = self.before - before.chars().count();
        lead.push_str(&" ".repeat(missing));
        let marked: String = rest.chars().take(len).collect();
        let marks = lines(&marked).chars().count().max(1);
        (lead, "^".repeat(marks))
    }
}

/// Every mistake of a pipeline. Its `Display` is the report for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors {
    file: PathBuf,
    errors: Vec<SpecError>,
    /// How many more mistakes there are than `errors` holds.
    more: usize,
}

/// A mistake found while loading, before its place and line of text are looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mistake {
    pub span: Span,
    pub message: String,
    pub hint: Option<String>,
    /// Whether the pipeline works nevertheless.
    pub warning: bool,
}

impl Mistake {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Mistake {
            span,
            message: message.into(),
            hint: None,
            warning: false,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl SpecErrors {
    /// The report for a file that cannot be read at all.
    pub(super) fn whole(file: &Path, message: impl Into<String>, hint: Option<String>) -> Self {
        SpecErrors {
            file: file.to_owned(),
            errors: vec![SpecError {
                place: Place::Whole(file.to_owned()),
                len: 1,
                message: message.into(),
                hint,
                warning: false,
                shown: None,
            }],
            more: 0,
        }
    }

    /// `mistakes` must have one that is no warning. Warnings are left out: they are given once the
    /// pipeline works.
    pub(super) fn new(file: &Path, sources: &Sources, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.retain(|m| !m.warning);
        // The sort is stable: mistakes at one place stay in the order in which they were found.
        mistakes.sort_by_key(|m| (m.span.source, m.span.start));
        let mut seen = std::collections::HashSet::new();
        // A YAML anchor that is used twice is checked twice, with the same place.
        mistakes.retain(|m| seen.insert((m.span.source, m.span.start, m.message.clone())));
        let more = mistakes.len().saturating_sub(MOST);
        mistakes.truncate(MOST);
        SpecErrors {
            file: file.to_owned(),
            errors: mistakes
                .into_iter()
                .map(|m| SpecError::new(sources, m))
                .collect(),
            more,
        }
    }

    /// The mistakes, sorted by place: the first thousand of them.
    pub fn errors(&self) -> &[SpecError] {
        &self.errors
    }
}

impl SpecError {
    pub(super) fn new(sources: &Sources, m: Mistake) -> Self {
        let Span { source, start, end } = m.span;
        let (len, shown) = match sources.get(source) {
            Source::Override(_) => (1, None),
            Source::File { lines, .. } => {
                let line = lines.get(start.line);
                let shown = (line.len() <= SHOWABLE && !may_hold_secret(line)).then(|| {
                    let line: Vec<char> = line.chars().collect();
                    (show(&line, start.column - 1), line.len())
                });
                let stop = if end.line == start.line {
                    end.column
                } else {
                    shown.as_ref().map_or(0, |(_, len)| len + 1)
                };
                let len = stop.saturating_sub(start.column).max(1);
                (len, shown.map(|(s, _)| s))
            }
        };
        let place = Place::of(sources, m.span);
        SpecError {
            place,
            len,
            message: crop(&m.message),
            hint: m.hint.as_deref().map(crop),
            warning: m.warning,
            shown,
        }
    }
}

/// Whether a line looks as if it held a key or a password, which must not get into a log.
fn may_hold_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    let words = ["api_key", "api-key", "apikey", "password", "secret", "sk-"];
    let of_user = |(_, rest): (&str, &str)| {
        let host = rest.split(['/', ' ', '"', '\'']).next();
        host.is_some_and(|host| host.contains('@'))
    };
    words.iter().any(|word| line.contains(word)) || line.split_once("://").is_some_and(of_user)
}

fn show(line: &[char], before: usize) -> Shown {
    let from = if line.len() > SHOWN {
        before.saturating_sub(BEFORE).min(line.len())
    } else {
        0
    };
    let to = line.len().min(from + SHOWN);
    let mut text = String::new();
    if from > 0 {
        text.push('…');
    }
    text.extend(&line[from..to]);
    if to < line.len() {
        text.push('…');
    }
    Shown {
        text,
        before: before - from + usize::from(from > 0),
    }
}

fn crop(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.warning { "warning" } else { "error" };
        writeln!(f, "{word}: {}", one_line(&self.message))?;
        let mut gutter = String::new();
        match &self.place {
            place @ (Place::Whole(_) | Place::Override(_)) => writeln!(f, " --> {place}")?,
            Place::File(at) => {
                let number = at.line.to_string();
                gutter = " ".repeat(number.len());
                writeln!(f, "{gutter}--> {}", self.place)?;
                if let Some(shown) = &self.shown {
                    let (caret, marks) = shown.mark(self.len);
                    writeln!(f, "{gutter} |")?;
                    writeln!(f, "{number} | {}", lines(&shown.text))?;
                    writeln!(f, "{gutter} | {caret}{marks}")?;
                }
            }
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "{gutter} = hint: {}", one_line(hint))?;
        }
        Ok(())
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for e in &self.errors {
            writeln!(f, "{e}")?;
        }
        if self.more > 0 {
            writeln!(f, "… and {} more\n", self.more)?;
        }
        let n = self.errors.len() + self.more;
        let mistakes = if n == 1 { "mistake" } else { "mistakes" };
        write!(f, "{n} {mistakes} in {}", shown_path(&self.file))
    }
}

impl std::error::Error for SpecErrors {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::source::Pos;
    use super::*;

    fn span(source: super::super::source::SourceId, line: usize, from: usize, to: usize) -> Span {
        Span {
            source,
            start: Pos { line, column: from },
            end: Pos { line, column: to },
        }
    }

    #[test]
    fn the_report_shows_place_line_mark_and_hint() {
        let mut sources = Sources::default();
        let id = sources.add_file(Path::new("p.yaml"), "a: 1\n\tbb: \u{1b}[2J\n");
        let set = sources.add_override("--set a.with.b=1".to_owned());
        let e = SpecErrors::new(
            Path::new("p.yaml"),
            &sources,
            vec![
                Mistake::new(set, "third"),
                Mistake::new(span(id, 2, 2, 4), "second").hint("do"),
                Mistake::new(span(id, 1, 1, 2), "first"),
                Mistake::new(span(id, 1, 1, 2), "first"),
            ],
        );
        assert_eq!(
            e.to_string(),
            "error: first\n --> p.yaml:1:1\n  |\n1 | a: 1\n  | ^\n\n\
             error: second\n --> p.yaml:2:2\n  |\n2 | \tbb: \\u001b[2J\n  | \t^^\n  = hint: do\n\n\
             error: third\n --> --set a.with.b=1\n\n\
             3 mistakes in p.yaml"
        );
    }

    #[test]
    fn the_mark_stands_under_the_mistake_behind_escaped_characters() {
        let mut sources = Sources::default();
        let id = sources.add_file(Path::new("p\n.yaml"), "\u{202e}a: b\u{1b}c\n");
        let mistakes = vec![Mistake::new(span(id, 1, 5, 8), "m\u{1b}")];
        let e = SpecErrors::new(Path::new("p\n.yaml"), &sources, mistakes);
        assert_eq!(
            e.to_string(),
            "error: m\\u001b\n --> p\\n.yaml:1:5\n  |\n\
             1 | \\u202ea: b\\u001bc\n  |          ^^^^^^^^\n\n1 mistake in p\\n.yaml"
        );
    }

    #[test]
    fn of_a_long_line_only_the_part_around_the_mistake_is_shown() {
        let mut sources = Sources::default();
        let line = format!("{}xyz{}", "a".repeat(1000), "b".repeat(1000));
        let id = sources.add_file(Path::new("p.yaml"), &line);
        let e = SpecErrors::new(
            Path::new("p.yaml"),
            &sources,
            vec![Mistake::new(span(id, 1, 1001, 1004), "m".repeat(5000))],
        );
        let text = e.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].chars().count() < 700);
        assert_eq!(lines[1], " --> p.yaml:1:1001");
        let at = lines[3].find("xyz").unwrap();
        let mark = lines[4].find("^^^").unwrap();
        // `…` is three bytes and one character.
        assert_eq!(at - 2, mark);
        assert!(lines[3].chars().count() < 130);
    }
}
