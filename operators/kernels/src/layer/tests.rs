//! The layer against an obvious one, its slopes, obvious gradients of ties, and itself on another
//! number of threads.

mod gains;

use super::messages;
use super::*;
use crate::message::{DistMult, RotatE, TransE};
use crate::testing::{Edges, Grouped, csr, graphs};
use gfm_pipe_testing::Random;
use proptest::prelude::*;

const DIM: usize = 4;

/// A layer's numbers, taken from a list that is long enough.
struct Numbers {
    x: Vec<f64>,
    relations: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    boundary: Vec<f64>,
    /// A boundary state of each node, for rows without their own.
    of_nodes: Vec<f64>,
    counts: Vec<f64>,
    /// Two functions of the degree of each node.
    scales: [Vec<f64>; 2],
    /// A state of each node, for where no row has one.
    far: Vec<f64>,
}

#[derive(Debug)]
struct Setup {
    edges: Edges,
    from: Rows,
    to: Rows,
    at: Vec<(u32, u32)>,
    /// Whether nodes have boundary states.
    nodes: bool,
    join: Join,
    shortcut: bool,
}

/// An aggregate without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Sum,
    Mean,
    Max(Ties),
    Min(Ties),
    Pna(Squares, Ties),
}

impl Join {
    fn with(self, n: &Numbers) -> Aggregate<'_, f64> {
        match self {
            Join::Sum => Aggregate::Sum,
            Join::Mean => Aggregate::Mean(&n.counts),
            Join::Max(ties) => Aggregate::Max(ties),
            Join::Min(ties) => Aggregate::Min(ties),
            Join::Pna(squares, ties) => Aggregate::Pna(Statistics {
                counts: &n.counts,
                scales: [&n.scales[0], &n.scales[1]],
                squares,
                ties,
            }),
        }
    }

    /// Columns of the weight that see the features.
    fn columns(self) -> usize {
        match self {
            Join::Pna(..) => 12 * DIM,
            _ => DIM,
        }
    }
}

/// Aggregates whose gradients are slopes: with [`Ties::Halves`], tied edges receive more than that.
fn joins() -> impl Strategy<Value = Join> {
    prop_oneof![
        Just(Join::Sum),
        Just(Join::Mean),
        Just(Join::Max(Ties::Equal)),
        Just(Join::Min(Ties::Equal)),
        Just(Join::Pna(Squares::Message, Ties::Equal)),
        Just(Join::Pna(Squares::Parts, Ties::Equal)),
    ]
}

type Gradients = [Vec<f64>; 8];

impl Setup {
    fn numbers(&self, seed: u64) -> Numbers {
        let mut random = Random::new(seed);
        let mut some = |len: usize| random.signed(len);
        Numbers {
            x: some(self.from.len() * DIM),
            relations: some(self.edges.relations * DIM),
            weight: some(DIM * (DIM + self.join.columns())),
            bias: some(DIM),
            gamma: some(DIM).iter().map(|x| x + 1.5).collect(),
            beta: some(DIM),
            boundary: some(self.at.len() * DIM),
            of_nodes: some(self.edges.nodes * DIM),
            counts: some(self.edges.nodes).iter().map(|x| x + 3.0).collect(),
            scales: [(); 2].map(|()| some(self.edges.nodes)),
            far: some(self.edges.nodes * DIM),
        }
    }

    fn layer<'a>(&'a self, n: &'a Numbers, [into, out_of]: [&'a Grouped; 2]) -> Layer<'a, f64> {
        Layer {
            from: &self.from,
            to: &self.to,
            into: csr(into),
            out_of: csr(out_of),
            x: &n.x,
            far: None,
            relations: &n.relations,
            dim: DIM,
            out: DIM,
            weight: &n.weight,
            bias: &n.bias,
            affine: Some(Affine {
                gamma: &n.gamma,
                beta: &n.beta,
            }),
            activation: Activation::Silu,
            shortcut: self.shortcut,
            boundary: Boundary {
                at: &self.at,
                rows: &n.boundary,
                nodes: self.nodes.then_some(&n.of_nodes),
            },
            aggregate: self.join.with(n),
        }
    }

    /// What the forward pass fills: features, normalised values, deviations, the output.
    fn forward<M: Message>(&self, layer: &Layer<'_, f64>) -> [Vec<f64>; 4] {
        // What is scratch or filled may hold anything before.
        let (m, junk) = (self.to.len(), f64::NAN);
        let mut filled = [m * layer.width(), m * DIM, m, m * DIM].map(|len| vec![junk; len]);
        let [features, normed, rstd, y] = &mut filled;
        let out = Out {
            features,
            normed,
            rstd,
            y,
        };
        forward::<M, f64>(layer, out);
        filled
    }

    fn run<M: Message>(&self, n: &Numbers, dy: &[f64]) -> (Vec<f64>, Gradients) {
        let (into, out_of) = (self.edges.by_destination(), self.edges.by_source());
        let layer = self.layer(n, [&into, &out_of]);
        let [left_features, normed, rstd, y] = self.forward::<M>(&layer);
        let (m, junk) = (self.to.len(), f64::NAN);
        let zeros = |like: &[f64]| vec![0.0; like.len()];
        let (mut state, mut features) = (vec![junk; m * DIM], vec![junk; m * layer.width()]);
        let mut g = [
            zeros(&n.x),
            zeros(&n.relations),
            zeros(&n.weight),
            zeros(&n.bias),
            zeros(&n.gamma),
            zeros(&n.beta),
            zeros(&n.boundary),
            zeros(&n.of_nodes),
        ];
        let [x, relations, weight, bias, gamma, beta, boundary, nodes] = &mut g;
        let grads = Grads {
            x,
            state: &mut state,
            features: &mut features,
            relations,
            boundary,
            nodes: self.nodes.then_some(nodes),
            weight,
            bias,
            affine: Some((gamma, beta)),
        };
        let saved = Saved {
            features: &left_features,
            normed: &normed,
            rstd: &rstd,
        };
        backward::<M, f64>(&layer, saved, dy, grads);
        (y, g)
    }

    /// The output, row by row and edge by edge.
    fn slow<M: Message>(&self, n: &Numbers, far: bool) -> Vec<f64> {
        self.slow_weighted::<M>(n, far, &vec![1.0; self.edges.list.len()])
    }

    /// [`Setup::slow`], where a weight multiplies the message of each edge.
    fn slow_weighted<M: Message>(&self, n: &Numbers, far: bool, weights: &[f64]) -> Vec<f64> {
        let state = |v: usize, q: usize| match self.from.find(v, q) {
            NONE if far => row(&n.far, v, DIM).to_vec(),
            NONE => vec![0.0; DIM],
            at => row(&n.x, at as usize, DIM).to_vec(),
        };
        let mut out = Vec::new();
        for v in 0..self.to.nodes() {
            for (i, q) in self.to.of(v).zip(self.to.queries_of(v)) {
                let q = *q as usize;
                let start = self.at.iter().find(|(at, _)| *at as usize == i);
                let start = start.map(|(_, k)| row(&n.boundary, *k as usize, DIM));
                let start = start.or(self.nodes.then_some(row(&n.of_nodes, v, DIM)));
                let mut messages = Vec::new();
                // What the standard deviation is made of.
                let mut squares =
                    start.map_or(vec![0.0; DIM], |b| b.iter().map(|b| b * b).collect());
                let edges = self.edges.list.iter().zip(weights);
                for ((_, u, r), weight) in edges.filter(|(e, _)| e.0 as usize == v) {
                    let (x, w) = (state(*u as usize, q), row(&n.relations, *r as usize, DIM));
                    let mut message = vec![0.0; DIM];
                    M::add(&mut message, &x, w);
                    message.iter_mut().for_each(|m| *m *= weight);
                    for (c, s) in squares.iter_mut().enumerate() {
                        *s += match self.join {
                            Join::Pna(Squares::Parts, _) => {
                                (x[c] * x[c] + w[c] * w[c]) * weight * weight
                            }
                            _ => message[c] * message[c],
                        };
                    }
                    messages.push(message);
                }
                messages.push(start.map_or(vec![0.0; DIM], <[f64]>::to_vec));
                let own = state(v, q);
                let seen = [own.clone(), self.slow_features(n, v, &messages, &squares)].concat();
                let columns = seen.len();
                let lin: Vec<f64> = (0..DIM)
                    .map(|o| {
                        n.bias[o]
                            + (0..columns)
                                .map(|k| n.weight[o * columns + k] * seen[k])
                                .sum::<f64>()
                    })
                    .collect();
                let mean = lin.iter().sum::<f64>() / DIM as f64;
                let variance = lin.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / DIM as f64;
                for o in 0..DIM {
                    let z = (lin[o] - mean) / (variance + 1e-5).sqrt() * n.gamma[o] + n.beta[o];
                    let silu = z / (1.0 + (-z).exp());
                    out.push(silu + if self.shortcut { own[o] } else { 0.0 });
                }
            }
        }
        out
    }
}

impl Setup {
    /// The features as the reference orders the columns that see them, from the messages into node
    /// v and their squares.
    fn slow_features(
        &self,
        n: &Numbers,
        v: usize,
        messages: &[Vec<f64>],
        squares: &[f64],
    ) -> Vec<f64> {
        let column = |c: usize| messages.iter().map(move |m| m[c]);
        let sum = |c: usize| column(c).sum::<f64>();
        let mean = |c: usize| sum(c) / n.counts[v];
        let max = |c: usize| column(c).fold(f64::MIN, f64::max);
        let min = |c: usize| column(c).fold(f64::MAX, f64::min);
        let columns = 0..DIM;
        match self.join {
            Join::Sum => columns.map(sum).collect(),
            Join::Mean => columns.map(mean).collect(),
            Join::Max(_) => columns.map(max).collect(),
            Join::Min(_) => columns.map(min).collect(),
            Join::Pna(..) => columns
                .flat_map(|c| {
                    let variance = squares[c] / n.counts[v] - mean(c) * mean(c);
                    [mean(c), max(c), min(c), variance.max(1e-6).sqrt()]
                })
                .flat_map(|s| [s, s * n.scales[0][v], s * n.scales[1][v]])
                .collect(),
        }
    }
}

fn setups() -> impl Strategy<Value = (Setup, u64)> {
    (
        graphs(),
        proptest::collection::vec(any::<u8>(), 64),
        joins(),
        any::<bool>(),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(|(edges, marks, join, boundary_of_nodes, shortcut, seed)| {
            let nodes = edges.nodes;
            let mark = |v: usize, q: usize, bit: u8| marks[(v * 3 + q) % 64] >> bit & 1 == 1;
            // Two queries and the background; every pair may be there, before and after.
            // Squares of parts are TransE's, whose message of a state of zeros is not zero: all
            // states have rows.
            let whole = matches!(join, Join::Pna(Squares::Parts, _));
            let from = Rows::new(nodes, 2, |v, q| whole || mark(v, q, 0));
            let to = Rows::new(nodes, 2, |v, q| mark(v, q, 1));
            let picked = (0..to.len()).filter(|i| i % 3 == 0);
            let at = picked
                .enumerate()
                .map(|(k, i)| (i as u32, k as u32))
                .collect();
            (
                Setup {
                    edges,
                    from,
                    to,
                    at,
                    nodes: boundary_of_nodes,
                    join,
                    shortcut,
                },
                seed,
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn equals_the_obvious_loop_and_its_slopes((setup, seed) in setups(), rotate: bool) {
        let n = setup.numbers(seed);
        let dy: Vec<f64> = (0..setup.to.len() * DIM).map(|i| ((i * 7 + 3) % 11) as f64 / 5.0 - 1.0).collect();
        let parts = matches!(setup.join, Join::Pna(Squares::Parts, _));
        let run = |n: &Numbers| match (parts, rotate) {
            (true, _) => setup.run::<TransE>(n, &dy),
            (false, true) => setup.run::<RotatE>(n, &dy),
            (false, false) => setup.run::<DistMult>(n, &dy),
        };
        let slow = |n: &Numbers| match (parts, rotate) {
            (true, _) => setup.slow::<TransE>(n, false),
            (false, true) => setup.slow::<RotatE>(n, false),
            (false, false) => setup.slow::<DistMult>(n, false),
        };
        let (y, grads) = run(&n);
        for (a, b) in y.iter().zip(slow(&n)) {
            prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        let (into, out_of) = (setup.edges.by_destination(), setup.edges.by_source());
        let mut layer = setup.layer(&n, [&into, &out_of]);
        layer.far = Some(&n.far);
        let [.., y] = setup.forward::<RotatE>(&layer);
        for (a, b) in y.iter().zip(setup.slow::<RotatE>(&n, true)) {
            prop_assert!((a - b).abs() < 1e-9, "with far states: {a} {b}");
        }
        let value = |n: &Numbers| -> f64 { slow(n).iter().zip(&dy).map(|(y, d)| y * d).sum() };
        type Part = fn(&mut Numbers) -> &mut Vec<f64>;
        let parts: [Part; 8] = [
            |n| &mut n.x, |n| &mut n.relations, |n| &mut n.weight, |n| &mut n.bias,
            |n| &mut n.gamma, |n| &mut n.beta, |n| &mut n.boundary, |n| &mut n.of_nodes,
        ];
        for (k, (part, grad)) in parts.iter().zip(&grads).enumerate() {
            // Some coordinates of each tell enough.
            for i in (0..grad.len()).step_by(1 + grad.len() / 7) {
                let mut moved = setup.numbers(seed);
                let mut at = |h: f64| {
                    part(&mut moved)[i] += h;
                    let value = value(&moved);
                    part(&mut moved)[i] -= h;
                    value
                };
                // A small step: near its floor, PNA's standard deviation bends sharply.
                let slope = (at(1e-7) - at(-1e-7)) / 2e-7;
                prop_assert!((grad[i] - slope).abs() < 1e-4 * (1.0 + slope.abs()), "part {k}: {} {slope}", grad[i]);
            }
        }
    }
}

/// What an edge and the boundary receive of an extreme's gradient, by the definitions of [`Ties`].
fn shares(ties: Ties, best: f64, edges: usize, boundary: bool) -> (f64, f64) {
    match (ties, edges, boundary) {
        (Ties::Halves, 0, true) => (0.0, 1.0),
        (Ties::Halves, _, true) => (0.5, 0.5),
        (Ties::Halves, _, false) => (1.0, 0.0),
        (Ties::Equal, ..) => {
            let parts = edges + usize::from(boundary) + usize::from(best == 0.0);
            let share = 1.0 / parts as f64;
            (share, if boundary { share } else { 0.0 })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Few different numbers, so that many edges and boundaries attain an extreme.
    #[test]
    fn ties_are_shared_as_defined((setup, seed) in setups(), ties in prop_oneof![Just(Ties::Halves), Just(Ties::Equal)]) {
        let coarse = |numbers: &[f64]| -> Vec<f64> { numbers.iter().map(|x| (x * 2.0).round() / 2.0).collect() };
        let mut n = setup.numbers(seed);
        (n.x, n.relations, n.boundary) = (coarse(&n.x), coarse(&n.relations), coarse(&n.boundary));
        n.of_nodes = coarse(&n.of_nodes);
        let setup = Setup { join: Join::Max(ties), ..setup };
        let (into, out_of) = (setup.edges.by_destination(), setup.edges.by_source());
        let weight = vec![0.0; DIM * 2 * DIM];
        let layer = Layer { weight: &weight, shortcut: false, ..setup.layer(&n, [&into, &out_of]) };
        let m = setup.to.len();
        let mut best = vec![0.0; m * DIM];
        messages::<DistMult, f64>(&layer, &mut best);
        let g: Vec<f64> = (0..m * DIM).map(|i| ((i * 7 + 3) % 11) as f64 / 5.0 - 1.0).collect();
        let mut of_messages = g.clone();
        let (mut dboundary, mut dx, mut dw) = (vec![0.0; n.boundary.len()], vec![0.0; n.x.len()], vec![0.0; n.relations.len()]);
        let mut dnodes = vec![0.0; n.of_nodes.len()];
        let grads = BoundaryGrads { rows: &mut dboundary, nodes: setup.nodes.then_some(&mut dnodes) };
        layer.features_backward::<DistMult>(&best, &mut of_messages, grads);
        let up = messages::Upstream { aggregate: &layer.aggregate, features: &best, grads: &of_messages, dim: DIM };
        let none = vec![0.0; m * DIM];
        let own = OwnGrads { state: &none, dy: &none };
        messages::backward::<DistMult, f64, _>(&layer, own, &up, &mut dx, &mut dw);

        let (mut want_boundary, mut want_x, mut want_w) = (vec![0.0; dboundary.len()], vec![0.0; dx.len()], vec![0.0; dw.len()]);
        let mut want_nodes = vec![0.0; dnodes.len()];
        for v in 0..setup.to.nodes() {
            for (i, q) in setup.to.of(v).zip(setup.to.queries_of(v)) {
                let start = setup.at.iter().find(|(at, _)| *at as usize == i).map(|(_, k)| *k as usize);
                let edges: Vec<(usize, usize)> = setup.edges.list.iter().filter(|e| e.0 as usize == v).map(|e| {
                    (setup.from.find(e.1 as usize, *q as usize) as usize, e.2 as usize)
                }).collect();
                for c in 0..DIM {
                    let x = |at: usize| if at == NONE as usize { 0.0 } else { n.x[at * DIM + c] };
                    let attains = |(at, r): &&(usize, usize)| x(*at) * n.relations[r * DIM + c] == best[i * DIM + c];
                    let of_node = if setup.nodes { n.of_nodes[v * DIM + c] } else { 0.0 };
                    let boundary = start.map_or(of_node, |k| n.boundary[k * DIM + c]);
                    let tied: Vec<_> = edges.iter().filter(attains).collect();
                    let (edge, own) = shares(ties, best[i * DIM + c], tied.len(), boundary == best[i * DIM + c]);
                    let g = g[i * DIM + c];
                    match start {
                        Some(k) => want_boundary[k * DIM + c] += g * own,
                        None if setup.nodes => want_nodes[v * DIM + c] += g * own,
                        None => {}
                    }
                    for (at, r) in tied {
                        want_w[r * DIM + c] += g * edge * x(*at);
                        if *at != NONE as usize {
                            want_x[at * DIM + c] += g * edge * n.relations[r * DIM + c];
                        }
                    }
                }
            }
        }
        let compared = [("boundary", &dboundary, &want_boundary), ("nodes", &dnodes, &want_nodes), ("x", &dx, &want_x), ("w", &dw, &want_w)];
        for (what, got, want) in compared {
            for (a, b) in got.iter().zip(want) {
                prop_assert!((a - b).abs() < 1e-9, "{what}: {a} {b}");
            }
        }
    }
}

#[test]
fn does_not_depend_on_the_number_of_threads() {
    let list = (0..6000u32)
        .map(|i| (i * 7 % 501, i * 13 % 501, i % 3))
        .collect();
    let edges = Edges {
        list,
        nodes: 501,
        relations: 3,
    };
    let rows = || Rows::new(501, 4, |v, q| (v + q) % 3 != 0);
    let setup = Setup {
        edges,
        from: rows(),
        to: rows(),
        at: vec![(3, 0), (40, 1)],
        nodes: true,
        join: Join::Pna(Squares::Message, Ties::Equal),
        shortcut: true,
    };
    let n = setup.numbers(5);
    let dy: Vec<f64> = (0..setup.to.len() * DIM)
        .map(|i| (i as f64 * 0.37).sin())
        .collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| setup.run::<DistMult>(&n, &dy))
    };
    assert_eq!(run(1), run(3));
}
