//! Gains against those of candle's autograd, and paths against the graph.

use std::collections::BTreeMap;

use candle_core::{DType, Var};
use gfm_pipe_eval::paths::Path;
use proptest::prelude::*;

use super::super::autograd::{Plain, TestTexts, class_of, configs, graphs, numbers};
use super::super::{Class, Compute, ModelConfig, Params, Question, Retriever};
use super::Explained;
use crate::graph::{Edge, Graph};
use crate::ops::{self, AggregateFunc};
use crate::tensor::{tensor, to_f64};

/// The message of a stored edge: the node that sends, the one that receives, the relation.
type Sent = (u32, u32, u32);

/// Gains of all edges, by layer.
type Gains = Vec<Vec<(Sent, f64)>>;

fn sent(e: &Edge, path: ops::Path) -> Sent {
    match path {
        ops::Path::Fused => (e.tail, e.head, e.relation),
        ops::Path::Plain => (e.head, e.tail, e.relation),
    }
}

/// Fewest edges of a walk from a start to every node.
fn distances(nodes: usize, edges: &[Sent], seeds: &[(u32, f64)]) -> Vec<usize> {
    let mut out = vec![usize::MAX; nodes];
    for (v, _) in seeds.iter().filter(|s| s.1 != 0.0) {
        out[*v as usize] = 0;
    }
    for hop in 0..nodes {
        for (u, v, _) in edges {
            if out[*u as usize] == hop {
                out[*v as usize] = out[*v as usize].min(hop + 1);
            }
        }
    }
    out
}

/// Configurations with all aggregates.
fn all_configs() -> impl Strategy<Value = ModelConfig> {
    let aggregates = proptest::sample::select(vec![
        AggregateFunc::Sum,
        AggregateFunc::Mean,
        AggregateFunc::Max,
        AggregateFunc::Min,
        AggregateFunc::Pna,
    ]);
    (configs(), aggregates).prop_map(|(config, aggregate_func)| ModelConfig {
        aggregate_func,
        ..config
    })
}

struct Case {
    graph: Graph,
    params: Params,
    test_texts: TestTexts,
    /// The same in the model's element type.
    typed: TestTexts,
    text: Vec<f32>,
    seeds: Vec<(u32, f64)>,
    targets: Vec<(u32, f64)>,
}

impl Case {
    fn new(
        (nodes, relations, triples): &(usize, usize, Vec<[u32; 3]>),
        config: &ModelConfig,
        seed: u64,
        dtype: DType,
    ) -> Self {
        let test_texts = TestTexts::new(*relations, *nodes, seed);
        let class = class_of(config, Class::GNNRetriever);
        let last = *nodes as u32 - 1;
        let mut seeds = vec![(0, 0.5), (last / 2, 1.0), (last, 0.0)];
        seeds.dedup_by_key(|s| s.0);
        Case {
            graph: Graph::from_triples(*nodes, *relations, triples),
            params: Params::init(class, config, 5, seed, dtype).unwrap(),
            typed: TestTexts {
                relations: test_texts.relations.to_dtype(dtype).unwrap(),
                nodes: test_texts.nodes.to_dtype(dtype).unwrap(),
            },
            test_texts,
            text: numbers(5, seed + 1).iter().map(|x| *x as f32).collect(),
            seeds,
            // A target may be there twice.
            targets: vec![(last, 1.0), (seed as u32 % (last + 1), -0.7), (last, 0.4)],
        }
    }

    fn question(&self) -> Question<'_> {
        Question {
            embedding: &self.text,
            seeds: &self.seeds,
        }
    }

    fn path(&self) -> ops::Path {
        self.params.config.message_func.path()
    }

    fn retriever(&self) -> Retriever<'_> {
        Retriever::new(&self.params, &self.graph, self.typed.texts())
    }

    /// Scores of all nodes, and the derivatives of the targets' for a weight of one for each edge
    /// and layer: all edges of the graph, layer by layer.
    fn slow(&self) -> (Vec<f64>, Gains) {
        let plain = Plain::new(&self.params, &self.graph, &self.test_texts);
        let edges: Vec<Sent> = self
            .graph
            .list()
            .iter()
            .map(|e| sent(e, self.path()))
            .collect();
        let ones = || Var::from_tensor(&tensor(vec![1f64; edges.len()], (edges.len(), 1))?);
        let weights: Vec<Var> = (0..self.params.config.layers())
            .map(|_| ones().unwrap())
            .collect();
        let rel = plain.linear("rel_mlp", &self.test_texts.relations).unwrap();
        let text = tensor(self.text.clone(), (1, 5))
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap();
        let query = plain
            .linear("question_mlp", &text)
            .unwrap()
            .squeeze(0)
            .unwrap();
        let scores = plain
            .weighted_row(&rel, &query, &self.seeds, &weights)
            .unwrap();
        let mut coefficients = vec![0.0; self.graph.nodes()];
        for (v, c) in &self.targets {
            coefficients[*v as usize] += c;
        }
        let coefficients = tensor(coefficients, self.graph.nodes()).unwrap();
        let store = (&scores * coefficients)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let gains = weights.iter().map(|weight| {
            let gains = store
                .get(weight)
                .map_or(vec![0.0; edges.len()], |g| to_f64(g).unwrap());
            edges.iter().copied().zip(gains).collect()
        });
        (to_f64(&scores).unwrap(), gains.collect())
    }
}

/// Compares the gains of an explained question with those of autograd: the same where they are
/// given, zero or on no walk where they are not.
fn check(
    case: &Case,
    explained: &Explained<'_>,
    (scores, want): &(Vec<f64>, Gains),
) -> Result<(), TestCaseError> {
    for (a, b) in explained.scores().iter().zip(scores) {
        prop_assert!((a - b).abs() < 1e-9, "score {a} {b}");
    }
    let edges: Vec<Sent> = case
        .graph
        .list()
        .iter()
        .map(|e| sent(e, case.path()))
        .collect();
    let distances = distances(case.graph.nodes(), &edges, &case.seeds);
    let layers = explained.gains(&case.targets).unwrap();
    prop_assert_eq!(layers.len(), want.len());
    for (layer, (got, want)) in layers.iter().zip(want).enumerate() {
        prop_assert!(got.is_sorted_by_key(|e| e.to));
        let mut by_edge: BTreeMap<Sent, Vec<f64>> = BTreeMap::new();
        for e in got {
            by_edge
                .entry((e.from, e.to, e.label))
                .or_default()
                .push(e.gain);
        }
        for (edge, gain) in want {
            match by_edge.get(edge) {
                Some(gains) => {
                    let copies = want.iter().filter(|(e, _)| e == edge).count();
                    prop_assert_eq!(copies, gains.len());
                    for g in gains {
                        let gap = (g - gain).abs();
                        prop_assert!(
                            gap < 1e-9 * (1.0 + gain.abs()),
                            "layer {layer} {edge:?}: {g} {gain}"
                        );
                    }
                }
                None => {
                    // Its sender is not where a walk from a start can be after `layer` edges.
                    let on_no_walk = distances[edge.0 as usize] > layer;
                    prop_assert!(*gain == 0.0 || on_no_walk, "layer {layer} {edge:?}: {gain}");
                }
            }
        }
    }
    Ok(())
}

/// Paths have their weights from the gains, are made of facts, and lead from starts to targets.
fn check_paths(
    case: &Case,
    paths: &[Path],
    want: &[Vec<(Sent, f64)>],
) -> Result<(), TestCaseError> {
    let direct = case.graph.relations() as u32;
    let facts = case.graph.triples();
    for path in paths {
        let mut sum = 0.0;
        for (step, layer) in path.steps.iter().zip(want) {
            prop_assert!(facts.contains(&[step.head, step.relation, step.tail]));
            // The fused path walks the direct edge against its direction.
            let stored = match (case.path(), step.inverse) {
                (ops::Path::Fused, true) | (ops::Path::Plain, false) => step.relation,
                _ => step.relation + direct,
            };
            let edge = (step.from(), step.to(), stored);
            let found = layer.iter().find(|(e, _)| *e == edge);
            prop_assert!(found.is_some(), "{edge:?} is no edge");
            sum += found.unwrap().1;
        }
        let mean = sum / path.steps.len() as f64;
        prop_assert!((path.weight - mean).abs() < 1e-9 * (1.0 + mean.abs()));
        prop_assert!(path.steps.windows(2).all(|s| s[0].to() == s[1].from()));
        let (first, last) = (path.steps[0].from(), path.steps[path.steps.len() - 1].to());
        prop_assert!(case.seeds.iter().any(|(v, w)| *v == first && *w != 0.0));
        prop_assert!(case.targets.iter().any(|(v, _)| *v == last));
        prop_assert!(path.steps.iter().all(|s| s.from() != last));
    }
    prop_assert!(paths.is_sorted_by(|a, b| a.weight >= b.weight));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn gains_equal_autograd(graph in graphs(), config in all_configs(), seed in 0u64..1000) {
        let case = Case::new(&graph, &config, seed, DType::F64);
        let want = case.slow();
        for compute in [Compute::Dense, Compute::Sparse, Compute::Auto] {
            for recompute in [false, true] {
                let model = case.retriever().compute(compute).recompute(recompute);
                check(&case, &model.explain(&case.question()).unwrap(), &want)?;
                let model = model.prepared(None).unwrap();
                let explained = model.explain(&case.question()).unwrap();
                check(&case, &explained, &want)?;
                let paths = explained.paths(&case.targets, 10, 10).unwrap();
                check_paths(&case, &paths, &want.1)?;
                // The best of each length is among them, so all targets that walks reach have one.
                let again = explained.paths(&case.targets, 10, 10).unwrap();
                prop_assert_eq!(paths, again);
            }
        }
        // In f32 the same, less precisely.
        let f32s = Case::new(&graph, &config, seed, DType::F32);
        let model = f32s.retriever().prepared(None).unwrap();
        let explained = model.explain(&f32s.question()).unwrap();
        for (a, b) in explained.scores().iter().zip(&want.0) {
            prop_assert!((a - b).abs() < 1e-2 * (1.0 + b.abs()), "{a} {b}");
        }
        prop_assert_eq!(explained.gains(&f32s.targets).unwrap().len(), config.layers());
    }
}

/// On a chain, gains are the effects of weights, and what is not needed is not there.
#[test]
fn only_edges_between_starts_and_targets_have_gains() {
    let triples: Vec<[u32; 3]> = (0..20u32).map(|i| [i, 0, i + 1]).collect();
    let case = Case {
        seeds: vec![(5, 1.0)],
        targets: vec![(8, 1.0)],
        ..Case::new(
            &(21, 1, triples),
            &ModelConfig::new(4, vec![4; 4]),
            3,
            DType::F64,
        )
    };
    let model = case.retriever();
    let explained = model.explain(&case.question()).unwrap();
    let layers = explained.gains(&case.targets).unwrap();
    let ends = |i: usize| -> Vec<(u32, u32)> {
        let edges: &Vec<gfm_pipe_eval::paths::Edge> = &layers[i];
        edges.iter().map(|e| (e.from, e.to)).collect()
    };
    // Nodes within i hops of the start send to nodes within 3 - i hops of the target.
    assert_eq!(ends(0), [(5, 6)]);
    assert_eq!(ends(1), [(5, 6), (6, 7)]);
    assert_eq!(ends(2), [(6, 7), (7, 8)]);
    assert_eq!(ends(3), [(7, 8)]);
    let paths = explained.paths(&case.targets, 10, 10).unwrap();
    let nodes: Vec<Vec<u32>> = paths
        .iter()
        .map(|p| p.steps.iter().map(|s| s.to()).collect())
        .collect();
    // Four layers, three edges: there is one walk.
    assert_eq!(nodes, [[6, 7, 8]]);
    assert!(paths[0].weight.abs() > 1e-6);
    assert!(explained.paths(&[(12, 1.0)], 10, 10).unwrap().is_empty());
    assert!(explained.paths(&[(5, 1.0)], 10, 10).unwrap().is_empty());
    assert!(explained.paths(&[(8, 0.0)], 10, 10).unwrap().is_empty());
    assert!(explained.paths(&[], 10, 10).unwrap().is_empty());
    assert!(explained.paths(&[(21, 1.0)], 10, 10).is_err());
}
