//! The real binary: output that does not depend on its operators.

use insta::assert_snapshot;

use crate::program::{filters, folder, real, told};

#[test]
fn help_names_verbs_and_exit_codes() {
    let (_dir, path) = folder();
    filters().bind(|| {
        let help = told(&mut real(&path, &["--help"]));
        // These are there where they are compiled in.
        let features = [
            ("  serve ", cfg!(feature = "serve")),
            ("  demo ", cfg!(feature = "demo")),
        ];
        for (start, there) in features {
            let lines = help.lines().filter(|line| line.starts_with(start));
            assert_eq!(lines.count(), usize::from(there), "{start}");
        }
        let is_feature = |line: &&str| features.iter().any(|(start, _)| line.starts_with(start));
        let others: Vec<&str> = help.lines().filter(|line| !is_feature(line)).collect();
        assert_snapshot!("help", others.join("\n"));
        assert_snapshot!("run_help", told(&mut real(&path, &["run", "--help"])));
    });
}

#[test]
fn exit_codes_are_documented_as_help_says() {
    let page = include_str!("../../docs/exit-codes.md");
    let (_dir, path) = folder();
    let help = told(&mut real(&path, &["--help"]));
    let codes = help.split_once("Exit codes:\n").unwrap().1;
    let lines: Vec<&str> = codes.lines().take_while(|l| l.starts_with("  ")).collect();
    assert_eq!(lines.len(), 4);
    for line in lines {
        let (code, meaning) = line.trim().split_once(' ').unwrap();
        let row = format!("| {code} | {} |", meaning.trim());
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn a_wrong_command_line_is_exit_2() {
    let (_dir, path) = folder();
    filters().bind(|| {
        assert_snapshot!("run_without_file", told(&mut real(&path, &["run"])));
        assert_snapshot!(
            "unknown_flag",
            told(&mut real(&path, &["run", "x.yaml", "--job", "3"]))
        );
        assert_snapshot!(
            "bad_param",
            told(&mut real(&path, &["run", "x.yaml", "-p", "lr"]))
        );
        assert_snapshot!(
            "no_cuda",
            told(&mut real(&path, &["run", "x.yaml", "--device", "cuda"]))
        );
        assert_snapshot!(
            "no_folder",
            told(&mut real(&path, &["plan", "x.yaml", "-C", "nowhere"]))
        );
        assert_snapshot!("unknown_operator", told(&mut real(&path, &["ops", "zzzz"])));
    });
}

#[test]
fn a_missing_or_wrong_pipeline_is_exit_2_and_leaves_no_store() {
    let (_dir, path) = folder();
    std::fs::write(path.join("bad.yaml"), "stages:\n  a: {op: zzzz}\n").unwrap();
    filters().bind(|| {
        assert_snapshot!(
            "missing_pipeline",
            told(&mut real(&path, &["run", "missing.yaml"]))
        );
        assert_snapshot!(
            "unknown_op_in_pipeline",
            told(&mut real(&path, &["plan", "bad.yaml"]))
        );
        assert_snapshot!("no_run_yet", told(&mut real(&path, &["show", "a.b"])));
    });
    assert!(!path.join(".gfm-pipe").exists());
}

#[test]
fn ops_lists_operators() {
    let (_dir, path) = folder();
    let text = told(&mut real(&path, &["ops"]));
    assert!(text.starts_with("NAME"), "{text}");
    assert!(text.ends_with("--- exit 0\n"), "{text}");
}

/// Runs a command with the environment that an MPI launcher sets.
#[cfg(not(feature = "mpi"))]
fn as_rank(path: &std::path::Path, rank: usize, args: &[&str]) -> String {
    let mut command = real(path, args);
    command
        .env("OMPI_COMM_WORLD_RANK", rank.to_string())
        .env("OMPI_COMM_WORLD_SIZE", "4");
    told(&mut command)
}

#[cfg(not(feature = "mpi"))]
#[test]
fn a_build_without_mpi_says_so_once_when_it_is_started_several_times() {
    let (_dir, path) = folder();
    filters().bind(|| {
        assert_snapshot!("no_mpi", as_rank(&path, 0, &["run", "x.yaml"]));
        assert_snapshot!("no_mpi_helper", as_rank(&path, 1, &["run", "x.yaml"]));
        // For commands other than runs, every process may answer.
        assert_snapshot!("helper_lists", as_rank(&path, 1, &["ops"]));
    });
}

#[cfg(not(feature = "mpi"))]
#[test]
fn ranks_are_counted_by_who_started_them() {
    let (_dir, path) = folder();
    std::fs::write(path.join("x.yaml"), "stages: {}\n").unwrap();
    filters().bind(|| {
        assert_snapshot!(
            "other_ranks",
            as_rank(&path, 0, &["plan", "x.yaml", "--ranks", "3"])
        );
    });
}
