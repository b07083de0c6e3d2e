//! The commands `config` and `schema`.

use std::fs;

use insta::assert_snapshot;

use crate::program::{filters, folder, stdout, told, toy};

const YAML: &str = "
include: base.yaml
env: {GFM_PIPE_TEST_SUFFIX: x}
vars: {prefix: '> '}
stages:
  n: {op: count, in: {text: both}, retries: 2, timeout: 90s, resources: {cpu: 2, memory: 1GiB}}
  both: {with: {prefix: '{{ prefix }}'}}
";
const BASE: &str = "
name: toys
vars: {dir: '.'}
stages:
  a: {op: source, with: {path: '{{ dir }}/a.txt{{ env.GFM_PIPE_TEST_SUFFIX }}'}}
  both: {op: concat, in: {text: [a, a]}, with: {prefix: '{{ none }}'}}
";

#[test]
fn config_shows_where_each_value_comes_from_and_loads_to_the_same() {
    let (_dir, path) = folder();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    fs::write(path.join("base.yaml"), BASE).unwrap();
    fs::write(path.join("v.yaml"), "dir: data\n").unwrap();
    let given = ["--vars", "v.yaml", "--set", "n.with.scale=3"];
    let config = |file: &str, format: &str, given: &[&str]| {
        let args = [&["config", file, "--format", format], given].concat();
        toy(&path, &args)
    };
    filters().bind(|| {
        assert_snapshot!("config", told(&mut config("p.yaml", "yaml", &given)));
        assert_snapshot!("config_json", told(&mut config("p.yaml", "json", &given)));
    });
    let yaml = stdout(&config("p.yaml", "yaml", &given).output().unwrap());
    fs::write(path.join("resolved.yaml"), yaml).unwrap();
    let plain =
        |file: &str, given: &[&str]| stdout(&config(file, "plain", given).output().unwrap());
    assert_eq!(plain("resolved.yaml", &[]), plain("p.yaml", &given));
}

#[test]
fn the_schema_knows_the_operators_of_the_binary() {
    let (_dir, path) = folder();
    let schema: serde_json::Value =
        serde_json::from_str(&stdout(&toy(&path, &["schema"]).output().unwrap())).unwrap();
    let ops = schema["$defs"]["stage"]["properties"]["op"]["enum"]
        .as_array()
        .unwrap();
    assert!(ops.iter().any(|o| o == "concat"), "{ops:?}");
}
