//! The network over one rank's rows, forward and backward: between its layers states and gradients are exchanged.

use std::any::Any;

use candle_core::{DType, Tensor};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::message::Message;

use super::exchange::{Exchange, Number};
use super::reach;
use super::rows::{Asked, PartRows};
use crate::buffers::Buffer;
use crate::model::network::{Grads, Network, Projection};
use crate::model::params::head_name;
use crate::model::rowhead::HeadLeft;
use crate::model::rowwise::{Kept, LayerRows, check_nodes, gather, scatter, start_backward};
use crate::ops::{self, AggregateFunc, Boundary, Seeds};
use crate::tensor::{Elem, tensor, view};
use crate::tensor_error;

/// The network with its parameters on one rank's part.
pub(super) struct PartNetwork<'a> {
    /// On the part's graph, or it without some edges.
    pub network: Network<'a>,
    pub exchange: Exchange<'a>,
}

/// A forward pass's memory.
pub(super) struct PartTape {
    typed: Box<dyn Any + Send + Sync>,
    /// States this rank computed, of all there are of its nodes: layers x queries x nodes.
    pub share: f64,
}

struct Typed<T: Elem> {
    rows: PartRows,
    relations: Tensor,
    query: Tensor,
    /// Those that are here.
    seeds: Seeds,
    boundary: Boundary,
    projections: Vec<Projection>,
    /// States each layer saw, and of own nodes after the last; the backward pass takes them one by one.
    states: Vec<Buffer<T>>,
    /// What each layer left, taken likewise; none where layers are computed again.
    layers: Vec<Kept<T>>,
    asked: Asked,
    /// None where this rank scores nothing.
    head: Option<HeadLeft<T>>,
}

/// Runs `$body` with `$T` being the element type, or says that there is none.
macro_rules! by_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err(OpError::new(format!(
                "the model computes in f32 or f64, not in {other:?}"
            ))),
        }
    };
}

impl PartNetwork<'_> {
    /// Scores of candidates `[B, M]`, or of all nodes `[B, N]`, on every rank, and what the backward pass needs. Seeds and candidates are in ids
    /// of the whole graph.
    ///
    /// # Errors
    /// When something does not fit, the aggregate is none that adds, or ranks cannot talk.
    pub fn scores(
        &self,
        start: (&Tensor, &Tensor),
        seeds: &Seeds,
        candidates: Option<&[Vec<u32>]>,
    ) -> OpResult<(Tensor, PartTape)> {
        self.check(seeds, candidates)?;
        let message = self.network.params.config.message_func;
        by_number!(start.1.dtype(), T => ops::by_message!(message, M => {
            let (scores, typed) = self.forward::<M, T>(start, seeds, candidates, true)?;
            let share = typed.rows.share(self.exchange.part);
            Ok((scores, PartTape { typed: Box::new(typed), share }))
        }))
    }

    /// Scores of all nodes `[B, N]` on every rank; nothing is kept.
    ///
    /// # Errors
    /// See [`PartNetwork::scores`].
    pub fn score_all(&self, start: (&Tensor, &Tensor), seeds: &Seeds) -> OpResult<Tensor> {
        self.check(seeds, None)?;
        let message = self.network.params.config.message_func;
        by_number!(start.1.dtype(), T => ops::by_message!(message, M => {
            Ok(self.forward::<M, T>(start, seeds, None, false)?.0)
        }))
    }

    /// This rank's share of the gradients of the entity model's parameters, and of relation states `[2R, d]` and queries `[B, d]`, from the
    /// gradient of all scores. The memory is used up.
    ///
    /// # Errors
    /// See [`PartNetwork::scores`]; and when the memory was used before.
    pub fn gradients(
        &self,
        tape: &mut PartTape,
        dscores: &Tensor,
        grads: &mut Grads,
    ) -> OpResult<(Tensor, Tensor)> {
        let message = self.network.params.config.message_func;
        by_number!(dscores.dtype(), T => ops::by_message!(message, M => {
            match tape.typed.downcast_mut::<Typed<T>>() {
                Some(typed) => self.backward::<M, T>(typed, dscores, grads),
                None => Err(OpError::new("the gradient is of another type than the scores")),
            }
        }))
    }

    fn check(&self, seeds: &Seeds, candidates: Option<&[Vec<u32>]>) -> OpResult<()> {
        let (part, config) = (self.exchange.part, &self.network.params.config);
        if !config.aggregate_func.adds() {
            return Err(OpError::new(format!(
                "a model whose aggregate_func is {:?} is not trained or used on a partitioned graph",
                config.aggregate_func
            ))
            .hint("use aggregate_func sum or mean, or run it where the whole graph fits"));
        }
        if config.message_func.path() != part.path() {
            return Err(OpError::new(format!(
                "the graph was cut for messages that run the other way than those of {:?}",
                config.message_func
            )));
        }
        if self.network.graph.nodes() != part.graph().nodes() {
            return Err(OpError::new("the graph is not that of this rank's part"));
        }
        check_nodes(part.nodes(), seeds, candidates).map_err(tensor_error)
    }

    /// Numbers of messages of own nodes, for the mean. All that such a node receives is here, whatever was taken out.
    fn counts<T: Elem>(&self) -> Option<Vec<T>> {
        let config = &self.network.params.config;
        let (into, _) = config.message_func.path().flow(self.network.graph);
        let count = |w: &[u32]| T::of(f64::from(w[1] - w[0] + 1));
        let mean = config.aggregate_func == AggregateFunc::Mean;
        mean.then(|| into.offsets.windows(2).map(count).collect())
    }

    fn rows(&self, seeds: &Seeds, candidates: Option<&[Vec<u32>]>) -> OpResult<PartRows> {
        let (network, part) = (&self.network, self.exchange.part);
        let here = |c: &Vec<u32>| c.iter().filter_map(|v| part.local(*v)).collect();
        let candidates = candidates.map(|all| all.iter().map(here).collect());
        let model = (&network.params.config, network.graph);
        reach::chosen(&self.exchange, model, network.compute, (seeds, candidates))
    }

    fn forward<M: Message, T: Number>(
        &self,
        (relations, query): (&Tensor, &Tensor),
        seeds: &Seeds,
        candidates: Option<&[Vec<u32>]>,
        keep: bool,
    ) -> OpResult<(Tensor, Typed<T>)> {
        let (network, part) = (&self.network, self.exchange.part);
        let config = &network.params.config;
        let (layers, queries) = (config.layers(), seeds.len());
        let seeds = part.seeds(seeds);
        let by_rows = candidates.is_none() && network.head_by_rows();
        let asked = Asked::new(part, queries, candidates, by_rows);
        let rows = self.rows(&seeds, candidates)?;
        let start = network.start_rows::<T>(&rows.states, query, &seeds);
        let (boundary, first) = start.map_err(tensor_error)?;
        let counts = self.counts::<T>();
        let mut states = vec![first];
        let (mut projections, mut kept, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..layers {
            let run = || {
                let projection = network.project(i, relations)?;
                let (from, to) = (&rows.states[i], &rows.to[i]);
                let out = config.hidden_dims[i];
                let mut left = Kept::dirty(to.len(), config.input_dim, out);
                let x = &states[states.len() - 1];
                let y = network.run_layer::<M, T>(
                    i,
                    (&projection, &boundary),
                    (from, to),
                    (x, None, counts.as_deref()),
                    &mut left,
                )?;
                let seen = match &asked.nodes {
                    Some(nodes) if network.gathers(i) => {
                        Some(gather(&y, None, to, Some(nodes), out)?)
                    }
                    _ => None,
                };
                Ok((projection, left, y, seen))
            };
            let (projection, left, y, sight) = run().map_err(tensor_error)?;
            seen.extend(sight);
            if !keep {
                states.clear();
            } else if !network.recompute {
                kept.push(left);
            }
            projections.push(projection);
            states.push(match i + 1 < layers {
                true => {
                    let next = &rows.states[i + 1];
                    let width = config.hidden_dims[i];
                    self.exchange.states(i + 1, next, &y, width)?
                }
                false => y,
            });
        }
        let (own, head) = match asked.width {
            0 => (Vec::new(), None),
            _ => {
                let last = (&*states[states.len() - 1], &rows.states[layers]);
                let run = || {
                    let seen = (!by_rows).then_some(seen);
                    let (scores, left) = network.head_forward(last, seen, query)?;
                    Ok((scores.flatten_all()?.to_vec1::<T>()?, Some(left)))
                };
                run().map_err(tensor_error)?
            }
        };
        let scores = self.of_all(&asked, queries, &own)?;
        let typed = Typed {
            rows,
            relations: relations.clone(),
            query: query.clone(),
            seeds,
            boundary,
            projections,
            states,
            layers: kept,
            asked,
            head,
        };
        Ok((scores, typed))
    }

    /// All scores, from those of this rank and the others.
    fn of_all<T: Number>(&self, asked: &Asked, queries: usize, own: &[T]) -> OpResult<Tensor> {
        let scores = match asked.places {
            None => self.exchange.all_scores(queries, own)?,
            Some(_) => {
                let mut scores = vec![T::zero(); queries * asked.columns];
                let part = self.exchange.part;
                asked.for_places(part, queries, |mine, all| scores[all] = own[mine]);
                self.exchange.sum_scores(&mut scores)?;
                scores
            }
        };
        tensor(scores, (queries, asked.columns)).map_err(tensor_error)
    }

    /// Gradients of what the head saw here and of queries; those of its parameters, and of the last states where it went row by row.
    fn head_backward<T: Number>(
        &self,
        tape: &mut Typed<T>,
        dscores: &Tensor,
        dy: &mut [T],
        grads: &mut Grads,
    ) -> candle_core::Result<(Option<Tensor>, Tensor)> {
        // Also where nothing is scored: all ranks must fail together.
        let queries = tape.query.dims2()?.0;
        let all = view::<T>(dscores)?;
        let all = all.slice()?;
        if all.len() != queries * tape.asked.columns {
            candle_core::bail!(
                "gradient of the scores: {} numbers for {queries} queries of {}",
                all.len(),
                tape.asked.columns
            );
        }
        let Some(head) = &mut tape.head else {
            for i in 0..self.network.params.config.num_mlp_layer {
                for name in ["weight", "bias"].map(|kind| format!("{}.{kind}", head_name(i))) {
                    let zeros = self.network.params.get(&name)?.zeros_like()?;
                    grads.insert(name, zeros);
                }
            }
            return Ok((None, tape.query.zeros_like()?));
        };
        let mut own = vec![T::zero(); queries * tape.asked.width];
        let (asked, part) = (&tape.asked, self.exchange.part);
        asked.for_places(part, queries, |mine, at| own[mine] = all[at]);
        let own = tensor(own, (queries, asked.width))?;
        let (last, layers) = (tape.states.len() - 1, tape.rows.to.len());
        let states = (&*tape.states[last], &tape.rows.states[layers], &tape.query);
        self.network.head_backward(head, states, &own, dy, grads)
    }

    fn backward<M: Message, T: Number>(
        &self,
        tape: &mut Typed<T>,
        dscores: &Tensor,
        grads: &mut Grads,
    ) -> OpResult<(Tensor, Tensor)> {
        let (network, config) = (&self.network, &self.network.params.config);
        let (layers, dim) = (config.layers(), config.input_dim);
        if tape.states.len() != layers + 1 {
            return Err(OpError::new("a pass goes back once"));
        }
        let counts = self.counts::<T>();
        let last = config.hidden_dims.last().copied().unwrap_or(dim);
        let mut dy = Buffer::zeros(tape.rows.states[layers].len() * last);
        let head = self.head_backward(tape, dscores, &mut dy, grads);
        let (seen, dquery) = head.map_err(tensor_error)?;
        // The head's columns belong to the layers it saw, the last one's last.
        let mut columns = seen
            .as_ref()
            .map_or(0, |x| x.dims().last().copied().unwrap_or(0));
        let mut drows = vec![T::zero(); tape.boundary.rows.elem_count()];
        let mut drelations = tape.relations.zeros_like().map_err(tensor_error)?;
        for i in (0..layers).rev() {
            tape.states.truncate(i + 1);
            let kept = tape.layers.pop();
            let (rows, to, out) = (
                &tape.rows.states[i],
                &tape.rows.to[i],
                config.hidden_dims[i],
            );
            // Gradients of copies went home.
            let dy_own = &mut dy[..to.len() * out];
            let run = || {
                if let (Some(seen), Some(nodes), true) =
                    (&seen, &tape.asked.nodes, network.gathers(i))
                {
                    columns -= out;
                    let part = seen.narrow(2, columns, out)?.contiguous()?;
                    scatter(dy_own, &part, to, Some(nodes), out)?;
                }
                let layer = LayerRows {
                    rows: (rows, to),
                    x: &tape.states[i],
                    counts: counts.as_deref(),
                    boundary: &tape.boundary,
                    relations: (&tape.relations, &tape.projections[i]),
                };
                let (dx, d) =
                    network.layer_backward::<M, T>(i, &layer, kept, dy_own, &mut drows, grads)?;
                Ok((dx, (&drelations + d)?))
            };
            let (mut dx, sum) = run().map_err(tensor_error)?;
            drelations = sum;
            if i > 0 {
                self.exchange.gradients(i, rows, &mut dx, dim)?;
            }
            dy = dx;
        }
        // Of a seed's copies too: they began with the query here, not with what its rank sent.
        let run = || {
            let first = &tape.rows.states[0];
            dquery + start_backward(&tape.boundary, first, &dy, drows, &tape.seeds)?
        };
        Ok((drelations, run().map_err(tensor_error)?))
    }
}
