//! Report pages: well-formed, complete and self-contained.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use super::{gfm_pipe, run};

/// Runs a command that writes a page, and returns the page.
fn page(verb: &[&str], store: &Path, file: &Path) -> String {
    let mut args = verb.to_vec();
    args.extend(["--store", store.to_str().unwrap()]);
    let out = gfm_pipe(&args);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    fs::read_to_string(file).unwrap()
}

/// Parses a page as XML, so that an element left open is found.
fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).unwrap()
}

fn all<'a>(doc: &'a Document<'_>, name: &'a str) -> Vec<Node<'a, 'a>> {
    doc.descendants().filter(|n| n.has_tag_name(name)).collect()
}

fn text(node: &Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text);
    texts.filter_map(|n| n.text()).collect()
}

/// Checks what must be true of every page.
fn is_sound(page: &str) {
    let doc = parsed(page);
    let mut ids = BTreeSet::new();
    for id in doc.descendants().filter_map(|n| n.attribute("id")) {
        assert!(ids.insert(id), "twice: {id}");
    }
    for link in all(&doc, "a") {
        let to = link.attribute("href").unwrap();
        let place = to
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("leads away: {to}"));
        assert!(ids.contains(place), "leads nowhere: {to}");
    }
    let mut names = BTreeSet::new();
    for part in doc
        .descendants()
        .filter(|n| n.attribute("role") == Some("region"))
    {
        let name = part.attribute("aria-label").unwrap();
        assert!(names.insert(name), "two parts are called {name}");
    }
    for head in all(&doc, "h2") {
        assert!(!names.contains(text(&head).as_str()), "{head:?}");
    }
    for name in ["script", "img", "iframe", "object"] {
        assert!(all(&doc, name).is_empty(), "{name}");
    }
    for n in doc.descendants() {
        assert!(n.attribute("src").is_none(), "{n:?}");
    }
    assert!(!page.contains("@import") && !page.contains("url("));
    for table in all(&doc, "table") {
        let caption = table.children().find(Node::is_element).unwrap();
        assert!(caption.has_tag_name("caption"), "a table without caption");
        assert!(!text(&caption).is_empty());
    }
    for drawing in doc
        .descendants()
        .filter(|n| n.attribute("role") == Some("img"))
    {
        let name = drawing.attribute("aria-label").map(str::to_owned);
        assert!(
            !name.unwrap_or_else(|| text(&drawing)).is_empty(),
            "{drawing:?}"
        );
    }
    for svg in all(&doc, "svg") {
        let links = svg.descendants().any(|n| n.has_tag_name("a"));
        let role = if links { "group" } else { "img" };
        assert_eq!(svg.attribute("role"), Some(role));
        let title = svg.children().find(Node::is_element).unwrap();
        assert!(title.tag_name().name() == "title" && !text(&title).is_empty());
    }
    let heads = all(&doc, "th");
    assert!(heads.iter().all(|h| h.attribute("scope").is_some()));
    for n in ["NaN", "inf,", "Infinity"] {
        assert!(!page.contains(n), "{n}");
    }
}

/// The label and the value of the card's figure, and the names of its facts.
fn card(html: &str) -> (String, String, Vec<String>) {
    let doc = parsed(html);
    let class = |name: &str| {
        let mut all = doc.descendants();
        let found = all.find(|n| n.attribute("class") == Some(name));
        found.map(|n| text(&n)).unwrap_or_default()
    };
    let facts = all(&doc, "dt").iter().map(text).collect();
    (class("label"), class("figure"), facts)
}

/// recall@5 of the first ranker over all questions, from the metrics table.
fn recall(store: &Path) -> f64 {
    let store = store.to_str().unwrap();
    let out = gfm_pipe(&["show", "evaluate.metrics", "--json", "--store", store]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
    let row = rows.iter().find(|r| {
        r["system"] == "model"
            && r["ranker"] == "idf_topk"
            && r["target"] == "document"
            && r["group"] == "all"
            && r["metric"] == "recall@5"
    });
    row.unwrap()["value"].as_f64().unwrap()
}

#[test]
fn runs_without_figures_become_pages() {
    let store = tempfile::tempdir().unwrap();
    run(store.path(), &["--until", "kg"]);
    let file = store.path().join("page.html");
    let verb = ["report", "--force", "-o", file.to_str().unwrap()];
    let html = page(&verb, store.path(), &file);
    is_sound(&html);
    assert!(html.contains("This run left the evaluation out"), "{html}");
    assert!(!html.contains(r##"href="#results""##));

    let to = store.path().to_str().unwrap();
    let failed = gfm_pipe(&[
        "run",
        "pipelines/ci.yaml",
        "--store",
        to,
        "-p",
        "data=nowhere",
    ]);
    assert_eq!(failed.status.code(), Some(1));
    let html = page(&verb, store.path(), &file);
    is_sound(&html);
    assert!(html.contains("<strong>kg failed:</strong>"), "{html}");
    assert!(html.contains("Correct what failed"), "{html}");
}

#[test]
fn a_run_becomes_a_page() {
    let store = tempfile::tempdir().unwrap();
    run(store.path(), &[]);
    let file = store.path().join("page.html");
    let to = file.to_str().unwrap();
    let html = page(&["report", "-o", to], store.path(), &file);
    is_sound(&html);
    let doc = parsed(&html);
    let heads: Vec<String> = all(&doc, "h2").iter().map(text).collect();
    let wanted = [
        "Summary",
        "Results",
        "Questions looked at closely",
        "Training",
        "Data",
        "Pipeline",
        "Parameters and provenance",
    ];
    assert_eq!(heads, wanted);
    let shown = card(&html);
    assert_eq!(shown.0, "recall@5 of model (idf_topk)");
    assert_eq!(shown.1, format!("{:.3}", recall(store.path())));
    let facts = ["Best baseline", "Ceiling", "Audit of the data", "Run"];
    assert_eq!(shown.2, facts);
    assert!(!html.contains("Not shown"));
    // The family set has eight test questions. Questions about other families' members must not be
    // taken for its own.
    let questions = all(&doc, "details");
    let asked = questions
        .iter()
        .filter(|d| text(d).contains("Question entities"));
    assert_eq!(asked.count(), 8);
    let body = text(&doc.root());
    for said in [
        "hops away: ",
        "model (idf_topk)",
        "ceiling",
        "finetune.history",
    ] {
        assert!(body.contains(said), "{said}");
    }

    // An existing file is not overwritten without `--force`.
    let again = gfm_pipe(&[
        "report",
        "-o",
        to,
        "--store",
        store.path().to_str().unwrap(),
    ]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("--force"), "{said}");

    // The same checks for a run in which everything was cached.
    let cached = run(store.path(), &[]);
    assert_eq!(cached["evaluate"]["status"], "cached");
    let html = page(&["report", "-o", to, "--force"], store.path(), &file);
    is_sound(&html);
    assert_eq!(card(&html), shown);

    // When artifacts are gone, the page says which.
    fs::remove_dir_all(store.path().join("objects")).unwrap();
    let html = page(&["report", "-o", to, "--force"], store.path(), &file);
    is_sound(&html);
    assert!(
        html.contains("Not shown: evaluate.metrics.metrics"),
        "{html}"
    );
}

#[test]
fn weights_of_features_are_on_the_page() {
    let store = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("fused.yaml");
    let ci = fs::canonicalize("pipelines/ci.yaml").unwrap();
    let yaml = format!(
        "include: {}
stages:
  features: {{op: rank-features, in: {{documents: qa.documents, train: qa.train}}}}
  fitted: {{op: fuse, in: {{questions: [qa.train], features: [features.train]}}}}
  given: {{op: fuse}}
",
        ci.display()
    );
    fs::write(&pipeline, yaml).unwrap();
    let to = store.path().to_str().unwrap();
    let until = ["--until", "fitted", "--until", "given", "--store", to];
    let out = gfm_pipe(&[&["run", pipeline.to_str().unwrap()], &until[..]].concat());
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let file = folder.path().join("page.html");
    let verb = ["report", "-o", file.to_str().unwrap()];
    let html = page(&verb, store.path(), &file);
    is_sound(&html);
    let doc = parsed(&html);
    let body = text(&doc.root());
    assert!(
        body.contains("given weights, not fitted to questions"),
        "{body}"
    );
    let tables = all(&doc, "table");
    let rows = |title: &str| -> Vec<usize> {
        let titled = tables.iter().filter(|t| text(t).starts_with(title));
        let rows = titled.map(|t| t.descendants().filter(|n| n.has_tag_name("tr")).count());
        rows.collect()
    };
    // A head, and sixteen features for each of the two stages; only one has compared ways.
    assert_eq!(rows("Weights of standardised features"), [17, 17]);
    assert_eq!(rows("Ways to rank"), [1 + 10 + 1 + 16]);
}

#[test]
fn two_runs_become_a_page() {
    let store = tempfile::tempdir().unwrap();
    run(store.path(), &[]);
    run(store.path(), &["-p", "lr=0.0001"]);
    let runs = gfm_pipe(&["runs", "--json", "--store", store.path().to_str().unwrap()]);
    let runs: serde_json::Value = serde_json::from_slice(&runs.stdout).unwrap();
    let file = store.path().join("page.html");
    let old = runs[0]["run"].as_str().unwrap();
    let verb = ["diff", old, "latest", "--html", file.to_str().unwrap()];
    let html = page(&verb, store.path(), &file);
    is_sound(&html);
    let doc = parsed(&html);
    let rows: Vec<Vec<String>> = all(&doc, "tr")
        .iter()
        .map(|r| {
            r.children()
                .filter(Node::is_element)
                .map(|c| text(&c))
                .collect()
        })
        .collect();
    let has = |row: &[&str]| rows.iter().any(|r| r == row);
    assert!(
        has(&["finetune.optimizer.lr", "0.005", "0.0001"]),
        "{rows:?}"
    );
    let paired = rows
        .iter()
        .find(|r| r[0] == "model (idf_topk)" && r[2] == "recall@5");
    let paired = paired.unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!((paired.len(), paired[1].as_str()), (11, "evaluate"));
    let number = |i: usize| paired[i].parse::<f64>().unwrap();
    assert!(
        (number(4) - number(3) - number(5)).abs() < 2e-3,
        "{paired:?}"
    );
    assert!(number(10) > 0.0 && number(10) <= 1.0, "{paired:?}");
    assert_eq!(all(&doc, "svg").len(), 2);
}
