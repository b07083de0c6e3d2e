//! Why a document has its score: what the edges of the graph add to it, and the paths that they
//! make: the path interpretations of GFM-RAG (Luo et al., 2025) and NBFNet (Zhu et al., 2021).
//!
//! Let a weight w[l, e] = 1 multiply the message of edge e in layer l. The gain of e there is the
//! derivative of the score for this weight. A path is a walk from a start node to a target, and its
//! weight the mean of the gains of its edges. This explains the function that the model was trained
//! as, in the direction of its messages (1.0 explains the plain path, whatever was trained, and
//! adds up the gains of layers).
//!
//! The forward pass of a question runs once. The backward pass of a target visits only states that
//! the question reaches and that reach the target. This loses nothing: a state that a walk reaches
//! sends its messages to states that walks reach, and nowhere else.

use candle_core::{Result, Tensor, bail};
use gfm_pipe_api::OpResult;
use gfm_pipe_eval::paths::{self, Path as Walked, Search, Step, Walk, best_walks};
use gfm_pipe_kernels::layer::Cone;
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::background::Background;
use super::forward::{Pass, Queries, TypedTape, gather, slice_of};
use super::head::{HeadInput, SavedHead};
use super::layer::LayerInput;
use super::network::{Network, check_nodes};
use super::passes::{TapeOf, Taped, by_types};
use super::reach::{QueryNodes, Reach, Request, starts};
use crate::ops::{Path, by_message};
use crate::tensor::{Elem, tensor, to_f64, view};
use crate::tensor_error;

/// A question whose forward pass ran, ready to explain scores. Targets may be explained side by
/// side: nothing here changes.
pub struct Explained<'a> {
    network: Network<'a>,
    background: Option<&'a Background>,
    tape: TapeOf,
    scores: Vec<f64>,
}

impl<'a> Explained<'a> {
    /// Runs the forward pass of one query.
    pub(super) fn new(
        network: Network<'a>,
        query: &Queries<'_>,
        background: Option<&'a Background>,
    ) -> OpResult<Self> {
        let seen = network.seen(None);
        let reach = network.reach(query, &seen, background.is_some())?;
        let message = network.params.config.message_func;
        by_types!(query.vectors.dtype(), message, M, T => {
            let pass = Pass::<T> {
                rows: reach.into(),
                seen,
                tape: true,
                background,
                exchange: None,
            };
            let (scores, mut tape) = network.forward::<M, T>(query, pass)?;
            // The head runs again over the targets alone.
            tape.head = SavedHead::Nothing;
            Ok(Explained {
                scores: to_f64(&scores).map_err(tensor_error)?,
                tape: T::wrap(tape),
                network,
                background,
            })
        })
    }

    /// The scores of all nodes.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The gains of edges, layer by layer, for the sum of the scores of `targets`, each times its
    /// coefficient. An edge runs from the node that sends its message to the one that receives it;
    /// its label is the relation with which the graph stores it, inverses included. Edges are left
    /// out where their gain is zero because of where they are, and where no walk from a start takes
    /// them in that layer. Copies of an edge are all there.
    ///
    /// # Errors
    /// When a target is outside the graph.
    pub fn gains(&self, targets: &[(u32, f64)]) -> OpResult<Vec<Vec<paths::Edge>>> {
        let message = self.network.params.config.message_func;
        let gains = match &self.tape {
            TapeOf::F32(tape) => by_message!(message, M => self.gains_of::<M, f32>(tape, targets)),
            TapeOf::F64(tape) => by_message!(message, M => self.gains_of::<M, f64>(tape, targets)),
        };
        gains.map_err(tensor_error)
    }

    /// The best paths of a document, heaviest first, at most `top` of them. `targets` are the nodes
    /// that its score is made of (its own, or its entities), with their coefficients in it. A path
    /// begins at a start node and ends where it first enters a target. The search keeps `beam`
    /// walks for each node and layer, which should not be less than `top`.
    ///
    /// # Errors
    /// When a target is outside the graph.
    pub fn paths(&self, targets: &[(u32, f64)], beam: usize, top: usize) -> OpResult<Vec<Walked>> {
        let layers = self.gains(targets)?;
        let starts: Vec<(u32, f64)> = starts(self.seeds()).map(|v| (v, 0.0)).collect();
        let search = Search {
            starts: &starts,
            layers: &layers,
            beam,
            top,
        };
        // A node that the score does not depend on has no paths of its own.
        let counting = targets
            .iter()
            .filter(|(_, coefficient)| *coefficient != 0.0);
        let nodes: Vec<u32> = counting.map(|t| t.0).collect();
        let direct = self.network.graph.relations() as u32;
        let path = self.network.params.config.message_func.path();
        let walks = best_walks(search, &nodes, Walk::mean);
        let found = walks.into_iter().map(|(weight, walk)| Walked {
            weight,
            steps: walk.edges.iter().map(|e| step(e, path, direct)).collect(),
        });
        Ok(found.collect())
    }

    fn seeds(&self) -> &[(u32, f64)] {
        match &self.tape {
            TapeOf::F32(tape) => &tape.seeds[0],
            TapeOf::F64(tape) => &tape.seeds[0],
        }
    }

    fn gains_of<M: Message, T: Elem>(
        &self,
        tape: &TypedTape<T>,
        targets: &[(u32, f64)],
    ) -> Result<Vec<Vec<paths::Edge>>> {
        let (network, config) = (&self.network, &self.network.params.config);
        let layers = config.layers();
        let nodes = [targets.iter().map(|t| t.0).collect::<Vec<u32>>()];
        check_nodes(network.graph.nodes(), &tape.seeds, Some(&nodes))?;
        let mut out = vec![Vec::new(); layers];
        let cone = self.cone(tape, &nodes);
        if cone[layers].is_empty() {
            return Ok(out);
        }
        let dseen = self.head_grad(tape, targets, &nodes)?;
        let dseen = view::<T>(&dseen)?;
        let dseen = dseen.slice()?;
        let mut columns = config.output_dim();
        let (degrees, (into, _)) = (network.degrees(), network.graph.flow(M::PATH));
        let mut dy = vec![T::zero(); cone[layers].len() * config.hidden_dims[layers - 1]];
        for i in (0..layers).rev() {
            if network.head_sees(i) {
                let width = config.hidden_dims[i];
                columns -= width;
                for (target, row) in dseen.chunks_exact(config.output_dim()).enumerate() {
                    let at = cone[i + 1].find(nodes[0][target] as usize, 0);
                    if at != NONE {
                        let dy = &mut dy[at as usize * width..][..width];
                        let part = &row[columns..][..width];
                        dy.iter_mut().zip(part).for_each(|(o, g)| *o += *g);
                    }
                }
            }
            let relations = match self.background {
                Some(background) => &background.projections[i].relations,
                None => &tape.projections[i].relations,
            };
            let input = LayerInput {
                kind: config.layer_kind(),
                graph: network.graph,
                degrees: &degrees,
                from: tape.rows.read(i),
                to: tape.rows.written(i),
                x: &tape.states[i],
                far: None,
                relations,
                boundary: &tape.boundary,
            };
            let visited = Cone {
                from: &cone[i],
                to: &cone[i + 1],
            };
            let mut dx = vec![T::zero(); cone[i].len() * config.input_dim];
            let (params, saved) = (network.layer(i), &tape.saved[i]);
            let gains = input.edge_gains::<M>(params, saved, visited, &dy, &mut dx)?;
            let edges = gains.iter().map(|g| paths::Edge {
                from: into.other[g.edge as usize],
                to: g.to,
                label: into.relation[g.edge as usize],
                gain: g.gain.f64(),
            });
            out[i] = edges.collect();
            dy = dx;
        }
        Ok(out)
    }

    /// The states before each layer and after the last that the question reaches and that reach a
    /// target.
    fn cone<T: Elem>(&self, tape: &TypedTape<T>, targets: &[Vec<u32>]) -> Vec<Rows> {
        let config = &self.network.params.config;
        let request = Request {
            queries: QueryNodes {
                seeds: &tape.seeds,
                candidates: Some(targets),
            },
            layers: config.layers(),
            starts_silent: config.starts_silent(),
            // No walk goes through it.
            background_known: true,
        };
        Reach::needed(self.network.graph, config.message_func.path(), &request).rows
    }

    /// The gradient of the states that the head sees at the targets, `[1, targets, out]`.
    fn head_grad<T: Elem>(
        &self,
        tape: &TypedTape<T>,
        targets: &[(u32, f64)],
        nodes: &[Vec<u32>],
    ) -> Result<Tensor> {
        let (network, config) = (&self.network, &self.network.params.config);
        let mut seen = Vec::new();
        for i in (0..config.layers()).filter(|i| network.head_sees(*i)) {
            let far = self.background.map(|b| b.before::<T>(i + 1)).transpose()?;
            let far = far.flatten();
            let (rows, width) = (tape.rows.written(i), config.hidden_dims[i]);
            let states = &tape.states[i + 1];
            seen.push(gather(states, slice_of(&far)?, rows, Some(nodes), width)?);
        }
        let input = HeadInput::<T> {
            states: &[],
            rows: &tape.rows.states[config.layers()],
            far: None,
            seen: Some(&seen),
            candidates: Some(nodes),
            nodes: tape.nodes.as_deref(),
            query: &tape.query,
        };
        let (_, mut head) = network.head_forward(&input)?;
        let coefficients: Vec<T> = targets.iter().map(|(_, c)| T::of(*c)).collect();
        let dscores = tensor(coefficients, (1, targets.len()))?;
        match network
            .head_backward(&mut head, &input, &dscores, &mut [])?
            .x
        {
            Some(dseen) => Ok(dseen),
            None => bail!("there are no targets"),
        }
    }
}

/// The step that a message makes along a stored edge, as a direct fact. `direct` is the number of
/// direct relations.
fn step(edge: &paths::Edge, path: Path, direct: u32) -> Step {
    // The stored triple (h, r, t) sends from t to h, or from h to t.
    let against = path == Path::Fused;
    let inverse = against == (edge.label < direct);
    let (head, tail) = if inverse {
        (edge.to, edge.from)
    } else {
        (edge.from, edge.to)
    };
    Step {
        head,
        relation: edge.label % direct,
        tail,
        inverse,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests;
