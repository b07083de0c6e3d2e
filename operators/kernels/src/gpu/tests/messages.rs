//! Messages and their gradients, also with edges taken out.

use super::*;

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
                nodes: None,
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
