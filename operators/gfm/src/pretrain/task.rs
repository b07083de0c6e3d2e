//! Link prediction as a task of the training loop.

use std::collections::HashSet;
use std::sync::Arc;

use gfm_pipe_api::{Artifact, Estimate, OpError, OpResult, columns};
use gfm_pipe_eval::link_metrics;
use rand_chacha::ChaCha8Rng;

use super::Params;
use crate::inputs::LoadedGraph;
use crate::train::estimate::{DataSetShape, FirstBatch, TrainingEstimator};
use crate::train::memory::Sizes;
use crate::train::{BatchSamples, BestBy, Task};
use gfm_pipe_model::backend::{Batch, DeviceCache, LinkBatch, Source};
use gfm_pipe_model::divided::{Divided, Dividing};
use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::link_ranks::rank_links;
use gfm_pipe_model::loaded::GraphTexts;
use gfm_pipe_model::model::{Params as Weights, rng, uniform};
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::sampling::{Batch as Queries, Triple, Truth, batch, permutation};
use gfm_pipe_model::scorer::Scorer;
use gfm_pipe_model::twins::Twins;

/// The input artifacts of a data set.
pub(super) struct DataSet {
    pub graph: Artifact,
    pub valid: Option<Artifact>,
}

/// A data set, loaded into memory.
pub(super) struct Data {
    kept: DeviceCache,
    /// The graph without the triples that are held out.
    graph: Graph,
    /// This rank's part of the graph, where ranks divide graphs.
    divided: Option<Divided>,
    texts: GraphTexts,
    text_dim: usize,
    truth: Truth,
    twins: Twins,
    split: Split,
}

impl DataSet {
    /// Reads the data set and splits its triples. Where ranks divide graphs, also cuts this rank's
    /// part.
    pub fn read(&self, p: &Params, dividing: Option<&Dividing>) -> OpResult<Data> {
        let mut input = LoadedGraph::read(&self.graph)?.into_dtype(p.train.common.dtype())?;
        let (nodes, relations) = (input.graph.nodes(), input.graph.relations());
        let mut all = input.graph.triples();
        let own = &p.train.own;
        let given = self.valid.as_ref();
        let given = given.map(|valid| read_triples(valid, nodes, relations));
        let given = given.transpose()?;
        let direct = all.clone();
        all.extend(given.iter().flatten());
        let twins = Twins::find(relations, &all, p.task.twin_share);
        let split = match given {
            Some(given) => Split::given(direct, &given, &twins, own.fast_test, p.seed),
            None => Split::drawn(direct, own.valid_fraction, &twins, own.fast_test, p.seed),
        };
        let graph = input.graph.without(split.held_out.iter().copied());
        let config = p.model.config();
        let divided = dividing.map(|d| d.cut(&graph, &config)).transpose()?;
        let check = input.texts.check(&config);
        check.map_err(|e| e.artifact(&self.graph.name))?;
        if let Some(divided) = &divided {
            input.texts.keep(divided.part())?;
        }
        Ok(Data {
            kept: DeviceCache::default(),
            graph,
            divided,
            // Held-out triples are true too: they must not be negatives or competitors in the
            // ranking.
            truth: Truth::new(nodes, relations, &all),
            twins,
            split,
            text_dim: input.text_dim,
            texts: input.texts,
        })
    }
}

/// Reads the validation triples of input `valid`.
fn read_triples(artifact: &Artifact, nodes: usize, relations: usize) -> OpResult<Vec<Triple>> {
    let table = artifact.read("triples")?;
    let (h, r, t) = (
        columns::u32s(&table, "head")?,
        columns::u32s(&table, "relation")?,
        columns::u32s(&table, "tail")?,
    );
    let list: Vec<Triple> = (0..table.num_rows())
        .map(|i| [h.value(i), r.value(i), t.value(i)])
        .collect();
    let outside = |[h, r, t]: &Triple| {
        *h as usize >= nodes || *t as usize >= nodes || *r as usize >= relations
    };
    match list.iter().position(outside) {
        None => Ok(list),
        Some(row) => Err(OpError::data(format!(
            "a validation triple names an entity or relation outside the graph's {nodes} entities and {relations} relations"
        ))
        .artifact(format!("{}.triples", artifact.name))
        .row(row as u64)
        .hint("validation triples use the ids of the graph they are given with")),
    }
}

/// The triples of a data set, split for training and validation.
struct Split {
    train: Vec<Triple>,
    valid: Vec<Triple>,
    /// Triples that are removed from the graph, each once.
    held_out: Vec<Triple>,
    /// Where the validation triples come from, for the log.
    about: &'static str,
}

impl Split {
    /// Validates on a seeded fraction of the graph's triples, at most `most`, which leave the graph
    /// with their twins. At fraction 0 it validates on a sample that stays in the graph.
    fn drawn(all: Vec<Triple>, fraction: f64, twins: &Twins, most: usize, seed: u64) -> Self {
        let order = permutation(all.len(), &mut rng(seed, "validation triples"));
        let held_out = fraction > 0.0;
        let wanted = if held_out {
            ((all.len() as f64 * fraction).round() as usize).min(most)
        } else {
            most
        };
        let chosen: HashSet<Triple> = order.iter().take(wanted).map(|i| all[*i]).collect();
        let valid = sorted(&chosen);
        let (train, left_out) = if held_out {
            divide(twins, all, &chosen)
        } else {
            (all, Vec::new())
        };
        Split {
            train,
            valid,
            held_out: left_out,
            about: if held_out {
                "held out"
            } else {
                "of the training triples"
            },
        }
    }

    /// Validates on the given triples, or on a seeded sample of `most` of them. All given triples
    /// leave the graph with their twins.
    fn given(all: Vec<Triple>, given: &[Triple], twins: &Twins, most: usize, seed: u64) -> Self {
        let chosen: HashSet<Triple> = given.iter().copied().collect();
        let mut valid = sorted(&chosen);
        let order = permutation(valid.len(), &mut rng(seed, "validation triples"));
        valid = order.into_iter().take(most).map(|i| valid[i]).collect();
        valid.sort_unstable();
        let (train, held_out) = divide(twins, all, &chosen);
        Split {
            train,
            valid,
            held_out,
            about: "given",
        }
    }
}

/// Splits triples into those that stay in the graph and those that leave it: the chosen ones and
/// their twins.
fn divide(twins: &Twins, all: Vec<Triple>, chosen: &HashSet<Triple>) -> (Vec<Triple>, Vec<Triple>) {
    let before: HashSet<Triple> = all.iter().copied().collect();
    let train = twins.without(all, chosen);
    let kept: HashSet<Triple> = train.iter().copied().collect();
    let held_out = before.difference(&kept).copied().collect();
    (train, sorted(&held_out))
}

fn sorted(triples: &HashSet<Triple>) -> Vec<Triple> {
    let mut out: Vec<Triple> = triples.iter().copied().collect();
    out.sort_unstable();
    out
}

impl Data {
    fn source(&self) -> Source<'_> {
        Source {
            graph: &self.graph,
            texts: self.texts.borrowed(),
            divided: self.divided.as_ref(),
            cache: &self.kept,
        }
    }
}

impl LinkPrediction {
    pub fn new(p: Arc<Params>) -> Self {
        LinkPrediction { p }
    }

    /// Queries and candidates for training triples with these numbers.
    fn queries(&self, data: &Data, numbers: &[usize], rng: &mut ChaCha8Rng) -> Queries {
        let task = &self.p.task;
        let triples: Vec<Triple> = numbers.iter().map(|i| data.split.train[*i]).collect();
        let strict = task.strict_negative;
        batch(&data.truth, &triples, task.num_negative, strict, || {
            uniform(rng)
        })
    }
}

/// Link prediction, with the parameters of `pretrain`.
pub(super) struct LinkPrediction {
    p: Arc<Params>,
}

impl Task for LinkPrediction {
    type Data = Data;

    fn samples(&self, data: &Data) -> usize {
        data.split.train.len()
    }

    fn sizes(&self, data: &Data) -> Sizes {
        Sizes {
            nodes: data.graph.nodes(),
            candidates: Some(1 + self.p.task.num_negative),
            documents: 0,
            lower: "`train.batch_size`, `task.num_negative`, `model.entity_model.input_dim` or the number of layers",
        }
    }

    fn describe(&self, data: &Data) -> String {
        let twins = match data.twins.len() {
            0 => String::new(),
            n => format!(", {n} relations with near-duplicates"),
        };
        format!(
            "{} nodes, {} training triples, {} validation triples ({}){twins}",
            data.graph.nodes(),
            data.split.train.len(),
            data.split.valid.len(),
            data.split.about
        )
    }

    fn source<'d>(&self, data: &'d Data) -> Source<'d> {
        data.source()
    }

    fn warning(&self, _data: &Data) -> Option<String> {
        None
    }

    fn parts(&self) -> Vec<String> {
        Vec::new()
    }

    fn batch<'d>(
        &'d self,
        data: &'d Data,
        samples: &BatchSamples<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Batch<'d> {
        let whole = self.queries(data, samples.all, rng);
        let batch = whole.part(samples.mine.clone());
        let queries = batch.queries.iter();
        Batch::Links(LinkBatch {
            seeds: queries.map(|q| vec![(q.head, 1.0)]).collect(),
            batch,
            asked: whole.asked().collect(),
            easy: self.p.easy_edges(&data.twins),
            temperature: self.p.task.adversarial_temperature,
            rows: samples.all.len(),
        })
    }

    fn validated(&self, data: &Data) -> usize {
        data.split.valid.len()
    }

    fn validate(
        &self,
        pass: Pass<'_>,
        data: &Data,
        scorer: &dyn Scorer,
        _params: &Weights,
    ) -> OpResult<Vec<(String, f64)>> {
        let (truth, valid) = (&data.truth, &data.split.valid);
        let how = self.p.ranking(&data.twins);
        let ranks = rank_links(pass, scorer, &data.graph, truth, valid, how)?;
        link_metrics::means(&ranks, &self.p.metrics())
    }

    fn best_by(&self) -> BestBy {
        self.p.best_by()
    }
}

/// Estimates the time and memory of a training on these graphs.
pub(super) fn estimate(
    p: Params,
    graphs: &[Artifact],
    valid: &[Artifact],
    device: &str,
) -> OpResult<Option<Estimate>> {
    let task = LinkPrediction::new(Arc::new(p));
    let p = &*task.p;
    let (config, settings) = (p.model.config(), p.train.common.settings(p.seed));
    let mut out = TrainingEstimator::new(p.model.class(), &config, &settings, device);
    for (i, graph) in graphs.iter().enumerate() {
        let set = DataSet {
            graph: graph.clone(),
            valid: valid.get(i).cloned(),
        };
        let data = set.read(p, None)?;
        let shape = DataSetShape {
            graph: &data.graph,
            text_dim: data.text_dim,
            samples: task.samples(&data),
            sizes: task.sizes(&data),
        };
        let compute = settings.steps.compute;
        out.add(&shape, |numbers| {
            FirstBatch::of(&task, &data, &config, compute, numbers)
        });
        let ranking = p.ranking(&data.twins);
        let (batches, seeds) = ranking.batches(&data.graph, &data.split.valid);
        out.add_validation(&data.graph, batches, &seeds, false);
    }
    Ok(out.estimate())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triples() -> Vec<Triple> {
        (0..40u32).map(|i| [i % 8, i % 3, (i + 1) % 8]).collect()
    }

    #[test]
    fn held_out_triples_and_their_duplicates_leave_the_graph() {
        let all = [triples(), triples()].concat();
        let s = Split::drawn(all.clone(), 0.1, &Twins::default(), 500, 3);
        assert!(!s.valid.is_empty() && s.valid.len() <= 8);
        assert!(s.train.iter().all(|t| !s.valid.contains(t)));
        assert_eq!(
            s.train.len(),
            all.iter().filter(|t| !s.valid.contains(t)).count()
        );
        let graph = Graph::from_triples(8, 3, &all).without(s.held_out.iter().copied());
        let mut left = graph.triples();
        left.sort_unstable();
        let mut train = s.train.clone();
        train.sort_unstable();
        assert_eq!(left, train);
        for [h, r, t] in &s.valid {
            assert!(!graph.contains([*h, *r, *t]) && !graph.contains([*t, r + 3, *h]));
        }
        assert!(Split::drawn(all, 0.5, &Twins::default(), 2, 3).valid.len() <= 2);
    }

    #[test]
    fn at_fraction_0_training_triples_are_validated_on() {
        let s = Split::drawn(triples(), 0.0, &Twins::default(), 5, 3);
        assert_eq!(s.train, triples());
        assert!(s.valid.len() <= 5 && s.valid.iter().all(|t| s.train.contains(t)));
    }

    #[test]
    fn all_given_triples_leave_the_graph_even_unscored_ones() {
        let given: Vec<Triple> = vec![[0, 0, 1], [1, 1, 2], [7, 2, 7], [0, 0, 1]];
        let s = Split::given(triples(), &given, &Twins::default(), 2, 3);
        assert_eq!(s.valid.len(), 2);
        assert!(s.train.iter().all(|t| !given.contains(t)));
        assert!(s.train.len() < triples().len());
    }
}
