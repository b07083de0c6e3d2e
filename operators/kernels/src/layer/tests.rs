//! The layer against an obvious one, its slopes, and itself on another number of threads.

use super::*;
use crate::message::{DistMult, RotatE};
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
    counts: Vec<f64>,
    /// A state of each node, for where no row has one.
    far: Vec<f64>,
}

#[derive(Debug)]
struct Setup {
    edges: Edges,
    from: Rows,
    to: Rows,
    at: Vec<(u32, u32)>,
    mean: bool,
    shortcut: bool,
}

type Gradients = [Vec<f64>; 7];

impl Setup {
    fn numbers(&self, seed: u64) -> Numbers {
        let mut random = Random::new(seed);
        let mut some = |len: usize| random.signed(len);
        Numbers {
            x: some(self.from.len() * DIM),
            relations: some(self.edges.relations * DIM),
            weight: some(DIM * 2 * DIM),
            bias: some(DIM),
            gamma: some(DIM).iter().map(|x| x + 1.5).collect(),
            beta: some(DIM),
            boundary: some(self.at.len() * DIM),
            counts: some(self.edges.nodes).iter().map(|x| x + 3.0).collect(),
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
            },
            counts: self.mean.then_some(&n.counts[..]),
        }
    }

    /// What the forward pass fills: sums, normalised values, deviations, the output.
    fn forward<M: Message>(&self, layer: &Layer<'_, f64>) -> [Vec<f64>; 4] {
        // What is scratch or filled may hold anything before.
        let (m, junk) = (self.to.len(), f64::NAN);
        let mut filled = [m * DIM, m * DIM, m, m * DIM].map(|len| vec![junk; len]);
        let [sum, normed, rstd, y] = &mut filled;
        let out = Out {
            sum,
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
        let [left_sum, normed, rstd, y] = self.forward::<M>(&layer);
        let (m, junk) = (self.to.len(), f64::NAN);
        let zeros = |like: &[f64]| vec![0.0; like.len()];
        let (mut state, mut sum) = (vec![junk; m * DIM], vec![junk; m * DIM]);
        let mut g = [
            zeros(&n.x),
            zeros(&n.relations),
            zeros(&n.weight),
            zeros(&n.bias),
            zeros(&n.gamma),
            zeros(&n.beta),
            zeros(&n.boundary),
        ];
        let [x, relations, weight, bias, gamma, beta, boundary] = &mut g;
        let grads = Grads {
            x,
            state: &mut state,
            sum: &mut sum,
            relations,
            boundary,
            weight,
            bias,
            affine: Some((gamma, beta)),
        };
        let left = Left {
            sum: &left_sum,
            normed: &normed,
            rstd: &rstd,
        };
        backward::<M, f64>(&layer, left, dy, grads);
        (y, g)
    }

    /// The output, row by row and edge by edge.
    fn slow<M: Message>(&self, n: &Numbers, far: bool) -> Vec<f64> {
        let state = |v: usize, q: usize| match self.from.find(v, q) {
            NONE if far => row(&n.far, v, DIM).to_vec(),
            NONE => vec![0.0; DIM],
            at => row(&n.x, at as usize, DIM).to_vec(),
        };
        let mut out = Vec::new();
        for v in 0..self.to.nodes() {
            for (i, q) in self.to.of(v).zip(self.to.queries_of(v)) {
                let q = *q as usize;
                let mut sum = vec![0.0; DIM];
                for (_, u, r) in self.edges.list.iter().filter(|e| e.0 as usize == v) {
                    M::add(
                        &mut sum,
                        &state(*u as usize, q),
                        row(&n.relations, *r as usize, DIM),
                    );
                }
                for (_, k) in self.at.iter().filter(|(at, _)| *at as usize == i) {
                    add(&mut sum, row(&n.boundary, *k as usize, DIM));
                }
                if self.mean {
                    sum.iter_mut().for_each(|s| *s /= n.counts[v]);
                }
                let own = state(v, q);
                let seen = [own.clone(), sum].concat();
                let lin: Vec<f64> = (0..DIM)
                    .map(|o| {
                        n.bias[o]
                            + (0..2 * DIM)
                                .map(|k| n.weight[o * 2 * DIM + k] * seen[k])
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

fn setups() -> impl Strategy<Value = (Setup, u64)> {
    (
        graphs(),
        proptest::collection::vec(any::<u8>(), 64),
        any::<(bool, bool)>(),
        any::<u64>(),
    )
        .prop_map(|((edges, ..), marks, (mean, shortcut), seed)| {
            let nodes = edges.nodes;
            let mark = |v: usize, q: usize, bit: u8| marks[(v * 3 + q) % 64] >> bit & 1 == 1;
            // Two queries and the background; every pair may be there, before and after.
            let from = Rows::new(nodes, 2, |v, q| mark(v, q, 0));
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
                    mean,
                    shortcut,
                },
                seed,
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_the_obvious_loop_and_its_slopes((setup, seed) in setups(), rotate: bool) {
        let n = setup.numbers(seed);
        let dy: Vec<f64> = (0..setup.to.len() * DIM).map(|i| ((i * 7 + 3) % 11) as f64 / 5.0 - 1.0).collect();
        let run = |n: &Numbers| if rotate { setup.run::<RotatE>(n, &dy) } else { setup.run::<DistMult>(n, &dy) };
        let slow = |n: &Numbers| if rotate { setup.slow::<RotatE>(n, false) } else { setup.slow::<DistMult>(n, false) };
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
        let parts: [Part; 7] = [
            |n| &mut n.x, |n| &mut n.relations, |n| &mut n.weight, |n| &mut n.bias,
            |n| &mut n.gamma, |n| &mut n.beta, |n| &mut n.boundary,
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
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                prop_assert!((grad[i] - slope).abs() < 1e-4 * (1.0 + slope.abs()), "part {k}: {} {slope}", grad[i]);
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
        mean: false,
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
