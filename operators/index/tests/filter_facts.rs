//! Tests of `link-questions: {filter: llm}` against a server on this machine.
#![cfg(feature = "english")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;
#[path = "common/linking.rs"]
mod linking;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::counts;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Level, OpEntry};
use gfm_pipe_index::{LinkParams, LinkQuestions};
use gfm_pipe_testing::{Act, Asked, ModelServer};
use linking::{Inputs, all, folder, link, starts};
use serde_json::{Value, json};

const ASKED: [&str; 3] = [
    "Which money is used where Hosea Kutako Airport stands?",
    "What lies in Northern Europe?",
    "When was the Namibian dollar introduced?",
];

fn inputs() -> Inputs {
    let questions = (0..).zip(ASKED);
    let questions =
        questions.map(|(id, text): (u32, _)| json!({"id": id.to_string(), "question": text}));
    all("none", &questions.collect())
}

/// Links with facts only.
fn params(server: &ModelServer, more: &Value) -> Value {
    let weights =
        json!({"title": 0, "entity": 0, "sentence": 0, "document": 0, "word": 0, "fact": 0.5});
    let llm = json!({"model": "m", "base_url": server.base_url(), "repairs": 0});
    let mut params = json!({"weights": weights, "filter": "llm", "llm": llm});
    let given = params.as_object_mut().unwrap();
    given.extend(more.as_object().unwrap().clone());
    params
}

fn variables(asked: &Asked) -> Value {
    serde_json::from_str(&asked.last()).unwrap()
}

fn question(asked: &Asked) -> usize {
    let question = variables(asked)["question"].clone();
    ASKED
        .iter()
        .position(|text| question == json!(text))
        .unwrap()
}

fn say(facts: &Value) -> Act {
    Act::Say(json!({"fact": facts}).to_string())
}

/// The facts that questions start from, each once.
fn facts(linked: &Local, inputs: &Inputs) -> Vec<String> {
    let rows = starts(linked, inputs).0;
    let mut facts: Vec<String> = rows
        .iter()
        .map(|row| {
            let parts: Vec<&str> = row.split(" | ").collect();
            assert_eq!(parts[1], "fact");
            format!("{} {}", parts[0], parts[3])
        })
        .collect();
    facts.sort();
    facts.dedup();
    facts
}

#[test]
fn the_facts_that_the_model_names_count_and_no_others() {
    let inputs = inputs();
    let server = ModelServer::start(|asked| match question(asked) {
        0 => say(&json!([
            ["  hosea kutako AIRPORT ", "serves", "Windhoek"],
            ["Namibia", "lies in", "Northern Europe"],
            ["Namibia", "lies in"],
            ["Hosea Kutako Airport", "serves", "Windhoek"],
            ["Namibia", "lies in", "Southern Africa"],
        ])),
        1 => say(&json!([])),
        _ => Act::Say("I do not know.".to_owned()),
    });
    let server = server.unwrap();
    let linked = link(&inputs, &params(&server, &json!({}))).unwrap();
    assert_eq!(
        facts(&linked, &inputs),
        [
            "0 Hosea Kutako Airport serves Windhoek",
            "0 Namibia lies in Southern Africa"
        ]
    );
    let weights = starts(&linked, &inputs).1;
    assert!(
        (weights.iter().sum::<f64>() - 0.5).abs() < 1e-9,
        "{weights:?}"
    );
    let counts = counts(&linked);
    for count in [
        "questions_without_fact | 2",
        "facts_kept | 2",
        "facts_dropped | 2",
        "answers_unusable | 1",
    ] {
        assert!(counts.contains(&count.to_owned()), "{count}: {counts:?}");
    }
    let warned = linked
        .messages
        .iter()
        .filter(|(level, _)| *level == Level::Warn);
    let warned: Vec<&str> = warned.map(|(_, text)| text.as_str()).collect();
    assert!(
        warned[0].starts_with("for 2 of 3 questions the model kept no fact"),
        "{warned:?}"
    );
    assert!(
        warned[1].starts_with("2 facts of the model's answers were dropped"),
        "{warned:?}"
    );
    // The candidates are the most similar facts, as lists of three texts.
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    let shown = variables(asked.iter().find(|a| question(a) == 0).unwrap());
    let shown = shown["fact"].as_array().unwrap();
    assert!(
        shown.contains(&json!(["Hosea Kutako Airport", "serves", "Windhoek"])),
        "{shown:?}"
    );
    assert!(shown.iter().all(|fact| fact.as_array().unwrap().len() == 3));
    // Without a filter, every question starts from facts.
    let mut without = params(&server, &json!({}));
    for key in ["filter", "llm"] {
        without.as_object_mut().unwrap().remove(key);
    }
    let linked = link(&inputs, &without).unwrap();
    let all = facts(&linked, &inputs);
    assert!(
        ["0 ", "1 ", "2 "]
            .iter()
            .all(|q| all.iter().any(|f| f.starts_with(q))),
        "{all:?}"
    );
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn candidates_and_kept_facts_are_as_many_as_the_parameters_say() {
    let inputs = inputs();
    let server = ModelServer::start(|asked| say(&variables(asked)["fact"])).unwrap();
    let few = json!({"candidates": 3, "facts": 2});
    let linked = link(&inputs, &params(&server, &few)).unwrap();
    for asked in server.asked() {
        assert_eq!(variables(&asked)["fact"].as_array().unwrap().len(), 3);
        assert!(asked.text().contains("at most 2"));
    }
    let kept = facts(&linked, &inputs);
    assert_eq!(kept.len(), 6, "{kept:?}");
    assert!(counts(&linked).contains(&"facts_dropped | 3".to_owned()));
    // A model that keeps what counts without it changes nothing but the scale of scores.
    let unfiltered = params(&server, &few);
    let mut unfiltered = unfiltered.as_object().unwrap().clone();
    unfiltered.retain(|key, _| !["filter", "llm", "candidates"].contains(&key.as_str()));
    let linked = link(&inputs, &Value::Object(unfiltered)).unwrap();
    assert_eq!(facts(&linked, &inputs), kept);
}

#[test]
fn only_new_questions_and_new_prompts_are_asked() {
    let inputs = inputs();
    let server = ModelServer::start(|asked| say(&variables(asked)["fact"])).unwrap();
    let dir = folder();
    let run = |more: &Value| {
        let before = server.asked().len();
        let got =
            local::run::<LinkQuestions>(&dir, &params(&server, more), inputs.clone()).unwrap();
        (
            server.asked().len() - before,
            got.port("train_starts").digest(),
        )
    };
    let (asked, first) = run(&json!({}));
    assert_eq!(asked, 3);
    assert_eq!(run(&json!({})), (0, first.clone()));
    let own = dir.join("filter.txt");
    fs::write(
        &own,
        "[user]\n{\"question\": {{ question | tojson }}, \"fact\": {{ facts | tojson }}}",
    )
    .unwrap();
    let prompts = json!({"prompts": {"filter": own}});
    assert_eq!(run(&prompts), (3, first.clone()));
    assert_eq!(run(&prompts), (0, first));
}

#[test]
fn parameters_and_keys() {
    let op = OpEntry::of::<LinkQuestions>();
    let problem = |params: Value| {
        let problem = op.validate(&params).unwrap_err().remove(0);
        (gfm_pipe_api::path_text(&problem.path), problem.message)
    };
    let llm = json!({"model": "m"});
    for (params, key, message) in [
        (
            json!({"filter": "llm"}),
            "llm",
            "no language model is named",
        ),
        (
            json!({"llm": llm}),
            "llm",
            "only `filter: llm` asks a language model",
        ),
        (
            json!({"prompts": {"filter": "p"}}),
            "prompts",
            "only `filter: llm` asks a language model",
        ),
        (
            json!({"filter": "llm", "llm": llm, "candidates": 4}),
            "candidates",
            "there are fewer candidates (4) than `facts` (5)",
        ),
        (
            json!({"filter": "llm", "llm": llm, "weights": {"fact": 0}}),
            "filter",
            "`filter` chooses among facts, and `weights.fact` is 0",
        ),
    ] {
        assert_eq!(problem(params), (key.to_owned(), message.to_owned()));
    }
    let full = op
        .validate(&json!({"filter": "llm", "llm": llm, "prompts": {"filter": "p"}}))
        .unwrap();
    assert!(op.asks_model(&full).unwrap());
    assert_eq!(op.files(&full, Path::new("")).unwrap().len(), 1);
    assert!(op.fingerprint(&full, Path::new("")).unwrap().is_some());
    let inputs = BTreeMap::from([("train".to_owned(), vec!["q.train".to_owned()])]);
    let problems = op.check_inputs(&full, &inputs);
    assert!(
        problems[0]
            .message
            .contains("no `fact_embeddings` are connected"),
        "{problems:?}"
    );
    // Keys of stages without it stay as they were, and a retriever does not have it.
    let full = op.validate(&json!({})).unwrap();
    let schema = LinkParams::schema();
    assert_eq!(
        op.schema.effective(&full),
        schema.effective(&schema.normalize(&json!({})).unwrap())
    );
    assert!(!op.asks_model(&full).unwrap());
    assert_eq!(op.fingerprint(&full, Path::new("")).unwrap(), None);
    assert!(schema.normalize(&json!({"filter": "llm"})).is_err());
}
