//! The trainings of GFM-RAG 2.0, in the keys of those of 1.0, which are the operators'.
//!
//! What 2.0 says in `trainer`, `trainer.args` and `losses`, 1.0 says in `train` and `task`. A key
//! with no counterpart either has one value that means what is done here, or cannot change the
//! result, or is a problem.

use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::schema::as_switch;
use serde_json::{Value, json};

use super::convert::{Import, Tree};
use super::kind::{Family, Training, class};

/// Keys at the top that belong to the training loop.
const LOOP: [(&str, &str); 3] = [
    ("timeout", "timeout"),
    ("save_pretrained", "save_pretrained"),
    ("load_model_from_pretrained", "checkpoint"),
];
/// Keys of `trainer.args` with the operators' names in `train`.
const ARGS: [(&str, &str); 5] = [
    ("train_batch_size", "batch_size"),
    ("num_epoch", "num_epoch"),
    ("logging_steps", "log_interval"),
    ("max_steps_per_epoch", "batch_per_epoch"),
    ("save_best_only", "save_best_only"),
];
/// Keys of `trainer` in pre-training that are the operators' in `task`.
const SAMPLING: [&str; 3] = ["num_negative", "strict_negative", "adversarial_temperature"];

impl Import<'_> {
    /// Rewrites a configuration of GFM-RAG 2.0.
    pub fn second(&mut self) {
        for key in ["train", "task", "checkpoint"] {
            if let Some(value) = self.root.remove(key) {
                self.wrong(
                    key,
                    format!("`{key}` ({value}) is a key of GFM-RAG 1.0, in a configuration of 2.0"),
                );
            }
        }
        let (mut train, mut task) = (Tree::new(), Tree::new());
        for (key, name) in LOOP {
            if let Some(value) = self.root.remove(key) {
                self.renamed(&mut train, ("train", name), key, value);
            }
        }
        self.data_of_2();
        self.model_of_2(&mut train);
        if self.training == Training::Finetune {
            self.losses_of_2(&mut task);
        }
        self.trainer(&mut train, &mut task);
        self.root.insert("train".to_owned(), Value::Object(train));
        self.root.insert("task".to_owned(), Value::Object(task));
        self.note("`trainer`, `trainer.args` and `losses` are `train` and `task` here, and `metric_for_best_model` is `train.best_by`");
    }

    /// Puts a value where the operators have it.
    fn renamed(&mut self, out: &mut Tree, (section, name): (&str, &str), from: &str, value: Value) {
        self.places.moved(format!("{section}.{name}"), from);
        out.insert(name.to_owned(), value);
    }

    /// Takes out a switch; `None` where it is not given or null.
    fn switch(&mut self, tree: &mut Tree, path: &str, key: &str) -> Option<bool> {
        let value = tree.remove(key).filter(|value| !value.is_null())?;
        let switch = as_switch(&value);
        if switch.is_none() {
            self.unknown(format!("{path}.{key}"), value);
        }
        switch
    }

    /// Takes out a switch that must be `wanted` where it is given: with another value something
    /// else would be trained.
    fn must_be(&mut self, tree: &mut Tree, path: &str, key: &str, wanted: bool, why: &str) {
        if self.switch(tree, path, key) == Some(!wanted) {
            self.not_possible(&format!("{path}.{key}"), &Value::Bool(!wanted), why);
        }
    }

    /// A value that would mean something else here.
    fn not_possible(&mut self, key: &str, value: &Value, why: &str) {
        self.wrong(key, format!("`{key}` ({value}) is not possible: {why}"));
    }

    /// Takes out the class of a part, which must be one of these.
    fn class_of(&mut self, tree: &mut Tree, path: &str, known: &[&str]) {
        if let Some(target) = tree.remove("_target_")
            && !target.as_str().is_some_and(|c| known.contains(&class(c)))
        {
            self.unknown(format!("{path}._target_"), target);
        }
    }

    /// The switches of the data sets.
    fn data_of_2(&mut self) {
        let mut section = self.section("datasets");
        let mut cfgs = self.mapping("datasets.cfgs", section.remove("cfgs"));
        let path = "datasets.cfgs";
        if let Some(value) = cfgs.remove("force_reload") {
            self.places
                .moved("datasets.cfgs.force_rebuild", "datasets.cfgs.force_reload");
            cfgs.insert("force_rebuild".to_owned(), value);
        }
        if self.family == Family::EntityGraph {
            match cfgs.remove("target_type") {
                Some(Value::String(kind)) => self.target_type = kind,
                None | Some(Value::Null) => {
                    self.note("`datasets.cfgs.target_type` is not set: entity");
                }
                Some(other) => self.unknown("datasets.cfgs.target_type", other),
            }
            if self.target_type == DOCUMENT {
                let why = "documents are ranked by other nodes that have an edge to them";
                self.not_possible("datasets.cfgs.target_type", &json!(DOCUMENT), why);
            }
            if self.switch(&mut cfgs, path, "use_node_feat") == Some(true) {
                self.note(
                    "`datasets.cfgs.use_node_feat` (true): a GNNRetriever reads no texts of nodes",
                );
            }
        } else {
            let why = "a GraphReasoner gets the texts of nodes; `model.use_ent_emb: null` makes it ignore them";
            self.must_be(&mut cfgs, path, "use_node_feat", true, why);
        }
        let why = "the model reads the texts of relations";
        self.must_be(&mut cfgs, path, "use_relation_feat", true, why);
        if self.switch(&mut cfgs, path, "use_edge_feat") == Some(true) {
            self.note(
                "`datasets.cfgs.use_edge_feat` (true): no model reads the attributes of edges",
            );
        }
        match cfgs.remove("inverse_relation_feat") {
            None | Some(Value::Null) => {}
            Some(value) if value == "text" => {}
            Some(value) => {
                let key = "datasets.cfgs.inverse_relation_feat";
                self.not_possible(
                    key,
                    &value,
                    "an inverse relation is embedded by its name (text)",
                );
            }
        }
        let why = "a question without a known target trains nothing here";
        self.must_be(&mut cfgs, path, "skip_empty_target", true, why);
        section.insert("cfgs".to_owned(), Value::Object(cfgs));
        self.root
            .insert("datasets".to_owned(), Value::Object(section));
    }

    /// The keys of `model` that are not the operators'.
    fn model_of_2(&mut self, train: &mut Tree) {
        let mut model = self.section("model");
        if let Some(value) = model.remove("dtype")
            && !self.is_followed("model.dtype")
            && !value.is_null()
        {
            self.note(format!(
                "`model.dtype` ({value}): GFM-RAG reads it only through `trainer.args.dtype`"
            ));
        }
        if self.family == Family::TypedGraph && !model.contains_key("use_ent_emb") {
            model.insert("use_ent_emb".to_owned(), Value::Null);
            self.note("`model.use_ent_emb` is not set: null, the default of the reference's class");
        }
        if let Some(ranker) = model.remove("ranker") {
            self.places.moved("doc_ranker", "model.ranker");
            if let Some(other) = self.root.insert("doc_ranker".to_owned(), ranker.clone())
                && other != ranker
            {
                self.note(format!(
                    "`doc_ranker` ({other}) is not read: `model.ranker` is another ranker"
                ));
            }
        }
        let weights = model.remove("init_nodes_weight");
        let by = model.remove("init_nodes_type").unwrap_or_default();
        let weighted = weights.as_ref().and_then(as_switch) != Some(false);
        match by {
            Value::Null
                if weighted
                    && self.training == Training::Finetune
                    && self.family == Family::EntityGraph =>
            {
                self.note("`model.init_nodes_type` is not set: document");
            }
            Value::Null => {}
            by if by == "document" => {}
            by => {
                let key = "model.init_nodes_type";
                self.not_possible(
                    key,
                    &by,
                    "a start node's weight is 1 / the number of its documents",
                );
            }
        }
        if let Some(weights) = weights {
            let to = ("train", "init_entities_weight");
            self.renamed(train, to, "model.init_nodes_weight", weights);
        }
        self.root.insert("model".to_owned(), Value::Object(model));
    }

    /// `losses` as `task.losses`.
    fn losses_of_2(&mut self, task: &mut Tree) {
        let given = match self.root.remove("losses") {
            None | Some(Value::Null) => return,
            Some(Value::Array(given)) => given,
            Some(other) => return self.unknown("losses", other),
        };
        let mut names: Vec<String> = Vec::new();
        let mut losses = Vec::new();
        for (i, loss) in given.into_iter().enumerate() {
            let (from, to) = (format!("losses[{i}]"), format!("task.losses[{i}]"));
            self.places.moved(&to, &from);
            self.places.moved(format!("{to}.cfg"), &from);
            let Value::Object(mut loss) = loss else {
                self.unknown(from, loss);
                continue;
            };
            let mut out = Tree::new();
            let given = match loss.remove("name") {
                Some(Value::String(name)) => name,
                Some(other) => {
                    self.unknown(format!("{from}.name"), other);
                    "loss".to_owned()
                }
                None => "loss".to_owned(),
            };
            // Each loss has a line of its own in the history.
            let (mut name, mut number) = (given.clone(), 1);
            while names.contains(&name) {
                number += 1;
                name = format!("{given}_{number}");
            }
            names.push(name.clone());
            out.insert("name".to_owned(), name.into());
            out.insert("loss".to_owned(), loss.remove("loss").unwrap_or_default());
            if self.family == Family::EntityGraph {
                self.loss_of_entities(&from, &mut loss);
            }
            out.insert("cfg".to_owned(), Value::Object(loss));
            losses.push(Value::Object(out));
        }
        task.insert("losses".to_owned(), losses.into());
    }

    /// What a loss of a GNNRetriever ranks: the nodes of its graph, which all have one type, or
    /// documents.
    fn loss_of_entities(&mut self, path: &str, loss: &mut Tree) {
        match loss.get("target_node_type").cloned() {
            Some(kind) if kind == self.target_type.as_str() => {
                loss.insert("target_node_type".to_owned(), ENTITY.into());
            }
            Some(kind) if kind == DOCUMENT => {}
            None | Some(Value::Null) => {}
            Some(kind) => {
                let key = format!("{path}.target_node_type");
                let why = "the graph has the nodes of `datasets.cfgs.target_type` only";
                self.not_possible(&key, &kind, why);
            }
        }
        if loss.get("is_distillation_loss").and_then(as_switch) == Some(true) {
            let key = format!("{path}.is_distillation_loss");
            let why = "a GNNRetriever has no texts of nodes";
            self.not_possible(&key, &json!(true), why);
        }
    }

    /// `trainer` and its `args`.
    fn trainer(&mut self, train: &mut Tree, task: &mut Tree) {
        let mut trainer = self.section("trainer");
        self.class_of(&mut trainer, "trainer", &["SFTTrainer", "KGCTrainer"]);
        let mut args = self.mapping("trainer.args", trainer.remove("args"));
        self.class_of(&mut args, "trainer.args", &["TrainingArguments"]);
        for (key, name) in ARGS {
            if let Some(value) = args.remove(key) {
                let from = format!("trainer.args.{key}");
                self.renamed(train, ("train", name), &from, value);
            }
        }
        // The class's default is not the operators'.
        if !train.contains_key("num_epoch") {
            train.insert("num_epoch".to_owned(), json!(10));
            self.note(
                "`trainer.args.num_epoch` is not set: 10, the default of the reference's class",
            );
        }
        if let Some(metrics) = trainer.remove("metrics") {
            self.renamed(task, ("task", "metric"), "trainer.metrics", metrics);
        }
        if self.training == Training::Pretrain {
            for key in SAMPLING {
                if let Some(value) = trainer.remove(key) {
                    let from = format!("trainer.{key}");
                    self.renamed(task, ("task", key), &from, value);
                }
            }
            if let Some(value) = trainer.remove("fast_test") {
                // null is all triples; no graph has more than these.
                let value = if value.is_null() {
                    json!(1_000_000_000)
                } else {
                    value
                };
                self.renamed(train, ("train", "fast_test"), "trainer.fast_test", value);
            }
        } else if let Some(types) = trainer.remove("target_types") {
            self.target_types(&types);
        }
        self.start(&mut args, train);
        self.choice(&mut args, train);
        self.machine(&mut args, train);
        for (key, value) in args {
            self.unknown(format!("trainer.args.{key}"), value);
        }
        for (key, value) in trainer {
            self.unknown(format!("trainer.{key}"), value);
        }
    }

    fn target_types(&mut self, types: &Value) {
        let other = |t: &Value| t != DOCUMENT && *t != json!(self.target_type);
        let types = types
            .as_array()
            .map_or(std::slice::from_ref(types), Vec::as_slice);
        let others: Vec<String> = types
            .iter()
            .filter(|t| other(t))
            .map(Value::to_string)
            .collect();
        if others.is_empty() {
            return;
        }
        self.note(format!(
            "`trainer.target_types`: the validation measures entities and documents, not {}",
            others.join(" and ")
        ));
    }

    /// What a training starts from, and whether it takes place.
    fn start(&mut self, args: &mut Tree, train: &mut Tree) {
        let path = "trainer.args";
        let why = "import-config writes trainings; `evaluate` and `retrieve` take a trained model from `import-model`";
        self.must_be(args, path, "do_train", true, why);
        if let Some(checkpoint) = args.remove("resume_from_checkpoint")
            && !checkpoint.is_null()
        {
            let from = "trainer.args.resume_from_checkpoint";
            if train.get("checkpoint").is_none_or(Value::is_null) {
                self.note(format!(
                    "`{from}` is `train.checkpoint`: the weights are read, and the training starts anew; `gfm-pipe run` resumes its own trainings"
                ));
                self.renamed(train, ("train", "checkpoint"), from, checkpoint);
            } else {
                self.wrong(
                    from,
                    format!("`{from}` ({checkpoint}): `load_model_from_pretrained` is given too"),
                );
            }
        }
        if self.switch(args, path, "do_eval") == Some(false) {
            self.evaluates = false;
            self.note("`trainer.args.do_eval` (no): no stage `evaluate`; epochs are validated all the same, as in GFM-RAG");
        }
        let predict = self.switch(args, path, "do_predict");
        let top = args.remove("predict_top_k");
        if predict == Some(true) {
            let top = top
                .map(|k| format!(" (predict_top_k: {k})"))
                .unwrap_or_default();
            self.note(format!(
                "`trainer.args.do_predict`{top}: the table `rankings` of `evaluate` has the best documents of each question; `write-dataset` with `layout: gfm-rag-2` and `in.rankings` writes them as predictions"
            ));
        }
    }

    /// How the best epoch is chosen.
    fn choice(&mut self, args: &mut Tree, train: &mut Tree) {
        let path = "trainer.args";
        if let Some(strategy) = args.remove("eval_strategy")
            && !strategy.is_null()
            && strategy != "epoch"
        {
            let key = "trainer.args.eval_strategy";
            self.not_possible(
                key,
                &strategy,
                "each epoch is validated; `trainer.args.max_steps_per_epoch` makes epochs shorter",
            );
        }
        if let Some(steps) = args.remove("eval_steps")
            && !steps.is_null()
        {
            self.note(format!(
                "`trainer.args.eval_steps` ({steps}): each epoch is validated"
            ));
        }
        if let Some(size) = args.remove("eval_batch_size") {
            self.note(format!(
                "`trainer.args.eval_batch_size` ({size}): the validation uses `train.batch_size`, and its metrics do not depend on it"
            ));
        }
        self.must_be(
            args,
            path,
            "load_best_model_at_end",
            true,
            "the best epoch is kept",
        );
        let from = "trainer.args.metric_for_best_model";
        let given = args.remove("metric_for_best_model").unwrap_or_default();
        let usual = match self.training {
            Training::Pretrain => "mrr",
            Training::Finetune => "document_mrr",
        };
        let name = match &given {
            Value::Null => usual,
            Value::String(name) => name,
            other => return self.unknown(from, other),
        };
        let metric = name.rsplit_once('_').map_or(name, |(_, metric)| metric);
        let smaller = ["mr", "mape"].contains(&metric);
        let why = if smaller {
            "the epoch with the lowest value is the best"
        } else {
            "the epoch with the highest value is the best"
        };
        if smaller && args.get("greater_is_better").is_none_or(Value::is_null) {
            // GFM-RAG's default.
            args.insert("greater_is_better".to_owned(), true.into());
        }
        self.must_be(args, path, "greater_is_better", !smaller, why);
        if self.training == Training::Pretrain {
            return self.renamed(train, ("train", "best_by"), from, name.into());
        }
        let of = name.rsplit_once('_').and_then(|(kind, metric)| {
            let kind = match kind {
                DOCUMENT => DOCUMENT,
                kind if kind == self.target_type => ENTITY,
                _ => return None,
            };
            // GFM-RAG's mrr is that of filtered ranks.
            let metric = if metric == "mrr" {
                "mrr_filtered"
            } else {
                metric
            };
            Some(format!("{kind}:{metric}"))
        });
        match of {
            Some(of) => self.renamed(train, ("train", "best_by"), from, of.into()),
            None => self.not_possible(
                from,
                &given,
                "the validation has metrics of entities and documents, such as document_mrr",
            ),
        }
    }

    /// Element types, and what several ranks divide.
    fn machine(&mut self, args: &mut Tree, train: &mut Tree) {
        let key = "trainer.args.dtype";
        match args.remove("dtype") {
            None | Some(Value::Null) => {}
            Some(Value::String(dtype)) => match dtype.as_str() {
                "float32" => {}
                "bfloat16" | "auto" => self.note(format!(
                    "`{key}` ({dtype}): the pipeline trains in float32, as GFM-RAG does on a CPU; `train.dtype: bf16` is for GPUs, and keeps weights and sums in float32"
                )),
                _ => self.wrong(key, format!("`{key}` ({dtype}) is not possible: float32, bfloat16 or auto")),
            },
            Some(other) => self.unknown(key, other),
        }
        let path = "trainer.args";
        if self.switch(args, path, "split_graph_training") == Some(true) {
            let from = "trainer.args.split_graph_training";
            self.renamed(train, ("train", "divide"), from, "graph".into());
        }
        if self.switch(args, path, "split_graph_inference") == Some(true) {
            self.note(
                "`trainer.args.split_graph_inference` (true): set `divide: graph` in the stage `evaluate`",
            );
        }
        if let Some(value) = args.remove("split_graph_partition")
            && !value.is_null()
            && value != "contiguous"
        {
            self.note(format!(
                "`trainer.args.split_graph_partition` ({value}): nodes are divided contiguously; results do not depend on it"
            ));
        }
    }
}
