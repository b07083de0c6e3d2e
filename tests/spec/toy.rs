//! Toy operators for tests of the loader: every kind of port and parameter, but nothing that runs.

use gfm_pipe_api::kind::{ColType, col};
use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, Kind, OpEntry, OpResult, Operator, OutPort, Problem,
    Schema, TableSpec, Type,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub static WORDS: Kind = Kind {
    name: "words",
    about: "words of a text",
    text: &["word"],
    tables: &[TableSpec {
        name: "words",
        about: "one word",
        columns: &[col("word", ColType::Text, "as written")],
    }],
};

pub static COUNTS: Kind = Kind {
    name: "counts",
    about: "how often each word comes",
    text: &[],
    tables: &[
        TableSpec {
            name: "counts",
            about: "one word",
            columns: &[
                col("word", ColType::U32, "row of the word"),
                col("count", ColType::U64, "how often"),
            ],
        },
        TableSpec {
            name: "totals",
            about: "one row for all",
            columns: &[col("count", ColType::U64, "of all words")],
        },
    ],
};

pub static MODEL: Kind = Kind {
    name: "model",
    about: "a model",
    text: &[],
    tables: &[TableSpec {
        name: "weights",
        about: "one parameter",
        columns: &[col("value", ColType::F32, "its value")],
    }],
};

static COUNTS_ONLY: &[&Kind] = &[&COUNTS];
static MODEL_ONLY: &[&Kind] = &[&MODEL];

/// Parameters of toy operators are not validated, but a test may make `Train` validate them.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Any(Value);

fn input(name: &'static str, accepts: Accepts, arity: Arity, about: &'static str) -> InPort {
    InPort {
        name,
        accepts,
        arity,
        about,
    }
}

fn output(name: &'static str, kind: &'static Kind, about: &'static str) -> OutPort {
    OutPort { name, kind, about }
}

macro_rules! toy {
    ($ty:ident, $name:literal, $about:literal, $schema:expr, $inputs:expr, $outputs:expr $(, $check:expr)?) => {
        struct $ty;
        impl Operator for $ty {
            type Params = Any;
            const NAME: &'static str = $name;
            const VERSION: u32 = 1;
            const ABOUT: &'static str = $about;
            fn schema() -> Schema {
                Schema::new($schema)
            }
            fn inputs() -> Vec<InPort> {
                $inputs
            }
            fn outputs() -> Vec<OutPort> {
                $outputs
            }
            $(fn check(params: &Any) -> Vec<Problem> {
                $check(&params.0)
            })?
            fn run(_: Any, _: &Context) -> OpResult<()> {
                Ok(())
            }
        }
    };
}

toy!(
    Words,
    "words",
    "splits a text file into words",
    vec![
        Field::required("path", Type::Path, "the text file"),
        Field::new("lower", Type::Bool, false, "whether case is ignored"),
        Field::new("language", Type::Text, "en", "two letters"),
    ],
    vec![],
    vec![
        output("words", &WORDS, "the words in order"),
        output("counts", &COUNTS, "how often each comes"),
    ]
);

toy!(
    Upper,
    "upper",
    "makes words upper case",
    vec![],
    vec![input("texts", Accepts::Text, Arity::One, "what to change")],
    vec![output("words", &WORDS, "the changed words")]
);

toy!(
    Join,
    "join",
    "puts word lists behind each other",
    vec![],
    vec![input("texts", Accepts::Text, Arity::Many, "what to join")],
    vec![output("words", &WORDS, "all words")]
);

toy!(
    Train,
    "train",
    "fits a toy model",
    vec![
        Field::new("seed", Type::int(0), 1024, "seed of the run"),
        Field::group(
            "model",
            Schema::new(vec![
                Field::new(
                    "hidden_dims",
                    Type::list(Type::int(1)),
                    json!([64, 64]),
                    "width of each layer"
                ),
                Field::new(
                    "message",
                    Type::OneOf {
                        words: &["distmult", "transe"],
                        planned: &["rotate"]
                    },
                    "distmult",
                    "message function",
                ),
            ]),
            "the model",
        ),
        Field::group(
            "task",
            Schema::new(vec![
                Field::new(
                    "losses",
                    Type::list(Type::Object(Schema::new(vec![
                        Field::required("name", Type::one_of(&["bce", "ranking"]), "which loss"),
                        Field::group(
                            "cfg",
                            Schema::new(vec![Field::new(
                                "weight",
                                Type::float(0.0),
                                1.0,
                                "its weight"
                            )]),
                            "its settings",
                        ),
                    ]))),
                    json!([{"name": "bce", "cfg": {"weight": 1.0}}]),
                    "losses that are added",
                ),
                Field::new(
                    "strict_negative",
                    Type::Bool,
                    true,
                    "whether known facts are no negatives"
                ),
            ]),
            "the task",
        ),
        Field::group(
            "optimizer",
            Schema::new(vec![Field::new(
                "lr",
                Type::float(0.0),
                5e-4,
                "learning rate"
            )]),
            "the optimizer",
        ),
        Field::new(
            "checkpoint",
            Type::Path.or_null(),
            Value::Null,
            "start weights"
        ),
        Field::new("workers", Type::int(0), 0, "threads that read").no_effect(),
        Field::refused("hydra", "the store is the output folder"),
    ],
    vec![
        input(
            "counts",
            Accepts::Kinds(COUNTS_ONLY),
            Arity::One,
            "what to learn from"
        ),
        input(
            "init",
            Accepts::Kinds(MODEL_ONLY),
            Arity::Optional,
            "a model to start from"
        ),
    ],
    vec![output("model", &MODEL, "the fitted model")],
    |params: &Value| {
        let layers = params["model"]["hidden_dims"]
            .as_array()
            .map_or(0, Vec::len);
        if layers > 3 {
            vec![
                Problem::at(
                    "model.hidden_dims",
                    format!("{layers} layers are too many for a toy"),
                )
                .hint("at most 3"),
            ]
        } else {
            Vec::new()
        }
    }
);

/// An operator that will go, as one of its parameters will.
struct Backwards;

impl Operator for Backwards {
    type Params = Any;
    const NAME: &'static str = "backwards";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "turns words round";
    const DEPRECATED: Option<&'static str> = Some("use `upper`");
    fn schema() -> Schema {
        let old = Field::new("marks", Type::Bool, false, "whether marks count");
        let group = Schema::new(vec![
            old.deprecated("leave it out: marks never count"),
            Field::new("limit", Type::int(0), 9, "most letters of a word"),
        ]);
        Schema::new(vec![Field::group("letters", group, "what is turned")])
    }
    fn inputs() -> Vec<InPort> {
        vec![input("texts", Accepts::Text, Arity::One, "what to turn")]
    }
    fn outputs() -> Vec<OutPort> {
        vec![output("words", &WORDS, "the words, turned")]
    }
    fn run(_: Any, _: &Context) -> OpResult<()> {
        Ok(())
    }
}

pub fn ops() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<Words>(),
        OpEntry::of::<Upper>(),
        OpEntry::of::<Join>(),
        OpEntry::of::<Train>(),
        OpEntry::of::<Backwards>(),
        OpEntry::of::<gfm_pipe_exec::Exec>(),
    ]
}
