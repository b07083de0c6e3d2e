//! Graphs that the ranks of a stage divide among them, with the interface that operators use.
//!
//! With `divide: graph` all ranks work on the same batch, each on its own nodes (see
//! [`crate::model::partition`]). Every rank has all scores and so knows the whole loss; it has a
//! share of the gradients. A single rank does not divide graphs and computes as usual.

mod scorer;
mod traffic;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gfm_pipe_api::ranks::Shared;
use gfm_pipe_api::{Context, Device, OpError, OpResult};

pub use self::scorer::OverRanks;
use self::traffic::TrafficTotals;
use crate::graph::Graph;
use crate::model::ModelConfig;
use crate::model::partition::{Cut, Part, Partition, Traffic};
use crate::ops::AggregateFunc;

/// Why a model cannot run on divided graphs.
pub struct Unsupported {
    /// The reason: lower case, no full stop.
    pub problem: String,
    /// What the user can do about it.
    pub hint: &'static str,
}

/// Why models with this aggregate cannot run on divided graphs; `None` if they can.
pub fn unsupported(aggregate: AggregateFunc) -> Option<Unsupported> {
    let name = format!("{aggregate:?}").to_lowercase();
    (!aggregate.adds()).then(|| Unsupported {
        problem: format!("ranks cannot divide graphs where aggregate_func is {name}"),
        hint: "divided graphs are for the aggregates sum and mean: leave `divide` out, and ranks share the work without dividing graphs",
    })
}

/// Divides the graphs of a stage over its ranks, and counts what these send each other.
pub struct Dividing {
    ranks: Shared,
    sent: Arc<Mutex<TrafficTotals>>,
    /// The graphs that [`Dividing::once`] has divided.
    divided: Mutex<Vec<Arc<Divided>>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters, and lists that only grow, stay valid when another thread panics.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dividing {
    /// `None` if graphs are not to be divided (`wanted`), or if there is only one rank.
    ///
    /// # Errors
    /// When the stage computes on a GPU.
    pub fn new(ctx: &Context, wanted: bool) -> OpResult<Option<Arc<Self>>> {
        if !wanted || ctx.ranks.size() == 1 {
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
            divided: Mutex::default(),
        })))
    }

    /// Checks that models with this configuration can run on divided graphs.
    ///
    /// # Errors
    /// See [`unsupported`].
    pub fn check(&self, config: &ModelConfig) -> OpResult<()> {
        match unsupported(config.aggregate_func) {
            None => Ok(()),
            Some(Unsupported { problem, hint }) => Err(OpError::new(problem).hint(hint)),
        }
    }

    /// This rank's part of a graph, for models with this configuration. Needs no communication.
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

    /// Like [`Dividing::cut`], for the only graph of a stage that several models use. The graph is
    /// cut once for all models whose messages run in the same direction.
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
        let mut known = lock(&self.divided);
        let path = config.message_func.path();
        if let Some(divided) = known.iter().find(|d| d.part.path() == path) {
            return Ok(Arc::clone(divided));
        }
        let divided = Arc::new(self.cut(graph, config)?);
        ctx.info(divided.describe());
        known.push(Arc::clone(&divided));
        Ok(divided)
    }

    /// Reports what all ranks sent. All of them must call this, after the same steps.
    ///
    /// # Errors
    /// When the connection to a rank fails.
    pub fn report(&self, ctx: &Context) -> OpResult<()> {
        let (steps, batches) = {
            let sent = lock(&self.sent);
            (sent.steps.clone(), sent.batches.clone())
        };
        for (what, total) in [("training step", steps), ("batch that was scored", batches)] {
            if total.count > 0 {
                let all = total.traffic.of_all(&*self.ranks)?;
                ctx.info(traffic::describe(&all, total.count, what));
            }
        }
        Ok(())
    }
}

/// This rank's part of a divided graph.
pub struct Divided {
    part: Part,
    cut: Cut,
    ranks: Shared,
    sent: Arc<Mutex<TrafficTotals>>,
}

impl Divided {
    /// This rank's part.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// The ranks that divide the graph.
    pub fn ranks(&self) -> &Shared {
        &self.ranks
    }

    /// Counts the traffic of a training step.
    pub fn count_step(&self, traffic: &Traffic) {
        lock(&self.sent).steps.add(traffic);
    }

    /// The sizes of the parts, for the user.
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
