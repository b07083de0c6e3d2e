//! Checks the depth and size of a pickle's objects before a library reads it.
//!
//! The library builds nested objects, and cloning or dropping one recurses once per level: 200,000
//! levels overflow the stack. A pickle may also copy earlier objects, so that forty bytes become a
//! terabyte. Both are found here by going through the same instructions with only depths and sizes.
//! Where the library would stop with an error, this check stops without one.

use std::collections::HashMap;

use crate::Refused;

/// Most levels of nested objects. (PyTorch's state dictionaries have about ten.)
const MAX_DEPTH: u32 = 200;
/// Most objects (of 64 bytes) that are made and copied in total. (A model of a thousand tensors has
/// some fifty thousand.)
const MAX_OBJECTS: u64 = 4_000_000;

/// An object on the stack of the pickle machine.
#[derive(Clone, Copy)]
struct Item {
    depth: u32,
    objects: u64,
    mark: bool,
}

const ONE: Item = Item {
    depth: 1,
    objects: 1,
    mark: false,
};

/// Why the check ends.
enum End {
    /// The pickle ends, or the library will report what is wrong.
    Quiet,
    /// The pickle is too deep or too large.
    Refused(Refused),
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Item>,
    memo: HashMap<u32, Item>,
    made: u64,
}

/// Checks that a pickle's objects are neither too deep nor too large.
///
/// # Errors
/// When they are.
pub(crate) fn check(pickle: &[u8]) -> Result<(), Refused> {
    let mut machine = Machine {
        rest: pickle,
        stack: Vec::new(),
        memo: HashMap::new(),
        made: 0,
    };
    loop {
        match machine.step() {
            Ok(()) => {}
            Err(End::Quiet) => return Ok(()),
            Err(End::Refused(refused)) => return Err(refused),
        }
    }
}

impl Machine<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8], End> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(End::Quiet)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u32, End> {
        let taken = self.take(bytes)?.iter().rev();
        Ok(taken.fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    fn line(&mut self) -> Result<usize, End> {
        let end = self.rest.iter().position(|b| *b == b'\n');
        let end = end.ok_or(End::Quiet)?;
        self.take(end + 1)?;
        Ok(end)
    }

    fn pop(&mut self) -> Result<Item, End> {
        self.stack.pop().ok_or(End::Quiet)
    }

    /// Counts objects that were made or copied.
    fn count(&mut self, objects: u64) -> Result<(), End> {
        self.made = self.made.saturating_add(objects);
        if self.made > MAX_OBJECTS {
            Err(End::Refused(Refused::new(format!(
                "its pickle makes more than {MAX_OBJECTS} objects: it is not a file of weights"
            ))))
        } else {
            Ok(())
        }
    }

    fn push(&mut self, item: Item) -> Result<(), End> {
        if item.depth > MAX_DEPTH {
            return Err(End::Refused(Refused::new(format!(
                "its pickle nests objects more than {MAX_DEPTH} levels deep: it is not a file of weights"
            ))));
        }
        self.stack.push(item);
        Ok(())
    }

    /// Pushes a new object without parts, with this many bytes of text.
    fn plain(&mut self, text: usize) -> Result<(), End> {
        let objects = 1 + text as u64 / 64;
        self.count(objects)?;
        self.push(Item { objects, ..ONE })
    }

    /// Replaces the last `n` objects by a new object that contains them.
    fn around(&mut self, n: usize) -> Result<(), End> {
        let mut out = ONE;
        for _ in 0..n {
            out.add(self.pop()?);
        }
        self.count(1)?;
        self.push(out)
    }

    /// Removes the objects above the last mark, and the mark.
    fn pop_to_mark(&mut self) -> Result<Item, End> {
        let mut out = Item { depth: 0, ..ONE };
        loop {
            match self.pop()? {
                item if item.mark => return Ok(out),
                item => {
                    out.depth = out.depth.max(item.depth);
                    out.objects = out.objects.saturating_add(item.objects);
                }
            }
        }
    }

    /// Adds an object to the last one.
    fn add_to_last(&mut self, item: Item) -> Result<(), End> {
        let mut last = self.pop()?;
        last.add(item);
        self.push(last)
    }

    fn step(&mut self) -> Result<(), End> {
        let op = self.take(1)?[0];
        match op {
            // A protocol; a class by module and name; texts; numbers.
            0x80 => self.take(1).map(drop),
            b'c' => {
                let text = self.line()? + self.line()?;
                self.plain(text)
            }
            b'X' => {
                let n = self.number(4)? as usize;
                if n > self.rest.len() {
                    return Err(End::Refused(Refused::new(
                        "its pickle has a text that is longer than the pickle",
                    )));
                }
                self.take(n)?;
                self.plain(n)
            }
            b'K' => self.take(1).map(drop).and_then(|()| self.plain(0)),
            b'M' => self.take(2).map(drop).and_then(|()| self.plain(0)),
            b'J' => self.take(4).map(drop).and_then(|()| self.plain(0)),
            b'G' => self.take(8).map(drop).and_then(|()| self.plain(0)),
            0x8a => {
                let n = self.number(1)? as usize;
                self.take(n)?;
                self.plain(0)
            }
            // True, false, nothing; an empty tuple, list, dictionary (the library takes `d` for
            // one).
            0x88 | 0x89 | b'N' | b')' | b']' | b'}' | b'd' => self.plain(0),
            b'(' => {
                self.count(1)?;
                self.push(Item { mark: true, ..ONE })
            }
            b't' => {
                let mut out = ONE;
                out.add(self.pop_to_mark()?);
                self.count(1)?;
                self.push(out)
            }
            0x85 | b'Q' => self.around(1),
            // A tuple of two; a call, a new object, a state set.
            0x86 | b'R' | 0x81 | b'b' => self.around(2),
            0x87 => self.around(3),
            b'a' => {
                let item = self.pop()?;
                self.add_to_last(item)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.add_to_last(key)?;
                self.add_to_last(value)
            }
            b'e' | b'u' => {
                let items = self.pop_to_mark()?;
                self.add_to_last(items)
            }
            // Copies into the memo, and out of it.
            b'q' | b'r' => {
                let at = self.number(if op == b'q' { 1 } else { 4 })?;
                let last = *self.stack.last().ok_or(End::Quiet)?;
                self.count(last.objects)?;
                self.memo.insert(at, last);
                Ok(())
            }
            b'h' | b'j' => {
                let at = self.number(if op == b'h' { 1 } else { 4 })?;
                let item = *self.memo.get(&at).ok_or(End::Quiet)?;
                self.count(item.objects)?;
                self.push(item)
            }
            // The end, or what the library does not know.
            _ => Err(End::Quiet),
        }
    }
}

impl Item {
    /// Takes another object in.
    fn add(&mut self, part: Item) {
        self.depth = self.depth.max(part.depth + 1);
        self.objects = self.objects.saturating_add(part.objects);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    fn refused(pickle: &[u8]) -> String {
        check(pickle).unwrap_err().problem
    }

    #[test]
    fn depth_is_bounded_whatever_nests() {
        // One-tuples, lists in lists, calls of calls, dictionaries as values.
        let mut lists = b"]".repeat(200_000);
        lists.extend(b"a".repeat(199_999));
        let mut tuples = b")".to_vec();
        tuples.extend(b"\x85".repeat(200_000));
        let mut calls = b"N".repeat(200_001);
        calls.extend(b"R".repeat(200_000));
        let mut dicts = b"}N".repeat(200_000);
        dicts.push(b'N');
        dicts.extend(b"s".repeat(200_000));
        let mut marks = b"(".repeat(200_000);
        marks.extend(b"t".repeat(200_000));
        for pickle in [lists, tuples, calls, dicts, marks] {
            assert!(refused(&pickle).contains("200 levels"));
        }
        let mut shallow = b"\x80\x02)".to_vec();
        shallow.extend(b"\x85".repeat(100));
        shallow.push(b'.');
        check(&shallow).unwrap();
    }

    #[test]
    fn copies_are_counted() {
        // Each round makes a pair of what the memo holds: 2^40 objects.
        let mut bomb = b"Nq\x00".to_vec();
        bomb.extend(b"h\x00h\x00\x86q\x00".repeat(40));
        assert!(refused(&bomb).contains("more than 4000000 objects"));
        // A long text copied again and again.
        let mut texts = b"X\x00\x00\x01\x00".to_vec();
        texts.extend([b'x'; 65_536]);
        texts.extend(b"q\x00".repeat(10_000));
        assert!(refused(&texts).contains("more than 4000000 objects"));
    }

    #[test]
    fn what_the_library_refuses_is_left_to_it() {
        for pickle in [
            &b""[..],
            b"\x80",
            b"t",
            b"R",
            b"h\x07",
            b"\xff",
            b"X\x05",
            b"cmodule",
        ] {
            check(pickle).unwrap();
        }
        assert!(refused(b"X\xff\xff\xff\xff ").contains("longer than the pickle"));
    }
}
