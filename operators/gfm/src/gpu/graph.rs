//! A graph on the device, and edges taken out of it for one batch.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use gfm_pipe_kernels::gpu::messages::{DeviceMarks, DeviceRows, Edges, Marks};
use gfm_pipe_kernels::gpu::{Gpu, State, Vector};
use gfm_pipe_kernels::rspmm::ByRelation;

use super::Result;
use super::weights::upload;
use crate::graph::Graph;
use crate::model::{ModelConfig, Reach};
use crate::ops::{AggregateFunc, Path, degree_scales, message_counts};
use crate::tensor::to_f64;

/// A graph as one model's messages run on it.
pub(crate) struct DeviceGraph<S: State> {
    pub edges: Edges,
    /// Embeddings of relation names, `[2R, text]`.
    pub embeddings: Vector<S::Acc>,
    pub nodes: usize,
    /// 2R.
    pub relations: usize,
    degrees: Option<Degrees<S::Acc>>,
    path: Path,
    /// Every row of every query, for the number of queries used last.
    whole: Mutex<Option<(usize, Arc<DeviceRows>)>>,
}

/// Edges that are out of the graph.
pub(crate) struct Removed<S: State> {
    marks: DeviceMarks,
    degrees: Option<Degrees<S::Acc>>,
}

/// What a mean or PNA needs of each node.
pub(super) struct Degrees<A: State> {
    /// Numbers of messages, the boundary included.
    pub counts: Vector<A>,
    /// PNA's functions of them.
    pub scales: Option<[Vector<A>; 2]>,
}

impl<A: State> Degrees<A> {
    fn new(gpu: &Gpu, counts: &[f64], pna: bool) -> Result<Self> {
        Ok(Degrees {
            counts: upload(gpu, counts)?,
            scales: match pna {
                true => {
                    let [scale, inverse] = degree_scales(counts);
                    Some([upload(gpu, &scale)?, upload(gpu, &inverse)?])
                }
                false => None,
            },
        })
    }
}

/// The rows of every layer on a device, with those on the host.
pub(crate) struct DeviceReach {
    pub host: Reach,
    pub rows: Vec<Arc<DeviceRows>>,
}

impl<S: State> DeviceGraph<S> {
    pub fn new(
        gpu: &Gpu,
        graph: &Graph,
        embeddings: &Tensor,
        config: &ModelConfig,
    ) -> candle_core::Result<Self> {
        let embeddings = to_f64(embeddings)?;
        let path = config.message_func.path();
        let (into, out_of) = path.flow(graph);
        let by_relation = graph.by_relation();
        let by_relation = match path {
            Path::Fused => by_relation,
            Path::Plain => ByRelation {
                destination: by_relation.source,
                source: by_relation.destination,
                ..by_relation
            },
        };
        let aggregate = config.aggregate_func;
        let counted = matches!(aggregate, AggregateFunc::Mean | AggregateFunc::Pna);
        let made = || -> Result<Self> {
            Ok(DeviceGraph {
                edges: Edges::new(gpu, into, out_of, by_relation)?,
                embeddings: upload(gpu, &embeddings)?,
                nodes: graph.nodes(),
                relations: 2 * graph.relations(),
                degrees: match counted {
                    true => {
                        let counts = message_counts::<f64>(graph.by_source());
                        let pna = aggregate == AggregateFunc::Pna;
                        Some(Degrees::new(gpu, &counts, pna)?)
                    }
                    false => None,
                },
                path,
                whole: Mutex::new(None),
            })
        };
        made().map_err(candle_core::Error::wrap)
    }

    pub fn gpu(&self) -> &Gpu {
        self.embeddings.gpu()
    }

    /// What a mean or PNA needs.
    pub(super) fn degrees<'a>(
        &'a self,
        removed: Option<&'a Removed<S>>,
    ) -> Option<&'a Degrees<S::Acc>> {
        match removed {
            Some(removed) => removed.degrees.as_ref(),
            None => self.degrees.as_ref(),
        }
    }

    /// The edges of these triples, their duplicates and inverses, ready to be taken out.
    pub fn removal(
        &self,
        graph: &Graph,
        triples: impl IntoIterator<Item = [u32; 3]>,
    ) -> Result<Removed<S>> {
        let found = graph.places_of(triples);
        let gpu = self.gpu();
        let degrees = match &self.degrees {
            None => None,
            Some(known) => {
                let mut counts = message_counts::<f64>(graph.by_source());
                for v in &found.sources {
                    counts[*v as usize] -= 1.0;
                }
                Some(Degrees::new(gpu, &counts, known.scales.is_some())?)
            }
        };
        let (into, out_of) = match self.path {
            Path::Fused => (found.by_destination, found.by_source),
            Path::Plain => (found.by_source, found.by_destination),
        };
        let marks = Marks {
            into,
            out_of,
            by_relation: found.by_relation,
        };
        Ok(Removed {
            marks: DeviceMarks::new(gpu, &marks)?,
            degrees,
        })
    }

    /// Takes edges out, or puts them back.
    pub fn flip(&self, removed: &Removed<S>) -> Result<()> {
        self.edges.flip(&removed.marks)
    }

    /// Rows on the device. Those of every query are kept for the next batch.
    pub fn rows(&self, reach: Reach) -> Result<DeviceReach> {
        let first = &reach.rows[0];
        let all = first.nodes() * first.queries();
        // Nothing but every row of every query has that many rows in every layer and no background.
        let whole = reach.is_whole();
        let rows = match whole {
            true => {
                let mut kept = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
                let known = kept.as_ref().filter(|k| k.0 == first.queries());
                let one = match known {
                    Some((_, rows)) => Arc::clone(rows),
                    None => Arc::new(DeviceRows::new(&self.edges, first)?),
                };
                debug_assert_eq!(one.len(), all);
                *kept = Some((first.queries(), Arc::clone(&one)));
                vec![one; reach.rows.len()]
            }
            false => reach
                .rows
                .iter()
                .map(|rows| DeviceRows::new(&self.edges, rows).map(Arc::new))
                .collect::<Result<_>>()?,
        };
        Ok(DeviceReach { host: reach, rows })
    }
}
