//! The passes that the two models run: scores, gradients and the background. They choose the rows
//! and the element type.

use candle_core::{DType, Result, Tensor, bail};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::message::Message;

use super::background::Background;
use super::backward::NetworkGrads;
use super::forward::{Keep, Pass, Queries, Run, Seen, TypedTape};
use super::network::{Network, check_nodes, project};
use super::node_states::NodeStates;
use super::reach::{QueryNodes, Reach};
use super::start::Shared;
use crate::ops::{Boundary, First};
use crate::tensor::{Elem, tensor, view};
use crate::tensor_error;

/// A tape in one of the element types that the model computes in.
pub(super) enum TapeOf {
    F32(TypedTape<f32>),
    F64(TypedTape<f64>),
}

/// Element types that [`TapeOf`] has a variant for.
pub(super) trait Taped: Elem {
    fn wrap(tape: TypedTape<Self>) -> TapeOf;
    fn open(tape: &mut TapeOf) -> Option<&mut TypedTape<Self>>;
}

macro_rules! taped {
    ($T:ty, $variant:ident, not $other:ident) => {
        impl Taped for $T {
            fn wrap(tape: TypedTape<Self>) -> TapeOf {
                TapeOf::$variant(tape)
            }

            fn open(tape: &mut TapeOf) -> Option<&mut TypedTape<Self>> {
                match tape {
                    TapeOf::$variant(tape) => Some(tape),
                    TapeOf::$other(_) => None,
                }
            }
        }
    };
}

taped!(f32, F32, not F64);
taped!(f64, F64, not F32);

/// What the backward pass needs from a forward pass.
pub struct Tape {
    typed: TapeOf,
    share: f64,
}

impl Tape {
    /// Computed states as a share of layers x queries x nodes. States of the background count once
    /// per batch.
    pub fn share(&self) -> f64 {
        self.share
    }

    pub(super) fn new<T: Taped>(tape: TypedTape<T>, share: f64) -> Self {
        Tape {
            typed: T::wrap(tape),
            share,
        }
    }

    /// # Errors
    /// When the tape has another element type.
    pub(super) fn typed<T: Taped>(&mut self) -> OpResult<&mut TypedTape<T>> {
        let wrong = || OpError::internal("the gradient has another element type than the scores");
        T::open(&mut self.typed).ok_or_else(wrong)
    }
}

/// The error for an element type that the model does not compute in.
pub(super) fn wrong_type(dtype: DType) -> OpError {
    OpError::internal(format!(
        "the model computes in f32 or f64, not in {dtype:?}"
    ))
}

/// Runs `$body` with `$T` as the element type and `$M` as the message function.
macro_rules! by_types {
    ($dtype:expr, $message:expr, $M:ident, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $crate::ops::by_message!($message, $M => $body)
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $crate::ops::by_message!($message, $M => $body)
            }
            other => Err($crate::model::passes::wrong_type(other)),
        }
    };
}

pub(super) use by_types;

impl Network<'_> {
    /// The rows to compute.
    pub(super) fn reach(
        &self,
        queries: &Queries<'_>,
        seen: &Seen,
        background_known: bool,
    ) -> OpResult<Reach> {
        let nodes = QueryNodes {
            seeds: queries.seeds,
            candidates: seen.candidates(),
        };
        check_nodes(self.graph.nodes(), nodes.seeds, nodes.candidates).map_err(tensor_error)?;
        let config = &self.params.config;
        Ok(Reach::chosen(
            config,
            self.graph,
            self.compute,
            nodes,
            background_known,
        ))
    }

    /// Which states the head sees for scores of these candidates; `None` for all nodes.
    pub(super) fn seen(&self, candidates: Option<Vec<Vec<u32>>>) -> Seen {
        match candidates {
            Some(candidates) => Seen::Nodes(candidates),
            None if self.params.config.head_by_rows() => Seen::ByRows,
            None => Seen::All,
        }
    }

    /// Scores `[B, M]` of candidates (the same number for every query) or `[B, N]` of all nodes,
    /// and a tape for the backward pass.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn scores(
        &self,
        queries: &Queries<'_>,
        candidates: Option<Vec<Vec<u32>>>,
    ) -> OpResult<(Tensor, Tape)> {
        let seen = self.seen(candidates);
        let reach = self.reach(queries, &seen, false)?;
        let share = reach.share();
        let message = self.params.config.message_func;
        by_types!(queries.vectors.dtype(), message, M, T => {
            let pass = Pass::<T> {
                rows: reach.into(),
                seen,
                tape: true,
                background: None,
                exchange: None,
            };
            let (scores, tape) = self.forward::<M, T>(queries, pass)?;
            Ok((scores, Tape::new(tape, share)))
        })
    }

    /// Gradients, from the gradient of the scores. Consumes the memory of the tape.
    ///
    /// # Errors
    /// When shapes do not fit, or when the tape was used before.
    pub(super) fn gradients(&self, tape: &mut Tape, dscores: &Tensor) -> OpResult<NetworkGrads> {
        let message = self.params.config.message_func;
        by_types!(dscores.dtype(), message, M, T => {
            self.backward::<M, T>(tape.typed::<T>()?, dscores, None)
        })
    }

    /// Scores of all nodes `[B, N]`, without a tape.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn score_all(
        &self,
        queries: &Queries<'_>,
        background: Option<&Background>,
    ) -> OpResult<Tensor> {
        let seen = self.seen(None);
        let reach = self.reach(queries, &seen, background.is_some())?;
        let message = self.params.config.message_func;
        by_types!(queries.vectors.dtype(), message, M, T => {
            let pass = Pass::<T> {
                rows: reach.into(),
                seen,
                tape: false,
                background,
                exchange: None,
            };
            Ok(self.forward::<M, T>(queries, pass)?.0)
        })
    }

    /// The background of this model on this graph. `None` for aggregates without a background.
    /// `known`: its states after each layer, if they were computed before. Calls `progress(done,
    /// total)` as layers finish.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn background(
        &self,
        shared: &Shared,
        known: Option<Vec<Tensor>>,
        progress: &dyn Fn(usize, usize),
    ) -> OpResult<Option<Background>> {
        let config = &self.params.config;
        if !config.aggregate_func.adds() {
            return Ok(None);
        }
        let dtype = shared.relations.dtype();
        by_types!(dtype, config.message_func, M, T => {
            let states = match known {
                Some(known) => self.known_states(known, dtype).map_err(tensor_error)?,
                None => self.background_states::<M, T>(shared, progress)?,
            };
            let background = self.background_of::<T>(shared, states);
            Ok(Some(background.map_err(tensor_error)?))
        })
    }

    fn known_states(&self, known: Vec<Tensor>, dtype: DType) -> Result<Vec<Tensor>> {
        let dims = self.params.config.hidden_dims.iter();
        let shapes = dims.map(|out| vec![self.graph.nodes(), *out]);
        if !known.iter().map(|s| s.dims().to_vec()).eq(shapes) {
            bail!("the stored background does not fit the model and the graph");
        }
        known.into_iter().map(|s| s.to_dtype(dtype)).collect()
    }

    fn background_of<T: Elem>(&self, shared: &Shared, states: Vec<Tensor>) -> Result<Background> {
        let config = &self.params.config;
        let (nodes, dim) = (self.graph.nodes(), config.input_dim);
        let layers = self.params.tensors.layers.iter();
        let projections = layers.map(|layer| project(&shared.relations, &layer.projection));
        let texts = shared.nodes.as_deref();
        let first = match texts.and_then(NodeStates::far) {
            Some(far) => Some(far.clone()),
            None if config.starts_silent() => None,
            None => Some(tensor(vec![T::zero(); nodes * dim], (nodes, dim))?),
        };
        let head = match states.last() {
            Some(last) if config.head_by_rows() => {
                let map = &self.head_maps()?[0];
                let no_query = tensor(Vec::<T>::new(), (0, dim))?;
                let f = map.weight.dims2()?.0;
                let mut share = match texts.and_then(NodeStates::of_head) {
                    Some(share) => share.flatten_all()?.to_vec1()?,
                    None => vec![T::zero(); nodes * f],
                };
                let first = First::<T>::open(map, &no_query)?;
                first.of_states(&mut share, view::<T>(last)?.slice()?, true)?;
                Some(tensor(share, (nodes, f))?)
            }
            Some(_) | None => None,
        };
        Ok(Background {
            projections: projections.collect::<Result<_>>()?,
            first,
            states,
            head,
        })
    }

    /// Runs the layers over one row per node, without a boundary.
    fn background_states<M: Message, T: Elem>(
        &self,
        shared: &Shared,
        progress: &dyn Fn(usize, usize),
    ) -> OpResult<Vec<Tensor>> {
        let config = &self.params.config;
        let nodes = self.graph.nodes();
        let silent = config.starts_silent();
        let rows = Reach::background(nodes, config.layers(), silent).into();
        let far = shared.nodes.as_deref().and_then(NodeStates::far);
        let boundary = Boundary {
            of_nodes: far.cloned(),
            ..Boundary::none::<T>(config.input_dim).map_err(tensor_error)?
        };
        let layers = self.layers::<M, T>(&Run {
            rows: &rows,
            boundary: &boundary,
            relations: &shared.relations,
            background: None,
            seen: &Seen::ByRows,
            keep: Keep::States,
            exchange: None,
            progress,
        })?;
        let states = layers.states.into_iter().skip(1).zip(&config.hidden_dims);
        let tensors = states.map(|(states, width)| tensor(states.to_vec(), (nodes, *width)));
        tensors.collect::<Result<_>>().map_err(tensor_error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod inspection {
    //! Intermediate values that parity tests compare. All rows of all queries must have been
    //! computed.

    use super::*;

    /// Rows as `[B, N, width]`. They are ordered by node, then by query.
    fn by_query<T: Elem>(rows: &[T], queries: usize, nodes: usize) -> Tensor {
        let width = rows.len() / (queries * nodes);
        let by_node = tensor(rows.to_vec(), (nodes, queries, width)).unwrap();
        by_node.transpose(0, 1).unwrap().contiguous().unwrap()
    }

    fn typed<T: Elem>(tape: &TypedTape<T>, i: usize, features: bool) -> Tensor {
        let rows = &tape.rows.states[i];
        let values = if features {
            &tape.saved[i].features
        } else {
            &tape.states[i]
        };
        by_query(values, rows.queries(), rows.nodes())
    }

    impl Tape {
        /// States before layer `i`, `[B, N, d]`; with `i` the number of layers, those after the
        /// last.
        pub(crate) fn states(&self, i: usize) -> Tensor {
            match &self.typed {
                TapeOf::F32(tape) => typed(tape, i, false),
                TapeOf::F64(tape) => typed(tape, i, false),
            }
        }

        /// The aggregated messages of layer `i`, `[B, N, d]`.
        pub(crate) fn features(&self, i: usize) -> Tensor {
            match &self.typed {
                TapeOf::F32(tape) => typed(tape, i, true),
                TapeOf::F64(tape) => typed(tape, i, true),
            }
        }

        pub(crate) fn query(&self) -> &Tensor {
            match &self.typed {
                TapeOf::F32(tape) => &tape.query,
                TapeOf::F64(tape) => &tape.query,
            }
        }

        pub(crate) fn relations(&self) -> &Tensor {
            match &self.typed {
                TapeOf::F32(tape) => &tape.relations,
                TapeOf::F64(tape) => &tape.relations,
            }
        }
    }
}
