//! Which stage an artifact is of, which data set it belongs to, and what its systems are called.

use std::collections::BTreeMap;

use gfm_pipe_api::schema::is_name;

/// New names of systems: by stage, then by the name in the stage's ranks.
pub type Names = BTreeMap<String, BTreeMap<String, String>>;

/// The stage of an artifact: `evaluate[hotpot,0]` is `evaluate` with two values of `matrix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage<'a> {
    /// The whole name.
    pub name: &'a str,
    /// The name as it is written in the pipeline.
    pub base: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Stage<'a> {
    /// Reads a stage's name.
    pub fn called(name: &'a str) -> Self {
        let (base, values) = match name.split_once('[') {
            Some((base, rest)) => (base, rest.trim_end_matches(']').split(',')),
            None => (name, "".split(',')),
        };
        Stage {
            name,
            base,
            values: values.map(str::trim).filter(|v| !v.is_empty()).collect(),
        }
    }

    /// The stage of an artifact, which is called `STAGE.PORT`.
    pub fn of(artifact: &'a str) -> Self {
        Stage::called(artifact.rsplit_once('.').map_or(artifact, |n| n.0))
    }

    /// Whether a pattern means this stage: `evaluate` means all stages of that name, `*` in
    /// brackets any value, and `[*]` any number of values.
    pub fn fits(&self, pattern: &str) -> bool {
        let wanted = Stage::called(pattern);
        let fits = |(wanted, value): (&&str, &&str)| *wanted == "*" || wanted == value;
        wanted.base == self.base
            && match wanted.values.as_slice() {
                [] => true,
                ["*"] => !self.values.is_empty(),
                values => {
                    values.len() == self.values.len() && values.iter().zip(&self.values).all(fits)
                }
            }
    }

    /// Whether it belongs to a data set: the set's name is one of its values, or its own name.
    fn belongs_to(&self, set: &str) -> bool {
        self.base == set || self.values.contains(&set)
    }
}

/// Whether a text is a pattern that [`Stage::fits`] reads.
pub fn is_pattern(text: &str) -> bool {
    match text.split_once('[') {
        None => is_name(text),
        Some((base, rest)) => {
            let values = rest.strip_suffix(']');
            is_name(base)
                && values.is_some_and(|v| {
                    !v.contains(['[', ']']) && v.split(',').all(|v| !v.trim().is_empty())
                })
        }
    }
}

/// The data set of a stage, by its place in `sets`; 0 where there is only one.
///
/// # Errors
/// When it belongs to none of them, or to several.
pub fn set_of(stage: &Stage<'_>, sets: &[String]) -> Result<usize, String> {
    if sets.is_empty() {
        return Ok(0);
    }
    let mut of = (0..sets.len()).filter(|s| stage.belongs_to(&sets[*s]));
    match (of.next(), of.next()) {
        (Some(set), None) => Ok(set),
        (None, _) => Err(format!("`{}` belongs to none of `sets`", stage.name)),
        (Some(a), Some(b)) => Err(format!(
            "`{}` belongs to two of `sets`: {} and {}",
            stage.name, sets[a], sets[b]
        )),
    }
}

/// What a system of a stage is called in the tables, and whether `names` says so.
///
/// # Errors
/// When two patterns name it.
pub fn shown<'a>(
    names: &'a Names,
    stage: &Stage<'_>,
    system: &'a str,
) -> Result<(&'a str, bool), String> {
    let mut of = names.iter().filter_map(|(pattern, systems)| {
        let name = systems.get(system)?;
        stage.fits(pattern).then_some((pattern, name))
    });
    match (of.next(), of.next()) {
        (None, _) => Ok((system, false)),
        (Some((_, name)), None) => Ok((name, true)),
        (Some((a, _)), Some((b, _))) => Err(format!(
            "`names` has two names for `{system}` of `{}`: under `{a}` and under `{b}`",
            stage.name
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stages_are_read_and_matched() {
        let stage = Stage::of("evaluate[hotpot,0.5].ranks");
        assert_eq!(
            (stage.name, stage.base),
            ("evaluate[hotpot,0.5]", "evaluate")
        );
        assert_eq!(stage.values, ["hotpot", "0.5"]);
        for (pattern, fits) in [
            ("evaluate", true),
            ("evaluate[*]", true),
            ("evaluate[hotpot,*]", true),
            ("evaluate[*, 0.5]", true),
            ("evaluate[hotpot]", false),
            ("evaluate[*,1]", false),
            ("evaluate[*,*,*]", false),
            ("eval", false),
        ] {
            assert_eq!(stage.fits(pattern), fits, "{pattern}");
        }
        let plain = Stage::of("evaluate.ranks");
        assert!(plain.fits("evaluate") && !plain.fits("evaluate[*]"));
    }

    #[test]
    fn patterns_have_a_form() {
        for text in ["a", "a[b]", "a[b,*]", "a[*]"] {
            assert!(is_pattern(text), "{text}");
        }
        for text in ["", "a[", "a[]", "a[b", "a[b]c", "a[b][c]", "a.ranks", "[a]"] {
            assert!(!is_pattern(text), "{text}");
        }
    }

    #[test]
    fn a_stage_belongs_to_one_set() {
        let sets = ["a".to_owned(), "b".to_owned()];
        let of = |name: &str| set_of(&Stage::called(name), &sets);
        assert_eq!((of("x[b,1]"), of("a"), of("a[2]")), (Ok(1), Ok(0), Ok(0)));
        assert!(of("x[1]").unwrap_err().contains("none"));
        assert!(of("x[b,a]").unwrap_err().contains("two of `sets`: a and b"));
        assert_eq!(set_of(&Stage::called("x"), &[]), Ok(0));
    }

    #[test]
    fn systems_get_the_names_that_are_given() {
        let of = |pattern: &str, name: &str| {
            let systems = [("model".to_owned(), name.to_owned())].into();
            (pattern.to_owned(), systems)
        };
        let names: Names = [of("e[a,*]", "wide"), of("e[b,*]", "narrow"), of("r", "R")].into();
        let shown = |stage: &'static str, system| shown(&names, &Stage::called(stage), system);
        assert_eq!(shown("e[a,1]", "model"), Ok(("wide", true)));
        assert_eq!(shown("r[1]", "model"), Ok(("R", true)));
        assert_eq!(shown("e[c,1]", "model"), Ok(("model", false)));
        assert_eq!(shown("r", "bm25"), Ok(("bm25", false)));
        let twice: Names = [of("e", "x"), of("e[*]", "y")].into();
        let stage = Stage::called("e[1]");
        assert!(super::shown(&twice, &stage, "model").is_err());
    }
}
