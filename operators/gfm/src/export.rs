//! `export`: writes a model as files for other programs.
//!
//! The files are written to `path`, outside the store; the artifact lists them. Invariant: after
//! the stage ran or was cached, the folder contains these files with this content. Files that are
//! already correct, and all other files, are not touched. At any instant, a file being written is
//! either complete or absent. Weights of another export in the same folder are detected when the
//! folder is read ([`gfm_pipe_model::model::files`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use gfm_pipe_api::delivery::{self, Measure};
use gfm_pipe_api::{
    Accepts, Arity, Artifact, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema,
    Type, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::inputs::same_name;
use gfm_pipe_model::model::files::{
    Encoder, config_json, parquet_bytes, safetensors_bytes, write_pth,
};
use gfm_pipe_model::model::{Class, StoredConfig, StoredModel, read_model};

/// The operator `export`.
pub struct Export;

/// Parameters of `export`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    path: PathBuf,
    formats: Vec<Format>,
    text_emb_model: TextEmbModel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Pth,
    Safetensors,
    Parquet,
}

#[derive(Debug, Serialize, Deserialize)]
struct TextEmbModel {
    text_emb_model_name: Option<String>,
    normalize: bool,
    batch_size: u64,
    query_instruct: Option<String>,
    passage_instruct: Option<String>,
    truncate_dim: Option<u64>,
}

impl Operator for Export {
    type Params = Params;
    const NAME: &'static str = "export";
    const VERSION: u32 = 2;
    const ABOUT: &'static str =
        "writes a model into a folder, as GFM-RAG loads it, and as safetensors or Parquet";

    fn schema() -> Schema {
        let encoder = Schema::new(vec![
            Field::new(
                "text_emb_model_name",
                Type::Text.or_null(),
                json!(null),
                "name by which GFM-RAG loads the encoder; null: the name of the encoder that the model was trained with. The name of another encoder is an error",
            ),
            Field::new(
                "normalize",
                Type::Bool,
                false,
                "whether GFM-RAG normalises the encoder's vectors",
            ),
            Field::new(
                "batch_size",
                Type::int(1),
                32,
                "number of texts that GFM-RAG embeds at once",
            )
            .at_most(65_536.0, "each is held in memory"),
            Field::new(
                "query_instruct",
                Type::Text.or_null(),
                json!(null),
                "text that GFM-RAG puts before questions",
            ),
            Field::new(
                "passage_instruct",
                Type::Text.or_null(),
                json!(null),
                "text that GFM-RAG puts before other texts",
            ),
            Field::new(
                "truncate_dim",
                Type::int(1).or_null(),
                json!(null),
                "numbers of a vector that GFM-RAG 2.0 keeps, the first ones; its class Qwen3TextEmbModel is then the encoder's",
            )
            .at_most(65_536.0, "no model has more")
            .added_later(),
        ]);
        Schema::new(vec![
            Field::required(
                "path",
                Type::Path,
                "folder for the files; created if it is missing",
            )
            .no_effect(),
            Field::new(
                "formats",
                Type::List {
                    item: Box::new(Type::one_of(&["pth", "safetensors", "parquet"])),
                    min: 1,
                },
                json!(["pth", "safetensors"]),
                "pth: model.pth; safetensors: model.safetensors; parquet: weights.parquet; config.json is always written",
            ),
            Field::group(
                "text_emb_model",
                encoder,
                "the encoder in config.json, under GFM-RAG's keys",
            ),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "model",
            accepts: Accepts::Kinds(&[&kinds::MODEL]),
            arity: Arity::One,
            about: "the model",
        }]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "files",
            kind: &kinds::FILES,
            about: "what was written",
        }]
    }

    fn places(p: &Params) -> Vec<PathBuf> {
        vec![p.path.clone()]
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let mut files = Vec::new();
        for (name, bytes) in contents(&p, ctx)? {
            let mut measure = Measure::default();
            delivery::put(&mut measure, &bytes)?;
            files.push(measure.listed(name));
        }
        delivery::list(ctx, "files", &files)
    }

    fn deliver(p: &Params, ctx: &Context, outputs: &BTreeMap<String, Artifact>) -> OpResult<()> {
        let folder = ctx.path(&p.path);
        let list = outputs
            .get("files")
            .ok_or_else(|| OpError::internal("the list of files is missing"))?;
        let wrong = delivery::outdated(&folder, list)?;
        if wrong.is_empty() {
            return Ok(());
        }
        for (name, bytes) in contents(p, ctx)? {
            if wrong.iter().any(|w| w == name) {
                delivery::write(&folder, &p.path, name, |out| delivery::put(out, &bytes))?;
            }
        }
        ctx.info(format!(
            "{} written to {}",
            wrong.join(", "),
            p.path.display()
        ));
        Ok(())
    }
}

/// Names and content of the files.
fn contents(p: &Params, ctx: &Context) -> OpResult<Vec<(&'static str, Vec<u8>)>> {
    let model = read_model(ctx.input("model")?)?;
    let params = &model.params;
    if !params.config.features.is_empty() {
        return Err(OpError::new(
            "the model has weights of ranking features, which the formats of GFM-RAG cannot hold",
        )
        .artifact(&ctx.input("model")?.name)
        .hint("export a model that was fine-tuned without `in.features`, or use this one here: `evaluate`, `retrieve`"));
    }
    let e = &p.text_emb_model;
    let text = |t: &Option<String>| t.as_ref().map_or(Value::Null, |t| t.as_str().into());
    let mut settings = Map::from_iter([
        ("normalize".to_owned(), e.normalize.into()),
        ("batch_size".to_owned(), e.batch_size.into()),
        ("query_instruct".to_owned(), text(&e.query_instruct)),
        ("passage_instruct".to_owned(), text(&e.passage_instruct)),
        ("model_kwargs".to_owned(), Value::Null),
    ]);
    if let Some(width) = e.truncate_dim {
        let problem = if params.class != Class::GraphReasoner {
            format!(
                "a {} is exported for GFM-RAG 1.0, which has no `truncate_dim`",
                params.class.name()
            )
        } else if width != params.text_dim as u64 {
            format!(
                "`truncate_dim` is {width}, but the model reads texts of width {}",
                params.text_dim
            )
        } else {
            String::new()
        };
        if !problem.is_empty() {
            return Err(OpError::new(problem).hint("leave `text_emb_model.truncate_dim` out, or set it to the width that the model was trained with"));
        }
        // The only class that has the key.
        let class = "gfmrag.text_emb_models.Qwen3TextEmbModel";
        settings.insert("_target_".to_owned(), class.into());
        settings.insert("truncate_dim".to_owned(), width.into());
    }
    let name = encoder_name(e.text_emb_model_name.as_deref(), &model)?;
    let encoder = Encoder { name, settings };
    let config = config_json(params.class, &params.config, params.text_dim, &encoder);
    let mut out = vec![("config.json", config.into_bytes())];
    for (format, name) in [
        (Format::Pth, "model.pth"),
        (Format::Safetensors, "model.safetensors"),
        (Format::Parquet, "weights.parquet"),
    ] {
        if !p.formats.contains(&format) {
            continue;
        }
        let bytes = match format {
            Format::Pth => write_pth(params)?,
            Format::Safetensors => {
                safetensors_bytes(params, &StoredConfig::new(params, &model.origin))?
            }
            Format::Parquet => parquet_bytes(params)?,
        };
        out.push((name, bytes));
    }
    Ok(out)
}

/// The encoder's name for `config.json`. A given name must be one of the encoder that the model was
/// trained with.
fn encoder_name(given: Option<&str>, model: &StoredModel) -> OpResult<String> {
    let trained = &model.origin.encoder;
    let Some(given) = given else {
        return Ok(trained.clone());
    };
    if same_name(given, trained) {
        return Ok(given.to_owned());
    }
    Err(OpError::new(format!(
        "`text_emb_model.text_emb_model_name` is {given}, and the model was trained with the encoder {trained} ({} wide)",
        model.params.text_dim
    ))
    .hint(format!(
        "leave the parameter out: the name is taken from the embeddings. If {given} is in a folder, give the folder this name"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gfm_pipe_model::model::{Class, ModelConfig, Origin, Params as Weights};

    #[test]
    fn the_encoders_name_is_that_of_the_embeddings() {
        let trained_with = |encoder: &str| StoredModel {
            params: Weights::init(
                Class::QueryGNN,
                &ModelConfig::new(2, vec![2]),
                256,
                1,
                candle_core::DType::F32,
            )
            .unwrap(),
            origin: Origin {
                encoder: encoder.to_owned(),
                ..Origin::default()
            },
        };
        let model = trained_with("static");
        assert_eq!(encoder_name(None, &model).unwrap(), "static");
        let e = encoder_name(Some("sentence-transformers/all-mpnet-base-v2"), &model).unwrap_err();
        assert!(
            e.to_string()
                .ends_with("the model was trained with the encoder static (256 wide)"),
            "{e}"
        );
        // The organisation may be left out, and the name stays as it is written.
        let model = trained_with("all-mpnet-base-v2");
        for name in [
            "all-mpnet-base-v2",
            "sentence-transformers/all-mpnet-base-v2",
        ] {
            assert_eq!(encoder_name(Some(name), &model).unwrap(), name);
        }
        assert!(encoder_name(Some("all-MiniLM-L6-v2"), &model).is_err());
        let model = trained_with("BAAI/bge-large-en");
        assert!(encoder_name(Some("BAAI/bge-large-en"), &model).is_ok());
        assert!(encoder_name(Some("other/bge-large-en"), &model).is_err());
    }
}
