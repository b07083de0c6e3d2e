//! `dedupe`: keeps each triple once.
//!
//! An operator is one file: parameters, ports, a name, a version, and `run`. The engine does the
//! rest: it checks pipelines against the schema, makes the key, shows the help, stores what is
//! written.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::BooleanArray;
use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, Kind, OpResult, Operator, OutPort, Schema, Type,
    columns, kinds,
};
use serde::{Deserialize, Serialize};

/// See the module.
pub struct Dedupe;

/// As a stage's `with:` gives them, checked against the schema and with defaults filled in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    both_ways: bool,
    log_every: u64,
}

static TRIPLES: [&Kind; 1] = [&kinds::TRIPLES];

impl Operator for Dedupe {
    type Params = Params;
    const NAME: &'static str = "dedupe";
    // Raise it when the same inputs give another output: it is in every key, so old results are not
    // used any more.
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "keeps each triple once";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "both_ways",
                Type::Bool,
                false,
                "a triple from tail to head by the same relation is a duplicate too",
            ),
            // What cannot change the result stays out of the key: changing it reruns nothing.
            Field::new(
                "log_every",
                Type::int(1),
                1_000_000,
                "triples between reports",
            )
            .no_effect(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "triples",
            accepts: Accepts::Kinds(&TRIPLES),
            arity: Arity::One,
            about: "triples of a graph",
        }]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "triples",
            kind: &kinds::TRIPLES,
            about: "the first of each, in their order",
        }]
    }

    fn run(params: Params, ctx: &Context) -> OpResult<()> {
        let total = ctx.input("triples")?.rows("triples")? as u64;
        let schema = Arc::new(kinds::TRIPLES.tables[0].schema(0));
        let mut sink = ctx.outputs.create("triples", "triples", schema)?;
        let mut seen = HashSet::new();
        let (mut done, mut told) = (0, 0);
        for batch in ctx.input("triples")?.batches("triples")? {
            // Ctrl-C ends here, within a batch's time.
            ctx.check_cancelled()?;
            let batch = batch?;
            let ids = |name| Ok::<_, gfm_pipe_api::OpError>(columns::u32s(&batch, name)?.values());
            let (heads, relations, tails) = (ids("head")?, ids("relation")?, ids("tail")?);
            let first: Vec<bool> = (0..batch.num_rows())
                .map(|i| {
                    let (mut head, mut tail) = (heads[i], tails[i]);
                    if params.both_ways && head > tail {
                        (head, tail) = (tail, head);
                    }
                    seen.insert((head, relations[i], tail))
                })
                .collect();
            let kept = arrow::compute::filter_record_batch(&batch, &BooleanArray::from(first))?;
            sink.write(&kept)?;
            done += batch.num_rows() as u64;
            if done - told >= params.log_every {
                told = done;
                ctx.progress(done, total, "triples", "");
            }
        }
        sink.finish()?;
        ctx.info(format!("{} of {total} triples stay", seen.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, UInt32Array};
    use gfm_pipe_api::local;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    /// Runs the operator on four triples and gives the heads of those that stay.
    fn heads(params: Value) -> Vec<u32> {
        let dir = tempfile::tempdir().expect("a folder");
        let ids = |v: [u32; 4]| Arc::new(UInt32Array::from(v.to_vec())) as ArrayRef;
        let given = columns::batch(
            &kinds::TRIPLES.tables[0],
            vec![ids([0, 1, 0, 2]), ids([0, 0, 0, 1]), ids([1, 0, 1, 0])],
        );
        let given = given.expect("the table's columns");
        let given = local::artifact(dir.path(), &kinds::TRIPLES, "kg.triples", vec![given]);
        let inputs = BTreeMap::from([("triples".to_owned(), vec![given.expect("an artifact")])]);
        let out = dir.path().join("out");
        let local = local::run::<Dedupe>(&out, &params, inputs).expect("it runs");
        let kept = local.port("triples").read("triples").expect("a table");
        columns::u32s(&kept, "head").expect("ids").values().to_vec()
    }

    #[test]
    fn the_first_of_each_stays() {
        assert_eq!(heads(json!({})), [0, 1, 2]);
        assert_eq!(heads(json!({"both_ways": true})), [0, 2]);
    }
}
