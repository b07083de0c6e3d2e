//! Parity with the reference for every tensor in tests/parity/{kgc_small,qa_small,negatives}, in
//! f32 and f64.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::*;
use crate::graph::{Edge, Graph};
use crate::loss::{BCE, LIST_CE, link_prediction};
use crate::optimizer::Optimizer;
use crate::sampling::{Batch, Triple, Truth, batch};
use crate::scorer::OnCpu;
use crate::tensor::{tensor, to_f64};
use gfm_pipe_eval::link_metrics::filtered_rank;
use gfm_pipe_kernels::adamw::AdamW;

pub(crate) type Tensors = BTreeMap<String, Tensor>;

pub(super) fn folder(set: &str, case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests")
        .join(set)
        .join(case)
}

pub(super) fn load(case: &str, file: &str) -> Tensors {
    load_of("parity", case, file)
}

/// Tensors of a case in another folder of tests/.
pub(super) fn load_of(set: &str, case: &str, file: &str) -> Tensors {
    let path = folder(set, case).join(format!("{file}.safetensors"));
    let map = candle_core::safetensors::load(&path, &Device::Cpu);
    map.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .into_iter()
        .collect()
}

pub(super) fn case_json(case: &str) -> Value {
    let path = folder("parity", case).join("case.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(super) fn ints(t: &Tensor) -> Vec<i64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn floats(t: &Tensor) -> Vec<f64> {
    to_f64(t).unwrap()
}

pub(super) fn triples(index: &Tensor, ty: &Tensor) -> Vec<Triple> {
    let (index, ty) = (ints(index), ints(ty));
    let n = ty.len();
    (0..n)
        .map(|i| [index[i] as u32, ty[i] as u32, index[n + i] as u32])
        .collect()
}

pub(super) fn graph(inputs: &Tensors, nodes: usize, relations: usize) -> Graph {
    let edges: Vec<Edge> = triples(&inputs["edge_index"], &inputs["edge_type"])
        .into_iter()
        .map(|[h, r, t]| Edge {
            head: h,
            tail: t,
            relation: r,
        })
        .collect();
    Graph::new(nodes, relations, &edges)
}

/// Compares tensors by name and records them, so that a test can check that none was forgotten.
pub(crate) struct Check {
    pub(super) want: Tensors,
    pub(super) seen: Vec<String>,
}

impl Check {
    pub(super) fn close(&mut self, name: &str, got: &Tensor, tol: f64) {
        let want = &self.want[name];
        let (got, want) = (floats(got), floats(want));
        assert_eq!(got.len(), want.len(), "{name}");
        let gap = got
            .iter()
            .zip(&want)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(gap <= tol, "{name}: differs by {gap}, allowed {tol}");
        assert!(got.iter().all(|x| x.is_finite()), "{name} is not finite");
        self.seen.push(name.to_owned());
    }

    pub(super) fn close_values(&mut self, name: &str, got: &[f64], tol: f64) {
        let got = tensor(got.to_vec(), got.len()).unwrap();
        self.close(name, &got, tol);
    }

    pub(super) fn exact(&mut self, name: &str, got: &[i64]) {
        assert_eq!(
            got,
            ints(&self.want[name].to_dtype(DType::I64).unwrap()),
            "{name}"
        );
        self.seen.push(name.to_owned());
    }

    pub(super) fn edges(&mut self, prefix: &str, got: &Graph) {
        let (index, ty) = (
            format!("{prefix}pruned_edge_index"),
            format!("{prefix}pruned_edge_type"),
        );
        let mut want: Vec<Triple> = triples(&self.want[&index], &self.want[&ty]);
        let mut got: Vec<Triple> = got
            .list()
            .iter()
            .map(|e| [e.head, e.relation, e.tail])
            .collect();
        want.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, want, "{index}");
        self.seen.extend([index, ty]);
    }

    pub(super) fn layers(&mut self, tape: &super::Tape, layers: usize, tol: f64) {
        for i in 0..layers {
            let (before, hidden) = (tape.states(i), tape.states(i + 1));
            self.close(&format!("layer{i}.update"), &tape.features(i), tol);
            self.close(&format!("layer{i}.hidden"), &hidden, tol);
            self.close(&format!("layer{i}.out"), &(hidden - before).unwrap(), tol);
        }
    }

    pub(super) fn none_forgotten(mut self, elsewhere: impl Fn(&str) -> bool) {
        self.seen.sort();
        let missed: Vec<&String> = self
            .want
            .keys()
            .filter(|k| !self.seen.contains(k) && !elsewhere(k))
            .collect();
        assert!(missed.is_empty(), "tensors not compared: {missed:?}");
    }
}

struct Case {
    params: Params,
    embeddings: Tensor,
    inputs: Tensors,
    check: Check,
    tol: f64,
    step_tol: f64,
    dtype: DType,
}

fn case(name: &str, class: Class, dtype: DType) -> Case {
    let config = ModelConfig::new(32, vec![32; 3]);
    let weights = load(name, "weights")
        .into_iter()
        .map(|(n, t)| (n, t.to_dtype(dtype).unwrap()))
        .collect();
    let inputs = load(name, "inputs");
    let (file, tol, step_tol) = match dtype {
        DType::F64 => ("expected_f64", 1e-9, 1e-8),
        _ => ("expected", 1e-5, 2e-5),
    };
    Case {
        params: Params::from_tensors(class, &config, 48, weights).unwrap(),
        embeddings: inputs["rel_emb"].to_dtype(dtype).unwrap(),
        check: Check {
            want: load(name, file),
            seen: Vec::new(),
        },
        inputs,
        tol,
        step_tol,
        dtype,
    }
}

/// Three optimizer steps with `loss`, compared after the first and the third.
fn steps(c: &mut Case, loss: impl Fn(&Params) -> (f64, Grads)) {
    let settings = AdamW {
        lr: 5e-4,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.01,
    };
    let mut params = c.params.clone();
    let mut opt = Optimizer::new(settings, &params).unwrap();
    let mut losses = Vec::new();
    for step in 1..=3 {
        let (value, grads) = loss(&params);
        losses.push(value);
        opt.step(&mut params, &grads).unwrap();
        if step != 2 {
            for (name, t) in params.iter() {
                c.check
                    .close(&format!("step{step}.param.{name}"), t, c.step_tol);
            }
        }
    }
    losses.push(loss(&params).0);
    c.check.close_values("step_losses", &losses, c.step_tol);
    for (name, m) in &opt.moments {
        c.check
            .close(&format!("step3.exp_avg.{name}"), &m.exp_avg, c.step_tol);
        c.check.close(
            &format!("step3.exp_avg_sq.{name}"),
            &m.exp_avg_sq,
            c.step_tol,
        );
    }
}

pub(super) fn cast(values: Vec<f64>, like: &Tensor) -> Tensor {
    tensor(values, like.shape())
        .unwrap()
        .to_dtype(like.dtype())
        .unwrap()
}

/// The stored batch as tail queries: rows with a single head ask for tails, the others for heads.
pub(super) fn tail_form(rows: &Tensor, relations: u32) -> Batch {
    let rows: Vec<Vec<Vec<i64>>> = rows.to_vec3().unwrap();
    let mut out = Batch {
        queries: Vec::new(),
        candidates: Vec::new(),
    };
    for row in rows {
        let tail = row.iter().all(|x| x[0] == row[0][0]);
        let (head, relation) = if tail {
            (row[0][0], row[0][2] as u32)
        } else {
            (row[0][1], row[0][2] as u32 + relations)
        };
        out.queries.push(TailQuery {
            head: head as u32,
            relation,
        });
        out.candidates
            .push(row.iter().map(|x| x[usize::from(tail)] as u32).collect());
    }
    out
}

fn kgc(dtype: DType) {
    let mut c = case("kgc_small", Class::QueryGNN, dtype);
    let whole = graph(&c.inputs, 60, 12);
    let b = tail_form(&c.inputs["batch"], 12);
    let form: Vec<i64> = b
        .queries
        .iter()
        .zip(&b.candidates)
        .flat_map(|(q, row)| {
            row.iter()
                .flat_map(|t| [i64::from(q.head), i64::from(*t), i64::from(q.relation)])
                .collect::<Vec<_>>()
        })
        .collect();
    c.check.exact("tail_form_batch", &form);
    let pruned = whole.without(b.asked());
    c.check.edges("", &pruned);

    let (tol, embeddings) = (c.tol, c.embeddings.clone());
    let by = |params: &Params, compute| {
        let gnn = QueryGnn::new(params, &pruned, &embeddings).compute(compute);
        let mut pass = gnn.forward(&b.queries, b.candidates.clone()).unwrap();
        let value = link_prediction(&floats(&pass.scores), 17, 1.0, pass.scores.dims()[0]);
        let dscores = cast(value.grad, &pass.scores);
        let grads = gnn.backward(&mut pass, &dscores).unwrap();
        (pass, value.loss, grads)
    };
    for compute in [Compute::Sparse, Compute::Auto] {
        let (pass, value, grads) = by(&c.params, compute);
        c.check.close("scores", &pass.scores, tol);
        c.check.close_values("loss", &[value], tol);
        for (name, _) in c.params.clone().iter() {
            c.check
                .close(&format!("grad.{name}"), grads.named()[&name], tol);
        }
    }
    let (pass, value, grads) = by(&c.params, Compute::Dense);
    // Steps run as in training.
    let loss = |params: &Params| by(params, Compute::Auto);
    let rel = QueryGnn::new(&c.params, &pruned, &embeddings)
        .relations()
        .unwrap();
    c.check.close("relation_representation", &rel, tol);
    let layers = QueryGnn::new(&c.params, &pruned, &embeddings)
        .compute(Compute::Dense)
        .forward(&b.queries, b.candidates.clone())
        .unwrap();
    c.check.layers(layers.tape(), 3, tol);
    c.check.close("scores", &pass.scores, tol);
    c.check.close_values("loss", &[value], tol);
    for (name, _) in c.params.clone().iter() {
        c.check
            .close(&format!("grad.{name}"), grads.named()[&name], tol);
    }
    steps(&mut c, |p| {
        let (_, l, g) = loss(p);
        (l, g)
    });
    evaluate_kgc(&mut c, &whole);
    c.check.none_forgotten(|_| false);
}

/// The evaluation of `kgc_small`: scores and ranks of tails and heads.
fn evaluate_kgc(c: &mut Case, whole: &Graph) {
    let tol = c.tol;
    let direct = triples(
        &c.inputs["target_edge_index"],
        &c.inputs["target_edge_type"],
    );
    let truth = Truth::new(60, 12, &direct);
    let positives: Vec<Vec<i64>> = c.inputs["positives"].to_vec2().unwrap();
    for (side, tail) in [("tail", true), ("head", false)] {
        let rows: Vec<(TailQuery, u32)> = positives
            .iter()
            .map(|p| {
                let (h, t, r) = (p[0] as u32, p[1] as u32, p[2] as u32);
                if tail {
                    (
                        TailQuery {
                            head: h,
                            relation: r,
                        },
                        t,
                    )
                } else {
                    (truth.head_query([h, r, t]), h)
                }
            })
            .collect();
        let asked = rows
            .iter()
            .flat_map(|(q, _)| (0..60).map(|t| [q.head, q.relation, t]));
        let pruned = whole.without(asked);
        c.check.edges(&format!("eval.{side}_"), &pruned);
        let queries: Vec<TailQuery> = rows.iter().map(|r| r.0).collect();
        let scores = QueryGnn::new(&c.params, &pruned, &c.embeddings)
            .score_all(&queries)
            .unwrap();
        c.check.close(&format!("eval.{side}_scores"), &scores, tol);
        let scores = floats(&scores);
        let (mut ranks, mut mask) = (Vec::new(), Vec::new());
        for ((q, target), row) in rows.iter().zip(scores.chunks(60)) {
            ranks.push(filtered_rank(row, *target, truth.tails(*q)).0 as i64);
            mask.extend((0..60).map(|v| i64::from(!truth.tails(*q).contains(&v))));
        }
        c.check.exact(&format!("eval.{side}_rank"), &ranks);
        c.check.exact(&format!("eval.{side}_mask"), &mask);
    }
}

#[test]
fn parity_kgc_small_f32() {
    kgc(DType::F32);
}

#[test]
fn parity_kgc_small_f64() {
    kgc(DType::F64);
}

#[test]
fn parity_kgc_small_metrics() {
    use crate::progress::Pass;
    use crate::sampling::EasyEdges;
    use gfm_pipe_eval::link_metrics::means;

    use crate::link_ranks::{EvalEdges, Ranking, rank_links};
    let how = |batch_size, edges| Ranking {
        batch_size,
        edges,
        easy: EasyEdges::Relation,
    };
    let c = case("kgc_small", Class::QueryGNN, DType::F32);
    let whole = graph(&c.inputs, 60, 12);
    let direct = triples(
        &c.inputs["target_edge_index"],
        &c.inputs["target_edge_type"],
    );
    let truth = Truth::new(60, 12, &direct);
    let json = case_json("kgc_small");
    for batch_size in [4, 8] {
        let ctx = gfm_pipe_api::local::context();
        let ranks = rank_links(
            Pass::whole(&ctx, "triples", direct.len()),
            &OnCpu::new(&c.params, &whole, &c.embeddings),
            &whole,
            &truth,
            &direct,
            how(batch_size, EvalEdges::Batch),
        )
        .unwrap();
        let want = json["metrics_of_initial_weights_over_all_triples"]
            [format!("batch_size={batch_size}")]
        .as_object()
        .unwrap();
        let names: Vec<String> = want.keys().cloned().collect();
        for (name, value) in means(&ranks, &names).unwrap() {
            let want = want[&name].as_f64().unwrap();
            // The reference sums in f32.
            assert!(
                (value - want).abs() < 1e-5 * want.max(1.0),
                "{name}: {value} {want}"
            );
        }
    }
    // With the edges of single triples removed, the batch size does not matter.
    let per = |n| {
        let ctx = gfm_pipe_api::local::context();
        let how = how(n, EvalEdges::Triple);
        let mut r = rank_links(
            Pass::whole(&ctx, "triples", 40),
            &OnCpu::new(&c.params, &whole, &c.embeddings),
            &whole,
            &truth,
            &direct[..40],
            how,
        )
        .unwrap();
        r.sort_by_key(|r| (r.tail, r.rank));
        r
    };
    assert_eq!(per(1), per(7));
}

fn qa(dtype: DType) {
    let mut c = case("qa_small", Class::GNNRetriever, dtype);
    let g = graph(&c.inputs, 60, 12);
    let rows = |t: &Tensor| -> Vec<Vec<f32>> { t.to_dtype(DType::F32).unwrap().to_vec2().unwrap() };
    let text = rows(&c.inputs["question_embeddings"]);
    let weight: Vec<f32> = c.inputs["entities_weight"].to_vec1().unwrap();
    let seeds: Vec<Vec<(u32, f64)>> = rows(&c.inputs["question_entities_masks"])
        .iter()
        .map(|m| {
            (0..60)
                .filter(|i| m[*i] > 0.0)
                .map(|i| (i as u32, f64::from(weight[i])))
                .collect()
        })
        .collect();
    let gold: Vec<Vec<u32>> = rows(&c.inputs["supporting_entities_masks"])
        .iter()
        .map(|m| (0..60).filter(|i| m[*i as usize] > 0.5).collect())
        .collect();
    let questions: Vec<Question<'_>> = text
        .iter()
        .zip(&seeds)
        .map(|(embedding, seeds)| Question { embedding, seeds })
        .collect();
    let (tol, embeddings) = (c.tol, c.embeddings.clone());
    let bce = BCE.at(0.2);
    let by = |params: &Params, compute| {
        let model = Retriever::new(params, &g, &embeddings).compute(compute);
        let mut pass = model.forward(&questions).unwrap();
        let scores = floats(&pass.scores);
        let (a, b) = (
            bce.value(&scores, 60, &gold, &[], bce.used(&gold)),
            LIST_CE
                .at(0.0)
                .value(&scores, 60, &gold, &[], LIST_CE.at(0.0).used(&gold)),
        );
        let grad = a
            .grad
            .iter()
            .zip(&b.grad)
            .map(|(a, b)| 0.3 * a + 0.7 * b)
            .collect();
        let dscores = cast(grad, &pass.scores);
        let grads = model.backward(&mut pass, &dscores).unwrap();
        (pass, [a.loss, b.loss, 0.3 * a.loss + 0.7 * b.loss], grads)
    };
    for compute in [Compute::Sparse, Compute::Auto] {
        let (pass, values, grads) = by(&c.params, compute);
        c.check.close("scores", &pass.scores, tol);
        c.check.close_values("loss", &[values[2]], tol);
        for (name, _) in c.params.clone().iter() {
            c.check
                .close(&format!("grad.{name}"), grads.named()[&name], tol);
        }
    }
    let (pass, values, grads) = by(&c.params, Compute::Dense);
    let loss = |params: &Params| by(params, Compute::Auto);
    let layers = Retriever::new(&c.params, &g, &embeddings)
        .compute(Compute::Dense)
        .forward(&questions)
        .unwrap();
    c.check.layers(layers.tape(), 3, tol);
    c.check.close("question_repr", layers.tape().query(), tol);
    c.check
        .close("relation_representation", layers.tape().relations(), tol);
    c.check.close("scores", &pass.scores, tol);
    for (name, value) in ["loss_bce", "loss_listce", "loss"].iter().zip(values) {
        c.check.close_values(name, &[value], tol);
    }
    for (name, _) in c.params.clone().iter() {
        c.check
            .close(&format!("grad.{name}"), grads.named()[&name], tol);
    }
    steps(&mut c, |p| {
        let (_, l, g) = loss(p);
        (l[2], g)
    });
    assert_eq!(c.dtype, dtype);
    // Rankers and ranks are compared in eval/, which needs no model.
    c.check
        .none_forgotten(|k| k.starts_with("doc.") || k.starts_with("ent"));
}

#[test]
fn parity_qa_small_f32() {
    qa(DType::F32);
}

#[test]
fn parity_qa_small_f64() {
    qa(DType::F64);
}

#[test]
fn parity_negatives() {
    let inputs = load("negatives", "inputs");
    let mut check = Check {
        want: load("negatives", "expected"),
        seen: Vec::new(),
    };
    let direct = triples(&inputs["target_edge_index"], &inputs["target_edge_type"]);
    let truth = Truth::new(60, 12, &direct);
    let rows: Vec<Triple> = inputs["batch"]
        .to_vec2::<i64>()
        .unwrap()
        .iter()
        .map(|x| [x[0] as u32, x[2] as u32, x[1] as u32])
        .collect();
    compare_masks(&mut check, &truth, &rows);
    compare_samples(&mut check, &inputs, &truth, &rows);
    compare_ranks(&mut check, &inputs, &truth, &rows);
    compare_edge_matches(&mut check, &inputs);
    // These are positions of edges in the original order. This graph has an order of its own and
    // finds edges by content.
    check.none_forgotten(|k| k == "edge_match.ids_sorted_within_query");
}

fn tail_query([head, relation, _]: Triple) -> TailQuery {
    TailQuery { head, relation }
}

/// Which nodes may be sampled.
fn compare_masks(check: &mut Check, truth: &Truth, rows: &[Triple]) {
    let mask = |q: TailQuery| {
        (0..60)
            .map(|v| i64::from(!truth.tails(q).contains(&v)))
            .collect::<Vec<_>>()
    };
    let tails: Vec<i64> = rows.iter().flat_map(|x| mask(tail_query(*x))).collect();
    let heads = rows.iter().flat_map(|x| mask(truth.head_query(*x)));
    let heads: Vec<i64> = heads.collect();
    for graph in ["train_graph", "direct_graph"] {
        check.exact(&format!("{graph}.t_mask"), &tails);
        check.exact(&format!("{graph}.h_mask"), &heads);
    }
}

/// Negatives from the uniform numbers that the reference drew.
fn compare_samples(check: &mut Check, inputs: &Tensors, truth: &Truth, rows: &[Triple]) {
    let mut uniforms: Vec<f32> = inputs["rand_t"].flatten_all().unwrap().to_vec1().unwrap();
    uniforms.extend(
        inputs["rand_h"]
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap(),
    );
    let mut next = uniforms.into_iter();
    let b = batch(truth, rows, 10, true, || next.next().unwrap());
    let sampled: Vec<i64> = rows
        .iter()
        .zip(&b.candidates)
        .enumerate()
        .flat_map(|(i, (x, row))| {
            row.iter()
                .flat_map(|v| {
                    if i < 3 {
                        [x[0], *v, x[1]]
                    } else {
                        [*v, x[2], x[1]]
                    }
                })
                .map(i64::from)
                .collect::<Vec<_>>()
        })
        .collect();
    check.exact("sampled_batch", &sampled);
}

fn compare_ranks(check: &mut Check, inputs: &Tensors, truth: &Truth, rows: &[Triple]) {
    let pred = floats(&inputs["rank.pred"]);
    let target = ints(&inputs["rank.target"]);
    let (mut filtered, mut unfiltered) = (Vec::new(), Vec::new());
    for ((x, row), target) in rows.iter().zip(pred.chunks(60)).zip(target) {
        // The reference counts the target itself unless a mask excludes it.
        let tails = truth.tails(tail_query(*x));
        filtered.push(filtered_rank(row, target as u32, tails).0 as i64);
        unfiltered.push(filtered_rank(row, target as u32, &[]).0 as i64);
    }
    check.exact("rank_filtered", &filtered);
    check.exact("rank_unfiltered", &unfiltered);
}

/// Number of edges of the graph that equal a given one.
fn compare_edge_matches(check: &mut Check, inputs: &Tensors) {
    let whole = graph(inputs, 60, 12);
    let queries = ints(&inputs["edge_match.queries"]);
    let (heads, rest) = queries.split_at(5);
    let (tails, relations) = rest.split_at(5);
    let num: Vec<i64> = (0..5)
        .map(|i| {
            let e = Edge {
                head: heads[i] as u32,
                tail: tails[i] as u32,
                relation: relations[i] as u32,
            };
            whole.list().iter().filter(|x| **x == e).count() as i64
        })
        .collect();
    check.exact("edge_match.num", &num);
}
