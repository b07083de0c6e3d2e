//! Work per item: one more line costs one more line, and what is gone leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use gfm_pipe::store::{Extent, ItemCounts};
use gfm_pipe_api::items::folders;
use gfm_pipe_api::{Artifact, Cancel};
use gfm_pipe_testing::Random;

use crate::lab::{Events, Lab, told};
use crate::leftovers::{collect, keys_of_last, mentions};

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  s: {op: shout, in: {text: a}}
  n: {op: count, in: {text: s}}
";

/// Total, computed, new, changed, gone.
fn counted(lab: &Lab, yaml: &str) -> Option<[u64; 5]> {
    let run = lab.run(yaml);
    let stage = run.stages.iter().find(|s| s.name == "s").unwrap();
    let of = |c: &ItemCounts| [c.total, c.computed, c.new, c.changed, c.gone];
    stage.items.as_ref().map(of)
}

#[test]
fn one_more_line_costs_one_more_item() {
    let lab = Lab::new();
    lab.write("a.txt", "one fish\ntwo fish\nred fish\n");
    // A first run computes all of them, which is not worth a line.
    assert_eq!(counted(&lab, YAML), None);
    lab.write("a.txt", "one fish\nblue fish\ntwo fish\nred fish\n");
    assert_eq!(counted(&lab, YAML), Some([4, 1, 1, 0, 0]));
    // Another order changes the result and no item.
    lab.write("a.txt", "blue fish\nred fish\ntwo fish\none fish\n");
    assert_eq!(counted(&lab, YAML), Some([4, 0, 0, 0, 0]));
    lab.write("a.txt", "blue fish\nred fish\ntwo birds\n");
    assert_eq!(counted(&lab, YAML), Some([3, 1, 0, 1, 1]));
    // The old lines are still kept.
    lab.write("a.txt", "one fish\ntwo fish\n");
    assert_eq!(counted(&lab, YAML), Some([2, 0, 1, 1, 2]));
    // With another parameter, no item can be the same.
    let louder = YAML.replace("{text: a}", "{text: a}, with: {mark: '!!'}");
    assert_eq!(counted(&lab, &louder), Some([2, 2, 0, 0, 0]));
    // A stage of another name takes the items too.
    let more = format!("{YAML}  s2: {{op: shout, in: {{text: a}}, with: {{mark: '?'}}}}\n");
    lab.run(&more);
    let other = more.replace("'?'", "'!!'");
    let run = lab.run(&other);
    assert_eq!(run.stages[3].items, None, "the stage itself is cached");
    assert_eq!(told(&run)[3], "s2 cached");
}

/// After any sequence of changes the tables are those of a fresh run, bit by bit.
///
/// GFM_PIPE_SEQUENCES is the number of sequences.
#[test]
fn after_any_changes_the_result_is_that_of_a_fresh_run() {
    let count = std::env::var("GFM_PIPE_SEQUENCES").ok();
    let count = count.map_or(12, |n| n.parse().unwrap());
    let digests = |lab: &Lab, yaml: &str| -> Vec<String> {
        let run = lab.run(yaml);
        let ports = run.artifacts.values().flat_map(|ports| ports.values());
        ports.map(Artifact::digest).collect()
    };
    for seed in 0..count {
        let mut random = Random::new(seed);
        let lab = Lab::new();
        let mut lines: Vec<String> = Vec::new();
        let mut yaml = YAML.to_owned();
        for step in 0..5 {
            for _ in 0..1 + random.below(4) {
                let at = random.below(lines.len() + 1);
                match random.below(5) {
                    0 | 1 => lines.insert(at, format!("l{} of {seed}", random.below(20))),
                    2 if at < lines.len() => drop(lines.remove(at)),
                    3 if at < lines.len() => lines[at].push_str(" more"),
                    4 if at < lines.len() => {
                        let other = random.below(lines.len());
                        lines.swap(at, other);
                    }
                    _ => {}
                }
            }
            if random.below(4) == 0 {
                let marks = "{text: a}, with: {mark: '?'}";
                yaml = if yaml == YAML {
                    YAML.replace("{text: a}", marks)
                } else {
                    YAML.to_owned()
                };
            }
            if random.below(3) == 0 && step > 0 {
                collect(&lab.store());
            }
            let text = lines.join("\n");
            lab.write("a.txt", &text);
            let got = digests(&lab, &yaml);
            if step % 2 == 0 {
                let fresh = Lab::new();
                fresh.write("a.txt", &text);
                assert_eq!(
                    got,
                    digests(&fresh, &yaml),
                    "sequence {seed}, step {step}: {lines:?}"
                );
            }
        }
        assert_eq!(lab.store().verify(true, &|_, _| {}).unwrap().damages, []);
    }
}

#[test]
fn a_deleted_line_leaves_nothing() {
    let lab = Lab::new();
    let store = lab.store();
    lab.write("a.txt", "one fish\nWednesday has a secret\ntwo fish\n");
    lab.run(YAML);
    let root = lab.path("store");
    for text in ["Wednesday has a secret", "WEDNESDAY HAS A SECRET"] {
        assert!(!mentions(&root, text).is_empty());
    }
    assert!(!mentions(&store.items_root(), "WEDNESDAY").is_empty());
    lab.write("a.txt", "one fish\ntwo fish\n");
    assert_eq!(counted(&lab, YAML), Some([2, 0, 0, 0, 1]));
    collect(&store);
    for text in ["Wednesday", "WEDNESDAY"] {
        assert_eq!(mentions(&root, text), Vec::<String>::new());
    }
    // The others are still there.
    lab.write("a.txt", "two fish\none fish\n");
    assert_eq!(counted(&lab, YAML), Some([2, 0, 0, 0, 0]));
    // Without any run that used them, all items go.
    let garbage = store.garbage(&BTreeSet::new(), Extent::default()).unwrap();
    store.remove(&garbage).unwrap();
    assert!(folders(&store.items_root()).is_empty());
}

/// A stopped stage has its items until it ends, even if the store is cleaned in between.
#[test]
fn a_stopped_stage_keeps_its_items() {
    let lab = Lab::new();
    let text: String = (0..200).map(|i| format!("line {i}\n")).collect();
    lab.write("a.txt", &text);
    let slow = YAML.replace("{text: a}", "{text: a}, with: {step_ms: 5}");
    let cancel = Cancel::default();
    let run = std::thread::scope(|scope| {
        let run = scope
            .spawn(|| lab.run_heard(&slow, &lab.options(), Arc::new(Events::default()), &cancel));
        while folders(&lab.path("store/items"))
            .iter()
            .map(|f| f.check(false).0)
            .sum::<u64>()
            < 10
        {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        cancel.cancel();
        run.join().unwrap()
    });
    assert_eq!(told(&run)[1], "s skipped interrupted");
    let store = lab.store();
    let has = || {
        folders(&store.items_root())
            .iter()
            .map(|f| f.check(true).0)
            .sum::<u64>()
    };
    let before = has();
    assert!((10..200).contains(&before), "{before}");
    collect(&store);
    assert_eq!(has(), before);
    assert_eq!(counted(&lab, &slow), Some([200, 200 - before, 0, 0, 0]));
    // What an unfinished stage had goes with its checkpoints.
    lab.write("a.txt", "a new line");
    let store = lab.store();
    fs::create_dir_all(store.workdir("gone")).unwrap();
    let all = Extent {
        checkpoints: true,
        ..Extent::default()
    };
    let garbage = store.garbage(&keys_of_last(&store, 1), all).unwrap();
    store.remove(&garbage).unwrap();
    assert_eq!(has(), 200);
}

#[test]
fn damaged_items_are_found_and_computed_again() {
    let lab = Lab::new();
    lab.write("a.txt", "one fish\ntwo fish\n");
    lab.run(YAML);
    let store = lab.store();
    let (pack, _) = folders(&store.items_root())[0].packs().remove(0);
    let whole = fs::read(&pack).unwrap();
    let at = whole.windows(8).position(|w| w == b"TWO FISH").unwrap();
    let mut bytes = whole.clone();
    bytes[at] = b'X';
    fs::write(&pack, &bytes).unwrap();
    let found = store.verify(true, &|_, _| {}).unwrap();
    assert_eq!(found.items, 2);
    let damages: Vec<_> = found
        .damages
        .iter()
        .map(|d| (&d.path, d.why.as_str()))
        .collect();
    assert_eq!(damages, [(&pack, "1 of its 2 items are damaged")]);
    lab.write("a.txt", "two fish\none fish\n");
    assert_eq!(counted(&lab, YAML), Some([2, 1, 0, 0, 0]));
    assert_eq!(lab.lines(&lab.run(YAML), "s"), ["TWO FISH!", "ONE FISH!"]);
    // The list of items is an object like any other.
    let manifest = store
        .manifests()
        .unwrap()
        .into_iter()
        .filter_map(|m| m.1.ok());
    let lists = manifest.filter_map(|m| m.items).count();
    assert_eq!(lists, 2);
}
