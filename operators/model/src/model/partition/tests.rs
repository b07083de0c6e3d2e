//! Compares a partitioned graph with a single rank that has all of it.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use gfm_pipe_api::ranks::{Collective, on_threads};
use proptest::prelude::*;

use super::*;
use crate::edge_dropout::EdgeDropout;
use crate::graph::Graph;
use crate::model::autograd::{TestTexts, class_of, configs, graphs, numbers, same};
use crate::model::{
    Class, Compute, Grads, ModelConfig, Params, QueryGnn, Question, Retriever, TailQuery,
};
use crate::ops::{AggregateFunc, MessageFunc};
use crate::sampling::EasyEdges;
use crate::tensor::tensor;

/// Communities of nodes with random ids. Most edges connect nodes of the same community.
fn communities(count: usize, size: usize, edges: usize, seed: u64) -> Graph {
    let mut random = numbers(4 * count * size * edges, seed).into_iter();
    let mut draw = |n: usize| {
        let x = random.next().unwrap_or(0.0);
        (((x + 1.0) / 2.0 * n as f64) as usize).min(n - 1)
    };
    let nodes = count * size;
    let mut ids: Vec<u32> = (0..nodes as u32).collect();
    for i in (1..nodes).rev() {
        ids.swap(i, draw(i + 1));
    }
    let mut triples = Vec::new();
    for v in 0..nodes {
        for _ in 0..edges {
            let at_home = draw(20) > 0;
            let u = if at_home {
                v / size * size + draw(size)
            } else {
                draw(nodes)
            };
            triples.push([ids[v], 0, ids[u]]);
        }
    }
    Graph::from_triples(nodes, 1, &triples)
}

#[test]
fn streaming_cuts_fewer_edges_than_blocks_of_ids_and_shares_the_work() {
    for (ranks, seed) in [(2, 1), (3, 2), (4, 3), (7, 4)] {
        let graph = communities(12, 50, 4, seed);
        let streamed = Partition::streamed(&graph, ranks, 64).cut(&graph);
        let blocks = Partition::blocks(&graph, ranks, 64).cut(&graph);
        assert!(
            streamed.share < blocks.share / 2.0,
            "{ranks}: {streamed:?} {blocks:?}"
        );
        for cut in [&streamed, &blocks] {
            assert_eq!(cut.nodes.iter().sum::<usize>(), graph.nodes());
            assert_eq!(cut.edges.iter().sum::<usize>(), graph.edges());
        }
        // Work as the partitioner counts it: a node counts as 6 edges at this width.
        let work = |i: usize| streamed.nodes[i] * 6 + streamed.edges[i];
        let total: usize = (0..ranks).map(work).sum();
        let most = (0..ranks).map(work).max().unwrap();
        assert!(
            most <= total / ranks + total / ranks / 32 + 100,
            "{streamed:?}"
        );
    }
}

#[test]
fn a_partition_is_the_same_every_time() {
    let graph = communities(5, 20, 3, 9);
    assert_eq!(
        Partition::streamed(&graph, 3, 32),
        Partition::streamed(&graph, 3, 32)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// One rank sends exactly the nodes that the other has copies of, and no edge is lost.
    #[test]
    fn parts_fit_each_other((nodes, relations, triples) in graphs(), ranks in 1usize..5, rotate in any::<bool>()) {
        let graph = Graph::from_triples(nodes, relations, &triples);
        let message = if rotate { MessageFunc::RotatE } else { MessageFunc::DistMult };
        for partition in [Partition::streamed(&graph, ranks, 8), Partition::blocks(&graph, ranks, 8)] {
            let partition = Arc::new(partition);
            let cut = partition.cut(&graph);
            let parts: Vec<Part> = (0..ranks).map(|r| Part::new(&graph, &partition, r, message).unwrap()).collect();
            let mut all: Vec<u32> = parts.iter().flat_map(|p| p.own()).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..nodes as u32).collect::<Vec<_>>());
            prop_assert_eq!(parts.iter().map(|p| p.graph().edges()).sum::<usize>(), graph.edges());
            for (r, part) in parts.iter().enumerate() {
                prop_assert_eq!(part.halo().len(), cut.halo[r]);
                prop_assert_eq!(part.own().len(), cut.nodes[r]);
                prop_assert_eq!(part.graph().edges(), cut.edges[r]);
                for (s, other) in parts.iter().enumerate() {
                    let sent: Vec<u32> = part.to()[s].iter().map(|v| part.own()[*v as usize]).collect();
                    let skip = other.own().len();
                    let places = other.from()[r].clone().map(|v| other.halo()[v - skip]);
                    prop_assert_eq!(sent, places.collect::<Vec<_>>());
                }
                for (local, v) in part.own().iter().chain(part.halo()).enumerate() {
                    prop_assert_eq!(part.local(*v), Some(local as u32));
                }
            }
        }
    }
}

/// The results of one rank.
struct Results {
    scores: Tensor,
    all: Tensor,
    grads: Grads,
}

fn same_results(name: &str, got: &[Results], want: &Results) -> Result<(), TestCaseError> {
    for (rank, got) in got.iter().enumerate() {
        let name = |what: &str| format!("{name}, rank {rank}: {what}");
        same(&name("scores"), &got.scores, &want.scores)?;
        prop_assert_eq!(got.scores.dims(), want.scores.dims());
        same(&name("all scores"), &got.all, &want.all)?;
        prop_assert_eq!(got.all.dims(), want.all.dims());
        let (got, want) = (got.grads.named(), want.grads.named());
        prop_assert_eq!(
            got.keys().collect::<Vec<_>>(),
            want.keys().collect::<Vec<_>>()
        );
        for (k, g) in want {
            same(&name(&k), got[&k], g)?;
            prop_assert_eq!(got[&k].dims(), g.dims());
        }
    }
    Ok(())
}

/// A model on one graph, with its settings.
struct Case<'a> {
    params: &'a Params,
    graph: &'a Graph,
    test_texts: &'a TestTexts,
    recompute: bool,
    compute: Compute,
}

impl Case<'_> {
    fn links(
        &self,
        partition: &Arc<Partition>,
        easy: EasyEdges<'_>,
        gone: &[[u32; 3]],
        queries: &[TailQuery],
        candidates: &[Vec<u32>],
        dscores: &Tensor,
    ) -> Vec<Results> {
        on_threads(partition.ranks(), |ranks: &dyn Collective| {
            let message = self.params.config.message_func;
            let part = Part::new(self.graph, partition, ranks.rank(), message).unwrap();
            let cut = part.without(easy, gone.iter().copied());
            let test_texts = told_of(&part, self.test_texts);
            let model = PartitionedGnn::new(self.params, &part, test_texts.texts(), ranks)
                .unwrap()
                .on(&cut)
                .recompute(self.recompute)
                .compute(self.compute);
            let mut pass = model.forward(queries, candidates).unwrap();
            let mut grads = model.backward(&mut pass, dscores).unwrap();
            sum_grads(&mut grads, ranks).unwrap();
            assert!(model.backward(&mut pass, dscores).is_err(), "twice");
            let all = model.score_all(queries).unwrap();
            let scores = pass.scores;
            Results { scores, all, grads }
        })
    }

    fn questions(
        &self,
        partition: &Arc<Partition>,
        questions: &[Question<'_>],
        dropout: EdgeDropout,
        dscores: &Tensor,
    ) -> Vec<Results> {
        on_threads(partition.ranks(), |ranks: &dyn Collective| {
            let message = self.params.config.message_func;
            let part = Part::new(self.graph, partition, ranks.rank(), message).unwrap();
            let cut = part.dropped(&dropout);
            let test_texts = told_of(&part, self.test_texts);
            let model = PartitionedRetriever::new(self.params, &part, test_texts.texts(), ranks)
                .unwrap()
                .on(&cut)
                .recompute(self.recompute)
                .compute(self.compute);
            let mut pass = model.forward(questions).unwrap();
            let mut grads = model.backward(&mut pass, dscores).unwrap();
            sum_grads(&mut grads, ranks).unwrap();
            let all = model.score_all(questions).unwrap();
            let scores = pass.scores;
            Results { scores, all, grads }
        })
    }
}

/// The texts of a part's nodes.
fn told_of(part: &Part, test_texts: &TestTexts) -> TestTexts {
    test_texts.of(&[part.own(), part.halo()].concat())
}

/// The configuration with this message function.
fn with_message(config: ModelConfig, message: MessageFunc) -> ModelConfig {
    ModelConfig {
        message_func: message,
        ..config
    }
}

fn ways() -> impl Strategy<Value = Compute> {
    proptest::sample::select(vec![Compute::Dense, Compute::Sparse, Compute::Auto])
}

fn messages() -> impl Strategy<Value = MessageFunc> {
    proptest::sample::select(vec![
        MessageFunc::DistMult,
        MessageFunc::TransE,
        MessageFunc::RotatE,
    ])
}

/// A random partition. A rank may have no nodes.
fn owners(nodes: usize, ranks: usize, seed: u64) -> Arc<Partition> {
    let owner = numbers(nodes, seed ^ 5).into_iter();
    let owner = owner.map(|x| ((x + 1.0) / 2.0 * ranks as f64) as u32);
    Arc::new(Partition::given(owner.map(|o| o.min(ranks as u32 - 1)).collect(), ranks).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn links_equal_one_rank(
        (nodes, relations, triples) in graphs(), config in configs(), message in messages(),
        recompute in any::<bool>(), compute in ways(), pairs in any::<bool>(), seed in 0u64..1000,
    ) {
        let config = with_message(config, message);
        let graph = Graph::from_triples(nodes, relations, &triples);
        let class = class_of(&config, Class::QueryGNN);
        let params = Params::init(class, &config, 5, seed, DType::F64).unwrap();
        let test_texts = TestTexts::new(relations, nodes, seed);
        let queries = [
            TailQuery { head: 0, relation: 0 },
            TailQuery { head: (nodes - 1) as u32, relation: (2 * relations - 1) as u32 },
        ];
        // A candidate may occur several times.
        let candidates = vec![vec![0, (nodes - 1) as u32, 0], vec![(nodes / 2) as u32; 3]];
        let dscores = tensor(numbers(6, seed + 9), (2, 3)).unwrap();
        let mut gone: Vec<[u32; 3]> = triples.iter().take(2).copied().collect();
        gone.push([(nodes - 1) as u32, (2 * relations - 1) as u32, 0]);
        let easy = if pairs { EasyEdges::Pair } else { EasyEdges::Relation };

        let cut = easy.removed(&graph, gone.iter().copied());
        let model = QueryGnn::new(&params, &cut, test_texts.texts()).compute(Compute::Dense);
        let mut pass = model.forward(&queries, candidates.clone()).unwrap();
        let grads = model.backward(&mut pass, &dscores).unwrap();
        let want = Results { all: model.score_all(&queries).unwrap(), scores: pass.scores, grads };
        let case = Case { params: &params, graph: &graph, test_texts: &test_texts, recompute, compute };
        for ranks in 1..=3 {
            let streamed = Arc::new(Partition::streamed(&graph, ranks, 4));
            for partition in [streamed, owners(nodes, ranks, seed)] {
                let got = case.links(&partition, easy, &gone, &queries, &candidates, &dscores);
                same_results(&format!("{ranks} ranks"), &got, &want)?;
            }
        }
    }

    #[test]
    fn questions_equal_one_rank(
        (nodes, relations, triples) in graphs(), config in configs(), message in messages(),
        recompute in any::<bool>(), compute in ways(), seed in 0u64..1000, dropped in 0.0..1.0,
    ) {
        let config = with_message(config, message);
        let graph = Graph::from_triples(nodes, relations, &triples);
        let dropout = EdgeDropout::new(dropped, seed);
        let cut = dropout.without(&graph);
        let class = class_of(&config, Class::GNNRetriever);
        let params = Params::init(class, &config, 5, seed, DType::F64).unwrap();
        let test_texts = TestTexts::new(relations, nodes, seed);
        let text: Vec<Vec<f32>> = (0..3).map(|i| numbers(5, seed + i).iter().map(|x| *x as f32).collect()).collect();
        // One question has one seed, one has none, and one has all nodes.
        let everywhere = (0..nodes as u32).map(|v| (v, f64::from(v % 3) / 2.0)).collect();
        let seeds = [vec![((nodes - 1) as u32, 0.5)], vec![], everywhere];
        let questions: Vec<Question<'_>> =
            text.iter().zip(&seeds).map(|(embedding, seeds)| Question { embedding, seeds }).collect();
        let dscores = tensor(numbers(3 * nodes, seed + 9), (3, nodes)).unwrap();

        let model = Retriever::new(&params, &cut, test_texts.texts()).compute(Compute::Dense);
        let mut pass = model.forward(&questions).unwrap();
        let grads = model.backward(&mut pass, &dscores).unwrap();
        let want = Results { all: model.score_all(&questions).unwrap(), scores: pass.scores, grads };
        let case = Case { params: &params, graph: &graph, test_texts: &test_texts, recompute, compute };
        for ranks in 1..=3 {
            let streamed = Arc::new(Partition::streamed(&graph, ranks, 4));
            for partition in [streamed, owners(nodes, ranks, seed)] {
                let got = case.questions(&partition, &questions, dropout, &dscores);
                same_results(&format!("{ranks} ranks"), &got, &want)?;
            }
        }
    }
}

/// Graphs where queries do not reach all nodes: chains, islands, a hub, and nodes without edges.
fn chains() -> impl Strategy<Value = Graph> {
    let triple = (0u32..50, 0u32..3, 0u32..12, proptest::bool::weighted(0.1));
    let hub = prop_oneof![Just(0u32), 20u32..50];
    (proptest::collection::vec(triple, 0..90), hub).prop_map(|(triples, hub)| {
        let near = |h: u32, step: u32| (h + step % 3) % 50;
        let far = |h: u32| (h * 7) % 60;
        let triples = triples.iter().map(|(h, r, step, anywhere)| {
            [*h, *r, if *anywhere { far(*h) } else { near(*h, *step) }]
        });
        let known = (0..hub).map(|i| [i, i % 3, 49]);
        Graph::from_triples(60, 3, &triples.chain(known).collect::<Vec<_>>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Graphs where most states belong to the background or do not matter.
    #[test]
    fn sparse_parts_equal_one_rank(
        graph in chains(), config in configs(), message in messages(), layers in 1usize..5,
        compute in ways(), recompute in any::<bool>(),
        asked in proptest::collection::vec(proptest::collection::vec(0u32..60, 4), 3),
        seeds in proptest::collection::vec(proptest::collection::btree_set(0u32..60, 0..5), 3),
        seed in 0u64..1000,
    ) {
        let config = ModelConfig { hidden_dims: vec![4; layers], ..with_message(config, message) };
        let test_texts = TestTexts::new(3, 60, seed);
        let case = |params| Case { params, graph: &graph, test_texts: &test_texts, recompute, compute };

        let class = class_of(&config, Class::QueryGNN);
        let params = Params::init(class, &config, 5, seed, DType::F64).unwrap();
        let queries: Vec<TailQuery> =
            (0..3u32).map(|i| TailQuery { head: (i * 23 + seed as u32) % 60, relation: i }).collect();
        let dscores = tensor(numbers(12, seed + 9), (3, 4)).unwrap();
        let gone: Vec<[u32; 3]> = graph.triples().into_iter().step_by(7).collect();
        let cut = graph.without(gone.iter().copied());
        let model = QueryGnn::new(&params, &cut, test_texts.texts()).compute(Compute::Dense);
        let mut pass = model.forward(&queries, asked.clone()).unwrap();
        let grads = model.backward(&mut pass, &dscores).unwrap();
        let want = Results { all: model.score_all(&queries).unwrap(), scores: pass.scores, grads };
        for ranks in [2, 4] {
            let partition = Arc::new(Partition::streamed(&graph, ranks, 4));
            let case = case(&params);
            let got = case.links(&partition, EasyEdges::Relation, &gone, &queries, &asked, &dscores);
            same_results(&format!("links, {ranks} ranks"), &got, &want)?;
        }

        let class = class_of(&config, Class::GNNRetriever);
        let params = Params::init(class, &config, 5, seed, DType::F64).unwrap();
        let text: Vec<Vec<f32>> =
            (0..3).map(|i| numbers(5, seed + i).iter().map(|x| *x as f32).collect()).collect();
        // An entity that no document mentions starts with weight 0.
        let seeds: Vec<Vec<(u32, f64)>> =
            seeds.iter().map(|s| s.iter().map(|v| (*v, f64::from(v % 4) / 3.0)).collect()).collect();
        let questions: Vec<Question<'_>> =
            text.iter().zip(&seeds).map(|(embedding, seeds)| Question { embedding, seeds }).collect();
        let dscores = tensor(numbers(3 * 60, seed + 9), (3, 60)).unwrap();
        let model = Retriever::new(&params, &graph, test_texts.texts()).compute(Compute::Dense);
        let mut pass = model.forward(&questions).unwrap();
        let grads = model.backward(&mut pass, &dscores).unwrap();
        let want = Results { all: model.score_all(&questions).unwrap(), scores: pass.scores, grads };
        for ranks in [2, 4] {
            let partition = owners(60, ranks, seed);
            let none = EdgeDropout::new(0.0, seed);
            let got = case(&params).questions(&partition, &questions, none, &dscores);
            same_results(&format!("questions, {ranks} ranks"), &got, &want)?;
        }
    }
}

/// On a long chain cut in two, a query far from the cut sends nothing across it and computes as
/// much as on one rank.
#[test]
fn sparse_parts_compute_and_send_what_is_needed() {
    let triples: Vec<[u32; 3]> = (0..99u32).map(|i| [i, 0, i + 1]).collect();
    let graph = Graph::from_triples(100, 1, &triples);
    let config = ModelConfig::new(4, vec![4; 3]);
    let params = Params::init(Class::QueryGNN, &config, 5, 1, DType::F64).unwrap();
    let embeddings = tensor(numbers(10, 1), (2, 5)).unwrap();
    let partition = Arc::new(Partition::blocks(&graph, 2, 4));
    let asked = |head: u32, candidate: u32| {
        on_threads(2, |ranks| {
            let part = Part::new(&graph, &partition, ranks.rank(), MessageFunc::DistMult).unwrap();
            let model = PartitionedGnn::new(&params, &part, &embeddings, ranks).unwrap();
            let model = model.compute(Compute::Sparse);
            let query = [TailQuery { head, relation: 0 }];
            let pass = model.forward(&query, &[vec![candidate]]).unwrap();
            let layers = model.traffic().of_all(ranks).unwrap().layers;
            let sent: u64 = layers.iter().map(|l| l.forward).sum();
            // Number of rows on one rank: those of the query, and as many of the background.
            (pass.share() * 50.0 * 3.0, sent)
        })
    };
    let far = asked(20, 23);
    assert_eq!(far[0].1, 0);
    assert!(
        far[0].0 > 0.0 && far[0].0 < 15.0 && far[1].0 == 0.0,
        "{far:?}"
    );
    // One state per layer crosses the cut in each direction: that of the query or of the
    // background.
    let near = asked(49, 50);
    assert!((1..=4 * 4 * 8).contains(&near[0].1), "{near:?}");
}

/// For each layer but the first, the number of bytes is the length of the lists, times queries,
/// width and size of a number.
#[test]
fn traffic_follows_from_the_lists_of_copies() {
    let graph = communities(4, 10, 3, 5);
    let config = ModelConfig::new(8, vec![8, 8, 4]);
    let params = Params::init(Class::QueryGNN, &config, 5, 1, DType::F32).unwrap();
    let embeddings = tensor(vec![0.25f32; 2 * 5], (2, 5)).unwrap();
    let partition = Arc::new(Partition::streamed(&graph, 3, 8));
    let queries = [TailQuery {
        head: 3,
        relation: 1,
    }; 2];
    let sent = on_threads(3, |ranks| {
        let part = Part::new(&graph, &partition, ranks.rank(), MessageFunc::DistMult).unwrap();
        let model = PartitionedGnn::new(&params, &part, &embeddings, ranks)
            .unwrap()
            .compute(Compute::Dense);
        let mut pass = model.forward(&queries, &[vec![1, 2], vec![3, 4]]).unwrap();
        let dscores = pass.scores.ones_like().unwrap();
        let mut grads = model.backward(&mut pass, &dscores).unwrap();
        sum_grads(&mut grads, ranks).unwrap();
        assert!(grads.named().values().all(|g| g.dtype() == DType::F32));
        let row = 2 * 8 * 4;
        let copies: usize = part.to().iter().map(Vec::len).sum();
        let want = LayerTraffic {
            forward: (copies * row) as u64,
            backward: (part.halo().len() * row) as u64,
        };
        let sent = model.traffic();
        assert_eq!(sent.layers, [LayerTraffic::default(), want, want]);
        // Each rank adds up its share of the 4 scores and sends the sums to the others.
        let share = gfm_pipe_api::ranks::part(4, ranks.rank(), 3).len();
        assert_eq!(sent.scores, ((4 - share + 2 * share) * 4) as u64);
        assert_eq!(sent.reach, 0);
        (sent.clone(), sent.of_all(ranks).unwrap())
    });
    let cut = partition.cut(&graph);
    let copies: usize = cut.halo.iter().sum();
    for (_, all) in &sent {
        assert_eq!(all.layers[1].forward, (copies * 2 * 8 * 4) as u64);
        assert_eq!(all.layers[1].forward, all.layers[1].backward);
        assert_eq!(
            all.total(),
            sent.iter().map(|(mine, _)| mine.total()).sum::<u64>()
        );
    }
}

#[test]
fn unsupported_models_and_partitions_are_refused() {
    let graph = Graph::from_triples(3, 1, &[[0, 0, 1], [1, 0, 2]]);
    let embeddings = tensor(vec![0.5f64; 2 * 5], (2, 5)).unwrap();
    let partition = Arc::new(Partition::blocks(&graph, 1, 8));
    let part = Part::new(&graph, &partition, 0, MessageFunc::DistMult).unwrap();
    let refused = |aggregate_func, message_func| {
        let config = ModelConfig {
            aggregate_func,
            message_func,
            ..ModelConfig::new(4, vec![4])
        };
        let params = Params::init(Class::QueryGNN, &config, 5, 1, DType::F64).unwrap();
        let ranks = gfm_pipe_api::ranks::Single;
        let model = PartitionedGnn::new(&params, &part, &embeddings, &ranks).unwrap();
        let query = TailQuery {
            head: 0,
            relation: 0,
        };
        model.score_all(&[query]).err().map(|e| e.to_string())
    };
    assert_eq!(refused(AggregateFunc::Sum, MessageFunc::DistMult), None);
    for aggregate in [AggregateFunc::Max, AggregateFunc::Min, AggregateFunc::Pna] {
        assert!(
            refused(aggregate, MessageFunc::DistMult)
                .unwrap()
                .contains("aggregate_func")
        );
    }
    assert!(
        refused(AggregateFunc::Sum, MessageFunc::RotatE)
            .unwrap()
            .contains("the other way")
    );
    assert!(Part::new(&graph, &partition, 1, MessageFunc::DistMult).is_err());
    assert!(Partition::given(vec![0, 2, 1], 2).is_err());
}
