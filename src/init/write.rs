//! The text of a first pipeline.

use std::fmt::Write as _;

use super::DataSet;

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
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A path as a value: braces of its own are no template.
fn path(path: &std::path::Path) -> String {
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
    let many = sets.len() > 1;
    let form = if many { MANY } else { ONE };
    let names = |pick: fn(&DataSet) -> bool| -> Vec<&str> {
        let picked = sets.iter().filter(|s| pick(s));
        picked.map(|s| s.name.as_str()).collect()
    };
    let (asked, tested) = (names(DataSet::asked), names(DataSet::tested));
    let bare = names(|s| !(s.asked() || s.tested()));
    let train = !asked.is_empty();
    let evaluate = train && !tested.is_empty();
    let questioned = |s: &DataSet| s.asked() || s.tested();
    // Validation questions of some sets only would choose the best epoch by these alone.
    let valid = train && sets.iter().filter(|s| s.asked()).all(|s| s.valid);

    let mut out = String::new();
    let w = &mut out;
    push(w, format_args!("# {}\n", summary(train, evaluate)));
    push(
        w,
        format_args!("#   gfm-pipe plan FILE    what would run, and why\n"),
    );
    push(
        w,
        format_args!(
            "#   gfm-pipe run FILE     run it; run it again and finished stages are taken from the store\n"
        ),
    );
    push(
        w,
        format_args!("# `gfm-pipe ops NAME` describes an operator and its parameters.\n"),
    );
    push(w, format_args!("name: {}\nvars:\n", quoted(name)));
    if many {
        push(
            w,
            format_args!("  graphs:                 # every data set's graph\n"),
        );
        for s in sets {
            push(
                w,
                format_args!("    {}: {}\n", quoted(&s.name), path(&s.kg)),
            );
        }
        if train {
            push(
                w,
                format_args!("  roots:                  # folders of data sets with questions\n"),
            );
            for s in sets.iter().filter(|s| questioned(s)) {
                push(
                    w,
                    format_args!("    {}: {}\n", quoted(&s.name), path(&s.root)),
                );
            }
        }
        push(w, format_args!("  known: {}\n", list(&names(|_| true))));
        if train {
            let with_documents = names(|s| s.asked() || s.tested());
            push(w, format_args!("  questioned: {}\n", list(&with_documents)));
            if !bare.is_empty() {
                push(
                    w,
                    format_args!("  bare: {}    # graphs alone\n", list(&bare)),
                );
            }
            push(
                w,
                format_args!("  asked: {}    # trained on\n", list(&asked)),
            );
        }
        if evaluate {
            push(w, format_args!("  tested: {}\n", list(&tested)));
        }
    } else if let Some(s) = sets.first() {
        if train {
            push(
                w,
                format_args!(
                    "  data: {}\n  dataset: {}\n",
                    path(&s.root),
                    quoted(&s.name)
                ),
            );
        }
        push(w, format_args!("  kg: {}\n", path(&s.kg)));
    }
    push(
        w,
        format_args!(
            "  encoder: static         # text encoder\n  dim: 64                 # width of node states\n  \
         lr: 0.001\n  pretrain_epochs: 1\n  pretrain_steps: 1000    # at most, per data set and epoch\n"
        ),
    );
    if train {
        push(w, format_args!("  finetune_epochs: 10\n"));
    }

    push(w, format_args!("\nstages:\n"));
    let mut stage = |name: &str, op: &str, list: &str, inputs: &str, with: &str| {
        push(
            w,
            format_args!("  {name}:\n    op: {op}\n{}", (form.each)(list)),
        );
        if !inputs.is_empty() {
            push(w, format_args!("    in: {{{inputs}}}\n"));
        }
        if !with.is_empty() {
            push(w, format_args!("    with: {{{with}}}\n"));
        }
    };
    const ENCODER: &str = "model: \"{{ encoder }}\"";
    const QUERY: &str = "model: \"{{ encoder }}\", is_query: true";
    stage(
        "kg",
        "ingest-kg",
        "known",
        "",
        &format!("path: \"{}\"", form.kg),
    );
    stage("rels", "embed", "known", "texts: kg.relations", ENCODER);
    stage(
        "graph",
        "build-graph",
        "known",
        "triples: kg.triples, entities: kg.entities, relations: rels",
        "",
    );
    if train {
        let with = format!("root: \"{}\", dataset: \"{}\"", form.root, form.name);
        stage(
            "qa",
            "ingest-qa",
            "questioned",
            "entities: kg.entities",
            &with,
        );
        stage(
            "docs",
            "build-documents",
            "questioned",
            "entities: kg.entities, documents: qa.documents, links: qa.links",
            "",
        );
        stage("q_train", "embed", "asked", "texts: qa.train", QUERY);
        if valid {
            stage("q_valid", "embed", "asked", "texts: qa.valid", QUERY);
        }
    }
    if evaluate {
        stage("q_test", "embed", "tested", "texts: qa.test", QUERY);
        stage("d_text", "embed", "tested", "texts: qa.documents", ENCODER);
    }
    // Nothing waits for an audit: it says what is wrong with the data while the rest goes on.
    if train {
        push(
            w,
            format_args!(
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
                (form.each)("questioned")
            ),
        );
    }
    if !train || many && !bare.is_empty() {
        let (stage, list) = match train {
            true => ("audit_graph", "bare"),
            false => ("audit", "known"),
        };
        push(
            w,
            format_args!(
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
                (form.each)(list)
            ),
        );
    }
    let graphs = if many { "graph[*]" } else { "graph" };
    push(w, format_args!(
        "
  pretrain:
    op: pretrain
    in: {{graph: {}}}
    with:
      model: &model
        entity_model:
          input_dim: \"{{{{ dim }}}}\"
          hidden_dims: [{}]
      task: {{num_negative: 256}}
      optimizer: {{lr: \"{{{{ lr }}}}\"}}
      train: {{num_epoch: \"{{{{ pretrain_epochs }}}}\", batch_per_epoch: \"{{{{ pretrain_steps }}}}\"}}
",
        if many { quoted(graphs) } else { graphs.to_owned() },
        ["\"{{ dim }}\""; 6].join(", "),
    ));
    if train {
        // Of the sets trained on, in their order; every port the same.
        let all = |stage: &str, port: &str| {
            if many {
                let each: Vec<String> = asked
                    .iter()
                    .map(|n| quoted(&format!("{stage}[{n}]{port}")))
                    .collect();
                format!("[{}]", each.join(", "))
            } else {
                format!("{stage}{port}")
            }
        };
        push(
            w,
            format_args!(
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
                all("graph", ""),
                all("docs", ""),
                all("qa", ".train"),
                all("q_train", "")
            ),
        );
        if valid {
            push(
                w,
                format_args!(
                    "      valid: {}\n      valid_embeddings: {}\n",
                    all("qa", ".valid"),
                    all("q_valid", "")
                ),
            );
        }
        push(
            w,
            format_args!(
                "    with:
      model: *model
      optimizer: {{lr: \"{{{{ lr }}}}\"}}
      train: {{num_epoch: \"{{{{ finetune_epochs }}}}\"}}
"
            ),
        );
    }
    if evaluate {
        push(
            w,
            format_args!(
                "
  evaluate:
    op: evaluate
{}    in:
      model: finetune.model
      pretrained: pretrain.model
      graph: graph
      documents: docs
      corpus: qa.documents
      corpus_embeddings: d_text
      questions: qa.test
      question_embeddings: q_test
",
                (form.each)("tested")
            ),
        );
    }
    out
}

fn summary(train: bool, evaluate: bool) -> &'static str {
    match (train, evaluate) {
        (true, true) => {
            "Pre-trains on the graphs, fine-tunes on the training questions, evaluates on the test questions."
        }
        (true, false) => {
            "Pre-trains on the graphs, fine-tunes on the training questions. (No test questions: nothing is evaluated.)"
        }
        (false, _) => {
            "Pre-trains on the graphs. (No documents with training questions: nothing to fine-tune on.)"
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
