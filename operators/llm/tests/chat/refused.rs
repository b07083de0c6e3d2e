//! Requests that a server refuses.

use gfm_pipe_api::ErrorKind;
use gfm_pipe_testing::{Act, Asked};
use serde_json::{Value, json};

use crate::common::{Stage, params, refuse, say, says, serve};

/// What an error says after one request.
fn refused(status: u16, message: &str, parts: &[&str]) {
    let body = json!({"error": {"message": message}}).to_string();
    let server = serve(move |_| Act::Status(status, Vec::new(), body.clone()));
    let got = Stage::new().name(&params(&server.base_url(), json!({})), "Who?");
    let e = got.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::User, "{e}");
    says(&e, parts);
    says(&e, &[&status.to_string(), message]);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_parameter_that_a_server_does_not_take_is_named() {
    let temperature = "Unsupported value: 'temperature' does not support 0 with this model.";
    refused(400, temperature, &["llm: {temperature: null}"]);
    refused(
        400,
        "unknown field `max_tokens`",
        &["llm: {max_tokens: null}"],
    );
    let renamed = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                   'max_completion_tokens' instead.";
    let parts = ["max_tokens: null", "max_completion_tokens: 4096"];
    refused(400, renamed, &parts);
    refused(
        422,
        "seed: extra inputs are not permitted",
        &["llm: {seed: null}"],
    );
    let long = "This model's maximum context length is 8192 tokens.";
    refused(
        400,
        long,
        &["longer context", "`split`", "lower `llm.max_tokens`"],
    );
    refused(
        404,
        "The model `tester` does not exist",
        &["llm.model", "llm.base_url"],
    );
}

#[test]
fn null_leaves_a_parameter_out() {
    let server = serve(|asked| match asked.body.get("temperature") {
        Some(_) => refuse(400, "'temperature' is not supported", ""),
        None => say(&["Ada"]),
    });
    let stage = Stage::new();
    let with = params(&server.base_url(), json!({}));
    stage.name(&with, "Who?").unwrap_err();
    let without = params(&server.base_url(), json!({"temperature": null}));
    stage.name(&without, "Who?").unwrap().unwrap();
}

/// A server that takes these types of `response_format` only.
fn takes(types: &'static [&'static str]) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked| {
        let format = asked.body.get("response_format");
        match format.and_then(|f| f["type"].as_str()) {
            Some(kind) if !types.contains(&kind) => {
                // What matters comes late.
                let message = format!("{} response_format.type: {kind}", "no ".repeat(200));
                refuse(400, &message, "invalid_request_error")
            }
            _ => say(&["Ada"]),
        }
    }
}

/// The types of `response_format` that a server was asked with.
fn formats(asked: &[Asked]) -> Vec<Value> {
    let format = |a: &Asked| a.body["response_format"]["type"].clone();
    asked.iter().map(format).collect()
}

#[test]
fn json_is_asked_for_in_a_way_that_the_server_knows() {
    let server = serve(takes(&[]));
    let auto = params(&server.base_url(), json!({"concurrency": 1, "retries": 0}));
    let stage = Stage::new();
    let got = stage.names(&auto, &["Who?", "Who else?"]).unwrap();
    assert!(got.iter().all(|n| n.as_ref().unwrap().value == ["Ada"]));
    // The second question starts where the first ended.
    let want = [
        json!("json_schema"),
        json!("json_object"),
        Value::Null,
        Value::Null,
    ];
    assert_eq!(formats(&server.asked()), want);
    // Whichever way it was asked for, the answer is kept for this `auto`.
    stage.names(&auto, &["Who?"]).unwrap();
    assert_eq!(server.asked().len(), 4);

    let server = serve(takes(&["json_object"]));
    let auto = params(&server.base_url(), json!({"concurrency": 8}));
    let questions = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let got = Stage::new().names(&auto, &questions).unwrap();
    assert!(got.iter().all(Result::is_ok));
    assert_eq!(formats(&server.asked()).last(), Some(&json!("json_object")));
}

#[test]
fn a_chosen_way_to_ask_for_json_is_not_left() {
    for (mode, kind) in [("schema", "json_schema"), ("object", "json_object")] {
        let server = serve(takes(&[]));
        let params = params(&server.base_url(), json!({"json": mode}));
        let e = Stage::new().name(&params, "Who?").unwrap_err();
        says(&e, &["400", "llm.json: prompt"]);
        assert_eq!(formats(&server.asked()), [json!(kind)]);
    }
    let server = serve(takes(&[]));
    let params = params(&server.base_url(), json!({"json": "prompt"}));
    Stage::new().name(&params, "Who?").unwrap().unwrap();
    assert_eq!(formats(&server.asked()), [Value::Null]);
}
