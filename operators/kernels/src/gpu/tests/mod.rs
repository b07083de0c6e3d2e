//! A device compared with the CPU's kernels, on random shapes and rows. The device is the
//! emulation, with the threads of a block in both orders, or a CUDA device if
//! `GFM_PIPE_LOCAL_DEVICE=cuda` asks for it.

mod layers;
mod memory;
mod messages;
mod rows;

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
    divide_rows, fill_rows, give_states, relu_backward, set_at, sum_nodes, sum_rows, take_states,
    weigh_rows, weigh_rows_backward,
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
