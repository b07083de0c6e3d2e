//! Normalisation, heads, products and the optimizer.

use super::*;

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
