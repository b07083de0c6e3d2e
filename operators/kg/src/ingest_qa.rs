//! `ingest-qa`: a corpus, the entities of its documents and its questions, linked to the ids of a
//! graph.
//!
//! Reads the usual layout under `root`: `raw/dataset_corpus.json`, and if they exist
//! `processed/stage1/document2entities.json` and `processed/stage1/{train,valid,test}.json`. Every
//! title is a document, because every title of the corpus is a candidate when a retriever is
//! evaluated; titles of document2entities come first, in its order. There is one port per split, so
//! that a changed test file retrains nothing. `build-documents` makes the entity-document matrix.
//!
//! Without `entities` there is no graph: titles, texts and questions are read, and names of
//! entities are ignored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringBuilder, UInt32Array};
use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, InputFile, Kind, OpError, OpResult, Operator, OutPort,
    Schema, Type, kinds,
};
use serde::{Deserialize, Serialize};

use crate::json::{self, Document, Json, Placed};
use crate::layout::{CORPUS, MENTIONS, SPLITS};
use crate::names::{Names, entity_names};
use crate::questions::{Known, Split, Tally};
use crate::reasons;
use crate::tables::{Piece, Places, ROWS, Reject, Rejects, Table, write_counts};

/// The operator `ingest-qa`.
pub struct IngestQa;

/// Parameters of [`IngestQa`].
#[derive(Debug, Serialize, Deserialize)]
pub struct QaParams {
    /// Folder of the data set.
    pub root: PathBuf,
    /// Name of the data set.
    pub dataset: String,
}

static TAKES: [&Kind; 1] = [&kinds::ENTITIES];

impl Operator for IngestQa {
    type Params = QaParams;
    const NAME: &'static str = "ingest-qa";
    const VERSION: u32 = 2;
    const ABOUT: &'static str =
        "reads a corpus, the entities of its documents and its questions, by the ids of a graph";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required(
                "root",
                Type::Path,
                "folder of the data set, with raw/ and processed/stage1/",
            ),
            Field::required(
                "dataset",
                Type::Text,
                "name of the data set in tables of results",
            ),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "entities",
            accepts: Accepts::Kinds(&TAKES),
            arity: Arity::Optional,
            about: "entities of the graph the names are looked up in; without it, documents and questions have no entities",
        }]
    }

    fn outputs() -> Vec<OutPort> {
        vec![
            OutPort {
                name: "documents",
                kind: &kinds::DOCUMENTS,
                about: "all titles with their texts",
            },
            OutPort {
                name: "links",
                kind: &kinds::LINKS,
                about: "which entities a document mentions",
            },
            OutPort {
                name: "train",
                kind: &kinds::QUESTIONS,
                about: "training questions; empty without a train.json",
            },
            OutPort {
                name: "valid",
                kind: &kinds::QUESTIONS,
                about: "validation questions; empty without a valid.json",
            },
            OutPort {
                name: "test",
                kind: &kinds::QUESTIONS,
                about: "test questions; empty without a test.json",
            },
            OutPort {
                name: "rejects",
                kind: &kinds::REJECTS,
                about: "names and values that could not be used",
            },
            OutPort {
                name: "places",
                kind: &kinds::PLACES,
                about: "the lines of each document and question",
            },
            OutPort {
                name: "counts",
                kind: &kinds::COUNTS,
                about: "documents, links and, by split, questions, unknown names, questions that cannot be asked",
            },
        ]
    }

    fn files(params: &QaParams, _: &Path) -> Vec<InputFile> {
        let file = |name: &str, required| InputFile::new(params.root.join(name), required);
        let mut files = vec![file(CORPUS, true), file(MENTIONS, false)];
        files.extend(SPLITS.iter().map(|(_, name)| file(name, false)));
        files
    }

    fn run(params: QaParams, ctx: &Context) -> OpResult<()> {
        let layout = Layout::check(ctx, &params.root)?;
        let entities = ctx.input_opt("entities").map(entity_names).transpose()?;
        layout.tell(ctx, entities.is_some());
        let mut rejects = Rejects::create(ctx)?;
        let mut places = Places::create(ctx)?;
        let step = |done: u64, note: &str| -> OpResult<()> {
            ctx.check_cancelled()?;
            ctx.progress(done, 5, "files", note);
            Ok(())
        };
        step(0, MENTIONS)?;
        let mentions = if layout.mentions {
            object(ctx, &params.root, MENTIONS, &mut rejects)?
        } else {
            Vec::new()
        };
        step(1, CORPUS)?;
        let corpus = object(ctx, &params.root, CORPUS, &mut rejects)?;
        let mut counts = Vec::new();
        let titles = known_titles(&params, &mentions, &corpus)?;
        for (source, pairs) in [(MENTIONS, &mentions), (CORPUS, &corpus)] {
            for (title, Placed { line, .. }) in pairs {
                let id = id_of(&titles, title)?;
                places.push("documents", u64::from(id), source, *line)?;
            }
        }
        write_documents(ctx, &titles, &mentions, corpus, &mut rejects, &mut counts)?;
        let known = entities.as_ref().filter(|_| layout.mentions);
        let named = known.map(|known| (known, mentions));
        write_links(ctx, named, &titles, &mut rejects, &mut counts)?;
        for (i, ((name, source), present)) in SPLITS.iter().zip(layout.splits).enumerate() {
            step(2 + i as u64, source)?;
            let items = if present {
                list(ctx, &params.root, source)?
            } else {
                Vec::new()
            };
            let split = Split {
                dataset: &params.dataset,
                name,
                source,
                known: Known {
                    entities: entities.as_ref(),
                    titles: &titles,
                },
            };
            let tally = split.write(ctx, items, &mut rejects, &mut places)?;
            if tally.not_askable > 0 && entities.is_some() {
                ctx.warn(format!(
                    "{name}: {} of {} questions name no entity of the graph: they are kept and score 0",
                    tally.not_askable, tally.questions
                ));
            }
            count_split(name, &tally, &mut counts);
        }
        step(5, "")?;
        let rejected = rejects.total();
        rejects.finish()?;
        places.finish()?;
        if rejected > 0 {
            ctx.warn(format!(
                "{rejected} names or values rejected: see `gfm-pipe show {}`",
                ctx.typed("rejects")
            ));
        }
        counts.push(("rejected".to_owned(), rejected));
        write_counts(ctx, &counts)
    }
}

/// Which of the optional files exist.
struct Layout {
    mentions: bool,
    /// In the order of [`SPLITS`].
    splits: [bool; 3],
}

impl Layout {
    fn check(ctx: &Context, root: &Path) -> OpResult<Layout> {
        if !ctx.path(root).is_dir() {
            return Err(OpError::new("there is no such folder").file(root).hint(
                "check `root`; it is relative to the working directory of the run, which `-C DIR` changes",
            ));
        }
        let there = |name: &str| ctx.path(root).join(name).is_file();
        if !there(CORPUS) {
            return Err(OpError::new("there is no such file")
                .file(root.join(CORPUS))
                .hint(format!("a data set has {CORPUS} under `root`")));
        }
        Ok(Layout {
            mentions: there(MENTIONS),
            splits: SPLITS.map(|(_, name)| there(name)),
        })
    }

    /// Reports which files are missing, and what follows from that.
    fn tell(&self, ctx: &Context, graph: bool) {
        match (graph, self.mentions) {
            (true, false) => ctx.warn(format!(
                "there is no {MENTIONS}: no document is tied to an entity of the graph"
            )),
            (false, true) => ctx.info(format!(
                "nothing is connected to `entities`: only titles are taken from {MENTIONS}"
            )),
            _ => {}
        }
        if self.splits == [false; 3] {
            let names = SPLITS.map(|(_, name)| name).join(", ");
            ctx.info(format!(
                "the data set has no questions: none of {names} is there"
            ));
        }
    }
}

fn object(
    ctx: &Context,
    root: &Path,
    source: &str,
    rejects: &mut Rejects,
) -> OpResult<Vec<(String, Placed)>> {
    let shown = root.join(source);
    match json::read(&ctx.path(&shown), &shown)? {
        Document::Object(pairs) => json::unique(pairs, |title, earlier| {
            rejects.push(&Reject {
                source,
                line: Some(earlier.line),
                item: Some(title),
                reason: reasons::TITLE_TWICE,
                text: &earlier.json.shown(),
            })
        }),
        other => Err(
            OpError::data(format!("this is {}, not an object", other.what()))
                .file(shown)
                .hint(object_hint(source, &other)),
        ),
    }
}

/// A hint: what a file that maps titles looks like, and how to convert a list of objects.
fn object_hint(source: &str, found: &Document) -> String {
    let (value, field) = if source == CORPUS {
        ("\"text\"", "text")
    } else {
        ("[\"entity\", …]", "entities")
    };
    let form = format!("the file is one object, {{\"title\": {value}, …}}");
    let slurp = match found {
        Document::List(_) => "",
        Document::Lines(_) => "-s ",
        _ => return form,
    };
    format!(
        "{form}; objects with `title` and `{field}` become one with: \
         jq {slurp}'map({{(.title): .{field}}}) | add' OLD > NEW"
    )
}

fn list(ctx: &Context, root: &Path, source: &str) -> OpResult<Vec<Placed>> {
    let shown = root.join(source);
    match json::read(&ctx.path(&shown), &shown)? {
        Document::List(items) | Document::Lines(items) => Ok(items),
        // JSON Lines of a single line.
        Document::Object(pairs) if pairs.iter().any(|(key, _)| key == "question") => {
            let line = pairs.first().map_or(1, |(_, placed)| placed.line);
            let pairs = pairs.into_iter().map(|(key, placed)| (key, placed.json));
            Ok(vec![Placed {
                json: Json::Object(pairs.collect()),
                line,
            }])
        }
        other => Err(
            OpError::data(format!("this is {}, not a list", other.what()))
                .file(shown)
                .hint("the file is one list of questions, [{\"id\": …, \"question\": …}, …], or one question a line"),
        ),
    }
}

/// Every distinct title, by document id.
fn known_titles(
    params: &QaParams,
    mentions: &[(String, Placed)],
    corpus: &[(String, Placed)],
) -> OpResult<Names> {
    let mut titles = Names::new(u32::MAX);
    for (title, _) in mentions.iter().chain(corpus) {
        titles.intern(title).ok_or_else(|| {
            OpError::data("more than 4294967295 documents").file(params.root.join(CORPUS))
        })?;
    }
    if titles.is_empty() {
        return Err(OpError::data("the corpus has no document")
            .file(params.root.join(CORPUS))
            .hint("the file is one object, {\"title\": \"text\", …}"));
    }
    Ok(titles)
}

fn id_of(titles: &Names, title: &str) -> OpResult<u32> {
    titles
        .find(title)
        .ok_or_else(|| OpError::internal(format!("document `{title}` has no id")))
}

fn write_documents(
    ctx: &Context,
    titles: &Names,
    mentions: &[(String, Placed)],
    corpus: Vec<(String, Placed)>,
    rejects: &mut Rejects,
    counts: &mut Vec<(String, u64)>,
) -> OpResult<()> {
    let mut texts: Vec<Option<String>> = vec![None; titles.len() as usize];
    for (title, Placed { json, line }) in corpus {
        let text = match json {
            Json::Text(text) => text,
            other => {
                rejects.push(&Reject {
                    source: CORPUS,
                    line: Some(line),
                    item: Some(&title),
                    reason: &format!(
                        "the document is {}, not a text: kept with an empty text",
                        other.what()
                    ),
                    text: &other.shown(),
                })?;
                String::new()
            }
        };
        texts[id_of(titles, &title)? as usize] = Some(text);
    }
    let missing = texts.iter().filter(|t| t.is_none()).count() as u64;
    counts.extend([
        ("documents".to_owned(), u64::from(titles.len())),
        ("documents_not_in_corpus".to_owned(), missing),
        (
            "documents_not_in_document2entities".to_owned(),
            u64::from(titles.len()) - mentions.len() as u64,
        ),
    ]);

    let mut table = Table::create(ctx, "documents", &kinds::DOCUMENTS, "documents")?;
    let mut piece = Piece::default();
    let (mut names, mut bodies, mut there) =
        (StringBuilder::new(), StringBuilder::new(), Vec::new());
    let mut first = 0u32;
    let last = titles.len() - 1;
    for (id, (title, text)) in (0u32..).zip(titles.iter().zip(texts)) {
        if text.is_none() {
            rejects.push(&Reject {
                source: MENTIONS,
                // A title without a text came from the mentions, which have the first ids, in their
                // order.
                line: mentions.get(id as usize).map(|(_, placed)| placed.line),
                item: Some(title),
                reason: reasons::NOT_IN_CORPUS,
                text: title,
            })?;
        }
        there.push(text.is_some());
        let text = text.unwrap_or_default();
        names.append_value(title);
        bodies.append_value(&text);
        if piece.add(title.len() + text.len()) || id == last {
            ctx.check_cancelled()?;
            piece.take();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(UInt32Array::from_iter_values(first..=id)),
                Arc::new(names.finish()),
                Arc::new(bodies.finish()),
                Arc::new(BooleanArray::from(std::mem::take(&mut there))),
            ];
            table.append(columns)?;
            first = id + 1;
        }
    }
    table.finish()
}

/// Writes the entities of documents: their names, looked up in those of the graph.
fn write_links(
    ctx: &Context,
    named: Option<(&Names, Vec<(String, Placed)>)>,
    titles: &Names,
    rejects: &mut Rejects,
    counts: &mut Vec<(String, u64)>,
) -> OpResult<()> {
    let mut table = Table::create(ctx, "links", &kinds::LINKS, "links")?;
    let (mut documents, mut linked) = (Vec::new(), Vec::new());
    let (mut total, mut unknown) = (0u64, 0u64);
    let nobody = Names::new(0);
    let looked = named.is_some();
    let (entities, mentions) = named.unwrap_or((&nobody, Vec::new()));
    // Titles that only the corpus has mention nothing.
    let mut bare = u64::from(titles.len()) - mentions.len() as u64;
    let mut write = |documents: &mut Vec<u32>, linked: &mut Vec<u32>| {
        table.append(vec![
            Arc::new(UInt32Array::from(std::mem::take(documents))),
            Arc::new(UInt32Array::from(std::mem::take(linked))),
        ])
    };
    for (title, Placed { json, line }) in mentions {
        let document = id_of(titles, &title)?;
        let mut reject = |reason: &str, text: &str| {
            rejects.push(&Reject {
                source: MENTIONS,
                line: Some(line),
                item: Some(&title),
                reason,
                text,
            })
        };
        let mut names = Names::new(u32::MAX);
        let items = match json {
            Json::List(items) => items,
            other => {
                let reason = format!("the entities are {}, not a list of texts", other.what());
                reject(&reason, &other.shown())?;
                Vec::new()
            }
        };
        let before = total;
        for item in items {
            let Json::Text(name) = item else {
                let reason = format!("the list has {} where an entity belongs", item.what());
                reject(&reason, &item.shown())?;
                continue;
            };
            let known_names = names.len();
            names.intern(&name);
            if names.len() == known_names {
                continue;
            }
            match entities.find(&name) {
                Some(id) => {
                    total += 1;
                    documents.push(document);
                    linked.push(id);
                }
                None => {
                    unknown += 1;
                    reject(reasons::DOCUMENT_ENTITY, &name)?;
                }
            }
        }
        bare += u64::from(total == before);
        if documents.len() >= ROWS {
            ctx.check_cancelled()?;
            write(&mut documents, &mut linked)?;
        }
    }
    write(&mut documents, &mut linked)?;
    table.finish()?;
    if total == 0 && looked {
        ctx.warn(
            "no entity of any document is in the graph: are kg.txt and document2entities.json of the same data set?",
        );
    }
    counts.extend([
        ("links".to_owned(), total),
        ("unknown_document_entities".to_owned(), unknown),
        ("documents_without_entity".to_owned(), bare),
    ]);
    Ok(())
}

fn count_split(split: &str, tally: &Tally, counts: &mut Vec<(String, u64)>) {
    let values = [
        ("questions", tally.questions),
        ("not_askable", tally.not_askable),
        ("without_gold_document", tally.without_gold),
        ("unknown_question_entities", tally.unknown_entities),
        ("unknown_supporting_entities", tally.unknown_supporting),
        ("unknown_gold_titles", tally.unknown_titles),
    ];
    counts.extend(values.map(|(name, value)| (format!("{split}.{name}"), value)));
}
