//! Parity with GFM-RAG 2.0 for the tensors of tests/parity2 that a GraphReasoner computes, in f32
//! and f64. What runs the model is a parameter, so that the GPU's code is held to the same numbers.
//!
//! Expected values are those of the f64 run; f32 has its tolerance. What 2.0 gets wrong
//! (`published.*`) is not compared.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::parity::{Check, Tensors, cast, floats, folder, graph, ints, load_of, tail_form};
use super::*;
use crate::graph::{Edge, Graph};
use crate::loss::{BCE, KL_DIV, LIST_CE, ListLoss, MSE, Reduction, Value, link_prediction};
use crate::optimizer::Optimizer;
use crate::sampling::Batch;
use gfm_pipe_kernels::adamw::AdamW;

const NODES: usize = 60;
const TEXT: usize = 24;
const RELATIONS: usize = 8;

/// Scores and gradients.
pub(crate) type Computed = (Tensor, Grads);

/// What runs a model forward and backward.
pub(crate) trait Machine {
    /// Scores of all nodes for questions, `[B, N]`, and gradients for their gradient.
    fn questions(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        questions: &[Question<'_>],
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> Computed;

    /// Scores of candidates for tail queries, `[B, M]`, and gradients for their gradient.
    fn links(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        batch: &Batch,
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> Computed;
}

pub(super) struct Cpu {
    compute: Compute,
    recompute: bool,
}

impl Machine for Cpu {
    fn questions(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        questions: &[Question<'_>],
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> Computed {
        let model = Retriever::new(params, graph, texts)
            .compute(self.compute)
            .recompute(self.recompute);
        let mut pass = model.forward(questions).unwrap();
        let prepared = Retriever::new(params, graph, texts).prepared(None).unwrap();
        let known = floats(&prepared.score_all(questions).unwrap());
        for (a, b) in floats(&pass.scores).iter().zip(known) {
            assert!((a - b).abs() < 1e-5, "with a known background: {a} {b}");
        }
        let dscores = dscores(&pass.scores);
        let grads = model.backward(&mut pass, &dscores).unwrap();
        (pass.scores, grads)
    }

    fn links(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        batch: &Batch,
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> Computed {
        let model = QueryGnn::new(params, graph, texts)
            .compute(self.compute)
            .recompute(self.recompute);
        let mut pass = model
            .forward(&batch.queries, batch.candidates.clone())
            .unwrap();
        let dscores = dscores(&pass.scores);
        let grads = model.backward(&mut pass, &dscores).unwrap();
        (pass.scores, grads)
    }
}

fn config(fusion: Option<Fusion>) -> ModelConfig {
    ModelConfig {
        use_ent_emb: fusion,
        ..ModelConfig::new(16, vec![16; 3])
    }
}

/// The tensors whose names begin with a prefix, without it.
fn under(all: &Tensors, prefix: &str) -> Tensors {
    let named = all.iter();
    let named = named.filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.clone())));
    named.collect()
}

struct Case {
    inputs: Tensors,
    weights: Tensors,
    graph: Graph,
    relations: Tensor,
    nodes: Tensor,
    tol: f64,
    step_tol: f64,
}

impl Case {
    /// The case, and what compares its tensors.
    fn new(name: &str, dtype: DType) -> (Self, Check) {
        let inputs = load_of("parity2", name, "inputs");
        let typed = |t: &Tensor| t.to_dtype(dtype).unwrap();
        let (tol, step_tol) = match dtype {
            DType::F64 => (1e-9, 1e-8),
            _ => (1e-5, 2e-5),
        };
        let weights = load_of("parity2", name, "weights").into_iter();
        let check = Check {
            want: load_of("parity2", name, "expected_f64"),
            seen: Vec::new(),
        };
        let case = Case {
            weights: weights.map(|(n, t)| (n, typed(&t))).collect(),
            graph: graph(&inputs, NODES, RELATIONS),
            relations: typed(&inputs["rel_attr"]),
            nodes: typed(&inputs["x"]),
            tol,
            step_tol,
            inputs,
        };
        (case, check)
    }

    fn params(&self, prefix: &str, fusion: Option<Fusion>) -> Params {
        let tensors = under(&self.weights, prefix);
        Params::from_tensors(Class::GraphReasoner, &config(fusion), TEXT, tensors).unwrap()
    }

    fn texts(&self) -> Texts<'_> {
        Texts {
            relations: &self.relations,
            nodes: Some(&self.nodes),
        }
    }

    /// The rows of a mask, as nodes with their values.
    fn starts(&self, mask: &str) -> Vec<Vec<(u32, f64)>> {
        let rows = floats(&self.inputs[mask]);
        let of_row = |row: &[f64]| -> Vec<(u32, f64)> {
            let nodes = (0..NODES as u32).zip(row.iter().copied());
            nodes.filter(|(_, w)| *w != 0.0).collect()
        };
        rows.chunks(NODES).map(of_row).collect()
    }

    fn embeddings(&self, name: &str) -> Vec<Vec<f32>> {
        self.inputs[name].to_vec2().unwrap()
    }

    /// What a type of nodes is to the losses.
    fn target(&self, kind: &str, questions: &str) -> Target {
        let nodes = ints(&self.inputs[&format!("nodes_by_type.{kind}")]);
        let nodes: Vec<usize> = nodes.into_iter().map(|v| v as usize).collect();
        let place = |v: &(u32, f64)| nodes.iter().position(|n| *n == v.0 as usize);
        let gold = self.starts("target_nodes_mask");
        let gold = gold.iter().map(|row| {
            let found = row.iter().filter_map(place);
            found.map(|i| i as u32).collect()
        });
        let x = floats(&self.inputs["x"]);
        let q = floats(&self.inputs[questions]);
        let similar = q.chunks(TEXT).flat_map(|q| {
            let of = |v: &usize| dot(q, &x[v * TEXT..][..TEXT]);
            nodes.iter().map(of).collect::<Vec<f64>>()
        });
        Target {
            gold: gold.collect(),
            similar: similar.collect(),
            nodes,
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn asked<'a>(texts: &'a [Vec<f32>], seeds: &'a [Vec<(u32, f64)>]) -> Vec<Question<'a>> {
    let rows = texts.iter().zip(seeds);
    rows.map(|(embedding, seeds)| Question { embedding, seeds })
        .collect()
}

/// The nodes of one type.
struct Target {
    nodes: Vec<usize>,
    /// Places of the positives of each question.
    gold: Vec<Vec<u32>>,
    similar: Vec<f64>,
}

impl Target {
    /// The columns of these nodes.
    fn of(&self, scores: &[f64]) -> Vec<f64> {
        let rows = scores.chunks(NODES);
        rows.flat_map(|row| self.nodes.iter().map(|v| row[*v]))
            .collect()
    }

    fn value(&self, loss: ListLoss, scores: &[f64]) -> Value {
        let (columns, used) = (self.nodes.len(), loss.used(&self.gold));
        loss.value(&self.of(scores), columns, &self.gold, &self.similar, used)
    }

    /// Adds `weight` times the gradient of a loss to that of the scores of all nodes.
    fn add(&self, loss: ListLoss, weight: f64, scores: &[f64], grad: &mut [f64]) -> f64 {
        let value = self.value(loss, scores);
        let rows = value.grad.chunks(self.nodes.len());
        for (to, from) in grad.chunks_mut(NODES).zip(rows) {
            for (v, g) in self.nodes.iter().zip(from) {
                to[*v] += weight * g;
            }
        }
        value.loss
    }
}

/// The losses of 2.0's sft_training.yaml.
fn losses() -> [(&'static str, ListLoss, f64); 3] {
    [
        ("bce_loss", BCE.at(0.2), 0.3),
        ("pcr_loss", LIST_CE.at(0.0), 0.7),
        ("mse_loss", MSE.at(0.0), 1.0),
    ]
}

/// The weighted sum of [`losses`] over some targets, each value by itself, and the gradient.
fn weighed(targets: &[(&Target, [f64; 3])], scores: &[f64]) -> (f64, Vec<[f64; 3]>, Vec<f64>) {
    let mut grad = vec![0.0; scores.len()];
    let (mut sum, mut all) = (0.0, Vec::new());
    for (target, weights) in targets {
        let mut values = [0.0; 3];
        for ((value, (_, loss, _)), weight) in values.iter_mut().zip(losses()).zip(weights) {
            *value = target.add(loss, *weight, scores, &mut grad);
            sum += weight * *value;
        }
        all.push(values);
    }
    (sum, all, grad)
}

fn all_grads(check: &mut Check, prefix: &str, grads: &Grads, tol: f64) {
    for (name, grad) in grads.named() {
        check.close(&format!("{prefix}grad.{name}"), grad, tol);
    }
}

/// Three optimizer steps; `after(step, params)` sees the parameters.
fn three_steps(
    params: &Params,
    loss: impl Fn(&Params) -> (f64, Grads),
    mut after: impl FnMut(usize, &Params),
) -> (Vec<f64>, Optimizer) {
    let settings = AdamW {
        lr: 5e-4,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.01,
    };
    let mut params = params.clone();
    let mut optimizer = Optimizer::new(settings, &params).unwrap();
    let mut values = Vec::new();
    for step in 1..=3 {
        let (value, grads) = loss(&params);
        values.push(value);
        optimizer.step(&mut params, &grads).unwrap();
        after(step, &params);
    }
    values.push(loss(&params).0);
    (values, optimizer)
}

pub(crate) fn small(machine: &dyn Machine, dtype: DType) -> Check {
    let (c, mut check) = Case::new("reasoner_small", dtype);
    let params = c.params("", Some(Fusion::EarlyLate));
    let (texts, seeds) = (
        c.embeddings("question_embeddings"),
        c.starts("start_nodes_mask"),
    );
    let questions = asked(&texts, &seeds);
    let target = c.target("document", "question_embeddings");
    let weights = losses().map(|(_, _, weight)| weight);
    let value = |scores: &[f64]| weighed(&[(&target, weights)], scores);
    let run = |params: &Params| {
        let dscores = |scores: &Tensor| cast(value(&floats(scores)).2, scores);
        machine.questions(params, &c.graph, c.texts(), &questions, &dscores)
    };
    let (scores, grads) = run(&params);
    let (total, values, _) = value(&floats(&scores));
    let (tol, step_tol) = (c.tol, c.step_tol);
    check.close("scores", &scores, tol);
    check.close_values("loss", &[total], tol);
    for ((name, _, _), value) in losses().iter().zip(values[0]) {
        check.close_values(&format!("loss.document.{name}"), &[value], tol);
    }
    check.close_values("distillation_target.document", &target.similar, tol);
    all_grads(&mut check, "", &grads, tol);
    let loss = |params: &Params| {
        let (scores, grads) = run(params);
        (value(&floats(&scores)).0, grads)
    };
    let (losses, optimizer) = three_steps(&params, loss, |step, params| {
        if step != 2 {
            for (name, t) in params.iter() {
                check.close(&format!("step{step}.param.{name}"), t, step_tol);
            }
        }
    });
    check.close_values("step_losses", &losses, step_tol);
    for (name, m) in &optimizer.moments {
        check.close(&format!("step3.exp_avg.{name}"), &m.exp_avg, step_tol);
        check.close(&format!("step3.exp_avg_sq.{name}"), &m.exp_avg_sq, step_tol);
    }
    let none = |scores: &Tensor| scores.zeros_like().unwrap();
    let weight = floats(&c.inputs["entities_weight"]);
    let weighted = seeds.iter().map(|row| {
        let row = row.iter().map(|(v, w)| (*v, w * weight[*v as usize]));
        row.collect()
    });
    let weighted: Vec<Vec<(u32, f64)>> = weighted.collect();
    for (name, seeds) in [
        ("weighted", weighted),
        ("soft", c.starts("soft_start_mask")),
    ] {
        let questions = asked(&texts, &seeds);
        let (scores, _) = machine.questions(&params, &c.graph, c.texts(), &questions, &none);
        check.close(&format!("{name}.scores"), &scores, tol);
    }
    check
}

/// The states of [`small`], which only the CPU shows.
fn small_states(dtype: DType, mut check: Check) {
    let (c, _) = Case::new("reasoner_small", dtype);
    let (params, tol) = (c.params("", Some(Fusion::EarlyLate)), c.tol);
    let (texts, seeds) = (
        c.embeddings("question_embeddings"),
        c.starts("start_nodes_mask"),
    );
    let questions = asked(&texts, &seeds);
    let model = Retriever::new(&params, &c.graph, c.texts()).compute(Compute::Dense);
    let pass = model.forward(&questions).unwrap();
    check.layers(pass.tape(), 3, tol);
    check.close("boundary", &pass.tape().states(0), tol);
    check.close("question_repr", pass.tape().query(), tol);
    check.close("relation_representation", pass.tape().relations(), tol);
    let maps = params.tensors.nodes.as_ref().unwrap();
    let of_nodes = crate::ops::linear(&c.nodes, &maps.text).unwrap();
    check.close("entity_repr", &of_nodes, tol);
    check.none_forgotten(|_| false);
}

pub(crate) fn variants(machine: &dyn Machine, dtype: DType) {
    let (c, mut check) = Case::new("reasoner_variants", dtype);
    let (texts, seeds) = (
        c.embeddings("question_embeddings"),
        c.starts("start_nodes_mask"),
    );
    let questions = asked(&texts, &seeds);
    let document = c.target("document", "question_embeddings");
    let entity = c.target("entity", "question_embeddings");
    let weights = losses().map(|(_, _, weight)| weight);
    let modes = [
        ("none", None),
        ("early", Some(Fusion::Early)),
        ("late", Some(Fusion::Late)),
        ("early_late", Some(Fusion::EarlyLate)),
    ];
    let mut kl = Vec::new();
    for (name, fusion) in modes {
        let params = c.params(&format!("{name}."), fusion);
        let value = |scores: &[f64]| weighed(&[(&document, weights)], scores);
        let dscores = |scores: &Tensor| cast(value(&floats(scores)).2, scores);
        let (scores, grads) = machine.questions(&params, &c.graph, c.texts(), &questions, &dscores);
        check.close(&format!("{name}.scores"), &scores, c.tol);
        let total = value(&floats(&scores)).0;
        check.close_values(&format!("{name}.loss"), &[total], c.tol);
        all_grads(&mut check, &format!("{name}."), &grads, c.tol);
        kl = floats(&scores);
    }
    // sft_training_w_answer.yaml: the same losses over documents and over entities.
    let params = c.params("early_late.", Some(Fusion::EarlyLate));
    let of_both = answer_weights();
    let both = [(&document, of_both[0]), (&entity, of_both[1])];
    let dscores = |scores: &Tensor| cast(weighed(&both, &floats(scores)).2, scores);
    let (scores, grads) = machine.questions(&params, &c.graph, c.texts(), &questions, &dscores);
    let (total, values, _) = weighed(&both, &floats(&scores));
    check.close_values("answer.loss", &[total], c.tol);
    for (kind, values) in ["document", "entity"].iter().zip(values) {
        for ((name, _, _), value) in losses().iter().zip(values) {
            let name = format!("answer.loss.{kind}.{name}");
            check.close_values(&name, &[value], c.tol);
        }
    }
    all_grads(&mut check, "answer.", &grads, c.tol);
    // Two scores and two similarities where probabilities are clamped.
    let set = |got: &mut [f64], want: &[f64], far: f64| {
        for (got, want) in got.iter_mut().zip(want).filter(|(_, w)| w.abs() == far) {
            *got = *want;
        }
    };
    set(&mut kl, &floats(&check.want["kl.pred"]), 40.0);
    check.close_values("kl.pred", &kl, c.tol);
    for (kind, mut target) in [("document", document), ("entity", entity)] {
        let wanted = floats(&check.want[&format!("kl.{kind}.target")]);
        set(&mut target.similar, &wanted, 1.0);
        let name = |what: &str| format!("kl.{kind}.{what}");
        check.close_values(&name("target"), &target.similar, c.tol);
        let reductions = [Reduction::BatchMean, Reduction::Mean, Reduction::Sum];
        for (reduction, what) in reductions.into_iter().zip(Reduction::NAMES) {
            let value = target.value(KL_DIV.at(0.0).reduced(reduction), &kl);
            let tol = match dtype {
                DType::F64 => c.tol,
                _ => 1e-4 * value.loss,
            };
            check.close_values(&name(what), &[value.loss], tol);
            if reduction == Reduction::BatchMean {
                check.close_values(&name("grad"), &value.grad, c.tol);
            }
        }
        for (name, temperature) in [("bce0", 0.0), ("bce1", 1.0)] {
            let value = target.value(BCE.at(temperature), &kl);
            let tol = c.tol * value.loss.max(1.0);
            check.close_values(&format!("{name}.{kind}"), &[value.loss], tol);
        }
    }
    check.none_forgotten(|_| false);
}

/// Weights of 2.0's sft_training_w_answer.yaml, for documents and for entities.
fn answer_weights() -> [[f64; 3]; 2] {
    [[0.3, 0.7, 1.0], [0.3, 0.7, 1.0]]
}

pub(crate) fn kgc(machine: &dyn Machine, dtype: DType) {
    let (c, mut check) = Case::new("reasoner_kgc", dtype);
    let batch = tail_form(&c.inputs["batch"], RELATIONS as u32);
    let rows = batch.queries.iter().zip(&batch.candidates);
    let form: Vec<i64> = rows
        .flat_map(|(q, row)| {
            let of = |t: &u32| [i64::from(q.head), i64::from(*t), i64::from(q.relation)];
            row.iter().flat_map(of).collect::<Vec<_>>()
        })
        .collect();
    check.exact("tail_form_batch", &form);
    let pruned = c.graph.without(batch.asked());
    check.edges("mended.", &pruned);
    for (name, fusion) in [("none", None), ("early_late", Some(Fusion::EarlyLate))] {
        let params = c.params(&format!("{name}."), fusion);
        let value = |scores: &Tensor| {
            let rows = batch.queries.len();
            link_prediction(&floats(scores), 13, 1.0, rows)
        };
        let run = |params: &Params| {
            let dscores = |scores: &Tensor| cast(value(scores).grad, scores);
            machine.links(params, &pruned, c.texts(), &batch, &dscores)
        };
        let (scores, grads) = run(&params);
        let p = format!("{name}.mended.");
        let (tol, step_tol) = (c.tol, c.step_tol);
        check.close(&format!("{p}scores"), &scores, tol);
        check.close_values(&format!("{p}loss"), &[value(&scores).loss], tol);
        all_grads(&mut check, &p, &grads, tol);
        if fusion.is_some() {
            let loss = |params: &Params| {
                let (scores, grads) = run(params);
                (value(&scores).loss, grads)
            };
            let (losses, _) = three_steps(&params, loss, |step, params| {
                if step == 3 {
                    for (name, t) in params.iter() {
                        check.close(&format!("{p}step3.param.{name}"), t, step_tol);
                    }
                }
            });
            check.close_values(&format!("{p}step_losses"), &losses, step_tol);
        }
    }
    // 2.0 trains node 0 as the answer to everything, removes other edges, and evaluates so.
    check.none_forgotten(|k| k.contains("published.") || k.contains("eval."));
}

/// Gains of edges, which path explanations are made of.
fn paths(dtype: DType) {
    let (c, mut check) = Case::new("paths", dtype);
    let params = c.params("", Some(Fusion::EarlyLate));
    let edges: Vec<Edge> = super::parity::triples(&c.inputs["edge_index"], &c.inputs["edge_type"])
        .into_iter()
        .map(Edge::of)
        .collect();
    for q in ["q0", "q2"] {
        let texts = c.embeddings(&format!("{q}.question_embeddings"));
        let seeds = c.starts(&format!("{q}.start_nodes_mask"));
        let question = asked(&texts, &seeds)[0];
        let model = Retriever::new(&params, &c.graph, c.texts());
        let model = model.prepared(None).unwrap();
        let explained = model.explain(&question).unwrap();
        let name = format!("{q}.kernel_scores");
        check.close_values(&name, explained.scores(), c.tol);
        let hops = hops(&edges, &seeds[0]);
        let prefix = format!("{q}.t");
        let targets: Vec<String> = check.want.keys().cloned().collect();
        for name in targets.iter().filter(|n| n.starts_with(&prefix)) {
            let Some(target) = name.strip_suffix(".mended.edge_grads") else {
                continue;
            };
            let target: u32 = target[prefix.len()..].parse().unwrap();
            let want = floats(&check.want[name]);
            let gains = explained.gains(&[(target, 1.0)]).unwrap();
            let mut compared = 0;
            for (layer, want) in want.chunks(edges.len()).enumerate() {
                let mut known: BTreeMap<(u32, u32, u32), f64> = BTreeMap::new();
                for gain in &gains[layer] {
                    known.insert((gain.from, gain.to, gain.label), gain.gain);
                }
                for (edge, want) in edges.iter().zip(want) {
                    match known.get(&(edge.tail, edge.head, edge.relation)) {
                        Some(got) => {
                            let gap = (got - want).abs();
                            assert!(gap <= c.tol, "{name}, layer {layer}: {got} {want}");
                            compared += 1;
                        }
                        // No walk takes it, or nothing depends on it.
                        None => {
                            let walked = hops[edge.tail as usize] <= layer;
                            assert!(!walked || want.abs() <= c.tol, "{name}: {edge:?} {want}");
                        }
                    }
                }
            }
            assert!(compared > 0 || want.iter().all(|w| *w == 0.0), "{name}");
            check.seen.push(name.clone());
        }
    }
    // 2.0 explains another function, and adds up the gains of layers.
    let other = ["plain_scores", ".edge_grads", ".distance"];
    check.none_forgotten(|k| !k.contains("mended.") && other.iter().any(|end| k.ends_with(end)));
}

/// Fewest messages from a start to every node.
fn hops(edges: &[Edge], seeds: &[(u32, f64)]) -> Vec<usize> {
    let mut out = vec![usize::MAX; NODES];
    seeds.iter().for_each(|(v, _)| out[*v as usize] = 0);
    for hop in 0..NODES {
        for edge in edges {
            if out[edge.tail as usize] == hop {
                let to = &mut out[edge.head as usize];
                *to = (*to).min(hop + 1);
            }
        }
    }
    out
}

pub(super) fn cpus() -> [Cpu; 4] {
    [
        (Compute::Dense, false),
        (Compute::Sparse, false),
        (Compute::Auto, false),
        (Compute::Auto, true),
    ]
    .map(|(compute, recompute)| Cpu { compute, recompute })
}

#[test]
fn parity2_reasoner_small() {
    for dtype in [DType::F64, DType::F32] {
        for cpu in cpus() {
            small_states(dtype, small(&cpu, dtype));
        }
    }
}

#[test]
fn parity2_reasoner_variants() {
    for dtype in [DType::F64, DType::F32] {
        cpus().iter().for_each(|cpu| variants(cpu, dtype));
    }
}

#[test]
fn parity2_reasoner_kgc() {
    for dtype in [DType::F64, DType::F32] {
        cpus().iter().for_each(|cpu| kgc(cpu, dtype));
    }
}

#[test]
fn parity2_paths() {
    for dtype in [DType::F64, DType::F32] {
        paths(dtype);
    }
}

/// Names and shapes of the real sizes, in the reference's order.
#[test]
fn parity2_param_shapes() {
    let reasoner = ModelConfig {
        use_ent_emb: Some(Fusion::EarlyLate),
        ..ModelConfig::new(1024, vec![1024; 6])
    };
    let v1 = ModelConfig::new(512, vec![512; 6]);
    // The QueryGNN of 2.0 has question_mlp, as a GraphReasoner that reads no texts.
    for (file, class, config, text) in [
        (
            "GraphReasoner_early-late-fusion_1024x6_feat1024",
            Class::GraphReasoner,
            &reasoner,
            1024,
        ),
        (
            "v1_GNNRetriever_512x6_feat768",
            Class::GNNRetriever,
            &v1,
            768,
        ),
        ("v1_QueryGNN_512x6_feat768", Class::GraphReasoner, &v1, 768),
    ] {
        let path = folder("parity2", "param_shapes").join(format!("{file}.txt"));
        let want = std::fs::read_to_string(path).unwrap();
        let shapes = shapes(class, config, text).into_iter();
        let got: Vec<String> = shapes
            .map(|(name, shape)| format!("{name} {shape:?}"))
            .collect();
        let rows = want.lines().filter(|line| !line.starts_with('#'));
        let rows = rows.map(|line| line.split_once(']').unwrap().0.to_owned() + "]");
        assert_eq!(got, rows.collect::<Vec<_>>(), "{file}");
        let total = want.lines().next().unwrap();
        let total = total.strip_prefix("# total ").unwrap();
        let total: usize = total.split_once(';').unwrap().0.parse().unwrap();
        assert_eq!(size(class, config, text), total, "{file}");
    }
}

/// Metrics and the best nodes of the test questions, type by type, with the initial weights.
#[test]
fn parity2_reasoner_small_metrics() {
    use gfm_pipe_eval::metrics::{Gold, Metric, score};

    let (c, _) = Case::new("reasoner_small", DType::F64);
    let params = c.params("", Some(Fusion::EarlyLate));
    let texts = c.embeddings("test.question_embeddings");
    let seeds = c.starts("test.start_nodes_mask");
    let gold = c.starts("test.target_nodes_mask");
    let questions = asked(&texts, &seeds);
    let model = Retriever::new(&params, &c.graph, c.texts());
    let scores = floats(&model.score_all(&questions).unwrap());
    let json = |file: &str| -> serde_json::Value {
        let path = folder("parity2", "reasoner_small").join(file);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let (case, ids) = (json("case.json"), json("node2id.json"));
    let measured = case["metrics_test"].as_object().unwrap();
    let mut compared = 0;
    for kind in ["document", "entity"] {
        let nodes = ints(&c.inputs[&format!("nodes_by_type.{kind}")]);
        let rows: Vec<Vec<f64>> = scores
            .chunks(NODES)
            .map(|row| nodes.iter().map(|v| row[*v as usize]).collect())
            .collect();
        let gold: Vec<Vec<u32>> = gold
            .iter()
            .map(|row| {
                let place = |v: &(u32, f64)| nodes.iter().position(|n| *n == i64::from(v.0));
                row.iter().filter_map(place).map(|i| i as u32).collect()
            })
            .collect();
        for (name, want) in measured {
            let Some(name) = name.strip_prefix(&format!("toy/{kind}_")) else {
                continue;
            };
            // Its mrr is on filtered ranks, its recall is the usual one.
            let metric = Metric::parse(if name == "mrr" { "mrr_filtered" } else { name }).unwrap();
            let of = rows.iter().zip(&gold).map(|(row, items)| {
                let total = items.len() as u32;
                score(Some(row), Gold { items, total }, &[metric])[0]
            });
            let mean = of.sum::<f64>() / rows.len() as f64;
            let want = want.as_f64().unwrap();
            assert!((mean - want).abs() < 1e-5, "{kind} {name}: {mean} {want}");
            compared += 1;
        }
        let predictions = case["predictions_test_top4"].as_array().unwrap();
        for (row, predicted) in rows.iter().zip(predictions) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            let best = predicted["predictions"][kind].as_array().unwrap();
            for (place, best) in order.iter().zip(best) {
                let name = best[0].as_str().unwrap();
                assert_eq!(ids[name].as_i64().unwrap(), nodes[*place], "{name}");
                let gap = best[1].as_f64().unwrap() - row[*place];
                assert!(gap.abs() < 1e-5, "{name}: {gap}");
            }
        }
    }
    assert_eq!(compared, 22);
}
