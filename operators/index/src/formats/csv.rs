//! Reads CSV with a header, one record at a time.

use gfm_pipe_api::OpResult;
use gfm_pipe_kg::json::Json;

use super::Fault;
use super::rows::{Each, Row};

/// Reads CSV with a header. The separator (comma, semicolon, tab or bar) is the one with which the
/// header has a column `wanted`.
///
/// # Errors
/// The errors of `each`.
pub fn read(text: &str, wanted: &str, each: &mut Each<'_>) -> OpResult<()> {
    let header = |separator: u8| -> Vec<String> {
        let mut reader = reader(text, separator);
        let mut record = csv::StringRecord::new();
        match reader.read_record(&mut record) {
            Ok(true) => record.iter().map(|name| name.trim().to_owned()).collect(),
            _ => Vec::new(),
        }
    };
    let headers = [b',', b';', b'\t', b'|'].map(|separator| (separator, header(separator)));
    let Some((separator, names)) = headers
        .iter()
        .find(|(_, h)| h.iter().any(|name| name == wanted))
    else {
        let most = headers.iter().max_by_key(|(_, h)| h.len());
        let names = most.map(|(_, h)| h.join(", ")).unwrap_or_default();
        return each(Err(Fault::file(if names.is_empty() {
            "the file has no header line".to_owned()
        } else {
            format!("the header has no column `{wanted}`; it has: {names}")
        })));
    };
    let mut reader = reader(text, *separator);
    let mut record = csv::StringRecord::new();
    let mut number = 0;
    let mut header = true;
    loop {
        let (from, line) = (reader.position().byte() as usize, reader.position().line());
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) if header => {
                header = false;
                continue;
            }
            Ok(true) => {}
            Err(e) => {
                let mut fault = Fault::file(format!("the record is not valid CSV: {e}"));
                fault.line = Some(line);
                each(Err(fault))?;
                continue;
            }
        }
        // Empty lines before a record are read with it, but do not belong to it.
        let to = (reader.position().byte() as usize).min(text.len());
        let whole = text.get(from..to).unwrap_or_default();
        let bare = whole.trim_matches(['\r', '\n']);
        let skipped = whole.len() - whole.trim_start_matches(['\r', '\n']).len();
        let start = from + skipped;
        let line = line + whole[..skipped].matches('\n').count() as u64;
        each(if record.len() == names.len() {
            let cells = names.iter().zip(&record);
            let pairs = cells.map(|(name, cell)| (name.clone(), Json::Text(cell.to_owned())));
            Ok(Row {
                key: None,
                value: Json::Object(pairs.collect()),
                span: start..start + bare.len(),
                line,
                number,
            })
        } else {
            Err(Fault {
                line: Some(line),
                item: None,
                reason: format!(
                    "the record has {} fields, the header {}: is a field with a separator not in quotes?",
                    record.len(),
                    names.len()
                ),
                text: bare.to_owned(),
            })
        })?;
        number += 1;
    }
}

fn reader(text: &str, separator: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use crate::formats::Format;
    use crate::formats::rows::testing::lines;

    #[test]
    fn csv_finds_its_separator_and_its_records() {
        for (text, want) in [
            (
                "id,text\n1,\"a, \"\"b\"\"\nc\"\n\n2,d\n",
                &[
                    "2 0 {\"id\":\"1\",\"text\":\"a, \\\"b\\\"\\nc\"} <1,\"a, \"\"b\"\"\nc\">",
                    "5 1 {\"id\":\"2\",\"text\":\"d\"} <2,d>",
                ][..],
            ),
            (
                "title; text\r\nA;x, y\r\n",
                &["2 0 {\"title\":\"A\",\"text\":\"x, y\"} <A;x, y>"],
            ),
            (
                "text\tn\nx\t1",
                &["2 0 {\"text\":\"x\",\"n\":\"1\"} <x\t1>"],
            ),
            ("text\nonly", &["2 0 {\"text\":\"only\"} <only>"]),
            (
                "id,text\n1,a,b\n2\n3,c",
                &[
                    "2 : the record has 3 fields, the header 2: is a field with a separator not in quotes?",
                    "3 : the record has 1 fields, the header 2: is a field with a separator not in quotes?",
                    "4 2 {\"id\":\"3\",\"text\":\"c\"} <3,c>",
                ],
            ),
            (
                "id,body\n1,x",
                &[" : the header has no column `text`; it has: id, body"],
            ),
            ("", &[" : the file has no header line"]),
        ] {
            assert_eq!(lines(Format::Csv, text), want, "{text}");
        }
    }
}
