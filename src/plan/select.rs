//! Order of stages, and which of them `--only`, `--from` and `--until` ask for.
//!
//! Pure functions on a [`Pipeline`]: no store, no files. They determine which stages are wanted,
//! and which others their inputs come from. Whether a stage is cached is decided later.

use std::collections::HashMap;

use gfm_pipe_api::schema::nearest;
use thiserror::Error;

use crate::spec::{Pipeline, StageName};

/// Which stages are selected; empty lists select everything.
///
/// Several conditions together select the stages that meet all of them:
/// `--from embed --until pretrain` selects the stages on the way from one to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Exactly these stages.
    pub only: Vec<String>,
    /// These stages and whatever depends on them.
    pub from: Vec<String>,
    /// These stages and whatever they depend on.
    pub until: Vec<String>,
}

/// What a selection means for one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It runs, or is taken from the cache when its key is there.
    Run,
    /// A wanted stage depends on it, directly or not: it must be in the cache already.
    FromCache,
    /// It is not needed.
    Skip,
}

/// Why a selection cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectError {
    /// A stage that the pipeline does not have.
    #[error("{flag} {name}: the pipeline has no stage `{name}`{}", hint(.near, .known))]
    UnknownStage {
        /// The flag it was given to.
        flag: &'static str,
        /// The name given.
        name: String,
        /// The stage that may have been meant.
        near: Option<String>,
        /// All stages.
        known: Vec<String>,
    },
    /// No stage meets all conditions together.
    #[error("no stage meets --only, --from and --until together: nothing to run")]
    Nothing,
}

fn hint(near: &Option<String>, known: &[String]) -> String {
    match near {
        Some(n) => format!("; did you mean `{n}`?"),
        None => format!("; stages: {}", known.join(", ")),
    }
}

/// The indices of the stages, ordered so that each stage comes after those it depends on or names
/// in `after`, and otherwise in the order written.
pub fn order(pipeline: &Pipeline) -> Vec<usize> {
    let upstream = upstream(pipeline, true);
    let mut missing: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let downstream = reverse(&upstream);
    let mut ready: std::collections::BTreeSet<usize> =
        (0..missing.len()).filter(|i| missing[*i] == 0).collect();
    let mut out = Vec::with_capacity(missing.len());
    while let Some(i) = ready.pop_first() {
        out.push(i);
        for &d in &downstream[i] {
            missing[d] -= 1;
            if missing[d] == 0 {
                ready.insert(d);
            }
        }
    }
    out
}

/// The role that the selection gives each stage, in the order of the pipeline.
///
/// # Errors
/// When a stage is named that the pipeline does not have, or the conditions exclude each
/// other.
pub fn needed(pipeline: &Pipeline, selection: &Selection) -> Result<Vec<Role>, SelectError> {
    let only = indices(pipeline, "--only", &selection.only)?;
    let from = indices(pipeline, "--from", &selection.from)?;
    let until = indices(pipeline, "--until", &selection.until)?;
    let (upstream, guarded) = (upstream(pipeline, false), upstream(pipeline, true));
    let n = upstream.len();

    let mut wanted = vec![true; n];
    let mut keep = |given: &[usize], also: Option<&[Vec<usize>]>| {
        if given.is_empty() {
            return;
        }
        let reached = reach(n, given, also);
        for (w, r) in wanted.iter_mut().zip(reached) {
            *w &= r;
        }
    };
    keep(&only, None);
    keep(&from, Some(&reverse(&upstream)));
    // The stages in a stage's `after` guard it: they are wanted together with it.
    keep(&until, Some(&guarded));

    let targets: Vec<usize> = (0..n).filter(|i| wanted[*i]).collect();
    if targets.is_empty() && n > 0 {
        return Err(SelectError::Nothing);
    }
    let reached = reach(n, &targets, Some(&upstream));
    Ok(wanted
        .iter()
        .zip(reached)
        .map(|(wanted, reached)| match (wanted, reached) {
            (true, _) => Role::Run,
            (false, true) => Role::FromCache,
            (false, false) => Role::Skip,
        })
        .collect())
}

fn indices(
    pipeline: &Pipeline,
    flag: &'static str,
    names: &[String],
) -> Result<Vec<usize>, SelectError> {
    let known = || pipeline.stages.iter().map(|s| s.name.as_str());
    let mut out = Vec::new();
    for name in names {
        let meant = named(pipeline, name);
        if meant.is_empty() {
            return Err(SelectError::UnknownStage {
                flag,
                name: name.clone(),
                near: nearest(name, known()).map(str::to_owned),
                known: known().map(str::to_owned).collect(),
            });
        }
        out.extend(meant);
    }
    Ok(out)
}

/// The stages that a name means: the one of that name, those that match a pattern (`kg[*]`), or all
/// that `foreach` made from the stage of that name.
pub fn named(pipeline: &Pipeline, name: &str) -> Vec<usize> {
    if let Some(i) = pipeline.stages.iter().position(|s| s.name == name) {
        return vec![i];
    }
    let Some(wanted) = StageName::parse(name) else {
        return Vec::new();
    };
    let fits = |stage: &str| {
        StageName::parse(stage).is_some_and(|s| {
            let labels = s.labels.unwrap_or_default();
            s.base == wanted.base && (wanted.labels.is_none() || wanted.takes(&labels))
        })
    };
    let stages = pipeline.stages.iter().enumerate();
    stages
        .filter(|(_, s)| fits(&s.name))
        .map(|(i, _)| i)
        .collect()
}

/// For each stage, the stages it depends on, each once; with `after`, also those that it names in
/// its `after`.
fn upstream(pipeline: &Pipeline, after: bool) -> Vec<Vec<usize>> {
    let index: HashMap<&str, usize> = pipeline
        .stages
        .iter()
        .enumerate()
        .map(|(i, s)| (s.name.as_str(), i))
        .collect();
    pipeline
        .stages
        .iter()
        .map(|s| {
            let inputs = s.inputs.values().flatten().map(|r| r.stage.as_str());
            let before = s.after.iter().map(String::as_str).filter(|_| after);
            let mut up: Vec<usize> = inputs
                .chain(before)
                .filter_map(|name| index.get(name).copied())
                .collect();
            up.sort_unstable();
            up.dedup();
            up
        })
        .collect()
}

fn reverse(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut out = vec![Vec::new(); edges.len()];
    for (i, ends) in edges.iter().enumerate() {
        for &e in ends {
            out[e].push(i);
        }
    }
    out
}

/// The given stages and, with `edges`, everything reached along them.
fn reach(n: usize, given: &[usize], edges: Option<&[Vec<usize>]>) -> Vec<bool> {
    let mut seen = vec![false; n];
    let mut todo = given.to_vec();
    while let Some(i) = todo.pop() {
        if std::mem::replace(&mut seen[i], true) {
            continue;
        }
        if let Some(edges) = edges {
            todo.extend(&edges[i]);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::testing::pipeline;

    /// a -> b -> d, a -> c -> d, e alone; d is written first, so that the order of the file is not
    /// the right one.
    const DIAMOND: &str = "
stages:
  d: {op: join, in: {texts: [b, c]}}
  b: {op: upper, in: {texts: a.words}}
  a: {op: words, with: {path: x}}
  e: {op: words, with: {path: y}}
  c: {op: upper, in: {texts: a.words}}
";

    fn names(p: &Pipeline, role: Role, s: &Selection) -> Vec<String> {
        let roles = needed(p, s).unwrap();
        let of = p.stages.iter().zip(roles).filter(|(_, r)| *r == role);
        of.map(|(s, _)| s.name.clone()).collect()
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn order_is_topological_and_else_as_written() {
        let p = pipeline(DIAMOND);
        let names: Vec<&str> = order(&p).iter().map(|i| &*p.stages[*i].name).collect();
        assert_eq!(names, ["a", "b", "e", "c", "d"]);
    }

    #[test]
    fn nothing_asked_means_everything() {
        let p = pipeline(DIAMOND);
        let all = names(&p, Role::Run, &Selection::default());
        assert_eq!(all, list(&["d", "b", "a", "e", "c"]));
    }

    #[test]
    fn only_takes_upstream_from_the_cache() {
        let p = pipeline(DIAMOND);
        let s = Selection {
            only: list(&["d", "e"]),
            ..Selection::default()
        };
        assert_eq!(names(&p, Role::Run, &s), list(&["d", "e"]));
        assert_eq!(names(&p, Role::FromCache, &s), list(&["b", "a", "c"]));
    }

    #[test]
    fn a_stage_with_foreach_is_named_as_a_whole_or_in_part() {
        let p = pipeline(
            r#"
stages:
  kg: {op: words, foreach: {ds: [a, b]}, with: {path: "{{ ds }}"}}
  up: {op: upper, foreach: {ds: [a, b]}, in: {texts: kg.words}}
"#,
        );
        let only = |name: &str| {
            let s = Selection {
                only: list(&[name]),
                ..Selection::default()
            };
            names(&p, Role::Run, &s)
        };
        assert_eq!(only("kg"), list(&["kg[a]", "kg[b]"]));
        assert_eq!(only("up[*]"), list(&["up[a]", "up[b]"]));
        assert_eq!(only("up[b]"), list(&["up[b]"]));
        for none in ["k", "up[c]", "up[", "up[a,b]"] {
            assert!(named(&p, none).is_empty(), "{none}");
        }
    }

    #[test]
    fn until_wants_upstream_and_from_wants_downstream() {
        let p = pipeline(DIAMOND);
        let until = Selection {
            until: list(&["b"]),
            ..Selection::default()
        };
        assert_eq!(names(&p, Role::Run, &until), list(&["b", "a"]));
        assert_eq!(names(&p, Role::Skip, &until), list(&["d", "e", "c"]));
        let from = Selection {
            from: list(&["b"]),
            ..Selection::default()
        };
        assert_eq!(names(&p, Role::Run, &from), list(&["d", "b"]));
        assert_eq!(names(&p, Role::FromCache, &from), list(&["a", "c"]));
        assert_eq!(names(&p, Role::Skip, &from), list(&["e"]));
    }

    #[test]
    fn what_a_stage_comes_after_is_before_it_and_wanted_with_until_alone() {
        let p = pipeline(
            "
stages:
  b: {op: upper, after: [guard], in: {texts: a.words}}
  c: {op: upper, in: {texts: b}}
  a: {op: words, with: {path: x}}
  guard: {op: words, with: {path: y}}
",
        );
        let ordered: Vec<&str> = order(&p).iter().map(|i| &*p.stages[*i].name).collect();
        assert_eq!(ordered, ["a", "guard", "b", "c"]);
        let until = Selection {
            until: list(&["c"]),
            ..Selection::default()
        };
        assert_eq!(names(&p, Role::Run, &until).len(), 4);
        let only = Selection {
            only: list(&["c"]),
            ..Selection::default()
        };
        assert_eq!(names(&p, Role::FromCache, &only), list(&["b", "a"]));
        // The stages after it read none of its outputs: they are not downstream of it.
        let from = Selection {
            from: list(&["guard"]),
            ..Selection::default()
        };
        assert_eq!(names(&p, Role::Run, &from), list(&["guard"]));
    }

    #[test]
    fn conditions_are_met_together() {
        let p = pipeline(DIAMOND);
        let between = Selection {
            from: list(&["a"]),
            until: list(&["c"]),
            ..Selection::default()
        };
        assert_eq!(names(&p, Role::Run, &between), list(&["a", "c"]));
        let apart = Selection {
            from: list(&["e"]),
            until: list(&["c"]),
            ..Selection::default()
        };
        assert_eq!(needed(&p, &apart), Err(SelectError::Nothing));
    }

    #[test]
    fn an_unknown_stage_is_named_with_the_near_one() {
        let p = pipeline(
            "stages: {pretrain: {op: words, with: {path: x}}, eval: {op: words, with: {path: y}}}",
        );
        let ask = |name: &str| {
            let s = Selection {
                until: list(&[name]),
                ..Selection::default()
            };
            needed(&p, &s).unwrap_err().to_string()
        };
        assert_eq!(
            ask("pretran"),
            "--until pretran: the pipeline has no stage `pretran`; did you mean `pretrain`?"
        );
        assert_eq!(
            ask("zzz"),
            "--until zzz: the pipeline has no stage `zzz`; stages: pretrain, eval"
        );
    }
}
