//! Graphs that ranks divide among them, as operators use them: who holds which part, who scores over all parts, and what is told about it.
//!
//! With `divide: graph` all ranks work on the same batch, each on its nodes (see [`crate::model::partition`]). Scores are on every rank, so every
//! rank knows the whole loss; of gradients it has a share. One rank has nothing to divide and takes the usual way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use gfm_pipe_api::ranks::{Shared, gather};
use gfm_pipe_api::{Context, Device, OpError, OpResult};

use crate::graph::Graph;
use crate::model::partition::{
    Cut, Part, Partition, PartitionedGnn, PartitionedRetriever, Traffic,
};
use crate::model::{ModelConfig, Params, Question, TailQuery};
use crate::ops::AggregateFunc;
use crate::sampling::{EasyEdges, Triple};
use crate::scorer::Scorer;
use crate::tensor::to_f64;
use crate::tensor_error;

/// Why a model with such an aggregate is none for divided graphs, and what to do.
pub fn unfit(aggregate: AggregateFunc) -> Option<(String, &'static str)> {
    let name = format!("{aggregate:?}").to_lowercase();
    (!aggregate.adds()).then(|| {
        (
            format!("ranks cannot divide graphs where aggregate_func is {name}"),
            "divided graphs are for the aggregates sum and mean: leave `divide` out, and ranks share the work without dividing graphs",
        )
    })
}

/// How the graphs of a stage are divided: over which ranks; and what these sent each other.
pub struct Dividing {
    ranks: Shared,
    sent: Arc<Mutex<Sent>>,
    /// What [`Dividing::once`] made.
    made: Mutex<Vec<Arc<Divided>>>,
}

/// What this rank sent.
#[derive(Debug, Default)]
struct Sent {
    steps: Counted,
    batches: Counted,
}

#[derive(Debug, Clone, Default)]
struct Counted {
    times: u64,
    traffic: Traffic,
}

impl Counted {
    fn add(&mut self, traffic: &Traffic) {
        self.times += 1;
        self.traffic.add(traffic);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters, and lists that only grow: as good as they were when somebody panicked.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dividing {
    /// `None` where nothing is `asked` for, or there is one rank.
    ///
    /// # Errors
    /// When the stage computes on a GPU.
    pub fn new(ctx: &Context, asked: bool) -> OpResult<Option<Arc<Self>>> {
        if !asked || ctx.ranks.size() == 1 {
            return Ok(None);
        }
        if let Some(Device::Cuda(_)) = Device::parse(&ctx.device) {
            return Err(
                OpError::new("divided graphs are computed on the CPU, not on a GPU").hint(
                    "run with `--device cpu`, or leave `divide` out: each rank's GPU then holds whole graphs and computes a share of each batch",
                ),
            );
        }
        Ok(Some(Arc::new(Dividing {
            ranks: Arc::clone(&ctx.ranks),
            sent: Arc::default(),
            made: Mutex::default(),
        })))
    }

    /// Holds that models like this can be computed.
    ///
    /// # Errors
    /// When they cannot.
    pub fn check(&self, config: &ModelConfig) -> OpResult<()> {
        match unfit(config.aggregate_func) {
            None => Ok(()),
            Some((why, hint)) => Err(OpError::new(why).hint(hint)),
        }
    }

    /// This rank's part of a graph, for models like this. Asks no other rank.
    ///
    /// # Errors
    /// See [`Dividing::check`].
    pub fn cut(&self, graph: &Graph, config: &ModelConfig) -> OpResult<Divided> {
        self.check(config)?;
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        let partition = Arc::new(Partition::streamed(graph, size, config.input_dim));
        Ok(Divided {
            cut: partition.cut(graph),
            part: Part::new(graph, &partition, rank, config.message_func)?,
            ranks: Arc::clone(&self.ranks),
            sent: Arc::clone(&self.sent),
        })
    }

    /// The same of the only graph of a stage, which several models see: cut once for all whose messages run the same way.
    ///
    /// # Errors
    /// See [`Dividing::check`].
    pub fn once(
        &self,
        ctx: &Context,
        graph: &Graph,
        config: &ModelConfig,
    ) -> OpResult<Arc<Divided>> {
        self.check(config)?;
        let mut made = lock(&self.made);
        let path = config.message_func.path();
        if let Some(divided) = made.iter().find(|d| d.part.path() == path) {
            return Ok(Arc::clone(divided));
        }
        let divided = Arc::new(self.cut(graph, config)?);
        ctx.info(divided.describe());
        made.push(Arc::clone(&divided));
        Ok(divided)
    }

    /// Tells what all ranks sent. All of them must call this, after the same steps.
    ///
    /// # Errors
    /// When a rank is gone.
    pub fn report(&self, ctx: &Context) -> OpResult<()> {
        let (steps, batches) = {
            let sent = lock(&self.sent);
            (sent.steps.clone(), sent.batches.clone())
        };
        for (what, counted) in [("training step", steps), ("batch that was scored", batches)] {
            if counted.times > 0 {
                let all = counted.traffic.of_all(&*self.ranks)?;
                ctx.info(told(&all, counted.times, what));
            }
        }
        Ok(())
    }
}

/// A graph of which this rank holds a part.
pub struct Divided {
    part: Part,
    cut: Cut,
    ranks: Shared,
    sent: Arc<Mutex<Sent>>,
}

impl Divided {
    /// This rank's part.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// The ranks.
    pub fn ranks(&self) -> &Shared {
        &self.ranks
    }

    /// Counts what a training step sent.
    pub fn stepped(&self, traffic: &Traffic) {
        lock(&self.sent).steps.add(traffic);
    }

    /// What the user should know about the parts.
    pub fn describe(&self) -> String {
        let cut = &self.cut;
        let counts = cut.nodes.iter().zip(&cut.edges).zip(&cut.halo);
        let ranks = counts.enumerate().map(|(rank, ((nodes, edges), halo))| {
            format!(
                "rank {rank} has {nodes} nodes, {edges} edges, copies of {halo} nodes of others"
            )
        });
        let ranks: Vec<String> = ranks.collect();
        format!(
            "divided over {} ranks: {}; {} of {} edges ({:.1} %) are between ranks",
            cut.nodes.len(),
            ranks.join("; "),
            cut.cut_edges,
            cut.edges.iter().sum::<usize>(),
            100.0 * cut.share
        )
    }
}

/// What all ranks sent together, a time.
fn told(traffic: &Traffic, times: u64, what: &str) -> String {
    let each = |bytes: u64| amount(bytes as f64 / times as f64);
    let layers = traffic.layers.iter().enumerate();
    // States before the first layer are known everywhere.
    let layers = layers.skip(1).map(|(i, layer)| match layer.backward {
        0 => format!("layer {} {}", i + 1, each(layer.forward)),
        back => {
            let (forward, back) = (each(layer.forward), each(back));
            format!("layer {} {forward} forward and {back} backward", i + 1)
        }
    });
    let others = [
        ("scores", traffic.scores),
        ("which states matter", traffic.reach),
    ];
    let others = others.iter().filter(|(_, bytes)| *bytes > 0);
    let others = others.map(|(name, bytes)| format!("{name} {}", each(*bytes)));
    let parts: Vec<String> = layers.chain(others).collect();
    format!(
        "for each {what} the ranks sent each other {} on average: {}",
        each(traffic.total()),
        parts.join(", ")
    )
}

/// Bytes as people read them.
fn amount(bytes: f64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut left = bytes;
    let mut shown = None;
    for unit in units {
        if left < 1024.0 {
            break;
        }
        left /= 1024.0;
        shown = Some(unit);
    }
    match shown {
        None => format!("{left:.0} bytes"),
        Some(unit) => format!("{left:.1} {unit}"),
    }
}

/// A model on a divided graph: all ranks ask for the same scores, in the same order, and all of them get them.
pub struct OverRanks<'a> {
    params: &'a Params,
    divided: &'a Divided,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
}

impl<'a> OverRanks<'a> {
    /// A model on a graph.
    pub fn new(params: &'a Params, divided: &'a Divided, embeddings: &'a Tensor) -> Self {
        OverRanks {
            params,
            divided,
            embeddings,
        }
    }

    fn counted(&self, scores: &Tensor, traffic: &Traffic) -> OpResult<Vec<f64>> {
        lock(&self.divided.sent).batches.add(traffic);
        to_f64(scores).map_err(tensor_error)
    }
}

impl Scorer for OverRanks<'_> {
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>> {
        let (part, ranks) = (&self.divided.part, &*self.divided.ranks);
        let model = PartitionedRetriever::new(self.params, part, self.embeddings, ranks)?;
        let scores = model.score_all(batch)?;
        self.counted(&scores, &model.traffic())
    }

    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>> {
        let (part, ranks) = (&self.divided.part, &*self.divided.ranks);
        let graph = part.without(EasyEdges::Relation, gone.iter().copied());
        let model = PartitionedGnn::new(self.params, part, self.embeddings, ranks)?.on(&graph);
        let scores = model.score_all(queries)?;
        self.counted(&scores, &model.traffic())
    }

    fn together(&self) -> bool {
        true
    }
}

/// Stops where the user asked to. Ranks that score together agree on where: none waits for one that has stopped.
pub fn check_cancelled(ctx: &Context, by: &dyn Scorer) -> OpResult<()> {
    if !by.together() {
        return ctx.check_cancelled();
    }
    match gather(&*ctx.ranks, &ctx.cancel.is_cancelled())?.contains(&true) {
        true => Err(OpError::Cancelled),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::partition::LayerTraffic;

    #[test]
    fn amounts_are_read_by_people() {
        let all = [0.0, 1023.0, 1024.0, 1_572_864.0, 5e15].map(amount);
        assert_eq!(
            all,
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 MiB", "4547.5 TiB"]
        );
    }

    #[test]
    fn traffic_is_told_a_time_and_by_layer() {
        let layer = |forward, backward| LayerTraffic { forward, backward };
        let mut traffic = Traffic {
            layers: vec![layer(0, 0), layer(4096, 2048)],
            reach: 0,
            scores: 20,
        };
        assert_eq!(
            told(&traffic, 2, "step"),
            "for each step the ranks sent each other 3.0 KiB on average: layer 2 2.0 KiB forward and 1.0 KiB backward, scores 10 bytes"
        );
        traffic.layers[1].backward = 0;
        assert!(told(&traffic, 2, "batch").contains("layer 2 2.0 KiB, scores"));
    }
}
