//! The operator on a few questions whose figures are computed by hand.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::kind::Kind;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, OpResult, columns, kinds};
use serde_json::json;

use super::EvaluateAnswers;

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn table(dir: &Path, kind: &'static Kind, name: &str, columns: Vec<ArrayRef>) -> Artifact {
    let table = columns::batch(&kind.tables[0], columns).unwrap();
    local::artifact(dir, kind, name, vec![table]).unwrap()
}

/// A question: id, answer, gold documents, hops.
type Question<'a> = (&'a str, Option<&'a str>, &'a [u32], u32);

/// The gold document that no document of the corpus is counts in `gold_titles`.
fn questions(dir: &Path, of: &[Question<'_>], missing: u32) -> Artifact {
    let n = of.len();
    let ids: Vec<&str> = of.iter().map(|q| q.0).collect();
    let gold: Vec<Vec<u32>> = of.iter().map(|q| q.2.to_vec()).collect();
    let answers: StringArray = of.iter().map(|q| q.1).collect();
    let totals = of.iter().map(|q| q.2.len() as u32 + missing);
    let columns = vec![
        texts(&ids),
        texts(&ids),
        Arc::new(answers) as ArrayRef,
        columns::build_list_u32(&vec![vec![]; n]),
        columns::build_list_u32(&vec![vec![]; n]),
        columns::build_list_u32(&gold),
        Arc::new(UInt32Array::from_iter_values(totals)),
        Arc::new(BooleanArray::from(vec![true; n])),
        Arc::new(UInt32Array::from_iter_values(of.iter().map(|q| q.3))),
        columns::build_list_text(&vec![vec!["type=x".to_owned()]; n]),
    ];
    let info = vec![
        texts(&["toy"]),
        texts(&["test"]),
        Arc::new(UInt64Array::from(vec![n as u64])) as ArrayRef,
        Arc::new(UInt64Array::from(vec![0])),
    ];
    let tables = vec![
        columns::batch(&kinds::QUESTIONS.tables[0], columns).unwrap(),
        columns::batch(&kinds::QUESTIONS.tables[1], info).unwrap(),
    ];
    local::artifact(dir, &kinds::QUESTIONS, "qa.test", tables).unwrap()
}

/// A response: question, answer, cited titles.
type Given<'a> = (&'a str, &'a str, &'a [&'a str]);

fn responses(dir: &Path, stage: &str, of: &[Given<'_>]) -> Artifact {
    let n = of.len();
    let cited = of
        .iter()
        .map(|r| r.2.iter().map(|t| (*t).to_owned()).collect());
    let cited: Vec<Vec<String>> = cited.collect();
    let none = columns::build_list_text(&vec![vec![]; n]);
    let columns = vec![
        texts(&of.iter().map(|r| r.0).collect::<Vec<&str>>()),
        texts(&of.iter().map(|r| r.1).collect::<Vec<&str>>()),
        texts(&vec![""; n]),
        columns::build_list_text(&cited),
        Arc::clone(&none),
        none,
        Arc::new(StringArray::from(vec![None::<&str>; n])),
    ];
    table(
        dir,
        &kinds::RESPONSES,
        &format!("{stage}.responses"),
        columns,
    )
}

fn aliases(dir: &Path, of: &[[&str; 3]]) -> Artifact {
    let column = |i: usize| texts(&of.iter().map(|a| a[i]).collect::<Vec<&str>>());
    let columns = vec![column(0), column(1), column(2)];
    table(dir, &kinds::ANSWERS, "qa.answers", columns)
}

fn documents(dir: &Path, titles: &[&str]) -> Artifact {
    let n = titles.len();
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(0..n as u32)) as ArrayRef,
        texts(titles),
        texts(&vec![""; n]),
        Arc::new(BooleanArray::from(vec![true; n])),
    ];
    table(dir, &kinds::DOCUMENTS, "corpus.documents", columns)
}

fn sources(dir: &Path, parents: &[u32]) -> Artifact {
    let n = parents.len();
    let none = || Arc::new(UInt64Array::from(vec![None; n])) as ArrayRef;
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(0..n as u32)) as ArrayRef,
        texts(&vec!["file"; n]),
        none(),
        none(),
        none(),
        Arc::new(UInt32Array::from(parents.to_vec())),
        texts(&vec!["title"; n]),
    ];
    table(dir, &kinds::SOURCES, "corpus.sources", columns)
}

type Inputs = BTreeMap<String, Vec<Artifact>>;

fn run(dir: &Path, inputs: &Inputs) -> OpResult<Local> {
    let params = json!({"resamples": 500, "seed": 3});
    local::run::<EvaluateAnswers>(&dir.join("out"), &params, inputs.clone())
}

const QUESTIONS: [Question<'static>; 5] = [
    ("a", Some("The Beatles"), &[0, 1], 2),
    ("b", Some("yes"), &[1], 1),
    ("c", Some("New York"), &[2, 3], 2),
    ("d", None, &[0], 2),
    ("e", Some("  "), &[0], 2),
];

/// Five questions, of which two have no answer, and two systems.
fn inputs(dir: &Path) -> Inputs {
    let first: [Given<'_>; 4] = [
        ("a", "Fab Four", &["A", "X", "A"]),
        ("b", "yes indeed", &[]),
        // 2 of 3 and 2 of 2.
        ("c", "New York City", &["C", "D"]),
        ("d", "anything", &["A"]),
    ];
    let second: [Given<'_>; 2] = [("b", "Yes!", &["A"]), ("a", "", &[])];
    let of_others = [
        ["test", "a", "The Beatles"],
        ["test", "a", "Fab Four"],
        ["train", "c", "New York City"],
        ["test", "z", "other"],
    ];
    let port = |name: &str, artifacts| (name.to_owned(), artifacts);
    [
        port("questions", vec![questions(dir, &QUESTIONS, 0)]),
        port(
            "responses",
            vec![
                responses(dir, "answer", &first),
                responses(dir, "ircot", &second),
            ],
        ),
        port("aliases", vec![aliases(dir, &of_others)]),
        port("documents", vec![documents(dir, &["A", "B", "C", "D"])]),
    ]
    .into()
}

/// A figure, how many questions it is of, and how many were not asked.
type Figure = (f64, u64, u64);

fn metrics(local: &Local) -> BTreeMap<[String; 3], Figure> {
    let t = local.port("metrics").read("metrics").unwrap();
    let text = |name| columns::text(&t, name).unwrap();
    let (value, n) = (
        columns::f64s(&t, "value").unwrap(),
        columns::u64s(&t, "n").unwrap(),
    );
    let unasked = columns::u64s(&t, "unasked").unwrap();
    let (low, high) = (
        columns::f64s(&t, "low").unwrap(),
        columns::f64s(&t, "high").unwrap(),
    );
    let mut out = BTreeMap::new();
    for i in 0..t.num_rows() {
        let about = ["dataset", "split", "ranker", "target"].map(|c| text(c).value(i));
        assert_eq!(about, ["toy", "test", "-", "answer"]);
        assert_eq!(low.is_null(i), n.value(i) < 2);
        assert!(low.is_null(i) || low.value(i) <= value.value(i));
        assert!(high.is_null(i) || high.value(i) >= value.value(i));
        let key = ["system", "group", "metric"].map(|c| text(c).value(i).to_owned());
        let figure = (value.value(i), n.value(i), unasked.value(i));
        assert_eq!(out.insert(key, figure), None);
    }
    out
}

fn figure(all: &BTreeMap<[String; 3], Figure>, key: [&str; 3]) -> Option<Figure> {
    all.get(&key.map(str::to_owned)).copied()
}

#[track_caller]
fn check(all: &BTreeMap<[String; 3], Figure>, key: [&str; 3], want: Figure) {
    let got = figure(all, key).unwrap();
    assert!((got.0 - want.0).abs() < 1e-12, "{key:?}: {got:?}");
    assert_eq!((got.1, got.2), (want.1, want.2), "{key:?}");
}

#[test]
fn figures_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let got = run(dir.path(), &inputs(dir.path())).unwrap();
    let all = metrics(&got);
    // Of the questions a, b and c. "Fab Four" is an alias; "New York City" is one in another split.
    check(&all, ["answer", "all", "exact_match"], (1.0 / 3.0, 3, 0));
    check(
        &all,
        ["answer", "all", "f1"],
        ((1.0 + 0.0 + 0.8) / 3.0, 3, 0),
    );
    check(&all, ["answer", "all", "answered"], (1.0, 3, 0));
    // a cites A, which is gold, and X, which is no document; c cites both.
    check(
        &all,
        ["answer", "all", "cited_gold"],
        ((0.5 + 1.0) / 2.0, 2, 0),
    );
    check(
        &all,
        ["answer", "all", "gold_cited"],
        ((0.5 + 0.0 + 1.0) / 3.0, 3, 0),
    );
    check(&all, ["answer", "hops=2", "f1"], (0.9, 2, 0));
    check(&all, ["answer", "gold=1", "f1"], (0.0, 1, 0));
    check(&all, ["answer", "type=x", "f1"], (0.6, 3, 0));
    // It was not asked c, and has no answer to a.
    check(&all, ["ircot", "all", "exact_match"], (1.0 / 3.0, 3, 1));
    check(&all, ["ircot", "all", "answered"], (1.0 / 3.0, 3, 1));
    check(&all, ["ircot", "all", "cited_gold"], (0.0, 1, 0));
    check(&all, ["ircot", "hops=2", "f1"], (0.0, 2, 1));
    assert_eq!(figure(&all, ["ircot", "hops=2", "cited_gold"]), None);
    let said = got.messages.iter().map(|(_, text)| text.as_str());
    let said: Vec<&str> = said.collect();
    assert_eq!(
        said,
        ["2 of 5 questions have no right answer in the data: they are left out"]
    );
}

#[test]
fn every_question_has_its_scores() {
    let dir = tempfile::tempdir().unwrap();
    let got = run(dir.path(), &inputs(dir.path())).unwrap();
    let t = got.port("scores").read("answer_scores").unwrap();
    let text = |name| columns::text(&t, name).unwrap();
    let answers = text("answer");
    let gold = columns::list_text(&t, "gold").unwrap();
    let number = |name| columns::f64s(&t, name).unwrap();
    let rows: Vec<String> = (0..t.num_rows())
        .map(|i| {
            format!(
                "{} {} {} {:.2} {:?} {:?}",
                text("system").value(i),
                text("question").value(i),
                number("exact_match").value(i),
                number("f1").value(i),
                answers.is_valid(i).then(|| answers.value(i)),
                gold[i]
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            r#"answer a 1 1.00 Some("Fab Four") ["The Beatles", "Fab Four"]"#,
            r#"answer b 0 0.00 Some("yes indeed") ["yes"]"#,
            r#"answer c 0 0.80 Some("New York City") ["New York"]"#,
            r#"ircot a 0 0.00 Some("") ["The Beatles", "Fab Four"]"#,
            r#"ircot b 1 1.00 Some("Yes!") ["yes"]"#,
            r#"ircot c 0 0.00 None ["New York"]"#,
        ]
    );
}

#[test]
fn the_first_system_is_compared_with_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let got = run(dir.path(), &inputs(dir.path())).unwrap();
    let t = got.port("comparisons").read("comparisons").unwrap();
    let text = |name| columns::text(&t, name).unwrap();
    let count = |name| columns::u64s(&t, name).unwrap();
    let (difference, p) = (
        columns::f64s(&t, "difference").unwrap(),
        columns::f64s(&t, "p").unwrap(),
    );
    let row = |group: &str, metric: &str| {
        let i = (0..t.num_rows())
            .find(|i| text("group").value(*i) == group && text("metric").value(*i) == metric);
        let i = i.unwrap();
        assert_eq!(text("system").value(i), "answer");
        assert_eq!(text("other").value(i), "ircot");
        assert!(p.is_valid(i) && p.value(i) > 0.0);
        let counts = ["better", "worse", "n"].map(|c| count(c).value(i));
        (difference.value(i), counts)
    };
    assert_eq!(row("all", "exact_match"), (0.0, [1, 1, 3]));
    let (f1, counts) = row("all", "f1");
    assert!((f1 - (1.0 - 1.0 + 0.8) / 3.0).abs() < 1e-12);
    assert_eq!(counts, [2, 1, 3]);
    // Two metrics for each of all, hops=1, hops=2, gold=1, gold=2 and type=x.
    assert_eq!(t.num_rows(), 12);
    // One system alone is compared with none.
    let mut alone = inputs(dir.path());
    alone.get_mut("responses").unwrap().truncate(1);
    let got = run(dir.path(), &alone).unwrap();
    assert_eq!(got.port("comparisons").rows("comparisons").unwrap(), 0);
}

#[test]
fn a_cited_piece_cites_its_document_and_gold_that_is_not_there_counts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut all = inputs(dir);
    all.insert("questions".to_owned(), vec![questions(dir, &QUESTIONS, 1)]);
    let given: [Given<'_>; 1] = [("c", "New York", &["C #2", "C", "B"])];
    all.insert(
        "responses".to_owned(),
        vec![responses(dir, "answer", &given)],
    );
    let titles = ["A", "B", "C", "D", "C #2"];
    all.insert("documents".to_owned(), vec![documents(dir, &titles)]);
    all.insert("sources".to_owned(), vec![sources(dir, &[0, 1, 2, 3, 2])]);
    let with = metrics(&run(dir, &all).unwrap());
    check(&with, ["answer", "all", "cited_gold"], (0.5, 1, 0));
    // One of C, D and the missing one.
    check(&with, ["answer", "all", "gold_cited"], (1.0 / 9.0, 3, 2));
    all.remove("sources");
    let without = metrics(&run(dir, &all).unwrap());
    check(&without, ["answer", "all", "cited_gold"], (1.0 / 3.0, 1, 0));
    all.remove("documents");
    let none = metrics(&run(dir, &all).unwrap());
    assert_eq!(figure(&none, ["answer", "all", "cited_gold"]), None);
    assert_eq!(figure(&none, ["answer", "all", "gold_cited"]), None);
    check(&none, ["answer", "all", "exact_match"], (1.0 / 3.0, 3, 2));
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = inputs(dir.path());
    let made = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let run = || run(dir.path(), &inputs).unwrap();
        let made = pool.build().unwrap().install(run);
        ["metrics", "comparisons", "scores"].map(|port| made.port(port).digest())
    };
    assert_eq!(made(1), made(3));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let refused = |port: &str, artifacts: Vec<Artifact>, want: &str| {
        let mut all = inputs(dir);
        all.insert(port.to_owned(), artifacts);
        let error = run(dir, &all).err().unwrap().to_string();
        assert!(error.contains(want), "{error}");
    };
    let given = |of: &[Given<'_>]| vec![responses(dir, "other", of)];
    refused(
        "responses",
        given(&[("z", "x", &[])]),
        "\"z\" is not among `qa.test`",
    );
    let twice: [Given<'_>; 2] = [("a", "x", &[]), ("a", "x", &[])];
    refused("responses", given(&twice), "the question \"a\" twice");
    let same = [given(&[]), given(&[])].concat();
    refused("responses", same, "`other` is in the table already");
    let none: [Question<'_>; 1] = [("z", None, &[0], 1)];
    let mut all = inputs(dir);
    all.remove("aliases");
    all.insert("questions".to_owned(), vec![questions(dir, &none, 0)]);
    all.insert("responses".to_owned(), given(&[]));
    let error = run(dir, &all).err().unwrap().to_string();
    assert!(error.contains("no question has an answer"), "{error}");
    let few = vec![documents(dir, &["A", "B", "C"])];
    refused("documents", few, "gold documents that are not among these");
}

#[test]
fn aliases_of_other_questions_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = inputs(dir.path());
    let other = aliases(dir.path(), &[["valid", "a", "Fab Four"]]);
    all.insert("aliases".to_owned(), vec![other]);
    let got = run(dir.path(), &all).unwrap();
    assert!(
        got.messages
            .iter()
            .any(|(_, text)| text.contains("have no aliases"))
    );
    check(
        &metrics(&got),
        ["answer", "all", "exact_match"],
        (0.0, 3, 0),
    );
}
