//! The operator `link-questions`.

use std::path::Path;

use gfm_pipe_api::{
    Arity, Connected, Context, InPort, InputFile, Kind, OpResult, Operator, OutPort, Problem,
    Schema, is_connected, kinds,
};
use gfm_pipe_llm::{prompt_files, prompts_fingerprint};

use super::filter::{self, Filter};
use super::graph::Graph;
use super::linking::{Linking, connected};
use super::named::{self, ENTITY_EMBEDDINGS, Names};
use super::params::LinkQuestionsParams;
use super::question_set::{self, QuestionSet, SPLITS};
use super::similar::{Choose, Texts};
use super::streamed::Streamed;
use super::write::{self, Tally};

/// The operator `link-questions`.
pub struct LinkQuestions;

/// The port of the source `document`.
const DOCUMENTS: &str = "corpus_embeddings";

impl Operator for LinkQuestions {
    type Params = LinkQuestionsParams;
    const NAME: &'static str = "link-questions";
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "finds where the search for each question starts: weighted nodes, by what it names and what is similar to it";

    fn schema() -> Schema {
        LinkQuestionsParams::schema()
    }

    fn inputs() -> Vec<InPort> {
        type Ports = &'static [&'static Kind];
        let one = |name, kind: Ports, about| InPort::of(name, kind, Arity::One, about);
        let maybe = |name, kind: Ports, about| InPort::of(name, kind, Arity::Optional, about);
        let mut ports = vec![
            one(
                "documents",
                &[&kinds::DOCUMENTS],
                "documents: their titles name them",
            ),
            one("entities", &[&kinds::ENTITIES], "nodes of the graph"),
            one("links", &[&kinds::LINKS], "entities of each document"),
        ];
        for split in &SPLITS {
            ports.extend([
                maybe(split.questions, &[&kinds::QUESTIONS], "questions"),
                maybe(split.embeddings, &[&kinds::EMBEDDINGS], "their embeddings"),
                maybe(
                    split.mentions,
                    &[&kinds::MENTIONS],
                    "mentions that `extract` finds in the questions: names that no entity has are looked up by embedding",
                ),
                maybe(
                    split.mention_embeddings,
                    &[&kinds::EMBEDDINGS],
                    "embeddings of these mentions",
                ),
            ]);
        }
        ports.extend([
            maybe(
                "nodes",
                &[&kinds::NODES],
                "which nodes are documents; without it a document starts at its entities",
            ),
            maybe(
                "labels",
                &[&kinds::LABELS],
                "how entities are written; without it they are found by their names",
            ),
            maybe(
                "sources",
                &[&kinds::SOURCES],
                "which documents are pieces of one: its gold entities are those of all pieces",
            ),
            maybe(
                "facts",
                &[&kinds::FACTS],
                "facts: the entities of the most similar ones are starts",
            ),
            maybe(
                "fact_embeddings",
                &[&kinds::EMBEDDINGS],
                "embeddings of `facts`",
            ),
            maybe("triples", &[&kinds::TRIPLES], "triples, for `facts`"),
            maybe(
                "evidence",
                &[&kinds::EVIDENCE],
                "which facts the triples were made from",
            ),
            maybe(
                "sentences",
                &[&kinds::SENTENCES],
                "sentences: the entities of the most similar ones are starts",
            ),
            maybe(
                "sentence_embeddings",
                &[&kinds::EMBEDDINGS],
                "embeddings of `sentences`",
            ),
            maybe(
                "mentions",
                &[&kinds::MENTIONS],
                "mentions of the documents, for `sentences`",
            ),
            maybe(
                DOCUMENTS,
                &[&kinds::EMBEDDINGS],
                "embeddings of `documents`: the most similar ones are starts",
            ),
            maybe(
                ENTITY_EMBEDDINGS,
                &[&kinds::EMBEDDINGS],
                "embeddings of `entities`, for the mentions of questions",
            ),
        ]);
        ports
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        let mut ports = Vec::new();
        for split in &SPLITS {
            ports.push(port(
                split.questions,
                &kinds::QUESTIONS,
                "the questions, with the entities that they name and those of their gold documents",
            ));
            ports.push(port(
                split.starts,
                &kinds::STARTS,
                "where the search for each starts, and why",
            ));
        }
        ports.push(port(
            "counts",
            &kinds::COUNTS,
            "starts by source, questions without a start, gold documents without a start; with `filter` what became of the model's answers",
        ));
        ports
    }

    fn check(params: &LinkQuestionsParams) -> Vec<Problem> {
        params.problems()
    }

    fn files(params: &LinkQuestionsParams, _: &Path) -> Vec<InputFile> {
        if params.filter.is_none() {
            return Vec::new();
        }
        let mut files = prompt_files([&params.prompts.filter]);
        files.extend(params.llm.files());
        files
    }

    fn fingerprint(params: &LinkQuestionsParams, _: &Path) -> Option<String> {
        params.filter?;
        let prompts = [(&params.prompts.filter, filter::PROMPT)];
        Some(prompts_fingerprint(&prompts))
    }

    fn asks_model(params: &LinkQuestionsParams) -> bool {
        params.filter.is_some()
    }

    fn check_inputs(params: &LinkQuestionsParams, inputs: &Connected) -> Vec<Problem> {
        let wired = is_connected(inputs);
        let embedded = SPLITS.iter().any(|split| wired(split.embeddings));
        let mentioned = SPLITS.iter().any(|split| wired(split.mentions));
        let needs = |asked: &str, ports: &[&str]| {
            let missing = ports.iter().filter(|port| !wired(port));
            let missing: Vec<String> = missing.map(|port| format!("`{port}`")).collect();
            (wired(asked) && !missing.is_empty()).then(|| {
                let missing = missing.join(", ");
                Problem::at_root(format!("`{asked}` needs {missing} as well"))
                    .hint(format!("connect {missing}"))
            })
        };
        let alone = |asked: &str, others: bool, missing: &str| {
            (wired(asked) && !others).then(|| {
                Problem::at_root(format!("`{asked}` needs {missing}"))
                    .hint("connect them, for every split")
            })
        };
        let filtered = (params.filter.is_some() && !wired("fact_embeddings")).then(|| {
            Problem::at_root("`filter` chooses among facts, and no `fact_embeddings` are connected")
                .hint("connect `facts`, `fact_embeddings`, `triples` and `evidence`")
        });
        let problems = [
            question_set::problem(inputs),
            filtered,
            needs("fact_embeddings", Texts::Facts.needs()),
            needs("sentence_embeddings", Texts::Sentences.needs()),
            alone("fact_embeddings", embedded, "embeddings of the questions"),
            alone(
                "sentence_embeddings",
                embedded,
                "embeddings of the questions",
            ),
            alone(DOCUMENTS, embedded, "embeddings of the questions"),
            alone(ENTITY_EMBEDDINGS, mentioned, "mentions of the questions"),
        ];
        problems.into_iter().flatten().take(1).collect()
    }

    fn run(params: LinkQuestionsParams, ctx: &Context) -> OpResult<()> {
        let link = &params.link;
        let graph = Graph::read(ctx)?;
        let set = QuestionSet::read(ctx)?;
        let has = |texts| connected(ctx, texts);
        let words = Linking::words(link, ctx)?;
        let filter = params.filter.map(|_| Filter::new(ctx, &params, &set.texts));
        let linking = Linking {
            params: link,
            graph: &graph,
            names: &Names::read(ctx, &graph, link.weights.partial > 0.0)?,
            words: words.as_ref(),
            by: &Streamed { ctx, graph: &graph },
            has: &has,
            choose: filter.as_ref().map(|filter| filter as &dyn Choose),
        };
        let similar = |named: &mut _| named::add_similar(ctx, &graph, &set, link.similarity, named);
        let vectors = set.vectors(ctx)?;
        let sources = linking.sources(&set.texts, vectors.as_ref(), &similar)?;
        let (nodes, mut tally) = (graph.names.len(), Tally::default());
        for split in &SPLITS {
            let mut connected = set.splits.iter();
            let connected = connected.find(|s| s.ports.questions == split.questions);
            let Some(connected) = connected else {
                write::nothing(ctx, split, nodes)?;
                continue;
            };
            let rows = connected.rows.clone();
            write::starts(ctx, split.starts, &sources, &set.texts, rows, nodes)?;
            write::questions(ctx, connected, &graph, &sources, &mut tally)?;
        }
        let chosen = filter.as_ref().map(Filter::counts);
        tally.write(ctx, &sources, chosen.unwrap_or_default())
    }
}
