//! `embed`: turns the texts of any artifact that has some into vectors.

mod with_static;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::{
    Accepts, Arity, Cancel, Context, Field, InPort, InputFile, OpError, OpResult, Operator,
    OutPort, Problem, Reporter, Schema, TableSink, Type, columns, kinds,
};
use serde::{Deserialize, Serialize};

use crate::StaticEncoder;
use crate::location::{self, Cache, Location};
use crate::settings::{Round, Settings};

/// Part of the key. Raise it when a transformer's numbers change.
pub(crate) const NUMBERS: u32 = 2;

/// The operator `embed`.
pub struct Embed;

/// Parameters of `embed`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    model: String,
    revision: Option<String>,
    #[serde(default)]
    is_query: bool,
    normalize: bool,
    #[serde(default = "one")]
    batch_size: usize,
    query_instruct: Option<String>,
    passage_instruct: Option<String>,
    truncate_dim: Option<usize>,
    max_seq_length: Option<usize>,
    model_kwargs: Option<Kwargs>,
}

/// Batches of texts that are asked for one after another are small anyway.
fn one() -> usize {
    1
}

/// The parameter `model_kwargs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kwargs {
    torch_dtype: Option<String>,
    dtype: Option<String>,
}

impl Params {
    pub(crate) fn location(&self, base: &Path) -> Location {
        Location::parse(&self.model, self.revision.as_deref(), base)
    }

    pub(crate) fn settings(&self) -> Settings {
        let given = self.model_kwargs.as_ref();
        let word = given.and_then(|k| k.torch_dtype.as_deref().or(k.dtype.as_deref()));
        Settings {
            normalize: self.normalize,
            truncate_dim: self.truncate_dim,
            max_tokens: self.max_seq_length,
            round: match word {
                Some("auto") => Round::Auto,
                Some("float16") => Round::Float16,
                Some("bfloat16") => Round::BFloat16,
                _ => Round::No,
            },
        }
    }

    /// The text that is put before each text. `None` leaves the choice to the model.
    fn instruct(&self) -> Option<&str> {
        self.instruct_for(self.is_query)
    }

    /// The text that is put before questions, or before all other texts.
    pub(crate) fn instruct_for(&self, is_query: bool) -> Option<&str> {
        let own = if is_query {
            &self.query_instruct
        } else {
            &self.passage_instruct
        };
        own.as_deref()
    }

    /// The parameters that say which encoder it is, for operators that embed questions of their
    /// own. Missing ones have their defaults.
    pub fn of_encoder() -> Schema {
        let fields = Embed::schema().fields.into_iter();
        let of_one_stage = ["is_query", "batch_size"];
        Schema::new(fields.filter(|f| !of_one_stage.contains(&f.name)).collect())
    }
}

#[cfg(feature = "static-encoder")]
pub(crate) fn builtin() -> OpResult<StaticEncoder> {
    StaticEncoder::builtin().map_err(|e| {
        OpError::wrap("failed to load the compiled-in encoder", e)
            .with_kind(gfm_pipe_api::ErrorKind::Internal)
    })
}

#[cfg(not(feature = "static-encoder"))]
pub(crate) fn builtin() -> OpResult<StaticEncoder> {
    Err(OpError::new("this build has no static encoder")
        .hint("build with `--features static-encoder` (it is on by default)"))
}

/// The digest of the compiled-in encoder, without loading its tokenizer, which a cached stage does
/// not need. A build without the encoder cannot run the stage, so any constant serves.
fn builtin_digest() -> Option<String> {
    #[cfg(feature = "static-encoder")]
    return Some(StaticEncoder::builtin_digest().to_owned());
    #[cfg(not(feature = "static-encoder"))]
    None
}

impl Operator for Embed {
    type Params = Params;
    const NAME: &'static str = "embed";
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "embeds names, questions or documents with a text encoder";

    fn schema() -> Schema {
        let text = || Type::Nullable(Box::new(Type::Text));
        let number = || Type::int(1).or_null();
        let words = &["float32", "float16", "bfloat16", "auto"];
        let precision = |name, about| {
            let ty = Type::Nullable(Box::new(Type::OneOf {
                words,
                planned: &[],
            }));
            Field::new(name, ty, None::<&str>, about)
        };
        let kwargs = Schema::new(vec![
            precision(
                "torch_dtype",
                "the precision to which weights are rounded (auto: the one in config.json); a GPU computes in it, the CPU in float32",
            ),
            precision("dtype", "the same by its newer name"),
        ]);
        Schema::new(vec![
            Field::new(
                "model",
                Type::Form { form: "`static`, a folder or a hub name", check: location::check },
                "static",
                "encoder: `static` is compiled in and needs no download; a folder of sentence-transformers; a name on the Hugging Face hub (`all-mpnet-base-v2`, `BAAI/bge-small-en-v1.5`), which a run downloads once",
            )
            .no_effect(),
            Field::new(
                "revision",
                text(),
                None::<&str>,
                "branch, tag or commit of a hub name (main); what it stood for at the first download is kept",
            )
            .no_effect(),
            Field::new(
                "is_query",
                Type::Bool,
                false,
                "the texts are questions: `query_instruct` is put before them, else `passage_instruct`; the static encoder treats both alike",
            ),
            Field::new("normalize", Type::Bool, false, "scale vectors to norm 1, whatever the model's own modules do"),
            Field::new("batch_size", Type::int(1), 32, "most texts in a batch, and 32 times as many on a GPU; on the CPU it changes no result")
                .at_most(65_536.0, "their states are held together")
                .no_effect(),
            Field::new("query_instruct", text(), None::<&str>, "put before questions; null: the model's default prompt, if any"),
            Field::new("passage_instruct", text(), None::<&str>, "put before all other texts; null: the model's default prompt, if any"),
            Field::new("truncate_dim", number(), None::<i64>, "keep only this many numbers of a vector, the first ones (Matryoshka models)")
                .at_most(65_536.0, "no model has more"),
            Field::new("max_seq_length", number(), None::<i64>, "most tokens of a text; null: the model's limit")
                .at_most(1_048_576.0, "the memory of attention grows with its square"),
            Field::new("model_kwargs", Type::Nullable(Box::new(Type::Object(kwargs))), None::<i64>, "what the model is loaded with"),
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

    fn check(params: &Params) -> Vec<Problem> {
        if params.model != "static" {
            return Vec::new();
        }
        let set = [
            ("revision", params.revision.is_some()),
            ("query_instruct", params.query_instruct.is_some()),
            ("passage_instruct", params.passage_instruct.is_some()),
            ("truncate_dim", params.truncate_dim.is_some()),
            ("max_seq_length", params.max_seq_length.is_some()),
            ("model_kwargs", params.model_kwargs.is_some()),
        ];
        let set = set.into_iter().filter(|(_, set)| *set);
        set.map(|(key, _)| {
            Problem::at(key, "the static encoder has no use for this")
                .hint("leave it out, or name another `model`")
        })
        .collect()
    }

    fn files(params: &Params, base: &Path) -> Vec<InputFile> {
        location::files(&params.location(base), base, &Cache::from_env())
    }

    fn fetch(
        params: &Params,
        base: &Path,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> OpResult<()> {
        match params.location(base) {
            Location::Hub(repo) => location::fetch(&repo, reporter, cancel),
            _ => Ok(()),
        }
    }

    fn fingerprint(params: &Params, base: &Path) -> Option<String> {
        match params.location(base) {
            Location::Static => builtin_digest(),
            // The files' digests are in the key already; the name is in the artifact.
            other => Some(format!("{} transformer {NUMBERS}", other.name())),
        }
    }

    fn on_gpu(params: &Params) -> bool {
        crate::ON_GPU && params.model != "static"
    }

    fn on_ranks(params: &Params) -> bool {
        // The static encoder takes less time than sending its vectors.
        params.model != "static"
    }

    fn run(params: Params, ctx: &Context) -> OpResult<()> {
        let input = ctx.input("texts")?;
        let location = params.location(&ctx.base);
        let folder = match &location {
            Location::Static => None,
            Location::Folder(folder) => Some(ctx.path(folder)),
            Location::Hub(repo) => {
                let folder = Cache::from_env().snapshot(repo);
                // The files were there when the stage's key was made.
                Some(folder.ok_or_else(|| OpError::new(location::absent(repo)))?)
            }
        };
        let (about, count, digest) = match folder {
            None => with_static::embed(ctx, input)?,
            Some(folder) => {
                let texts = input.texts()?;
                let about = with_transformer(&params, ctx, &texts, &location, &folder)?;
                (about, texts.len() as u64, texts_digest(&texts))
            }
        };
        let table = &kinds::EMBEDDINGS.tables[1];
        let row = columns::batch(
            table,
            vec![
                Arc::new(StringArray::from(vec![about.name])),
                Arc::new(StringArray::from(vec![about.digest])),
                Arc::new(UInt32Array::from(vec![about.dim as u32])),
                Arc::new(UInt64Array::from(vec![count])),
                Arc::new(UInt64Array::from(vec![about.zero_rows])),
                Arc::new(StringArray::from(vec![digest])),
            ],
        )?;
        ctx.write("embeddings", table.name, &row)
    }
}

/// The row of the `encoder` table.
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) dim: usize,
    pub(crate) zero_rows: u64,
}

/// The table of vectors that is being written.
pub(crate) struct Sink {
    to: Box<dyn TableSink>,
    dim: usize,
}

impl Sink {
    pub(crate) fn new(ctx: &Context, dim: usize) -> OpResult<Self> {
        let table = &kinds::EMBEDDINGS.tables[0];
        let to = ctx
            .outputs
            .create("embeddings", table.name, Arc::new(table.schema(dim)))?;
        Ok(Sink { to, dim })
    }

    pub(crate) fn write(&mut self, values: Vec<f32>) -> OpResult<()> {
        let vectors = columns::build_vectors(self.dim, values)?;
        self.to.write(&columns::batch(
            &kinds::EMBEDDINGS.tables[0],
            vec![vectors],
        )?)
    }

    pub(crate) fn finish(self) -> OpResult<()> {
        self.to.finish()
    }
}

#[cfg(feature = "transformers")]
fn with_transformer(
    params: &Params,
    ctx: &Context,
    texts: &[String],
    location: &Location,
    folder: &Path,
) -> OpResult<About> {
    let settings = params.settings();
    let options = crate::embedding::EmbedOptions {
        settings: &settings,
        instruct: params.instruct(),
        batch: params.batch_size,
    };
    crate::embedding::embed(ctx, texts, &location.name(), folder, &options)
}

#[cfg(not(feature = "transformers"))]
fn with_transformer(
    _: &Params,
    _: &Context,
    _: &[String],
    location: &Location,
    _: &Path,
) -> OpResult<About> {
    Err(no_transformers(location))
}

/// The error for an encoder that this build cannot run.
#[cfg(not(feature = "transformers"))]
pub(crate) fn no_transformers(location: &Location) -> OpError {
    OpError::new(format!(
        "this build cannot run the encoder {}",
        location.name()
    ))
    .hint("build with `--features encoders` (it is on by default)")
}
