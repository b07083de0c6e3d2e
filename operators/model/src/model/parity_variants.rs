//! Parity with the reference for all configurations of a model:
//! tests/parity/{layer_variants,model_variants}.

use candle_core::{DType, Tensor};
use gfm_pipe_kernels::rows::Rows;

use super::layer::{BoundaryGrads, LayerGrads, LayerInput};
use super::network::{project, project_backward};
use super::parity::{Check, Tensors, case_json, floats, graph, load, tail_form};
use super::*;
use crate::ops::{
    self, AggregateFunc, Boundary, Degrees, LayerKind, Linear, MessageFunc, Path, by_message,
};
use crate::sampling::EasyEdges;
use crate::tensor::tensor;

fn layer_params(weights: &Tensors, prefix: &str) -> LayerParams {
    let map = |name: &str| Linear {
        weight: weights[&format!("{prefix}.{name}.weight")].clone(),
        bias: weights[&format!("{prefix}.{name}.bias")].clone(),
    };
    let Linear { weight, bias } = map("layer_norm");
    LayerParams {
        linear: map("linear"),
        norm: Some(Norm { weight, bias }),
        projection: [0, 2].map(|j| map(&format!("relation_projection.{j}"))),
    }
}

/// Row `b` of a tensor with a batch, as a batch of one.
fn row(t: &Tensor, b: usize) -> Tensor {
    t.narrow(0, b, 1).unwrap().contiguous().unwrap()
}

/// Compares relative to the largest value of the tensor. The features of PNA are sums over up to a
/// dozen edges times powers of the degree, where the f32 of the reference itself has errors of 1e-5
/// of the largest value.
fn close(check: &mut Check, name: &str, got: &Tensor, tol: f64) {
    let largest = floats(&check.want[name])
        .into_iter()
        .map(f64::abs)
        .fold(1.0, f64::max);
    check.close(name, got, tol * largest);
}

/// Features in the reference's order: by column, then statistic, then function of the degree.
fn update(features: &Tensor, kind: LayerKind, graph: &crate::graph::Graph, d: usize) -> Tensor {
    if kind.aggregate != AggregateFunc::Pna {
        return features.clone();
    }
    let n = graph.nodes();
    let degree: Vec<f64> = (0..n)
        .map(|v| {
            let edges = graph.list();
            (edges.iter().filter(|e| e.tail as usize == v).count() as f64 + 1.0).ln()
        })
        .collect();
    let mean = degree.iter().sum::<f64>() / n as f64;
    let values = floats(features);
    let mut out = Vec::new();
    for (v, row) in values.chunks(4 * d).enumerate() {
        let s = degree[v] / mean;
        for c in 0..d {
            for a in 0..4 {
                for scale in [1.0, s, 1.0 / s.max(0.01)] {
                    out.push(row[a * d + c] * scale);
                }
            }
        }
    }
    tensor(out, (1, n, 12 * d)).unwrap()
}

/// Compares every message function and aggregate on both paths of the reference, dense and with
/// ties, and gradients where they are stored.
///
/// The reference projects the relations of each sample separately, so each row runs as a batch of
/// one and gradients are added up.
#[test]
fn parity_layer_variants() {
    let (inputs, weights) = (
        load("layer_variants", "inputs"),
        load("layer_variants", "weights"),
    );
    let mut check = Check {
        want: load("layer_variants", "expected"),
        seen: Vec::new(),
    };
    let (batch, d) = (3, 32);
    let graph = graph(&inputs, 60, 12);
    for (path, path_name) in [
        (Path::Fused, "default"),
        (Path::Plain, "pyg"),
        (Path::Plain, "default"),
    ] {
        for (message, message_name) in [
            (MessageFunc::DistMult, "distmult"),
            (MessageFunc::TransE, "transe"),
            (MessageFunc::RotatE, "rotate"),
        ] {
            // RotatE has only one path, stored under the name of the default.
            if (message == MessageFunc::RotatE) != (path == Path::Plain && path_name == "default") {
                continue;
            }
            for (aggregate, aggregate_name) in [
                (AggregateFunc::Sum, "sum"),
                (AggregateFunc::Mean, "mean"),
                (AggregateFunc::Max, "max"),
                (AggregateFunc::Min, "min"),
                (AggregateFunc::Pna, "pna"),
            ] {
                for input in ["dense", "sparse"] {
                    let name = format!("{path_name}.{message_name}.{aggregate_name}.{input}");
                    if !check
                        .want
                        .keys()
                        .any(|k| k.starts_with(&format!("{name}.")))
                    {
                        // The fused path of the reference does not support min.
                        assert_eq!(
                            (path, aggregate),
                            (Path::Fused, AggregateFunc::Min),
                            "{name}"
                        );
                        continue;
                    }
                    let kind = LayerKind {
                        message,
                        aggregate,
                        activation: ops::ActivationFunc::Relu,
                        shortcut: false,
                        path,
                    };
                    let prefix = if aggregate == AggregateFunc::Pna {
                        "pna"
                    } else {
                        "plain"
                    };
                    one_variant(
                        &mut check,
                        &name,
                        &Variant {
                            kind,
                            inputs: &inputs,
                            weights: &weights,
                            prefix,
                            input,
                            graph: &graph,
                            batch,
                            d,
                        },
                    );
                }
            }
        }
    }
    check.none_forgotten(|_| false);
}

/// One variant of a layer, with its inputs.
struct Variant<'a> {
    kind: LayerKind,
    inputs: &'a Tensors,
    weights: &'a Tensors,
    /// Prefix of the names of weights.
    prefix: &'a str,
    /// Prefix of the names of inputs.
    input: &'a str,
    graph: &'a crate::graph::Graph,
    batch: usize,
    /// Width of states.
    d: usize,
}

/// What a layer computes for one sample, each `[1, N, …]`; gradients of parameters by name.
struct Sample {
    update: Tensor,
    out: Tensor,
    /// Gradients of input, boundary and relations.
    dinputs: [Tensor; 3],
    dparams: [(&'static str, Tensor); 8],
}

impl Variant<'_> {
    /// Runs the layer forward and backward on sample `b`.
    fn run(&self, b: usize) -> Sample {
        let (kind, graph, inputs, input) = (self.kind, self.graph, self.inputs, self.input);
        let (n, d) = (graph.nodes(), self.d);
        let params = layer_params(self.weights, self.prefix);
        let rows = Rows::new(n, 1, |_, q| q < 1);
        let relation = row(&inputs["relation"], b).squeeze(0).unwrap();
        let projection = project(&relation, &params.projection).unwrap();
        let x = row(&inputs[&format!("{input}.input")], b);
        // The boundary of the reference is dense here: every node is a seed.
        let boundary = Boundary {
            nodes: vec![(0..n as u32).collect()],
            rows: row(&inputs[&format!("{input}.boundary")], b)
                .squeeze(0)
                .unwrap(),
            of_nodes: None,
        };
        let x: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
        let layer = LayerInput {
            kind,
            graph,
            degrees: &Degrees::<f32>::new(kind, graph),
            from: &rows,
            to: &rows,
            x: &x,
            far: None,
            relations: &projection.relations,
            boundary: &boundary,
        };
        let dout: Vec<f32> = floats(&row(&inputs["grad_out"], b))
            .iter()
            .map(|x| *x as f32)
            .collect();
        let (out, features, g, dboundary) = by_message!(kind.message, M => {
            let (out, saved) = layer.forward::<M>(&params).unwrap();
            let features = tensor(saved.features.to_vec(), (1, n, saved.features.len() / n)).unwrap();
            let mut dboundary = BoundaryGrads::zeros(&boundary);
            let g: LayerGrads<f32> =
                layer.backward::<M>(&params, Some(saved), &dout, &mut dboundary).unwrap();
            (out, features, g, dboundary.rows)
        });
        let maps = &params.projection;
        let projected = project_backward(&relation, maps, &projection, &g.relations).unwrap();
        let norm = g.norm.unwrap();
        let [first, second] = projected.params;
        Sample {
            update: update(&features, kind, graph, d)
                .to_dtype(DType::F64)
                .unwrap(),
            out: tensor(out.to_vec(), (1, n, d)).unwrap(),
            dinputs: [
                tensor(g.x.to_vec(), (1, n, d)).unwrap(),
                tensor(dboundary, (1, n, d)).unwrap(),
                projected.relations.unsqueeze(0).unwrap(),
            ],
            dparams: [
                ("layer_norm.weight", norm.weight),
                ("layer_norm.bias", norm.bias),
                ("linear.weight", g.linear.weight),
                ("linear.bias", g.linear.bias),
                ("relation_projection.0.weight", first.weight),
                ("relation_projection.0.bias", first.bias),
                ("relation_projection.2.weight", second.weight),
                ("relation_projection.2.bias", second.bias),
            ],
        }
    }
}

fn one_variant(check: &mut Check, name: &str, variant: &Variant<'_>) {
    let (mut updates, mut outs) = (Vec::new(), Vec::new());
    let mut per_row: Vec<Vec<Tensor>> = vec![Vec::new(); 3];
    let mut summed: Vec<(&str, Tensor)> = Vec::new();
    for b in 0..variant.batch {
        let sample = variant.run(b);
        updates.push(sample.update);
        outs.push(sample.out);
        for (rows, g) in per_row.iter_mut().zip(sample.dinputs) {
            rows.push(g);
        }
        for (name, g) in sample.dparams {
            match summed.iter_mut().find(|(n, _)| *n == name) {
                Some((_, t)) => *t = (&*t + g).unwrap(),
                None => summed.push((name, g)),
            }
        }
    }
    // Not every variant has all tensors. `none_forgotten` checks that all stored ones are compared.
    let stored: Vec<String> = check.want.keys().cloned().collect();
    if stored.contains(&format!("{name}.update")) {
        close(
            check,
            &format!("{name}.update"),
            &Tensor::cat(&updates, 0).unwrap(),
            1e-5,
        );
    }
    close(
        check,
        &format!("{name}.output"),
        &Tensor::cat(&outs, 0).unwrap(),
        1e-5,
    );
    if !check.want.contains_key(&format!("{name}.grad.input")) {
        return;
    }
    for (what, rows) in ["input", "boundary", "relation"].iter().zip(&per_row) {
        close(
            check,
            &format!("{name}.grad.{what}"),
            &Tensor::cat(rows, 0).unwrap(),
            1e-4,
        );
    }
    for (what, g) in &summed {
        if !stored.contains(&format!("{name}.grad.{what}")) {
            continue;
        }
        close(check, &format!("{name}.grad.{what}"), g, 1e-4);
    }
}

/// Compares the scores of whole models with every switch.
#[test]
fn parity_model_variants() {
    let (inputs, weights) = (
        load("model_variants", "inputs"),
        load("model_variants", "weights"),
    );
    let case = case_json("model_variants");
    let mut check = Check {
        want: load("model_variants", "expected"),
        seen: Vec::new(),
    };
    let nodes = 1 + floats(&inputs["edge_index"].to_dtype(DType::F64).unwrap())
        .into_iter()
        .fold(0.0, f64::max) as usize;
    let whole = graph(&inputs, nodes, 12);
    let b = tail_form(&inputs["batch"], 12);
    let embeddings = &inputs["rel_emb"];
    for (name, given) in case["configs"].as_object().unwrap() {
        let mut full = serde_json::to_value(ModelConfig::new(1, vec![1])).unwrap();
        for (k, v) in given.as_object().unwrap() {
            full[k] = v.clone();
        }
        let config: ModelConfig = serde_json::from_value(full).unwrap();
        if case["status"][name] != "ok" {
            let problems = config.problems();
            assert!(
                problems[0].1.contains("may differ from input_dim"),
                "{problems:?}"
            );
            continue;
        }
        let prefix = format!("{name}.");
        let tensors = weights
            .iter()
            .filter_map(|(n, t)| Some((n.strip_prefix(&prefix)?.to_owned(), t.clone())))
            .collect();
        let params = Params::from_tensors(Class::QueryGNN, &config, 48, tensors).unwrap();
        let easy = if config.remove_one_hop {
            EasyEdges::Pair
        } else {
            EasyEdges::Relation
        };
        let pruned = easy.removed(&whole, b.asked());
        let gnn = QueryGnn::new(&params, &pruned, embeddings);
        let pass = gnn.forward(&b.queries, b.candidates.clone()).unwrap();
        check.close(&format!("{name}.scores"), &pass.scores, 1e-5);
    }
    check.none_forgotten(|_| false);
}
