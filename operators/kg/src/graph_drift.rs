//! `graph-drift`: how far a graph has moved since a model was trained on an earlier one.
//!
//! A graph foundation model reads relations by the text of their names and knows no entity, so it
//! can answer on a graph that it has not seen. What it has not learned is how to use relations that
//! were not there, which is why these count most.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, Float64Array, StringArray};
use gfm_pipe_api::{
    Accepts, Arity, Artifact, Connected, Context, Field, InPort, OpResult, Operator, OutPort,
    Problem, Schema, Type, columns, is_connected, kinds,
};
use serde::{Deserialize, Serialize};

use crate::names::entity_names;
use crate::read;

/// The operator `graph-drift`.
pub struct GraphDrift;

/// Parameters of [`GraphDrift`].
#[derive(Debug, Serialize, Deserialize)]
pub struct DriftParams {
    new_relations_at_most: f64,
    new_entities_at_most: f64,
    without_start_at_most: f64,
}

/// What is measured: name and meaning, in the order of the table.
const MEASURES: [(&str, &str); 8] = [
    (
        "entities_new",
        "share of entities that the earlier graph lacks, by name",
    ),
    (
        "entities_gone",
        "share of the earlier graph's entities that are not there any more",
    ),
    (
        "relations_new",
        "share of relations that the earlier graph lacks, by name",
    ),
    (
        TRIPLES_OF_NEW_RELATIONS,
        "share of triples whose relation the earlier graph lacks",
    ),
    (
        TRIPLES_AT_NEW_ENTITIES,
        "share of triples with a head or tail that the earlier graph lacks",
    ),
    (
        WITHOUT_START,
        "share of questions that start nowhere; missing without `starts`",
    ),
    (
        "trained_questions_without_start",
        "the same of the questions that the model was trained on",
    ),
    (
        "starts_at_new_entities",
        "share of the weight of all starts at entities that are new",
    ),
];

const TRIPLES_OF_NEW_RELATIONS: &str = "triples_of_new_relations";
const TRIPLES_AT_NEW_ENTITIES: &str = "triples_at_new_entities";
const WITHOUT_START: &str = "questions_without_start";

/// A row of `drift` for advice: the measure, its limit, what to do.
type Limit = (&'static str, f64, &'static str);

fn limits(params: &DriftParams) -> [Limit; 3] {
    [
        (
            TRIPLES_OF_NEW_RELATIONS,
            params.new_relations_at_most,
            "of the triples have a relation that the model was not trained with: train it again, or \
             continue from it (`finetune` with `in.init` from `pinned`)",
        ),
        (
            TRIPLES_AT_NEW_ENTITIES,
            params.new_entities_at_most,
            "of the triples are at entities that are new: it is another graph than the model was \
             trained on, so compare it with `ppr` and `fused` on questions about the new documents",
        ),
        (
            WITHOUT_START,
            params.without_start_at_most,
            "of the questions start nowhere in the graph, and no model can help them: look at what \
             `link-questions` finds, or retrieve with `system: fused`",
        ),
    ]
}

impl Operator for GraphDrift {
    type Params = DriftParams;
    const NAME: &'static str = "graph-drift";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "says how far a graph has moved since a model was trained";

    fn schema() -> Schema {
        let share = |name, default, about| {
            Field::new(name, Type::Float { min: 0.0, max: 1.0 }, default, about).no_effect()
        };
        Schema::new(vec![
            share(
                "new_relations_at_most",
                0.1,
                "advise training again above this share of triples with new relations",
            ),
            share(
                "new_entities_at_most",
                0.5,
                "say that it is another graph above this share of triples at new entities",
            ),
            share(
                "without_start_at_most",
                0.1,
                "warn above this share of questions that start nowhere",
            ),
        ])
    }

    fn inputs() -> Vec<InPort> {
        let port = |name, kinds, arity, about| InPort {
            name,
            accepts: Accepts::Kinds(kinds),
            arity,
            about,
        };
        vec![
            port(
                "entities",
                &[&kinds::ENTITIES],
                Arity::One,
                "entities of today's graph",
            ),
            port(
                "relations",
                &[&kinds::RELATIONS],
                Arity::One,
                "its relations",
            ),
            port("triples", &[&kinds::TRIPLES], Arity::One, "its triples"),
            port(
                "trained_entities",
                &[&kinds::ENTITIES],
                Arity::One,
                "entities of the graph that the model was trained on (`pinned`)",
            ),
            port(
                "trained_relations",
                &[&kinds::RELATIONS],
                Arity::One,
                "relations of that graph (`pinned`)",
            ),
            port(
                "starts",
                &[&kinds::STARTS],
                Arity::Any,
                "where today's questions start",
            ),
            port(
                "trained_starts",
                &[&kinds::STARTS],
                Arity::Any,
                "where the questions started that the model was trained on (`pinned`)",
            ),
        ]
    }

    fn check_inputs(_: &DriftParams, inputs: &Connected) -> Vec<Problem> {
        let connected = is_connected(inputs);
        let alone = connected("trained_starts") && !connected("starts");
        let why = "`trained_starts` is compared with `starts`, which is not connected";
        alone
            .then(|| Problem::at("in.trained_starts", why.to_owned()))
            .into_iter()
            .collect()
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "drift",
            kind: &kinds::DRIFT,
            about: "shares of what is new, gone, and without a start",
        }]
    }

    fn run(_: DriftParams, ctx: &Context) -> OpResult<()> {
        let entities = entity_names(ctx.input("entities")?)?;
        let trained = entity_names(ctx.input("trained_entities")?)?;
        let new: Vec<bool> = entities
            .iter()
            .map(|name| trained.find(name).is_none())
            .collect();
        let gone = trained
            .iter()
            .filter(|name| entities.find(name).is_none())
            .count();
        let relations = direct(ctx.input("relations")?)?;
        let known: HashSet<String> = direct(ctx.input("trained_relations")?)?
            .into_iter()
            .collect();
        let new_relation: Vec<bool> = relations.iter().map(|name| !known.contains(name)).collect();
        let of = |all: &[bool]| all.iter().filter(|new| **new).count();
        let mut values: BTreeMap<&str, Option<f64>> = BTreeMap::new();
        values.insert("entities_new", share(of(&new), new.len()));
        values.insert("entities_gone", share(gone, trained.len() as usize));
        values.insert("relations_new", share(of(&new_relation), relations.len()));
        let triples = read::triples(ctx.input("triples")?, entities.len(), relations.len())?;
        let total = triples.len();
        let at_new = triples
            .iter()
            .filter(|[head, _, tail]| new[*head as usize] || new[*tail as usize]);
        let at_new = at_new.count();
        let of_new = triples
            .iter()
            .filter(|[_, relation, _]| new_relation[*relation as usize]);
        let of_new = of_new.count();
        values.insert(TRIPLES_OF_NEW_RELATIONS, share(of_new, total));
        values.insert(TRIPLES_AT_NEW_ENTITIES, share(at_new, total));
        let starts = Starts::read(ctx.inputs("starts"), Some(&new))?;
        values.insert(WITHOUT_START, share(starts.without, starts.questions));
        values.insert(
            "starts_at_new_entities",
            (starts.weight > 0.0).then(|| starts.weight_at_new / starts.weight),
        );
        let before = Starts::read(ctx.inputs("trained_starts"), None)?;
        values.insert(
            "trained_questions_without_start",
            share(before.without, before.questions),
        );
        let value = |name: &str| values.get(name).copied().flatten();
        let table = &kinds::DRIFT.tables[0];
        let rows = columns::batch(
            table,
            vec![
                Arc::new(StringArray::from_iter_values(
                    MEASURES.map(|(name, _)| name),
                )),
                Arc::new(Float64Array::from_iter(
                    MEASURES.map(|(name, _)| value(name)),
                )),
                Arc::new(StringArray::from_iter_values(
                    MEASURES.map(|(_, about)| about),
                )),
            ],
        )?;
        ctx.write("drift", table.name, &rows)
    }

    fn remarks(
        params: &DriftParams,
        outputs: &BTreeMap<String, Artifact>,
    ) -> OpResult<Vec<String>> {
        let Some(drift) = outputs.get("drift") else {
            return Ok(Vec::new());
        };
        let table = drift.read("drift")?;
        let measures = columns::text(&table, "measure")?;
        let values = columns::f64s(&table, "value")?;
        let value = |name: &str| {
            let row = measures.iter().position(|m| m == Some(name))?;
            (!values.is_null(row)).then(|| values.value(row))
        };
        let over = limits(params)
            .into_iter()
            .filter_map(|(name, most, advice)| {
                let share = value(name).filter(|share| *share > most)?;
                Some(format!("{:.0} % {advice}", share * 100.0))
            });
        Ok(over.collect())
    }
}

/// `None` for a share of nothing.
fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

/// Names of direct relations, which come before their inverses.
fn direct(relations: &Artifact) -> OpResult<Vec<String>> {
    let all = read::relations(relations)?.into_iter();
    Ok(all.filter(|r| r.direct).map(|r| r.name).collect())
}

/// Where questions start.
#[derive(Default)]
struct Starts {
    questions: usize,
    without: usize,
    weight: f64,
    weight_at_new: f64,
}

impl Starts {
    /// `new` says which entities are new; without it, weights are not looked at.
    fn read(all: &[Artifact], new: Option<&[bool]>) -> OpResult<Self> {
        let mut out = Starts::default();
        for artifact in all {
            let info = artifact.read("info")?;
            let questions: u64 = columns::u64s(&info, "questions")?.values().iter().sum();
            let mut with: HashSet<u32> = HashSet::new();
            let mut row = 0;
            for batch in artifact.batches("starts")? {
                let batch = batch?;
                let of = columns::u32s(&batch, "question")?.values();
                let nodes = columns::u32s(&batch, "node")?.values();
                let weights = columns::f64s(&batch, "weight")?.values();
                for ((question, node), weight) in of.iter().zip(nodes).zip(weights) {
                    with.insert(*question);
                    if let Some(new) = new {
                        let new = new.get(*node as usize);
                        let new = new.ok_or_else(|| read::stray(artifact, row, "entity"))?;
                        out.weight += weight;
                        out.weight_at_new += if *new { *weight } else { 0.0 };
                    }
                    row += 1;
                }
            }
            out.questions += questions as usize;
            out.without += (questions as usize).saturating_sub(with.len());
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use arrow::array::{ArrayRef, UInt32Array, UInt64Array};
    use gfm_pipe_api::{Kind, local};
    use serde_json::json;

    fn texts(all: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(all.to_vec()))
    }

    fn ids(all: &[u32]) -> ArrayRef {
        Arc::new(UInt32Array::from(all.to_vec()))
    }

    struct Graph {
        dir: tempfile::TempDir,
        inputs: BTreeMap<String, Vec<Artifact>>,
    }

    impl Graph {
        fn give(&mut self, port: &str, kind: &'static Kind, tables: Vec<Vec<ArrayRef>>) {
            let tables = kind.tables.iter().zip(tables);
            let tables = tables.map(|(spec, columns)| columns::batch(spec, columns).unwrap());
            let number = self.inputs.values().map(Vec::len).sum::<usize>();
            let name = format!("{port}{number}");
            let made = local::artifact(self.dir.path(), kind, &name, tables.collect()).unwrap();
            self.inputs.entry(port.to_owned()).or_default().push(made);
        }

        fn entities(&mut self, port: &str, names: &[&str]) {
            let numbers: Vec<u32> = (0..).take(names.len()).collect();
            self.give(
                port,
                &kinds::ENTITIES,
                vec![vec![ids(&numbers), texts(names)]],
            );
        }

        /// Direct relations, then their inverses.
        fn relations(&mut self, port: &str, names: &[&str]) {
            let n = names.len() as u32;
            let inverses: Vec<String> = names.iter().map(|n| format!("inverse_{n}")).collect();
            let all: Vec<&str> = names
                .iter()
                .copied()
                .chain(inverses.iter().map(String::as_str))
                .collect();
            let numbers: Vec<u32> = (0..2 * n).collect();
            let inverse_of: Vec<Option<u32>> = (0..2 * n).map(|i| i.checked_sub(n)).collect();
            self.give(
                port,
                &kinds::RELATIONS,
                vec![vec![
                    ids(&numbers),
                    texts(&all),
                    Arc::new(UInt32Array::from(inverse_of)),
                    Arc::new(UInt64Array::from(vec![1; all.len()])),
                ]],
            );
        }

        fn starts(&mut self, port: &str, questions: u64, starts: &[(u32, u32, f64)]) {
            let of: Vec<u32> = starts.iter().map(|s| s.0).collect();
            let nodes: Vec<u32> = starts.iter().map(|s| s.1).collect();
            let weights: Vec<f64> = starts.iter().map(|s| s.2).collect();
            let words = vec!["entity"; starts.len()];
            self.give(
                port,
                &kinds::STARTS,
                vec![
                    vec![
                        ids(&of),
                        ids(&nodes),
                        texts(&words),
                        Arc::new(Float64Array::from(weights)),
                        texts(&words),
                    ],
                    vec![
                        Arc::new(UInt64Array::from(vec![questions])),
                        Arc::new(UInt64Array::from(vec![4])),
                        texts(&["x"]),
                    ],
                ],
            );
        }

        fn drift(&self) -> OpResult<(Vec<Option<f64>>, Vec<String>)> {
            let dir = self.dir.path().join("out");
            let done = local::run::<GraphDrift>(&dir, &json!({}), self.inputs.clone())?;
            let table = done.port("drift").read("drift")?;
            let values = columns::f64s(&table, "value")?.iter().collect();
            let params = serde_json::from_value(json!({
                "new_relations_at_most": 0.1, "new_entities_at_most": 0.5,
                "without_start_at_most": 0.1,
            }));
            Ok((
                values,
                GraphDrift::remarks(&params.unwrap(), &done.outputs)?,
            ))
        }
    }

    fn graph(triples: &[(u32, u32, u32)]) -> Graph {
        let mut graph = Graph {
            dir: tempfile::tempdir().unwrap(),
            inputs: BTreeMap::new(),
        };
        graph.entities("trained_entities", &["gone", "Ada", "Rome"]);
        graph.relations("trained_relations", &["is in", "wrote"]);
        graph.entities("entities", &["Rome", "Ada", "new", "other"]);
        graph.relations("relations", &["paints", "is in"]);
        let part =
            |at: fn(&(u32, u32, u32)) -> u32| ids(&triples.iter().map(at).collect::<Vec<_>>());
        let columns = vec![part(|t| t.0), part(|t| t.1), part(|t| t.2)];
        graph.give("triples", &kinds::TRIPLES, vec![columns]);
        graph
    }

    #[test]
    fn what_is_new_is_measured_by_names() {
        let mut graph = graph(&[(0, 1, 1), (1, 1, 2), (2, 0, 3), (0, 1, 1)]);
        let (values, remarks) = graph.drift().unwrap();
        let third = Some(1.0 / 3.0);
        let want = [
            Some(0.5),
            third,
            Some(0.5),
            Some(0.25),
            Some(0.5),
            None,
            None,
            None,
        ];
        assert_eq!(values, want);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(
            remarks[0].starts_with("25 % of the triples have a relation"),
            "{remarks:?}"
        );
        graph.starts("starts", 4, &[(0, 0, 3.0), (0, 2, 1.0), (1, 1, 4.0)]);
        graph.starts("starts", 1, &[(0, 3, 2.0)]);
        graph.starts("trained_starts", 2, &[(1, 99, 1.0)]);
        let (values, remarks) = graph.drift().unwrap();
        assert_eq!(values[5..], [Some(0.4), Some(0.5), Some(0.3)]);
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(
            remarks[1].starts_with("40 % of the questions start nowhere"),
            "{remarks:?}"
        );
    }

    #[test]
    fn the_same_graph_has_not_moved() {
        let mut graph = graph(&[]);
        for (port, other) in [
            ("entities", "trained_entities"),
            ("relations", "trained_relations"),
        ] {
            let same = graph.inputs[other].clone();
            graph.inputs.insert(port.to_owned(), same);
        }
        let (values, remarks) = graph.drift().unwrap();
        assert_eq!(values[..5], [Some(0.0), Some(0.0), Some(0.0), None, None]);
        assert_eq!(remarks, Vec::<String>::new());
    }

    #[test]
    fn tables_of_another_graph_are_refused() {
        for (triple, what) in [((0, 1, 9), "entity"), ((0, 2, 1), "relation")] {
            let e = graph(&[triple]).drift().unwrap_err().to_string();
            assert!(e.contains(&format!("there is no such {what}")), "{e}");
        }
        let mut graph = graph(&[]);
        graph.starts("starts", 1, &[(0, 4, 1.0)]);
        assert!(graph.drift().is_err());
    }
}
