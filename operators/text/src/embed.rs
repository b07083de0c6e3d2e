//! `embed`: texts of any artifact that has them, to vectors.

use std::sync::Arc;

use arrow::array::{StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type,
    columns, kinds,
};
use serde::{Deserialize, Serialize};

use crate::StaticEncoder;

/// Texts encoded between two looks at whether to stop.
const CHUNK: usize = 16_384;

/// The operator.
pub struct Embed;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    model: String,
    is_query: bool,
}

fn check_model(name: &str) -> Result<(), String> {
    match name {
        "static" => Ok(()),
        other => Err(format!(
            "encoder `{other}` is not implemented yet: only `static` works so far"
        )),
    }
}

#[cfg(feature = "static-encoder")]
fn encoder() -> OpResult<StaticEncoder> {
    StaticEncoder::builtin().map_err(|e| OpError::wrap("failed to load the compiled-in encoder", e))
}

#[cfg(not(feature = "static-encoder"))]
fn encoder() -> OpResult<StaticEncoder> {
    Err(OpError::new("this build has no static encoder")
        .hint("build with `--features static-encoder` (it is on by default)"))
}

impl Operator for Embed {
    type Params = Params;
    const NAME: &'static str = "embed";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "embeds names, questions or documents with a text encoder";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "model",
                Type::Form {
                    form: "static",
                    check: check_model,
                },
                "static",
                "encoder: `static` is compiled in and needs no download",
            ),
            Field::new(
                "is_query",
                Type::Bool,
                false,
                "the texts are questions; the static encoder treats both alike",
            ),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "texts",
            accepts: Accepts::Text,
            arity: Arity::One,
            about: "rows with text: relations, entities, questions, documents",
        }]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "embeddings",
            kind: &kinds::EMBEDDINGS,
            about: "one vector per row of `texts`",
        }]
    }

    fn fingerprint(_params: &Params) -> Option<String> {
        // A build without the encoder cannot run the stage; any constant serves.
        encoder().ok().map(|e| e.digest().to_owned())
    }

    fn run(_params: Params, ctx: &Context) -> OpResult<()> {
        let input = ctx.input("texts")?;
        let texts = input.texts()?;
        let encoder = encoder()?;
        let [vectors, about] = kinds::EMBEDDINGS.tables else {
            return Err(OpError::new("the kind's tables changed"));
        };
        let dim = encoder.dim();
        let mut sink =
            ctx.outputs
                .create("embeddings", vectors.name, Arc::new(vectors.schema(dim)))?;
        let mut zero_rows = 0;
        for (i, chunk) in texts.chunks(CHUNK).enumerate() {
            ctx.check_cancelled()?;
            let encoded = encoder.encode(chunk).map_err(|e| {
                OpError::wrap("failed to encode a text", e)
                    .artifact(&input.name)
                    .row((i * CHUNK) as u64)
            })?;
            zero_rows += encoded.zero_rows.len();
            sink.write(&columns::batch(
                vectors,
                vec![columns::build_vectors(dim, encoded.values)?],
            )?)?;
            let done = (i * CHUNK + chunk.len()) as u64;
            ctx.progress(done, texts.len() as u64, "texts", "");
        }
        sink.finish()?;
        if zero_rows > 0 {
            ctx.warn(format!(
                "{zero_rows} of {} texts of {} hold no known token: they get the zero vector",
                texts.len(),
                input.name
            ));
        }
        let row = columns::batch(
            about,
            vec![
                Arc::new(StringArray::from(vec![encoder.name()])),
                Arc::new(StringArray::from(vec![encoder.digest()])),
                Arc::new(UInt32Array::from(vec![dim as u32])),
                Arc::new(UInt64Array::from(vec![texts.len() as u64])),
                Arc::new(UInt64Array::from(vec![zero_rows as u64])),
                Arc::new(StringArray::from(vec![texts_digest(&texts)])),
            ],
        )?;
        ctx.write("embeddings", about.name, &row)
    }
}

#[cfg(all(test, feature = "static-encoder"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use gfm_pipe_api::local;
    use std::collections::BTreeMap;

    #[test]
    fn rows_follow_the_texts_and_unknown_text_is_zero_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["capital of", "", "inverse_capital of", "capital of"];
        let ids = UInt32Array::from_iter_values(0..names.len() as u32);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(ids), Arc::new(StringArray::from(names.to_vec()))];
        let table = columns::batch(&kinds::ENTITIES.tables[0], columns).unwrap();
        let names = local::artifact(dir.path(), &kinds::ENTITIES, "names", vec![table]).unwrap();
        let inputs = BTreeMap::from([("texts".to_owned(), vec![names])]);
        let out = local::run::<Embed>(dir.path(), &serde_json::json!({}), inputs).unwrap();
        let vectors = out.port("embeddings").read("vectors").unwrap();
        let (dim, values) = columns::vectors(&vectors, "vector").unwrap();
        let rows: Vec<&[f32]> = values.chunks_exact(dim).collect();
        assert_eq!(rows.len(), 4);
        assert!(rows[1].iter().all(|x| *x == 0.0));
        assert_eq!(rows[0], rows[3]);
        assert_ne!(rows[0], rows[2]);
        let about = out.port("embeddings").read("encoder").unwrap();
        assert_eq!(columns::u64s(&about, "zero_rows").unwrap().value(0), 1);
        assert_eq!(
            out.messages.len(),
            1,
            "the zero row is reported: {:?}",
            out.messages
        );
    }
}
