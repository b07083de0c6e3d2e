//! The stages of a pipeline: those that prepare each data set, the training, its evaluation and its
//! export.

use serde_json::{Value, json};

use super::convert::{Import, Tree};
use super::data::{DataSets, Encoder};
use super::kind::Training;

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
        family(
            &mut stages,
            "",
            "train_names",
            finetune.then_some("train"),
            encoder,
        );
        if valid {
            family(&mut stages, "valid_", "valid_names", Some("test"), encoder);
        }
        let name = self.training.op();
        let inputs = match (finetune, valid) {
            (false, _) => json!({"graph": "graph[*]"}),
            (true, false) => json!({
                "graph": "graph[*]", "documents": "documents[*]",
                "train": "questions[*].train", "train_embeddings": "asked[*]",
            }),
            (true, true) => json!({
                "graph": "graph[*]", "documents": "documents[*]",
                "train": "questions[*].train", "train_embeddings": "asked[*]",
                "valid": "valid_questions[*].test", "valid_embeddings": "valid_asked[*]",
                "valid_graph": "valid_graph[*]", "valid_documents": "valid_documents[*]",
            }),
        };
        stages.insert(
            name.to_owned(),
            json!({"op": name, "in": inputs, "with": with}),
        );
        if valid {
            let ranker = ranker
                .cloned()
                .unwrap_or_else(|| json!({"name": "idf_topk"}));
            let mut with = json!({"rankers": [ranker["name"]]});
            if !ranker["top_k"].is_null() {
                with["top_k"] = ranker["top_k"].clone();
            }
            if let Some(weighted) = init_entities_weight {
                with["init_entities_weight"] = weighted;
            }
            self.note("the epoch is chosen on test.json of `valid_names`, as in the reference, and `evaluate` reports on the same questions: name other data sets there than those you report on");
            stages.insert(
                "evaluate".to_owned(),
                json!({
                    "op": "evaluate",
                    "foreach": {"ds": "{{ valid_names }}"},
                    "in": {
                        "model": "finetune.model", "graph": "valid_graph", "documents": "valid_documents",
                        "corpus": "valid_questions.documents", "questions": "valid_questions.test",
                        "question_embeddings": "valid_asked",
                    },
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
}

/// Adds the stages for the data sets of one list: the graph, and with a split also documents and
/// questions.
fn family(stages: &mut Tree, prefix: &str, list: &str, split: Option<&str>, encoder: &Encoder) {
    let embed = |texts: String, query: bool| {
        let mut with = json!({"model": "{{ encoder }}"});
        if query {
            with["is_query"] = true.into();
        }
        for (key, value) in &encoder.with {
            with[key] = value.clone();
        }
        json!({"op": "embed", "in": {"texts": texts}, "with": with})
    };
    let p = |name: &str| format!("{prefix}{name}");
    let mut all = vec![
        (
            "kg",
            json!({"op": "ingest-kg", "with": {"path": "{{ data }}/{{ ds }}/processed/stage1/kg.txt"}}),
        ),
        ("relations", embed(p("kg.relations"), false)),
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
        all.push(("asked", embed(p(&format!("questions.{split}")), true)));
    }
    for (name, mut body) in all {
        body["foreach"] = json!({"ds": format!("{{{{ {list} }}}}")});
        // Keep `op` first and put `foreach` second.
        if let Value::Object(map) = &mut body {
            let foreach = map.shift_remove("foreach").unwrap_or_default();
            map.shift_insert(1, "foreach".to_owned(), foreach);
        }
        stages.insert(p(name), body);
    }
}
