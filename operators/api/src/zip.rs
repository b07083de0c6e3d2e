//! Ports that take several data sets: their artifacts belong together by position.

use crate::artifact::Artifact;
use crate::context::Context;
use crate::error::{OpError, OpResult};
use crate::operator::Connected;
use crate::schema::Problem;

/// Checks ports whose artifacts belong together by position. All need the same number of artifacts;
/// if these come from a `foreach`, also the same values in the same order. Ports in `optional` may
/// be empty.
pub fn zip_problem(inputs: &Connected, ports: &[&str], optional: &[&str]) -> Option<Problem> {
    let of = |port: &str| inputs.get(port).map_or(&[][..], Vec::as_slice);
    let first = of(ports.first()?);
    let used = || {
        let more = optional.iter().filter(|p| !of(p).is_empty());
        ports.iter().chain(more)
    };
    if used().any(|p| of(p).len() != first.len()) {
        let counts: Vec<String> = used()
            .map(|p| format!("`{p}` has {}", of(p).len()))
            .collect();
        return Some(
            Problem::at_root(format!(
                "data sets are matched by position, but {}",
                counts.join(", ")
            ))
            .hint("give each of these ports one artifact per data set, in the same order"),
        );
    }
    for (i, a) in first.iter().enumerate() {
        let other =
            used().find(|p| matches!((label(a), label(&of(p)[i])), (Some(x), Some(y)) if x != y));
        if let Some(port) = other {
            return Some(
                Problem::at_root(format!(
                    "data sets are matched by position, but number {} is `{a}` in `{}` and `{}` in `{port}`",
                    i + 1,
                    ports[0],
                    of(port)[i]
                ))
                .hint("name them in the same order"),
            );
        }
    }
    None
}

/// The text in the brackets of a stage that `foreach` made.
fn label(name: &str) -> Option<&str> {
    Some(name.split_once('[')?.1.split_once(']')?.0)
}

/// Names of the artifacts that a running stage was given, by port.
pub fn connected(ctx: &Context) -> Connected {
    let names = |all: &Vec<Artifact>| all.iter().map(|a| a.name.clone()).collect();
    let inputs = ctx.inputs.iter();
    inputs
        .map(|(port, all)| (port.clone(), names(all)))
        .collect()
}

/// Runs [`zip_problem`] on the inputs of a running stage. Returns the number of data sets.
pub fn zipped(ctx: &Context, ports: &[&str], optional: &[&str]) -> OpResult<usize> {
    match zip_problem(&connected(ctx), ports, optional) {
        None => Ok(ports.first().map_or(0, |p| ctx.inputs(p).len())),
        Some(problem) => Err(problem_error(problem)),
    }
}

/// A problem with what is connected, as the error of a running stage.
pub fn problem_error(problem: Problem) -> OpError {
    let error = OpError::new(problem.message);
    match problem.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
