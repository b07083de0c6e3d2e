//! The operator `ircot`.

use std::collections::BTreeMap;
use std::path::Path;

use gfm_pipe_api::answer::Ask;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{OpEntry, columns};
use gfm_pipe_ask::Ircot;
use gfm_pipe_testing::{Act, Asked, ModelServer};
use serde_json::{Value, json};

use crate::common::{Inputs, answer, family, folder, open};
use crate::{
    digests, documents, first, llm, model, pause, question, rejects, responses, shown, texts,
};

fn inputs() -> Inputs {
    let (mut inputs, questions) = family();
    inputs.insert("questions".to_owned(), vec![questions]);
    inputs
}

fn run(dir: &Path, params: &Value, inputs: &Inputs) -> Local {
    local::run::<Ircot>(dir, params, inputs.clone()).unwrap()
}

fn is_thought(asked: &Asked) -> bool {
    asked.body.get("response_format").is_none()
}

/// The thoughts in the last message of a request.
fn thoughts(asked: &Asked) -> Vec<String> {
    let last = asked.last();
    let lines = last.lines().filter_map(|line| line.strip_prefix("- "));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Who the parent of Bran Alder is, what she does, and then the answer.
fn about_bran(asked: &Asked) -> String {
    if !is_thought(asked) {
        return json!({"reasoning": "r", "answer": "baker", "cited": [1, 2]}).to_string();
    }
    let next = match thoughts(asked).len() {
        0 => "Thought: The parent of Bran Alder\n is Ada Alder.",
        1 => "Ada Alder works as a baker, and the lighthouse of Quillmouth is near.",
        _ => "So the answer is: baker.",
    };
    next.to_owned()
}

#[test]
fn documents_are_found_for_each_thought() {
    let server = model(about_bran);
    let (inputs, dir) = (inputs(), folder());
    let params = json!({
        "llm": llm(&server),
        "retriever": {"system": "bm25"},
        "steps": 5,
        "k": 3,
    });
    let got = run(&dir, &params, &inputs);

    // What a retriever finds for the question and for each thought, merged by hand.
    let by = open(&inputs_of_retriever(&inputs), json!({"system": "bm25"})).unwrap();
    let question_text = "What is the trade of the parent of Bran Alder?";
    let first = "The parent of Bran Alder is Ada Alder.";
    let second = "Ada Alder works as a baker, and the lighthouse of Quillmouth is near.";
    let mut best: BTreeMap<String, f64> = BTreeMap::new();
    let mut kept = Vec::new();
    for text in [question_text, first, second] {
        let ask = Ask {
            k: 3,
            ..Ask::new(text)
        };
        for found in answer(&*by, ask).unwrap().documents {
            let score = best.entry(found.title).or_insert(f64::MIN);
            *score = score.max(found.score.unwrap());
        }
        let mut all: Vec<(String, f64)> = best.clone().into_iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(3);
        best = all.iter().cloned().collect();
        kept.push(all);
    }
    assert_ne!(kept[0], kept[2], "the thoughts find something new");
    let titles = |at: usize| -> Vec<&str> { kept[at].iter().map(|d| d.0.as_str()).collect() };

    let table = responses(&got);
    assert_eq!(texts(&table, "question")[0], "family_02");
    assert_eq!(texts(&table, "answer")[0], "baker");
    let lists = |name| columns::list_text(&table, name).unwrap();
    assert_eq!(lists("documents")[0], titles(2));
    assert_eq!(lists("cited")[0], titles(2)[..2]);
    assert_eq!(
        lists("thoughts")[0],
        [first, second, "So the answer is: baker."]
    );

    let asked = server.asked();
    let mine: Vec<&Asked> = asked
        .iter()
        .filter(|a| question(a) == question_text)
        .collect();
    assert_eq!(mine.len(), 4);
    for (request, kept) in mine.iter().zip([0, 1, 2, 2]) {
        assert_eq!(shown(request), titles(kept));
    }
    assert_eq!(
        thoughts(mine[3]),
        [first, second, "So the answer is: baker."]
    );

    let rankings = got.port("rankings").read("rankings").unwrap();
    assert!(texts(&rankings, "system").iter().all(|s| s == "ircot"));
    let of = texts(&rankings, "question")
        .iter()
        .filter(|q| *q == "family_02")
        .count();
    assert_eq!(of, 3);
    assert_eq!(texts(&rankings, "document")[..3], titles(2));
    assert_eq!(
        columns::u32s(&rankings, "rank").unwrap().values()[..3],
        [1, 2, 3]
    );
    for (row, (title, score)) in kept[2].iter().enumerate() {
        assert_eq!(
            columns::f64s(&rankings, "score").unwrap().value(row),
            *score,
            "{title}"
        );
    }

    // Nothing is asked again.
    let before = asked.len();
    assert_eq!(digests(&run(&dir, &params, &inputs)), digests(&got));
    assert_eq!(server.asked().len(), before);
}

fn inputs_of_retriever(inputs: &Inputs) -> Inputs {
    let mut inputs = inputs.clone();
    inputs.remove("questions");
    inputs
}

#[test]
fn the_order_of_answers_changes_nothing() {
    let act = |asked: &Asked| Act::After(pause(asked), Box::new(Act::Say(about_bran(asked))));
    let server = ModelServer::start(act).unwrap();
    let inputs = inputs();
    let got = [1, 8].map(|concurrency| {
        let mut llm = llm(&server);
        llm["concurrency"] = json!(concurrency);
        digests(&run(&folder(), &json!({"llm": llm}), &inputs))
    });
    assert_eq!(got[0], got[1]);
    assert!(server.most_at_once() > 1);
}

#[test]
fn a_run_that_failed_goes_on_where_it_was() {
    let (inputs, dir) = (inputs(), folder());
    // The same model behind the same address, which fails after five answers, and later does not.
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_broken = std::sync::Arc::clone(&broken);
    let server = ModelServer::start(move |asked| {
        if asked.number >= 5 && is_broken.load(std::sync::atomic::Ordering::SeqCst) {
            return Act::Status(400, Vec::new(), "{\"error\": \"broken\"}".to_owned());
        }
        Act::Say(about_bran(asked))
    })
    .unwrap();
    let mut llm = llm(&server);
    llm["concurrency"] = json!(1);
    let params = json!({"llm": llm});
    let failed = local::run::<Ircot>(&dir, &params, inputs.clone()).unwrap_err();
    assert!(failed.to_string().contains("broken"), "{failed}");
    let before: Vec<String> = server.asked()[..5].iter().map(Asked::text).collect();
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    let got = run(&dir, &params, &inputs);
    let asked = server.asked();
    assert!(asked.len() > 20, "{}", asked.len());
    for after in &asked[6..] {
        assert!(!before.contains(&after.text()), "{}", after.last());
    }
    let anew = run(&folder(), &params, &inputs);
    assert_eq!(digests(&anew), digests(&got));
}

#[test]
fn thoughts_that_lead_nowhere_end_the_search() {
    let server = model(|asked| match () {
        () if !is_thought(asked) => first(asked),
        () if question(asked).contains("Bran Alder") => "Ada Alder is a baker.".to_owned(),
        () => String::new(),
    });
    let inputs = inputs();
    let params = json!({"llm": llm(&server), "steps": 4});
    let got = run(&folder(), &params, &inputs);
    let table = responses(&got);
    let thoughts = columns::list_text(&table, "thoughts").unwrap();
    // The same thought again adds nothing.
    assert_eq!(thoughts[0], ["Ada Alder is a baker."]);
    assert!(thoughts[1..].iter().all(Vec::is_empty));
    // The documents that were found suffice for an answer.
    assert!(
        texts(&table, "answer")
            .iter()
            .all(|answer| !answer.is_empty())
    );
    let rejected = rejects(&got);
    assert_eq!(rejected.len(), 7);
    assert!(
        rejected.iter().all(|r| r[1] == "the thought is empty"),
        "{rejected:?}"
    );
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|a| is_thought(a)).count(), 9);
    assert_eq!(asked.len(), 17);

    // Without steps, it is `answer`.
    let server = model(first);
    let params = json!({"llm": llm(&server), "steps": 0, "max_words": 2});
    run(&folder(), &params, &inputs);
    assert_eq!(server.asked().len(), 8);
    for asked in server.asked() {
        assert!(!is_thought(&asked));
        let texts = documents(&asked);
        assert!(
            texts
                .iter()
                .all(|d| d["text"].as_str().unwrap().ends_with(" …")),
            "{texts:?}"
        );
    }
}

#[test]
fn its_parameters_are_those_of_a_retriever_and_a_model() {
    let entry = OpEntry::of::<Ircot>();
    let ports: Vec<&str> = entry.inputs.iter().map(|p| p.name).collect();
    assert!(ports.contains(&"questions") && !ports.contains(&"examples"));
    let problems =
        entry.validate(&json!({"retriever": {"encoder": {"model": "static", "batch_size": 0}}}));
    assert!(problems.is_err());
    let problems = entry.validate(&json!({})).unwrap_err();
    assert!(problems[0].message.contains("no language model is named"));
    // The model that thinks is its own.
    let twice = json!({"llm": {"model": "m"}, "retriever": {"llm": {"model": "n"}}});
    let problems = entry.validate(&twice).unwrap_err();
    assert!(
        problems[0].message.contains("unknown key `llm`"),
        "{problems:?}"
    );
    let params = entry.validate(&json!({"llm": {"model": "m"}, "retriever": {"system": "ppr"}}));
    let connected = [("documents".to_owned(), vec!["s.documents".to_owned()])];
    let problems = entry.check_inputs(&params.unwrap(), &connected.into());
    assert!(
        problems[0].message.contains("system `ppr` needs"),
        "{problems:?}"
    );
}
