//! The scoring head on the device: over the rows of all nodes, or over some states side by side.

use std::collections::BTreeMap;

use gfm_pipe_kernels::gpu::heads::{Head, HeadGrads};
use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::{
    Block, Groups, bias_rows, give_states, relu_backward, sum_rows, take_states,
};
use gfm_pipe_kernels::gpu::{State, Vector, View};
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::Result;
use super::backward::Gradients;
use super::forward::{Ask, Model, Tape};
use crate::model::head_name;

/// What the head's backward pass needs.
pub(super) enum HeadLeft<S: State> {
    /// Over the rows of all nodes: the first map's share of the states (none where things are computed again), and of the queries.
    Rows {
        p: Option<Vector<S>>,
        share: Vector<S::Acc>,
    },
    /// Over states side by side, `[B M, width]`, and the outputs of all maps but the last, after ReLU.
    Seen {
        seen: Vector<S::Acc>,
        hidden: Vec<Vector<S::Acc>>,
    },
}

/// States after layers on the host's side: by layer, those of nodes without a row; and the first map of the last.
pub(super) type Far<'f, S> = (&'f BTreeMap<usize, &'f Vector<S>>, Option<View<'f, S>>);

/// The row of each state that the head sees, query by query, and its node.
fn seen_rows(rows: &Rows, candidates: Option<&[Vec<u32>]>) -> (Vec<u32>, Vec<u32>) {
    let (mut row, mut node) = (Vec::new(), Vec::new());
    for q in 0..rows.queries() {
        let mut see = |v: u32| {
            row.push(rows.find(v as usize, q));
            node.push(v);
        };
        match candidates {
            Some(all) => all[q].iter().copied().for_each(&mut see),
            None => (0..rows.nodes() as u32).for_each(&mut see),
        }
    }
    (row, node)
}

impl<S: State> Model<'_, S> {
    /// Whether the head goes over the rows of all nodes: it has two maps, and sees the last states.
    pub(super) fn head_by_rows(&self) -> bool {
        !self.config.concat_hidden && self.config.num_mlp_layer == 2
    }

    /// Whether the head sees the states after layer `i` by themselves.
    pub(super) fn gathers(&self, i: usize) -> bool {
        i < self.config.layers() && (self.config.concat_hidden || i + 1 == self.config.layers())
    }

    /// The layers whose states the head sees, and which of its columns these are.
    fn blocks(&self) -> Vec<(usize, Block)> {
        let stride = self.config.output_dim();
        let mut column = 0;
        let layers = (0..self.config.layers()).filter(|i| self.gathers(*i));
        let blocks = layers.map(|i| {
            let dim = self.config.hidden_dims[i];
            column += dim;
            let block = Block {
                stride,
                column: column - dim,
                dim,
            };
            (i + 1, block)
        });
        blocks.collect()
    }

    fn head_matrix(&self, i: usize) -> Matrix<'_, S::Acc> {
        self.weights.matrix(&format!("{}.weight", head_name(i)))
    }

    fn head_bias(&self, i: usize) -> View<'_, S::Acc> {
        self.weights.part(&format!("{}.bias", head_name(i)))
    }

    /// The first map's columns for the queries.
    fn of_queries(&self) -> Matrix<'_, S::Acc> {
        let name = format!("{}.weight", head_name(0));
        let places = &self.weights.places;
        places.columns(
            &self.weights.values,
            &name,
            self.config.output_dim(),
            self.dim(),
        )
    }

    /// The first map's share of the states, `[rows, f]`.
    pub(super) fn first_map(&self, states: View<'_, S>) -> Result<Vector<S>> {
        let (f, d) = (self.head_bias(0).len(), self.config.output_dim());
        let rows = states.len() / d.max(1);
        let out = self.gpu().dirty(rows * f)?;
        let weight = self
            .weights
            .low_columns(&format!("{}.weight", head_name(0)), 0, d);
        product(
            Matrix::new(out.view(), rows, f),
            Matrix::new(states, rows, d),
            weight.t(),
            false,
        )?;
        Ok(out)
    }

    /// The first map's share of the queries, with its bias, `[B, f]`.
    fn share(&self, queries: &Vector<S::Acc>) -> Result<Vector<S::Acc>> {
        let (bias, d) = (self.head_bias(0), self.dim());
        let (b, f) = (queries.len() / d.max(1), bias.len());
        let out = self.gpu().dirty(b * f)?;
        let queries = Matrix::new(queries.view(), b, d);
        product(
            Matrix::new(out.view(), b, f),
            queries,
            self.of_queries().t(),
            false,
        )?;
        bias_rows(out.view(), bias, b, false, f)?;
        Ok(out)
    }

    /// Scores of what is asked for.
    pub(super) fn head(
        &self,
        ask: &Ask<'_, S>,
        queries: &Vector<S::Acc>,
        states: &[Vector<S>],
        (far, far_first): Far<'_, S>,
    ) -> Result<(Vector<S::Acc>, HeadLeft<S>)> {
        let gpu = self.gpu();
        let layers = self.config.layers();
        let share = self.share(queries)?;
        if ask.candidates.is_none() && self.head_by_rows() {
            let p = self.first_map(states[layers].view())?;
            let rows = &ask.reach.rows[layers];
            let scores = gpu.dirty(self.graph.nodes * rows.queries())?;
            let head = Head {
                rows,
                share: share.view(),
                w2: self.weights.part(&format!("{}.weight", head_name(1))),
                b2: self.head_bias(1),
            };
            head.scores(p.view(), far_first, scores.view())?;
            let p = (!self.recompute).then_some(p);
            return Ok((scores, HeadLeft::Rows { p, share }));
        }
        let width = self.config.output_dim();
        let b = ask.seeds.len();
        let mut seen: Option<Vector<S::Acc>> = None;
        for (layer, block) in self.blocks() {
            let (index, node) = seen_rows(&ask.reach.host.rows[layer], ask.candidates);
            let (index, node) = (gpu.vector(&index)?, gpu.vector(&node)?);
            let out = match seen.take() {
                Some(out) => out,
                None => gpu.dirty(index.len() * width)?,
            };
            let far = far.get(&layer).map(|far| (far.view(), node.view()));
            take_states(states[layer].view(), far, index.view(), out.view(), block)?;
            seen = Some(out);
        }
        let seen = match seen {
            Some(seen) => seen,
            None => gpu.dirty(0)?,
        };
        let rows = seen.len() / width.max(1);
        let maps = self.config.num_mlp_layer;
        let f = self.head_bias(0).len();
        let mut x = gpu.dirty(rows * f)?;
        let name = format!("{}.weight", head_name(0));
        let weight = self
            .weights
            .places
            .columns(&self.weights.values, &name, 0, width);
        let states = Matrix::new(seen.view(), rows, width);
        product(Matrix::new(x.view(), rows, f), states, weight.t(), false)?;
        bias_rows(x.view(), share.view(), rows / b.max(1), maps > 1, f)?;
        let mut hidden = Vec::new();
        for i in 1..maps {
            let bias = self.head_bias(i);
            let y = gpu.dirty(rows * bias.len())?;
            let input = Matrix::new(x.view(), rows, f);
            product(
                Matrix::new(y.view(), rows, bias.len()),
                input,
                self.head_matrix(i).t(),
                false,
            )?;
            bias_rows(y.view(), bias, rows, i + 1 < maps, bias.len())?;
            hidden.push(x);
            x = y;
        }
        Ok((x, HeadLeft::Seen { seen, hidden }))
    }

    /// Backward of [`Model::head`]: the gradients of the queries, `[B, d]`, and of the states that it saw.
    pub(super) fn head_backward(
        &self,
        tape: &mut Tape<'_, S>,
        dscores: View<'_, S::Acc>,
        grads: &Gradients<S>,
    ) -> Result<(Vector<S::Acc>, HeadGrad<S>)> {
        let gpu = self.gpu();
        let (layers, f) = (self.config.layers(), self.head_bias(0).len());
        let (width, d) = (self.config.output_dim(), self.dim());
        let b = tape.queries.vectors.len() / d.max(1);
        let name = format!("{}.weight", head_name(0));
        let dshare = gpu.dirty(b * f)?;
        let out = match &mut tape.head {
            HeadLeft::Rows { p, share } => {
                let states = tape.states[layers].view();
                let p = match p.take() {
                    Some(p) => p,
                    None => self.first_map(states)?,
                };
                let rows = &tape.ask.reach.rows[layers];
                let head = Head::<S> {
                    rows,
                    share: share.view(),
                    w2: self.weights.part(&format!("{}.weight", head_name(1))),
                    b2: self.head_bias(1),
                };
                let second = HeadGrads {
                    share: dshare.view(),
                    w2: grads.part(&format!("{}.weight", head_name(1))),
                    b2: grads.part(&format!("{}.bias", head_name(1))),
                };
                head.backward(p.view(), dscores, second)?;
                let dp = Matrix::new(p.view(), rows.len(), f);
                let states = Matrix::new(states, rows.len(), width);
                product(grads.columns(&name, 0, width), dp.t(), states, false)?;
                let dy = gpu.dirty::<S>(rows.len() * width)?;
                let weight = self.weights.low_columns(&name, 0, width);
                product(Matrix::new(dy.view(), rows.len(), width), dp, weight, false)?;
                HeadGrad::Last(dy)
            }
            HeadLeft::Seen { seen, hidden } => {
                let rows = seen.len() / width.max(1);
                let mut dx = gpu.dirty(dscores.len())?;
                dx.view().copy(dscores)?;
                for i in (1..self.config.num_mlp_layer).rev() {
                    let x = &hidden[i - 1];
                    let n = self.head_bias(i).len();
                    let dy = Matrix::new(dx.view(), rows, n);
                    let input = Matrix::new(x.view(), rows, f);
                    product(
                        grads.matrix(&format!("{}.weight", head_name(i))),
                        dy.t(),
                        input,
                        false,
                    )?;
                    sum_rows(dx.view(), grads.part(&format!("{}.bias", head_name(i))), n)?;
                    let next = gpu.dirty(rows * f)?;
                    product(
                        Matrix::new(next.view(), rows, f),
                        dy,
                        self.head_matrix(i),
                        false,
                    )?;
                    relu_backward(next.view(), x.view())?;
                    dx = next;
                }
                let per = rows / b.max(1);
                for q in 0..b {
                    sum_rows(dx.part(q * per * f, per * f), dshare.part(q * f, f), f)?;
                }
                let dh = Matrix::new(dx.view(), rows, f);
                let states = Matrix::new(seen.view(), rows, width);
                product(grads.columns(&name, 0, width), dh.t(), states, false)?;
                let dseen = gpu.dirty(rows * width)?;
                let weight = self
                    .weights
                    .places
                    .columns(&self.weights.values, &name, 0, width);
                product(Matrix::new(dseen.view(), rows, width), dh, weight, false)?;
                HeadGrad::Seen(dseen)
            }
        };
        sum_rows(
            dshare.view(),
            grads.part(&format!("{}.bias", head_name(0))),
            f,
        )?;
        let queries = Matrix::new(tape.queries.vectors.view(), b, d);
        let of_share = Matrix::new(dshare.view(), b, f);
        product(grads.columns(&name, width, d), of_share.t(), queries, false)?;
        let dquery = gpu.dirty(b * d)?;
        product(
            Matrix::new(dquery.view(), b, d),
            of_share,
            self.of_queries(),
            false,
        )?;
        Ok((dquery, out))
    }

    /// Adds the gradient of what the head saw of the states after layer `i` to theirs.
    pub(super) fn give_back(
        &self,
        tape: &Tape<'_, S>,
        layer: usize,
        dseen: &Vector<S::Acc>,
        dy: View<'_, S>,
    ) -> Result<()> {
        let Some((_, block)) = self.blocks().into_iter().find(|b| b.0 == layer) else {
            return Ok(());
        };
        let gpu = self.gpu();
        let (index, _) = seen_rows(&tape.ask.reach.host.rows[layer], tape.ask.candidates);
        let mut positions: Vec<u32> = (0..index.len() as u32)
            .filter(|j| index[*j as usize] != NONE)
            .collect();
        // Stable: within a row in order.
        positions.sort_by_key(|j| index[*j as usize]);
        let (mut row, mut offsets) = (Vec::new(), vec![0u32]);
        for (k, j) in positions.iter().enumerate() {
            if row.last() != Some(&index[*j as usize]) {
                row.push(index[*j as usize]);
                offsets.push(0);
            }
            if let Some(end) = offsets.last_mut() {
                *end = k as u32 + 1;
            }
        }
        let (row, offsets) = (gpu.vector(&row)?, gpu.vector(&offsets)?);
        let positions = gpu.vector(&positions)?;
        let groups = Groups {
            row: row.view(),
            offsets: offsets.view(),
            positions: positions.view(),
        };
        give_states(dy, dseen.view(), groups, block)
    }
}

/// The gradient of what the head saw.
pub(super) enum HeadGrad<S: State> {
    /// Of the rows of the last states.
    Last(Vector<S>),
    /// Of states side by side.
    Seen(Vector<S::Acc>),
}
