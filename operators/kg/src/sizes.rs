//! How much the files of a data set hold, without reading more of them than the answer needs.

use gfm_pipe_api::files;
use std::path::Path;

use crate::json::{self, Document, Json};
use crate::lines::{Lines, strip};

/// The count of anything that is not counted to its end, or cannot be read.
pub const MANY: u64 = 1_000_000;

/// Largest file of questions that is read to be counted, in bytes.
const LARGEST: u64 = 256 << 20;

/// Lines of a graph that look like triples, at most [`MANY`].
pub fn triples(kg: &Path) -> u64 {
    let Ok(file) = files::open(kg) else {
        return MANY;
    };
    let mut lines = Lines::new(file);
    let mut count = 0;
    while count < MANY {
        match lines.next_line() {
            Ok(Some(line)) => {
                let text = String::from_utf8_lossy(line.bytes);
                count += u64::from(strip(&text).split(',').count() == 3);
            }
            Ok(None) => return count,
            // The stage that reads it says what is wrong.
            Err(_) => return MANY,
        }
    }
    count
}

/// Questions of a file, as far as it can be read; [`MANY`] where it cannot.
pub fn questions(file: &Path) -> u64 {
    let large = file.metadata().is_ok_and(|m| m.len() > LARGEST);
    if large {
        return MANY;
    }
    match json::read(file, file) {
        Ok(Document::List(items) | Document::Lines(items)) => {
            let objects = items.iter().filter(|i| matches!(i.json, Json::Object(_)));
            objects.count() as u64
        }
        Ok(Document::Object(_)) => 1,
        Ok(Document::Other(_)) | Err(_) => MANY,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn triples_and_questions_are_counted_as_they_would_be_read() {
        assert_eq!(
            triples(file("a,r,b\r\n\na,b\n c,r,d \ra,b,c,d\nx,r,y").path()),
            3
        );
        assert_eq!(triples(file("").path()), 0);
        assert_eq!(triples(Path::new("no/such/file")), MANY);
        for (text, count) in [
            ("[]", 0),
            ("[{\"id\": 1}, null, {\"id\": 2}]", 2),
            ("{\"id\": 1}\n{\"id\": 2}\n{\"id\": 3}\n", 3),
            ("{\"id\": 1, \"question\": \"\"}", 1),
            ("7", MANY),
            ("[{", MANY),
        ] {
            assert_eq!(questions(file(text).path()), count, "{text}");
        }
    }
}
