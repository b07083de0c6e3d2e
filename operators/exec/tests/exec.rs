//! Programs as stages, run by a real shell.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, LargeStringArray, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use gfm_pipe_api::local::{self, Local, artifact};
use gfm_pipe_api::{Artifact, ErrorKind, ObjectFile, OpResult, TableFile, kinds, table};
use gfm_pipe_exec::Exec;
use serde_json::{Value, json};

fn triples(dir: &Path) -> Artifact {
    let ids = |v: &[u32]| Arc::new(UInt32Array::from(v.to_vec())) as ArrayRef;
    let batch = RecordBatch::try_new(
        Arc::new(kinds::TRIPLES.tables[0].schema(0)),
        vec![ids(&[0, 1, 2]), ids(&[0, 0, 1]), ids(&[1, 2, 0])],
    )
    .unwrap();
    let from = dir.join("given");
    std::fs::create_dir_all(&from).unwrap();
    artifact(&from, &kinds::TRIPLES, "kg.triples", vec![batch]).unwrap()
}

/// Runs a shell script on three triples.
fn sh(dir: &Path, script: &str, outputs: Value, more: Value) -> OpResult<Local> {
    let mut params = json!({"command": ["sh", "-c", script], "outputs": outputs});
    for (k, v) in more.as_object().unwrap() {
        params[k] = v.clone();
    }
    let inputs = BTreeMap::from([("t".to_owned(), vec![triples(dir)])]);
    local::run::<Exec>(dir, &params, inputs)
}

fn error(dir: &Path, script: &str, kind: &str) -> String {
    let e = sh(dir, script, json!({"x": kind}), json!({}))
        .err()
        .unwrap();
    format!("{e} ({})", e.advice().unwrap_or_default())
}

#[test]
fn tables_go_through_a_program_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let want = triples(dir.path()).read("triples").unwrap();
    for format in ["parquet", "jsonl"] {
        let script = format!("cp inputs/t/triples.{format} outputs/x/");
        let local = sh(
            dir.path(),
            &script,
            json!({"x": "triples"}),
            json!({"format": format}),
        );
        let got = local.unwrap().port("x").read("triples").unwrap();
        assert_eq!(got, want, "{format}");
    }
    assert_eq!(
        std::fs::read_dir(dir.path().join("work")).unwrap().count(),
        0
    );
}

#[test]
fn a_program_gets_a_table_of_several_objects_as_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let made = triples(dir.path());
    let want = made.read("triples").unwrap();
    let objects = [(0, 2), (2, 1)].map(|(first, rows)| {
        let path = dir.path().join(format!("{first}.parquet"));
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = table::writer(file, want.schema()).unwrap();
        writer.write(&want.slice(first, rows)).unwrap();
        writer.close().unwrap();
        ObjectFile::of(&path, rows as u64).unwrap()
    });
    let given = Artifact {
        tables: vec![TableFile::of("triples", objects.to_vec())],
        ..made
    };
    for format in ["parquet", "jsonl"] {
        let script = format!("cp inputs/t/triples.{format} outputs/x/");
        let params = json!({
            "command": ["sh", "-c", script],
            "outputs": {"x": "triples"},
            "format": format,
        });
        let inputs = BTreeMap::from([("t".to_owned(), vec![given.clone()])]);
        let local = local::run::<Exec>(dir.path(), &params, inputs).unwrap();
        assert_eq!(local.port("x").read("triples").unwrap(), want, "{format}");
    }
}

/// A value for a column; null where that is allowed.
fn some(c: &gfm_pipe_api::Column) -> Value {
    use gfm_pipe_api::ColType as T;
    match c.ty {
        _ if c.nullable => Value::Null,
        T::Text => json!("who?"),
        T::ListText => json!(["a", "b"]),
        T::ListU32 => json!([0, 3]),
        T::ListI64 => json!([-1]),
        T::Bool => json!(true),
        T::U32 | T::U64 => json!(7),
        T::F32 | T::F64 => json!(0.5),
        T::Vector | T::LargeListF32 => json!([0.5, 0.25]),
    }
}

#[test]
fn lists_vectors_and_missing_values_go_through_json() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, first) in [
        (&kinds::QUESTIONS, "questions"),
        (&kinds::EMBEDDINGS, "vectors"),
    ] {
        let mut script = String::new();
        for t in kind.tables {
            let row: serde_json::Map<String, Value> = t
                .columns
                .iter()
                .rev()
                .map(|c| (c.name.to_owned(), some(c)))
                .collect();
            let row = Value::Object(row);
            script.push_str(&format!("echo '{row}' > outputs/x/{}.jsonl;", t.name));
        }
        let outputs = json!({"x": kind.name});
        let local = sh(dir.path(), &script, outputs, json!({})).unwrap();
        let batch = local.port("x").read(first).unwrap();
        assert_eq!(batch.num_rows(), 1);
        // The values that were written arrived, list by list.
        let mut text = Vec::new();
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let back: serde_json::Map<String, Value> = serde_json::from_slice(&text).unwrap();
        for c in kind.tables[0].columns.iter().filter(|c| !c.nullable) {
            assert_eq!(back[c.name], some(c), "{}", c.name);
        }
    }
}

/// Types that Python's libraries write: 64-bit integers, large strings, nullable columns.
#[test]
fn wider_types_become_the_declared_ones_where_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = |heads: Vec<Option<i64>>| {
        let n = heads.len();
        let schema = Schema::new(vec![
            Field::new("tail", DataType::Int64, true),
            Field::new("head", DataType::Int64, true),
            Field::new("relation", DataType::Int64, true),
        ]);
        let zeros = Arc::new(Int64Array::from(vec![0; n])) as ArrayRef;
        let heads = Arc::new(Int64Array::from(heads)) as ArrayRef;
        let columns = vec![Arc::clone(&zeros), heads, zeros];
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let path = dir.path().join("foreign.parquet");
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = table::writer(file, batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let script = format!("cp {} outputs/x/triples.parquet", path.display());
        sh(dir.path(), &script, json!({"x": "triples"}), json!({}))
    };
    let good = foreign(vec![Some(5), Some(6)]).unwrap();
    let batch = good.port("x").read("triples").unwrap();
    assert_eq!(
        batch.column(0).as_ref(),
        &UInt32Array::from(vec![5, 6]) as &dyn arrow::array::Array
    );
    let e = foreign(vec![Some(1), Some(-1)]).err().unwrap().to_string();
    assert!(
        e.contains("outputs/x/triples.parquet") && e.contains("column `head` is no u32"),
        "{e}"
    );
    let e = foreign(vec![Some(1), None]).err().unwrap().to_string();
    assert!(
        e.contains("row 1") && e.contains("column `head` has no value"),
        "{e}"
    );

    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::LargeUtf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![0])),
        Arc::new(LargeStringArray::from(vec!["Köln"])),
    ];
    let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let path = dir.path().join("large.parquet");
    let mut writer = table::writer(std::fs::File::create(&path).unwrap(), batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let script = format!("cp {} outputs/x/entities.parquet", path.display());
    let local = sh(dir.path(), &script, json!({"x": "entities"}), json!({})).unwrap();
    let batch = local.port("x").read("entities").unwrap();
    assert_eq!(
        batch.column(1).as_ref(),
        &StringArray::from(vec!["Köln"]) as &dyn arrow::array::Array
    );
}

#[test]
fn what_is_wrong_with_an_output_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cases = [
        (
            "true",
            "triples",
            "outputs/x: the program did not write triples.parquet or triples.jsonl",
        ),
        (
            "cp inputs/t/triples.parquet outputs/x/; : > outputs/x/triples.jsonl",
            "triples",
            "wrote both",
        ),
        (
            "echo no parquet > outputs/x/triples.parquet",
            "triples",
            "outputs/x/triples.parquet: failed to read",
        ),
        (
            r#"printf '{"head":1,"relation":0,"tail":1}\n{"head":"a","relation":0,"tail":1}\n' > outputs/x/triples.jsonl"#,
            "triples",
            "outputs/x/triples.jsonl:2: column `head`: expected u32, found \"a\"",
        ),
        (
            r#"printf '{"head":1,"relation":0}\n' > outputs/x/triples.jsonl"#,
            "triples",
            "jsonl:1: column `tail` has no value",
        ),
        (
            r#"printf '{"head":1,"relation":0,"tail":1,"more":1}\n' > outputs/x/triples.jsonl"#,
            "triples",
            ":1: there is no column `more`",
        ),
        (
            r#"printf '{"head":1.5,"relation":0,"tail":1}\n' > outputs/x/triples.jsonl"#,
            "triples",
            ":1: column `head`: expected u32, found 1.5",
        ),
        (
            "cp inputs/t/triples.parquet outputs/x/entities.parquet",
            "entities",
            "there is no column `head`",
        ),
        (
            r"printf '\377\376{\0}\0\n\0' > outputs/x/triples.jsonl",
            "triples",
            "outputs/x/triples.jsonl: the file is UTF-16 (little-endian), not UTF-8",
        ),
        (
            "echo '{\"id\": 0, \"name\": 5}' > outputs/x/entities.jsonl",
            "entities",
            "entities.jsonl:1",
        ),
    ];
    for (script, kind, want) in cases {
        let e = error(dir, script, kind);
        assert!(e.contains(want), "{script}: {e}");
    }
    let e = error(
        dir,
        "cp inputs/t/triples.parquet outputs/x/entities.parquet",
        "entities",
    );
    assert!(e.contains("has the columns id (u32), name (utf8)"), "{e}");
}

#[test]
fn a_table_of_free_columns_and_one_without_rows() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"printf '{"a":1,"b":"x"}\n{"a":2,"b":null}\n' > outputs/x/data.jsonl; : > outputs/y/triples.jsonl"#;
    let local = sh(
        dir.path(),
        script,
        json!({"x": "data", "y": "triples"}),
        json!({}),
    )
    .unwrap();
    let batch = local.port("x").read("data").unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 2));
    assert_eq!(local.port("y").rows("triples").unwrap(), 0);
}

#[test]
fn a_failure_tells_status_and_last_words_and_everything_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let e = error(
        dir.path(),
        "echo fine; echo 'bad thing' >&2; exit 3",
        "data",
    );
    assert!(
        e.contains("exit status: 3") && e.contains("bad thing"),
        "{e}"
    );
    let e = sh(dir.path(), "kill -9 $$", json!({"x": "data"}), json!({}))
        .err()
        .unwrap();
    assert_eq!(e.kind(), ErrorKind::User);
    assert!(e.to_string().contains("signal: 9"), "{e}");
    let params = json!({"command": ["no-such-program"], "outputs": {"x": "data"}});
    let e = local::run::<Exec>(dir.path(), &params, BTreeMap::new())
        .err()
        .unwrap();
    assert_eq!(e.kind(), ErrorKind::User);
    assert!(
        e.to_string().contains("failed to start `no-such-program`"),
        "{e}"
    );

    let script = "echo one; echo two >&2; printf 'x\\377y\\n'; echo '{}' > outputs/x/data.jsonl; echo > outputs/x/stray";
    let local = sh(dir.path(), script, json!({"x": "data"}), json!({})).unwrap();
    let said: Vec<&str> = local.messages.iter().map(|(_, m)| m.as_str()).collect();
    for want in [
        "one",
        "two",
        "x\u{fffd}y",
        "outputs/x/stray is no table of data: it is not kept",
    ] {
        assert!(said.contains(&want), "{want}: {said:?}");
    }
}

#[test]
fn the_program_sees_what_it_was_given_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    // A test's working directory is its crate.
    let script = "env | cut -d= -f1 | sort | tr '\\n' ' '; echo; pwd; ls; ls src; \
         (echo spoilt > inputs/t/triples.parquet) 2>/dev/null && echo written || echo refused; \
         echo '{}' > outputs/x/data.jsonl";
    let more = json!({"env": {"ALPHA": 1, "B": "two words"}, "files": ["src/lib.rs", "./src/lib.rs"], "pass_env": ["CARGO_MANIFEST_DIR", "NO_SUCH_VARIABLE"]});
    let local = sh(dir.path(), script, json!({"x": "data"}), more).unwrap();
    let said: Vec<&str> = local.messages.iter().map(|(_, m)| m.as_str()).collect();
    // The shell adds PWD and the like itself.
    let variables: Vec<&str> = said[0]
        .split(' ')
        .filter(|v| !matches!(*v, "" | "_" | "OLDPWD" | "PWD" | "SHLVL"))
        .collect();
    assert_eq!(
        variables,
        [
            "ALPHA",
            "B",
            "CARGO_MANIFEST_DIR",
            "HOME",
            "LANG",
            "PATH",
            "TMPDIR"
        ]
    );
    assert!(said[1].contains("work/exec-"), "{}", said[1]);
    assert_eq!(
        said[2..8],
        ["home", "inputs", "outputs", "src", "tmp", "lib.rs"]
    );
    // Root may write to read-only files, too.
    assert!(["refused", "written"].contains(&said[8]));
    // It was a copy: the artifact itself is whole.
    assert_eq!(triples(dir.path()).rows("triples").unwrap(), 3);
}

/// When a program ends, nothing that it started keeps running, and open streams do not hold up the
/// stage.
#[test]
fn what_a_program_started_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("alive");
    let script = format!(
        "(sleep 3; echo > {}) & echo '{{}}' > outputs/x/data.jsonl",
        mark.display()
    );
    let start = Instant::now();
    sh(dir.path(), &script, json!({"x": "data"}), json!({})).unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    std::thread::sleep(Duration::from_millis(3500).saturating_sub(start.elapsed()));
    assert!(!mark.exists());
}

/// Even a process that left the program's group and keeps its streams open does not hold up the
/// stage for ever.
#[test]
fn a_helper_that_talks_on_is_left_behind() {
    if std::process::Command::new("setsid")
        .arg("true")
        .status()
        .is_err()
    {
        gfm_pipe_testing::skip("setsid", "there is no setsid (util-linux)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "setsid sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo still; sleep 1; done' & echo '{}' > outputs/x/data.jsonl";
    let start = Instant::now();
    sh(dir.path(), script, json!({"x": "data"}), json!({})).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
}

/// Values that would be cut, rounded or made up are refused, in lists too.
#[test]
fn no_value_is_lost_on_the_way() {
    use arrow::array::{BooleanArray, Float64Array, ListArray};
    use arrow::datatypes::Float64Type;
    let dir = tempfile::tempdir().unwrap();
    let go = |kind: &str, file: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let path = dir.path().join("one.parquet");
        let mut writer =
            table::writer(std::fs::File::create(&path).unwrap(), batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let script = format!("cp {} outputs/x/{file}.parquet", path.display());
        sh(dir.path(), &script, json!({"x": kind}), json!({})).map(drop)
    };
    let ids = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    for odd in [
        Arc::new(Float64Array::from(vec![1.5])) as ArrayRef,
        Arc::new(BooleanArray::from(vec![true])),
        Arc::new(StringArray::from(vec!["1"])),
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(
            [Some(1.5)],
        )])),
    ] {
        let e = go(
            "triples",
            "triples",
            vec![("head", odd), ("relation", ids()), ("tail", ids())],
        );
        assert_eq!(e.unwrap_err().kind(), ErrorKind::Data);
    }
    let vectors = |x: f64| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(
            [Some(x), Some(0.5)],
        )]))
    };
    let spec = &kinds::EMBEDDINGS.tables[0];
    let name = spec
        .columns
        .iter()
        .find(|c| c.ty == gfm_pipe_api::ColType::Vector)
        .unwrap()
        .name;
    let e = go("embeddings", spec.name, vec![(name, vectors(1e300))]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Data);
    assert!(e.to_string().contains("too large"), "{e}");
    // The one that fits gets as far as the error for the missing table.
    let e = go("embeddings", spec.name, vec![(name, vectors(0.25))])
        .unwrap_err()
        .to_string();
    assert!(e.contains("did not write"), "{e}");
}
