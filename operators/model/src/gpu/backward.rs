//! A whole pass backward.

use gfm_pipe_kernels::gpu::rows::weigh_rows_backward;
use gfm_pipe_kernels::gpu::{State, View};

use super::error::Result;
use super::forward::Tape;
use super::head::{HeadGrad, HeadInput};
use super::layer::{LayerInput, SharedGrads};
use super::linear::parameters_grad;
use super::model::{DeviceQuerySource, Model};
use super::weights::Gradients;

impl<S: State> Model<'_, S> {
    /// Replaces the gradients of all parameters, from that of the scores.
    pub(super) fn backward(
        &self,
        mut tape: Tape<'_, S>,
        dscores: View<'_, S::Acc>,
        grads: &Gradients<S>,
    ) -> Result<()> {
        let (gpu, d) = (self.gpu(), self.dim());
        let head_input = HeadInput {
            batch: &tape.input,
            queries: &tape.queries.vectors,
            states: &tape.layers.states,
            background: None,
            nodes: tape.nodes.as_deref(),
        };
        let head = self.head_backward(&head_input, tape.head, dscores, grads)?;
        let (dquery, dtexts) = (head.queries, head.texts);
        let (mut dy, dseen) = match head.states {
            HeadGrad::LastStates(dy) => (Some(dy), None),
            HeadGrad::Gathered(dseen) => (None, Some(dseen)),
        };
        let dboundary = gpu.zeros::<S::Acc>(tape.boundary.rows.len())?;
        let drelations = gpu.zeros::<S::Acc>(tape.relations.len())?;
        let shared = SharedGrads {
            parameters: grads,
            relations: drelations.view(),
            boundary: dboundary.view(),
        };
        let (input, layers) = (&tape.input, &mut tape.layers);
        for i in (0..self.config.layers()).rev() {
            // Only the layer that follows has used the states after this one.
            layers.states.truncate(i + 1);
            let upper = match dy.take() {
                Some(dy) => dy,
                None => gpu.zeros(input.reach.rows[i + 1].len() * self.config.hidden_dims[i])?,
            };
            if let Some(dseen) = &dseen {
                self.add_gathered_grad(input, i + 1, dseen, upper.view())?;
            }
            let layer = LayerInput {
                index: i,
                reach: &input.reach,
                removed: input.removed,
                states: layers.states[i].view(),
                background: None,
                projection: &layers.projections[i],
                boundary: &tape.boundary,
            };
            let kept = match layers.tapes.pop().flatten() {
                Some(kept) => kept,
                None => self.layer(&layer)?.1,
            };
            let relations = &tape.relations;
            dy = Some(self.layer_backward(&layer, kept, upper.view(), relations, shared)?);
        }
        // The states before the first layer are the boundary.
        let starts = self.starts(&tape.boundary, &input.reach.host.rows[0])?;
        if let Some(dx) = dy {
            let of = (&starts, &*input.reach.rows[0]);
            self.add_boundary_grad(dboundary.view(), dx.view(), of)?;
        }
        let dearly = match (&tape.nodes, &tape.boundary.hidden) {
            (Some(nodes), Some(hidden)) => Some(self.fused_boundary_backward(
                nodes,
                &tape.boundary,
                hidden,
                dboundary.view(),
                (&tape.queries.vectors, &dquery),
                grads,
            )?),
            _ => {
                let query = tape.boundary.seeded.query.view();
                let weight = Some(tape.boundary.seeded.weight.view());
                weigh_rows_backward(dquery.view(), weight, query, dboundary.view(), d)?;
                None
            }
        };
        self.texts_backward(dearly, dtexts, grads)?;
        match &tape.queries.source {
            DeviceQuerySource::Relations(ids) => {
                weigh_rows_backward(drelations.view(), None, ids.view(), dquery.view(), d)?;
            }
            DeviceQuerySource::Texts(texts) => {
                let rows = dquery.len() / d.max(1);
                parameters_grad(grads, "question_mlp", texts.view(), dquery.view(), rows)?;
            }
        }
        let embeddings = self.graph.embeddings.view();
        let rows = self.graph.relations;
        parameters_grad(grads, "rel_mlp", embeddings, drelations.view(), rows)
    }
}
