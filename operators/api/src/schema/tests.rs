#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn schema() -> Schema {
    Schema::new(vec![
        Field::required("path", Type::Path, "where"),
        Field::new("seed", Type::int(0), 1024, "seed"),
        Field::new("log_interval", Type::int(1), 100, "steps").no_effect(),
        Field::group(
            "task",
            Schema::new(vec![
                Field::new("strict", Type::Bool, true, "strict"),
                Field::new("rate", Type::float(0.0), 0.5, "rate"),
                Field::new("fixed", Type::Bool, false, "later").only_default(),
            ]),
            "task",
        ),
        Field::refused("hydra", "the store is the output folder"),
    ])
}

#[test]
fn defaults_are_filled_in_and_words_become_booleans() {
    let full = schema()
        .normalize(&json!({"path": "a", "task": {"strict": "no", "rate": 1}}))
        .unwrap();
    assert_eq!(
        full,
        json!({"path": "a", "seed": 1024, "log_interval": 100,
               "task": {"strict": false, "rate": 1.0, "fixed": false}})
    );
}

#[test]
fn all_problems_come_at_once() {
    let problems = schema()
        .normalize(
            &json!({"seeed": 3, "seed": -1, "hydra": {}, "task": {"rate": "x", "fixed": true}}),
        )
        .unwrap_err();
    let text: Vec<String> = problems
        .iter()
        .map(|p| {
            format!(
                "{}: {} ({})",
                path_text(&p.path),
                p.message,
                p.hint.clone().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        text,
        [
            "seeed: unknown key `seeed` (did you mean `seed`?)",
            "hydra: `hydra` is not set here (the store is the output folder)",
            ": missing key `path` (a path: where)",
            "seed: expected a whole number, at least 0, found the number -1 ()",
            "task.rate: expected a number, at least 0, found the text \"x\" ()",
            "task.fixed: `fixed: yes` is not implemented yet (only no works so far)",
        ]
    );
}

#[test]
fn a_few_words_or_a_mapping() {
    let pieces = Schema::new(vec![
        Field::required("tokens", Type::int(1), "length"),
        Field::new("overlap", Type::int(0), 0, "overlap").no_effect(),
    ]);
    let words = &["none", "paragraphs"];
    let ty = Type::WordsOr {
        words,
        schema: pieces,
    };
    assert_eq!(ty.describe(), "none | paragraphs | {tokens, overlap}");
    let s = Schema::new(vec![Field::new("split", ty, "none", "pieces")]);
    let full = |v: Value| s.normalize(&json!({"split": v}));
    assert_eq!(s.normalize(&json!({})).unwrap(), json!({"split": "none"}));
    assert_eq!(
        full(json!("paragraphs")).unwrap(),
        json!({"split": "paragraphs"})
    );
    let given = full(json!({"tokens": 9})).unwrap();
    assert_eq!(given, json!({"split": {"tokens": 9, "overlap": 0}}));
    assert_eq!(s.effective(&given), json!({"split": {"tokens": 9}}));
    for (wrong, path, hint) in [
        (
            json!("paragraph"),
            "split",
            Some("did you mean `paragraphs`?"),
        ),
        (json!(3), "split", None),
        (json!(null), "split", None),
        (json!({"tokens": 0}), "split.tokens", None),
        (
            json!({"tokens": 1, "overlaps": 1}),
            "split.overlaps",
            Some("did you mean `overlap`?"),
        ),
    ] {
        let problems = full(wrong).unwrap_err();
        assert_eq!(path_text(&problems[0].path), path);
        assert_eq!(problems[0].hint.as_deref(), hint);
    }
}

#[test]
fn a_mapping_of_the_users_own_keys() {
    let s = Schema::new(vec![Field::new(
        "env",
        Type::Map {
            key: "a NAME",
            check: |k| k.chars().all(|c| c.is_ascii_uppercase()),
            value: Box::new(Type::Text),
        },
        json!({}),
        "variables",
    )]);
    let full = s.normalize(&json!({"env": {"A": "x", "B": "y"}})).unwrap();
    assert_eq!(full, json!({"env": {"A": "x", "B": "y"}}));
    assert_eq!(s.normalize(&json!({})).unwrap(), json!({"env": {}}));
    let problems = s
        .normalize(&json!({"env": {"a": "x", "B": 1}}))
        .unwrap_err();
    let text: Vec<String> = problems
        .iter()
        .map(|p| format!("{}: {}", path_text(&p.path), p.message))
        .collect();
    assert_eq!(
        text,
        [
            "env.a: expected a NAME, found `a`",
            "env.B: expected text, found the number 1",
        ]
    );
}

#[test]
fn what_is_quoted_is_what_was_written() {
    let s = Schema::new(vec![
        Field::new("a", Type::Text, "", "a"),
        Field::new("b", Type::Word, "", "b"),
        Field::new("c", Type::Int { min: 0, max: 9 }, 0, "c"),
    ]);
    let written = |path: &[PathSeg]| {
        let text = match path_text(path).as_str() {
            "a" => "007",
            "b" => "0755",
            _ => "99999999999999999999",
        };
        Some(AsWritten {
            text: text.to_owned(),
            quoted: format!("\"{text}\""),
        })
    };
    let value = json!({"a": 7, "b": 755, "c": 1e20});
    let told = |problems: Vec<Problem>| -> Vec<String> {
        let text = |p: Problem| format!("{} ({})", p.message, p.hint.unwrap_or_default());
        problems.into_iter().map(text).collect()
    };
    assert_eq!(
        told(s.normalize_written(&value, &written).unwrap_err()),
        [
            "expected text, found the number 007 (write it in quotes: \"007\")",
            "expected text or a whole number, found the number 0755 (write it in quotes: \
             \"0755\", or as part of a word: \"--x={{ x }}\")",
            "expected a whole number from 0 to 9, found the number 99999999999999999999 ()",
        ]
    );
    // Where the written form is not known, no quotes are added.
    assert_eq!(
        told(s.normalize(&json!({"a": true})).unwrap_err()),
        ["expected text, found `true` (write it in quotes)"]
    );
    assert_eq!(s.normalize(&json!({"b": 755})).unwrap()["b"], "755");
}

#[test]
fn zero_has_no_sign() {
    let s = Schema::new(vec![Field::new("lr", Type::float(0.0), 0.1, "")]);
    let text = |v: Value| s.normalize(&json!({"lr": v})).unwrap().to_string();
    assert_eq!(text(json!(-0.0)), r#"{"lr":0.0}"#);
    assert_eq!(text(json!(0)), r#"{"lr":0.0}"#);
}

#[test]
fn names_are_names_of_files_too() {
    for yes in ["triples", "a-1", "B_2"] {
        assert!(is_name(yes), "{yes}");
    }
    for no in ["", "..", "a/b", "1a", "a b", "ä", "a.b"] {
        assert!(!is_name(no), "{no}");
    }
}

#[test]
fn numbers_that_are_too_large_are_refused_with_the_reason() {
    let s = Schema::new(vec![
        Field::new("n", Type::int(1), 8, "rows").at_most(1000.0, "each row is a state"),
        Field::new("rate", Type::float(0.0).or_null(), 0.1, "rate").at_most(1.0, "a share"),
        Field::new("dims", Type::list(Type::int(1)), json!([1]), "widths")
            .at_most(64.0, "memory grows with the square"),
    ]);
    let said = |value: Value| -> Vec<String> {
        let problems = s.normalize(&value).unwrap_err();
        let said = problems.iter().map(|p| {
            let hint = p.hint.as_deref().unwrap_or_default();
            format!("{}: {} ({hint})", path_text(&p.path), p.message)
        });
        said.collect()
    };
    assert_eq!(
        said(json!({"n": 10_000_000_000_000i64, "rate": 2, "dims": [8, 65]})),
        [
            "n: expected a whole number from 1 to 1000, found the number 10000000000000 (each row is a state)",
            "rate: expected a number from 0 to 1, found the number 2 (a share)",
            "dims[1]: expected a whole number from 1 to 64, found the number 65 (memory grows with the square)",
        ]
    );
    // A number below the smallest allowed value is not explained by the upper bound.
    assert_eq!(
        said(json!({"n": 0})),
        ["n: expected a whole number from 1 to 1000, found the number 0 ()"]
    );
    assert!(said(json!({"n": 1e30}))[0].ends_with("(each row is a state)"));
    s.normalize(&json!({"n": 1000, "rate": null, "dims": [64]}))
        .unwrap();
    assert_eq!(s.fields[0].meaning(), "rows. Bounded: each row is a state");
    assert!(Type::list(Type::float(0.0)).unbounded() && !s.fields[2].ty.unbounded());
}

#[test]
fn parameters_without_effect_stay_out_of_the_key() {
    let s = schema();
    let full = s.normalize(&json!({"path": "a"})).unwrap();
    let kept = s.effective(&full);
    assert!(kept.get("log_interval").is_none());
    assert_eq!(kept.get("seed"), Some(&json!(1024)));
}

#[test]
fn a_parameter_that_was_added_later_is_in_the_key_only_with_another_value() {
    let before = Schema::new(vec![Field::new("size", Type::int(1), 8, "size")]);
    let group = Schema::new(vec![
        Field::new("share", Type::int(0), 1, "share"),
        Field::new("log", Type::int(0), 1, "log").no_effect(),
    ]);
    let after = Schema::new(vec![
        Field::new("size", Type::int(1), 8, "size"),
        Field::new("order", Type::int(0), 3, "order").added_later(),
        Field::group("rest", group, "rest").added_later(),
    ]);
    let key = |s: &Schema, v: Value| s.effective(&s.normalize(&v).unwrap());
    let old = key(&before, json!({}));
    for same in [
        json!({}),
        json!({"order": 3}),
        json!({"rest": {"share": 1, "log": 9}}),
    ] {
        assert_eq!(key(&after, same), old);
    }
    assert_eq!(
        key(&after, json!({"order": 4})),
        json!({"size": 8, "order": 4})
    );
    let other = key(&after, json!({"rest": {"share": 2}}));
    assert_eq!(other, json!({"size": 8, "rest": {"share": 2}}));
}
