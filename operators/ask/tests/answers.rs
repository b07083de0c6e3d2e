//! Which system answers, what an answer has, and the operator `explain`, on the fixture `family`
//! without an encoder. Models and encoders are in the tests of the whole program.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::answer::{Answer, Ask};
use gfm_pipe_api::local;
use gfm_pipe_api::{Artifact, columns, kinds};
use gfm_pipe_ask::{Explain, Retriever};
use gfm_pipe_eval::baselines::asked::Walk;
use gfm_pipe_eval::baselines::ppr::{Ppr, RESTART};
use gfm_pipe_eval::features::fusion::Fusion;
use gfm_pipe_eval::features::{Fuse, RankFeatures, table};
use gfm_pipe_eval::rankings::first;
use gfm_pipe_eval::{EntityDocuments, top};
use gfm_pipe_index::LinkQuestions;
use serde_json::{Value, json};

use common::{Inputs, answer, family, folder, open};

const BORN: &str = "Where was Fern Birch born?";

fn titles(answer: &Answer) -> Vec<&str> {
    answer.documents.iter().map(|d| d.title.as_str()).collect()
}

/// Files of documents, of which `pieces` are pieces of the document before them.
fn sources(count: u32, pieces: &[u32]) -> Artifact {
    let ids = || 0..count;
    let numbers = |all: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(all)) };
    let none = || -> ArrayRef { Arc::new(UInt64Array::from(vec![None; count as usize])) };
    let files = ids().map(|id| format!("part{}/file{id}.txt", id % 2));
    let parent = |id| if pieces.contains(&id) { id - 1 } else { id };
    let columns = vec![
        numbers(ids().collect()),
        Arc::new(StringArray::from_iter_values(files)) as ArrayRef,
        none(),
        none(),
        none(),
        numbers(ids().map(parent).collect()),
        Arc::new(StringArray::from_iter_values(
            ids().map(|id| id.to_string()),
        )),
    ];
    let table = columns::batch(&kinds::SOURCES.tables[0], columns).unwrap();
    local::artifact(&folder(), &kinds::SOURCES, "sources", vec![table]).unwrap()
}

#[test]
fn the_best_system_that_can_answers_and_the_answer_says_which() {
    let (inputs, _) = family();
    let on_graph = open(&inputs, json!({})).unwrap();
    assert_eq!(on_graph.about().system, "ppr");
    let found = answer(&*on_graph, Ask::new(BORN)).unwrap();
    assert_eq!((found.system.as_str(), found.notes.len()), ("ppr", 0));
    let start = &found.start[0];
    assert_eq!(
        (start.label.as_str(), start.source.as_str()),
        ("fern birch", "entity")
    );
    let scores: Vec<f64> = found.documents.iter().map(|d| d.score.unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let born = found
        .documents
        .iter()
        .find(|d| d.title == "Fern Birch")
        .unwrap();
    let sentence = born.sentence.as_ref().unwrap();
    assert!(sentence.contains("born") && born.text.contains(sentence));
    for document in &found.documents {
        assert!(
            !document.paths.is_empty() && document.paths.len() <= 3,
            "{document:?}"
        );
        let weights: Vec<f64> = document.paths.iter().map(|p| p.weight).collect();
        assert!(weights.is_sorted_by(|a, b| a >= b), "{weights:?}");
        for path in &document.paths {
            let Some(step) = path.steps.first() else {
                continue;
            };
            let from = if step.inverse { &step.tail } else { &step.head };
            assert!(found.start.iter().any(|s| s.label == *from), "{path:?}");
        }
    }

    // What the graph does not know is found by words, and a note says so.
    let nothing = answer(&*on_graph, Ask::new("zzz qqq")).unwrap();
    assert_eq!(nothing.system, "bm25");
    assert!(
        nothing.notes[0].contains("nothing in the graph"),
        "{:?}",
        nothing.notes
    );
    assert!(nothing.documents.is_empty() && nothing.start.is_empty());

    let words = open(&inputs, json!({"system": "bm25"})).unwrap();
    let found = answer(&*words, Ask::new(BORN)).unwrap();
    assert_eq!(
        (found.system.as_str(), titles(&found)[0]),
        ("bm25", "Fern Birch")
    );

    let alone = inputs
        .into_iter()
        .filter(|(port, _)| port == "documents")
        .collect();
    let alone = open(&alone, json!({})).unwrap();
    let found = answer(&*alone, Ask::new(BORN)).unwrap();
    assert_eq!((found.system.as_str(), found.notes.len()), ("bm25", 0));
    assert_eq!(titles(&found)[0], "Fern Birch");
    assert!(found.documents.iter().all(|d| d.paths.is_empty()));
}

#[test]
fn a_document_in_pieces_is_found_once_and_documents_are_chosen_by_file() {
    let (mut inputs, _) = family();
    let documents = inputs["documents"][0].read("documents").unwrap();
    let all = columns::text(&documents, "title").unwrap();
    let fern = all.iter().position(|t| t == Some("Fern Birch")).unwrap() as u32;
    let of = sources(documents.num_rows() as u32, &[fern]);
    inputs.insert("sources".to_owned(), vec![of]);
    let by = open(&inputs, json!({})).unwrap();
    let whole = all.value(fern as usize - 1);
    let ask = |source: Option<&str>| Ask {
        k: 1000,
        source: source.map(str::to_owned),
        why_not: vec![fern.to_string(), whole.to_lowercase()],
        ..Ask::new(BORN)
    };
    let found = answer(&*by, ask(None)).unwrap();
    assert!(!titles(&found).contains(&"Fern Birch"));
    assert_eq!(titles(&found).iter().filter(|t| **t == whole).count(), 1);
    let place = found
        .documents
        .iter()
        .position(|d| d.title == whole)
        .unwrap();
    // The text and the sentence are those of the piece that the question is about.
    assert!(found.documents[place].text.contains("Fern Birch was born"));
    for named in &found.why_not {
        assert_eq!(
            (named.title.as_str(), named.rank),
            (whole, Some(place as u64 + 1))
        );
    }
    let within = answer(&*by, ask(Some("part1/*"))).unwrap();
    assert!(!within.documents.is_empty());
    let file = |d: &gfm_pipe_api::answer::Found| d.source.clone().unwrap();
    assert!(
        within
            .documents
            .iter()
            .all(|d| file(d).starts_with("part1/"))
    );
    let error = answer(&*by, ask(Some("none/*"))).unwrap_err();
    assert!(
        error.to_string().contains("no document is in a file"),
        "{error}"
    );
}

#[test]
fn a_question_that_fails_leaves_the_others_alone() {
    let (inputs, _) = family();
    let by = open(&inputs, json!({})).unwrap();
    let ask = |change: fn(&mut Ask)| {
        let mut ask = Ask::new(BORN);
        change(&mut ask);
        ask
    };
    let questions = [
        Ask::new(BORN),
        ask(|q| q.k = 0),
        ask(|q| q.k = 1001),
        ask(|q| q.paths = 11),
        ask(|q| q.question = " \n".to_owned()),
        ask(|q| q.why_not = vec!["Nobody".to_owned()]),
        ask(|q| q.source = Some("*".to_owned())),
        Ask::new(BORN),
    ];
    let answers = by.ask(&questions);
    let errors: Vec<String> = answers
        .iter()
        .filter_map(|a| Some(a.as_ref().err()?.to_string()))
        .collect();
    for (error, part) in errors.iter().zip([
        "from 1 to 1000",
        "from 1 to 1000",
        "at most 10",
        "empty",
        "no document \"Nobody\"",
        "files are not known",
    ]) {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(errors.len(), 6);
    let alone = answer(&*by, Ask::new(BORN)).unwrap();
    for place in [0, 7] {
        let among = answers[place].as_ref().unwrap();
        assert_eq!(among.documents, alone.documents);
    }
}

#[test]
fn mistakes_in_what_is_connected_are_reported() {
    let (inputs, _) = family();
    let entry = gfm_pipe_api::OpEntry::of::<Retriever>();
    let problems = |ports: &[&str], params: Value| {
        let params = entry.validate(&params).unwrap();
        let connected = ports
            .iter()
            .map(|p| ((*p).to_owned(), vec!["s.p".to_owned()]));
        let problems = entry.check_inputs(&params, &connected.collect());
        problems.into_iter().map(|p| p.message).collect::<Vec<_>>()
    };
    for (ports, params, want) in [
        (&["documents"][..], json!({}), ""),
        (
            &["documents", "links"],
            json!({}),
            "`entities`, `relations` and `triples` as well",
        ),
        (&["documents"], json!({"system": "ppr"}), "`links` as well"),
        (
            &["documents"],
            json!({"system": "dense"}),
            "`corpus_embeddings` as well",
        ),
        (
            &["documents", "corpus_embeddings"],
            json!({"system": "rrf"}),
            "",
        ),
    ] {
        let found = problems(ports, params);
        assert_eq!(found.is_empty(), want.is_empty(), "{found:?}");
        assert!(want.is_empty() || found[0].contains(want), "{found:?}");
    }
    // An unknown node in a triple is refused, not looked up.
    let mut broken = inputs.clone();
    let none = |numbers: &[u32]| -> ArrayRef { Arc::new(UInt32Array::from(numbers.to_vec())) };
    let table = columns::batch(
        &kinds::TRIPLES.tables[0],
        vec![none(&[0]), none(&[0]), none(&[9999])],
    );
    let triples = local::artifact(&folder(), &kinds::TRIPLES, "t", vec![table.unwrap()]);
    broken.insert("triples".to_owned(), vec![triples.unwrap()]);
    let error = open(&broken, json!({})).err().unwrap().to_string();
    assert!(error.contains("that does not exist"), "{error}");
}

/// What personalised PageRank finds for the test questions, as an artifact `rankings`; scores are
/// multiplied by `factor`.
fn rankings(inputs: &Inputs, questions: &Artifact, system: &str, factor: f64) -> Artifact {
    let read = |port: &str, table| inputs[port][0].read(table).unwrap();
    let (documents, links) = (read("documents", "documents"), read("links", "links"));
    let triples = read("triples", "triples");
    let column = |table, name| columns::u32s(table, name).unwrap().values().to_vec();
    let nodes = read("entities", "entities").num_rows();
    let pairs = column(&links, "entity")
        .into_iter()
        .zip(column(&links, "document"));
    let matrix = EntityDocuments::from_pairs(nodes, documents.num_rows(), pairs).unwrap();
    let edges = column(&triples, "head")
        .into_iter()
        .zip(column(&triples, "tail"));
    let edges = edges.map(|(head, tail)| (head, tail, 1.0));
    let walk = Walk {
        on: Arc::new(Ppr::new(nodes, edges).unwrap().restart(RESTART)),
        matrix: Arc::new(matrix),
        passages: None,
    };
    let table = questions.read("questions").unwrap();
    let (ids, titles) = (
        columns::text(&table, "id").unwrap(),
        columns::text(&documents, "title").unwrap(),
    );
    let (mut of, mut ranks, mut names, mut scores) = (vec![], vec![], vec![], vec![]);
    for (i, entities) in columns::list_u32(&table, "question_entities")
        .unwrap()
        .iter()
        .enumerate()
    {
        let starts: Vec<(u32, f64)> = entities.iter().map(|e| (*e, 1.0)).collect();
        let Some(masses) = walk.on.masses(&starts).unwrap() else {
            continue;
        };
        for (rank, (document, score)) in (1..).zip(first(&walk.documents(&masses, None), 10)) {
            of.push(ids.value(i).to_owned());
            ranks.push(rank);
            names.push(titles.value(document as usize).to_owned());
            scores.push(score * factor);
        }
    }
    let systems = vec![system; of.len()];
    let columns = vec![
        Arc::new(StringArray::from(of)) as ArrayRef,
        Arc::new(StringArray::from(systems)),
        Arc::new(UInt32Array::from(ranks)),
        Arc::new(StringArray::from(names)),
        Arc::new(Float64Array::from(scores)),
    ];
    let table = columns::batch(&kinds::RANKINGS.tables[0], columns).unwrap();
    local::artifact(&folder(), &kinds::RANKINGS, "found.rankings", vec![table]).unwrap()
}

#[test]
fn the_documents_of_a_ranking_are_explained() {
    let (mut inputs, questions) = family();
    inputs.insert("questions".to_owned(), vec![questions.clone()]);
    let params = json!({"system": "ppr", "node_specificity": false, "documents": 4, "paths": 2});
    let explain = |rankings: Artifact| {
        let mut inputs = inputs.clone();
        inputs.insert("rankings".to_owned(), vec![rankings]);
        local::run::<Explain>(&folder(), &params, inputs)
    };
    let explained = explain(rankings(&inputs, &questions, "ppr", 1.0)).unwrap();
    assert!(explained.messages.is_empty(), "{:?}", explained.messages);
    let table = explained.port("paths").read("paths").unwrap();
    let (ranks, numbers, layers) = (
        columns::u32s(&table, "rank").unwrap(),
        columns::u32s(&table, "path").unwrap(),
        columns::u32s(&table, "layer").unwrap(),
    );
    assert!(table.num_rows() > 20);
    assert!(ranks.values().iter().all(|r| (1..=4).contains(r)));
    assert!(numbers.values().iter().all(|n| (1..=2).contains(n)));
    let (heads, tails) = (
        columns::text(&table, "head").unwrap(),
        columns::text(&table, "tail").unwrap(),
    );
    let inverse = columns::bools(&table, "inverse").unwrap();
    let end = |row: usize, behind: bool| {
        let tail = inverse.value(row) != behind;
        if tail {
            tails.value(row)
        } else {
            heads.value(row)
        }
    };
    for row in 1..table.num_rows() {
        if layers.value(row) > 1 {
            assert_eq!(layers.value(row), layers.value(row - 1) + 1);
            assert_eq!(end(row, false), end(row - 1, true), "row {row}");
        }
    }

    let other = explain(rankings(&inputs, &questions, "ppr", 1.5)).unwrap();
    assert!(
        other.messages[0].1.contains("have another score"),
        "{:?}",
        other.messages
    );
    let error = explain(rankings(&inputs, &questions, "dense", 1.0)).unwrap_err();
    assert!(error.to_string().contains("only `dense`"), "{error}");

    // Sums of features are not compared with the masses of walks.
    let mut fused = inputs.clone();
    let of = rankings(&inputs, &questions, "fused", 1.5);
    fused.insert("rankings".to_owned(), vec![of]);
    let mut params = params.clone();
    params["system"] = json!("fused");
    let fused = local::run::<Explain>(&folder(), &params, fused).unwrap();
    assert!(fused.messages.is_empty(), "{:?}", fused.messages);
    let paths = fused.port("paths").read("paths").unwrap();
    assert_eq!(paths.num_rows(), table.num_rows());
}

#[test]
fn fused_ranks_by_the_weights_and_features_that_the_operators_give() {
    let (mut inputs, test) = family();
    let fusion = local::run::<Fuse>(&folder(), &json!({}), Inputs::new()).unwrap();
    let weights = Fusion::read(fusion.port("fusion")).unwrap();
    inputs.insert("fusion".to_owned(), vec![fusion.port("fusion").clone()]);
    let mut to_link = inputs.clone();
    to_link.retain(|port, _| ["documents", "entities", "links"].contains(&port.as_str()));
    to_link.insert("test".to_owned(), vec![test]);
    let linked = local::run::<LinkQuestions>(&folder(), &json!({}), to_link).unwrap();
    let mut measured = inputs.clone();
    measured.remove("fusion");
    for port in ["test", "test_starts"] {
        measured.insert(port.to_owned(), vec![linked.port(port).clone()]);
    }
    let features = local::run::<RankFeatures>(&folder(), &json!({}), measured).unwrap();
    let texts = linked.port("test").texts().unwrap();
    let read = table::read(features.port("test"), &texts, "test").unwrap();
    let (features, documents) = (read.questions, read.documents);
    assert_eq!(read.whole, documents);

    let by = open(&inputs, json!({})).unwrap();
    assert_eq!(by.about().system, "fused");
    let nothing = answer(&*by, Ask::new("zzz qqq")).unwrap();
    assert_eq!((nothing.system.as_str(), nothing.notes.len()), ("bm25", 1));
    assert!(!texts.is_empty());
    for (text, features) in texts.iter().zip(&features) {
        let found = answer(&*by, Ask::new(text)).unwrap();
        assert_eq!(found.system, "fused");
        let scores = weights.scores(features, documents, None);
        let want = top(&scores, found.documents.len());
        let ids: Vec<u32> = found.documents.iter().map(|d| d.id).collect();
        assert_eq!(ids, want, "{text}");
        for document in &found.documents {
            let score = scores[document.id as usize];
            assert!((document.score.unwrap() - score).abs() < 1e-6, "{text}");
        }
        assert!(
            found.documents.iter().any(|d| !d.paths.is_empty()),
            "{text}"
        );
    }
}
