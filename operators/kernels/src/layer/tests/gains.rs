//! Gains of edges against slopes of the obvious layer, and the gradient of the input against the
//! whole backward pass.

use super::*;
use crate::layer::{Cone, Gain, edge_gains};

impl Setup {
    fn gains<M: Message>(
        &self,
        n: &Numbers,
        cone: Cone<'_>,
        dy: &[f64],
    ) -> (Vec<Gain<f64>>, Vec<f64>) {
        let (into, out_of) = (self.edges.by_destination(), self.edges.by_source());
        let layer = self.layer(n, [&into, &out_of]);
        let [features, normed, rstd, _] = self.forward::<M>(&layer);
        let saved = Saved {
            features: &features,
            normed: &normed,
            rstd: &rstd,
        };
        let mut dx = vec![0.0; cone.from.len() * DIM];
        let gains = edge_gains::<M, f64>(&layer, saved, cone, dy, &mut dx);
        (gains, dx)
    }

    fn check_gains<M: Message>(&self, seed: u64) -> Result<(), TestCaseError> {
        let n = self.numbers(seed);
        let nodes = self.edges.nodes;
        let own = |rows: &Rows, v: usize| rows.own(v, 0) != NONE;
        // Every second node, and all of their neighbours that have states.
        let to = Rows::new(nodes, 1, |v, q| q == 0 && v % 2 == 0 && own(&self.to, v));
        let from = Rows::new(nodes, 1, |v, q| q == 0 && own(&self.from, v));
        let dy: Vec<f64> = (0..to.len() * DIM)
            .map(|i| ((i * 7 + 3) % 11) as f64 / 5.0 - 1.0)
            .collect();
        let mut whole = vec![0.0; self.to.len() * DIM];
        for v in (0..nodes).filter(|v| to.find(*v, 0) != NONE) {
            let (at, row_at) = (self.to.own(v, 0) as usize, to.find(v, 0) as usize);
            whole[at * DIM..][..DIM].copy_from_slice(row(&dy, row_at, DIM));
        }
        let cone = Cone {
            from: &from,
            to: &to,
        };
        let (gains, dx) = self.gains::<M>(&n, cone, &dy);
        let (_, grads) = self.run::<M>(&n, &whole);
        for v in (0..nodes).filter(|v| own(&self.from, *v)) {
            let got = row(&dx, from.find(v, 0) as usize, DIM);
            let want = row(&grads[0], self.from.own(v, 0) as usize, DIM);
            for (a, b) in got.iter().zip(want) {
                prop_assert!((a - b).abs() < 1e-9, "input of node {v}: {a} {b}");
            }
        }

        // The order of the edges in the grouping by destination.
        let list = &self.edges.list;
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_by_key(|i| list[*i].0);
        let inside = |i: &&usize| {
            let (v, u, _) = list[**i];
            to.find(v as usize, 0) != NONE && from.find(u as usize, 0) != NONE
        };
        let visited: Vec<usize> = order.iter().filter(inside).copied().collect();
        let got: Vec<usize> = gains.iter().map(|g| order[g.edge as usize]).collect();
        prop_assert_eq!(got, &visited[..]);
        for (gain, i) in gains.iter().zip(visited).step_by(1 + gains.len() / 9) {
            prop_assert_eq!(gain.to, list[i].0);
            // Copies of an edge tie for the largest message, where there is no slope.
            if list.iter().filter(|edge| **edge == list[i]).count() > 1 {
                continue;
            }
            let at = |h: f64| -> f64 {
                let mut weights = vec![1.0; list.len()];
                weights[i] += h;
                let y = self.slow_weighted::<M>(&n, false, &weights);
                y.iter().zip(&whole).map(|(y, d)| y * d).sum()
            };
            let slope = (at(1e-7) - at(-1e-7)) / 2e-7;
            let gap = (gain.gain - slope).abs();
            prop_assert!(
                gap < 1e-4 * (1.0 + slope.abs()),
                "edge {i}: {} {slope}",
                gain.gain
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gains_are_slopes_for_the_weights_of_messages((setup, seed) in setups(), rotate: bool) {
        let parts = matches!(setup.join, Join::Pna(Squares::Parts, _));
        match (parts, rotate) {
            (true, _) => setup.check_gains::<TransE>(seed)?,
            (false, true) => setup.check_gains::<RotatE>(seed)?,
            (false, false) => setup.check_gains::<DistMult>(seed)?,
        }
    }
}
