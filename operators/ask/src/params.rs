//! Parameters of a retriever.

use gfm_pipe_api::{Field, Schema, Type};
use gfm_pipe_eval::rankers::{self, DEFAULT_TOP_K, RankerName, ranker_type, top_k_field};
use gfm_pipe_eval::systems::{SystemName, Walking, askable};
use gfm_pipe_index::LinkParams;
use gfm_pipe_llm::LlmParams;
use gfm_pipe_text::EmbedParams;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::generate::AnswerPrompts;

/// Parameters of `retriever`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RetrieverParams {
    /// The system to use; `None`: the best one that has all it needs.
    pub system: Option<SystemName>,
    /// The encoder of questions.
    pub encoder: EmbedParams,
    /// How the starts of a question are found.
    pub link: LinkParams,
    /// `None`: the model starts where links say. Otherwise it starts from the entities that the
    /// question names: `Some(true)` with weight 1 / number of documents, `Some(false)` with 1.
    pub init_entities_weight: Option<bool>,
    /// How entity scores of the model become document scores.
    pub ranker: RankerName,
    /// Number of entities that count, for some rankers.
    pub top_k: usize,
    /// Probability with which ppr returns to the start.
    pub restart: Option<f64>,
    /// The language model that answers where a question asks for it. Stages of earlier versions
    /// have none.
    #[serde(default)]
    pub llm: Option<LlmParams>,
    /// Its prompts.
    #[serde(default)]
    pub prompts: AnswerPrompts,
}

impl RetrieverParams {
    /// The schema.
    pub fn schema() -> Schema {
        let mut schema = Self::of_search();
        // Neither changes what the stage makes: they are for questions that come later.
        schema.fields.push(
            Field {
                about: "the language model for `ask --answer` and answers of `serve`, any server with OpenAI's chat completions (docs/language-models.md). These answers are not kept, and `budget` and `tokens_per_minute` count for the questions of one request",
                ..LlmParams::field()
            }
            .no_effect()
            .added_later(),
        );
        schema
            .fields
            .push(AnswerPrompts::field().no_effect().added_later());
        schema
    }

    /// The parameters that say how documents are found.
    pub fn of_search() -> Schema {
        let mut fields = vec![
            Field::new(
                "system",
                Type::one_of(askable()).or_null(),
                Value::Null,
                "what ranks documents; null: the model if there is one, else fused, else ppr, else rrf, else bm25. Where a question has no start, its text alone is compared: dense, else bm25",
            ),
            Field::new(
                "encoder",
                Type::Object(EmbedParams::of_encoder()),
                json!({}),
                "encoder of questions, with the parameters of `embed`: the one that embedded everything else",
            ),
            Field::new(
                "link",
                Type::Object(LinkParams::schema()),
                json!({}),
                "where a question starts, with the parameters of `link-questions`: those that the model was fine-tuned with",
            ),
            Field::new(
                "init_entities_weight",
                Type::Bool.or_null(),
                Value::Null,
                "null: the model starts from the nodes that `link` finds, as in a fine-tuning with `starts`. yes or no: it starts from the entities that the question names, as in a fine-tuning without `starts`; yes gives each the weight 1 / number of its documents, no the weight 1",
            ),
            Field::new(
                "ranker",
                ranker_type(),
                rankers::DEFAULT.name,
                "how the model's entity scores become document scores",
            ),
            top_k_field(DEFAULT_TOP_K),
        ];
        let walking = Walking::fields().into_iter();
        fields.extend(walking.filter(|f| f.name == "restart"));
        Schema::new(fields)
    }
}
