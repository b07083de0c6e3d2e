//! What the operators that may ask a language model have in common.

use gfm_pipe_api::Problem;
use gfm_pipe_kg::json::Json;
use gfm_pipe_llm::{LlmParams, Shape};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// Whether a pipeline sets a parameter of the group `llm`.
pub fn is_given(llm: &LlmParams) -> bool {
    let defaults = LlmParams::schema().normalize(&Value::Null).ok();
    let defaults = defaults.and_then(|v| serde_json::from_value::<LlmParams>(v).ok());
    defaults.as_ref() != Some(llm)
}

/// Problems of the groups `llm` and `prompts` of an operator that asks a language model with
/// `by: llm` only. `asks` says whether it does, `prompts` whether prompts are given.
pub fn problems(asks: bool, llm: &LlmParams, prompts: bool) -> Vec<Problem> {
    if asks {
        return llm.problems(true);
    }
    let given = [("llm", is_given(llm)), ("prompts", prompts)];
    let given = given.into_iter().filter(|(_, given)| *given);
    given
        .map(|(group, _)| Problem::at(group, "only `by: llm` asks a language model"))
        .collect()
}

/// The shape of an object with a list of texts, or of facts.
pub fn shape(name: &'static str, key: &'static str, item: &Value) -> Shape {
    Shape {
        name,
        schema: json!({
            "type": "object",
            "properties": {key: {"type": "array", "items": item}},
            "required": [key],
            "additionalProperties": false,
        }),
    }
}

/// The schema of a fact. Not every server knows how to limit the length of a list, so that it has
/// three texts is checked later.
pub fn fact_schema() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

/// The list of this key in an answer.
///
/// # Errors
/// When there is none, in words for the model.
pub fn list(answer: &Value, key: &str) -> Result<Json, String> {
    let value = answer.get(key);
    let value = value.ok_or_else(|| format!("the object has no key \"{key}\""))?;
    match Json::deserialize(value) {
        Ok(list @ Json::List(_)) => Ok(list),
        Ok(other) => Err(format!("\"{key}\" is {}, not a list", other.what())),
        Err(e) => Err(format!("\"{key}\" cannot be read: {e}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_group_counts_as_given_where_anything_differs_from_the_defaults() {
        let of = |given: Value| {
            let full = LlmParams::schema().normalize(&given).unwrap();
            is_given(&serde_json::from_value(full).unwrap())
        };
        assert!(!of(json!({})));
        assert!(!of(json!({"temperature": 0, "budget": {}})));
        assert!(of(json!({"model": "x"})));
        assert!(of(json!({"concurrency": 2})));
    }

    #[test]
    fn only_lists_are_taken() {
        let of = |value: Value| list(&value, "fact").map(|list| list.shown());
        assert_eq!(
            of(json!({"fact": [["a", 1]]})),
            Ok("[[\"a\",1]]".to_owned())
        );
        assert_eq!(
            of(json!({})),
            Err("the object has no key \"fact\"".to_owned())
        );
        assert_eq!(
            of(json!({"fact": 7})),
            Err("\"fact\" is a number, not a list".to_owned())
        );
    }
}
