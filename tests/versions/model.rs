//! What stands in for a language model: rules whose answers depend on the request alone.

use gfm_pipe_testing::{Act, Asked};
use serde_json::{Value, json};

/// Most names of an answer.
const NAMES: usize = 6;

/// The distinct words with a capital letter, in their order.
fn names(text: &str) -> Vec<&str> {
    let mut out: Vec<&str> = Vec::new();
    let words = text.split(|c: char| !c.is_alphanumeric());
    for word in words.filter(|w| w.chars().next().is_some_and(char::is_uppercase)) {
        if !out.contains(&word) {
            out.push(word);
        }
    }
    out.truncate(NAMES);
    out
}

/// Answers a request by the property that its answer must have.
pub fn answer(asked: &Asked) -> Act {
    let schema = &asked.body["response_format"]["json_schema"]["schema"];
    let last = asked.last();
    let given: Value = serde_json::from_str(&last).unwrap_or_default();
    let asks_for = |property: &str| schema["properties"].get(property).is_some();
    let named = names(given["text"].as_str().unwrap_or(&last));
    let answer = if asks_for("named_entities") {
        json!({"named_entities": named})
    } else if asks_for("triples") {
        let pairs = named.windows(2);
        let facts: Vec<Value> = pairs.map(|p| json!([p[0], "is near", p[1]])).collect();
        json!({"triples": facts})
    } else if asks_for("fact") {
        let first: Vec<&Value> = given["fact"]
            .as_array()
            .into_iter()
            .flatten()
            .take(2)
            .collect();
        json!({"fact": first})
    } else if asks_for("question") {
        let question = given["question"].as_str().unwrap_or_default();
        json!({"question": format!("Say, {question}")})
    } else if asks_for("answer") {
        json!({"reasoning": "It is the first name.", "answer": named.first(), "cited": [1]})
    } else {
        return Act::Say(format!("What is {} about?", named.join(" ")));
    };
    Act::Say(answer.to_string())
}
