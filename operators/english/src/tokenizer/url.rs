//! Recognises URLs, mail addresses and host names.
//!
//! The model has one regular expression for them: an optional scheme, an optional user, then an
//! IPv4 address or a domain, then an optional port and an optional rest. Here the parts are parsed
//! one after another. The characters that end a host (`:`, `/`, `?`, `#`) and `@` never occur in a
//! host, so there is little backtracking.

use std::sync::Arc;

use crate::characters::CharSet;
use crate::error::EnglishError;
use crate::tables::Tables;

/// Longest label of a domain, in characters.
const LONGEST_LABEL: usize = 64;
/// Shortest and longest top-level domain.
const TOP_LEVEL: std::ops::RangeInclusive<usize> = 2..=63;
/// Longest IPv4 address as text, in bytes: a digit may take four.
const LONGEST_ADDRESS: usize = 15 * 4;
/// Stands for a digit that is not ASCII.
const ANY_DIGIT: u8 = u8::MAX;

pub(super) struct Url {
    word: Arc<CharSet>,
    decimal: Arc<CharSet>,
    /// Letters of top-level domains.
    domain: Arc<CharSet>,
}

/// Whether a character can begin or end the label of a domain.
fn is_alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric() || ('\u{a1}'..='\u{ffff}').contains(&c)
}

impl Url {
    pub(super) fn new(tables: &Tables) -> Result<Self, EnglishError> {
        Ok(Url {
            word: tables.class("word")?,
            decimal: tables.class("decimal")?,
            domain: tables.class("domain")?,
        })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        // Every host has a dot, and most texts have none.
        if !text.contains('.') {
            return false;
        }
        let users = text
            .char_indices()
            .filter(|(at, c)| *c == '@' && *at > 0)
            .map(|(at, _)| at + 1);
        std::iter::once(0)
            .chain(self.after_scheme(text))
            .chain(users)
            .any(|host| self.is_host(&text[host..]))
    }

    /// Offset after a scheme such as "https://".
    fn after_scheme(&self, text: &str) -> Option<usize> {
        let colon = text.find(':')?;
        let scheme = &text[..colon];
        let fits = |c| self.word.contains(c) || matches!(c, '+' | '-' | '.');
        (text[colon..].starts_with("://")
            && scheme.chars().nth(1).is_some()
            && scheme.chars().all(fits))
        .then_some(colon + 3)
    }

    /// Whether a text is a host, with everything that may follow one.
    fn is_host(&self, text: &str) -> bool {
        match self.host_end(text) {
            Some(end) => {
                (self.is_address(&text[..end]) || self.is_domain(&text[..end]))
                    && self.is_rest(&text[end..])
            }
            None => false,
        }
    }

    /// Offset where the characters of a host end. `None` if a character follows that cannot.
    fn host_end(&self, text: &str) -> Option<usize> {
        for (at, c) in text.char_indices() {
            if matches!(c, ':' | '/' | '?' | '#') {
                return Some(at);
            }
            if !(is_alphanumeric(c) || matches!(c, '.' | '-' | '_') || self.in_domain(c)) {
                return None;
            }
        }
        Some(text.len())
    }

    /// Whether a character is a letter of top-level domains, or a digit of an address.
    fn in_domain(&self, c: char) -> bool {
        self.domain.contains(c) || self.decimal.contains(c)
    }

    /// Whether a text is an optional port, and anything after `/`, `?` or `#`.
    fn is_rest(&self, text: &str) -> bool {
        let Some(port) = text.strip_prefix(':') else {
            return text.is_empty() || text.starts_with(['/', '?', '#']);
        };
        let end = port.find(['/', '?', '#']).unwrap_or(port.len());
        let digits = port[..end].chars().take(6).count();
        (2..=5).contains(&digits) && port[..end].chars().all(|c| self.decimal.contains(c))
    }

    fn is_domain(&self, host: &str) -> bool {
        let Some((labels, top)) = host.rsplit_once('.') else {
            return false;
        };
        TOP_LEVEL.contains(&top.chars().count())
            && top.chars().all(|c| self.domain.contains(c))
            && labels.split('.').all(is_label)
    }

    /// Whether a host is an IPv4 address outside of private networks. Where a range does not fix
    /// them, digits may be of any script.
    fn is_address(&self, host: &str) -> bool {
        if host.len() > LONGEST_ADDRESS {
            return false;
        }
        let Some(numbers) = host
            .split('.')
            .map(|number| self.digits(number))
            .collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let [first, second, third, last] = &numbers[..] else {
            return false;
        };
        let head = |n: &[u8]| {
            matches!(
                n,
                [1..=9] | [1..=9, _] | [1, _, _] | [2, 0 | 1, _] | [2, 2, 0..=3]
            )
        };
        let middle =
            |n: &[u8]| matches!(n, [_] | [_, _] | [1, _, _] | [2, 0..=4, _] | [2, 5, 0..=5]);
        let tail = |n: &[u8]| {
            matches!(
                n,
                [1..=9] | [1..=9, _] | [1, _, _] | [2, 0..=4, _] | [2, 5, 0..=4]
            )
        };
        let private = match (&first[..], &second[..]) {
            ([1, 0] | [1, 2, 7], _) | ([1, 6, 9], [2, 5, 4]) | ([1, 9, 2], [1, 6, 8]) => true,
            ([1, 7, 2], second) => matches!(second, [1, 6..=9] | [2, _] | [3, 0 | 1]),
            _ => false,
        };
        head(first) && middle(second) && middle(third) && tail(last) && !private
    }

    /// The digits of a number. A digit that is not ASCII becomes [`ANY_DIGIT`].
    fn digits(&self, number: &str) -> Option<Vec<u8>> {
        number
            .chars()
            .map(|c| match c.to_digit(10) {
                Some(digit) => Some(digit as u8),
                None => self.decimal.contains(c).then_some(ANY_DIGIT),
            })
            .collect()
    }
}

/// Whether a text is a label of a domain: letters and digits, with `-` and `_` inside.
fn is_label(label: &str) -> bool {
    let mut characters = label.chars();
    let (Some(first), last) = (characters.next(), characters.next_back()) else {
        return false;
    };
    is_alphanumeric(first)
        && last.is_none_or(is_alphanumeric)
        && characters
            .clone()
            .all(|c| is_alphanumeric(c) || matches!(c, '-' | '_'))
        && characters.count() <= LONGEST_LABEL - 2
}

#[cfg(all(test, feature = "builtin"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Compares with the results of Python's `re` and the model's own pattern.
    #[test]
    fn urls_are_those_of_the_pattern() {
        let url = Url::new(&Tables::read(crate::builtin::TABLES).unwrap()).unwrap();
        let long = format!("{}.com", "a".repeat(64));
        let longer = format!("{}.com", "a".repeat(65));
        for (text, is_url) in [
            ("example.com", true),
            ("https://example.com/a?b#c", true),
            ("http://user:pw@host.org:8080/x(y)", true),
            ("me@mail.example.org", true),
            ("@host.org", false),
            ("a@@host.org", true),
            ("h://x.org", false),
            ("ht tp", false),
            ("mailto:a@b.org", true),
            ("mailto:b.org", false),
            ("example.com:1", false),
            ("example.com:12", true),
            ("example.com:12345#", true),
            ("example.com:123456", false),
            ("example.com:12x", false),
            ("example..com", false),
            ("-a.com", false),
            ("a-.com", false),
            ("a_-b.com", true),
            ("example.c", false),
            ("example.c0m", false),
            ("example.Com", false),
            ("пример.рф", true),
            ("8.8.8.8", true),
            ("8.8.8.8:53", true),
            ("8.8.8.8.8", false),
            ("8.8.8", false),
            ("8.8.8.0", false),
            ("8.8.256.1", false),
            ("224.1.1.1", false),
            ("223.255.255.254", true),
            ("10.1.1.1", false),
            ("127.0.0.1", false),
            ("172.15.0.1", true),
            ("172.16.0.1", false),
            ("172.31.0.1", false),
            ("172.32.0.1", true),
            ("192.168.0.1", false),
            ("169.254.9.9", false),
            ("1٣.1.1.1", true),
            ("a,b.com", false),
            (long.as_str(), true),
            (longer.as_str(), false),
            (".", false),
            ("", false),
        ] {
            assert_eq!(url.matches(text), is_url, "{text}");
        }
    }
}
