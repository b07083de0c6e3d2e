//! Max, min and PNA on a device, compared with simple loops and with the CPU's kernels. The numbers
//! have few different values, so that edges and boundaries do tie.

mod reference;

use half::bf16;
use proptest::prelude::*;

use self::reference::{Case, QUERIES, Setup, Which};
use super::extremes::{Aggregate, AggregateGrads, Kind, Path};
use super::messages::{DeviceMarks, DeviceRows, Edges, Function, Messages, Starts};
use super::scales::Scales;
use super::tests::{Tested, both_ways, close, device, some, up, without_every_third};
use super::{Gpu, Vector};
use crate::rows::{NONE, Rows};
use crate::testing::{Edges as Graph, by_relation, csr};

const FUNCTIONS: [Function; 3] = [Function::TransE, Function::DistMult, Function::RotatE];
const PATHS: [Path; 2] = [Path::Fused, Path::Plain];
const ALL: [Which; 3] = [Which::Max, Which::Min, Which::Pna];

/// As [`close`], with the largest value as the measure: sums of large values may be small.
fn near<E: Tested>(what: &str, got: &Vector<E>, want: &[f64]) {
    let got = got.read().unwrap();
    assert_eq!(got.len(), want.len(), "{what}");
    let most = want.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let g = g.wide();
        assert!((g - w).abs() < E::CLOSE * most, "{what} {i}: {g} {w}");
    }
}

fn wide<E: Tested>(x: &Vector<E>) -> Vec<f64> {
    x.read().unwrap().into_iter().map(Tested::wide).collect()
}

/// What the device computed: features; gradients of states, relations and starts; and what the
/// backward pass made of the features' gradient.
struct Given<S: Tested>
where
    S::Acc: Tested,
{
    features: Vector<S>,
    dx: Vector<S>,
    drelations: Vector<S::Acc>,
    dstarts: Vector<S::Acc>,
    shares: Vector<S>,
}

impl Setup {
    fn edges(&self, gpu: &Gpu) -> Edges {
        let g = &self.graph;
        let (into, out_of, rel) = (g.by_destination(), g.by_source(), g.by_relation());
        Edges::new(gpu, csr(&into), csr(&out_of), by_relation(&rel)).unwrap()
    }

    fn upstream(&self, which: Which) -> Vec<f64> {
        let width = self.width(which);
        let rows = self.dfeatures.chunks_exact(4 * self.dim);
        rows.flat_map(|row| row[..width].to_vec()).collect()
    }

    fn run<S: Tested>(&self, edges: &Edges, case: Case) -> Given<S>
    where
        S::Acc: Tested,
    {
        let Case {
            which,
            path,
            function,
        } = case;
        let (gpu, d, rows) = (edges.chunks.gpu(), self.dim, self.rows());
        let all = Rows::new(self.graph.nodes, QUERIES, |_, q| q < QUERIES);
        let on = DeviceRows::new(edges, &all).unwrap();
        let at: Vec<u32> = (0..rows as u32)
            .map(|i| if i.is_multiple_of(3) { i / 3 } else { NONE })
            .collect();
        let (x, w) = (up::<S>(gpu, &self.x), up::<S>(gpu, &self.relations));
        let (at, starts) = (gpu.vector(&at).unwrap(), up::<S::Acc>(gpu, &self.starts));
        let counts = up::<S::Acc>(gpu, &self.counts);
        let started = !self.starts.is_empty();
        let aggregate = Aggregate {
            kind: match which {
                Which::Max => Kind::Max,
                Which::Min => Kind::Min,
                Which::Pna => Kind::Pna(counts.view()),
            },
            path,
            messages: Messages {
                function,
                edges,
                from: &on,
                to: &on,
                x: x.view(),
                far: None,
                relations: w.view(),
                dim: d,
            },
            starts: started.then(|| Starts {
                at: at.view(),
                rows: starts.view(),
            }),
        };
        let width = self.width(which);
        assert_eq!(aggregate.width(), width);
        let (dstate, dy) = (up::<S>(gpu, &self.dstate), up::<S>(gpu, &self.dy));
        let given = Given {
            features: gpu.dirty(rows * width).unwrap(),
            dx: gpu.dirty(rows * d).unwrap(),
            drelations: gpu.dirty(self.relations.len()).unwrap(),
            dstarts: up(gpu, &vec![1.0; self.starts.len()]),
            shares: up(gpu, &self.upstream(which)),
        };
        aggregate.forward(given.features.view()).unwrap();
        let grads = AggregateGrads {
            x: given.dx.view(),
            relations: given.drelations.view(),
            starts: started.then(|| given.dstarts.view()),
        };
        let (features, shares) = (given.features.view(), given.shares.view());
        aggregate
            .backward(features, shares, dstate.view(), Some(dy.view()), grads)
            .unwrap();
        given
    }

    fn check<S: Tested>(&self, edges: &Edges, graph: &Graph, case: Case)
    where
        S::Acc: Tested,
    {
        both_ways(|| {
            let got = self.run::<S>(edges, case);
            let (d, hold) = (self.dim, |x: f64| S::of(x).wide());
            let features = wide(&got.features);
            let want = self.features(graph, case);
            for (i, (g, w)) in features.iter().zip(&want).enumerate() {
                let fits = match (case.which, i / d % 4) {
                    (Which::Pna, 0) => (g - w).abs() < S::CLOSE * w.abs().max(1.0),
                    // A small deviation is the root of a difference of large numbers.
                    (Which::Pna, 3) => (g * g - w * w).abs() < 2.0 * S::CLOSE * (w * w).max(4.0),
                    _ => *g == hold(*w),
                };
                assert!(fits, "feature {i} of {case:?}: {g} {w}");
            }
            let g = self.upstream(case.which);
            let want = self.gradients(graph, case, &features, g, hold);
            near(&format!("{case:?}: shares"), &got.shares, &want.shares);
            near(&format!("{case:?}: states"), &got.dx, &want.dx);
            near(
                &format!("{case:?}: relations"),
                &got.drelations,
                &want.drelations,
            );
            near(&format!("{case:?}: starts"), &got.dstarts, &want.dstarts);
            let bits = |x: &Vector<S>| x.read().unwrap();
            let acc = |x: &Vector<S::Acc>| x.read().unwrap();
            let states = (bits(&got.features), bits(&got.dx), bits(&got.shares));
            (states, acc(&got.drelations), acc(&got.dstarts))
        });
    }

    fn check_all<S: Tested>(&self)
    where
        S::Acc: Tested,
    {
        let Some(gpu) = device() else { return };
        let edges = self.edges(&gpu);
        let (fewer, marks) = without_every_third(&self.graph);
        let marks = DeviceMarks::new(edges.chunks.gpu(), &marks).unwrap();
        for which in ALL {
            for path in PATHS {
                for function in FUNCTIONS {
                    let case = Case {
                        which,
                        path,
                        function,
                    };
                    self.check::<S>(&edges, &self.graph, case);
                    edges.flip(&marks).unwrap();
                    self.check::<S>(&edges, &fewer, case);
                    edges.flip(&marks).unwrap();
                }
            }
        }
    }
}

fn setups(edges: std::ops::Range<usize>) -> impl Strategy<Value = Setup> {
    // 16 and 8 take four columns at a time, the others one.
    let dims = proptest::sample::select(vec![2usize, 6, 8, 16, 34]);
    (1usize..25, 1usize..4, dims, any::<u64>(), edges).prop_flat_map(
        |(nodes, relations, dim, seed, count)| {
            // A hub: most edges go into node 0, or come from it.
            let node = prop_oneof![3 => Just(0u32), 1 => 0..nodes as u32];
            let edge = (node.clone(), node, 0..relations as u32);
            proptest::collection::vec(edge, count).prop_map(move |list| {
                let graph = Graph {
                    list,
                    nodes,
                    relations,
                };
                Setup::new(graph, dim, seed)
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn aggregates_equal_obvious_loops(s in setups(0..120)) {
        s.check_all::<f64>();
        s.check_all::<f32>();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn aggregates_of_hubs_equal_obvious_loops(s in setups(1500..2500)) {
        s.check_all::<f64>();
    }
}

fn small() -> Graph {
    Graph {
        list: (0..30u32)
            .map(|i| (i % 10, (i * 7 + 3) % 10, i % 3))
            .collect(),
        nodes: 10,
        relations: 3,
    }
}

#[test]
fn aggregates_in_bf16() {
    Setup::new(small(), 8, 7).check_all::<bf16>();
    Setup::new(small(), 6, 8).check_all::<bf16>();
}

#[test]
fn messages_that_are_rounded_to_the_same_value_tie() {
    // Above 256 bf16 has even numbers only, messages have halves.
    let mut s = Setup::new(small(), 8, 9);
    s.relations.fill(256.0);
    s.starts.iter_mut().for_each(|x| *x += 256.25);
    let Some(gpu) = device() else { return };
    let edges = s.edges(&gpu);
    for path in PATHS {
        s.check::<bf16>(
            &edges,
            &s.graph,
            Case {
                which: Which::Max,
                path,
                function: Function::TransE,
            },
        );
    }
    // All starts and all messages are 255 to 258: without one, zero is the least.
    let got = s.run::<bf16>(
        &edges,
        Case {
            which: Which::Max,
            path: Path::Fused,
            function: Function::TransE,
        },
    );
    let features = wide(&got.features);
    assert!(features.iter().all(|x| [255.0, 256.0, 258.0].contains(x)));
    assert!(features.contains(&256.0));
}

#[test]
fn without_starts_the_boundary_is_zero() {
    let mut s = Setup::new(small(), 6, 11);
    s.starts.fill(0.0);
    let Some(gpu) = device() else { return };
    let edges = s.edges(&gpu);
    let all = |s: &Setup, case| {
        let got = s.run::<f64>(&edges, case);
        [wide(&got.features), wide(&got.dx), wide(&got.drelations)]
    };
    for which in ALL {
        for path in PATHS {
            let case = Case {
                which,
                path,
                function: Function::RotatE,
            };
            let zeros = all(&s, case);
            let starts = std::mem::take(&mut s.starts);
            assert_eq!(all(&s, case), zeros);
            s.starts = starts;
        }
    }
}

#[test]
fn messages_of_any_bits_are_found_again() {
    let Some(gpu) = device() else { return };
    // No two messages are equal here: an edge attains an extreme only if its message has the same
    // bits.
    let dim = 6;
    let mut s = Setup::new(small(), dim, 3);
    s.x = some(s.x.len(), 4);
    s.relations = some(s.relations.len(), 5);
    s.starts.fill(0.0);
    for function in FUNCTIONS {
        for which in [Which::Max, Which::Min] {
            let edges = s.edges(&gpu);
            s.dfeatures.fill(1.0);
            let path = Path::Fused;
            let got = s.run::<f32>(
                &edges,
                Case {
                    which,
                    path,
                    function,
                },
            );
            let (features, shares) = (wide(&got.features), wide(&got.shares));
            for (f, share) in features.iter().zip(&shares) {
                assert_eq!(*share, f64::from(*f != 0.0));
            }
            // Every extreme has one edge: with TransE, the edge's gradient is one.
            if function == Function::TransE {
                let attained = features.iter().filter(|f| **f != 0.0).count() as f64;
                assert_eq!(wide(&got.drelations).iter().sum::<f64>(), attained);
            }
        }
    }
}

#[test]
fn features_are_scaled_in_the_order_of_the_linear_map() {
    let Some(gpu) = device() else { return };
    let (dim, node) = (3, [1u32, 0, 1]);
    let features = some(node.len() * 4 * dim, 1);
    let (scale, inverse) = ([2.0, 3.0], [0.5, 0.25]);
    let by = |v: u32, f: usize| [1.0, scale[v as usize], inverse[v as usize]][f];
    let dwide = some(node.len() * 12 * dim, 2);
    let (mut wide, mut back) = (vec![0.0; dwide.len()], vec![0.0; features.len()]);
    for (i, v) in node.into_iter().enumerate() {
        for c in 0..dim {
            for s in 0..4 {
                for f in 0..3 {
                    let (at, to) = (i * 4 * dim + s * dim + c, i * 12 * dim + c * 12 + s * 3 + f);
                    wide[to] = features[at] * by(v, f);
                    back[at] += dwide[to] * by(v, f);
                }
            }
        }
    }
    fn check<S: Tested>(gpu: &Gpu, node: &[u32], numbers: [&[f64]; 6])
    where
        S::Acc: Tested,
    {
        let [scale, inverse, features, wide, dwide, back] = numbers;
        let (scale, inverse) = (up::<S::Acc>(gpu, scale), up::<S::Acc>(gpu, inverse));
        let scales = Scales {
            scale: scale.view(),
            inverse: inverse.view(),
        };
        let node = gpu.vector(node).unwrap();
        both_ways(|| {
            let got = gpu.dirty::<S>(wide.len()).unwrap();
            let from = up::<S>(gpu, features);
            scales
                .widen(from.view(), node.view(), got.view(), 3)
                .unwrap();
            close("wide features", &got, wide);
            let (from, of) = (up::<S>(gpu, dwide), gpu.dirty::<S>(back.len()).unwrap());
            scales
                .widen_backward(from.view(), node.view(), of.view(), 3)
                .unwrap();
            close("their gradient", &of, back);
            (got.read().unwrap(), of.read().unwrap())
        });
    }
    let numbers: [&[f64]; 6] = [&scale, &inverse, &features, &wide, &dwide, &back];
    check::<f64>(&gpu, &node, numbers);
    check::<f32>(&gpu, &node, numbers);
    check::<bf16>(&gpu, &node, numbers);
}
