//! `import-model`: a model that was trained elsewhere, for evaluation or as a start.

use std::path::{Path, PathBuf};

use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, InputFile, OpError, OpResult, Operator, OutPort,
    Schema, Type, kinds,
};
use serde::{Deserialize, Serialize};

use crate::inputs::EncoderId;
use crate::train::Start;
use gfm_pipe_model::model::files::{input_files, read_checkpoint};
use gfm_pipe_model::model::{Origin, Params as Weights, write_model};

/// The operator.
pub struct ImportModel;

/// Parameters of `import-model`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    path: PathBuf,
}

impl Operator for ImportModel {
    type Params = Params;
    const NAME: &'static str = "import-model";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "reads a model trained elsewhere: a folder as GFM-RAG saves it, or what `export` wrote";

    fn schema() -> Schema {
        Schema::new(vec![Field::required(
            "path",
            Type::Path,
            "folder with config.json and model.pth or model.safetensors, or a file of weights with config.json beside it",
        )])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "graph",
            accepts: Accepts::Kinds(&[&kinds::GRAPH]),
            arity: Arity::One,
            about: "a graph the model is used on: its encoder has to be the model's",
        }]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "model",
            kind: &kinds::MODEL,
            about: "the model",
        }]
    }

    fn files(p: &Params, _: &Path) -> Vec<InputFile> {
        input_files(&p.path)
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let encoder = EncoderId::of_graph(ctx.input("graph")?)?;
        let given = read_checkpoint(&ctx.base, &p.path)?;
        let file = given.file.clone();
        let config = given.config.clone().ok_or_else(|| {
            OpError::new("nothing says what model these weights are of")
                .file(&file)
                .hint("put the config.json that belongs to them beside them")
        })?;
        let start = Start::given(ctx, given);
        start.check(ctx, &encoder)?;
        let params = Weights::from_tensors(
            config.class,
            &config.entity_model,
            config.text_dim,
            start.tensors,
        )
        .map_err(|e| {
            OpError::wrap("the weights are not those of the model in config.json", e).file(&file)
        })?;
        ctx.info(format!(
            "{} parameters of a {}",
            params.count(),
            params.class.name()
        ));
        let origin = Origin {
            operator: Self::NAME.to_owned(),
            encoder: encoder.name,
            encoder_digest: encoder.digest,
            ..Origin::default()
        };
        write_model(ctx, "model", &params, &origin)
    }
}
