//! The reference pages in docs/, made from what operators declare. Nothing is printed here; a test
//! writes and compares the files.

use std::fmt::Write as _;

use crate::registry::audit_tables::{CHECKS, DOCUMENT_NUMBERS, NUMBERS, QUESTION_NUMBERS};
use gfm_pipe_api::{Kind, OpEntry};

use super::ops::{arity, parameters};

/// docs/configuration.md: every operator with its ports and parameters.
pub fn configuration(ops: &[OpEntry]) -> String {
    let mut out = String::from(
        "# Configuration\n\nEvery operator, its ports and its parameters (`with:`). Generated from the operators' own schemas: \
         `UPDATE_GOLDEN=1 cargo test --test docs` writes this page, CI fails when it is stale. `gfm-pipe ops NAME` prints the same.\n\n\
         A change of a parameter marked *no effect* reruns nothing. Switches read yes, no, on, off, true and false.\n",
    );
    for op in ops {
        write(
            &mut out,
            format_args!("\n## {}\n\n{}.\n", op.name, capital(&op.meaning())),
        );
        if !op.inputs.is_empty() {
            table(
                &mut out,
                ["input", "takes", "how many", "meaning"],
                op.inputs.iter().map(|p| {
                    [
                        code(p.name),
                        p.accepts.describe(),
                        arity(p.arity).to_owned(),
                        p.about.to_owned(),
                    ]
                }),
            );
        }
        table(
            &mut out,
            ["output", "kind", "meaning"],
            op.outputs.iter().map(|p| {
                [
                    code(p.name),
                    format!("[{0}](artifacts.md#{0})", p.kind.name),
                    p.about.to_owned(),
                ]
            }),
        );
        let mut rows = Vec::new();
        parameters(&op.schema, "", &mut rows);
        if !rows.is_empty() {
            table(
                &mut out,
                ["key", "default", "allowed", "meaning"],
                rows.into_iter().map(|[path, ty, default, about]| {
                    let default = match default.strip_prefix("default ") {
                        Some(value) => code(value),
                        None => default,
                    };
                    [
                        code(&path),
                        default,
                        ty,
                        about.replace("(no effect)", "*no effect*"),
                    ]
                }),
            );
        }
    }
    out
}

/// docs/artifacts.md: every kind of artifact, its tables, and which operators write and read it.
pub fn artifacts(ops: &[OpEntry]) -> String {
    let mut kinds: Vec<&Kind> = Vec::new();
    for port in ops.iter().flat_map(|o| &o.outputs) {
        if !kinds.contains(&port.kind) {
            kinds.push(port.kind);
        }
    }
    let mut out = String::from(
        "# Artifacts\n\nWhat stages give each other: named tables, each one Parquet file (a large one has several, see [store.md](store.md#large-tables)). A program run by `exec` takes and makes \
         all of them. Generated from the operators: `UPDATE_GOLDEN=1 cargo test --test docs` writes this page, CI fails when it \
         is stale.\n\n`gfm-pipe show STAGE.PORT[.TABLE]` shows a table: `--names` puts names in the place of ids, `--where COLUMN=VALUE` \
         chooses rows (of lists those with the value in them), `--columns A,B` columns, `--sort A,-B` the order; all of them work \
         with `--json` too. Characters that nobody sees, or that turn others around, are written out (`\\u202e`), except in JSON on a \
         pipe.\n",
    );
    for kind in kinds {
        write(
            &mut out,
            format_args!("\n## {}\n\n{}.\n\n", kind.name, capital(kind.about)),
        );
        // An operator that takes and makes any kind would be in every line.
        let fixed = || ops.iter().filter(|o| !o.shaped);
        let makes = fixed().flat_map(|o| {
            let ports = o.outputs.iter().filter(|p| p.kind == kind);
            ports.map(|p| format!("`{}` (`{}`)", o.name, p.name))
        });
        let takes = fixed().flat_map(|o| {
            let ports = o.inputs.iter().filter(|p| p.accepts.takes(kind));
            ports.map(|p| format!("`{}` (`{}`)", o.name, p.name))
        });
        let (makes, takes): (Vec<String>, Vec<String>) = (makes.collect(), takes.collect());
        let takes = if takes.is_empty() {
            "nobody: for people".to_owned()
        } else {
            takes.join(", ")
        };
        let by = if makes.is_empty() {
            "Made and taken by programs alone.".to_owned()
        } else {
            format!("Made by {}. Taken by {takes}.", makes.join(", "))
        };
        write(&mut out, format_args!("{by}\n"));
        for t in kind.tables {
            write(
                &mut out,
                format_args!("\nTable `{}`: {}.\n", t.name, t.about),
            );
            if t.columns.is_empty() {
                continue;
            }
            table(
                &mut out,
                ["column", "type", "meaning"],
                t.columns.iter().map(|c| {
                    let missing = if c.nullable { " or null" } else { "" };
                    [
                        code(c.name),
                        format!("`{}`{missing}", c.ty.name()),
                        c.about.to_owned(),
                    ]
                }),
            );
        }
    }
    out
}

const AUDIT: &str = "# The audit

What is wrong with a data set, before anything is trained on it. Lists are generated from the checks themselves: `UPDATE_GOLDEN=1 cargo test --test docs` \
writes this page, CI fails when it is stale.

    gfm-pipe audit DATA                     # a folder, as `init` takes it: one data set or several, or documents
    gfm-pipe audit pipeline.yaml            # what a pipeline reads
    gfm-pipe audit DATA --strict            # ends with 1 when there is an error
    gfm-pipe audit DATA --strict=leaked-question,unreachable-gold
    gfm-pipe audit DATA --all               # every finding; --json for programs

The data is read as a run reads it, and kept in the store. A data set that is there twice, as a link or as a copy, is audited once, and the copy is named. The verdict goes to standard output, progress to standard error. A set is *fit to train* without \
errors and warnings, *fit, with N warnings* without errors, and else *not fit*; that alone is no failure: the exit code is 0 unless `--strict` \
forbids what was found, or the data cannot be read. A check that `--strict` names and that cannot be made (no questions, say) has not passed. Checks that could not be made, and the files that were not there, are listed; questions that were not read because their documents are not there are forbidden by any `--strict`. An audit is no run: `runs` does not list it, and `gc` removes what only an audit made.

## In a pipeline

The operator `audit` is a stage like any other; `init` writes one. No stage waits for it, unless it is written to: with `after: audit`, a \
training starts only when the audit has passed ([pipeline.md](pipeline.md#inputs)).

```yaml
  audit:
    op: audit
    in:
      entities: kg.entities
      triples: kg.triples
      relations: kg.relations
      documents: qa.documents               # this and what follows may be left out, and what looks at it then is not checked
      links: qa.links
      questions: [qa.train, qa.valid, qa.test]
      rejects: [kg.rejects, qa.rejects]
      places: [kg.places, qa.places]        # without it, findings have no lines
    with: {layers: 6, strict: [errors]}
```

For a graph that `build-kg` made of documents, connect `nodes`, `sources`, `mentions` and `facts` as well: \
[documents.md](documents.md#what-is-wrong-with-documents).

`gfm-pipe show audit.summary`, `audit.findings`, `audit.statistics`, `audit.statistics.degrees` and `audit.statistics.relation_counts` are its tables \
([artifacts.md](artifacts.md#audit)). With `strict`, the stage fails when a check has findings, in every run; its tables are kept, and a change of \
`strict` reruns nothing. A run without `--keep-going` starts no other stage from then on.

## Checks

*Error*: data is lost, or results will say something else than they seem to. *Warning*: data is probably not what was meant. *Note*: worth \
knowing. Every rejected row of the ingests is one finding.

Normalised: Unicode NFKC, lower case, without white space, control characters and punctuation (`. , ; : ! ? ' \" ( ) [ ] { } - _ / \\ | ~` and the backtick, some of \
Latin-1, Unicode's blocks of general, supplemental and CJK punctuation); between two digits these leave a space. So `St. John's` is `stjohns`, but `1.5` is not `15`.

Nearest names: of names with the same normalised form, these alone; else those whose trigrams agree best (a Dice coefficient of at least 0.4; of these the first 32), \
ordered by edit distance (optimal string alignment, at most half of the longer name), all in normalised form.
";

/// docs/audit.md: the checks of the audit, and the numbers it reports.
pub fn audit() -> String {
    let mut out = AUDIT.to_owned();
    table(
        &mut out,
        [
            "check",
            "severity",
            "looks at",
            "inputs needed",
            "a finding is",
            "which means",
            "to do",
        ],
        CHECKS.iter().map(|c| {
            let needs: Vec<String> = c.needs.iter().map(|n| code(n)).collect();
            [
                code(c.name),
                c.severity.name().to_owned(),
                c.unit.name().to_owned(),
                needs.join(", "),
                c.definition.to_owned(),
                c.meaning.to_owned(),
                c.action.to_owned(),
            ]
        }),
    );
    out.push_str("\n## Numbers\n");
    let of_split = QUESTION_NUMBERS.iter().map(|(name, about)| {
        let about = format!("{about}; `{name}.valid` and `{name}.test` likewise");
        [format!("`{name}.train`"), about]
    });
    let plain = NUMBERS.iter().chain(DOCUMENT_NUMBERS);
    let plain = plain.map(|(name, about)| [code(name), (*about).to_owned()]);
    table(&mut out, ["name", "value"], plain.chain(of_split));
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

fn table<const N: usize>(
    out: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    write(
        out,
        format_args!("\n| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N)),
    );
    for row in rows {
        let cells = row.map(|c| c.replace('|', "\\|"));
        write(out, format_args!("| {} |\n", cells.join(" | ")));
    }
}
