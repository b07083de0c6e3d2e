//! Reads and writes `config.json` as `save_pretrained` of GFM-RAG 1.0 and 2.0 does.
//!
//! Keys that the file leaves out have the defaults of the reference's classes, which differ from
//! those of its configuration files: no shortcut and no layer norm.

use gfm_pipe_api::schema::as_switch;
use serde_json::{Map, Value, json};

use super::GivenConfig;
use crate::model::{Class, ModelConfig};
use crate::ops::{ActivationFunc, AggregateFunc, MessageFunc};

/// The text encoder, for `text_emb_model_config`.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// Its name on a hub, or its name in gfm-pipe.
    pub name: String,
    /// Other keys of the reference's encoder class, such as normalize and query_instruct.
    pub settings: Map<String, Value>,
}

/// Keys of the entity model that have no effect on weights or scores.
const WITHOUT_EFFECT: [&str; 6] = [
    "_target_",
    // 2.0 must set it with late fusion, and must not set it otherwise.
    "return_hidden",
    "dependent",
    "num_beam",
    "path_topk",
    "num_relation",
];

/// Reads a `config.json`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_config(text: &str) -> Result<GivenConfig, String> {
    let root: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let model = object(&root, "model_config")?;
    let entity = object(&root["model_config"], "entity_model")?;
    let target = text_of(model, "_target_")?;
    let class = match target.rsplit('.').next() {
        // The weights of 2.0's QueryGNNs are those of a GraphReasoner.
        Some("QueryGNN") if target.contains(".gfm_") => Class::GraphReasoner,
        Some("QueryGNN") => Class::QueryGNN,
        Some("GNNRetriever") => Class::GNNRetriever,
        Some("GraphReasoner") => Class::GraphReasoner,
        _ => {
            return Err(format!(
                "model_config._target_ is `{target}`, not QueryGNN, GNNRetriever or GraphReasoner"
            ));
        }
    };
    let text_dim = match count(model, "rel_emb_dim")? {
        Some(dim) => dim,
        None => {
            count(model, "feat_dim")?.ok_or("model_config has neither rel_emb_dim nor feat_dim")?
        }
    };
    let use_ent_emb = match class {
        Class::GraphReasoner => named(model, "use_ent_emb", None)?,
        Class::QueryGNN | Class::GNNRetriever => None,
    };
    let need = |key: &str| format!("entity_model has no {key}");
    let hidden = match entity.get("hidden_dims") {
        Some(Value::Array(all)) => all.iter().map(whole).collect::<Result<Vec<_>, _>>()?,
        Some(one) => vec![whole(one)?],
        None => return Err(need("hidden_dims")),
    };
    let input_dim = count(entity, "input_dim")?.ok_or_else(|| need("input_dim"))?;
    let config = ModelConfig {
        message_func: named(entity, "message_func", MessageFunc::DistMult)?,
        aggregate_func: named(entity, "aggregate_func", AggregateFunc::Sum)?,
        activation: named(entity, "activation", ActivationFunc::Relu)?,
        short_cut: switch(entity, "short_cut")?,
        layer_norm: switch(entity, "layer_norm")?,
        concat_hidden: switch(entity, "concat_hidden")?,
        remove_one_hop: switch(entity, "remove_one_hop")?,
        num_mlp_layer: count(entity, "num_mlp_layer")?.unwrap_or(2),
        use_ent_emb,
        ..ModelConfig::new(input_dim, hidden)
    };
    config.validate()?;
    let known = [
        "input_dim",
        "hidden_dims",
        "message_func",
        "aggregate_func",
        "activation",
        "short_cut",
        "layer_norm",
        "concat_hidden",
        "remove_one_hop",
        "num_mlp_layer",
    ];
    let ignored = entity
        .keys()
        .map(String::as_str)
        .filter(|k| !known.contains(k) && !WITHOUT_EFFECT.contains(k))
        .map(|k| format!("entity_model.{k}"));
    let encoder = root["text_emb_model_config"]["text_emb_model_name"].as_str();
    Ok(GivenConfig {
        class,
        entity_model: config,
        text_dim,
        encoder: encoder.map(str::to_owned),
        encoder_digest: None,
        ignored: ignored.collect(),
    })
}

/// The text of a `config.json` for this model.
pub fn config_json(
    class: Class,
    config: &ModelConfig,
    text_dim: usize,
    encoder: &Encoder,
) -> String {
    let mut text = Map::new();
    text.insert(
        "_target_".to_owned(),
        "gfmrag.text_emb_models.BaseTextEmbModel".into(),
    );
    text.insert(
        "text_emb_model_name".to_owned(),
        encoder.name.as_str().into(),
    );
    text.extend(encoder.settings.clone());
    let entity_class = match class {
        Class::QueryGNN => "gfmrag.ultra.models.EntityNBFNet",
        Class::GNNRetriever => "gfmrag.ultra.models.QueryNBFNet",
        Class::GraphReasoner => "gfmrag.models.ultra.models.QueryNBFNet",
    };
    let mut entity_model = json!({
        "_target_": entity_class,
        "input_dim": config.input_dim,
        "hidden_dims": config.hidden_dims,
        "message_func": config.message_func,
        "aggregate_func": config.aggregate_func,
        "short_cut": config.short_cut,
        "layer_norm": config.layer_norm,
        "activation": config.activation,
        "concat_hidden": config.concat_hidden,
        "num_mlp_layer": config.num_mlp_layer,
        "remove_one_hop": config.remove_one_hop,
    });
    let all = match class {
        Class::QueryGNN | Class::GNNRetriever => json!({
            "text_emb_model_config": text,
            "model_config": {
                "_target_": format!("gfmrag.models.{}", class.name()),
                "entity_model": entity_model,
                "rel_emb_dim": text_dim,
            },
        }),
        Class::GraphReasoner => {
            // 2.0 returns features instead of scores if this does not fit the fusion.
            entity_model["return_hidden"] = config.reads_nodes_late().into();
            json!({
                "text_emb_model_config": text,
                // As 2.0 reads them: without these keys it makes no features.
                "dataset_config": {
                    "class_name": "GraphIndexDataset",
                    "text_emb_model_cfgs": text,
                    "use_node_feat": true,
                    "use_relation_feat": true,
                    "use_edge_feat": false,
                    "inverse_relation_feat": "text",
                },
                "model_config": {
                    "_target_": format!("gfmrag.models.gfm_reasoner.{}", class.name()),
                    "use_ent_emb": config.use_ent_emb,
                    "entity_model": entity_model,
                    "feat_dim": text_dim,
                },
            })
        }
    };
    let mut out = serde_json::to_string_pretty(&all).unwrap_or_else(|_| all.to_string());
    out.push('\n');
    out
}

fn object<'a>(value: &'a Value, key: &str) -> Result<&'a Map<String, Value>, String> {
    value[key]
        .as_object()
        .ok_or_else(|| format!("it has no {key}"))
}

fn text_of<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    let value = map.get(key).and_then(Value::as_str);
    value.ok_or_else(|| format!("{key} is not a text"))
}

fn whole(value: &Value) -> Result<usize, String> {
    let n = value.as_u64().filter(|n| (1..=65_536).contains(n));
    n.map(|n| n as usize)
        .ok_or_else(|| format!("{value} is not a dimension (a whole number from 1 to 65536)"))
}

fn count(map: &Map<String, Value>, key: &str) -> Result<Option<usize>, String> {
    map.get(key)
        .map(whole)
        .transpose()
        .map_err(|e| format!("{key}: {e}"))
}

/// A switch as readers of YAML 1.1 and 1.2 write it: a boolean, or a word such as `yes`.
fn switch(map: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match map.get(key) {
        None => Ok(false),
        Some(v) => as_switch(v).ok_or_else(|| format!("{key}: {v} is neither true nor false")),
    }
}

fn named<T: serde::de::DeserializeOwned>(
    map: &Map<String, Value>,
    key: &str,
    default: T,
) -> Result<T, String> {
    map.get(key).map_or(Ok(default), |v| {
        serde_json::from_value(v.clone()).map_err(|e| format!("{key}: {e}"))
    })
}
