//! The scoring head on the device. A head of two maps that reads the last states works on rows;
//! any other head reads states that are gathered side by side.

use gfm_pipe_kernels::gpu::heads::{Head, HeadGrads};
use gfm_pipe_kernels::gpu::messages::DeviceRows;
use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::{
    Block, Far, Groups, bias_rows, fill_rows, give_states, relu_backward, sum_nodes, sum_rows,
    take_states, weigh_rows,
};
use gfm_pipe_kernels::gpu::{State, Vector, View};
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::error::Result;
use super::model::{Background, BatchInput, Model};
use super::node_states::NodeStates;
use super::weights::Gradients;
use crate::model::head_name;

/// What the head reads.
#[derive(Clone, Copy)]
pub(super) struct HeadInput<'a, 'b, S: State> {
    pub batch: &'a BatchInput<'b, S>,
    /// Query vectors, `[B, d]`.
    pub queries: &'a Vector<S::Acc>,
    /// States before the first layer and after each.
    pub states: &'a [Vector<S>],
    /// The states of nodes without a row; zero if there is none.
    pub background: Option<&'a Background<S>>,
    /// The texts of nodes, if the model reads them.
    pub nodes: Option<&'a NodeStates<S::Acc>>,
}

/// What the head's backward pass needs.
pub(super) enum HeadTape<S: State> {
    /// Of a head that works on rows.
    Rows {
        /// The first map's share of the states; `None` where it is computed again.
        p: Option<Vector<S>>,
        /// The first map's share of the queries.
        share: Vector<S::Acc>,
    },
    /// Of a head that reads gathered states.
    Gathered {
        /// The states, `[B M, width]`.
        seen: Vector<S::Acc>,
        /// The outputs of all maps but the last, after ReLU.
        hidden: Vec<Vector<S::Acc>>,
        /// The node of each state.
        node: Vec<u32>,
    },
}

/// The gradient of the states that the head read.
pub(super) enum HeadGrad<S: State> {
    /// Of the rows of the last states.
    LastStates(Vector<S>),
    /// Of gathered states, `[B M, width]`.
    Gathered(Vector<S::Acc>),
}

/// Gradients of all that the head read.
pub(super) struct HeadInputGrads<S: State> {
    /// Of the query vectors, `[B, d]`.
    pub queries: Vector<S::Acc>,
    /// Of the states of texts, `[N, d]`, if it read them.
    pub texts: Option<Vector<S::Acc>>,
    pub states: HeadGrad<S>,
}

/// The states that the head gathers from one layer, query by query.
struct Gathered {
    /// The row of each state, or [`NONE`].
    row: Vec<u32>,
    /// The node of each state.
    node: Vec<u32>,
}

impl Gathered {
    fn new(rows: &Rows, candidates: Option<&[Vec<u32>]>) -> Self {
        let mut out = Gathered {
            row: Vec::new(),
            node: Vec::new(),
        };
        for q in 0..rows.queries() {
            let mut gather = |v: u32| {
                out.row.push(rows.find(v as usize, q));
                out.node.push(v);
            };
            match candidates {
                Some(all) => all[q].iter().copied().for_each(&mut gather),
                None => (0..rows.nodes() as u32).for_each(&mut gather),
            }
        }
        out
    }
}

/// The states after one layer, as the head reads them.
struct HeadBlock {
    /// How many layers came before.
    layer: usize,
    /// The columns of the gathered states that they fill.
    block: Block,
}

impl<S: State> Model<'_, S> {
    /// The weight of the head's linear map `i`.
    fn weight_name(&self, i: usize) -> String {
        format!("{}.weight", head_name(self.config.reads_nodes_late(), i))
    }

    /// The bias of the head's linear map `i`.
    fn bias_name(&self, i: usize) -> String {
        format!("{}.bias", head_name(self.config.reads_nodes_late(), i))
    }

    /// Whether the head reads the states before layer `i`; those after the last layer for `i` equal
    /// to the number of layers.
    pub(super) fn head_reads(&self, i: usize) -> bool {
        i > 0 && (self.config.concat_hidden || i == self.config.layers())
    }

    /// All states that the head reads.
    fn head_blocks(&self) -> Vec<HeadBlock> {
        let stride = self.config.output_dim();
        let mut column = 0;
        let layers = (1..=self.config.layers()).filter(|i| self.head_reads(*i));
        let blocks = layers.map(|layer| {
            let dim = self.config.hidden_dims[layer - 1];
            column += dim;
            let block = Block {
                stride,
                column: column - dim,
                dim,
            };
            HeadBlock { layer, block }
        });
        blocks.collect()
    }

    fn head_matrix(&self, i: usize) -> Matrix<'_, S::Acc> {
        self.weights.matrix(&self.weight_name(i))
    }

    pub(super) fn head_bias(&self, i: usize) -> View<'_, S::Acc> {
        self.weights.part(&self.bias_name(i))
    }

    /// Columns of the first map that multiply gathered states.
    fn states_columns(&self) -> Matrix<'_, S::Acc> {
        let width = self.config.output_dim();
        self.weights.columns(&self.weight_name(0), 0, width)
    }

    /// Columns of the first map that multiply query vectors.
    fn query_columns(&self) -> Matrix<'_, S::Acc> {
        let width = self.config.output_dim();
        self.weights
            .columns(&self.weight_name(0), width, self.dim())
    }

    /// Columns of the first map that multiply the states of texts, for late fusion.
    pub(super) fn text_columns(&self) -> Matrix<'_, S::Acc> {
        let first = self.config.output_dim() + self.dim();
        self.weights
            .columns(&self.weight_name(0), first, self.dim())
    }

    /// The first map's share of the states of these rows and of the texts of their nodes,
    /// `[rows, f]`.
    pub(super) fn first_map(
        &self,
        states: View<'_, S>,
        nodes: Option<&NodeStates<S::Acc>>,
        of: &DeviceRows,
    ) -> Result<Vector<S>> {
        let (f, d) = (self.head_bias(0).len(), self.config.output_dim());
        let rows = states.len() / d.max(1);
        let out = self.gpu().dirty(rows * f)?;
        let texts = nodes.and_then(|nodes| nodes.head.as_ref());
        if let Some(texts) = texts {
            fill_rows(out.view(), texts.view(), of.node(), f)?;
        }
        let weight = self.weights.low_columns(&self.weight_name(0), 0, d);
        let x = Matrix::new(states, rows, d);
        let to = Matrix::new(out.view(), rows, f);
        product(to, x, weight.t(), texts.is_some())?;
        Ok(out)
    }

    /// The first map's share of the queries, with its bias, `[B, f]`.
    fn share(&self, queries: &Vector<S::Acc>) -> Result<Vector<S::Acc>> {
        let (bias, d) = (self.head_bias(0), self.dim());
        let (b, f) = (queries.len() / d.max(1), bias.len());
        let out = self.gpu().dirty(b * f)?;
        let x = Matrix::new(queries.view(), b, d);
        let weight = self.query_columns();
        product(Matrix::new(out.view(), b, f), x, weight.t(), false)?;
        bias_rows(out.view(), bias, b, false, f)?;
        Ok(out)
    }

    /// Both maps of a head that works on rows.
    fn row_head<'h>(
        &'h self,
        input: &HeadInput<'h, '_, S>,
        share: &'h Vector<S::Acc>,
    ) -> Head<'h, S> {
        Head {
            rows: &input.batch.reach.rows[self.config.layers()],
            share: share.view(),
            w2: self.weights.part(&self.weight_name(1)),
            b2: self.head_bias(1),
        }
    }

    /// Scores `[B, M]` of the candidates, or `[B, N]` of all nodes, and what the backward pass
    /// needs.
    pub(super) fn head(
        &self,
        input: &HeadInput<'_, '_, S>,
    ) -> Result<(Vector<S::Acc>, HeadTape<S>)> {
        let share = self.share(input.queries)?;
        if input.batch.candidates.is_some() || !self.config.head_by_rows() {
            return self.gathered_head(input, &share);
        }
        let last = self.config.layers();
        let rows = &input.batch.reach.rows[last];
        let p = self.first_map(input.states[last].view(), input.nodes, rows)?;
        let head = self.row_head(input, &share);
        let scores = self.gpu().dirty(self.graph.nodes * head.rows.queries())?;
        let background = input.background.and_then(|b| b.head.as_ref());
        head.scores(p.view(), background.map(Vector::view), scores.view())?;
        let p = (!self.recompute).then_some(p);
        Ok((scores, HeadTape::Rows { p, share }))
    }

    /// The states that the head reads, side by side, `[B M, width]`.
    fn gather(&self, input: &HeadInput<'_, '_, S>) -> Result<Vector<S::Acc>> {
        let (gpu, batch) = (self.gpu(), input.batch);
        let per_query = match batch.candidates {
            Some(candidates) => candidates.first().map_or(0, Vec::len),
            None => self.graph.nodes,
        };
        let out = gpu.dirty(batch.seeds.len() * per_query * self.config.output_dim())?;
        for HeadBlock { layer, block } in self.head_blocks() {
            let gathered = Gathered::new(&batch.reach.host.rows[layer], batch.candidates);
            let (row, node) = (gpu.vector(&gathered.row)?, gpu.vector(&gathered.node)?);
            let background = input.background.and_then(|b| b.before(layer));
            let far = background.map(|states| Far {
                states,
                node: node.view(),
            });
            let states = input.states[layer].view();
            take_states(states, far, row.view(), out.view(), block)?;
        }
        Ok(out)
    }

    /// [`Model::head`] of a head that reads gathered states.
    fn gathered_head(
        &self,
        input: &HeadInput<'_, '_, S>,
        share: &Vector<S::Acc>,
    ) -> Result<(Vector<S::Acc>, HeadTape<S>)> {
        let gpu = self.gpu();
        let seen = self.gather(input)?;
        let width = self.config.output_dim();
        let rows = seen.len() / width.max(1);
        let maps = self.config.head_maps();
        let f = self.head_bias(0).len();
        let mut x = gpu.dirty(rows * f)?;
        let last = &input.batch.reach.host.rows[self.config.layers()];
        let node = Gathered::new(last, input.batch.candidates).node;
        let texts = input.nodes.and_then(|nodes| nodes.head.as_ref());
        if let Some(texts) = texts {
            let node = gpu.vector(&node)?;
            weigh_rows(texts.view(), None, node.view(), x.view(), f)?;
        }
        let states = Matrix::new(seen.view(), rows, width);
        let (weight, to) = (self.states_columns(), Matrix::new(x.view(), rows, f));
        product(to, states, weight.t(), texts.is_some())?;
        let per_query = rows / input.batch.seeds.len().max(1);
        bias_rows(x.view(), share.view(), per_query, maps > 1, f)?;
        let mut hidden = Vec::new();
        for i in 1..maps {
            let (bias, weight) = (self.head_bias(i), self.head_matrix(i));
            let n = bias.len();
            let y = gpu.dirty(rows * n)?;
            let input = Matrix::new(x.view(), rows, f);
            product(Matrix::new(y.view(), rows, n), input, weight.t(), false)?;
            bias_rows(y.view(), bias, rows, i + 1 < maps, n)?;
            hidden.push(x);
            x = y;
        }
        Ok((x, HeadTape::Gathered { seen, hidden, node }))
    }

    /// Backward of [`Model::head`].
    pub(super) fn head_backward(
        &self,
        input: &HeadInput<'_, '_, S>,
        tape: HeadTape<S>,
        dscores: View<'_, S::Acc>,
        grads: &Gradients<S>,
    ) -> Result<HeadInputGrads<S>> {
        let gpu = self.gpu();
        let (width, d) = (self.config.output_dim(), self.dim());
        let (f, b) = (self.head_bias(0).len(), input.queries.len() / d.max(1));
        let dshare = gpu.dirty(b * f)?;
        // Of the texts' share of the first map.
        let texts = input.nodes.filter(|nodes| nodes.head.is_some());
        let dtexts = match texts {
            Some(_) => Some(gpu.zeros::<S::Acc>(self.graph.nodes * f)?),
            None => None,
        };
        let out = match tape {
            HeadTape::Rows { p, share } => {
                let states = input.states[self.config.layers()].view();
                let rows = &*input.batch.reach.rows[self.config.layers()];
                let p = match p {
                    Some(p) => p,
                    None => self.first_map(states, input.nodes, rows)?,
                };
                let head = self.row_head(input, &share);
                let (dy, dp) = self.row_head_backward(&head, p, states, dscores, &dshare, grads)?;
                if let Some(dtexts) = &dtexts {
                    sum_nodes(dtexts.view(), dp.view(), rows, None, f)?;
                }
                HeadGrad::LastStates(dy)
            }
            HeadTape::Gathered { seen, hidden, node } => {
                let [dseen, dfirst] =
                    self.gathered_head_backward(seen, &hidden, dscores, &dshare, grads)?;
                if let Some(dtexts) = &dtexts {
                    let block = Block {
                        stride: f,
                        column: 0,
                        dim: f,
                    };
                    give_grouped(&node, dtexts.view(), &dfirst, block)?;
                }
                HeadGrad::Gathered(dseen)
            }
        };
        let first = width + d;
        let dtexts = match (texts, dtexts) {
            (Some(nodes), Some(dshare)) => {
                let to = grads.columns(&self.weight_name(0), first, d);
                Some(self.head_texts_backward(nodes, &dshare, to)?)
            }
            _ => None,
        };
        sum_rows(dshare.view(), grads.part(&self.bias_name(0)), f)?;
        let queries = Matrix::new(input.queries.view(), b, d);
        let dshare = Matrix::new(dshare.view(), b, f);
        let to = grads.columns(&self.weight_name(0), width, d);
        product(to, dshare.t(), queries, false)?;
        let dquery = gpu.dirty(b * d)?;
        let weight = self.query_columns();
        product(Matrix::new(dquery.view(), b, d), dshare, weight, false)?;
        Ok(HeadInputGrads {
            queries: dquery,
            texts: dtexts,
            states: out,
        })
    }

    /// The gradients of the last states and of the first map, of a head that works on rows.
    fn row_head_backward(
        &self,
        head: &Head<'_, S>,
        p: Vector<S>,
        states: View<'_, S>,
        dscores: View<'_, S::Acc>,
        dshare: &Vector<S::Acc>,
        grads: &Gradients<S>,
    ) -> Result<(Vector<S>, Vector<S>)> {
        let (width, f) = (self.config.output_dim(), self.head_bias(0).len());
        let (rows, name) = (head.rows.len(), self.weight_name(0));
        let second = HeadGrads {
            share: dshare.view(),
            w2: grads.part(&self.weight_name(1)),
            b2: grads.part(&self.bias_name(1)),
        };
        // `p` becomes its own gradient.
        head.backward(p.view(), dscores, second)?;
        let dp = Matrix::new(p.view(), rows, f);
        let states = Matrix::new(states, rows, width);
        product(grads.columns(&name, 0, width), dp.t(), states, false)?;
        let dy = self.gpu().dirty::<S>(rows * width)?;
        let weight = self.weights.low_columns(&name, 0, width);
        product(Matrix::new(dy.view(), rows, width), dp, weight, false)?;
        Ok((dy, p))
    }

    /// The gradients of the gathered states, `[B M, width]`, and of the first map, `[B M, f]`.
    fn gathered_head_backward(
        &self,
        seen: Vector<S::Acc>,
        hidden: &[Vector<S::Acc>],
        dscores: View<'_, S::Acc>,
        dshare: &Vector<S::Acc>,
        grads: &Gradients<S>,
    ) -> Result<[Vector<S::Acc>; 2]> {
        let gpu = self.gpu();
        let (width, f) = (self.config.output_dim(), self.head_bias(0).len());
        let (rows, b) = (seen.len() / width.max(1), dshare.len() / f.max(1));
        let mut dx = gpu.dirty(dscores.len())?;
        dx.view().copy(dscores)?;
        for i in (1..self.config.head_maps()).rev() {
            let x = &hidden[i - 1];
            let n = self.head_bias(i).len();
            let dy = Matrix::new(dx.view(), rows, n);
            let input = Matrix::new(x.view(), rows, f);
            product(grads.matrix(&self.weight_name(i)), dy.t(), input, false)?;
            sum_rows(dx.view(), grads.part(&self.bias_name(i)), n)?;
            let next = gpu.dirty(rows * f)?;
            let weight = self.head_matrix(i);
            product(Matrix::new(next.view(), rows, f), dy, weight, false)?;
            relu_backward(next.view(), x.view())?;
            dx = next;
        }
        let per_query = rows / b.max(1) * f;
        for q in 0..b {
            let of_query = dx.part(q * per_query, per_query);
            sum_rows(of_query, dshare.part(q * f, f), f)?;
        }
        let dh = Matrix::new(dx.view(), rows, f);
        let states = Matrix::new(seen.view(), rows, width);
        let to = grads.columns(&self.weight_name(0), 0, width);
        product(to, dh.t(), states, false)?;
        let dseen = gpu.dirty(rows * width)?;
        let weight = self.states_columns();
        product(Matrix::new(dseen.view(), rows, width), dh, weight, false)?;
        Ok([dseen, dx])
    }

    /// Adds the gradient of gathered states to that of the states they were gathered from: those
    /// before layer `layer`.
    pub(super) fn add_gathered_grad(
        &self,
        batch: &BatchInput<'_, S>,
        layer: usize,
        dseen: &Vector<S::Acc>,
        dstates: View<'_, S>,
    ) -> Result<()> {
        let blocks = self.head_blocks();
        let Some(HeadBlock { block, .. }) = blocks.iter().find(|b| b.layer == layer) else {
            return Ok(());
        };
        let row = Gathered::new(&batch.reach.host.rows[layer], batch.candidates).row;
        give_grouped(&row, dstates, dseen, *block)
    }
}

/// Adds gathered gradients to those of the rows that they were gathered from.
fn give_grouped<S: State>(
    rows: &[u32],
    to: View<'_, S>,
    from: &Vector<S::Acc>,
    block: Block,
) -> Result<()> {
    let groups = RowGroups::new(rows);
    let gpu = from.gpu();
    let (row, offsets) = (gpu.vector(&groups.row)?, gpu.vector(&groups.offsets)?);
    let positions = gpu.vector(&groups.positions)?;
    let groups = Groups {
        row: row.view(),
        offsets: offsets.view(),
        positions: positions.view(),
    };
    give_states(to, from.view(), groups, block)
}

/// Positions of gathered states, grouped by the row they were gathered from.
struct RowGroups {
    row: Vec<u32>,
    offsets: Vec<u32>,
    positions: Vec<u32>,
}

impl RowGroups {
    /// Groups positions by `rows[position]`, in order within a group; those with [`NONE`] are left
    /// out.
    fn new(rows: &[u32]) -> Self {
        let mut positions: Vec<u32> = (0..rows.len() as u32)
            .filter(|j| rows[*j as usize] != NONE)
            .collect();
        // A stable sort keeps the order within a row.
        positions.sort_by_key(|j| rows[*j as usize]);
        let mut groups = RowGroups {
            row: Vec::new(),
            offsets: Vec::new(),
            positions,
        };
        for (k, j) in groups.positions.iter().enumerate() {
            let row = rows[*j as usize];
            if groups.row.last() != Some(&row) {
                groups.row.push(row);
                groups.offsets.push(k as u32);
            }
        }
        groups.offsets.push(groups.positions.len() as u32);
        groups
    }
}
