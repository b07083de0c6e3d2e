//! The operator `build-kg`: reads the tables in order, and rejects rows that cannot be used.

use gfm_pipe_api::{
    Arity, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type, kinds,
};
use gfm_pipe_kg::tables::{Reject, Rejects};
use serde::{Deserialize, Serialize};

use super::documents::{self, Edge, Mentioned, NamedTitles};
use super::entities::{Appearance, Entities, Found, Source, too_many};
use super::normalize::Normalize;
use super::read;
use super::relations::Relations;
use super::row_of::RowOf;
use super::triples::{FactTriple, Triples};
use super::write::{self, Graph};

/// The operator `build-kg`.
pub struct BuildKg;

/// Parameters of [`BuildKg`].
#[derive(Debug, Serialize, Deserialize)]
pub struct BuildKgParams {
    /// Which written forms are the same entity.
    pub normalize: Normalize,
    /// Whether documents are nodes.
    pub document_nodes: bool,
    /// Weight of edges that come from titles.
    pub title_weight: f64,
}

impl Operator for BuildKg {
    type Params = BuildKgParams;
    const NAME: &'static str = "build-kg";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "makes a graph of what documents mention and say, with the documents as nodes";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "normalize",
                Type::one_of(&["unicode", "reference"]),
                "unicode",
                "which written forms are the same entity. unicode: NFKC and case folding, every script is kept; reference: \
                 GFM-RAG's rule, which keeps only a-z and 0-9, and makes entities only of facts",
            ),
            Field::new(
                "document_nodes",
                Type::Bool,
                true,
                "documents are nodes after all entities, with edges of their own; no: entities and facts only",
            ),
            Field::new(
                "title_weight",
                Type::float(0.0),
                2.0,
                "weight of `title of` and `mentions the title of` edges, where a fact has 1",
            )
            .at_most(1e6, "weights have 32 bits, and facts must still count"),
        ])
    }

    fn inputs() -> Vec<InPort> {
        let port = |name, kind, arity, about| InPort::of(name, kind, arity, about);
        vec![
            port(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::One,
                "documents with their titles",
            ),
            port(
                "facts",
                &[&kinds::FACTS],
                Arity::One,
                "what they say: triples",
            ),
            port(
                "mentions",
                &[&kinds::MENTIONS],
                Arity::Optional,
                "what they mention: entities besides those of facts; not read with `normalize: reference`",
            ),
            port(
                "named",
                &[&kinds::NAMED],
                Arity::Optional,
                "where they name each other: edges between documents",
            ),
            port(
                "sources",
                &[&kinds::SOURCES],
                Arity::Optional,
                "which are pieces of one: edges from each to the next",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "entities",
                &kinds::ENTITIES,
                "entities by first appearance in the documents, then nodes of documents",
            ),
            port(
                "relations",
                &kinds::RELATIONS,
                "relations of facts by first appearance, then those of documents, then all inverses",
            ),
            port(
                "triples",
                &kinds::TRIPLES,
                "distinct facts by first appearance, then edges of documents",
            ),
            port(
                "links",
                &kinds::LINKS,
                "entities of each document, and its own node",
            ),
            port("nodes", &kinds::NODES, "which nodes are documents"),
            port(
                "labels",
                &kinds::LABELS,
                "how entities and documents are written",
            ),
            port("edge_weights", &kinds::EDGE_WEIGHTS, "a weight per triple"),
            port("evidence", &kinds::EVIDENCE, "the facts of each triple"),
            port(
                "places",
                &kinds::PLACES,
                "the first row that gave each triple: `source` is the table, `line` its row, counted from one",
            ),
            port(
                "rejects",
                &kinds::REJECTS,
                "facts and mentions without a name after normalising; `source` and `line` as in `places`",
            ),
            port(
                "counts",
                &kinds::COUNTS,
                "facts, mentions, entities, triples, edges of documents by kind",
            ),
        ]
    }

    fn run(params: BuildKgParams, ctx: &Context) -> OpResult<()> {
        let titles = read::titles(ctx, ctx.input("documents")?)?;
        let mut reading = Reading::new(ctx, &titles, params.normalize)?;
        reading.facts(ctx)?;
        // The reference takes entities from facts only.
        if params.normalize == Normalize::Unicode {
            reading.mentions(ctx)?;
        }
        let graph = reading.graph(ctx, &params)?;
        write::graph(ctx, &graph, &titles, params.normalize)
    }
}

/// Collects facts and mentions while they are read. Entities have provisional numbers.
struct Reading<'a> {
    titles: &'a [String],
    normalize: Normalize,
    entities: Entities,
    relations: Relations,
    facts: Vec<FactTriple>,
    mentioned: Vec<Mentioned>,
    /// For each entity: the document that mentioned it last. It need not be noted again for it.
    last: Vec<u32>,
    rejects: Rejects,
    read: [u64; 2],
}

impl<'a> Reading<'a> {
    fn new(ctx: &Context, titles: &'a [String], normalize: Normalize) -> OpResult<Self> {
        Ok(Reading {
            titles,
            normalize,
            entities: Entities::new(),
            relations: Relations::new(),
            facts: Vec::new(),
            mentioned: Vec::new(),
            last: Vec::new(),
            rejects: Rejects::create(ctx)?,
            read: [0; 2],
        })
    }

    fn documents(&self) -> OpResult<u32> {
        u32::try_from(self.titles.len()).map_err(|_| too_many("documents"))
    }

    fn reject(&mut self, at: &Appearance, reason: &str, text: &str) -> OpResult<()> {
        self.rejects.push(&Reject {
            source: at.source.table(),
            line: Some(at.row + 1),
            item: Some(&self.titles[at.document as usize]),
            reason,
            text,
        })
    }

    fn entity(&mut self, written: &str, found: Found, at: Appearance) -> OpResult<u32> {
        let entity = self.entities.add(written, found, at)?;
        if entity as usize >= self.last.len() {
            self.last.resize(entity as usize + 1, u32::MAX);
        }
        let last = &mut self.last[entity as usize];
        if *last != at.document {
            *last = at.document;
            let place = match at.source {
                Source::Facts => RowOf::facts(at.row),
                Source::Mentions => RowOf::mentions(at.row),
            };
            self.mentioned.push(Mentioned {
                document: at.document,
                entity,
                place,
            });
        }
        Ok(entity)
    }

    fn facts(&mut self, ctx: &Context) -> OpResult<()> {
        let documents = self.documents()?;
        read::facts(ctx, ctx.input("facts")?, documents, &mut |fact| {
            self.fact(&fact)
        })
    }

    fn fact(&mut self, fact: &read::Fact<'_>) -> OpResult<()> {
        self.read[0] += 1;
        let at = |part| Appearance {
            document: fact.document,
            source: Source::Facts,
            row: fact.row,
            part,
        };
        let [subject, relation, object] = fact.parts;
        let named = (
            self.entities.find(subject, self.normalize),
            self.relations.find(relation, self.normalize),
            self.entities.find(object, self.normalize),
        );
        let (Some(head), Some(named_relation), Some(tail)) = named else {
            let empty = [
                ("subject", named.0.is_none()),
                ("relation", named.1.is_none()),
                ("object", named.2.is_none()),
            ];
            let empty = empty.iter().filter(|(_, empty)| *empty);
            let empty: Vec<&str> = empty.map(|(part, _)| *part).collect();
            let reason = format!(
                "no letter or digit is left of the {}",
                empty.join(" and the ")
            );
            return self.reject(&at(0), &reason, &fact.parts.join(", "));
        };
        let head = self.entity(subject, head, at(0))?;
        let tail = self.entity(object, tail, at(1))?;
        let relation = self.relations.add(relation, named_relation)?;
        self.facts.push(FactTriple {
            triple: [head, relation, tail],
            fact: fact.row,
        });
        Ok(())
    }

    fn mentions(&mut self, ctx: &Context) -> OpResult<()> {
        let Some(artifact) = ctx.input_opt("mentions") else {
            return Ok(());
        };
        let documents = self.documents()?;
        read::mentions(ctx, artifact, documents, &mut |mention| {
            self.read[1] += 1;
            let at = Appearance {
                document: mention.document,
                source: Source::Mentions,
                row: mention.row,
                part: 0,
            };
            match self.entities.find(mention.text, self.normalize) {
                Some(found) => self.entity(mention.text, found, at).map(drop),
                None => {
                    let reason = "no letter or digit is left of the mention";
                    self.reject(&at, reason, mention.text)
                }
            }
        })
    }

    /// Assigns ids, and adds the edges of documents.
    fn graph(self, ctx: &Context, params: &BuildKgParams) -> OpResult<Graph> {
        let documents = self.documents()?;
        let rejected = self.rejects.total();
        if rejected > 0 {
            ctx.warn(format!(
                "{rejected} facts or mentions rejected: see `gfm-pipe show {}`",
                ctx.typed("rejects")
            ));
        }
        self.rejects.finish()?;
        let ordered = self.entities.order();
        let entities = ordered.names.len() as u32;
        if params.document_nodes && entities.checked_add(documents).is_none() {
            return Err(too_many("entities and documents"));
        }
        let id = |number: u32| ordered.ids[number as usize];
        let triples = Triples::new(self.facts.into_iter().map(|fact| FactTriple {
            triple: [id(fact.triple[0]), fact.triple[1], id(fact.triple[2])],
            ..fact
        }));
        let mut mentioned = self.mentioned;
        for pair in &mut mentioned {
            pair.entity = id(pair.entity);
        }
        mentioned.sort_unstable();
        mentioned.dedup_by_key(|pair| (pair.document, pair.entity));
        let mut graph = Graph {
            names: ordered.names,
            entities,
            labels: ordered.labels,
            relations: self.relations.into_names(),
            triples,
            edges: Vec::new(),
            mentioned,
            documents: params.document_nodes.then_some(documents),
            read: self.read,
            rejected,
        };
        if params.document_nodes {
            graph.edges = edges(ctx, &graph, self.titles, params)?;
            let names = documents::node_names(self.titles, &graph.names);
            graph.names.extend(names);
        }
        let edges = graph.edges.len() + graph.mentioned_in().count();
        if graph.triples.all.is_empty() && edges == 0 {
            return Err(nothing(params));
        }
        Ok(graph)
    }
}

/// The edges of documents besides those of [`Graph::mentioned_in`], kind by kind.
fn edges(
    ctx: &Context,
    graph: &Graph,
    titles: &[String],
    params: &BuildKgParams,
) -> OpResult<Vec<Edge>> {
    let documents = titles.len() as u32;
    let (entities, weight) = (graph.entities, params.title_weight);
    // Both go through all titles and names, and neither needs the other.
    let (mut out, named) = rayon::join(
        || documents::titles_of(titles, &graph.names, params.normalize, weight),
        || named_titles(ctx, titles, entities, weight),
    );
    out.extend(named?);
    if let Some(artifact) = ctx.input_opt("sources") {
        let parents = read::parents(ctx, artifact, documents)?;
        out.extend(documents::next_pieces(&parents, entities));
    }
    Ok(out)
}

/// The edges to documents whose titles others mention.
fn named_titles(
    ctx: &Context,
    titles: &[String],
    entities: u32,
    weight: f64,
) -> OpResult<Vec<Edge>> {
    let Some(artifact) = ctx.input_opt("named") else {
        return Ok(Vec::new());
    };
    let mut named = NamedTitles::new(titles);
    read::named(ctx, artifact, titles.len() as u32, &mut |row| {
        named.add(row.document, row.target, row.text, row.row);
        Ok(())
    })?;
    Ok(named.edges(entities, weight))
}

fn nothing(params: &BuildKgParams) -> OpError {
    let error = OpError::new("the graph would have no edge");
    error.hint(match params {
        BuildKgParams {
            document_nodes: false,
            ..
        } => "there is no fact: leave `document_nodes` at yes, or extract facts",
        BuildKgParams {
            normalize: Normalize::Reference,
            ..
        } => "there is no fact, and `normalize: reference` takes nothing else: use `unicode`, or extract facts",
        _ => "there is neither a fact nor a mention: connect `mentions`, and see what `extract` found",
    })
}
