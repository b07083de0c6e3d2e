//! Facts that a graph states twice: their twins are removed with them.

use serde_json::{Value, json};

use crate::toy::*;

/// Triples without any pattern, so that held-out ones cannot be guessed.
fn random(nodes: u32, count: usize) -> Vec<[u32; 3]> {
    let mut state = 12_345u64;
    let mut draw = |below: u32| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u32 % below
    };
    (0..count)
        .map(|_| [draw(nodes), draw(2), draw(nodes)])
        .collect()
}

/// Name, how a triple is stated again, and the relations of the graph.
type Repetition = (
    &'static str,
    fn([u32; 3]) -> [u32; 3],
    &'static [&'static str],
);

#[test]
fn a_graph_that_states_its_facts_twice_is_not_easier() {
    const NODES: u32 = 60;
    let dir = tempfile::tempdir().unwrap();
    let facts = random(NODES, 150);
    let params = with(
        pretrain_params(6),
        &[
            ("train.valid_fraction", json!(0.2)),
            ("task.metric", json!(["mrr"])),
        ],
    );
    let mrr = |name: &'static str, triples: &[[u32; 3]], relations: &[&str], share: Value| {
        let toy = Toy {
            name,
            nodes: NODES,
            ..TOY
        };
        let graph = toy.graph_of(dir.path(), triples, relations);
        let mut params = params.clone();
        params["task"]["twin_share"] = share;
        let folder = dir
            .path()
            .join(format!("out-{name}-{}", params["task"]["twin_share"]));
        std::fs::create_dir_all(&folder).unwrap();
        let out = run(&folder, "pretrain", params, inputs(&[("graph", &graph)])).unwrap();
        let last = history(out.port("history"), "valid:mrr").pop().unwrap();
        (last, out.messages)
    };
    let (plain, messages) = mrr("plain", &facts, &["likes", "knows"], json!(0.8));
    assert!(!messages.iter().any(|m| m.1.contains("near-duplicates")));
    let again: [Repetition; 3] = [
        ("reversed", |[h, r, t]| [t, r, h], &["likes", "knows"]),
        (
            "reverse-of",
            |[h, r, t]| [t, r + 2, h],
            &["likes", "knows", "reverse of likes", "reverse of knows"],
        ),
        (
            "also",
            |[h, r, t]| [h, r + 2, t],
            &["likes", "knows", "also likes", "also knows"],
        ),
    ];
    for (name, twin, relations) in again {
        let twins = facts.iter().map(|t| twin(*t));
        let twice: Vec<[u32; 3]> = facts.iter().copied().chain(twins).collect();
        let (hidden, messages) = mrr(name, &twice, relations, json!(0.8));
        let (left, _) = mrr(name, &twice, relations, json!(null));
        let want = format!("{} relations with near-duplicates", relations.len());
        assert!(messages.iter().any(|m| m.1.contains(&want)), "{messages:?}");
        assert!((hidden - plain).abs() < 0.1, "{name}: {hidden} for {plain}");
        assert!(left > plain + 0.3, "{name}: {left} for {plain}");
    }
}
