//! Reads lines of a text file as Python's text mode does, from bytes, in bounded memory.
//!
//! `\n`, `\r\n` and a lone `\r` end a line; nothing else does (not U+2028, not U+0085). For a line
//! longer than the limit, the reader returns only the beginning and the length, because one missing
//! line break in a file of gigabytes must not fill the memory. The caller checks for UTF-8.

use std::io::{self, ErrorKind, Read};

/// Longest line kept whole, in bytes.
pub const MAX_LINE: usize = 16 << 20;
/// Bytes kept of a longer line.
const KEPT_OF_LONG: usize = 1024;
/// Initial size of the buffer, in bytes.
const BUFFER: usize = 256 << 10;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// One-based number.
    pub number: u64,
    /// Its bytes, or only the first of them when the line is too long.
    pub bytes: &'a [u8],
    /// Its length in bytes, more than `bytes` holds when the line is too long.
    pub len: u64,
}

impl Line<'_> {
    /// Whether the line is longer than the reader's limit.
    pub fn too_long(&self) -> bool {
        self.len > self.bytes.len() as u64
    }
}

/// Reads lines one after another.
pub struct Lines<R> {
    inner: R,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
    after_cr: bool,
    eof: bool,
    number: u64,
    read: u64,
}

/// The beginning of a line that does not fit the buffer, and its length so far.
#[derive(Default)]
struct Long {
    head: usize,
    len: u64,
}

impl<R: Read> Lines<R> {
    /// A reader of the lines of `inner`.
    pub fn new(inner: R) -> Self {
        Lines::with_sizes(inner, BUFFER, MAX_LINE)
    }

    /// The same with other limits: the size of the buffer, and the longest line kept whole.
    pub fn with_sizes(inner: R, buffer: usize, max: usize) -> Self {
        Lines {
            inner,
            buf: vec![0; buffer.max(1)],
            start: 0,
            end: 0,
            max: max.max(1),
            after_cr: false,
            eof: false,
            number: 0,
            read: 0,
        }
    }

    /// Bytes read from the file so far.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The first `wanted` bytes or more (fewer if the file is shorter), to inspect them before the
    /// first line is read.
    ///
    /// # Errors
    /// When reading fails.
    pub fn head(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted && !self.eof {
            self.fill(false)?;
        }
        Ok(&self.buf[self.start..self.end])
    }

    /// The next line; `None` at the end. A last line without an end counts if it is not empty.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut long: Option<Long> = None;
        let mut scanned = 0;
        loop {
            if self.after_cr && self.start < self.end {
                if self.buf[self.start] == b'\n' {
                    self.start += 1;
                }
                self.after_cr = false;
            }
            let from = self.start + scanned;
            let found = self.buf[from..self.end]
                .iter()
                .position(|&b| b == b'\n' || b == b'\r');
            if let Some(i) = found {
                let stop = from + i;
                self.after_cr = self.buf[stop] == b'\r';
                return Ok(Some(self.take(stop, stop + 1, long)));
            }
            if self.eof {
                if self.start == self.end && long.is_none() {
                    return Ok(None);
                }
                return Ok(Some(self.take(self.end, self.end, long)));
            }
            scanned = self.end - self.start;
            if scanned > self.max || long.is_some() {
                // The head of the line stays at the front of the buffer. The rest is counted and
                // discarded.
                let first = long.is_none();
                let long = long.get_or_insert_default();
                if first {
                    long.head = scanned.min(KEPT_OF_LONG);
                    self.buf.copy_within(self.start..self.start + long.head, 0);
                }
                long.len += scanned as u64;
                self.start = long.head;
                self.end = long.head;
                scanned = 0;
            }
            self.fill(long.is_some())?;
        }
    }

    fn take(&mut self, stop: usize, next: usize, long: Option<Long>) -> Line<'_> {
        self.number += 1;
        let (from, to, len) = match long {
            Some(l) => (0, l.head, l.len + (stop - self.start) as u64),
            None => {
                let len = stop - self.start;
                let kept = if len > self.max {
                    len.min(KEPT_OF_LONG)
                } else {
                    len
                };
                (self.start, self.start + kept, len as u64)
            }
        };
        self.start = next;
        Line {
            number: self.number,
            bytes: &self.buf[from..to],
            len,
        }
    }

    fn fill(&mut self, keep_head: bool) -> io::Result<()> {
        if !keep_head && self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buf.len() {
            self.buf.resize(self.buf.len() * 2, 0);
        }
        loop {
            match self.inner.read(&mut self.buf[self.end..]) {
                Ok(n) => {
                    self.eof = n == 0;
                    self.end += n;
                    self.read += n as u64;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Removes whitespace from both ends as Python's `str.strip` does: Unicode whitespace and U+001C to
/// U+001F, which Rust's `trim` keeps. The byte order mark is not whitespace.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Whether [`strip`] removes a character.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// The obvious version: the whole text in memory, line ends made equal, split.
    fn slow(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut one_end = Vec::new();
        let mut i = 0;
        while i < bytes.len() {
            if bytes[i] == b'\r' {
                one_end.push(b'\n');
                if bytes.get(i + 1) == Some(&b'\n') {
                    i += 1;
                }
            } else {
                one_end.push(bytes[i]);
            }
            i += 1;
        }
        let mut lines: Vec<Vec<u8>> = one_end.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines
    }

    fn fast(bytes: &[u8], buffer: usize, max: usize) -> Vec<(Vec<u8>, u64)> {
        let mut lines = Lines::with_sizes(bytes, buffer, max);
        // A look at the beginning changes nothing.
        let head = lines.head(buffer).unwrap();
        assert!(bytes.starts_with(head) && head.len() >= buffer.min(bytes.len()));
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            assert_eq!(line.number, out.len() as u64 + 1);
            out.push((line.bytes.to_vec(), line.len));
        }
        assert_eq!(lines.bytes_read(), bytes.len() as u64);
        out
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_obvious_version(
            text in prop::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b','), Just(b'a'), any::<u8>()], 0..60),
            buffer in 1usize..9,
        ) {
            let want = slow(&text);
            let got = fast(&text, buffer, 1 << 20);
            prop_assert_eq!(&got.iter().map(|(b, _)| b.clone()).collect::<Vec<_>>(), &want);
            for (bytes, len) in got {
                prop_assert_eq!(bytes.len() as u64, len);
            }
        }

        #[test]
        fn too_long_lines_keep_their_head_and_their_length(
            lens in prop::collection::vec(0usize..5000, 1..5),
            end in prop::sample::select(vec!["\n", "\r", "\r\n"]),
            buffer in 1usize..3000,
        ) {
            let max = 1500;
            let lines: Vec<Vec<u8>> = lens.iter().enumerate()
                .map(|(i, n)| (0..*n).map(|j| b'a' + ((i + j) % 23) as u8).collect()).collect();
            let mut text: Vec<u8> = Vec::new();
            for line in &lines {
                text.extend(line);
                text.extend(end.as_bytes());
            }
            let got = fast(&text, buffer, max);
            prop_assert_eq!(got.len(), lines.len());
            for ((bytes, len), line) in got.iter().zip(&lines) {
                prop_assert_eq!(*len, line.len() as u64);
                let kept = if line.len() > max { KEPT_OF_LONG.min(line.len()) } else { line.len() };
                prop_assert_eq!(bytes, &line[..kept]);
            }
        }
    }

    #[test]
    fn strip_is_pythons() {
        // Every character for which Python's str.isspace() holds.
        let python: Vec<u32> = (0x09..=0x0d)
            .chain(0x1c..=0x20)
            .chain([0x85, 0xa0, 0x1680])
            .chain(0x2000..=0x200a)
            .chain([0x2028, 0x2029, 0x202f, 0x205f, 0x3000])
            .collect();
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = format!("{c}a{c}b{c}");
            let want = if python.contains(&(c as u32)) {
                format!("a{c}b")
            } else {
                text.clone()
            };
            assert_eq!(strip(&text), want, "U+{:04X}", c as u32);
        }
    }
}
