//! A graph on the device, edges taken out of it for one batch, and the rows of a batch.

use std::sync::{Arc, Mutex, PoisonError};

use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::csr::ByRelation;
use gfm_pipe_kernels::gpu::messages::{DeviceMarks, DeviceRows, Edges, Marks};
use gfm_pipe_kernels::gpu::{Gpu, State, Vector};

use super::error::Result;
use super::scoring::upload_tensor;
use super::weights::upload;
use crate::edge_dropout::EdgeDropout;
use crate::graph::{EdgesByRelation, Graph, Places};
use crate::model::{ModelConfig, Reach, Texts};
use crate::ops::{AggregateFunc, Path, degree_scales, message_counts};

/// A graph, with its edges in the direction in which one model's messages travel.
pub(crate) struct DeviceGraph<S: State> {
    pub edges: Edges,
    /// Embeddings of relation names, `[2R, text]`.
    pub embeddings: Vector<S::Acc>,
    /// Embeddings of the texts of nodes, `[N, text]`, if the model reads them.
    pub node_texts: Option<Vector<S::Acc>>,
    pub nodes: usize,
    /// 2R.
    pub relations: usize,
    aggregate: AggregateFunc,
    degrees: Option<Degrees<S::Acc>>,
    path: Path,
    by_relation: EdgesByRelation,
    /// Every row of every query, of the last batch that needed them, for the next one.
    all_rows: Mutex<Option<AllRows>>,
}

/// Embeddings of a graph's texts on the device.
pub(crate) struct DeviceTexts<A: State> {
    /// Of relation names, `[2R, text]`.
    pub relations: Vector<A>,
    /// Of nodes, `[N, text]`, for models that read them.
    pub nodes: Option<Vector<A>>,
}

impl<A: State> DeviceTexts<A> {
    /// Copies what a model reads to the device.
    pub fn new(gpu: &Gpu, texts: Texts<'_>, config: &ModelConfig) -> OpResult<Self> {
        let nodes = match (config.use_ent_emb, texts.nodes) {
            (None, _) => None,
            (Some(_), Some(nodes)) => Some(upload_tensor(gpu, nodes)?),
            (Some(_), None) => {
                return Err(OpError::internal("the graph has no texts of its nodes"));
            }
        };
        Ok(DeviceTexts {
            relations: upload_tensor(gpu, texts.relations)?,
            nodes,
        })
    }
}

struct AllRows {
    queries: usize,
    rows: Arc<DeviceRows>,
}

/// Edges that are out of the graph for one batch.
pub(crate) struct Removed<S: State> {
    marks: DeviceMarks,
    degrees: Option<Degrees<S::Acc>>,
}

/// What mean and PNA need of each node.
pub(super) struct Degrees<A: State> {
    /// The number of messages into each node, counting the boundary.
    pub counts: Vector<A>,
    /// PNA's functions of that number.
    pub scales: Option<DegreeScales<A>>,
}

/// PNA's two functions of a node's degree, see [`degree_scales`].
pub(super) struct DegreeScales<A: State> {
    pub scale: Vector<A>,
    pub inverse: Vector<A>,
}

impl<A: State> Degrees<A> {
    /// What an aggregate needs, from the number of messages into each node.
    fn of(
        gpu: &Gpu,
        aggregate: AggregateFunc,
        counts: impl FnOnce() -> Vec<f64>,
    ) -> Result<Option<Self>> {
        let pna = match aggregate {
            AggregateFunc::Sum | AggregateFunc::Max | AggregateFunc::Min => return Ok(None),
            AggregateFunc::Mean => false,
            AggregateFunc::Pna => true,
        };
        let counts = counts();
        let scales = if pna {
            let [scale, inverse] = degree_scales(&counts);
            Some(DegreeScales {
                scale: upload(gpu, &scale)?,
                inverse: upload(gpu, &inverse)?,
            })
        } else {
            None
        };
        Ok(Some(Degrees {
            counts: upload(gpu, &counts)?,
            scales,
        }))
    }
}

/// The rows of every layer, on the host and on the device.
pub(crate) struct DeviceReach {
    pub host: Reach,
    /// Rows before the first layer and after each. Layers with the same rows share them.
    pub rows: Vec<Arc<DeviceRows>>,
}

impl<S: State> DeviceGraph<S> {
    /// Copies a graph to the device of the embeddings of its relations and, if the model reads
    /// them, of its nodes.
    pub fn new(graph: &Graph, texts: DeviceTexts<S::Acc>, config: &ModelConfig) -> Result<Self> {
        let gpu = texts.relations.gpu();
        let path = config.message_func.path();
        let (into, out_of) = graph.flow(path);
        let by_relation = graph.by_relation();
        let (destination, source) = match path {
            Path::Fused => (&by_relation.head, &by_relation.tail),
            Path::Plain => (&by_relation.tail, &by_relation.head),
        };
        let order = ByRelation {
            offsets: &by_relation.offsets,
            destination,
            source,
        };
        let counts = || message_counts::<f64>(into);
        Ok(DeviceGraph {
            edges: Edges::new(gpu, into, out_of, order)?,
            nodes: graph.nodes(),
            relations: 2 * graph.relations(),
            aggregate: config.aggregate_func,
            degrees: Degrees::of(gpu, config.aggregate_func, counts)?,
            path,
            by_relation,
            all_rows: Mutex::new(None),
            embeddings: texts.relations,
            node_texts: texts.nodes,
        })
    }

    pub fn gpu(&self) -> &Gpu {
        self.embeddings.gpu()
    }

    /// What mean and PNA need of each node; `None` for the other aggregates.
    pub(super) fn degrees<'a>(
        &'a self,
        removed: Option<&'a Removed<S>>,
    ) -> Option<&'a Degrees<S::Acc>> {
        match removed {
            Some(removed) => removed.degrees.as_ref(),
            None => self.degrees.as_ref(),
        }
    }

    /// The edges of these triples, with their duplicates and inverses, ready to be taken out.
    pub fn removal(
        &self,
        graph: &Graph,
        triples: impl IntoIterator<Item = [u32; 3]>,
    ) -> Result<Removed<S>> {
        let found = graph.places_of(triples);
        let by_relation = self.by_relation.places_of(&found.edges);
        self.removed(graph, found, by_relation)
    }

    /// The edges that a step lacks, ready to be taken out.
    pub fn dropped(&self, graph: &Graph, dropout: &EdgeDropout) -> Result<Removed<S>> {
        let direct = graph.relations() as u32;
        let drops = |edge| dropout.drops(edge, direct);
        let by_relation = self.by_relation.places_where(drops);
        self.removed(graph, graph.places_where(drops), by_relation)
    }

    fn removed(&self, graph: &Graph, found: Places, by_relation: Vec<u32>) -> Result<Removed<S>> {
        let counts = || {
            let mut counts = message_counts::<f64>(graph.flow(self.path).0);
            for edge in &found.edges {
                counts[edge.tail as usize] -= 1.0;
            }
            counts
        };
        let degrees = Degrees::of(self.gpu(), self.aggregate, counts)?;
        let (into, out_of) = match self.path {
            Path::Fused => (found.by_head, found.by_tail),
            Path::Plain => (found.by_tail, found.by_head),
        };
        let marks = Marks {
            into,
            out_of,
            by_relation,
        };
        Ok(Removed {
            marks: DeviceMarks::new(self.gpu(), &marks)?,
            degrees,
        })
    }

    /// Takes edges out of the graph; a second call puts them back.
    pub fn flip(&self, removed: &Removed<S>) -> Result<()> {
        self.edges.flip(&removed.marks)
    }

    /// Copies the rows of a batch to the device. Those of every query are kept for the next batch.
    pub fn rows(&self, reach: Reach) -> Result<DeviceReach> {
        let rows = if reach.is_whole() {
            vec![self.all_rows(&reach)?; reach.rows.len()]
        } else {
            let rows = reach.rows.iter();
            let rows = rows.map(|rows| DeviceRows::new(&self.edges, rows).map(Arc::new));
            rows.collect::<Result<_>>()?
        };
        Ok(DeviceReach { host: reach, rows })
    }

    /// The rows that every layer of a whole reach has.
    fn all_rows(&self, reach: &Reach) -> Result<Arc<DeviceRows>> {
        let first = &reach.rows[0];
        let queries = first.queries();
        let mut kept = self.all_rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.queries == queries) {
            return Ok(Arc::clone(&kept.rows));
        }
        let rows = Arc::new(DeviceRows::new(&self.edges, first)?);
        debug_assert_eq!(rows.len(), first.nodes() * queries, "rows of every query");
        *kept = Some(AllRows {
            queries,
            rows: Arc::clone(&rows),
        });
        Ok(rows)
    }
}
