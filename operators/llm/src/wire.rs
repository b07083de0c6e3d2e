//! What is sent to a server and what comes back: OpenAI's chat completions.

use gfm_pipe_api::{OpError, OpResult};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::params::{JsonMode, LlmParams};
use crate::prompt::Message;

/// The form of an answer in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Its name, for the server: letters and `_`.
    pub name: &'static str,
    /// Its JSON schema. All properties are required and no others are allowed.
    pub schema: Value,
}

/// An answer as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What the model wrote.
    pub content: String,
    /// Why it stopped: `stop`, `length`, `content_filter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// Why it refused to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Tokens of the prompt, as the server counts them.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

impl Reply {
    /// Whether the answer ends because it reached the most tokens it may have.
    pub fn is_cut(&self) -> bool {
        self.finish.as_deref() == Some("length")
    }

    /// Why there is no answer, where the model or the server refused to give one.
    pub fn refused(&self) -> Option<String> {
        if let Some(why) = self.refusal.as_deref().filter(|why| !why.is_empty()) {
            return Some(format!("the model refused to answer: {why}"));
        }
        (self.finish.as_deref() == Some("content_filter"))
            .then(|| "the server's filter of contents withheld the answer".to_owned())
    }

    /// The answer without the thoughts that some models put before it. Some servers leave out where
    /// they begin.
    pub fn text(&self) -> &str {
        let text = self.content.trim();
        match text.rsplit_once("</think>") {
            Some((_, answer)) => answer.trim(),
            None if text.starts_with("<think>") => "",
            None => text,
        }
    }

    /// Whether the model said nothing at all, and not because it refused or had no room.
    pub(crate) fn is_empty(&self) -> bool {
        self.content.trim().is_empty() && self.refused().is_none() && !self.is_cut()
    }
}

/// The body of a request.
pub(crate) fn body(
    params: &LlmParams,
    messages: &[Message],
    shape: Option<&Shape>,
    mode: JsonMode,
) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(params.model));
    body.insert("messages".to_owned(), json!(messages));
    let mut maybe = |name: &str, value: Option<Value>| {
        body.extend(value.map(|value| (name.to_owned(), value)));
    };
    maybe("temperature", params.temperature.map(|v| json!(v)));
    maybe("seed", params.seed.map(|v| json!(v)));
    maybe("max_tokens", params.max_tokens.map(|v| json!(v)));
    maybe(
        "max_completion_tokens",
        params.max_completion_tokens.map(|v| json!(v)),
    );
    let format = shape.and_then(|shape| match mode {
        JsonMode::Auto | JsonMode::Schema => Some(json!({
            "type": "json_schema",
            "json_schema": {"name": shape.name, "strict": true, "schema": shape.schema},
        })),
        JsonMode::Object => Some(json!({"type": "json_object"})),
        JsonMode::Prompt => None,
    });
    maybe("response_format", format);
    Value::Object(body)
}

/// Names of parameters that a server may refuse, and that `null` leaves out.
pub(crate) const NULLABLE: [&str; 4] =
    ["max_completion_tokens", "max_tokens", "temperature", "seed"];

/// Reads a server's answer. `None` where it is none. Of a character that is no UTF-8, only the
/// character is lost: servers that cut an answer between two tokens send half a character.
pub(crate) fn reply(bytes: &[u8]) -> Option<Reply> {
    /// No model counts further; sums of such counts fit into 64 bits.
    const MOST_TOKENS: u64 = 1 << 40;
    let value: Value = serde_json::from_str(&String::from_utf8_lossy(bytes)).ok()?;
    let choice = value.get("choices")?.get(0)?;
    let message = choice.get("message")?;
    let content = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|p| p.get("text")?.as_str());
            texts.collect()
        }
        _ => String::new(),
    };
    let text = |of: &Value, name: &str| of.get(name)?.as_str().map(str::to_owned);
    let tokens = |name: &str| {
        let count = value
            .get("usage")
            .and_then(|usage| usage.get(name)?.as_u64());
        count.unwrap_or(0).min(MOST_TOKENS)
    };
    Some(Reply {
        content,
        finish: text(choice, "finish_reason"),
        refusal: text(message, "refusal"),
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
    })
}

/// What a server says is wrong, and its code.
pub(crate) fn complaint(bytes: &[u8]) -> (String, String) {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    let inner = value.as_ref().map(|v| v.get("error").unwrap_or(v));
    let field = |name: &str| inner.and_then(|v| v.get(name)?.as_str());
    let said = inner
        .and_then(Value::as_str)
        .or_else(|| field("message"))
        .or_else(|| field("detail"));
    let said = match said {
        Some(said) => said.to_owned(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    let code = field("code").or_else(|| field("type")).unwrap_or_default();
    (said, code.to_owned())
}

/// A text of a server on one line that is not too long for a message.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 400;
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        // A long text is not read to its end.
        if out.len() > 4 * MOST {
            break;
        }
    }
    match out.char_indices().nth(MOST) {
        None => out,
        Some((at, _)) => format!("{}…", &out[..at]),
    }
}

/// A rough number of tokens of a text.
pub fn rough_tokens(text: &str) -> u64 {
    // About four letters of English; letters of other scripts are a token or two.
    let (ascii, other) = text.chars().fold((0, 0), |(ascii, other), c| {
        if c.is_ascii() {
            (ascii + 1, other)
        } else {
            (ascii, other + 1)
        }
    });
    ascii / 4 + other + 1
}

/// Rough tokens of messages.
pub(crate) fn rough_tokens_of(messages: &[Message]) -> u64 {
    messages.iter().map(|m| 4 + rough_tokens(&m.content)).sum()
}

/// Finds out whether the server has cut the prompt. A token never holds more than one word, so a
/// prompt has at least as many tokens as words. Some servers count no tokens, or leave out those at
/// the beginning that they know from the request before: so it is compared with the last message.
///
/// # Errors
/// When it has.
pub(crate) fn check_whole(name: &str, messages: &[Message], reply: &Reply) -> OpResult<()> {
    let last = messages.last().map_or("", |message| &message.content);
    let words = last.split_whitespace().count() as u64;
    if reply.prompt_tokens == 0 || reply.prompt_tokens.saturating_mul(10) >= words * 9 {
        return Ok(());
    }
    Err(OpError::data(format!(
        "the server read only {} tokens of a text of {words} words, for {name:?}: it cuts long \
         prompts, and what it answers is about a part of them",
        reply.prompt_tokens
    ))
    .hint(
        "give the model a longer context (Ollama: `num_ctx`), or shorter documents \
         (`ingest-documents` has `split`)",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::prompt::Role;

    #[test]
    fn answers_of_all_forms_are_read() {
        let cut = br#"{"choices": [{"message": {"content": "hi"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2}}"#;
        let got = reply(cut).unwrap();
        assert!(got.is_cut() && got.content == "hi");
        assert_eq!((got.prompt_tokens, got.completion_tokens), (3, 2));
        let parts = br#"{"choices": [{"message": {"content": [{"type": "text", "text": "a"},
            {"type": "text", "text": "b"}]}}]}"#;
        assert_eq!(reply(parts).unwrap().content, "ab");
        let refusal = br#"{"choices": [{"message": {"content": null, "refusal": "I cannot"}}]}"#;
        let refused = reply(refusal).unwrap().refused().unwrap();
        assert!(refused.contains("I cannot"));
        for bad in [
            &b""[..],
            b"{}",
            b"[]",
            b"<html>",
            b"{\"choices\": []}",
            b"\xff\xfe",
        ] {
            assert_eq!(reply(bad), None);
        }
    }

    #[test]
    fn half_a_character_and_huge_counts_do_no_harm() {
        let half = b"{\"choices\": [{\"message\": {\"content\": \"caf\xc3\"}}]}";
        assert_eq!(reply(half).unwrap().content, "caf\u{fffd}");
        let huge =
            br#"{"choices": [{"message": {}}], "usage": {"prompt_tokens": 18446744073709551615}}"#;
        let huge = reply(huge).unwrap();
        check_whole("Ada", &[], &huge).unwrap();
        assert!(huge.prompt_tokens.checked_mul(1000).is_some());
    }

    #[test]
    fn thoughts_are_no_answer() {
        let text = |content: &str| {
            let content = content.to_owned();
            Reply {
                content,
                ..Reply::default()
            }
            .text()
            .to_owned()
        };
        assert_eq!(text(" <think>hm {}</think>\n yes "), "yes");
        assert_eq!(text("<think>never ends"), "");
        assert_eq!(text("a <think> b"), "a <think> b");
    }

    #[test]
    fn complaints_are_found_and_shortened() {
        let got = |bytes: &[u8]| {
            let (said, code) = complaint(bytes);
            (shortened(&said), code)
        };
        let openai = br#"{"error": {"message": "Bad  key", "code": "invalid_api_key"}}"#;
        assert_eq!(
            got(openai),
            ("Bad key".to_owned(), "invalid_api_key".to_owned())
        );
        assert_eq!(got(br#"{"error": "no model"}"#).0, "no model");
        assert_eq!(got(br#"{"detail": "too long"}"#).0, "too long");
        assert_eq!(got(b"<html>oops</html>").0, "<html>oops</html>");
        assert_eq!(got(&[b'x'; 9999]).0, format!("{}…", "x".repeat(400)));
    }

    #[test]
    fn a_prompt_that_was_cut_is_found() {
        let message = |content: &str| Message {
            role: Role::User,
            content: content.to_owned(),
        };
        let long = [message(&"word ".repeat(3000))];
        let read = |tokens| Reply {
            prompt_tokens: tokens,
            ..Reply::default()
        };
        let e = check_whole("Ada", &long, &read(2048)).unwrap_err();
        assert!(e.to_string().contains("\"Ada\""), "{e}");
        for tokens in [0, 3000, 4000] {
            check_whole("Ada", &long, &read(tokens)).unwrap();
        }
    }
}
