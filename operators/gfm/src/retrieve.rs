//! `retrieve`: the documents a model finds for questions, whether or not anybody knows the right ones.

use gfm_pipe_api::{
    Arity, Context, Field, InPort, OpError, OpResult, Operator, OutPort, Schema, Type, kinds,
};
use serde::{Deserialize, Serialize};

use crate::buffers::Lease;
use crate::eval::rankers::Ranker;
use crate::retrieval::{self, Rankings, Setting, first, ranker_type};

/// The operator.
pub struct Retrieve;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    ranker: String,
    documents: usize,
    top_k: usize,
    init_entities_weight: bool,
    batch_size: usize,
}

impl Operator for Retrieve {
    type Params = Params;
    const NAME: &'static str = "retrieve";
    const VERSION: u32 = 2;
    const ON_GPU: bool = true;
    const ABOUT: &'static str = "the first documents of a model for every question";

    fn schema() -> Schema {
        let mut fields = vec![
            Field::new(
                "ranker",
                ranker_type(),
                "idf_topk",
                "how entity scores become document scores",
            ),
            Field::new(
                "documents",
                Type::int(1),
                20,
                "documents listed for each question",
            )
            .at_most(1e6, "each is a row of `rankings`"),
        ];
        fields.extend(retrieval::fields());
        Schema::new(fields)
    }

    fn inputs() -> Vec<InPort> {
        let model = InPort::of("model", &[&kinds::MODEL], Arity::One, "the model");
        let mut ports = vec![model];
        ports.extend(retrieval::ports());
        ports
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "rankings",
            kind: &kinds::RANKINGS,
            about: "the documents, system `model`",
        }]
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        let setting = Setting::read(ctx)?;
        setting.warn_of_unaskable(ctx, "nothing is retrieved for them");
        let ranker = Ranker::from_name(&p.ranker, p.top_k)
            .ok_or_else(|| OpError::new(format!("no ranker is called `{}`", p.ranker)))?;
        let how = (p.init_entities_weight, p.batch_size);
        let background = ctx.input_opt("background");
        let (mut rankings, system) = (Rankings::default(), "model".into());
        setting.ask(ctx, ctx.input("model")?, background, how, |i, scores| {
            let documents = ranker.ranking(scores, &setting.matrix);
            rankings.add(&system, i, first(&documents, p.documents));
        })?;
        rankings.write(ctx, &setting.questions.ids, &setting.titles)
    }
}
