//! Stages that stop early lose no answer.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gfm_pipe_api::{ErrorKind, OpError};
use gfm_pipe_testing::Act;
use serde_json::json;

use crate::common::{
    Stage, answers, asked_once, echo, numbered, params, refuse, says, serve, slow_echo,
};

#[test]
fn a_budget_stops_and_the_next_run_goes_on() {
    let server = serve(echo);
    // A request and its answer are about 12 tokens.
    let more = json!({"budget": {"tokens": 100}, "concurrency": 2});
    let params = params(&server.base_url(), more);
    let mut stage = Stage::new();
    let mut runs = 0;
    let got = loop {
        runs += 1;
        assert!(runs < 15, "it does not go on");
        let before = server.asked().len();
        match stage.texts(&params, &numbered(30)) {
            Ok(got) => break got,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::User);
                says(
                    &e,
                    &["the budget of 100 tokens is used up", "run again", "kept"],
                );
            }
        }
        let asked = server.asked().len() - before;
        assert!((2..=12).contains(&asked), "{asked}");
        let said = stage.said();
        let kept = format!("{asked} answers arrived and are kept");
        assert_eq!(said.last(), Some(&kept));
        stage.run_again();
    };
    assert_eq!(got, answers(30));
    assert_eq!(asked_once(&[&server]), 30);
    assert!(runs > 2, "{runs}");
}

#[test]
fn a_budget_in_money_stops_too() {
    let server = serve(echo);
    let price = json!({"input": 1e6, "output": 2e6});
    let more = json!({"budget": {"money": 100}, "price": price, "concurrency": 1});
    let stage = Stage::new();
    let got = stage.texts(&params(&server.base_url(), more), &numbered(30));
    says(
        &got.unwrap_err(),
        &["the budget of 100 in money is used up"],
    );
    let asked = server.asked().len();
    assert!((2..10).contains(&asked), "{asked}");
}

#[test]
fn a_budget_below_one_request_says_so() {
    let server = serve(echo);
    let more = json!({"budget": {"tokens": 5}});
    let got = Stage::new().texts(&params(&server.base_url(), more), &numbered(3));
    says(
        &got.unwrap_err(),
        &["budget of 5 tokens", "too small for a single request"],
    );
    assert!(server.asked().is_empty());
}

#[test]
fn those_who_stop_get_what_is_under_way() {
    let mut stage = Stage::new();
    let cancel = stage.ctx.cancel.clone();
    let server = serve(move |asked| {
        if asked.number == 2 {
            cancel.cancel();
        }
        slow_echo(asked)
    });
    let params = params(&server.base_url(), json!({"concurrency": 4}));
    let e = stage.texts(&params, &numbered(30)).unwrap_err();
    assert!(matches!(e, OpError::Cancelled), "{e}");
    let asked = server.asked().len();
    assert!((3..=4).contains(&asked), "{asked}");
    stage.run_again();
    assert_eq!(stage.texts(&params, &numbered(30)).unwrap(), answers(30));
    assert_eq!(asked_once(&[&server]), 30);
}

#[test]
fn an_error_keeps_the_answers_that_are_under_way() {
    // The first question waits for its next try when the fourth fails: the error is that of the
    // fourth.
    let server = serve(|asked| match asked.last().as_str() {
        "question 0" => {
            let wait = vec![("retry-after", "60".to_owned())];
            Act::Status(503, wait, String::new())
        }
        "question 3" => Act::After(
            Duration::from_millis(50),
            Box::new(refuse(404, "there is no such model", "")),
        ),
        _ => slow_echo(asked),
    });
    let more = json!({"concurrency": 6});
    let mut stage = Stage::new();
    let e = stage.texts(&params(&server.base_url(), more.clone()), &numbered(40));
    says(&e.unwrap_err(), &["there is no such model", "llm.model"]);
    let asked = server.asked();
    assert!((3..=7).contains(&asked.len()), "{}", asked.len());
    let kept = asked.len() - 2;
    let said = stage.said();
    let want = format!("{kept} answers arrived and are kept");
    assert_eq!(said.last(), Some(&want));

    stage.run_again();
    let good = serve(echo);
    let got = stage.texts(&params(&good.base_url(), more), &numbered(40));
    assert_eq!(got.unwrap(), answers(40));
    assert_eq!(good.asked().len(), 40 - kept);
}

#[test]
fn a_disk_that_takes_nothing_is_found_before_anything_is_paid() {
    let server = serve(echo);
    let params = params(&server.base_url(), json!({}));
    let stage = Stage::new();
    fs::write(stage.path("items"), "a file").unwrap();
    let e = stage.texts(&params, &numbered(20)).unwrap_err();
    says(
        &e,
        &["items", "failed to keep an answer", "nothing was sent"],
    );
    assert!(server.asked().is_empty());
}

#[test]
fn a_disk_that_fails_later_is_an_error() {
    let mut stage = Stage::new();
    let workdir = stage.path("work");
    let broken = AtomicBool::new(false);
    let server = serve(move |asked| {
        if asked.number == 4 && !broken.swap(true, Ordering::Relaxed) {
            fs::remove_dir_all(&workdir).unwrap();
        }
        echo(asked)
    });
    let params = params(&server.base_url(), json!({"concurrency": 1}));
    let e = stage.texts(&params, &numbered(20)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Resource);
    says(&e, &["failed to keep an answer", "make room"]);
    assert_eq!(server.asked().len(), 5);
    let said = stage.said();
    assert_eq!(said.last().unwrap(), "4 answers arrived and are kept");
    stage.run_again();
    assert_eq!(stage.texts(&params, &numbered(20)).unwrap(), answers(20));
    assert_eq!(server.asked().len(), 21);
}
