//! A device compared with the CPU's kernels, on random shapes and rows. The device is the
//! emulation, with the threads of a block in both orders, or a CUDA device if
//! `GFM_PIPE_LOCAL_DEVICE=cuda` asks for it.

use gfm_pipe_testing::Random;
use half::bf16;
use proptest::prelude::*;

use super::heads::{Head, HeadGrads};
use super::layout::kernel_arguments;
use super::losses::Sparse;
use super::messages::{DeviceMarks, DeviceRows, Edges, Function, Marks, Messages, Starts};
use super::norms::{self, Norm, NormGrads};
use super::optimizer::{Adam, Clip, sum_of_squares};
use super::products::{Matrix, product};
use super::rows::{
    Block, CastFrom, Far, Gather, Groups, add_from_states, add_to_states, bias_rows, cast,
    divide_rows, give_states, relu_backward, set_at, sum_rows, take_states, weigh_rows,
    weigh_rows_backward,
};
use super::{Gpu, State, Used, Vector};
use crate::activation::Activation;
use crate::adamw::AdamW;
use crate::csr::{ByRelation, Csr};
use crate::layer::{self, Aggregate, Layer};
use crate::message::{DistMult, Message, RotatE, TransE};
use crate::norm::{Affine, Normed, norm_activate, norm_activate_backward};
use crate::rows::{NONE, Rows};
use crate::score;
use crate::testing::{Edges as Graph, by_relation, csr};

/// The device that tests run on: the emulation if it was built, else the first CUDA device if
/// `GFM_PIPE_LOCAL_DEVICE` is `cuda`.
pub(super) fn device() -> Option<Gpu> {
    #[cfg(feature = "gpu-emulation")]
    return Some(Gpu::emulated());
    #[cfg(not(feature = "gpu-emulation"))]
    {
        // All tests share one, because opening it takes longer than most of them.
        static OPEN: std::sync::OnceLock<Option<Gpu>> = std::sync::OnceLock::new();
        let open = || match std::env::var("GFM_PIPE_LOCAL_DEVICE").as_deref() {
            Ok("cuda") => Some(Gpu::open(0).unwrap()),
            _ => {
                gfm_pipe_testing::skip("gpu", "GFM_PIPE_LOCAL_DEVICE=cuda runs it on a device");
                None
            }
        };
        OPEN.get_or_init(open).clone()
    }
}

/// Numbers in -1..1, the same for the same seed.
pub(super) fn some(n: usize, seed: u64) -> Vec<f64> {
    Random::new(seed).signed(n)
}

/// Element types, with the error allowed for sums of some hundred values of about 1.
pub(super) trait Tested: State {
    const CLOSE: f64;
    /// Whether it is f32.
    const SINGLE: bool = false;
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
}

impl Tested for f64 {
    const CLOSE: f64 = 1e-11;
    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
}

impl Tested for f32 {
    const CLOSE: f64 = 1e-5;
    const SINGLE: bool = true;
    fn of(x: f64) -> Self {
        x as f32
    }
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Tested for bf16 {
    const CLOSE: f64 = 1.5e-2;
    fn of(x: f64) -> Self {
        bf16::from_f64(x)
    }
    fn wide(self) -> f64 {
        self.to_f64()
    }
}

pub(super) fn up<E: Tested>(gpu: &Gpu, x: &[f64]) -> Vector<E> {
    let x: Vec<E> = x.iter().map(|x| E::of(*x)).collect();
    gpu.vector(&x).unwrap()
}

pub(super) fn close<E: Tested>(what: &str, got: &Vector<E>, want: &[f64]) {
    close_sums(what, got, want, 1);
}

/// As [`close`], for sums of up to `terms` terms. If the terms of a hub cancel, their rounding
/// errors stay in the sum: in single precision these reach [`Tested::CLOSE`], and they grow with
/// the root of the number of terms.
fn close_sums<E: Tested>(what: &str, got: &Vector<E>, want: &[f64], terms: usize) {
    let got = got.read().unwrap();
    assert_eq!(got.len(), want.len(), "{what}");
    let spread = if E::SINGLE {
        (terms.max(1) as f64).sqrt()
    } else {
        1.0
    };
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let g = g.wide();
        let least = spread * 1.0f64.max(w.abs());
        assert!(
            (g - w).abs() < E::CLOSE * least,
            "{what} {i} of {}: {g} {w}",
            want.len()
        );
    }
}

/// Runs a check twice, and checks that both give the same bits. The emulation runs the threads of a
/// block forward, then backward; a device runs them in any order.
pub(super) fn both_ways<R: PartialEq + std::fmt::Debug>(run: impl Fn() -> R) {
    #[cfg(feature = "gpu-emulation")]
    use super::emulated::run_backward;
    #[cfg(not(feature = "gpu-emulation"))]
    let run_backward = |_| ();
    run_backward(false);
    let one = run();
    run_backward(true);
    let other = run();
    run_backward(false);
    assert_eq!(one, other);
}

#[derive(Debug)]
struct Setup {
    graph: Graph,
    from: Rows,
    to: Rows,
    /// Rows of the output that have a boundary state.
    at: Vec<(u32, u32)>,
    mean: bool,
    dim: usize,
    seed: u64,
}

/// A graph without every third of its edges, and where these are.
pub(super) fn without_every_third(g: &Graph) -> (Graph, Marks) {
    let gone = |i: usize| i.is_multiple_of(3);
    let kept = g.list.iter().enumerate().filter(|(i, _)| !gone(*i));
    let fewer = Graph {
        list: kept.map(|(_, e)| *e).collect(),
        ..*g
    };
    let place = |key: fn(&(u32, u32, u32)) -> u32| -> Vec<u32> {
        let mut order: Vec<usize> = (0..g.list.len()).collect();
        order.sort_by_key(|i| key(&g.list[*i]));
        let at = order.iter().enumerate().filter(|(_, i)| gone(**i));
        at.map(|(at, _)| at as u32).collect()
    };
    let marks = Marks {
        into: place(|e| e.0),
        out_of: place(|e| e.1),
        by_relation: place(|e| e.2),
    };
    (fewer, marks)
}

const QUERIES: usize = 3;

fn setups(edges: std::ops::Range<usize>) -> impl Strategy<Value = Setup> {
    // 16 and 8 take four columns at a time, the others one.
    let dims = proptest::sample::select(vec![2usize, 6, 8, 16, 34]);
    (
        1usize..40,
        1usize..5,
        dims,
        any::<u64>(),
        any::<bool>(),
        edges,
    )
        .prop_flat_map(|(nodes, relations, dim, seed, mean, count)| {
            // A hub: most edges go into node 0, or come from it.
            let node = prop_oneof![3 => Just(0u32), 1 => 0..nodes as u32];
            let edge = (node.clone(), node, 0..relations as u32);
            let width = QUERIES + 1;
            let marks = proptest::collection::vec(any::<bool>(), 2 * nodes * width);
            (proptest::collection::vec(edge, count), marks).prop_map(move |(list, marks)| {
                let (from, to) = marks.split_at(nodes * width);
                let from = Rows::new(nodes, QUERIES, |v, q| from[v * width + q]);
                let to = Rows::new(nodes, QUERIES, |v, q| to[v * width + q]);
                let at = (0..to.len() as u32).step_by(3);
                Setup {
                    at: at.enumerate().map(|(k, row)| (row, k as u32)).collect(),
                    graph: Graph {
                        list,
                        nodes,
                        relations,
                    },
                    from,
                    to,
                    mean,
                    dim,
                    seed,
                }
            })
        })
}

/// What was computed on the CPU: sums, and gradients of states and relations.
struct Wanted {
    sum: Vec<f64>,
    far: Vec<f64>,
    dx: Vec<f64>,
    drelations: Vec<f64>,
}

struct Numbers {
    x: Vec<f64>,
    far: Vec<f64>,
    relations: Vec<f64>,
    boundary: Vec<f64>,
    counts: Vec<f64>,
    dsum: Vec<f64>,
    dstate: Vec<f64>,
    dy: Vec<f64>,
}

impl Setup {
    fn numbers<S: Tested>(&self) -> Numbers {
        let (d, m) = (self.dim, self.to.len());
        // What the device cannot hold is no fault of what it does with it.
        let some = |n, s| -> Vec<f64> {
            some(n, self.seed ^ s)
                .into_iter()
                .map(|x| S::of(x).wide())
                .collect()
        };
        Numbers {
            x: some(self.from.len() * d, 1),
            far: some(self.graph.nodes * d, 2),
            relations: some(self.graph.relations * d, 3),
            boundary: some(self.at.len() * d, 4),
            counts: some(self.graph.nodes, 5).iter().map(|x| x + 3.0).collect(),
            dsum: some(m * d, 6),
            dstate: some(m * d, 7),
            dy: some(m * d, 8),
        }
    }

    fn wanted<M: Message>(&self, graph: &Graph, n: &Numbers) -> Wanted {
        let d = self.dim;
        let (into, out_of) = (graph.by_destination(), graph.by_source());
        let layer = Layer {
            from: &self.from,
            to: &self.to,
            into: csr(&into),
            out_of: csr(&out_of),
            x: &n.x,
            far: None,
            relations: &n.relations,
            dim: d,
            out: d,
            weight: &vec![0.0; 2 * d * d],
            bias: &vec![0.0; d],
            affine: None,
            activation: Activation::Relu,
            shortcut: true,
            boundary: layer::Boundary {
                at: &self.at,
                rows: &n.boundary,
            },
            aggregate: if self.mean {
                Aggregate::Mean(&n.counts)
            } else {
                Aggregate::Sum
            },
        };
        let mut out = Wanted {
            sum: vec![0.0; self.to.len() * d],
            far: vec![0.0; self.to.len() * d],
            dx: vec![0.0; n.x.len()],
            drelations: vec![0.0; n.relations.len()],
        };
        layer::messages::<M, f64>(&layer, &mut out.sum);
        let seen = Layer {
            far: Some(&n.far),
            ..layer
        };
        layer::messages::<M, f64>(&seen, &mut out.far);
        let own = layer::OwnGrads {
            state: &n.dstate,
            dy: &n.dy,
        };
        let (dx, dw) = (&mut out.dx, &mut out.drelations);
        layer::sum_backward::<M, f64>(&layer, own, &n.dsum, dx, dw);
        out
    }

    fn check<S: Tested, M: Message>(&self, function: Function)
    where
        S::Acc: Tested,
    {
        let Some(gpu) = device() else { return };
        let d = self.dim;
        let n = self.numbers::<S>();
        let g = &self.graph;
        let (into, out_of, rel) = (g.by_destination(), g.by_source(), g.by_relation());
        let edges = Edges::new(&gpu, csr(&into), csr(&out_of), by_relation(&rel)).unwrap();
        let rows = |r| DeviceRows::new(&edges, r).unwrap();
        let (from, to) = (rows(&self.from), rows(&self.to));
        let (x, far, w) = (
            up::<S>(&gpu, &n.x),
            up::<S>(&gpu, &n.far),
            up::<S>(&gpu, &n.relations),
        );
        let boundary = up::<S::Acc>(&gpu, &n.boundary);
        let counts = up::<S::Acc>(&gpu, &n.counts);
        let at: Vec<u32> = self.at.iter().map(|a| a.0).collect();
        let by: Vec<u32> = self.at.iter().map(|a| a.1).collect();
        let start = gpu.dirty::<u32>(self.to.len()).unwrap();
        start.view().fill_bytes(0xff).unwrap();
        set_at(
            start.view(),
            gpu.vector(&at).unwrap().view(),
            gpu.vector(&by).unwrap().view(),
        )
        .unwrap();
        let starts = Starts {
            at: start.view(),
            rows: boundary.view(),
        };
        let counts = self.mean.then(|| counts.view());
        let messages = Messages {
            function,
            edges: &edges,
            from: &from,
            to: &to,
            x: x.view(),
            far: None,
            relations: w.view(),
            dim: d,
        };
        let (dsum, dstate) = (up::<S>(&gpu, &n.dsum), up::<S>(&gpu, &n.dstate));
        let dy = up::<S>(&gpu, &n.dy);
        let terms = into.largest().max(out_of.largest()).max(rel.largest());
        let run = |want: &Wanted| {
            let sum = gpu.dirty::<S>(self.to.len() * d).unwrap();
            messages.sum(Some(starts), counts, sum.view()).unwrap();
            close_sums("sums", &sum, &want.sum, terms);
            let seen = Messages {
                far: Some(far.view()),
                ..messages
            };
            let with_far = gpu.dirty::<S>(self.to.len() * d).unwrap();
            seen.sum(Some(starts), counts, with_far.view()).unwrap();
            close_sums("sums with far states", &with_far, &want.far, terms);
            let dx = gpu.dirty::<S>(n.x.len()).unwrap();
            messages
                .state_grad(dsum.view(), dstate.view(), Some(dy.view()), dx.view())
                .unwrap();
            close_sums("gradient of states", &dx, &want.dx, terms);
            let dw = gpu.dirty::<S::Acc>(n.relations.len()).unwrap();
            messages.relation_grad(dsum.view(), dw.view()).unwrap();
            close_sums("gradient of relations", &dw, &want.drelations, terms);
            (sum.read().unwrap(), dx.read().unwrap(), dw.read().unwrap())
        };
        let want = self.wanted::<M>(g, &n);
        both_ways(|| run(&want));
        // Every third edge taken out, and put back.
        let (fewer, marks) = without_every_third(g);
        let marks = DeviceMarks::new(&gpu, &marks).unwrap();
        edges.flip(&marks).unwrap();
        run(&self.wanted::<M>(&fewer, &n));
        edges.flip(&marks).unwrap();
        run(&want);
    }

    fn check_all<S: Tested>(&self)
    where
        S::Acc: Tested,
    {
        self.check::<S, DistMult>(Function::DistMult);
        self.check::<S, TransE>(Function::TransE);
        self.check::<S, RotatE>(Function::RotatE);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn messages_equal_the_cpus(s in setups(0..200)) {
        s.check_all::<f64>();
        s.check_all::<f32>();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn messages_of_hubs_equal_the_cpus(s in setups(1500..3000)) {
        s.check_all::<f64>();
    }
}

#[test]
fn any_number_of_edges_is_taken_out() {
    let count = (1 << 22) + 1;
    let Some(gpu) = device() else { return };
    let ids = vec![0u32; count];
    let (offsets, all) = ([0, count as u32], (0..count as u32).collect::<Vec<_>>());
    let csr = Csr {
        offsets: &offsets,
        other: &ids,
        relation: &ids,
    };
    let order = ByRelation {
        offsets: &offsets,
        destination: &ids,
        source: &ids,
    };
    let edges = Edges::new(&gpu, csr, csr, order).unwrap();
    let marks = Marks {
        into: all.clone(),
        out_of: all.clone(),
        by_relation: all,
    };
    let marks = DeviceMarks::new(&gpu, &marks).unwrap();
    edges.flip(&marks).unwrap();
    for values in [
        &edges.into.relation,
        &edges.out_of.relation,
        &edges.receiver,
    ] {
        assert!(values.read().unwrap().iter().all(|r| *r == 1 << 31));
    }
}

#[test]
fn messages_in_bf16_are_sums_in_f32() {
    // Few messages a node: what is left of the error is the rounding of each value.
    let list = (0..30u32)
        .map(|i| (i % 10, (i * 7 + 3) % 10, i % 3))
        .collect();
    let graph = Graph {
        list,
        nodes: 10,
        relations: 3,
    };
    let rows = || Rows::new(10, QUERIES, |v, q| (v + q) % 4 != 0);
    let s = Setup {
        graph,
        from: rows(),
        to: rows(),
        at: vec![(0, 0), (5, 1)],
        mean: false,
        dim: 8,
        seed: 5,
    };
    s.check_all::<bf16>();
}

#[test]
fn rows_are_moved_as_told() {
    let Some(gpu) = device() else { return };
    let x = up::<f32>(&gpu, &some(5 * 6, 1));
    let xs = x.read().unwrap();
    // Two of a wider row's columns, of rows 4, none, 1, 4.
    let index = gpu.vector(&[4, NONE, 1, 4]).unwrap();
    let out = gpu.zeros::<f32>(4 * 8).unwrap();
    let block = Block {
        stride: 8,
        column: 1,
        dim: 6,
    };
    let far = up::<f32>(&gpu, &some(3 * 6, 2));
    let node = gpu.vector(&[0u32, 2, 0, 1]).unwrap();
    take_states(
        x.view(),
        Some(Far {
            states: far.view(),
            node: node.view(),
        }),
        index.view(),
        out.view(),
        block,
    )
    .unwrap();
    let got = out.read().unwrap();
    let row = |j: usize| &got[j * 8 + 1..j * 8 + 7];
    assert_eq!(row(0), &xs[24..30]);
    assert_eq!(row(1), &far.read().unwrap()[12..18]);
    assert_eq!(row(2), &xs[6..12]);
    assert_eq!((got[0], got[7], got[8]), (0.0, 0.0, 0.0));
    // Given back: row 4 gets two, row 1 one.
    let dx = gpu.zeros::<f32>(30).unwrap();
    let (rows, offsets) = (
        gpu.vector(&[1u32, 4]).unwrap(),
        gpu.vector(&[0u32, 1, 3]).unwrap(),
    );
    let positions = gpu.vector(&[2u32, 0, 3]).unwrap();
    let groups = Groups {
        row: rows.view(),
        offsets: offsets.view(),
        positions: positions.view(),
    };
    give_states(dx.view(), out.view(), groups, block).unwrap();
    let got = dx.read().unwrap();
    assert_eq!(&got[6..12], &xs[6..12]);
    assert!(got[24..].iter().zip(&xs[24..]).all(|(g, x)| *g == x + x));
    assert!(got[..6].iter().chain(&got[12..24]).all(|g| *g == 0.0));

    // Rows added both ways, divided, weighed, with a bias, cast.
    let states = up::<bf16>(&gpu, &[1.0, 2.0, 3.0, 4.0]);
    let rows = up::<f32>(&gpu, &[10.0, 20.0]);
    let (one, zero) = (gpu.vector(&[1u32]).unwrap(), gpu.vector(&[0u32]).unwrap());
    add_to_states(states.view(), rows.view(), one.view(), zero.view(), 2).unwrap();
    close("added to states", &states, &[1.0, 2.0, 13.0, 24.0]);
    add_from_states(rows.view(), states.view(), zero.view(), one.view(), 2).unwrap();
    close("added from states", &rows, &[23.0, 44.0]);
    let counts = up::<f32>(&gpu, &[2.0, 4.0]);
    let nodes = gpu.vector(&[1u32, 0]).unwrap();
    divide_rows(states.view(), counts.view(), nodes.view(), 2).unwrap();
    close("divided", &states, &[0.25, 0.5, 6.5, 12.0]);
    let (weights, index) = (
        up::<f32>(&gpu, &[2.0, 3.0, 5.0]),
        gpu.vector(&[0u32, 0, 0]).unwrap(),
    );
    let out = gpu.dirty::<f32>(6).unwrap();
    weigh_rows(
        rows.view(),
        Some(weights.view()),
        index.view(),
        out.view(),
        2,
    )
    .unwrap();
    close("weighed", &out, &[46.0, 88.0, 69.0, 132.0, 115.0, 220.0]);
    let back = gpu.zeros::<f32>(2).unwrap();
    weigh_rows_backward(
        back.view(),
        Some(weights.view()),
        index.view(),
        out.view(),
        2,
    )
    .unwrap();
    close("weighed back", &back, &[23.0 * 38.0, 44.0 * 38.0]);
    let x = up::<f32>(&gpu, &[1.0, -3.0, 2.0, 2.0, 0.0, 1.0]);
    let bias = up::<f32>(&gpu, &[1.0, 1.0, -5.0, 1.0]);
    bias_rows(x.view(), bias.view(), 2, true, 2).unwrap();
    close("bias", &x, &[2.0, 0.0, 3.0, 3.0, 0.0, 2.0]);
    let dx = up::<f32>(&gpu, &[1.0; 6]);
    relu_backward(dx.view(), x.view()).unwrap();
    close("backward of ReLU", &dx, &[1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
    let many = some(700 * 3, 9);
    let sums = gpu.dirty::<f64>(3).unwrap();
    sum_rows(up::<f64>(&gpu, &many).view(), sums.view(), 3).unwrap();
    let want: Vec<f64> = (0..3)
        .map(|c| many.iter().skip(c).step_by(3).sum())
        .collect();
    close("sums of rows", &sums, &want);
    fn casts<To: Tested + CastFrom<From>, From: Tested>(gpu: &Gpu, x: &[f64]) {
        let to = gpu.dirty::<To>(x.len()).unwrap();
        cast(to.view(), up::<From>(gpu, x).view()).unwrap();
        let want: Vec<f64> = x
            .iter()
            .map(|x| To::of(From::of(*x).wide()).wide())
            .collect();
        let got: Vec<f64> = to.read().unwrap().into_iter().map(Tested::wide).collect();
        assert_eq!(got, want);
    }
    let x = some(1000, 3);
    casts::<bf16, f32>(&gpu, &x);
    casts::<f32, f64>(&gpu, &x);
    casts::<f64, f64>(&gpu, &x);
}

#[test]
fn gathered_states_are_those_a_layer_sees() {
    let Some(gpu) = device() else { return };
    let graph = Graph {
        list: vec![(0, 1, 0)],
        nodes: 4,
        relations: 1,
    };
    let (into, out_of, rel) = (
        graph.by_destination(),
        graph.by_source(),
        graph.by_relation(),
    );
    let edges = Edges::new(&gpu, csr(&into), csr(&out_of), by_relation(&rel)).unwrap();
    let from = Rows::new(4, 2, |v, q| matches!((v, q), (1, 0) | (0 | 1, 1) | (2, 2)));
    let to = Rows::new(4, 2, |_, _| true);
    let (x, far) = (some(from.len() * 3, 1), some(12, 2));
    let rows = |r| DeviceRows::new(&edges, r).unwrap();
    let out = gpu.dirty::<f64>(to.len() * 3).unwrap();
    let (x_on, far_on) = (up::<f64>(&gpu, &x), up::<f64>(&gpu, &far));
    let (from_on, to_on) = (rows(&from), rows(&to));
    for seen in [None, Some(far_on.view())] {
        let gather = Gather {
            from: &from_on,
            to: &to_on,
        };
        gather.states(x_on.view(), seen, out.view(), 3).unwrap();
        let want: Vec<f64> = (0..4)
            .flat_map(|v| (0..3).map(move |q| (v, q)))
            .flat_map(|(v, q)| match (from.find(v, q), seen) {
                (NONE, None) => vec![0.0; 3],
                (NONE, Some(_)) => far[v * 3..][..3].to_vec(),
                (at, _) => x[at as usize * 3..][..3].to_vec(),
            })
            .collect();
        close("states", &out, &want);
    }
}

fn check_norm<S: Tested>(rows: usize, dim: usize, activation: Activation, norm: bool, seed: u64)
where
    S::Acc: Tested,
{
    let Some(gpu) = device() else { return };
    let n = rows * dim;
    let held = |n, s| -> Vec<f64> { some(n, seed ^ s).iter().map(|x| S::of(*x).wide()).collect() };
    let (lin, x, dy) = (held(n, 1), held(n, 2), held(n, 3));
    let (bias, beta) = (held(dim, 4), held(dim, 5));
    let gamma: Vec<f64> = held(dim, 6).iter().map(|x| x + 1.5).collect();
    let affine = norm.then_some(Affine {
        gamma: &gamma,
        beta: &beta,
    });
    let mut normed: Vec<f64> = lin
        .iter()
        .enumerate()
        .map(|(i, x)| x + bias[i % dim])
        .collect();
    let (mut y, mut rstd) = (vec![0.0; n], vec![1.0; rows]);
    norm_activate(
        &mut y,
        &mut normed,
        &mut rstd,
        affine,
        activation,
        Some(&x),
        dim,
    );
    let (mut dlin, mut dg, mut db) = (vec![0.0; n], vec![0.0; dim], vec![0.0; dim]);
    let left = Normed {
        values: &normed,
        rstd: &rstd,
    };
    let grads = Some((&mut dg[..], &mut db[..]));
    norm_activate_backward(&mut dlin, &dy, left, affine, activation, grads, dim);
    let dbias: Vec<f64> = (0..dim)
        .map(|c| dlin.iter().skip(c).step_by(dim).sum())
        .collect();

    let acc = |x: &[f64]| up::<S::Acc>(&gpu, x);
    let (bias, gamma, beta) = (acc(&bias), acc(&gamma), acc(&beta));
    let (x, dy) = (up::<S>(&gpu, &x), up::<S>(&gpu, &dy));
    let on = Norm::<S> {
        bias: bias.view(),
        affine: norm.then(|| norms::Affine {
            scale: gamma.view(),
            shift: beta.view(),
        }),
        activation,
        dim,
    };
    both_ways(|| {
        let (lin, y_on) = (up::<S>(&gpu, &lin), gpu.dirty::<S>(n).unwrap());
        let rstd_on = gpu.dirty::<S::Acc>(rows).unwrap();
        on.forward(lin.view(), rstd_on.view(), Some(x.view()), y_on.view())
            .unwrap();
        close("normalised", &lin, &normed);
        close("output", &y_on, &y);
        let dlin_on = gpu.dirty::<S>(n).unwrap();
        let params = [(); 3].map(|()| gpu.dirty::<S::Acc>(dim).unwrap());
        let grads = NormGrads {
            bias: params[0].view(),
            affine: norm.then(|| norms::Affine {
                scale: params[1].view(),
                shift: params[2].view(),
            }),
        };
        on.backward(
            norms::Normed {
                values: lin.view(),
                rstd: rstd_on.view(),
            },
            dy.view(),
            dlin_on.view(),
            grads,
        )
        .unwrap();
        close("gradient", &dlin_on, &dlin);
        let scaled = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| x / rows as f64).collect() };
        let small = |v: &Vector<S::Acc>| {
            let x: Vec<f64> = v
                .read()
                .unwrap()
                .iter()
                .map(|x| x.wide() / rows as f64)
                .collect();
            up::<S::Acc>(&gpu, &x)
        };
        close("gradient of the bias", &small(&params[0]), &scaled(&dbias));
        if norm {
            close("gradient of the scale", &small(&params[1]), &scaled(&dg));
            close("gradient of the shift", &small(&params[2]), &scaled(&db));
        }
        (
            y_on.read().unwrap(),
            dlin_on.read().unwrap(),
            params[0].read().unwrap(),
        )
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn norms_equal_the_cpus(
        rows in 1usize..200, dim in 2usize..80, norm: bool, seed: u64,
        activation in proptest::sample::select(vec![
            Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Tanh,
            Activation::Sigmoid, Activation::Elu, Activation::LeakyRelu, Activation::Softplus,
        ]),
    ) {
        check_norm::<f64>(rows, dim, activation, norm, seed);
    }

    #[test]
    fn heads_equal_the_cpus(s in setups(0..10)) {
        let Some(gpu) = device() else { return Ok(()) };
        let (rows, f) = (&s.to, s.dim);
        let nodes = s.graph.nodes;
        let (p, share) = (some(rows.len() * f, s.seed), some(QUERIES * f, s.seed ^ 1));
        let (w2, far) = (some(f, s.seed ^ 2), some(nodes * f, s.seed ^ 3));
        // Some scores have no gradient.
        let dscores: Vec<f64> = some(QUERIES * nodes, s.seed ^ 4).into_iter().map(|x| if x < 0.2 { 0.0 } else { x }).collect();
        let by_query = |x: &[f64]| -> Vec<f64> { (0..QUERIES).flat_map(|q| x.iter().skip(q).step_by(QUERIES).copied().collect::<Vec<_>>()).collect() };
        let head = score::Head { rows, share: &share, w2: &w2, b2: 0.3 };
        let mut want = [vec![0.0; nodes * QUERIES], vec![0.0; nodes * QUERIES]];
        score::scores(&head, &p, None, &mut want[0]);
        score::scores(&head, &p, Some(&far), &mut want[1]);
        let by_node: Vec<f64> = (0..nodes).flat_map(|v| (0..QUERIES).map(|q| dscores[q * nodes + v]).collect::<Vec<_>>()).collect();
        let (mut dp, mut dshare, mut dw2, mut db2) = (p.clone(), vec![0.0; share.len()], vec![0.0; f], 0.0);
        score::scores_backward(&head, &mut dp, &by_node, score::Grads { share: &mut dshare, w2: &mut dw2, b2: &mut db2 });

        let g = &s.graph;
        let (into, out_of, rel) = (g.by_destination(), g.by_source(), g.by_relation());
        let edges = Edges::new(&gpu, csr(&into), csr(&out_of), by_relation(&rel)).unwrap();
        let on_rows = DeviceRows::new(&edges, rows).unwrap();
        let (share_on, w2_on, b2) = (up::<f64>(&gpu, &share), up::<f64>(&gpu, &w2), up::<f64>(&gpu, &[0.3]));
        let on = Head::<f64> { rows: &on_rows, share: share_on.view(), w2: w2_on.view(), b2: b2.view() };
        let (far, dscores) = (up::<f64>(&gpu, &far), up::<f64>(&gpu, &dscores));
        both_ways(|| {
            let p = up::<f64>(&gpu, &p);
            let scores = gpu.dirty::<f64>(nodes * QUERIES).unwrap();
            on.scores(p.view(), None, scores.view()).unwrap();
            close("scores", &scores, &by_query(&want[0]));
            on.scores(p.view(), Some(far.view()), scores.view()).unwrap();
            close("scores with far states", &scores, &by_query(&want[1]));
            let (a, b, c) = (gpu.dirty::<f64>(share.len()).unwrap(), gpu.dirty::<f64>(f).unwrap(), gpu.dirty::<f64>(1).unwrap());
            on.backward(p.view(), dscores.view(), HeadGrads { share: a.view(), w2: b.view(), b2: c.view() }).unwrap();
            close("gradient of the states", &p, &dp);
            close("gradient of the queries", &a, &dshare);
            close("gradient of the second map", &b, &dw2);
            close("gradient of its bias", &c, &[db2]);
            (scores.read().unwrap(), p.read().unwrap(), a.read().unwrap())
        });
    }

    #[test]
    fn products_equal_the_obvious_loop(m in 1usize..7, k in 0usize..7, n in 1usize..7, ta: bool, tb: bool, add: bool, gap in 0usize..3, seed: u64) {
        let Some(gpu) = device() else { return Ok(()) };
        let size = |rows: usize, columns: usize| rows * (columns + gap);
        let (ra, ca) = if ta { (k, m) } else { (m, k) };
        let (rb, cb) = if tb { (n, k) } else { (k, n) };
        let (a, b) = (some(size(ra, ca), seed), some(size(rb, cb), seed ^ 1));
        let c = some(m * n, seed ^ 2);
        let at = |x: &[f64], columns: usize, turned: bool, i: usize, j: usize| {
            let (i, j) = if turned { (j, i) } else { (i, j) };
            x[i * (columns + gap) + j]
        };
        let mut want = vec![0.0; m * n];
        for i in 0..m { for j in 0..n {
            let sum: f64 = (0..k).map(|x| at(&a, ca, ta, i, x) * at(&b, cb, tb, x, j)).sum();
            want[i * n + j] = sum + if add { c[i * n + j] } else { 0.0 };
        } }
        let (a, b, c) = (up::<f64>(&gpu, &a), up::<f64>(&gpu, &b), up::<f64>(&gpu, &c));
        fn strided(v: &Vector<f64>, rows: usize, columns: usize, stride: usize) -> Matrix<'_, f64> {
            Matrix::strided(v.view(), rows, columns, stride)
        }
        let a = strided(&a, ra, ca, ca + gap);
        let b = strided(&b, rb, cb, cb + gap);
        let a = if ta { a.t() } else { a };
        let b = if tb { b.t() } else { b };
        product(Matrix::new(c.view(), m, n), a, b, add).unwrap();
        close("product", &c, &want);
    }

    #[test]
    fn steps_of_the_optimizer_equal_the_cpus(n in 1usize..3000, seed: u64, clip in proptest::option::of(0.1..3.0f64)) {
        let Some(gpu) = device() else { return Ok(()) };
        let settings = AdamW { lr: 0.01, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.1 };
        let (mut p, mut m, mut v) = (some(n, seed), vec![0.0; n], vec![0.0; n]);
        let on = [&p, &m, &v].map(|x| up::<f64>(&gpu, x));
        for step in 1..4 {
            let mut g = some(n, seed ^ step);
            let grad = up::<f64>(&gpu, &g);
            let norm = g.iter().map(|x| x * x).sum::<f64>().sqrt();
            if let Some(most) = clip.filter(|most| most / (norm + 1e-6) < 1.0) {
                g.iter_mut().for_each(|x| *x *= most / (norm + 1e-6));
            }
            settings.step(step, &mut p, &g, &mut m, &mut v);
            let clip = clip.map(|norm| Clip { squares: sum_of_squares(grad.view()).unwrap(), norm });
            let adam = Adam { param: on[0].view(), grad: grad.view(), m: on[1].view(), v: on[2].view() };
            adam.step(&settings, step, clip.as_ref()).unwrap();
        }
        close("parameters", &on[0], &p);
        close("second moments", &on[2], &v);
    }
}

#[test]
fn norms_in_f32_and_bf16() {
    check_norm::<f32>(70, 64, Activation::Relu, true, 3);
    check_norm::<bf16>(1, 40, Activation::Relu, false, 4);
}

#[test]
fn scores_are_summed_over_documents() {
    let Some(gpu) = device() else { return };
    // Document 0 has entities 0 and 2, document 1 none, document 2 entity 1.
    let docs = Sparse::new(&gpu, &[0, 2, 2, 3], &[0, 2, 1]).unwrap();
    let x = up::<f32>(&gpu, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
    let out = up::<f64>(&gpu, &[1.0; 6]);
    docs.sum_over(x.view(), out.view(), 2, 0.5).unwrap();
    close("documents", &out, &[3.5, 1.0, 2.0, 21.0, 1.0, 9.0]);
}

kernel_arguments! {
    struct NoKernelTakesThis {
        x: u64,
    }
}

#[test]
fn structs_are_described() {
    assert_eq!(LAYOUTS.len(), 1);
    assert_eq!((LAYOUTS[0].name, LAYOUTS[0].size), ("NoKernelTakesThis", 8));
}

#[test]
fn a_device_may_only_count() {
    let gpu = Gpu::counting();
    let x = gpu.vector(&[1.0f64; 100]).unwrap();
    let sums = gpu.zeros::<f64>(10).unwrap();
    sum_rows(x.view(), sums.view(), 10).unwrap();
    assert_eq!(sums.read().unwrap(), [0.0; 10]);
    // The sums of one part, and where it starts and ends.
    assert_eq!(
        gpu.used(),
        Used {
            now: 880,
            peak: 880 + 80 + 8
        }
    );
}

#[cfg(feature = "gpu-emulation")]
#[test]
fn memory_is_counted_and_kernels_are_checked() {
    let gpu = Gpu::emulated();
    let a = gpu.zeros::<f64>(100).unwrap();
    drop(gpu.zeros::<f32>(10).unwrap());
    assert_eq!(
        gpu.used(),
        Used {
            now: 800,
            peak: 840
        }
    );
    gpu.forget_peak();
    assert_eq!(
        gpu.used(),
        Used {
            now: 800,
            peak: 800
        }
    );
    drop(a);
    assert_eq!(gpu.used().now, 0);
    let args = NoKernelTakesThis { x: 0 };
    let wrong = gpu.launch("cast_bf16_f32", [1, 1, 1], [1, 1, 1], 0, &args);
    assert!(wrong.unwrap_err().to_string().contains("another struct"));
    let none = gpu.launch("cast_f16_f32", [1, 1, 1], [1, 1, 1], 0, &args);
    assert!(none.unwrap_err().to_string().contains("no such kernel"));
}

/// More members need more devices; one tells whether NCCL is called as it must be.
#[cfg(feature = "nccl")]
#[test]
fn a_ring_of_one_adds_up_what_it_has() {
    let Some(gpu) = device() else { return };
    let name = match gpu.ring_name() {
        Ok(name) => name,
        Err(e) => {
            gfm_pipe_testing::skip("nccl", &e.to_string());
            return;
        }
    };
    assert_eq!(gpu.identity().unwrap().len(), 32);
    let ring = gpu.join(&name, 0, 1).unwrap();
    let values: Vec<f64> = (0..1000).map(|i| f64::from(i) * 0.5 - 7.0).collect();
    let wide = gpu.vector(&values).unwrap();
    ring.add_up(wide.view()).unwrap();
    assert_eq!(wide.read().unwrap(), values);
    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    let narrow = gpu.vector(&values).unwrap();
    ring.add_up(narrow.view()).unwrap();
    assert_eq!(narrow.read().unwrap(), values);
    // Of another ring afterwards.
    let ring = gpu.join(&gpu.ring_name().unwrap(), 0, 1).unwrap();
    ring.add_up(narrow.view()).unwrap();
    assert_eq!(narrow.read().unwrap(), values);
}
