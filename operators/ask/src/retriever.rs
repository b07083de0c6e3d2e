//! The operator `retriever`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use gfm_pipe_api::answer::Answers;
use gfm_pipe_api::{
    Arity, Cancel, Connected, Context, InPort, InputFile, Kind, OpResult, Operator, OutPort,
    PathSeg, Problem, Reporter, Schema, columns, is_connected, kinds,
};
use gfm_pipe_eval::systems::{BM25, DENSE, FUSED, MODEL, PPR, RRF, listed};
use gfm_pipe_text::Embed;

use crate::answers::Ready;
use crate::check::check;
use crate::params::RetrieverParams;

/// The operator `retriever`.
pub struct Retriever;

/// The ports of a graph. They are connected together.
const GRAPH: [&str; 4] = ["entities", "relations", "triples", "links"];

/// Ports that need others: the first is only used together with the rest.
const TOGETHER: [&[&str]; 6] = [
    &["model", "graph"],
    &["background", "model", "graph"],
    &["fact_embeddings", "facts", "evidence"],
    &["sentence_embeddings", "sentences", "mentions", "labels"],
    &["mentions", "sentences"],
    &["evidence", "facts"],
];

impl Retriever {
    /// The input ports of a retriever.
    pub(crate) fn ports() -> Vec<InPort> {
        type Ports = &'static [&'static Kind];
        let maybe = |name, kind: Ports, about| InPort::of(name, kind, Arity::Optional, about);
        vec![
            InPort::of(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::One,
                "the documents to find",
            ),
            maybe(
                "sources",
                &[&kinds::SOURCES],
                "the files of the documents, for `--where`, and which are pieces of one",
            ),
            maybe(
                "corpus_embeddings",
                &[&kinds::EMBEDDINGS],
                "embeddings of `documents`",
            ),
            maybe("entities", &[&kinds::ENTITIES], "nodes of the graph"),
            maybe("relations", &[&kinds::RELATIONS], "names of relations"),
            maybe("triples", &[&kinds::TRIPLES], "triples of the graph"),
            maybe("links", &[&kinds::LINKS], "entities of each document"),
            maybe("nodes", &[&kinds::NODES], "which nodes are documents"),
            maybe(
                "labels",
                &[&kinds::LABELS],
                "how entities are written: finds them in questions, and shows them",
            ),
            maybe(
                "edge_weights",
                &[&kinds::EDGE_WEIGHTS],
                "weights of the triples, for ppr",
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
            maybe(
                "evidence",
                &[&kinds::EVIDENCE],
                "which facts the triples were made from: shows the sentence of each step of a path",
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
            maybe("graph", &[&kinds::GRAPH], "graph tensors, for `model`"),
            maybe("model", &[&kinds::MODEL], "the fine-tuned model"),
            maybe(
                "background",
                &[&kinds::BACKGROUND],
                "the background of `model` on `graph`; computed at each start if it is not given",
            ),
            maybe(
                "fusion",
                &[&kinds::FUSION],
                "weights of ranking features, for fused",
            ),
            InPort::of(
                "examples",
                &[&kinds::QUESTIONS],
                Arity::Any,
                "questions to show as examples; they change no answer",
            ),
        ]
    }

    /// The first of the ports that are connected without others that they need.
    pub(crate) fn incomplete(inputs: &Connected) -> Option<Problem> {
        let wired = is_connected(inputs);
        let on_graph = Self::ports()
            .into_iter()
            .map(|port| port.name)
            .filter(|port| {
                let alone = [
                    "documents",
                    "sources",
                    "corpus_embeddings",
                    "fusion",
                    "examples",
                ];
                !alone.contains(port)
            });
        let mut graph = on_graph.filter(|port| wired(port));
        if let Some(port) = graph.next()
            && let Some(problem) = needs(inputs, &format!("`{port}`"), &GRAPH)
        {
            return Some(problem);
        }
        for ports in TOGETHER {
            if wired(ports[0])
                && let Some(problem) = needs(inputs, &format!("`{}`", ports[0]), &ports[1..])
            {
                return Some(problem);
            }
        }
        None
    }

    /// Mistakes in the connections, at most one.
    fn problem(p: &RetrieverParams, inputs: &Connected) -> Option<Problem> {
        let wired = is_connected(inputs);
        let of_system: &[&str] = match p.system.as_ref().map(|s| s.0) {
            Some(s) if s.is(&MODEL) => &["model", "graph"],
            Some(s) if s.is(&PPR) => &GRAPH,
            Some(s) if s.is(&FUSED) => &["fusion"],
            Some(s) if s.is(&DENSE) => &["corpus_embeddings"],
            Some(s) if s.is(&RRF) && !wired("entities") => &["corpus_embeddings"],
            _ => &[],
        };
        let name = p.system.as_ref().map_or(BM25.name, |s| s.0.name);
        Self::incomplete(inputs).or_else(|| needs(inputs, &format!("system `{name}`"), of_system))
    }
}

/// The problem where something needs ports that are not connected.
pub(crate) fn needs(inputs: &Connected, asked: &str, ports: &[&'static str]) -> Option<Problem> {
    let wired = is_connected(inputs);
    let missing: Vec<&str> = ports.iter().copied().filter(|port| !wired(port)).collect();
    let missing = (!missing.is_empty()).then(|| listed(&missing))?;
    let problem = Problem::at_root(format!("{asked} needs {missing} as well"));
    Some(problem.hint(format!("connect {missing}")))
}

impl Operator for Retriever {
    type Params = RetrieverParams;
    const NAME: &'static str = "retriever";
    const VERSION: u32 = 1;
    const ANSWERS: bool = true;
    const ABOUT: &'static str =
        "names what answers questions in plain words: see `gfm-pipe ask` and `gfm-pipe serve`";

    fn schema() -> Schema {
        RetrieverParams::schema()
    }

    fn inputs() -> Vec<InPort> {
        Self::ports()
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "retriever",
            kind: &kinds::RETRIEVER,
            about: "what it is made of",
        }]
    }

    fn check(params: &RetrieverParams) -> Vec<Problem> {
        let problems = Embed::check(&params.encoder).into_iter();
        let within = problems.map(|mut problem| {
            problem.path.insert(0, PathSeg::Key("encoder".to_owned()));
            problem
        });
        let of_model = params.llm.as_ref().map(|llm| llm.problems(false));
        within.chain(of_model.unwrap_or_default()).collect()
    }

    fn check_inputs(params: &RetrieverParams, inputs: &Connected) -> Vec<Problem> {
        Self::problem(params, inputs).into_iter().collect()
    }

    fn files(params: &RetrieverParams, base: &Path) -> Vec<InputFile> {
        Embed::files(&params.encoder, base)
    }

    fn fetch(
        params: &RetrieverParams,
        base: &Path,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> OpResult<()> {
        Embed::fetch(&params.encoder, base, reporter, cancel)
    }

    fn fingerprint(params: &RetrieverParams, base: &Path) -> Option<String> {
        Embed::fingerprint(&params.encoder, base)
    }

    fn run(params: RetrieverParams, ctx: &Context) -> OpResult<()> {
        // That vectors are whole is only found out when they are loaded: reading them would take
        // most of the time.
        let about = check(&params, ctx)?;
        let count = |n: usize| -> ArrayRef { Arc::new(UInt64Array::from(vec![n as u64])) };
        let table = &kinds::RETRIEVER.tables[0];
        let row = columns::batch(
            table,
            vec![
                Arc::new(StringArray::from(vec![about.system])),
                count(about.documents),
                count(about.nodes),
                count(about.triples),
                Arc::new(StringArray::from(vec![about.encoder])),
            ],
        )?;
        ctx.write("retriever", table.name, &row)
    }

    fn answers(params: RetrieverParams, ctx: &Context) -> OpResult<Arc<dyn Answers>> {
        Ok(Arc::new(Ready::open(params, ctx)?))
    }
}
