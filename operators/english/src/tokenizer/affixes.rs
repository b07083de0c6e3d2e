//! Rules that find a prefix, a suffix or an infix.
//!
//! They replace the model's regular expressions, whose parts are single characters, fixed strings
//! and runs of dots, with conditions on the characters around them. So no regular-expression engine
//! is needed, and a search visits each character once.

use std::sync::Arc;

use crate::characters::CharSet;
use crate::error::EnglishError;
use crate::tables::{self, Tables};

/// What a rule matches.
enum Body {
    Text(Box<str>),
    /// Two dots or more, as many as there are.
    Dots,
    One(Arc<CharSet>),
}

impl Body {
    fn first(&self, c: char) -> bool {
        match self {
            Body::Text(text) => text.starts_with(c),
            Body::Dots => c == '.',
            Body::One(set) => set.contains(c),
        }
    }

    /// Length of the match that begins where `text` does.
    fn at_start(&self, text: &str) -> Option<usize> {
        match self {
            Body::Text(body) => text.starts_with(&**body).then_some(body.len()),
            Body::Dots => {
                let dots = text.len() - text.trim_start_matches('.').len();
                (dots >= 2).then_some(dots)
            }
            Body::One(set) => text
                .chars()
                .next()
                .filter(|c| set.contains(*c))
                .map(char::len_utf8),
        }
    }

    /// Length of the longest match that ends where `text` does.
    fn at_end(&self, text: &str) -> Option<usize> {
        match self {
            Body::Text(body) => text.ends_with(&**body).then_some(body.len()),
            Body::Dots => {
                let dots = text.len() - text.trim_end_matches('.').len();
                (dots >= 2).then_some(dots)
            }
            Body::One(set) => text
                .chars()
                .next_back()
                .filter(|c| set.contains(*c))
                .map(char::len_utf8),
        }
    }
}

struct Rule {
    body: Body,
    /// Sets of the characters that must come before, in order.
    behind: Vec<Arc<CharSet>>,
    ahead: Option<Arc<CharSet>>,
    ahead_not: Option<Arc<CharSet>>,
}

impl Rule {
    fn new(rule: &tables::Rule, tables: &Tables) -> Result<Self, EnglishError> {
        let body = match (&rule.text, rule.dots, &rule.class) {
            (Some(text), false, None) if !text.is_empty() => Body::Text(text.as_str().into()),
            (None, true, None) => Body::Dots,
            (None, false, Some(class)) => Body::One(tables.class(class)?),
            _ => {
                return Err(EnglishError::Tables(
                    "a rule has none, or more than one, of text, dots and class".to_owned(),
                ));
            }
        };
        let class = |name: &Option<String>| name.as_ref().map(|n| tables.class(n)).transpose();
        Ok(Rule {
            body,
            behind: rule
                .behind
                .iter()
                .map(|n| tables.class(n))
                .collect::<Result<_, _>>()?,
            ahead: class(&rule.ahead)?,
            ahead_not: class(&rule.ahead_not)?,
        })
    }

    fn follows(&self, before: &str) -> bool {
        let mut characters = before.chars().rev();
        self.behind
            .iter()
            .rev()
            .all(|set| characters.next().is_some_and(|c| set.contains(c)))
    }

    fn precedes(&self, after: &str) -> bool {
        self.ahead.as_ref().is_none_or(|set| set.starts(after))
            && !self.ahead_not.as_ref().is_some_and(|set| set.starts(after))
    }
}

/// Rules of one kind: for prefixes, suffixes or infixes.
pub(super) struct Rules {
    rules: Vec<Rule>,
    /// ASCII characters with which a match can begin. All other characters have to be tried.
    first: CharSet,
}

impl Rules {
    pub(super) fn new(rules: &[tables::Rule], tables: &Tables) -> Result<Self, EnglishError> {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|rule| Rule::new(rule, tables))
            .collect::<Result<_, _>>()?;
        let ascii = (0u8..128).map(char::from);
        let first = CharSet::of(ascii.filter(|c| rules.iter().any(|r| r.body.first(*c))));
        Ok(Rules { rules, first })
    }

    /// End of the first rule's match that begins at byte `at`.
    fn match_at(&self, text: &str, at: usize) -> Option<usize> {
        let c = text[at..].chars().next()?;
        if c.is_ascii() && !self.first.contains(c) {
            return None;
        }
        self.rules.iter().find_map(|rule| {
            let end = at + rule.body.at_start(&text[at..])?;
            (rule.follows(&text[..at]) && rule.precedes(&text[end..])).then_some(end)
        })
    }

    /// Length of the prefix of `text`, 0 if there is none.
    pub(super) fn prefix(&self, text: &str) -> usize {
        self.match_at(text, 0).unwrap_or(0)
    }

    /// Length of the longest suffix of `text`, 0 if there is none.
    pub(super) fn suffix(&self, text: &str) -> usize {
        self.rules
            .iter()
            .filter_map(|rule| {
                let length = rule.body.at_end(text)?;
                rule.follows(&text[..text.len() - length]).then_some(length)
            })
            .max()
            .unwrap_or(0)
    }

    /// Start and end of the infixes, which do not overlap, from left to right.
    pub(super) fn infixes<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = (usize, usize)> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            while let Some(c) = text[at..].chars().next() {
                if let Some(end) = self.match_at(text, at) {
                    let start = std::mem::replace(&mut at, end);
                    return Some((start, end));
                }
                at += c.len_utf8();
            }
            None
        })
    }
}
