//! Moving, casting and gathering rows, and sums over documents.

use super::*;

#[test]
fn rows_move_where_they_should() {
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

#[test]
fn rows_are_filled_and_summed_by_node() {
    let Some(gpu) = device() else { return };
    let rows = up::<f32>(&gpu, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let index = gpu.vector(&[2u32, 0, 2]).unwrap();
    let states = gpu.dirty::<bf16>(6).unwrap();
    fill_rows(states.view(), rows.view(), index.view(), 2).unwrap();
    close("filled", &states, &[5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);

    // Node 0 has two rows, node 1 none, node 2 one.
    let graph = Graph {
        list: vec![(0, 1, 0)],
        nodes: 3,
        relations: 1,
    };
    let (into, out_of) = (graph.by_destination(), graph.by_source());
    let rel = graph.by_relation();
    let edges = Edges::new(&gpu, csr(&into), csr(&out_of), by_relation(&rel)).unwrap();
    let of = Rows::new(3, 2, |v, q| (v, q) == (2, 1) || v == 0 && q < 2);
    let of = DeviceRows::new(&edges, &of).unwrap();
    let sums = up::<f32>(&gpu, &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    sum_nodes(sums.view(), states.view(), &of, None, 2).unwrap();
    close("sums", &sums, &[16.0, 28.0, 30.0, 40.0, 55.0, 66.0]);
    // The second row has a state of its own.
    let index = gpu.vector(&[0u32, 7, 2]).unwrap();
    sum_nodes(sums.view(), states.view(), &of, Some(index.view()), 2).unwrap();
    close("some", &sums, &[21.0, 34.0, 30.0, 40.0, 60.0, 72.0]);
}
