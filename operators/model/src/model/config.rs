//! Dimensions and switches of the entity model, with the keys of the reference.

use gfm_pipe_api::named::Named;
use gfm_pipe_eval::features::FeatureKind;
use serde::{Deserialize, Serialize};

use crate::ops::{ActivationFunc, AggregateFunc, LayerKind, MessageFunc};

/// Largest number of layers.
const MAX_LAYERS: usize = 1000;

/// How a GraphReasoner (GFM-RAG 2.0) reads the texts of nodes; see [`super::node_states`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fusion {
    /// In the states that queries start with.
    #[serde(rename = "early-fusion")]
    Early,
    /// In the scoring head.
    #[serde(rename = "late-fusion")]
    Late,
    /// In both.
    #[serde(rename = "early-late-fusion")]
    EarlyLate,
}

/// The reference's `entity_model` keys that change what the model computes, and `use_ent_emb`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Width of states, queries and relation states.
    pub input_dim: usize,
    /// Output width of each layer; only the last may differ from `input_dim`.
    pub hidden_dims: Vec<usize>,
    /// How a message is computed from a state and a relation.
    #[serde(default)]
    pub message_func: MessageFunc,
    /// How the messages into a node are aggregated.
    #[serde(default)]
    pub aggregate_func: AggregateFunc,
    /// Whether a layer adds its input to its output, where shapes match.
    pub short_cut: bool,
    /// Whether a layer normalises its linear output.
    pub layer_norm: bool,
    /// Activation of the layers (the relation projections and the head always use ReLU).
    #[serde(default)]
    pub activation: ActivationFunc,
    /// Whether the head sees the outputs of all layers instead of only the last.
    #[serde(default)]
    pub concat_hidden: bool,
    /// Number of linear maps in the head.
    #[serde(default = "two")]
    pub num_mlp_layer: usize,
    /// Whether pre-training removes all edges between the two nodes of a triple, whatever their
    /// relation.
    #[serde(default)]
    pub remove_one_hop: bool,
    /// How a GraphReasoner reads the texts of nodes; `None` if it does not, and for other models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_ent_emb: Option<Fusion>,
    /// The ranking features whose weighted sum is added to the scores of documents, by name; empty
    /// without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

fn two() -> usize {
    2
}

impl ModelConfig {
    /// The reference's defaults with these widths.
    pub fn new(input_dim: usize, hidden_dims: Vec<usize>) -> Self {
        ModelConfig {
            input_dim,
            hidden_dims,
            message_func: MessageFunc::DistMult,
            aggregate_func: AggregateFunc::Sum,
            short_cut: true,
            layer_norm: true,
            activation: ActivationFunc::Relu,
            concat_hidden: false,
            num_mlp_layer: 2,
            remove_one_hop: false,
            use_ent_emb: None,
            features: Vec::new(),
        }
    }

    /// The same network without ranking features.
    #[must_use]
    pub fn without_features(&self) -> Self {
        ModelConfig {
            features: Vec::new(),
            ..self.clone()
        }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.hidden_dims.len()
    }

    /// Width of the states that the head sees.
    pub fn output_dim(&self) -> usize {
        if self.concat_hidden {
            self.hidden_dims.iter().sum()
        } else {
            self.hidden_dims.last().copied().unwrap_or(self.input_dim)
        }
    }

    /// Whether the states that queries start with read the texts of nodes.
    pub fn reads_nodes_early(&self) -> bool {
        matches!(self.use_ent_emb, Some(Fusion::Early | Fusion::EarlyLate))
    }

    /// Whether the scoring head reads the texts of nodes.
    pub fn reads_nodes_late(&self) -> bool {
        matches!(self.use_ent_emb, Some(Fusion::Late | Fusion::EarlyLate))
    }

    /// Width of the values between the linear maps of the head.
    pub fn head_width(&self) -> usize {
        if self.reads_nodes_late() {
            self.input_dim
        } else {
            self.output_dim() + self.input_dim
        }
    }

    /// Number of linear maps in the head. A head that reads the texts of nodes has two.
    pub fn head_maps(&self) -> usize {
        if self.reads_nodes_late() {
            2
        } else {
            self.num_mlp_layer
        }
    }

    /// Whether the head processes the rows of all nodes directly: it has two maps and sees only the
    /// last states.
    pub fn head_by_rows(&self) -> bool {
        !self.concat_hidden && self.head_maps() == 2
    }

    /// Whether the states before the first layer send no messages where no query starts.
    pub fn starts_silent(&self) -> bool {
        self.message_func.zeros_are_silent() && !self.reads_nodes_early()
    }

    /// The functions that each layer is made of.
    pub fn layer_kind(&self) -> LayerKind {
        LayerKind {
            message: self.message_func,
            aggregate: self.aggregate_func,
            activation: self.activation,
            shortcut: self.short_cut,
            path: self.message_func.path(),
        }
    }

    /// Checks that a configuration from a file describes a model: it is consistent, and dimensions
    /// are in a plausible range.
    ///
    /// # Errors
    /// The first problem, with its key.
    pub fn validate(&self) -> Result<(), String> {
        if let Some((key, why)) = self.problems().into_iter().next() {
            return Err(format!("{key}: {why}"));
        }
        let dims = || self.hidden_dims.iter().chain([&self.input_dim]);
        let fits =
            dims().all(|d| (1..=65_536).contains(d)) && (1..=16).contains(&self.num_mlp_layer);
        fits.then_some(())
            .ok_or_else(|| "dimensions out of range".to_owned())
    }

    /// All inconsistencies, as pairs of the key under `entity_model` and the reason.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        if self.hidden_dims.is_empty() {
            out.push(("hidden_dims", "there must be at least one layer".to_owned()));
        }
        if self.layers() > MAX_LAYERS {
            let why = format!(
                "there are {} layers, but at most {MAX_LAYERS} are possible",
                self.layers()
            );
            out.push(("hidden_dims", why));
        }
        let inner = self.hidden_dims.len().saturating_sub(1);
        if let Some(i) = self.hidden_dims[..inner]
            .iter()
            .position(|d| *d != self.input_dim)
        {
            out.push((
                "hidden_dims",
                format!(
                    "hidden_dims[{i}] is {}, but only the last hidden dimension may differ from input_dim ({})",
                    self.hidden_dims[i], self.input_dim
                ),
            ));
        }
        if self.reads_nodes_late() && self.concat_hidden {
            let why = "the head of late fusion reads the last states only: set it to no".to_owned();
            out.push(("concat_hidden", why));
        }
        if self.reads_nodes_late() && self.num_mlp_layer != 2 {
            let why = "the head of late fusion has two linear maps: set it to 2".to_owned();
            out.push(("num_mlp_layer", why));
        }
        if let (true, Some(last)) = (self.reads_nodes_late(), self.hidden_dims.last())
            && *last != self.input_dim
        {
            let why = format!(
                "the last is {last}, but the head of late fusion reads states of the width of input_dim ({})",
                self.input_dim
            );
            out.push(("hidden_dims", why));
        }
        out.extend(self.feature_problems());
        if self.message_func.pairs() && !self.input_dim.is_multiple_of(2) {
            out.push((
                "input_dim",
                format!(
                    "{} reads states as complex numbers: input_dim must be even, not {}",
                    self.message_func.name(),
                    self.input_dim
                ),
            ));
        }
        out
    }

    /// What is wrong with the names of features. A model may come from another version of the
    /// program.
    fn feature_problems(&self) -> Option<(&'static str, String)> {
        let all = self.features.iter().enumerate();
        let mut wrong = all.filter_map(|(i, name)| {
            let twice = self.features[..i].contains(name);
            match FeatureKind::named(name) {
                None => Some(format!("this version has no ranking feature `{name}`")),
                Some(_) => twice.then(|| format!("the ranking feature `{name}` is listed twice")),
            }
        });
        wrong.next().map(|why| ("features", why))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn features_are_stored_by_name_and_only_where_there_are_any() {
        let without = ModelConfig::new(4, vec![4]);
        let json = serde_json::to_string(&without).unwrap();
        assert!(!json.contains("features"), "{json}");
        // A configuration that an earlier version stored.
        let read: ModelConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(read, without);
        let with = |names: &[&str]| ModelConfig {
            features: names.iter().map(|n| (*n).to_owned()).collect(),
            ..without.clone()
        };
        let some = with(&["ppr", "bm25"]);
        let read = serde_json::from_str(&serde_json::to_string(&some).unwrap()).unwrap();
        assert_eq!(some, read);
        assert!(some.validate().is_ok());
        assert_eq!(some.without_features(), without);
        for (names, why) in [
            (&["ppr", "luck"], "no ranking feature `luck`"),
            (&["ppr", "ppr"], "`ppr` is listed twice"),
        ] {
            let error = with(names).validate().unwrap_err();
            assert!(error.starts_with("features: "), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
