//! The text of a first pipeline for documents: a graph of them, the entities at which the search
//! for each question starts, a training where there are questions to train on, and the retrieval.

use std::fmt::Write as _;
use std::path::Path;

use super::{Documents, Questions, Split};
use crate::init::settings::{Settings, Validation};
use crate::init::write::{path as path_value, quoted};

/// Splits that `ingest-questions` has ports for.
const SPLITS: [&str; 3] = ["train", "valid", "test"];

/// Adds formatted text to the end.
macro_rules! push {
    ($text:expr, $($arg:tt)*) => {
        // Writing to a String cannot fail.
        let _ = write!($text.out, $($arg)*);
    };
}

/// Number of training questions from which a trained model answers; with fewer, weighted features
/// do. With 1,166 questions the model is far better (docs/reasoner.md), with 80 it is not
/// (docs/quality.md). The number between is a guess.
const ENOUGH_FOR_MODEL: u64 = 500;

/// The text written so far, and what it is written for.
struct Text<'a> {
    of: &'a Documents,
    /// The split whose questions are asked at the end.
    asked: Option<&'static str>,
    /// The settings of the training; `None` where no model is trained.
    training: Option<Settings>,
    /// Whether the model answers, where one is trained; otherwise the weighted features do.
    by_model: bool,
    out: String,
}

/// The pipeline for some documents and the questions about them.
pub fn pipeline(of: &Documents) -> String {
    let mut text = Text {
        of,
        asked: of.asked_split(),
        training: of.trained_on().map(|questions| {
            let valid = of.questions.iter().any(|q| q.split == Split::Valid);
            Settings::of_questions(questions.asked.questions, valid && !of.folds())
        }),
        by_model: of
            .trained_on()
            .is_some_and(|questions| questions.asked.questions >= ENOUGH_FOR_MODEL),
        out: String::new(),
    };
    text.head();
    text.documents();
    text.embeddings();
    text.graph();
    text.fuse();
    if text.training.is_some() {
        text.train();
    }
    if text.asked.is_some() {
        text.end();
    }
    text.retriever();
    text.out
}

impl Documents {
    /// Questions that a model can be trained on, because they name their documents.
    pub fn trained_on(&self) -> Option<&Questions> {
        let train = self.questions.iter().find(|q| q.split == Split::Train);
        train.filter(|q| q.asked.with_gold > 0)
    }

    /// Whether training questions are divided, because there are no others to test with.
    pub fn folds(&self) -> bool {
        self.trained_on().is_some() && self.questions.iter().all(|q| q.split.port() != "test")
    }

    /// The split whose questions are asked at the end.
    fn asked_split(&self) -> Option<&'static str> {
        if self.folds() {
            Some("test")
        } else {
            self.asked().map(|q| q.split.port())
        }
    }
}

impl Text<'_> {
    /// Splits whose questions are read, in the order of the ports.
    fn splits(&self) -> Vec<&'static str> {
        let given = |port: &str| self.of.questions.iter().any(|q| q.split.port() == port);
        let used = |port: &&str| match *port {
            "train" => self.training.is_some(),
            "valid" => self
                .training
                .as_ref()
                .is_some_and(|t| t.validation == Validation::Given),
            _ => false,
        };
        let folded = |port: &&str| self.of.folds() && *port == "test";
        let asked = |port: &&str| self.asked == Some(*port);
        let all = SPLITS.into_iter();
        all.filter(|p| folded(p) || (given(p) && (used(p) || asked(p))))
            .collect()
    }

    fn head(&mut self) {
        let (summary, more) = match (self.asked, self.training.is_some(), self.of.evaluated()) {
            (Some(_), true, _) => (
                "Makes a graph of documents, and trains a retriever on questions about them.",
                "",
            ),
            (Some(_), false, true) => (
                "Makes a graph of documents, and evaluates systems that need no training.",
                "# There are no training questions: train.json beside the documents, and a model is trained.\n",
            ),
            (Some(_), false, false) => (
                "Makes a graph of documents, and finds the documents for each question.",
                "# The questions do not say which documents they are about (supporting_facts), so nothing is evaluated.\n",
            ),
            (None, ..) => (
                "Makes a graph of documents.",
                "# There are no questions yet. Write questions.json, .jsonl or .csv beside the documents and run `gfm-pipe init` again
# with --force: they are searched for with `retrieve`, or evaluated where they name their documents (docs/documents.md).
",
            ),
        };
        push!(
            self,
            "# {summary}
{more}#   gfm-pipe plan FILE    what would run, and why
#   gfm-pipe run FILE     run it; run it again and finished stages are taken from the store
# `gfm-pipe ops NAME` describes an operator and its parameters.
name: {}
vars:
  documents: {}
",
            quoted(&self.of.name),
            path_value(&self.of.path)
        );
        for q in &self.of.questions {
            push!(self, "  {}: {}\n", q.split.port(), path_value(&q.file));
        }
        if !self.of.questions.is_empty() {
            push!(self, "  dataset: {}\n", quoted(&self.of.name));
        }
        push!(self, "  encoder: static         # text encoder\n");
        if let Some(training) = &self.training {
            push!(
                self,
                "  dim: 64                 # width of node states
  pretrain_steps: {}     # at most
  finetune_epochs: {}
  lr: {}
",
                training.pretrain_steps,
                training.finetune_epochs,
                training.lr
            );
        }
    }

    fn documents(&mut self) {
        let except = self.of.except.iter().map(|e| path_value(Path::new(e)));
        let except: Vec<String> = except.collect();
        let except = if except.is_empty() {
            String::new()
        } else {
            format!("except: [{}], ", except.join(", "))
        };
        push!(
            self,
            "
stages:
  documents:              # what could not be read: gfm-pipe show documents.rejects
    op: ingest-documents
    with: {{path: \"{{{{ documents }}}}\", {except}split: none}}
"
        );
        if !self.of.questions.is_empty() {
            let mut given = String::new();
            for q in &self.of.questions {
                let port = q.split.port();
                let _ = write!(given, ", {port}: \"{{{{ {port} }}}}\"");
            }
            if self.of.folds() {
                given.push_str(", folds: {k: 5, fold: 0}");
            }
            push!(
                self,
                "  questions:              # what could not be used: gfm-pipe show questions.rejects
    op: ingest-questions
    in: {{documents: documents.documents, sources: documents.sources}}
    with: {{dataset: \"{{{{ dataset }}}}\"{given}}}
"
            );
        }
        let by = match self.of.language {
            Some(_) => "\n    with: {by: patterns}",
            None => "",
        };
        push!(
            self,
            "  extract:                # sentences, mentions and facts: gfm-pipe show extract.facts
    op: extract
    in: {{documents: documents.documents}}{by}
  kg:                     # gfm-pipe show kg.triples --names
    op: build-kg
    in:
      documents: documents.documents
      sources: documents.sources
      facts: extract.facts
      mentions: extract.mentions
      named: extract.named

"
        );
    }

    fn embeddings(&mut self) {
        let stages = [
            ("d_text", "documents.documents"),
            ("s_text", "extract.sentences"),
            ("f_text", "extract.facts"),
            ("rels", "kg.relations"),
        ];
        for (name, of) in stages {
            push!(
                self,
                "  {name}:
    op: embed
    in: {{texts: {of}}}
    with: {{model: \"{{{{ encoder }}}}\"}}
"
            );
        }
        for split in self.splits() {
            push!(
                self,
                "  q_{split}:
    op: embed
    in: {{texts: questions.{split}}}
    with: {{model: \"{{{{ encoder }}}}\", is_query: true}}
"
            );
        }
    }

    fn graph(&mut self) {
        push!(
            self,
            "
  graph:
    op: build-graph
    in: {{triples: kg.triples, entities: kg.entities, relations: rels}}
  docs:
    op: build-documents
    in: {{entities: kg.entities, documents: documents.documents, links: kg.links}}
"
        );
        let splits = self.splits();
        let Some(last) = splits.last() else {
            return;
        };
        push!(
            self,
            "  link:                   # where the search starts, and why: gfm-pipe show link.{last}_starts --names
    op: link-questions
    in:
      documents: documents.documents
      sources: documents.sources
      corpus_embeddings: d_text
      entities: kg.entities
      nodes: kg.nodes
      labels: kg.labels
      links: kg.links
      triples: kg.triples
      evidence: kg.evidence
      facts: extract.facts
      fact_embeddings: f_text
      sentences: extract.sentences
      sentence_embeddings: s_text
      mentions: extract.mentions
"
        );
        for split in &splits {
            push!(
                self,
                "      {split}: questions.{split}
      {split}_embeddings: q_{split}
"
            );
        }
        push!(
            self,
            "  features:               # what can be said about each question and document without training
    op: rank-features
    in:
      documents: documents.documents
      sources: documents.sources
      corpus_embeddings: d_text
      sentences: extract.sentences
      sentence_embeddings: s_text
      facts: extract.facts
      fact_embeddings: f_text
      entities: kg.entities
      relations: kg.relations
      triples: kg.triples
      links: kg.links
      nodes: kg.nodes
      edge_weights: kg.edge_weights
"
        );
        for split in splits {
            push!(
                self,
                "      {split}: link.{split}
      {split}_embeddings: q_{split}
      {split}_starts: link.{split}_starts
"
            );
        }
    }

    /// Writes the stage that weighs the features: fitted to questions that name their documents,
    /// where there are some besides those that are asked at the end.
    fn fuse(&mut self) {
        let asked = self.asked;
        let fitted = self.splits().into_iter();
        let fitted: Vec<&str> = fitted
            .filter(|split| self.training.is_some() && Some(*split) != asked)
            .collect();
        push!(
            self,
            "
  fuse:                   # the weights and how they were chosen: gfm-pipe show fuse.fusion
    op: fuse
"
        );
        if !fitted.is_empty() {
            let all = |of: &str| {
                let all = fitted.iter().map(|split| format!("{of}.{split}"));
                all.collect::<Vec<_>>().join(", ")
            };
            push!(
                self,
                "    in: {{questions: [{}], features: [{}]}}
",
                all("link"),
                all("features")
            );
        }
    }

    fn train(&mut self) {
        let Some(training) = &self.training else {
            return;
        };
        let (valid, fraction) = match training.validation {
            Validation::Given => (
                "
      valid: link.valid
      valid_embeddings: q_valid
      valid_starts: link.valid_starts",
                String::new(),
            ),
            Validation::HeldOut(part) => ("", format!(", valid_fraction: {part}")),
            Validation::None => ("", ", do_eval: no".to_owned()),
        };
        let batch = training.finetune_batch;
        push!(
            self,
            "
  pretrain:
    op: pretrain
    in: {{graph: graph}}
    with:
      model: &model
        entity_model:
          input_dim: \"{{{{ dim }}}}\"
          hidden_dims: [\"{{{{ dim }}}}\", \"{{{{ dim }}}}\", \"{{{{ dim }}}}\", \"{{{{ dim }}}}\", \"{{{{ dim }}}}\", \"{{{{ dim }}}}\"]
      task: {{num_negative: 256, strict_negative: yes, adversarial_temperature: 1}}
      optimizer: {{lr: \"{{{{ lr }}}}\"}}
      train: {{batch_size: 8, num_epoch: 1, batch_per_epoch: \"{{{{ pretrain_steps }}}}\"}}
  finetune:
    op: finetune
    in:
      init: pretrain.model
      graph: graph
      documents: docs
      train: link.train
      train_embeddings: q_train
      starts: link.train_starts{valid}
    with:
      model: *model
      optimizer: {{lr: \"{{{{ lr }}}}\"}}
      train: {{batch_size: {batch}, num_epoch: \"{{{{ finetune_epochs }}}}\"{fraction}}}
"
        );
    }

    /// Writes the stages that ask the questions at the end, with the best system there is.
    fn end(&mut self) {
        let Some(split) = self.asked else {
            return;
        };
        let trained = self.training.is_some();
        let evaluates = self.of.folds() || self.of.evaluated();
        let (op, shown) = if evaluates {
            (
                "evaluate",
                "gfm-pipe show evaluate.metrics, gfm-pipe show evaluate.rankings",
            )
        } else {
            ("retrieve", "gfm-pipe show retrieve.rankings")
        };
        push!(
            self,
            "
  {op}:               # {shown}
    op: {op}
    in:
"
        );
        if trained {
            push!(self, "      model: finetune.model\n");
        }
        if trained && evaluates {
            push!(self, "      pretrained: pretrain.model\n");
        }
        push!(
            self,
            "      graph: graph
      documents: docs
      nodes: kg.nodes
      edge_weights: kg.edge_weights
      corpus: documents.documents
      sources: documents.sources
      corpus_embeddings: d_text
      questions: link.{split}
      question_embeddings: q_{split}
      starts: link.{split}_starts
      features: features.{split}
      fusion: fuse
"
        );
        match (evaluates, trained) {
            (true, true) => {
                push!(
                    self,
                    "    with: {{rankers: [idf, simple, idf_topk, topk]}}\n"
                );
            }
            (true, false) => {
                push!(
                    self,
                    "    with: {{baselines: [dense, bm25, ppr, rrf, fused]}}\n"
                );
            }
            (false, true) if self.by_model => {
                push!(
                    self,
                    "    with: {{system: model, ranker: idf, documents: 10}}\n"
                );
            }
            (false, _) => {
                push!(self, "    with: {{system: fused, documents: 10}}\n");
            }
        }
        if evaluates && trained {
            self.explain(split);
        }
    }

    /// Writes the stage that explains what `evaluate` found.
    fn explain(&mut self, split: &str) {
        push!(
            self,
            "
  explain:                # why they were found: gfm-pipe report
    op: explain
    in:
      rankings: evaluate.rankings
      questions: link.{split}
      question_embeddings: q_{split}
      starts: link.{split}_starts
      graph: graph
      model: finetune.model
      documents: documents.documents
      sources: documents.sources
      entities: kg.entities
      relations: kg.relations
      triples: kg.triples
      links: kg.links
      nodes: kg.nodes
      labels: kg.labels
      evidence: kg.evidence
      facts: extract.facts
      sentences: extract.sentences
    with: {{ranker: idf}}
"
        );
    }

    /// Writes the stage that answers questions in plain words.
    fn retriever(&mut self) {
        push!(
            self,
            "
  retriever:              # gfm-pipe ask \"QUESTION\"
    op: retriever
    in:
      documents: documents.documents
      sources: documents.sources
      corpus_embeddings: d_text
      entities: kg.entities
      relations: kg.relations
      triples: kg.triples
      links: kg.links
      nodes: kg.nodes
      labels: kg.labels
      edge_weights: kg.edge_weights
      facts: extract.facts
      fact_embeddings: f_text
      evidence: kg.evidence
      sentences: extract.sentences
      sentence_embeddings: s_text
      mentions: extract.mentions
"
        );
        let trained = self.training.is_some();
        push!(self, "      fusion: fuse\n");
        if trained {
            push!(self, "      graph: graph\n      model: finetune.model\n");
        }
        let splits: Vec<String> = self
            .splits()
            .iter()
            .map(|s| format!("questions.{s}"))
            .collect();
        if !splits.is_empty() {
            push!(self, "      examples: [{}]\n", splits.join(", "));
        }
        push!(
            self,
            "    with:\n      encoder: {{model: \"{{{{ encoder }}}}\"}}\n"
        );
        if trained {
            let (system, other) = if self.by_model {
                ("model", "fused")
            } else {
                ("fused", "model")
            };
            push!(
                self,
                "      system: {system}         # or {other}: `evaluate` compares them
      ranker: idf
"
            );
        }
    }
}
