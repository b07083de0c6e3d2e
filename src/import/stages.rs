//! The stages of a pipeline: those that prepare each data set, the training, its evaluation and its
//! export.

use serde_json::{Value, json};

use super::convert::{Import, Tree};
use super::data::{DataSets, Encoder};
use super::kind::{Family, Training};

impl Import<'_> {
    /// All stages of the pipeline; `with` are the parameters of the training.
    pub(super) fn stages(
        &mut self,
        datasets: &DataSets,
        encoder: &Encoder,
        with: Value,
        ranker: Option<&Value>,
        exports: bool,
    ) -> Value {
        let init_entities_weight = with.pointer("/train/init_entities_weight").cloned();
        let mut stages = Tree::new();
        let finetune = self.training == Training::Finetune;
        let valid = finetune && !datasets.valid.is_empty();
        let split = finetune.then_some("train");
        self.family_stages(&mut stages, "", "train_names", split, encoder);
        if valid {
            self.family_stages(&mut stages, "valid_", "valid_names", Some("test"), encoder);
        }
        let name = self.training.op();
        let inputs = self.inputs(valid);
        stages.insert(
            name.to_owned(),
            json!({"op": name, "in": inputs, "with": with}),
        );
        if valid && self.evaluates {
            let usual = match self.family {
                Family::First | Family::EntityGraph => "idf_topk",
                // Documents are nodes, with scores of their own.
                Family::TypedGraph => "simple",
            };
            let ranker = ranker.cloned().unwrap_or_else(|| json!({"name": usual}));
            let mut with = json!({"rankers": [ranker["name"]]});
            if !ranker["top_k"].is_null() {
                with["top_k"] = ranker["top_k"].clone();
            }
            if let Some(weighted) = init_entities_weight {
                with["init_entities_weight"] = weighted;
            }
            self.note("the epoch is chosen on test.json of `valid_names`, as in the reference, and `evaluate` reports on the same questions: name other data sets there than those you report on");
            let from = format!("valid_{}", self.data_stage());
            let mut inputs = json!({
                "model": "finetune.model", "graph": "valid_graph", "documents": "valid_documents",
                "corpus": format!("{from}.documents"), "questions": format!("{from}.test"),
                "question_embeddings": "valid_asked",
            });
            if self.family == Family::TypedGraph {
                inputs["nodes"] = format!("{from}.nodes").into();
                inputs["starts"] = format!("{from}.test_starts").into();
            }
            stages.insert(
                "evaluate".to_owned(),
                json!({
                    "op": "evaluate",
                    "foreach": {"ds": "{{ valid_names }}"},
                    "in": inputs,
                    "with": with,
                }),
            );
        }
        if exports {
            let path = format!("outputs/{}/pretrained", self.name());
            self.note(format!(
                "`train.save_pretrained`: stage `export` writes config.json and model.pth to {path}"
            ));
            let mut text = Tree::new();
            for (key, value) in &encoder.settings {
                if key != "model_kwargs" && encoder.model != "static" {
                    text.insert(key.clone(), value.clone());
                }
            }
            // The encoder's name is left out: `export` takes it from the embeddings, so that it is
            // right even with `-p encoder=`.
            let mut with = json!({"path": path});
            if !text.is_empty() {
                with["text_emb_model"] = Value::Object(text);
            }
            let model = format!("{name}.model");
            stages.insert(
                "export".to_owned(),
                json!({"op": "export", "in": {"model": model}, "with": with}),
            );
        }
        Value::Object(stages)
    }

    /// The stage that has documents and questions.
    fn data_stage(&self) -> &'static str {
        match self.family {
            Family::First => "questions",
            Family::EntityGraph | Family::TypedGraph => "dataset",
        }
    }

    /// The inputs of the training.
    fn inputs(&self, valid: bool) -> Value {
        let mut inputs = json!({"graph": "graph[*]"});
        if self.training == Training::Pretrain {
            return inputs;
        }
        let from = self.data_stage();
        let typed = self.family == Family::TypedGraph;
        inputs["documents"] = "documents[*]".into();
        if typed {
            inputs["nodes"] = format!("{from}[*].nodes").into();
        }
        inputs["train"] = format!("{from}[*].train").into();
        inputs["train_embeddings"] = "asked[*]".into();
        if typed {
            inputs["starts"] = format!("{from}[*].train_starts").into();
        }
        if valid {
            inputs["valid"] = format!("valid_{from}[*].test").into();
            inputs["valid_embeddings"] = "valid_asked[*]".into();
            if typed {
                inputs["valid_starts"] = format!("valid_{from}[*].test_starts").into();
            }
            inputs["valid_graph"] = "valid_graph[*]".into();
            inputs["valid_documents"] = "valid_documents[*]".into();
            if typed {
                inputs["valid_nodes"] = format!("valid_{from}[*].nodes").into();
            }
        }
        inputs
    }

    /// Adds the stages for the data sets of one list: the graph, and with a split also documents
    /// and questions.
    fn family_stages(
        &self,
        stages: &mut Tree,
        prefix: &str,
        list: &str,
        split: Option<&str>,
        encoder: &Encoder,
    ) {
        let all = match self.family {
            Family::First => first_stages(prefix, split, encoder),
            Family::EntityGraph | Family::TypedGraph => self.second_stages(prefix, split, encoder),
        };
        for (name, mut body) in all {
            body["foreach"] = json!({"ds": format!("{{{{ {list} }}}}")});
            // Keep `op` first and put `foreach` second.
            if let Value::Object(map) = &mut body {
                let foreach = map.shift_remove("foreach").unwrap_or_default();
                map.shift_insert(1, "foreach".to_owned(), foreach);
            }
            stages.insert(format!("{prefix}{name}"), body);
        }
    }

    /// The stages of a data set of 2.0. The graph of a GraphReasoner has all nodes, with their
    /// texts, that of a GNNRetriever those of one type.
    fn second_stages(
        &self,
        prefix: &str,
        split: Option<&str>,
        encoder: &Encoder,
    ) -> Vec<(&'static str, Value)> {
        let typed = self.family == Family::TypedGraph;
        let p = |name: &str| format!("{prefix}{name}");
        let of = |port: &str| format!("{prefix}dataset.{port}");
        let mut with = json!({"root": "{{ data }}/{{ ds }}", "dataset": "{{ ds }}"});
        if !typed {
            with["target_type"] = self.target_type.as_str().into();
        }
        let mut graph = json!({
            "triples": of("triples"), "entities": of("entities"), "relations": p("relations"),
        });
        let mut all = vec![("dataset", json!({"op": "ingest-graph", "with": with}))];
        // A GNNRetriever reads the names of relations, a GraphReasoner also their attributes.
        let texts = if typed { "relation_texts" } else { "relations" };
        all.push(("relations", embed(encoder, of(texts), false)));
        if typed {
            all.push(("node_embeddings", embed(encoder, of("node_texts"), false)));
            graph["nodes"] = p("node_embeddings").into();
        }
        all.push(("graph", json!({"op": "build-graph", "in": graph})));
        if let Some(split) = split {
            let scored = if typed { "nodes" } else { "links" };
            let mut inputs = json!({"entities": of("entities"), "documents": of("documents")});
            inputs[scored] = of(scored).into();
            all.push(("documents", json!({"op": "build-documents", "in": inputs})));
            all.push(("asked", embed(encoder, of(split), true)));
        }
        all
    }
}

/// A stage that embeds texts.
fn embed(encoder: &Encoder, texts: String, query: bool) -> Value {
    let mut with = json!({"model": "{{ encoder }}"});
    if query {
        with["is_query"] = true.into();
    }
    for (key, value) in &encoder.with {
        with[key] = value.clone();
    }
    json!({"op": "embed", "in": {"texts": texts}, "with": with})
}

/// The stages of a data set of 1.0.
fn first_stages(
    prefix: &str,
    split: Option<&str>,
    encoder: &Encoder,
) -> Vec<(&'static str, Value)> {
    let p = |name: &str| format!("{prefix}{name}");
    let mut all = vec![
        (
            "kg",
            json!({"op": "ingest-kg", "with": {"path": "{{ data }}/{{ ds }}/processed/stage1/kg.txt"}}),
        ),
        ("relations", embed(encoder, p("kg.relations"), false)),
        (
            "graph",
            json!({"op": "build-graph", "in": {
                "triples": p("kg.triples"), "entities": p("kg.entities"), "relations": p("relations"),
            }}),
        ),
    ];
    if let Some(split) = split {
        all.push((
            "questions",
            json!({"op": "ingest-qa", "in": {"entities": p("kg.entities")},
                   "with": {"root": "{{ data }}/{{ ds }}", "dataset": "{{ ds }}"}}),
        ));
        all.push((
            "documents",
            json!({"op": "build-documents", "in": {
                "entities": p("kg.entities"), "documents": p("questions.documents"), "links": p("questions.links"),
            }}),
        ));
        let questions = p(&format!("questions.{split}"));
        all.push(("asked", embed(encoder, questions, true)));
    }
    all
}
