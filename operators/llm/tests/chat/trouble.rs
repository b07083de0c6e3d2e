//! Servers that are slow, busy, broken or absent.

use std::time::{Duration, Instant, SystemTime};

use gfm_pipe_api::ErrorKind;
use gfm_pipe_testing::Act;
use serde_json::{Value, json};

use crate::common::{
    Stage, conversation, numbered, params, refuse, say, says, serve, serve_in_turn, shape,
};

fn ada() -> Vec<String> {
    vec!["Ada".to_owned()]
}

/// Asks a server that answers in the end. Returns the number of requests and the time.
fn asked_until_answered(acts: Vec<Act>, more: Value) -> (usize, Duration) {
    let server = serve_in_turn(acts);
    let start = Instant::now();
    let got = Stage::new().name(&params(&server.base_url(), more), "Who?");
    assert_eq!(got.unwrap().unwrap().value, ada());
    (server.asked().len(), start.elapsed())
}

/// Asks a server that never answers. Returns the number of requests, and what the error says.
fn asked_in_vain(act: Act, more: Value, kind: ErrorKind, parts: &[&str]) -> usize {
    let server = serve(move |_| act.clone());
    let got = Stage::new().name(&params(&server.base_url(), more), "Who?");
    let e = got.unwrap_err();
    assert_eq!(e.kind(), kind, "{e}");
    says(&e, parts);
    server.asked().len()
}

#[test]
fn a_request_is_what_openai_describes() {
    let server = serve(|_| say(&["Ada"]));
    let stage = Stage::new();
    let plain = params(&server.base_url(), json!({}));
    assert_eq!(stage.name(&plain, "Who?").unwrap().unwrap().value, ada());
    stage.texts(&plain, &numbered(1)).unwrap();
    let more = json!({"temperature": null, "max_tokens": null, "max_completion_tokens": 9,
        "seed": 7});
    let other = params(&format!("{}/", server.base_url()), more);
    stage.texts(&other, &numbered(1)).unwrap();

    let asked = server.asked();
    assert!(asked.iter().all(|a| a.path == "/v1/chat/completions"));
    let format = json!({"type": "json_schema",
        "json_schema": {"name": "names", "strict": true, "schema": shape().schema}});
    let who = json!({"model": "tester", "messages": conversation("Who?"), "temperature": 0.0,
        "max_tokens": 4096, "response_format": format});
    assert_eq!(asked[0].body, who);
    let text = json!({"model": "tester", "messages": conversation("question 0"),
        "temperature": 0.0, "max_tokens": 4096});
    assert_eq!(asked[1].body, text);
    let text = json!({"model": "tester", "messages": conversation("question 0"), "seed": 7,
        "max_completion_tokens": 9});
    assert_eq!(asked[2].body, text);
}

#[test]
fn a_slow_server_is_asked_again() {
    let slow = Act::After(Duration::from_secs(20), Box::new(say(&["late"])));
    let (asked, time) = asked_until_answered(vec![slow, say(&["Ada"])], json!({"timeout": 0.5}));
    assert_eq!(asked, 2);
    assert!(time < Duration::from_secs(10), "{time:?}");
    let once = json!({"timeout": 0.3, "retries": 1});
    let parts = [
        "did not answer within",
        "tried 2 times",
        "\"Who?\"",
        "run again",
    ];
    assert_eq!(
        asked_in_vain(Act::Hang, once, ErrorKind::Resource, &parts),
        2
    );
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
    let half = Act::Raw(format!("{head}{{\"choices\": [{{\"mess").into_bytes());
    let nothing = Act::Raw(Vec::new());
    let nonsense = Act::Raw(b"\x00\x01 what is HTTP?\r\n\r\n".to_vec());
    let acts = vec![half.clone(), nothing, nonsense, say(&["Ada"])];
    assert_eq!(asked_until_answered(acts, json!({})).0, 4);
    let parts = ["broke off its answer", "tried 2 times"];
    let asked = asked_in_vain(half, json!({"retries": 1}), ErrorKind::Resource, &parts);
    assert_eq!(asked, 2);
}

#[test]
fn a_busy_server_says_how_long_to_wait() {
    let busy = |after: String| Act::Status(429, vec![("retry-after", after)], String::new());
    let acts = vec![busy("1.2".to_owned()), say(&["Ada"])];
    let (asked, time) = asked_until_answered(acts, json!({}));
    assert_eq!(asked, 2);
    assert!(time >= Duration::from_millis(1200), "{time:?}");

    // A date has whole seconds.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    let (asked, time) = asked_until_answered(vec![busy(date), say(&["Ada"])], json!({}));
    assert_eq!(asked, 2);
    assert!(time >= Duration::from_millis(1500), "{time:?}");

    // Without a pause, all tries would be over at once.
    let none = busy("0".to_owned());
    let (_, time) = asked_until_answered(vec![none.clone(), none, say(&["Ada"])], json!({}));
    assert!(time >= Duration::from_millis(700), "{time:?}");

    let parts = ["429", "61 minutes", "run again"];
    let hour = busy("3601".to_owned());
    assert_eq!(
        asked_in_vain(hour, json!({}), ErrorKind::Resource, &parts),
        1
    );
}

#[test]
fn an_account_without_money_is_not_asked_again() {
    let parts = ["You exceeded your quota", "account", "kept"];
    for status in [429, 402] {
        let empty = refuse(status, "You exceeded your quota", "insufficient_quota");
        assert_eq!(asked_in_vain(empty, json!({}), ErrorKind::User, &parts), 1);
    }
}

#[test]
fn a_server_that_fails_is_asked_again() {
    let fails = refuse(500, "CUDA out of memory", "");
    let acts = vec![fails.clone(), say(&["Ada"])];
    assert_eq!(asked_until_answered(acts, json!({})).0, 2);
    let parts = ["500", "CUDA out of memory", "tried 2 times", "run again"];
    let asked = asked_in_vain(
        fails.clone(),
        json!({"retries": 1}),
        ErrorKind::Resource,
        &parts,
    );
    assert_eq!(asked, 2);
    let parts = ["tried once"];
    assert_eq!(
        asked_in_vain(fails, json!({"retries": 0}), ErrorKind::Resource, &parts),
        1
    );
}

#[test]
fn what_is_no_chat_completion_is_shown() {
    let page = "<html><body>Welcome to the\n\n   router</body></html>";
    let page = Act::Status(200, Vec::new(), page.to_owned());
    let malformed = Act::Status(200, Vec::new(), "{\"choices\": [".to_owned());
    let empty = Act::Status(200, Vec::new(), String::new());
    let other = Act::Reply(json!({"error": {"message": "no model is loaded"}}));
    let once = || json!({"retries": 0});
    for (act, said) in [
        (page.clone(), "<html><body>Welcome to the router"),
        (malformed.clone(), "but: {\"choices\": ["),
        (empty, "but: nothing"),
        (other, "but: no model is loaded"),
    ] {
        let parts = ["no chat completion", said, "llm.base_url"];
        assert_eq!(asked_in_vain(act, once(), ErrorKind::Resource, &parts), 1);
    }
    let acts = vec![page.clone(), malformed, say(&["Ada"])];
    assert_eq!(asked_until_answered(acts, json!({})).0, 3);
    // A wrong address is found out soon.
    let parts = ["tried 3 times"];
    assert_eq!(
        asked_in_vain(page, json!({}), ErrorKind::Resource, &parts),
        3
    );
}

#[test]
fn an_address_at_which_nobody_listens_is_tried_three_times() {
    let server = serve(|_| say(&["Ada"]));
    let address = server.base_url();
    drop(server);
    let got = Stage::new().name(&params(&address, json!({})), "Who?");
    let e = got.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Resource);
    let host = address.trim_end_matches("/v1");
    says(
        &e,
        &[
            host,
            "tried 3 times",
            "see whether the server runs",
            "llm.base_url",
        ],
    );
}

#[test]
fn a_server_that_has_answered_once_gets_all_retries() {
    let page = Act::Status(200, Vec::new(), "restarting".to_owned());
    let acts = vec![
        say(&["Eve"]),
        page.clone(),
        page.clone(),
        page,
        say(&["Ada"]),
    ];
    let server = serve_in_turn(acts);
    let params = params(&server.base_url(), json!({"concurrency": 1, "retries": 3}));
    let got = Stage::new()
        .names(&params, &["Who was it?", "Who?"])
        .unwrap();
    assert_eq!(got[1].as_ref().unwrap().value, ada());
    assert_eq!(server.asked().len(), 5);
}
