//! Real data sets, counted against an independent reading (Python's own text mode, `strip`, `split`
//! and `json`).
#![allow(clippy::unwrap_used)]

mod common;

use common::{counts, ingest_file, ingest_questions, rejects, shared};
use gfm_pipe_api::columns;

struct Split {
    name: &'static str,
    questions: u64,
    question_entities: usize,
    supporting_entities: usize,
    documents: usize,
}

struct Expected {
    set: &'static str,
    /// lines = triples, self_loops, entities, relations
    graph: [u64; 4],
    documents: u64,
    links: u64,
    splits: [Split; 2],
}

fn check(want: &Expected) {
    let Some(root) = shared(&format!("data/{}", want.set)) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let graph = ingest_file(
        &root.join("processed/stage1/kg.txt"),
        &dir.path().join("kg"),
    )
    .unwrap();
    let got = counts(&graph);
    let [lines, loops, entities, relations] = want.graph;
    for (name, value) in [
        ("lines", lines),
        ("triples", lines),
        ("blank_lines", 0),
        ("rejected", 0),
        ("duplicates", 0),
        ("self_loops", loops),
        ("entities", entities),
        ("relations", relations),
    ] {
        assert_eq!(got[name], value, "{name}");
    }
    assert_eq!(
        graph.port("entities").rows("entities").unwrap() as u64,
        entities
    );
    assert_eq!(
        graph.port("relations").rows("relations").unwrap() as u64,
        2 * relations
    );

    let qa = ingest_questions(&root, graph.port("entities"), &dir.path().join("qa")).unwrap();
    assert!(rejects(&qa).is_empty());
    let got = counts(&qa);
    assert_eq!(
        (got["documents"], got["links"]),
        (want.documents, want.links)
    );
    assert_eq!(got["documents_not_in_corpus"], 0);
    for split in &want.splits {
        assert_eq!(got[&format!("{}.questions", split.name)], split.questions);
        assert_eq!(got[&format!("{}.not_askable", split.name)], 0);
        let batch = qa.port(split.name).read("questions").unwrap();
        let total = |name| {
            columns::list_u32(&batch, name)
                .unwrap()
                .iter()
                .map(Vec::len)
                .sum::<usize>()
        };
        assert_eq!(total("question_entities"), split.question_entities);
        assert_eq!(total("supporting_entities"), split.supporting_entities);
        assert_eq!(total("supporting_documents"), split.documents);
        let gold = columns::u32s(&batch, "gold_titles").unwrap();
        assert_eq!(gold.values().iter().sum::<u32>() as usize, split.documents);
        assert_eq!(
            columns::u32s(&batch, "hops")
                .unwrap()
                .iter()
                .flatten()
                .count() as u64,
            split.questions
        );
    }
    assert_eq!(got["valid.questions"], 0);
    assert_eq!(qa.port("valid").rows("questions").unwrap(), 0);
}

#[test]
fn shared_musique_train_is_read_whole() {
    check(&Expected {
        set: "musique_train",
        graph: [22_532, 20, 16_234, 4_894],
        documents: 1_890,
        links: 19_754,
        splits: [
            Split {
                name: "train",
                questions: 208,
                question_entities: 274,
                supporting_entities: 3_324,
                documents: 296,
            },
            Split {
                name: "test",
                questions: 40,
                question_entities: 76,
                supporting_entities: 1_029,
                documents: 89,
            },
        ],
    });
}

#[test]
fn shared_metaqa_movies_is_read_whole() {
    check(&Expected {
        set: "metaqa_movies",
        graph: [106_315, 119, 39_690, 9],
        documents: 16_426,
        links: 122_628,
        splits: [
            Split {
                name: "train",
                questions: 3_000,
                question_entities: 3_000,
                supporting_entities: 68_912,
                documents: 8_853,
            },
            Split {
                name: "test",
                questions: 600,
                question_entities: 600,
                supporting_entities: 13_543,
                documents: 1_741,
            },
        ],
    });
}
