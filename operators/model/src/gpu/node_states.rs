//! What the texts of nodes add to the network on a device; see `model/node_states.rs` for the
//! formulas.

use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::{
    add, bias_rows, relu_backward, sum_rows, weigh_rows, weigh_rows_backward,
};
use gfm_pipe_kernels::gpu::{State, Vector, View};

use super::error::Result;
use super::linear::{Then, input_grad, linear, parameters_grad};
use super::model::{Boundary, Model};
use super::weights::Gradients;
use crate::model::{EARLY, NODES};

/// What is the same for all queries of a model on a graph.
pub(super) struct NodeStates<A: State> {
    /// The states of nodes' texts, `[N, d]`.
    pub states: Vector<A>,
    /// For early fusion: their share in its first map, without the bias, `[N, d]`.
    early: Option<Vector<A>>,
    /// For late fusion: their share in the head's first map, `[N, f]`.
    pub head: Option<Vector<A>>,
}

/// The boundary of a batch before the query vectors reach it.
pub(super) struct Seeded<A: State> {
    pub weight: Vector<A>,
    /// The query of each seed.
    pub query: Vector<u32>,
    /// Node and query of each seed, on the host.
    pub places: Vec<(u32, u32)>,
}

/// Names of the weight and the bias of a map of early fusion.
fn early(map: usize) -> [String; 2] {
    ["weight", "bias"].map(|part| format!("{EARLY}.{map}.{part}"))
}

impl<S: State> Model<'_, S> {
    /// `None` if the model does not read the texts of nodes.
    pub(super) fn node_states(&self) -> Result<Option<NodeStates<S::Acc>>> {
        let Some(texts) = self.graph.node_texts.as_ref() else {
            return Ok(None);
        };
        let (gpu, n, d) = (self.gpu(), self.graph.nodes, self.dim());
        let states = linear(self.weights, NODES, texts.view(), n, Then::Nothing)?;
        let share = |weight: Matrix<'_, S::Acc>, width: usize| -> Result<Vector<S::Acc>> {
            let out = gpu.dirty(n * width)?;
            let x = Matrix::new(states.view(), n, d);
            product(Matrix::new(out.view(), n, width), x, weight.t(), false)?;
            Ok(out)
        };
        let of_early = if self.config.reads_nodes_early() {
            Some(share(self.weights.columns(&early(0)[0], d, d), d)?)
        } else {
            None
        };
        let of_head = if self.config.reads_nodes_late() {
            Some(share(self.text_columns(), self.head_bias(0).len())?)
        } else {
            None
        };
        Ok(Some(NodeStates {
            early: of_early,
            head: of_head,
            states,
        }))
    }

    /// The boundary with early fusion: the states of all nodes where no query starts, and then of
    /// the seeds. `None` without early fusion.
    pub(super) fn fused_boundary(
        &self,
        nodes: &NodeStates<S::Acc>,
        queries: &Vector<S::Acc>,
        seeded: &Seeded<S::Acc>,
    ) -> Result<Option<[Vector<S::Acc>; 2]>> {
        let Some(share) = &nodes.early else {
            return Ok(None);
        };
        let (gpu, d) = (self.gpu(), self.dim());
        let (n, k) = (self.graph.nodes, seeded.places.len());
        let all = (0..n as u32).chain(seeded.places.iter().map(|(v, _)| *v));
        let all = gpu.vector(&all.collect::<Vec<u32>>())?;
        let hidden = gpu.dirty((n + k) * d)?;
        weigh_rows(share.view(), None, all.view(), hidden.view(), d)?;
        let [weight, bias] = early(0);
        if k > 0 {
            let b = queries.len() / d.max(1);
            let of_queries = gpu.dirty(b * d)?;
            let columns = self.weights.columns(&weight, 0, d);
            let x = Matrix::new(queries.view(), b, d);
            product(Matrix::new(of_queries.view(), b, d), x, columns.t(), false)?;
            let of_seeds = gpu.dirty(k * d)?;
            let (by, to) = (Some(seeded.weight.view()), of_seeds.view());
            weigh_rows(of_queries.view(), by, seeded.query.view(), to, d)?;
            add(hidden.part(n * d, k * d), of_seeds.view())?;
        }
        bias_rows(hidden.view(), self.weights.part(&bias), n + k, true, d)?;
        let second = format!("{EARLY}.2");
        let rows = linear(self.weights, &second, hidden.view(), n + k, Then::Nothing)?;
        Ok(Some([rows, hidden]))
    }

    /// Backward of [`Model::fused_boundary`], from the gradient of the boundary. Adds the gradient
    /// of the query vectors to `dquery`, and returns that of the text states.
    pub(super) fn fused_boundary_backward(
        &self,
        nodes: &NodeStates<S::Acc>,
        boundary: &Boundary<S::Acc>,
        hidden: &Vector<S::Acc>,
        dboundary: View<'_, S::Acc>,
        (queries, dquery): (&Vector<S::Acc>, &Vector<S::Acc>),
        grads: &Gradients<S>,
    ) -> Result<Vector<S::Acc>> {
        let (gpu, d) = (self.gpu(), self.dim());
        let seeded = &boundary.seeded;
        let (n, k) = (self.graph.nodes, seeded.places.len());
        let b = queries.len() / d.max(1);
        let second = format!("{EARLY}.2");
        parameters_grad(grads, &second, hidden.view(), dboundary, n + k)?;
        let dhidden = input_grad(self.weights, &second, dboundary, n + k)?;
        relu_backward(dhidden.view(), hidden.view())?;
        let [weight, bias] = early(0);
        sum_rows(dhidden.view(), grads.part(&bias), d)?;
        let dshare = gpu.dirty(n * d)?;
        dshare.view().copy(dhidden.part(0, n * d))?;
        let dqueries = gpu.zeros(b * d)?;
        if k > 0 {
            let of_seeds = dhidden.part(n * d, k * d);
            let at: Vec<u32> = seeded.places.iter().map(|(v, _)| *v).collect();
            let at = gpu.vector(&at)?;
            weigh_rows_backward(dshare.view(), None, at.view(), of_seeds, d)?;
            let (by, query) = (Some(seeded.weight.view()), seeded.query.view());
            weigh_rows_backward(dqueries.view(), by, query, of_seeds, d)?;
        }
        let dshare = Matrix::new(dshare.view(), n, d);
        let states = Matrix::new(nodes.states.view(), n, d);
        product(grads.columns(&weight, d, d), dshare.t(), states, false)?;
        let dstates = gpu.dirty(n * d)?;
        let of_texts = self.weights.columns(&weight, d, d);
        product(Matrix::new(dstates.view(), n, d), dshare, of_texts, false)?;
        let dqueries = Matrix::new(dqueries.view(), b, d);
        let queries = Matrix::new(queries.view(), b, d);
        product(grads.columns(&weight, 0, d), dqueries.t(), queries, false)?;
        let of_queries = self.weights.columns(&weight, 0, d);
        product(Matrix::new(dquery.view(), b, d), dqueries, of_queries, true)?;
        Ok(dstates)
    }

    /// Backward of the share of texts in the head's first map, `[N, f]`: the gradient of the text
    /// states.
    pub(super) fn head_texts_backward(
        &self,
        nodes: &NodeStates<S::Acc>,
        dshare: &Vector<S::Acc>,
        to: Matrix<'_, S::Acc>,
    ) -> Result<Vector<S::Acc>> {
        let (n, d) = (self.graph.nodes, self.dim());
        let f = dshare.len() / n.max(1);
        let dshare = Matrix::new(dshare.view(), n, f);
        let states = Matrix::new(nodes.states.view(), n, d);
        product(to, dshare.t(), states, false)?;
        let dstates = self.gpu().dirty(n * d)?;
        let weight = self.text_columns();
        product(Matrix::new(dstates.view(), n, d), dshare, weight, false)?;
        Ok(dstates)
    }

    /// Replaces the gradients of the map of texts, from those of the text states: of early fusion
    /// and of the head.
    pub(super) fn texts_backward(
        &self,
        early: Option<Vector<S::Acc>>,
        head: Option<Vector<S::Acc>>,
        grads: &Gradients<S>,
    ) -> Result<()> {
        let (Some(texts), n) = (self.graph.node_texts.as_ref(), self.graph.nodes) else {
            return Ok(());
        };
        let dstates = match (early, head) {
            (Some(early), Some(head)) => {
                add(early.view(), head.view())?;
                early
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Ok(()),
        };
        parameters_grad(grads, NODES, texts.view(), dstates.view(), n)
    }
}
