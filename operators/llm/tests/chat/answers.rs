//! Answers that are not what was asked for.

use gfm_pipe_llm::NoAnswer;
use gfm_pipe_testing::{Act, Asked, ModelServer};
use serde_json::{Value, json};

use crate::common::{
    Names, Stage, choice, conversation, params, refuse, say, says, serve, serve_in_turn,
};

/// What comes of an answer, and the server that gave it.
fn answer(act: Act) -> (Names, ModelServer) {
    let server = serve(move |_| act.clone());
    let got = Stage::new().name(&params(&server.base_url(), json!({})), "Who?");
    (got.unwrap(), server)
}

fn whole(act: Act) -> Vec<String> {
    let (got, server) = answer(act);
    let got = got.unwrap();
    assert!(!got.cut);
    assert_eq!(server.asked().len(), 1);
    got.value
}

/// Why there is no answer, after this many requests.
fn none(act: Act, requests: usize) -> NoAnswer {
    let (got, server) = answer(act);
    assert_eq!(server.asked().len(), requests);
    got.unwrap_err()
}

#[test]
fn an_answer_of_the_wrong_form_is_sent_back_once() {
    let wrong = "{\"nomes\": [\"Ada\"]}";
    let server = serve_in_turn(vec![Act::Say(wrong.to_owned()), say(&["Ada"])]);
    let stage = Stage::new();
    let params = params(&server.base_url(), json!({}));
    let got = stage.name(&params, "Who?").unwrap().unwrap();
    assert_eq!((got.value, got.cut), (vec!["Ada".to_owned()], false));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let messages = asked[1].body["messages"].as_array().unwrap();
    let first: Vec<Value> = conversation("Who?").iter().map(|m| json!(m)).collect();
    assert_eq!(messages[..2], first);
    assert_eq!(messages[2], json!({"role": "assistant", "content": wrong}));
    assert_eq!(messages[3]["role"], "user");
    let last = asked[1].last();
    assert!(
        last.contains("there is no list `names`") && last.contains("\"required\""),
        "{last}"
    );
    assert_eq!(
        asked[1].body["response_format"],
        asked[0].body["response_format"]
    );
    // Both answers are kept.
    stage.name(&params, "Who?").unwrap().unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn an_answer_that_stays_wrong_is_no_answer() {
    let wrong = "{\"names\": [1]}";
    let got = none(Act::Say(wrong.to_owned()), 2);
    assert_eq!(
        (&got.reason[..], &got.content[..]),
        ("a name is no text", wrong)
    );
    let got = none(Act::Say("Ada, I think.".to_owned()), 2);
    assert_eq!(got.reason, "the answer is no JSON object");
    assert_eq!(got.content, "Ada, I think.");
    for repairs in [0, 3] {
        let server = serve(|_| Act::Say("Ada".to_owned()));
        let params = params(&server.base_url(), json!({"repairs": repairs}));
        Stage::new().name(&params, "Who?").unwrap().unwrap_err();
        assert_eq!(server.asked().len(), repairs + 1);
    }
}

#[test]
fn an_empty_answer_is_no_answer() {
    for act in [
        Act::Say(String::new()),
        Act::Say(" \n".to_owned()),
        Act::Say("<think>Ada? {\"names\": [\"Ada\"]}".to_owned()),
        choice(&json!({"role": "assistant", "content": null}), "stop"),
        choice(&json!({}), "stop"),
    ] {
        assert_eq!(none(act, 2).reason, "the answer is empty");
    }
}

#[test]
fn an_empty_answer_is_not_kept() {
    let empty = || Act::Say(String::new());
    let server = serve_in_turn(vec![empty(), empty(), empty(), say(&["Ada"])]);
    let params = params(&server.base_url(), json!({}));
    let stage = Stage::new();
    stage.name(&params, "Who?").unwrap().unwrap_err();
    assert_eq!(server.asked().len(), 2);
    // The second try of the next run has an answer, to the same question.
    assert_eq!(stage.name(&params, "Who?").unwrap().unwrap().value, ["Ada"]);
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|a| a.body == asked[0].body));
}

#[test]
fn a_refusal_is_not_argued_with() {
    let refusal = json!({"content": null, "refusal": "I will not name anybody"});
    let got = none(choice(&refusal, "stop"), 1);
    assert!(got.reason.contains("refused") && got.reason.contains("I will not name anybody"));
    let filtered = choice(&json!({"content": "{\"names\": ["}), "content_filter");
    let got = none(filtered, 1);
    assert!(got.reason.contains("filter"), "{}", got.reason);
    assert_eq!(got.content, "{\"names\": [");
}

/// One document that a server does not let through must not stop thousands.
#[test]
fn a_prompt_that_a_server_filters_is_no_answer() {
    let act = |asked: &Asked| {
        if asked.last().contains("war") {
            refuse(400, "The prompt triggered our policy", "content_filter")
        } else {
            say(&["Ada"])
        }
    };
    let server = serve(act);
    let params = params(&server.base_url(), json!({}));
    let stage = Stage::new();
    for _ in 0..2 {
        let got = stage.names(&params, &["a war", "peace"]).unwrap();
        let no = got[0].as_ref().unwrap_err();
        assert!(
            no.reason.contains("The prompt triggered our policy"),
            "{no:?}"
        );
        assert_eq!(got[1].as_ref().unwrap().value, ["Ada"]);
    }
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn what_was_complete_of_a_cut_answer_is_kept() {
    let cut = json!({"content": "{\"names\": [\"Ada\", \"Bob\", \"Cha"});
    let (got, server) = answer(choice(&cut, "length"));
    let got = got.unwrap();
    assert_eq!(
        (got.value, got.cut),
        (vec!["Ada".to_owned(), "Bob".to_owned()], true)
    );
    assert_eq!(server.asked().len(), 1);
    // All of it is there, but perhaps there would have been more.
    let full = json!({"content": "{\"names\": [\"Ada\"]}"});
    assert!(answer(choice(&full, "length")).0.unwrap().cut);
    let nothing = json!({"content": "Let me think: first of all"});
    let got = none(choice(&nothing, "length"), 1);
    assert_eq!(got.content, "Let me think: first of all");
}

#[test]
fn json_is_found_in_other_text() {
    for text in [
        "```json\n{\"names\": [\"Ada\"]}\n```",
        "Here you are: {\"names\": [\"Ada\",],} Anything else?",
        "<think>{\"names\": []}?</think>{\"names\": [\"Ada\"]}",
    ] {
        assert_eq!(whole(Act::Say(text.to_owned())), ["Ada"], "{text}");
    }
    let parts = json!([{"type": "text", "text": "{\"names\": [\"A"}, {"text": "da\"]}"}]);
    assert_eq!(whole(choice(&json!({"content": parts}), "stop")), ["Ada"]);
}

#[test]
fn a_long_answer_is_read_to_its_end() {
    let names: Vec<String> = (0..6000).map(|i| format!("Ada the {i}th of Ü")).collect();
    let said: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(json!(said).to_string().len() > 100_000);
    assert_eq!(whole(say(&said)), names);
}

#[test]
fn bytes_that_are_no_text_cost_one_character() {
    let body =
        b"{\"choices\": [{\"message\": {\"content\": \"{\\\"names\\\": [\\\"caf\xc3\\\"]}\"}}]}";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    let mut raw = format!("{head}{}\r\n\r\n", body.len()).into_bytes();
    raw.extend(body);
    assert_eq!(whole(Act::Raw(raw)), ["caf\u{fffd}"]);
}

#[test]
fn an_answer_without_end_is_given_up() {
    let server = serve(|_| Act::Say("a".repeat(33 << 20)));
    let got = Stage::new().name(&params(&server.base_url(), json!({})), "Who?");
    says(&got.unwrap_err(), &["more than 32 MiB", "llm.max_tokens"]);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_answer_to_a_part_of_the_prompt_is_an_error() {
    let read = |tokens: u64| {
        Act::Reply(json!({
            "choices": [{"message": {"content": "{\"names\": []}"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 5},
        }))
    };
    let server = serve_in_turn(vec![read(2048), read(5000)]);
    let mut stage = Stage::new();
    let params = params(&server.base_url(), json!({}));
    let long = "word ".repeat(4000);
    let ask = |stage: &Stage| {
        let chat = gfm_pipe_llm::Chat::open(&stage.ctx, &params)?;
        chat.each(1, "documents", |_, asker| {
            asker.reply("Moby Dick", &conversation(&long))
        })
    };
    let e = ask(&stage).unwrap_err();
    says(
        &e,
        &["only 2048 tokens", "\"Moby Dick\"", "num_ctx", "`split`"],
    );
    // With a longer context, the same request is sent again.
    stage.run_again();
    ask(&stage).unwrap();
    assert_eq!(server.asked().len(), 2);
}
