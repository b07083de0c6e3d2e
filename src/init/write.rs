//! The text of a first pipeline.

use std::fmt::Write as _;

use super::DataSet;
use super::settings::{BATCH, PRETRAIN_STEPS, Settings, Validation};

/// How a stage is written that is made for every data set, or for the only one.
struct Form {
    /// The line that makes it many.
    each: fn(&str) -> String,
    /// Its data set's folder and graph, and the set's name, as templates.
    root: &'static str,
    kg: &'static str,
    name: &'static str,
}

const ONE: Form = Form {
    each: |_| String::new(),
    root: "{{ data }}",
    kg: "{{ kg }}",
    name: "{{ dataset }}",
};

const MANY: Form = Form {
    each: |list| format!("    foreach: {{ds: \"{{{{ {list} }}}}\"}}\n"),
    root: "{{ roots[ds] }}",
    kg: "{{ graphs[ds] }}",
    name: "{{ ds }}",
};

/// A text as a YAML scalar: JSON's strings are YAML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A path as a value: braces of its own are no template.
pub(super) fn path(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    if ["{{", "{%", "{#"].iter().any(|open| text.contains(open)) {
        return quoted(&format!("{{{{ {} }}}}", quoted(&text)));
    }
    quoted(&text)
}

/// Names side by side.
fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| quoted(n)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A pipeline that makes of these data sets what can be made of them. It names their files as they were found.
pub fn pipeline(name: &str, sets: &[DataSet]) -> String {
    let mut text = Text::new(sets);
    text.head(name);
    text.reading();
    text.audits();
    text.pretrain();
    if text.trains() {
        text.finetune();
    }
    if text.evaluates() {
        text.evaluate();
    }
    text.out
}

/// The text as far as it is written, and what it is about.
struct Text<'a> {
    sets: &'a [DataSet],
    settings: Settings,
    many: bool,
    form: Form,
    out: String,
}

/// Adds formatted text to the end.
macro_rules! push {
    ($text:expr, $($arg:tt)*) => {
        // Writing to a String cannot fail.
        let _ = write!($text.out, $($arg)*);
    };
}

impl<'a> Text<'a> {
    fn new(sets: &'a [DataSet]) -> Self {
        let many = sets.len() > 1;
        Text {
            sets,
            settings: Settings::of(sets),
            many,
            form: if many { MANY } else { ONE },
            out: String::new(),
        }
    }

    /// Names of some data sets.
    fn names(&self, pick: fn(&DataSet) -> bool) -> Vec<&'a str> {
        let picked = self.sets.iter().filter(|s| pick(s));
        picked.map(|s| s.name.as_str()).collect()
    }

    fn trains(&self) -> bool {
        self.sets.iter().any(DataSet::asked)
    }

    fn evaluates(&self) -> bool {
        self.sets.iter().any(DataSet::tested)
    }

    /// Whether documents and questions are read.
    fn questioned(&self) -> bool {
        self.sets.iter().any(DataSet::questioned)
    }

    /// Whether there are validation questions to embed.
    fn valid(&self) -> bool {
        self.trains() && self.settings.validation == Validation::Given
    }

    /// What it is about, and its variables.
    fn head(&mut self, name: &str) {
        push!(
            self,
            "# {}
#   gfm-pipe plan FILE    what would run, and why
#   gfm-pipe run FILE     run it; run it again and finished stages are taken from the store
# `gfm-pipe ops NAME` describes an operator and its parameters.
name: {}
vars:
",
            summary(self.trains(), self.evaluates()),
            quoted(name)
        );
        if self.many {
            self.sets_as_variables();
        } else if let Some(s) = self.sets.first() {
            if self.questioned() {
                let (root, name) = (path(&s.root), quoted(&s.name));
                push!(self, "  data: {root}\n  dataset: {name}\n");
            }
            push!(self, "  kg: {}\n", path(&s.kg));
        }
        let s = &self.settings;
        push!(
            self,
            "  encoder: static         # text encoder
  dim: 64                 # width of node states
  lr: {}
  pretrain_epochs: {:<7}# {} in all
  pretrain_steps: {PRETRAIN_STEPS}    # at most, per data set and epoch
",
            s.lr,
            s.pretrain_epochs,
            steps(s.pretrain_epochs * s.pretrain_steps)
        );
        if self.trains() {
            let s = &self.settings;
            push!(
                self,
                "  finetune_epochs: {:<7}# {} in all\n",
                s.finetune_epochs,
                steps(s.finetune_epochs * s.finetune_steps)
            );
        }
        push!(self, "\nstages:\n");
    }

    fn sets_as_variables(&mut self) {
        push!(self, "  graphs:                 # every data set's graph\n");
        for s in self.sets {
            push!(self, "    {}: {}\n", quoted(&s.name), path(&s.kg));
        }
        if self.questioned() {
            push!(
                self,
                "  roots:                  # folders of data sets with questions\n"
            );
            for s in self.sets.iter().filter(|s| s.questioned()) {
                push!(self, "    {}: {}\n", quoted(&s.name), path(&s.root));
            }
        }
        push!(self, "  known: {}\n", list(&self.names(|_| true)));
        let bare = self.names(|s| !s.questioned());
        if self.questioned() {
            push!(
                self,
                "  questioned: {}\n",
                list(&self.names(DataSet::questioned))
            );
            if !bare.is_empty() {
                push!(self, "  bare: {}    # graphs alone\n", list(&bare));
            }
        }
        if self.trains() {
            let asked = list(&self.names(DataSet::asked));
            push!(self, "  asked: {asked}    # trained on\n");
        }
        if self.evaluates() {
            push!(self, "  tested: {}\n", list(&self.names(DataSet::tested)));
        }
    }

    /// A stage on one line each; `list` names the data sets that have it.
    fn stage(&mut self, name: &str, op: &str, list: &str, inputs: &str, with: &str) {
        push!(self, "  {name}:\n    op: {op}\n{}", (self.form.each)(list));
        if !inputs.is_empty() {
            push!(self, "    in: {{{inputs}}}\n");
        }
        if !with.is_empty() {
            push!(self, "    with: {{{with}}}\n");
        }
    }

    /// The stages that read data and embed texts.
    fn reading(&mut self) {
        const ENCODER: &str = "model: \"{{ encoder }}\"";
        const QUERY: &str = "model: \"{{ encoder }}\", is_query: true";
        let kg = format!("path: \"{}\"", self.form.kg);
        self.stage("kg", "ingest-kg", "known", "", &kg);
        self.stage("rels", "embed", "known", "texts: kg.relations", ENCODER);
        self.stage(
            "graph",
            "build-graph",
            "known",
            "triples: kg.triples, entities: kg.entities, relations: rels",
            "",
        );
        if self.questioned() {
            let with = format!(
                "root: \"{}\", dataset: \"{}\"",
                self.form.root, self.form.name
            );
            self.stage(
                "qa",
                "ingest-qa",
                "questioned",
                "entities: kg.entities",
                &with,
            );
            self.stage(
                "docs",
                "build-documents",
                "questioned",
                "entities: kg.entities, documents: qa.documents, links: qa.links",
                "",
            );
        }
        for (made, split, list) in [
            (self.trains(), "train", "asked"),
            (self.valid(), "valid", "asked"),
            (self.evaluates(), "test", "tested"),
        ] {
            if made {
                let texts = format!("texts: qa.{split}");
                self.stage(&format!("q_{split}"), "embed", list, &texts, QUERY);
            }
        }
        if self.evaluates() {
            self.stage("d_text", "embed", "tested", "texts: qa.documents", ENCODER);
        }
    }

    /// Nothing waits for an audit: it says what is wrong with the data while the rest goes on.
    fn audits(&mut self) {
        if self.questioned() {
            push!(
                self,
                "
  audit:                  # what is wrong with the data: gfm-pipe show audit.summary, gfm-pipe show audit.findings
    op: audit
{}    in:
      entities: kg.entities
      triples: kg.triples
      relations: kg.relations
      documents: qa.documents
      links: qa.links
      questions: [qa.train, qa.valid, qa.test]
      rejects: [kg.rejects, qa.rejects]
      places: [kg.places, qa.places]
",
                (self.form.each)("questioned")
            );
        }
        let bare = !self.names(|s| !s.questioned()).is_empty();
        if bare {
            let (stage, list) = if self.questioned() {
                ("audit_graph", "bare")
            } else {
                ("audit", "known")
            };
            push!(
                self,
                "
  {stage}:                  # what is wrong with the graph: gfm-pipe show {stage}.findings
    op: audit
{}    in:
      entities: kg.entities
      triples: kg.triples
      relations: kg.relations
      rejects: kg.rejects
      places: kg.places
",
                (self.form.each)(list)
            );
        }
    }

    fn pretrain(&mut self) {
        let graphs = if self.many {
            quoted("graph[*]")
        } else {
            "graph".to_owned()
        };
        let batch = batch(self.settings.pretrain_batch);
        let widths = ["\"{{ dim }}\""; 6].join(", ");
        push!(
            self,
            "
  pretrain:
    op: pretrain
    in: {{graph: {graphs}}}
    with:
      model: &model
        entity_model:
          input_dim: \"{{{{ dim }}}}\"
          hidden_dims: [{widths}]
      task: {{num_negative: 256}}
      optimizer: {{lr: \"{{{{ lr }}}}\"}}
      train: {{{batch}num_epoch: \"{{{{ pretrain_epochs }}}}\", batch_per_epoch: \"{{{{ pretrain_steps }}}}\"}}
"
        );
    }

    /// A port of a stage, of every data set that is trained on, in their order.
    fn of_asked(&self, stage: &str, port: &str) -> String {
        if !self.many {
            return format!("{stage}{port}");
        }
        let asked = self.names(DataSet::asked);
        let each = asked.iter().map(|n| quoted(&format!("{stage}[{n}]{port}")));
        format!("[{}]", each.collect::<Vec<_>>().join(", "))
    }

    fn finetune(&mut self) {
        push!(
            self,
            "
  finetune:
    op: finetune
    in:
      init: pretrain.model
      graph: {}
      documents: {}
      train: {}
      train_embeddings: {}
",
            self.of_asked("graph", ""),
            self.of_asked("docs", ""),
            self.of_asked("qa", ".train"),
            self.of_asked("q_train", "")
        );
        if self.valid() {
            push!(
                self,
                "      valid: {}\n      valid_embeddings: {}\n",
                self.of_asked("qa", ".valid"),
                self.of_asked("q_valid", "")
            );
        }
        let batch = batch(self.settings.finetune_batch);
        let (more, note) = match self.settings.validation {
            Validation::Given => (String::new(), ""),
            Validation::HeldOut(fraction) => (
                format!(", valid_fraction: {fraction}"),
                "      # No validation questions: some of the training questions choose the best epoch.\n",
            ),
            Validation::None => (
                ", do_eval: no".to_owned(),
                "      # Too few questions to hold some out for validation: the last epoch is kept.\n",
            ),
        };
        push!(
            self,
            "    with:
      model: *model
      optimizer: {{lr: \"{{{{ lr }}}}\"}}
{note}      train: {{{batch}num_epoch: \"{{{{ finetune_epochs }}}}\"{more}}}
"
        );
    }

    fn evaluate(&mut self) {
        let models = if self.trains() {
            "      model: finetune.model\n      pretrained: pretrain.model\n"
        } else {
            // The systems that need no training.
            ""
        };
        push!(
            self,
            "
  evaluate:
    op: evaluate
{}    in:
{models}      graph: graph
      documents: docs
      corpus: qa.documents
      corpus_embeddings: d_text
      questions: qa.test
      question_embeddings: q_test
",
            (self.form.each)("tested")
        );
    }
}

/// The key for a size of batches, where it is not the default.
fn batch(size: u64) -> String {
    match size {
        BATCH => String::new(),
        n => format!("batch_size: {n}, "),
    }
}

/// A number of steps for people: it is about as many, because some triples and questions are held
/// out.
fn steps(n: u64) -> String {
    match n {
        1 => "1 step".to_owned(),
        n => format!("about {n} steps"),
    }
}

fn summary(train: bool, evaluate: bool) -> &'static str {
    match (train, evaluate) {
        (true, true) => {
            "Pre-trains on the graphs, fine-tunes on the training questions, evaluates on the test questions."
        }
        (true, false) => {
            "Pre-trains on the graphs, fine-tunes on the training questions. (No test questions: nothing is evaluated.)"
        }
        (false, true) => {
            "Pre-trains on the graphs; evaluates systems that need no training on the test questions. (No training questions: nothing to fine-tune on.)"
        }
        (false, false) => {
            "Pre-trains on the graphs. (No documents with training questions: nothing to fine-tune on.)"
        }
    }
}
