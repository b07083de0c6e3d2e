//! The operator `rank-features`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gfm_pipe_api::artifact::{check_made_from, texts_digest};
use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort,
    Problem, Schema, Type, columns, is_connected, kinds,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measure::{Asked, Measures, Walks};
use super::of_question::QuestionFeatures;
use super::read::{Corpus, TOGETHER, ports};
use super::table;
use crate::questions::QuestionSet;
use crate::starts::{SourcedStart, read_sourced_starts};
use crate::systems::{Walking, listed};

/// The operator.
pub struct RankFeatures;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    documents: usize,
    node_specificity: bool,
    restart: Option<f64>,
}

/// Number of documents whose features are kept for each question, where nothing else is said.
pub const KEPT: usize = 1000;

/// Most questions whose features are in memory at once.
const AT_ONCE: usize = 256;
/// Bytes that the best cosines of these questions may take.
const COSINES: usize = 256 << 20;

/// The ports of a split: questions, their embeddings and their starts.
const SPLITS: [[&str; 3]; 3] = [
    ["train", "train_embeddings", "train_starts"],
    ["valid", "valid_embeddings", "valid_starts"],
    ["test", "test_embeddings", "test_starts"],
];

impl Operator for RankFeatures {
    type Params = Params;
    const NAME: &'static str = "rank-features";
    const VERSION: u32 = 4;
    const ABOUT: &'static str = "what can be said about each question and document without training: similarities of texts, words in common, walks on the graph; `fuse` weighs it";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "documents",
                Type::int(1),
                KEPT,
                "documents of each question whose features are kept one by one: those that some feature ranks best. All others get the mean of theirs",
            )
            .at_most(1e6, "each is a row of the output"),
        ];
        fields.extend(Walking::fields());
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        let mut all = ports();
        let maybe = |name, kind, about| InPort::of(name, kind, Arity::Optional, about);
        for [questions, embeddings, starts] in SPLITS {
            all.extend([
                maybe(questions, &[&kinds::QUESTIONS], "questions"),
                maybe(embeddings, &[&kinds::EMBEDDINGS], "their embeddings"),
                maybe(
                    starts,
                    &[&kinds::STARTS],
                    "where they start; otherwise at their entities",
                ),
            ]);
        }
        all
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name| OutPort {
            name,
            kind: &kinds::FEATURES,
            about: "the features of the questions of this split",
        };
        SPLITS.map(|[questions, ..]| port(questions)).into()
    }

    fn check_inputs(_: &Params, inputs: &Connected) -> Vec<Problem> {
        problem(inputs).into_iter().collect()
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let digest = texts_digest(ctx.input("documents")?.texts()?);
        let corpus = Corpus::read(ctx)?;
        let walks = Walks::read(ctx, corpus.documents, p.restart)?;
        let measures = Measures::read(ctx, corpus, walks)?;
        let splits = SPLITS.map(|[questions, ..]| ctx.input_opt(questions));
        let all: OpResult<Vec<usize>> = splits
            .iter()
            .flatten()
            .map(|q| q.rows("questions"))
            .collect();
        let (all, done) = (all?.into_iter().sum(), AtomicUsize::new(0));
        for ports in SPLITS {
            let mut writer = table::Writer::new(ctx, ports[0])?;
            let mut texts = Vec::new();
            if let Some(questions) = ctx.input_opt(ports[0]) {
                let asked = Questions::read(ctx, questions, ports, (&measures, &p))?;
                let of_one = 2 * size_of::<f32>() * measures.documents.max(1);
                let at_once = (COSINES / of_one).clamp(1, AT_ONCE);
                for first in (0..asked.set.len()).step_by(at_once) {
                    let rows = first..asked.set.len().min(first + at_once);
                    let done = (&done, all);
                    writer.write(&asked.features(ctx, &measures, p.documents, rows, done)?)?;
                }
                texts = asked.set.texts;
            }
            writer.finish(&table::About {
                texts: &texts,
                documents: measures.documents,
                whole: measures.whole(),
                corpus: &digest,
            })?;
        }
        Ok(())
    }
}

/// What is connected without others that it needs.
fn problem(inputs: &Connected) -> Option<Problem> {
    let wired = is_connected(inputs);
    if !SPLITS.iter().any(|[questions, ..]| wired(questions)) {
        return Some(
            Problem::at_root("no questions are connected")
                .hint("connect `train`, `valid` or `test`"),
        );
    }
    let of_splits = SPLITS.iter().flat_map(|[q, e, s]| [[*e, *q], [*s, *q]]);
    let of_splits: Vec<[&str; 2]> = of_splits.collect();
    let groups = TOGETHER.iter().copied();
    for group in groups.chain(of_splits.iter().map(|pair| &pair[..])) {
        let missing: Vec<&str> = group.iter().copied().filter(|port| !wired(port)).collect();
        if wired(group[0]) && !missing.is_empty() {
            let missing = listed(&missing);
            let problem = Problem::at_root(format!("`{}` needs {missing} as well", group[0]));
            return Some(problem.hint(format!("connect {missing}")));
        }
    }
    None
}

/// Questions of one split with what they are measured by.
struct Questions {
    set: QuestionSet,
    /// Row-major, of this width; empty if they have none.
    embeddings: (usize, Vec<f32>),
    starts: Vec<Vec<SourcedStart<Arc<str>>>>,
}

impl Questions {
    fn read(
        ctx: &Context,
        questions: &Artifact,
        ports: [&str; 3],
        (measures, p): (&Measures, &Params),
    ) -> OpResult<Self> {
        let set = QuestionSet::read(questions)?;
        let embeddings = match ctx.input_opt(ports[1]) {
            Some(embeddings) => {
                check_made_from(embeddings, &set.texts, &set.name)?;
                same_encoder(ctx, embeddings)?;
                let (width, vectors) = columns::vectors(&embeddings.read("vectors")?, "vector")?;
                if vectors.len() != width * set.len() {
                    let (rows, questions) = (vectors.len() / width.max(1), set.len());
                    return Err(OpError::data(format!(
                        "{rows} embeddings of {questions} questions"
                    ))
                    .artifact(&embeddings.name));
                }
                (width, vectors)
            }
            None => (0, Vec::new()),
        };
        let starts = match ctx.input_opt(ports[2]) {
            Some(starts) => read_sourced_starts(starts, &set.texts, &set.name)?,
            None => {
                let of = |entities: &Vec<u32>| measures.starts_at(entities, p.node_specificity);
                set.entities.iter().map(of).collect()
            }
        };
        Ok(Questions {
            set,
            embeddings,
            starts,
        })
    }

    fn features(
        &self,
        ctx: &Context,
        measures: &Measures,
        keep: usize,
        rows: Range<usize>,
        (done, all): (&AtomicUsize, usize),
    ) -> OpResult<Vec<QuestionFeatures>> {
        let (width, vectors) = &self.embeddings;
        let first = rows.start;
        let embedded = &vectors[first * width..rows.end * width];
        let similar = measures.similar(&ctx.cancel, (*width, embedded), keep)?;
        let features = rows.into_par_iter().map(|i| {
            ctx.check_cancelled()?;
            let starts = self.starts[i].iter().map(|start| SourcedStart {
                node: start.node,
                source: &*start.source,
                weight: start.weight,
            });
            let starts: Vec<SourcedStart<&str>> = starts.collect();
            let asked = Asked {
                text: &self.set.texts[i],
                embedding: vectors.get(i * width..(i + 1) * width).unwrap_or_default(),
                starts: &starts,
            };
            let features = measures.of(asked, (&similar, i - first), keep);
            let features = features.map_err(|e| e.artifact(&self.set.name))?;
            let done = 1 + done.fetch_add(1, Relaxed);
            ctx.progress(done as u64, all as u64, "questions", "");
            Ok(features)
        });
        features.collect()
    }
}

/// Checks that texts were embedded by the encoder of these questions.
fn same_encoder(ctx: &Context, questions: &Artifact) -> OpResult<()> {
    let encoder = |of: &Artifact| -> OpResult<[String; 2]> {
        let row = of.read("encoder")?;
        let text =
            |name| -> OpResult<String> { Ok(columns::text(&row, name)?.value(0).to_owned()) };
        Ok([text("name")?, text("digest")?])
    };
    let [name, digest] = encoder(questions)?;
    for port in [
        "corpus_embeddings",
        "sentence_embeddings",
        "fact_embeddings",
    ] {
        let Some(texts) = ctx.input_opt(port) else {
            continue;
        };
        let [other, its_digest] = encoder(texts)?;
        if its_digest != digest {
            return Err(OpError::new(format!(
                "`{}` is embedded with {name}, `{}` with {other}",
                questions.name, texts.name
            ))
            .hint("give all `embed` stages the same `model`"));
        }
    }
    Ok(())
}
