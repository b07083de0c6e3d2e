//! How much the files of a data set hold, without reading more of them than the answer needs.

use std::io::BufReader;
use std::path::Path;

use gfm_pipe_api::files;
use gfm_pipe_api::node_types::DOCUMENT;

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

/// Records of a CSV file below its header, at most [`MANY`].
pub fn records(csv: &Path) -> u64 {
    let Some(mut reader) = reader(csv) else {
        return MANY;
    };
    let mut record = csv::ByteRecord::new();
    let mut count: u64 = 0;
    // The header is counted too.
    while count <= MANY {
        match reader.read_byte_record(&mut record) {
            Ok(true) => count += 1,
            Ok(false) => return count.saturating_sub(1),
            Err(_) => return MANY,
        }
    }
    MANY
}

/// Whether a file of nodes has one that is a document, as far as it can be read; `true` where it
/// cannot.
pub fn has_document(nodes: &Path) -> bool {
    let Some(mut reader) = reader(nodes) else {
        return true;
    };
    let mut record = csv::ByteRecord::new();
    let mut column = None;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => return true,
        }
        match column {
            None => match record.iter().position(|name| name == b"type") {
                Some(at) => column = Some(at),
                // The stage that reads it says that the column is missing.
                None => return true,
            },
            Some(at) if record.get(at) == Some(DOCUMENT.as_bytes()) => return true,
            Some(_) => {}
        }
    }
}

fn reader(file: &Path) -> Option<csv::Reader<impl std::io::Read>> {
    let file = BufReader::new(files::open(file).ok()?);
    let mut reader = csv::ReaderBuilder::new();
    Some(reader.has_headers(false).flexible(true).from_reader(file))
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

    #[test]
    fn records_of_csv_are_counted_and_documents_found() {
        let edges = "source,relation,target\na,r,\"b\nc\"\n\nc,r\n";
        assert_eq!(records(file(edges).path()), 2);
        assert_eq!(records(file("").path()), 0);
        assert_eq!(records(Path::new("no/such/file")), MANY);
        for (nodes, there) in [
            ("name,type\na,entity\nb,document\n", true),
            ("name,type\ndocument,entity\n\"a\",\"entity\"\n", false),
            ("type,name\nentity\n\"document\",a\n", true),
            ("name\na\n", true),
            ("", false),
        ] {
            assert_eq!(has_document(file(nodes).path()), there, "{nodes}");
        }
        assert!(has_document(Path::new("no/such/file")));
    }
}
