//! The same model written with candle's autograd: a slow reference for the hand-written gradients.

mod aggregate;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use super::*;
use crate::graph::{Edge, Graph};
use crate::ops::{ActivationFunc, AggregateFunc, MessageFunc};
use crate::tensor::{tensor, to_f64};

/// Tensors by parameter name.
type Named = BTreeMap<String, Tensor>;

pub(super) struct Plain<'a> {
    vars: BTreeMap<String, Var>,
    config: ModelConfig,
    class: Class,
    graph: &'a Graph,
    test_texts: &'a TestTexts,
}

/// Embeddings of texts, 5 wide.
pub(super) struct TestTexts {
    pub relations: Tensor,
    pub nodes: Tensor,
}

impl TestTexts {
    pub fn new(relations: usize, nodes: usize, seed: u64) -> Self {
        let some = |rows: usize, seed| tensor(numbers(rows * 5, seed), (rows, 5)).unwrap();
        TestTexts {
            relations: some(2 * relations, seed),
            nodes: some(nodes, seed ^ 77),
        }
    }

    pub fn texts(&self) -> Texts<'_> {
        Texts {
            relations: &self.relations,
            nodes: Some(&self.nodes),
        }
    }

    /// The texts of some nodes, in this order.
    pub fn of(&self, nodes: &[u32]) -> TestTexts {
        let at = Tensor::new(nodes, &Device::Cpu).unwrap();
        TestTexts {
            relations: self.relations.clone(),
            nodes: self.nodes.index_select(&at, 0).unwrap(),
        }
    }
}

/// The class of a model with this configuration: only one reads the texts of nodes.
pub(super) fn class_of(config: &ModelConfig, usual: Class) -> Class {
    match config.use_ent_emb {
        Some(_) => Class::GraphReasoner,
        None => usual,
    }
}

impl<'a> Plain<'a> {
    pub(super) fn new(params: &Params, graph: &'a Graph, test_texts: &'a TestTexts) -> Self {
        let vars = params
            .iter()
            .map(|(n, t)| (n.to_owned(), Var::from_tensor(t).unwrap()))
            .collect();
        Plain {
            vars,
            config: params.config.clone(),
            class: params.class,
            graph,
            test_texts,
        }
    }

    pub(super) fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let (w, b) = (
            &self.vars[&format!("{name}.weight")],
            &self.vars[&format!("{name}.bias")],
        );
        x.broadcast_matmul(&w.t()?)?.broadcast_add(b)
    }

    /// The query vector of a tail query.
    fn query(&self, rel: &Tensor, relation: u32) -> Tensor {
        let row = |of: &Tensor| of.narrow(0, relation as usize, 1).unwrap();
        let query = match self.class {
            Class::GraphReasoner => self.linear("question_mlp", &row(&self.test_texts.relations)),
            Class::QueryGNN | Class::GNNRetriever => Ok(row(rel)),
        };
        query.unwrap().squeeze(0).unwrap()
    }

    /// Scores of all nodes, one row at a time, a message per edge.
    fn row(&self, rel: &Tensor, query: &Tensor, seeds: &[(u32, f64)]) -> Result<Tensor> {
        self.weighted_row(rel, query, seeds, &[])
    }

    /// [`Plain::row`], where `weights` multiply the messages of each layer, `[E, 1]` each, in the
    /// order of [`Graph::list`]. Without weights nothing is multiplied.
    pub(super) fn weighted_row(
        &self,
        rel: &Tensor,
        query: &Tensor,
        seeds: &[(u32, f64)],
        weights: &[Var],
    ) -> Result<Tensor> {
        let edges: Vec<Edge> = self.graph.list();
        let ids = |f: fn(&Edge) -> u32| {
            Tensor::new(edges.iter().map(f).collect::<Vec<_>>(), &Device::Cpu)
        };
        let (head, tail, ty) = (ids(|e| e.head)?, ids(|e| e.tail)?, ids(|e| e.relation)?);
        let (to, from) = match self.config.message_func {
            MessageFunc::RotatE => (tail, head),
            _ => (head, tail),
        };
        let mut mask = vec![0f64; self.graph.nodes()];
        for (v, w) in seeds {
            mask[*v as usize] += w;
        }
        let mask = tensor(mask, (self.graph.nodes(), 1))?;
        let mut boundary = mask.broadcast_mul(&query.unsqueeze(0)?)?;
        let of_nodes = match self.config.use_ent_emb {
            Some(_) => Some(self.linear("ent_mlp", &self.test_texts.nodes)?),
            None => None,
        };
        if let (Some(of_nodes), true) = (&of_nodes, self.config.reads_nodes_early()) {
            let both = Tensor::cat(&[&boundary, of_nodes], 1)?;
            let hidden = self.linear("early_fuse_mlp.0", &both)?.relu()?;
            boundary = self.linear("early_fuse_mlp.2", &hidden)?;
        }
        let mut x = boundary.clone();
        let mut hiddens = Vec::new();
        for i in 0..self.config.layers() {
            let p = format!("entity_model.layers.{i}");
            let r = self
                .linear(&format!("{p}.relation_projection.0"), rel)?
                .relu()?;
            let r = self.linear(&format!("{p}.relation_projection.2"), &r)?;
            let sent = if edges.is_empty() {
                None
            } else {
                let mut parts = [x.index_select(&from, 0)?, r.index_select(&ty, 0)?];
                let mut messages = message(self.config.message_func, &parts[0], &parts[1])?;
                if let Some(weight) = weights.get(i) {
                    messages = messages.broadcast_mul(weight)?;
                    for part in &mut parts {
                        *part = part.broadcast_mul(weight)?;
                    }
                }
                Some(Sent {
                    to: to.clone(),
                    messages,
                    parts,
                })
            };
            let aggregate = self.aggregate(&boundary, sent.as_ref())?;
            let mut out =
                self.linear(&format!("{p}.linear"), &Tensor::cat(&[&x, &aggregate], 1)?)?;
            if self.config.layer_norm {
                let (g, b) = (
                    &self.vars[&format!("{p}.layer_norm.weight")],
                    &self.vars[&format!("{p}.layer_norm.bias")],
                );
                out = layer_norm(&out, g, b)?;
            }
            out = activate(self.config.activation, &out)?;
            x = if self.config.short_cut && out.dims() == x.dims() {
                (out + x)?
            } else {
                out
            };
            hiddens.push(x.clone());
        }
        if self.config.concat_hidden {
            x = Tensor::cat(&hiddens, 1)?;
        }
        let query = query
            .unsqueeze(0)?
            .broadcast_as((self.graph.nodes(), self.config.input_dim))?;
        if let (Some(of_nodes), true) = (&of_nodes, self.config.reads_nodes_late()) {
            let all = Tensor::cat(&[&x, &query, of_nodes], 1)?;
            let hidden = self.linear("predict_mlp.0", &all)?.relu()?;
            return self.linear("predict_mlp.2", &hidden)?.squeeze(1);
        }
        let mut h = Tensor::cat(&[&x, &query], 1)?;
        for i in 0..self.config.num_mlp_layer {
            if i > 0 {
                h = h.relu()?;
            }
            h = self.linear(&format!("entity_model.mlp.{}", 2 * i), &h)?;
        }
        h.squeeze(1)
    }

    fn gradients(&self, loss: &Tensor) -> Result<Named> {
        let store = loss.backward()?;
        Ok(self
            .vars
            .iter()
            .map(|(n, v)| {
                (
                    n.clone(),
                    store
                        .get(v)
                        .unwrap_or_else(|| panic!("no gradient for {n}"))
                        .clone(),
                )
            })
            .collect())
    }
}

/// The messages of a layer, one for each edge.
struct Sent {
    /// The node that receives each.
    to: Tensor,
    /// `[E, d]`.
    messages: Tensor,
    /// What they are made of, states and relations, `[E, d]` each.
    parts: [Tensor; 2],
}

fn message(kind: MessageFunc, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    match kind {
        MessageFunc::TransE => x + w,
        MessageFunc::DistMult => x * w,
        MessageFunc::RotatE => {
            let half = x.dims()[1] / 2;
            let part = |t: &Tensor, i| t.narrow(1, i * half, half);
            let (xr, xi, wr, wi) = (part(x, 0)?, part(x, 1)?, part(w, 0)?, part(w, 1)?);
            let re = ((&xr * &wr)? - (&xi * &wi)?)?;
            let im = ((&xr * &wi)? + (&xi * &wr)?)?;
            Tensor::cat(&[re, im], 1)
        }
    }
}

fn activate(kind: ActivationFunc, x: &Tensor) -> Result<Tensor> {
    match kind {
        ActivationFunc::Relu => x.relu(),
        ActivationFunc::Tanh => x.tanh(),
        ActivationFunc::Silu => x.silu(),
        other => panic!("{other:?} is checked by the kernels"),
    }
}

/// Not `candle_nn::ops::layer_norm_slow`: its epsilon is an f32, off by 2.5e-8 of itself, which f64
/// gradients show.
fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.mean_keepdim(1)?)?;
    let variance = x.sqr()?.mean_keepdim(1)?;
    x.broadcast_div(&(variance + 1e-5)?.sqrt()?)?
        .broadcast_mul(gamma)?
        .broadcast_add(beta)
}

pub(super) fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = super::test_rng(seed);
    (0..n)
        .map(|_| f64::from(super::uniform(&mut rng)) * 2.0 - 1.0)
        .collect()
}

pub(super) fn same(name: &str, a: &Tensor, b: &Tensor) -> std::result::Result<(), TestCaseError> {
    for (x, y) in to_f64(a).unwrap().iter().zip(to_f64(b).unwrap()) {
        prop_assert!((x - y).abs() < 1e-9, "{name}: {x} {y}");
    }
    Ok(())
}

/// Random graphs with self-loops, duplicates, isolated nodes and relations without edges.
pub(super) fn graphs() -> impl Strategy<Value = (usize, usize, Vec<[u32; 3]>)> {
    (1usize..9, 1usize..4).prop_flat_map(|(n, r)| {
        let triple = (0..n as u32, 0..r as u32, 0..n as u32).prop_map(|(h, r, t)| [h, r, t]);
        (Just(n), Just(r), proptest::collection::vec(triple, 0..20))
    })
}

/// Configurations that the plain model above supports.
pub(super) fn configs() -> impl Strategy<Value = ModelConfig> {
    (
        (1usize..4, 3usize..6, any::<bool>(), any::<bool>()),
        proptest::sample::select(vec![
            MessageFunc::TransE,
            MessageFunc::DistMult,
            MessageFunc::RotatE,
        ]),
        proptest::sample::select(vec![AggregateFunc::Sum, AggregateFunc::Mean]),
        proptest::sample::select(vec![
            ActivationFunc::Relu,
            ActivationFunc::Tanh,
            ActivationFunc::Silu,
        ]),
        (any::<bool>(), 1usize..4, fusions()),
    )
        .prop_map(
            |(
                (layers, last, short_cut, layer_norm),
                message_func,
                aggregate_func,
                activation,
                head,
            )| {
                let mut hidden_dims = vec![4; layers];
                hidden_dims[layers - 1] = last;
                let config = ModelConfig {
                    message_func,
                    aggregate_func,
                    activation,
                    short_cut,
                    layer_norm,
                    concat_hidden: head.0,
                    num_mlp_layer: head.1,
                    ..ModelConfig::new(4, hidden_dims)
                };
                with_fusion(config, head.2)
            },
        )
}

/// Models that do not read the texts of nodes, and those that do.
pub(crate) fn fusions() -> impl Strategy<Value = Option<Fusion>> {
    let read = [Fusion::Early, Fusion::Late, Fusion::EarlyLate].map(Some);
    proptest::sample::select([&[None; 3][..], &read].concat())
}

/// The same configuration with a fusion, and what it needs.
pub(crate) fn with_fusion(config: ModelConfig, fusion: Option<Fusion>) -> ModelConfig {
    let mut out = ModelConfig {
        use_ent_emb: fusion,
        ..config
    };
    if out.reads_nodes_late() {
        out.concat_hidden = false;
        out.num_mlp_layer = 2;
        let last = out.hidden_dims.len() - 1;
        out.hidden_dims[last] = out.input_dim;
    }
    assert!(out.problems().is_empty());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn retriever_equals_autograd(
        (nodes, relations, triples) in graphs(), config in configs(), seed in 0u64..1000,
    ) {
        let graph = Graph::from_triples(nodes, relations, &triples);
        let class = class_of(&config, Class::GNNRetriever);
        let params = Params::init(class, &config, 5, seed, DType::F64).unwrap();
        let test_texts = TestTexts::new(relations, nodes, seed);
        let text: Vec<Vec<f32>> = (0..2).map(|i| numbers(5, seed + i).iter().map(|x| *x as f32).collect()).collect();
        let seeds = [vec![(0, 0.5)], vec![((nodes - 1) as u32, 1.0)]];
        let questions: Vec<Question<'_>> =
            text.iter().zip(&seeds).map(|(embedding, seeds)| Question { embedding, seeds }).collect();
        let weights = tensor(numbers(2 * nodes, seed + 9), (2, nodes)).unwrap();

        let plain = Plain::new(&params, &graph, &test_texts);
        let rel = plain.linear("rel_mlp", &test_texts.relations).unwrap();
        let rows: Vec<Tensor> = questions.iter().map(|q| {
            let text = tensor(q.embedding.to_vec(), (1, 5)).unwrap().to_dtype(DType::F64).unwrap();
            let query = plain.linear("question_mlp", &text).unwrap().squeeze(0).unwrap();
            plain.row(&rel, &query, q.seeds).unwrap()
        }).collect();
        let scores = Tensor::stack(&rows, 0).unwrap();
        let loss = (&scores * &weights).unwrap().sum_all().unwrap();
        let want = plain.gradients_or_zero(&loss, &params);
        for (compute, recompute) in WAYS {
            let model = Retriever::new(&params, &graph, test_texts.texts()).compute(compute).recompute(recompute);
            let mut pass = model.forward(&questions).unwrap();
            let grads = model.backward(&mut pass, &weights).unwrap();
            same(&format!("{compute:?}: scores"), &pass.scores, &scores)?;
            same(&format!("{compute:?}: all scores"), &model.score_all(&questions).unwrap(), &scores)?;
            let model = model.prepared(None).unwrap();
            same(&format!("{compute:?}: prepared"), &model.score_all(&questions).unwrap(), &scores)?;
            let grads = grads.named();
            prop_assert_eq!(grads.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
            for (name, g) in &want {
                same(&format!("{compute:?}: {name}"), grads[name], g)?;
            }
        }
    }

    #[test]
    fn query_gnn_equals_autograd(
        (nodes, relations, triples) in graphs(), config in configs(), seed in 0u64..1000,
    ) {
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
        let weights = tensor(numbers(6, seed + 9), (2, 3)).unwrap();

        let plain = Plain::new(&params, &graph, &test_texts);
        let rel = plain.linear("rel_mlp", &test_texts.relations).unwrap();
        let rows: Vec<Tensor> = queries.iter().zip(&candidates).map(|(q, c)| {
            let query = plain.query(&rel, q.relation);
            let ids = Tensor::new(c.clone(), &Device::Cpu).unwrap();
            plain.row(&rel, &query, &[(q.head, 1.0)]).unwrap().index_select(&ids, 0).unwrap()
        }).collect();
        let scores = Tensor::stack(&rows, 0).unwrap();
        let loss = (&scores * &weights).unwrap().sum_all().unwrap();
        let want = plain.gradients_or_zero(&loss, &params);
        for (compute, recompute) in WAYS {
            let model = QueryGnn::new(&params, &graph, test_texts.texts()).compute(compute).recompute(recompute);
            let mut pass = model.forward(&queries, candidates.clone()).unwrap();
            let grads = model.backward(&mut pass, &weights).unwrap();
            same(&format!("{compute:?}: scores"), &pass.scores, &scores)?;
            let grads = grads.named();
            for (name, g) in &want {
                same(&format!("{compute:?}: {name}"), grads[name], g)?;
            }
        }
    }
}

/// Choices of states to compute, each with or without computing layers again.
const WAYS: [(Compute, bool); 5] = [
    (Compute::Dense, false),
    (Compute::Dense, true),
    (Compute::Sparse, false),
    (Compute::Sparse, true),
    (Compute::Auto, false),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Graphs where queries do not reach all nodes: chains, islands, hubs, isolated nodes,
    /// self-loops and duplicates. Queries have several seeds, seeds without edges or all nodes as
    /// seeds; candidates are near and far.
    #[test]
    fn sparse_equals_dense(
        triples in proptest::collection::vec((0u32..60, 0u32..3, 0u32..12, proptest::bool::weighted(0.1)), 0..90),
        (message, aggregate, layers) in (
            proptest::sample::select(vec![MessageFunc::DistMult, MessageFunc::TransE, MessageFunc::RotatE]),
            proptest::sample::select(vec![AggregateFunc::Sum, AggregateFunc::Mean]),
            1usize..5,
        ),
        (concat_hidden, short_cut, layer_norm) in (proptest::bool::ANY, proptest::bool::ANY, proptest::bool::ANY),
        seeds in proptest::collection::vec(proptest::collection::btree_set(0u32..60, 0..5), 3),
        (everywhere, fusion) in (proptest::bool::weighted(0.1), fusions()),
        hub in prop_oneof![Just(0u32), 20u32..50],
        asked in proptest::collection::vec(proptest::collection::vec(0u32..60, 4), 3),
        seed in 0u64..1000,
    ) {
        // Tails near their heads make long chains. Most nodes from 50 on have no edge.
        let triples: Vec<[u32; 3]> = triples
            .iter()
            .map(|(h, r, step, anywhere)| [h % 50, *r, if *anywhere { (h * 7) % 60 } else { (h % 50 + step % 3) % 50 }])
            // One node has edges from many others.
            .chain((0..hub).map(|i| [i, i % 3, 49]))
            .collect();
        let graph = Graph::from_triples(60, 3, &triples);
        let config = ModelConfig {
            message_func: message,
            aggregate_func: aggregate,
            concat_hidden,
            short_cut,
            layer_norm,
            ..ModelConfig::new(4, vec![4; layers])
        };
        let config = with_fusion(config, fusion);
        let test_texts = TestTexts::new(3, 60, seed);
        let weights = |n: usize| tensor(numbers(3 * n, seed + 9), (3, n)).unwrap();

        let class = class_of(&config, Class::GNNRetriever);
        let params = Params::init(class, &config, 5, seed, DType::F64).unwrap();
        let text: Vec<Vec<f32>> = (0..3).map(|i| numbers(5, seed + i).iter().map(|x| *x as f32).collect()).collect();
        let seeds: Vec<Vec<(u32, f64)>> = seeds
            .iter()
            .map(|s| {
                let all: Vec<u32> = if everywhere { (0..60).collect() } else { s.iter().copied().collect() };
                // An entity that no document mentions starts with weight 0.
                all.iter().map(|v| (*v, f64::from(v % 4) / 3.0)).collect()
            })
            .collect();
        let questions: Vec<Question<'_>> =
            text.iter().zip(&seeds).map(|(embedding, seeds)| Question { embedding, seeds }).collect();
        let answer = |compute| {
            let model = Retriever::new(&params, &graph, test_texts.texts()).compute(compute);
            let mut pass = model.forward(&questions).unwrap();
            let grads = model.backward(&mut pass, &weights(60)).unwrap();
            (pass.scores.clone(), model.score_all(&questions).unwrap(), grads)
        };
        let want = answer(Compute::Dense);
        let mut known = None;
        for compute in [Compute::Sparse, Compute::Auto, Compute::Dense] {
            let model = Retriever::new(&params, &graph, test_texts.texts()).compute(compute).prepared(known.take()).unwrap();
            same("prepared", &model.score_all(&questions).unwrap(), &want.0)?;
            // The next model gets the states of this background.
            known = Some(model.background().unwrap().states().to_vec());
        }
        for compute in [Compute::Sparse, Compute::Auto] {
            let got = answer(compute);
            same(&format!("{compute:?}: scores"), &got.0, &want.0)?;
            same(&format!("{compute:?}: all scores"), &got.1, &want.0)?;
            for (name, g) in want.2.named() {
                same(&format!("{compute:?}: {name}"), got.2.named()[&name], g)?;
            }
        }

        let class = class_of(&config, Class::QueryGNN);
        let params = Params::init(class, &config, 5, seed, DType::F64).unwrap();
        let queries: Vec<TailQuery> = (0..3u32).map(|i| TailQuery { head: (i * 23 + seed as u32) % 60, relation: i }).collect();
        let answer = |compute| {
            let model = QueryGnn::new(&params, &graph, test_texts.texts()).compute(compute);
            let mut pass = model.forward(&queries, asked.clone()).unwrap();
            let grads = model.backward(&mut pass, &weights(4)).unwrap();
            (pass.scores.clone(), model.score_all(&queries).unwrap(), grads)
        };
        let want = answer(Compute::Dense);
        for compute in [Compute::Sparse, Compute::Auto] {
            let got = answer(compute);
            same(&format!("{compute:?}: tail scores"), &got.0, &want.0)?;
            same(&format!("{compute:?}: all tail scores"), &got.1, &want.1)?;
            for (name, g) in want.2.named() {
                same(&format!("{compute:?}: {name}"), got.2.named()[&name], g)?;
            }
        }
    }
}

/// On a long chain, the rows of a query are its neighbourhood, and candidates reduce them further.
#[test]
fn only_what_is_needed_is_computed() {
    use super::reach::{QueryNodes, Reach, Request};
    let triples: Vec<[u32; 3]> = (0..99u32).map(|i| [i, 0, i + 1]).collect();
    let graph = Graph::from_triples(100, 1, &triples);
    let path = MessageFunc::DistMult.path();
    let seeds = vec![vec![(50, 1.0)], vec![(10, 1.0)]];
    let rows = |candidates: Option<&[Vec<u32>]>, background_known| -> Vec<usize> {
        let seeds = &seeds;
        let request = Request {
            queries: QueryNodes { seeds, candidates },
            layers: 3,
            starts_silent: true,
            background_known,
        };
        let reach = Reach::needed(&graph, path, &request);
        reach
            .rows
            .iter()
            .map(gfm_pipe_kernels::rows::Rows::len)
            .collect()
    };
    // Each query has a ball of 1, 3, 5 and 7 nodes. The background has every node that some query
    // has not reached.
    assert_eq!(
        rows(None, false),
        [2, 3 + 3 + 100, 5 + 5 + 100, 7 + 7 + 100]
    );
    // A known background needs no rows.
    assert_eq!(rows(None, true), [2, 3 + 3, 5 + 5, 7 + 7]);
    // One candidate per query, at the edge of its ball: only the path to it, and the background
    // next to that path.
    let candidates = vec![vec![53], vec![13]];
    assert_eq!(rows(Some(&candidates), false)[3], 2);
    assert_eq!(rows(Some(&candidates), false)[0], 2);
    assert!(rows(Some(&candidates), false).iter().sum::<usize>() < 30);
}

impl Plain<'_> {
    /// A graph without edges never reads the relation projections: their gradient is zero, and
    /// autograd omits it.
    fn gradients_or_zero(&self, loss: &Tensor, params: &Params) -> Named {
        if self.graph.edges() > 0 {
            return self.gradients(loss).unwrap();
        }
        let store = loss.backward().unwrap();
        params
            .iter()
            .map(|(n, t)| {
                let g = store.get(&self.vars[&n]).cloned();
                (n, g.unwrap_or_else(|| t.zeros_like().unwrap()))
            })
            .collect()
    }
}

/// No parameter may be left behind silently: on a graph where everything takes part, all gradients
/// are there and move.
#[test]
fn every_parameter_receives_a_gradient() {
    let triples: Vec<[u32; 3]> = (0..30u32)
        .map(|i| [i % 7, i % 3, (i * 5 + 1) % 7])
        .collect();
    let graph = Graph::from_triples(7, 3, &triples);
    let config = ModelConfig::new(16, vec![16; 3]);
    let embeddings = tensor(numbers(6 * 8, 1), (6, 8)).unwrap();
    let params = Params::init(Class::GNNRetriever, &config, 8, 3, DType::F64).unwrap();
    let text: Vec<f32> = numbers(8, 2).iter().map(|x| *x as f32).collect();
    let question = Question {
        embedding: &text,
        seeds: &[(2, 1.0)],
    };
    let model = Retriever::new(&params, &graph, &embeddings);
    let mut pass = model.forward(&[question]).unwrap();
    let d = tensor(numbers(7, 4), (1, 7)).unwrap();
    let grads = model.backward(&mut pass, &d).unwrap();
    let grads = grads.named();
    for (name, t) in params.iter() {
        let g = grads
            .get(&name)
            .unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(g.dims(), t.dims(), "{name}");
        assert!(
            to_f64(g).unwrap().iter().any(|x| x.abs() > 1e-12),
            "{name}: gradient is zero everywhere"
        );
    }
}
