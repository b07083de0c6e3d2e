//! The operator `join-equivalent`: adds edges between near names to a graph.

use ahash::AHashSet;
use arrow::array::Array;
use gfm_pipe_api::artifact::check_made_from;
use gfm_pipe_api::memory::Demand;
use gfm_pipe_api::node_types::{ENTITY, NodeTypes};
use gfm_pipe_api::{
    Arity, Artifact, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type,
    columns, kinds,
};
use gfm_pipe_kg::names::{Names, entity_names};
use gfm_pipe_kg::tables::{write_counts, write_relations};
use serde::{Deserialize, Serialize};

use super::pairs::{Pair, Pairs, Rules, pairs};
use crate::rows::{Cell, Rows};

/// Name of the relation between near names.
const RELATION: &str = "equivalent";

/// The operator `join-equivalent`.
pub struct JoinEquivalent;

/// Parameters of [`JoinEquivalent`].
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinParams {
    /// Least cosine of two names that are joined.
    pub threshold: f64,
    /// Number of nearest names that count.
    pub neighbours: usize,
    /// Whether each name must be among the other's nearest.
    pub mutual: bool,
    /// Weight of an edge between equal vectors.
    pub weight: f64,
    /// Largest number of names that are all compared with each other.
    pub exact: usize,
}

impl Operator for JoinEquivalent {
    type Params = JoinParams;
    const NAME: &'static str = "join-equivalent";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "adds edges between entities whose names mean nearly the same";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "threshold",
                Type::float(0.0),
                0.8,
                "least cosine of the vectors of two names that are joined",
            )
            .at_most(1.0, "a cosine is no larger"),
            Field::new(
                "neighbours",
                Type::int(1),
                10,
                "number of nearest names that count for each name; names with other digits are ignored",
            )
            .at_most(1000.0, "they are held in memory for each name"),
            Field::new(
                "mutual",
                Type::Bool,
                true,
                "each name must be among the other's nearest; no: one of both is enough",
            ),
            Field::new(
                "weight",
                Type::float(0.0),
                1.0,
                "weight of an edge, times the cosine, where a fact has 1",
            )
            .at_most(1e6, "weights have 32 bits, and facts must still count"),
            Field::new(
                "exact",
                Type::int(0),
                50_000,
                "most names with the same digits (or none) that are all compared with each other; \
                 for more names, almost all near pairs are found",
            )
            .at_most(1e9, "there are no more ids"),
        ])
    }

    fn inputs() -> Vec<InPort> {
        let port = |name, kind, arity, about| InPort::of(name, kind, arity, about);
        vec![
            port(
                "entities",
                &[&kinds::ENTITIES],
                Arity::One,
                "entities with their names",
            ),
            port(
                "relations",
                &[&kinds::RELATIONS],
                Arity::One,
                "relations of the graph",
            ),
            port("triples", &[&kinds::TRIPLES], Arity::One, "the graph"),
            port(
                "embeddings",
                &[&kinds::EMBEDDINGS],
                Arity::One,
                "embeddings of `entities`",
            ),
            port(
                "nodes",
                &[&kinds::NODES],
                Arity::Optional,
                "which entities are documents: they are not joined",
            ),
            port(
                "edge_weights",
                &[&kinds::EDGE_WEIGHTS],
                Arity::Optional,
                "weights of `triples`; 1 where there are none",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "relations",
                &kinds::RELATIONS,
                "the relations and `equivalent`, the last before all inverses",
            ),
            port(
                "triples",
                &kinds::TRIPLES,
                "the triples, then one for each pair of near names, from the lower id to the higher",
            ),
            port("edge_weights", &kinds::EDGE_WEIGHTS, "a weight per triple"),
            port(
                "counts",
                &kinds::COUNTS,
                "names, pairs, and how they were found",
            ),
        ]
    }

    fn run(params: JoinParams, ctx: &Context) -> OpResult<()> {
        let names = entity_names(ctx.input("entities")?)?;
        let names: Vec<&str> = names.iter().collect();
        let entities = entities(ctx, &names)?;
        let found = near(ctx, &names, &entities, &params)?;
        let mut relations = Relations::read(ctx.input("relations")?)?;
        let added = add(ctx, &found.all, &mut relations, params.weight)?;
        write_relations(ctx, &relations.names, &relations.triples)?;
        let counts = [
            ("entities", entities.len() as u64),
            ("entities_without_vector", found.without_vector),
            ("entities_in_lists", found.approximate),
            ("pairs", found.all.len() as u64),
            ("pairs_already_joined", found.all.len() as u64 - added),
            ("edges_equivalent", added),
        ];
        write_counts(ctx, &counts.map(|(name, n)| (name.to_owned(), n)))
    }
}

/// Ids and names of the nodes that are not documents.
fn entities<'a>(ctx: &Context, names: &[&'a str]) -> OpResult<Vec<(u32, &'a str)>> {
    let all = (0..).zip(names.iter().copied());
    let Some(artifact) = ctx.input_opt("nodes") else {
        return Ok(all.collect());
    };
    let types = NodeTypes::read(artifact, names.len())?;
    let typed = all.zip(types.types());
    Ok(typed
        .filter(|(_, of)| *of == ENTITY)
        .map(|(e, _)| e)
        .collect())
}

fn near(
    ctx: &Context,
    names: &[&str],
    entities: &[(u32, &str)],
    params: &JoinParams,
) -> OpResult<Pairs> {
    let artifact = ctx.input("embeddings")?;
    check_made_from(artifact, names, &ctx.input("entities")?.name)?;
    let (dim, vectors) = columns::vectors(&artifact.read("vectors")?, "vector")?;
    if vectors.len() != names.len() * dim {
        let problem = format!("there are not {} vectors", names.len());
        return Err(OpError::new(problem).artifact(&artifact.name));
    }
    Demand::new()
        .and(
            "vectors of length one",
            &[entities.len(), dim, size_of::<f32>()],
        )
        .check("the number of entities")?;
    let rules = Rules {
        threshold: params.threshold,
        neighbours: params.neighbours,
        mutual: params.mutual,
        exact: params.exact,
    };
    let found = pairs(ctx, entities, &vectors, dim, &rules)?;
    if found.without_vector > 0 {
        ctx.warn(format!(
            "{} of {} names have the zero vector and are near nothing",
            found.without_vector,
            entities.len()
        ));
    }
    Ok(found)
}

/// The direct relations of the graph.
struct Relations {
    names: Names,
    /// Number of triples of each relation.
    triples: Vec<u64>,
}

impl Relations {
    fn read(artifact: &Artifact) -> OpResult<Relations> {
        let mut out = Relations {
            names: Names::new(u32::MAX / 2),
            triples: Vec::new(),
        };
        for batch in artifact.batches("relations")? {
            let batch = batch?;
            let ids = columns::u32s(&batch, "id")?;
            let names = columns::text(&batch, "name")?;
            let inverse_of = columns::u32s(&batch, "inverse_of")?;
            let triples = columns::u64s(&batch, "triples")?;
            for (i, id) in ids.values().iter().enumerate() {
                // Inverses come after all direct relations, and are added again when written.
                if inverse_of.is_valid(i) {
                    continue;
                }
                if out.names.intern(names.value(i)) != Some(*id) {
                    let problem = "a relation's row is not its id, or its name comes twice";
                    return Err(OpError::data(problem)
                        .artifact(&artifact.name)
                        .row(u64::from(*id)));
                }
                out.triples.push(triples.value(i));
            }
        }
        Ok(out)
    }

    /// The id of the relation between near names. If it is new, it is the last.
    fn equivalent(&mut self) -> OpResult<u32> {
        let id = self.names.intern(RELATION);
        let id = id.ok_or_else(|| OpError::data("there are too many relations for 32-bit ids"))?;
        self.triples.resize(self.names.len() as usize, 0);
        Ok(id)
    }
}

/// Writes the existing triples and weights, and the pairs that are not among them. Returns the
/// number of triples added.
fn add(ctx: &Context, pairs: &[Pair], relations: &mut Relations, weight: f64) -> OpResult<u64> {
    let known = relations.names.len();
    let equivalent = relations.equivalent()?;
    let mut triples = Rows::create(ctx, "triples", &kinds::TRIPLES, "triples")?;
    let mut weights = Rows::create(ctx, "edge_weights", &kinds::EDGE_WEIGHTS, "edge_weights")?;
    let mut push = |[head, relation, tail]: [u32; 3], weight: f32| {
        weights.push([Cell::Weight(weight)])?;
        triples.push([Cell::Id(head), Cell::Id(relation), Cell::Id(tail)])
    };
    let artifact = ctx.input("triples")?;
    let given = given_weights(ctx, artifact)?;
    let mut row = 0;
    let mut joined: AHashSet<[u32; 2]> = AHashSet::new();
    for batch in artifact.batches("triples")? {
        ctx.check_cancelled()?;
        let batch = batch?;
        let [heads, direct, tails] =
            ["head", "relation", "tail"].map(|name| columns::u32s(&batch, name));
        let (heads, direct, tails) = (heads?, direct?, tails?);
        for i in 0..batch.num_rows() {
            let [head, relation, tail] = [heads, direct, tails].map(|column| column.value(i));
            if relation >= known {
                return Err(OpError::new(format!(
                    "a triple of relation {relation}: there are {known} direct relations"
                ))
                .artifact(&artifact.name)
                .row(row as u64)
                .hint("connect `relations` and `triples` of the same stage"));
            }
            if relation == equivalent {
                joined.insert([head.min(tail), head.max(tail)]);
            }
            push(
                [head, relation, tail],
                given.as_ref().map_or(1.0, |w| w[row]),
            )?;
            row += 1;
        }
    }
    let mut added = 0;
    for pair in pairs.iter().filter(|p| !joined.contains(&p.ids)) {
        let [head, tail] = pair.ids;
        let cosine = pair.cosine.clamp(0.0, 1.0);
        push([head, equivalent, tail], (weight * cosine) as f32)?;
        added += 1;
    }
    relations.triples[equivalent as usize] += added;
    triples.finish()?;
    weights.finish()?;
    Ok(added)
}

/// The weights of the existing triples, where connected.
fn given_weights(ctx: &Context, triples: &Artifact) -> OpResult<Option<Vec<f32>>> {
    let Some(artifact) = ctx.input_opt("edge_weights") else {
        return Ok(None);
    };
    let table = artifact.read("edge_weights")?;
    let weights = columns::f32s(&table, "weight")?.values().to_vec();
    let rows = triples.rows("triples")?;
    if weights.len() != rows {
        return Err(OpError::new(format!(
            "there are {} weights of {rows} triples",
            weights.len()
        ))
        .artifact(&artifact.name)
        .hint("connect `triples` and `edge_weights` of the same stage"));
    }
    Ok(Some(weights))
}
