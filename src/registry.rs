//! The operators this binary has. A crate of operators is one line here.

use gfm_pipe_api::OpEntry;

/// Every built-in operator, in the order `gfm-pipe ops` lists them.
pub fn builtin() -> Vec<OpEntry> {
    let mut all = gfm_pipe_kg::operators();
    all.extend(gfm_pipe_index::operators());
    all.extend(gfm_pipe_text::operators());
    #[cfg(feature = "gfm")]
    all.extend(gfm_pipe_gfm::operators());
    all.extend(gfm_pipe_eval::operators());
    all.extend(gfm_pipe_exec::operators());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_an_upper_bound() {
        for op in builtin() {
            for (path, field) in op.schema.leaves() {
                // A reason that is given without a bound says that any number will do.
                let bounded = !field.ty.unbounded() || field.limit.is_some();
                assert!(
                    bounded,
                    "{}: {path} is a number without an upper bound",
                    op.name
                );
            }
        }
    }
}

#[cfg(all(test, feature = "gfm"))]
mod model_tests {
    #![allow(clippy::unwrap_used)]
    use gfm_pipe_api::path_text;
    use serde_json::{Value, json};

    use super::*;

    fn op(name: &str) -> OpEntry {
        builtin().into_iter().find(|o| o.name == name).unwrap()
    }

    /// Place, message and hint of the only problem.
    fn refused(name: &str, with: Value) -> String {
        let problems = op(name).validate(&with).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let p = &problems[0];
        let hint = p.hint.as_deref().unwrap_or_default();
        format!("{}: {} ({hint})", path_text(&p.path), p.message)
    }

    #[test]
    fn numbers_that_would_take_all_memory_are_refused_with_the_reason() {
        assert_eq!(
            refused(
                "pretrain",
                json!({"task": {"num_negative": 10_000_000_000_000i64}})
            ),
            "task.num_negative: expected a whole number from 1 to 1000000, found the number 10000000000000 (each is scored for every triple of a batch)"
        );
        assert_eq!(
            refused("evaluate", json!({"resamples": 1_000_000_000_000i64})),
            "resamples: expected a whole number from 0 to 1000000, found the number 1000000000000 (all are held in memory, and intervals no longer change)"
        );
        let layers = json!({"model": {"entity_model": {"hidden_dims": vec![512; 1001]}}});
        assert!(refused("finetune", layers).contains("1001 layers"));
        op("finetune")
            .validate(&json!({"seed": i64::MAX, "train": {"batch_size": 65_536}}))
            .unwrap();
    }
}
