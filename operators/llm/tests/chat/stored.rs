//! Nothing is paid for twice.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use gfm_pipe_api::items::{Items, hex};
use gfm_pipe_api::{ErrorKind, OpError, Requests};
use gfm_pipe_llm::{Chat, Line, Reply};
use gfm_pipe_testing::Act;
use serde_json::json;

use crate::common::{
    Stage, answers, asked_once, conversation, echo, numbered, params, refuse, say, says, serve,
    slow_echo, text,
};

#[test]
fn a_second_run_asks_for_what_is_new() {
    let server = serve(echo);
    let params = params(&server.base_url(), json!({}));
    let mut stage = Stage::new();
    assert_eq!(stage.texts(&params, &numbered(20)).unwrap(), answers(20));
    let first = stage.ctx.items.take_used();
    assert_eq!((first.items.len(), first.computed), (20, 20));
    assert_eq!(first.items[3].name, "question 3");

    stage.run_again();
    assert_eq!(stage.texts(&params, &numbered(21)).unwrap(), answers(21));
    let second = stage.ctx.items.take_used();
    assert_eq!((second.items.len(), second.computed), (21, 1));
    assert_eq!(second.items[..20], first.items);
    assert_eq!(asked_once(&[&server]), 21);
    let said = stage.said();
    assert!(
        said[0].starts_with("tester: 20 answers, 0 of them stored before; "),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("tester: 21 answers, 20 of them stored before; "),
        "{said:?}"
    );
}

#[test]
fn answers_belong_to_the_model_and_its_parameters() {
    let server = serve(echo);
    let stage = Stage::new();
    let ask = |more| stage.texts(&params(&server.base_url(), more), &numbered(1));
    ask(json!({})).unwrap();
    // How requests are sent changes no answer.
    ask(json!({"timeout": 9, "concurrency": 1, "retries": 1, "json": "prompt"})).unwrap();
    assert_eq!(server.asked().len(), 1);
    for (more, requests) in [
        (json!({"model": "another"}), 2),
        (json!({"temperature": 1}), 3),
        (json!({"temperature": null}), 4),
        (json!({"seed": 1}), 5),
        (json!({"max_tokens": 9}), 6),
        (json!({}), 6),
    ] {
        ask(more.clone()).unwrap();
        assert_eq!(server.asked().len(), requests, "{more}");
    }
}

#[test]
fn a_stage_that_is_forced_takes_what_is_stored() {
    let server = serve(echo);
    let params = params(&server.base_url(), json!({}));
    let mut stage = Stage::new();
    stage.texts(&params, &numbered(5)).unwrap();
    stage.run_again();
    stage.ctx.items = stage.ctx.items.clone().anew(true);
    assert_eq!(stage.texts(&params, &numbered(5)).unwrap(), answers(5));
    assert_eq!(asked_once(&[&server]), 5);
}

#[test]
fn offline_nothing_is_sent_and_what_is_missing_is_listed() {
    let server = serve(echo);
    let online = params(&server.base_url(), json!({}));
    let offline = params(&server.base_url(), json!({"offline": true}));
    let mut stage = Stage::new();
    stage.texts(&online, &numbered(3)).unwrap();
    for by_run in [false, true] {
        stage.run_again();
        stage.ctx.offline = by_run;
        let params = if by_run { &online } else { &offline };
        let all = [numbered(10), numbered(10)].concat();
        let e = stage.texts(params, &all).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::User);
        let text = says(
            &e,
            &["7 answers are not stored", "\"question 3\"", "--offline"],
        );
        assert!(text.contains("\"question 7\" and 2 more"), "{text}");
        assert_eq!(stage.texts(params, &numbered(3)).unwrap(), answers(3));
    }
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_plan_counts_what_is_left_and_sends_nothing() {
    let server = serve(echo);
    let params = params(&server.base_url(), json!({}));
    let mut stage = Stage::new();
    stage.texts(&params, &numbered(3)).unwrap();
    let requests = Arc::new(Requests::default());
    stage.ctx.requests = Some(Arc::clone(&requests));
    stage.ctx.items = Items::read_only(stage.path("items"), String::new());
    let before = stage.bytes();
    let got = stage.texts(&params, &[numbered(10), numbered(10)].concat());
    assert!(matches!(got, Err(OpError::Cancelled)), "nothing follows");
    let counted = requests.counted();
    assert_eq!((counted.stored, counted.left), (6, 7));
    assert!((70..200).contains(&counted.tokens), "{counted:?}");
    assert_eq!(server.asked().len(), 3);
    assert!(stage.bytes() == before, "a plan writes nothing");
}

#[test]
fn recorded_answers_count_as_stored() {
    let server = serve(echo);
    let stage = Stage::new();
    let plain = params(&server.base_url(), json!({}));
    stage.texts(&plain, &numbered(2)).unwrap();
    let used = stage.ctx.items.take_used();

    let reply = Reply {
        content: "recorded".to_owned(),
        ..Reply::default()
    };
    let line = Line {
        id: hex(&used.items[1].id),
        reply,
    };
    let stage = Stage::new();
    let path = stage.path("answers.jsonl");
    fs::write(&path, serde_json::to_string(&line).unwrap()).unwrap();
    let with = params(&server.base_url(), json!({"recorded": path}));
    let got = stage.texts(&with, &numbered(2)).unwrap();
    assert_eq!(got, ["answer to question 0", "recorded"]);
    assert_eq!(server.asked().len(), 3);
    assert_eq!(server.asked()[2].last(), "question 0");
    // Later runs do not need the file.
    let got = stage.texts(&plain, &numbered(2)).unwrap();
    assert_eq!(got[1], "recorded");
    assert_eq!(server.asked().len(), 3);

    fs::write(&path, "{}").unwrap();
    says(
        &stage.texts(&with, &numbered(2)).unwrap_err(),
        &["answers.jsonl:1"],
    );
    fs::remove_file(&path).unwrap();
    says(
        &stage.texts(&with, &numbered(2)).unwrap_err(),
        &["answers.jsonl", "failed to read"],
    );
}

#[test]
fn equal_requests_are_sent_once() {
    let server = serve(slow_echo);
    let params = params(&server.base_url(), json!({"concurrency": 8}));
    let same = vec!["question 0".to_owned(); 8];
    let stage = Stage::new();
    let got = stage.texts(&params, &same).unwrap();
    assert_eq!(got, vec!["answer to question 0".to_owned(); 8]);
    assert_eq!(server.asked().len(), 1);
    let used = stage.ctx.items.take_used();
    assert_eq!((used.items.len(), used.computed), (8, 1));
}

#[test]
fn when_an_equal_request_fails_the_next_one_tries() {
    let server = serve(|asked| match asked.number {
        0 => Act::After(
            Duration::from_millis(200),
            Box::new(refuse(404, "not yet", "")),
        ),
        _ => echo(asked),
    });
    let params = params(&server.base_url(), json!({"concurrency": 2}));
    let stage = Stage::new();
    let chat = Chat::open(&stage.ctx, &params).unwrap();
    // Failures are taken as answers here, so that the work goes on.
    let got = chat.each(2, "questions", |_, asker| {
        Ok(text(asker, "Who?").unwrap_or_else(|e| e.to_string()))
    });
    let mut got = got.unwrap();
    got.sort();
    assert_eq!(got[0], "answer to Who?");
    assert!(got[1].contains("not yet"), "{got:?}");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn stages_at_the_same_time_ask_once() {
    let server = serve(slow_echo);
    let params = params(&server.base_url(), json!({"concurrency": 2}));
    let first = Stage::new();
    let second = first.beside();
    std::thread::scope(|scope| {
        for stage in [&first, &second] {
            let params = &params;
            scope.spawn(move || assert_eq!(stage.texts(params, &numbered(6)).unwrap(), answers(6)));
        }
    });
    assert_eq!(asked_once(&[&server]), 6);
    assert_eq!(server.most_at_once(), 2);
}

#[test]
fn several_rounds_share_a_chat() {
    let server = serve(echo);
    let params = params(&server.base_url(), json!({}));
    let stage = Stage::new();
    let chat = Chat::open(&stage.ctx, &params).unwrap();
    let first = chat.each(3, "a", |i, asker| text(asker, &format!("question {i}")));
    let second = chat.each(3, "b", |i, asker| {
        let before = asker.reply("before", &conversation(&format!("question {i}")))?;
        text(asker, &before.unwrap().content)
    });
    assert_eq!(first.unwrap(), answers(3));
    let want: Vec<String> = answers(3)
        .iter()
        .map(|a| format!("answer to {a}"))
        .collect();
    assert_eq!(second.unwrap(), want);
    assert_eq!(chat.each(0, "c", |_, _| Ok(())).unwrap(), []);
    assert_eq!(asked_once(&[&server]), 6);
    let used = stage.ctx.items.take_used();
    assert_eq!((used.items.len(), used.computed), (9, 6));
}

#[test]
fn damaged_answers_are_asked_for_again() {
    let server = serve(|_| say(&["Ada"]));
    let params = params(&server.base_url(), json!({}));
    let mut stage = Stage::new();
    stage.name(&params, "Who?").unwrap().unwrap();
    let mut folders = vec![stage.path("items")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            bytes[60] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    stage.run_again();
    assert_eq!(stage.name(&params, "Who?").unwrap().unwrap().value, ["Ada"]);
    assert_eq!(server.asked().len(), 2);
}
