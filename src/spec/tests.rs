//! Tests with correct pipelines: templates, overrides, writing back. Incorrect ones are in
//! `tests/spec/bad`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::{load_text, pipeline, toy};
use super::{LoadOptions, Pipeline, PortRef, load, resolved_yaml};

const GOOD: &str = r#"
version: 1
name: toy
vars:
  data: data/toy
  dim: 32
  dims: ["{{ dim }}", "{{ dim * 2 }}"]
  loud: true
  deep: {lr: 1e-3}
stages:
  kg: {op: words, with: {path: "{{ data }}/kg.txt", lower: "{{ loud }}", language: no}}
  up:
    op: upper
    in: {texts: kg.words}
  all:
    op: join
    in:
      texts: [up, kg.words, up.words]
  train:
    op: train
    in: {counts: kg.counts}
    with:
      model: {hidden_dims: "{{ dims }}"}
      task:
        losses:
          - {name: bce}
          - name: ranking
            cfg: {weight: 0.5}
        strict_negative: off
      optimizer: {lr: "{{ deep.lr / 2 }}"}
  fine:
    op: train
    in: {counts: kg.counts, init: train.model}
    with: {checkpoint: ~, seed: 7}
"#;

fn params<'a>(p: &'a Pipeline, stage: &str) -> &'a Value {
    &p.stage(stage).unwrap().params
}

fn one(stage: &str, port: &str) -> PortRef {
    PortRef {
        stage: stage.to_owned(),
        port: port.to_owned(),
    }
}

#[test]
fn a_good_pipeline_is_loaded_whole() {
    let p = pipeline(GOOD);
    assert_eq!(p.name, "toy");
    let names: Vec<&str> = p.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["kg", "up", "all", "train", "fine"]);
    assert_eq!(
        *params(&p, "kg"),
        json!({"path": "data/toy/kg.txt", "lower": true, "language": "no"})
    );
    assert_eq!(
        *params(&p, "train"),
        json!({
            "seed": 1024,
            "model": {"hidden_dims": [32, 64], "message": "distmult"},
            "task": {
                "losses": [
                    {"name": "bce", "cfg": {"weight": 1.0}},
                    {"name": "ranking", "cfg": {"weight": 0.5}},
                ],
                "strict_negative": false,
            },
            "optimizer": {"lr": 5e-4},
            "checkpoint": null,
            "workers": 0,
        })
    );
    let all = p.stage("all").unwrap();
    assert_eq!(
        all.inputs["texts"],
        [one("up", "words"), one("kg", "words"), one("up", "words")]
    );
    assert_eq!((all.origin.line, all.origin.column), (15, 3));
    let train = p.stage("train").unwrap();
    assert!(!train.inputs.contains_key("init"));
    assert_eq!(
        p.stage("fine").unwrap().inputs["init"],
        [one("train", "model")]
    );
}

#[test]
fn a_pipeline_without_a_name_is_called_after_its_file() {
    let p = pipeline("stages: {a: {op: words, with: {path: x}}}");
    assert_eq!(p.name, "p");
}

/// The value of a stage's `path` parameter that is written as `text`, with these variables.
fn path(vars: &str, text: &str) -> String {
    let yaml = format!("vars: {vars}\nstages:\n  a: {{op: words, with: {{path: {text}}}}}");
    let p = pipeline(&yaml);
    params(&p, "a")["path"].as_str().unwrap().to_owned()
}

#[test]
fn templates_make_text() {
    assert_eq!(path("{a: x, n: 3}", r#""{{ a }}/{{ n }}.txt""#), "x/3.txt");
    assert_eq!(path("{a: x}", r#""{{ a | upper }}""#), "X");
    assert_eq!(path("{a: [p, q]}", r#""{{ a | join('-') }}""#), "p-q");
    assert_eq!(path("{a: true}", r#""{{ 'x' if a else 'y' }}""#), "x");
    assert_eq!(path("{f: 0.00001}", r#""{{ f }}-""#), "0.00001-");
    assert_eq!(path("{a: x}", r#""{{- a -}}""#), "x");
    // A quoted number is text, also through a variable; a template in a variable is rendered once.
    assert_eq!(path(r#"{a: "5"}"#, r#""{{ a }}""#), "5");
    assert_eq!(
        path(r#"{a: "{{ '{{ b }}' }}"}"#, r#""{{ a }}!""#),
        "{{ b }}!"
    );
    // Braces that are not a template stay, and so does the end of a block.
    assert_eq!(path("{}", r#""a{b}c{#d""#), "a{b}c{#d");
    let p = pipeline(
        "vars: {a: x}\nstages:\n  a:\n    op: words\n    with:\n      path: |\n        {{ a }}\n        b\n",
    );
    assert_eq!(params(&p, "a")["path"], "x\nb\n");
}

#[test]
fn anchors_stand_for_whole_values() {
    let p = pipeline(
        "stages:\n  a: {op: words, with: &w {path: x, lower: yes}}\n  b: {op: words, with: *w}\n",
    );
    assert_eq!(params(&p, "a"), params(&p, "b"));
}

#[test]
fn hostile_templates_are_refused() {
    for (template, why) in [
        (
            format!("{{{{ a{} }}}}", " ~ a".repeat(100_000)),
            "a template of more than",
        ),
        (format!("{{{{ {}a }}}}", "-".repeat(900)), "in `{{ ---"),
        (format!("{{{{ {}a }}}}", "(".repeat(900)), "recursion"),
        ("{{ a * 99999999 }}".to_owned(), "too much work"),
        ("{{ [1] * 99999999 }}".to_owned(), "too many values"),
        ("{{ ([1] * 99999999) | join }}".to_owned(), "too much work"),
        (
            "{{ a * 5000 }}{{ a * 5000 }}{{ a * 5000 }}{{ a * 5000 }}{{ a * 5000 }}".to_owned(),
            "too much",
        ),
        (
            "{{ 9223372036854775807 * 9223372036854775807 }}".to_owned(),
            "a number too large",
        ),
        ("{{ 1e308 * 10.0 }}".to_owned(), "not a finite number"),
    ] {
        let text = format!(
            "vars: {{a: xxxxxxxxxxxxxxxx}}\nstages: {{b: {{op: words, with: {{path: \"{template}\"}}}}}}"
        );
        let report = load_text(&text, &[], &[]).err().map(|e| e.to_string());
        let report = report.unwrap_or_else(|| panic!("{why}: no mistake"));
        assert!(
            report.contains(why) && report.ends_with("\n1 mistake in p.yaml"),
            "{why}: {report}"
        );
    }
}

#[test]
fn the_deepest_templates_that_are_read_fit_on_the_stack() {
    for (start, link, end) in [
        ("{{ a", "~a", " }}"),
        ("{{ a", "|d", " }}"),
        ("{{ a", "()", " }}"),
        ("{{ ", "-", "1 }}"),
        ("{{ a", ".a", " }}!"),
    ] {
        let links = (1000 - start.len() - end.len()) / link.len();
        let template = format!("{start}{}{end}", link.repeat(links));
        let text =
            format!("vars: {{a: x}}\nstages: {{b: {{op: words, with: {{path: \"{template}\"}}}}}}");
        // Some render and some are mistakes; none is refused for its length.
        if let Err(e) = load_text(&text, &[], &[]) {
            assert!(!e.to_string().contains("more than"), "{link}: {e}");
        }
    }
}

#[test]
fn long_texts_with_braces_are_written_back() {
    let mut p = pipeline("stages: {a: {op: words, with: {path: x}}}");
    p.stages[0].params["path"] = Value::String("{{ \"x\" }} ".repeat(20_000));
    let again = pipeline(&resolved_yaml(&p));
    assert_eq!(stages(&again), stages(&p));
}

#[test]
fn a_stage_comes_after_others_and_after_its_sibling() {
    let p = pipeline(
        r#"
stages:
  look: {op: words, foreach: {ds: [a, b]}, with: {path: "{{ ds }}"}}
  one: {op: words, foreach: {ds: [b]}, after: look, with: {path: x}}
  all: {op: words, after: ["look[*]", "one[b]", "look[a]"], with: {path: x}}
  none: {op: words, after: [], with: {path: x}}
  nil: {op: words, after: null, with: {path: x}}
"#,
    );
    let after = |name: &str| p.stage(name).unwrap().after.clone();
    assert_eq!(after("one[b]"), ["look[b]"]);
    assert_eq!(after("all"), ["look[a]", "look[b]", "one[b]"]);
    assert!(after("none").is_empty() && after("nil").is_empty());
    let again = pipeline(&resolved_yaml(&p));
    let afters = |p: &Pipeline| p.stages.iter().map(|s| s.after.clone()).collect::<Vec<_>>();
    assert_eq!(afters(&again), afters(&p));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let report = |name: &str| {
        let opts = LoadOptions {
            base: dir.path().to_owned(),
            ..LoadOptions::default()
        };
        let done = load(Path::new(name), &opts, &toy::ops());
        done.err().map(|e| e.to_string()).unwrap_or_default()
    };
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    assert!(report("none.yaml").starts_with("error: cannot read the pipeline: "));
    assert!(report("none.yaml").contains(" --> none.yaml\n = hint: the path is relative"));
    write("latin.yaml", b"name: a\nvars: {b: \xe4}\n");
    assert!(report("latin.yaml").contains("is not UTF-8 text: line 2, byte 19"));
    let wide: Vec<u8> = "name: a\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    write("wide.yaml", &wide);
    let wide = report("wide.yaml");
    assert!(
        wide.contains("it is UTF-16 (little-endian), not UTF-8"),
        "{wide}"
    );
    assert!(
        wide.contains("hint: convert it: iconv -f UTF-16LE"),
        "{wide}"
    );
    write("large.yaml", &vec![b'#'; super::MAX_BYTES + 1]);
    assert!(report("large.yaml").contains("larger than 4 MiB"));
    // A byte order mark does not shift columns.
    write("bom.yaml", "\u{feff}stagez: {}\n".as_bytes());
    assert!(
        report("bom.yaml").contains("bom.yaml:1:1\n"),
        "{}",
        report("bom.yaml")
    );
}

fn overridden(vars: &[(&str, &str)], sets: &[(&str, &str)]) -> Pipeline {
    load_text(GOOD, vars, sets).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn variables_are_set_before_they_are_used() {
    let p = overridden(&[("dim", "8"), ("data", "x: # y"), ("dim", "16")], &[]);
    assert_eq!(params(&p, "train")["model"]["hidden_dims"], json!([16, 32]));
    assert_eq!(params(&p, "kg")["path"], "x: # y/kg.txt");
    let p = overridden(&[("dims", "[1, 2]"), ("data", "{{ 'a' }}b")], &[]);
    assert_eq!(params(&p, "kg")["path"], "ab/kg.txt");
    let p = load_text(GOOD, &[("dims", "[1, 2]")], &[("train.with.model", "{}")]);
    assert_eq!(
        params(&p.unwrap(), "train")["model"]["hidden_dims"],
        json!([64, 64])
    );
}

#[test]
fn parameters_are_set_wherever_they_are() {
    let p = overridden(
        &[],
        &[
            ("train.with.seed", "3"),
            ("train.with.task.losses[1].cfg.weight", "2"),
            ("train.with.task.losses.0.name", "ranking"),
            ("train.with.model.hidden_dims", "[5, 6, 7]"),
            ("fine.with.optimizer.lr", "0.1"),
            ("kg.with.language", "'5'"),
            ("kg.with.path", "{{ data }}"),
            ("fine.with.checkpoint", "null"),
        ],
    );
    let train = params(&p, "train");
    assert_eq!(train["seed"], 3);
    assert_eq!(
        train["task"]["losses"],
        json!([
            {"name": "ranking", "cfg": {"weight": 1.0}},
            {"name": "ranking", "cfg": {"weight": 2.0}},
        ])
    );
    assert_eq!(train["model"]["hidden_dims"], json!([5, 6, 7]));
    assert_eq!(params(&p, "fine")["optimizer"]["lr"], 0.1);
    assert_eq!(params(&p, "kg")["language"], "5");
    assert_eq!(params(&p, "kg")["path"], "data/toy");
}

#[test]
fn hints_quote_what_was_written() {
    let kg = |language: &str| {
        format!("stages:\n  kg: {{op: words, with: {{path: a, language: {language}}}}}\n")
    };
    for (written, found) in [
        ("007", "the number 007"),
        ("1e5", "the number 1e5"),
        ("0x1F", "the number 0x1F"),
        ("true", "`true`"),
        ("False", "`False`"),
    ] {
        let e = load_text(&kg(written), &[], &[]).err().unwrap().to_string();
        let want = format!("expected text, found {found}\n --> p.yaml:2:45\n");
        assert!(e.contains(&want), "{e}");
        assert!(
            e.contains(&format!("= hint: write it in quotes: \"{written}\"\n")),
            "{e}"
        );
        // What the hint suggests is correct.
        let right = pipeline(&kg(&format!("\"{written}\"")));
        assert_eq!(params(&right, "kg")["language"], written);
        // On a command line the shell removes one pair of quotes.
        let set = [("kg.with.language", written)];
        let e = load_text(&kg("en"), &[], &set).err().unwrap().to_string();
        assert!(
            e.contains(&format!("= hint: write it in quotes: '\"{written}\"'\n")),
            "{e}"
        );
        let quoted = format!("\"{written}\"");
        let right = load_text(&kg("en"), &[], &[("kg.with.language", &quoted)]).unwrap();
        assert_eq!(params(&right, "kg")["language"], written);
    }
    // The result of a template is not what was written there: the hint points at its variable.
    let text = format!("vars: {{n: 007}}\n{}", kg("'{{ n }}'"));
    let e = load_text(&text, &[], &[]).err().unwrap().to_string();
    let want = "= hint: write it in quotes; `n` has its value from p.yaml:1:11\n";
    assert!(e.contains(want), "{e}");
    let text = format!(
        "{}    retries: 1e2\n",
        "stages:\n  kg:\n    op: words\n    with: {path: a}\n"
    );
    let e = load_text(&text, &[], &[]).err().unwrap().to_string();
    assert!(
        e.contains("from 0 to 100, found the number 1e2\n --> p.yaml:5:14\n"),
        "{e}"
    );
}

#[test]
fn numbers_mean_what_they_say_or_are_refused_where_they_stand() {
    let train = |key: &str, value: &str| {
        let with = format!("with: {{{key}: {value}}}");
        let text = format!(
            "stages:\n  kg: {{op: words, with: {{path: a}}}}\n  t:\n    op: train\n    in: {{counts: kg.counts}}\n    {with}\n"
        );
        load_text(&text, &[], &[])
    };
    // A number leads to the same key however it is written.
    let rate = |value: &str| {
        let p = train("optimizer", &format!("{{lr: {value}}}")).unwrap();
        let stage = p.stage("t").unwrap();
        crate::plan::key_params(&stage.op, &stage.params).to_string()
    };
    for zero in ["-0.0", "0.0", "0", "-0", "0e5", "-0e-400", "0.000"] {
        assert_eq!(rate(zero), rate("0"), "{zero}");
    }
    assert_ne!(rate("5e-324"), rate("0"));
    for (key, value, found) in [
        (
            "optimizer",
            "{lr: 1e-400}",
            "the text \"1e-400\"\n --> p.yaml:6:28",
        ),
        (
            "optimizer",
            "{lr: 1e400}",
            "the text \"1e400\"\n --> p.yaml:6:28",
        ),
        (
            "optimizer",
            "{lr: .nan}",
            "the text \".nan\"\n --> p.yaml:6:28",
        ),
        (
            "seed",
            "99999999999999999999",
            "the number 99999999999999999999\n --> p.yaml:6:18",
        ),
        (
            "seed",
            "18446744073709551615",
            "the number 18446744073709551615\n --> p.yaml:6:18",
        ),
        ("seed", "1e3", "the number 1e3\n --> p.yaml:6:18"),
        ("seed", "1.5", "the number 1.5\n --> p.yaml:6:18"),
    ] {
        let e = train(key, value).err().unwrap().to_string();
        assert!(e.contains(&format!("found {found}\n")), "{e}");
    }
}

#[test]
fn mistakes_in_overrides_are_shown_as_overrides() {
    for (var, set, expected) in [
        (
            None,
            Some(("tran.with.seed", "1")),
            "no stage `tran`\n --> --set tran.with.seed=1\n = hint: did you mean `train`?",
        ),
        (
            None,
            Some(("train.with.sed", "1")),
            "unknown key `sed`\n --> --set train.with.sed=1\n = hint: did you mean `seed`?",
        ),
        (
            None,
            Some(("train.with.seed", "x")),
            "expected a whole number, at least 0, found the text \"x\"\n --> --set train.with.seed=x\n",
        ),
        (
            None,
            Some(("up.with.seed", "1")),
            "unknown key `seed`\n --> --set up.with.seed=1\n",
        ),
        (
            None,
            Some(("train.with.task.losses[2].name", "bce")),
            "`losses` is a list: it has no [2]\n --> --set train.with.task.losses[2].name=bce\n = hint: its items are [0] to [1]",
        ),
        (
            None,
            Some(("train.with.task.losses.x.name", "bce")),
            "it has no `x`",
        ),
        (
            None,
            Some(("fine.with.seed.x", "1")),
            "`seed` is no mapping in the file but `7`\n --> --set fine.with.seed.x=1\n = hint: set `seed` as a whole",
        ),
        (
            None,
            Some(("fine.with.task.losses[0].name", "bce")),
            "`losses` is no list in the file but nothing",
        ),
        (
            None,
            Some(("train.op", "words")),
            "only parameters (`with`) can be set, not `op`",
        ),
        (
            None,
            Some(("train", "words")),
            "a parameter of a stage is missing",
        ),
        (
            None,
            Some(("train.with", "{}")),
            "`train.with` names no parameter",
        ),
        (
            None,
            Some(("train.with.a..b", "1")),
            "`train.with.a..b` names no parameter",
        ),
        (
            None,
            Some(("kg.with.path", "[1, ")),
            " --> --set kg.with.path=[1, \n",
        ),
        (
            None,
            Some(("kg.with.path", "{{ dat }}")),
            "unknown name `dat` in `{{ dat }}`\n --> --set kg.with.path={{ dat }}\n = hint: did you mean `data`?",
        ),
        (
            Some(("dimm", "1")),
            None,
            "no variable `dimm`\n --> -p dimm=1\n = hint: did you mean `dim`?",
        ),
        (Some(("dim", "~")), None, "in `{{ dim * 2 }}`"),
    ] {
        let vars: Vec<(&str, &str)> = var.into_iter().collect();
        let sets: Vec<(&str, &str)> = set.into_iter().collect();
        let text = match load_text(GOOD, &vars, &sets) {
            Ok(_) => panic!("{var:?} {set:?} is no mistake"),
            Err(e) => e.to_string(),
        };
        assert!(text.contains(expected), "{expected}\n--- is not in\n{text}");
        assert!(text.ends_with("\n1 mistake in p.yaml"), "{text}");
    }
}

#[test]
fn a_missing_key_beside_an_override_is_the_files_mistake() {
    let e = load_text(
        "stages:\n  a: {op: words}\n",
        &[],
        &[("a.with.lower", "yes")],
    );
    let text = e.err().unwrap().to_string();
    assert!(
        text.contains("missing key `path`\n --> p.yaml:2:3\n"),
        "{text}"
    );
}

/// Stages as data, for comparing.
fn stages(p: &Pipeline) -> Vec<Value> {
    let refs = |r: &Vec<PortRef>| r.iter().map(PortRef::to_string).collect::<Vec<_>>();
    let stage = |s: &super::Stage| {
        let inputs: Value = s
            .inputs
            .iter()
            .map(|(k, v)| (k.clone(), json!(refs(v))))
            .collect();
        json!([s.name, s.op.name, s.params, inputs])
    };
    p.stages.iter().map(stage).collect()
}

#[test]
fn what_is_written_back_loads_the_same() {
    let p = pipeline(GOOD);
    let text = resolved_yaml(&p);
    assert!(text.contains("- up.words"), "{text}");
    let again = pipeline(&text);
    assert_eq!(again.name, "toy");
    assert_eq!(stages(&again), stages(&p));
    assert_eq!(resolved_yaml(&again), text);
}

/// Names of stages with what is connected to them.
fn wiring(p: &Pipeline) -> Vec<String> {
    let stage = |s: &super::Stage| {
        let refs: Vec<String> = s
            .inputs
            .values()
            .flatten()
            .map(PortRef::to_string)
            .collect();
        format!("{} <- {}", s.name, refs.join(" "))
    };
    p.stages.iter().map(stage).collect()
}

#[test]
fn foreach_makes_a_stage_for_each_value() {
    let text = r#"
vars: {sets: [a, b.2], root: data}
stages:
  kg: {op: words, foreach: {ds: "{{ sets }}"}, with: {path: "{{ root }}/{{ ds }}"}}
  up: {op: upper, foreach: {ds: [b.2, a]}, in: {texts: kg.words}}
  first: {op: upper, in: {texts: "kg[a].words"}}
  all: {op: join, in: {texts: ["up[*]", first, "kg[b.2].words"]}}
"#;
    let p = pipeline(text);
    assert_eq!(
        wiring(&p),
        [
            "kg[a] <- ",
            "kg[b.2] <- ",
            "up[b.2] <- kg[b.2].words",
            "up[a] <- kg[a].words",
            "first <- kg[a].words",
            "all <- up[b.2].words up[a].words first.words kg[b.2].words",
        ]
    );
    assert_eq!(p.stages[1].params["path"], "data/b.2");
    let again = pipeline(&resolved_yaml(&p));
    assert_eq!(stages(&again), stages(&p));
    // An override of a stage applies to all stages that are made from it; another list for a
    // variable makes other stages.
    let vars = [("sets", "[x]")];
    let sets = [("kg.with.path", "{{ ds }}!")];
    let text = text
        .replace("b.2, a", "x")
        .replace("[a]", "[x]")
        .replace("[b.2]", "[x]");
    let p = load_text(&text, &vars, &sets).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(p.stages[0].name, "kg[x]");
    assert_eq!(p.stages[0].params["path"], "x!");
}

#[test]
fn matrix_goes_over_all_combinations_and_siblings_need_no_more_names() {
    let p = pipeline(
        r#"
stages:
  kg: {op: words, foreach: {ds: [a, b]}, with: {path: "{{ ds }}"}}
  fit: {op: train, matrix: {ds: [a, b], lr: [0.1, 1]}, in: {counts: kg.counts}, with: {optimizer: {lr: "{{ lr }}"}}}
  again: {op: train, in: {counts: "kg[b].counts", init: "fit[b,0.1]"}}
"#,
    );
    assert_eq!(
        wiring(&p)[2..],
        [
            "fit[a,0.1] <- kg[a].counts",
            "fit[a,1] <- kg[a].counts",
            "fit[b,0.1] <- kg[b].counts",
            "fit[b,1] <- kg[b].counts",
            "again <- kg[b].counts fit[b,0.1].model",
        ]
    );
    assert_eq!(p.stages[2].params["optimizer"]["lr"], 0.1);
    let again = pipeline(&resolved_yaml(&p));
    assert_eq!(stages(&again), stages(&p));
}

#[test]
fn overrides_name_stages_as_written() {
    let text = r#"stages: {kg: {op: words, foreach: {ds: [a, b]}, with: {path: "{{ ds }}"}}}"#;
    let e = load_text(text, &[], &[("kg[a].with.path", "x")]).err();
    let report = e.map(|e| e.to_string()).unwrap_or_default();
    assert!(
        report.contains("`--set kg.with.KEY=VALUE` sets it in all"),
        "{report}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_survives_being_written_back(
        text in prop_oneof![
            "[ -~]{1,12}",
            "\\PC{1,12}",
            "[-+.0-9eExobnul~ytrs:#{}%\"'\\[\\]\\\\ ]{1,8}",
            "(\\{\\{|\\}\\}|\\{%|[a\"'\\\\ \n\t]){1,8}",
            "[\u{0}-\u{20}\u{7f}-\u{a0}\u{2028}\u{feff}]{1,4}",
        ]
    ) {
        let mut p = pipeline("stages: {a: {op: words, with: {path: x}}}");
        p.stages[0].params["path"] = Value::String(text.clone());
        let yaml = resolved_yaml(&p);
        let again = load_text(&yaml, &[], &[]).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        prop_assert_eq!(stages(&again), stages(&p));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}|[-?:,\\[\\]{}#&*!|>'\"%@` \n\ta-z0-9.<]{0,200}") {
        if let Err(e) = load_text(&text, &[], &[]) {
            prop_assert!(e.to_string().contains("p.yaml"));
            prop_assert!(!e.errors().is_empty());
        }
    }

    #[test]
    fn an_edited_pipeline_never_panics(
        edits in proptest::collection::vec(
            (0usize..GOOD.len(), 0usize..20, prop_oneof![
                Just(String::new()),
                Just("{{ ".to_owned()),
                Just(" }}".to_owned()),
                Just("{% if x %}".to_owned()),
                Just("\n\t".to_owned()),
                Just("*a".to_owned()),
                Just("&a ".to_owned()),
                Just("<<: ".to_owned()),
                "[-:,\\[\\]{}#'\" \na-z0-9.]{1,4}",
            ]),
            1..6,
        )
    ) {
        let mut text = GOOD.to_owned();
        for (at, cut, new) in edits {
            // GOOD is all ASCII, but characters that edits insert must not be cut in half.
            let from = at.min(text.len());
            let to = (from + cut).min(text.len());
            if text.is_char_boundary(from) && text.is_char_boundary(to) {
                text.replace_range(from..to, &new);
            }
        }
        if let Err(e) = load_text(&text, &[("dim", "3")], &[("train.with.task.losses[0].cfg.weight", "1")]) {
            let report = e.to_string();
            let errors = e.errors().len();
            prop_assert!(errors > 0);
            prop_assert_eq!(report.matches("error: ").count(), errors);
        }
    }
}

#[test]
fn what_will_go_works_with_a_warning() {
    let yaml = "
stages:
  kg: {op: words, with: {path: kg.txt}}
  a: {op: backwards, in: {texts: kg.words}, with: {letters: {marks: yes}}}
  b: {op: backwards, in: {texts: kg.words}, with: {letters: {limit: 3}}}
";
    let p = pipeline(yaml);
    let warnings: Vec<String> = p.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert_eq!(
        warnings[0],
        "warning: operator `backwards` is deprecated: a later version refuses it\n \
         --> p.yaml:4:11\n  |\n4 |   a: {op: backwards, in: {texts: kg.words}, with: {letters: {marks: yes}}}\n  \
         |           ^^^^^^^^^\n  = hint: use `upper`\n"
    );
    assert!(
        warnings[1].starts_with("warning: `marks` is deprecated: a later version refuses it\n")
            && warnings[1].ends_with("= hint: leave it out: marks never count\n"),
        "{}",
        warnings[1]
    );
    // Of a pipeline that does not work, the mistakes are reported.
    let e = load_text(&yaml.replace("limit: 3", "limt: 3"), &[], &[])
        .err()
        .unwrap();
    assert!(e.to_string().ends_with("1 mistake in p.yaml"), "{e}");
    // A name that was meant is not guessed to be one that will go.
    let e = load_text(&yaml.replace("limit: 3", "mark: yes"), &[], &[])
        .err()
        .unwrap();
    assert!(!e.to_string().contains("`marks`"), "{e}");
}
