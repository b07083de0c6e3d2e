//! Answers that were recorded elsewhere: lines of JSON, each with the id of a request and its
//! answer. `gfm-pipe answers` writes such files.

use std::collections::HashMap;
use std::path::Path;

use gfm_pipe_api::items::{Id, hex};
use gfm_pipe_api::{OpError, OpResult, files};
use serde::{Deserialize, Serialize};

use crate::wire::Reply;

/// A line of a file of answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The id of the request in hexadecimal digits: a digest of the model, its parameters and the
    /// conversation.
    pub id: String,
    /// The answer.
    #[serde(flatten)]
    pub reply: Reply,
}

impl Line {
    /// The line of a kept answer. `None` where the bytes are none.
    pub fn of(id: &Id, bytes: &[u8]) -> Option<Line> {
        Some(Line {
            id: hex(id),
            reply: serde_json::from_slice(bytes).ok()?,
        })
    }
}

fn id(digits: &str) -> Option<Id> {
    let mut out = Id::default();
    if digits.len() != 2 * out.len() || !digits.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

/// Reads a file of answers.
///
/// # Errors
/// When it cannot be read, or a line is wrong.
pub(crate) fn read(path: &Path) -> OpResult<HashMap<Id, Vec<u8>>> {
    let text = files::read_text(path)
        .map_err(|e| OpError::wrap("failed to read the answers", e).file(path))?;
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let pairs = lines.map(|(number, line)| {
        let wrong = |what: String| OpError::data(what).file(path).line(number);
        let read: Line = serde_json::from_str(line)
            .map_err(|e| wrong(format!("expected {{\"id\": …, \"content\": …}}: {e}")))?;
        let id = id(&read.id).ok_or_else(|| wrong("the id is no digest".to_owned()))?;
        let bytes = serde_json::to_vec(&read.reply).map_err(|e| wrong(e.to_string()))?;
        Ok((id, bytes))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.jsonl");
        let reply = Reply {
            content: "{\"a\": \"é\"}".to_owned(),
            prompt_tokens: 7,
            ..Reply::default()
        };
        let bytes = serde_json::to_vec(&reply).unwrap();
        let line = Line::of(&[0xa7; 16], &bytes).unwrap();
        std::fs::write(
            &path,
            format!("{}\n\n", serde_json::to_string(&line).unwrap()),
        )
        .unwrap();
        let got = read(&path).unwrap();
        assert_eq!(got, HashMap::from([([0xa7; 16], bytes)]));
        for bad in [
            "{}",
            "x",
            r#"{"id": "zz", "content": ""}"#,
            r#"{"id": "éé"}"#,
        ] {
            std::fs::write(&path, format!("\n{bad}\n")).unwrap();
            let e = read(&path).unwrap_err().to_string();
            assert!(e.contains("answers.jsonl:2"), "{e}");
        }
    }
}
