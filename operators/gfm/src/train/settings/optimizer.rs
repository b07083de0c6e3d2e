//! The `optimizer` group: AdamW.

use gfm_pipe_api::{Field, Problem, Schema, Type};
use gfm_pipe_kernels::adamw::AdamW;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The mapping `optimizer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OptimizerSettings {
    /// Class name of the optimizer.
    #[serde(rename = "_target_")]
    pub target: String,
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the moments.
    pub betas: Vec<f64>,
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl OptimizerSettings {
    /// The settings as the optimizer kernel takes them.
    pub fn adamw(&self) -> AdamW {
        AdamW {
            lr: self.lr,
            betas: (self.betas[0], self.betas[1]),
            eps: self.eps,
            weight_decay: self.weight_decay,
        }
    }

    /// Problems that the schema cannot express.
    pub fn problems(&self) -> Vec<Problem> {
        (self.betas.len() != 2)
            .then(|| Problem::at("optimizer.betas", "expected two numbers"))
            .into_iter()
            .collect()
    }
}

/// The `optimizer` group.
pub fn optimizer_field() -> Field {
    Field::group(
        "optimizer",
        Schema::new(vec![
            Field::new(
                "_target_",
                Type::one_of(&["torch.optim.AdamW", "AdamW"]),
                "AdamW",
                "class of the optimizer",
            )
            .no_effect(),
            Field::new("lr", Type::float(0.0), 5e-4, "learning rate")
                .at_most(1000.0, "a step of AdamW moves a weight by about as much"),
            Field::new(
                "betas",
                Type::list(Type::Float {
                    min: 0.0,
                    max: 0.999_999_9,
                }),
                json!([0.9, 0.999]),
                "decay rates of the two moments",
            ),
            Field::new(
                "eps",
                Type::float(0.0),
                1e-8,
                "added to the square root of the second moment",
            )
            .at_most(1.0, "more stops all training"),
            Field::new(
                "weight_decay",
                Type::float(0.0),
                0.01,
                "decoupled weight decay, on every parameter",
            )
            .at_most(
                1000.0,
                "a step removes `lr` times this share of each weight",
            ),
        ]),
        "the optimizer",
    )
}
