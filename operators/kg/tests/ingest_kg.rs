//! `ingest-kg` against an obvious version, and on input that is wrong in every way.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{HashMap, HashSet};

use common::{counts, ids, ingest_bytes, places, rejects, texts, triples};
use gfm_pipe_api::{ErrorKind, Level, OpError, columns, encoding};
use proptest::prelude::*;

/// Whole text, lists, linear search: what the operator must give.
#[derive(Debug, Default, PartialEq)]
struct Slow {
    entities: Vec<String>,
    relations: Vec<String>,
    triples: Vec<[u32; 3]>,
    /// The line of each triple.
    at: Vec<u64>,
    rejected: Vec<u64>,
    blank: u64,
    lines: u64,
}

fn slow(bytes: &[u8]) -> Slow {
    let mut out = Slow::default();
    let mut text = Vec::new();
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'\n' if i > 0 && bytes[i - 1] == b'\r' => {}
            b'\r' | b'\n' => text.push(b'\n'),
            other => text.push(*other),
        }
    }
    let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
    if lines.last().is_some_and(|l| l.is_empty()) {
        lines.pop();
    }
    let id = |list: &mut Vec<String>, name: &str| {
        let at = list.iter().position(|n| n == name).unwrap_or_else(|| {
            list.push(name.to_owned());
            list.len() - 1
        });
        at as u32
    };
    for line in lines {
        out.lines += 1;
        let Ok(line) = String::from_utf8(line.to_vec()) else {
            out.rejected.push(out.lines);
            continue;
        };
        let mut line: Vec<char> = line.chars().collect();
        let space = |c: &char| c.is_whitespace() || "\x1c\x1d\x1e\x1f".contains(*c);
        while line.first().is_some_and(space) {
            line.remove(0);
        }
        while line.last().is_some_and(space) {
            line.pop();
        }
        let line: String = line.into_iter().collect();
        let fields: Vec<&str> = line.split(',').collect();
        match fields.as_slice() {
            [""] => out.blank += 1,
            [h, r, t] => {
                let h = id(&mut out.entities, h);
                let t = id(&mut out.entities, t);
                out.at.push(out.lines);
                out.triples.push([h, id(&mut out.relations, r), t]);
            }
            _ => out.rejected.push(out.lines),
        }
    }
    out
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b",".to_vec()),
        3 => Just(b"\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b" ".to_vec()),
        1 => Just(b"\x1c".to_vec()),
        1 => Just("\u{85}".as_bytes().to_vec()),
        1 => Just("\u{feff}".as_bytes().to_vec()),
        1 => Just("é\u{2028}".as_bytes().to_vec()),
        4 => prop::sample::select(vec!["a", "b", "ab"]).prop_map(|s| s.as_bytes().to_vec()),
        2 => Just(b"a,r,b\n".to_vec()),
        1 => any::<u8>().prop_map(|b| vec![b]),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|v| v.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn agrees_with_the_obvious_version(bytes in bytes()) {
        prop_assume!(encoding::foreign(&bytes).is_none());
        let want = slow(&bytes);
        let got = ingest_bytes(&bytes);
        if want.triples.is_empty() {
            let no_triple = matches!(&got, Err(OpError::Failed(f)) if f.message.starts_with("no triple"));
            prop_assert!(no_triple);
            return Ok(());
        }
        let (_dir, got) = got.unwrap();
        prop_assert_eq!(triples(&got), want.triples.clone());
        prop_assert_eq!(texts(got.port("entities"), "entities", "name"), want.entities.clone());
        let at: Vec<String> = want.at.iter().enumerate()
            .map(|(row, line)| format!("triples[{row}] kg.txt:{line}")).collect();
        prop_assert_eq!(places(&got), at);
        let names = texts(got.port("relations"), "relations", "name");
        let inverses: Vec<String> = want.relations.iter().map(|n| format!("inverse_{n}")).collect();
        prop_assert_eq!(&names, &[want.relations.clone(), inverses].concat());
        let batch = got.port("relations").read("relations").unwrap();
        let used = columns::u64s(&batch, "triples").unwrap();
        for (row, used) in used.values().iter().enumerate() {
            let relation = (row % want.relations.len()) as u32;
            prop_assert_eq!(*used, want.triples.iter().filter(|t| t[1] == relation).count() as u64);
        }
        let lines: Vec<u64> = rejects(&got).iter()
            .map(|r| r.split('|').next().unwrap().parse().unwrap()).collect();
        prop_assert_eq!(lines, want.rejected.clone());
        let counts = counts(&got);
        let distinct: HashSet<_> = want.triples.iter().collect();
        let expected = HashMap::from([
            ("lines", want.lines),
            ("triples", want.triples.len() as u64),
            ("blank_lines", want.blank),
            ("rejected", want.rejected.len() as u64),
            ("duplicates", (want.triples.len() - distinct.len()) as u64),
            ("self_loops", want.triples.iter().filter(|t| t[0] == t[2]).count() as u64),
            ("entities", want.entities.len() as u64),
            ("relations", want.relations.len() as u64),
        ]);
        prop_assert_eq!(counts.len(), expected.len());
        for (name, value) in expected {
            prop_assert_eq!(counts[name], value, "{}", name);
        }
    }
}

const DIRTY: &[u8] = b"\xef\xbb\xbfa,likes,b\r\n\
    a,likes,b\r\
    \n\
    \xc2\x85 \x1d\n\
    one,two\n\
    ,,,\n\
    \xff\xfe,broken,x\n\
    a , likes ,b\n\
    a,likes,a\n\
    a,likes,b\n\
    ,,\n\
    nul\0inside,likes,b";

#[test]
fn dirt_is_counted_rejected_and_kept() {
    let (_dir, local) = ingest_bytes(DIRTY).unwrap();
    assert_eq!(
        texts(local.port("entities"), "entities", "name"),
        ["\u{feff}a", "b", "a", "a ", "", "nul\0inside"]
    );
    assert_eq!(
        texts(local.port("relations"), "relations", "name"),
        [
            "likes",
            " likes ",
            "",
            "inverse_likes",
            "inverse_ likes ",
            "inverse_"
        ]
    );
    assert_eq!(
        triples(&local),
        [
            [0, 0, 1],
            [2, 0, 1],
            [3, 1, 1],
            [2, 0, 2],
            [2, 0, 1],
            [4, 2, 4],
            [5, 0, 1]
        ]
    );
    assert_eq!(
        rejects(&local),
        [
            "4|-|expected 3 fields separated by commas, found 2|one,two",
            "5|-|expected 3 fields separated by commas, found 4|,,,",
            "6|-|not UTF-8 from byte 1 on|\u{fffd}\u{fffd},broken,x",
        ]
    );
    assert!(
        texts(local.port("rejects"), "rejects", "source")
            .iter()
            .all(|s| s == "kg.txt")
    );
    let counts = counts(&local);
    let got: Vec<u64> = [
        "lines",
        "blank_lines",
        "rejected",
        "duplicates",
        "self_loops",
    ]
    .iter()
    .map(|n| counts[*n])
    .collect();
    assert_eq!(got, [11, 1, 3, 1, 2]);
    assert_eq!(
        local.messages,
        [
            "the file starts with a byte order mark, which is part of the first name: save it as UTF-8 without one",
            "3 of 11 lines rejected: see `gfm-pipe show ingest-kg.rejects`"
        ]
        .map(|m| (Level::Warn, m.to_owned()))
    );
}

#[test]
fn clean_input_says_nothing() {
    let (_dir, local) = ingest_bytes(b"a,r,b\n").unwrap();
    assert!(local.messages.is_empty());
    assert!(rejects(&local).is_empty());
    assert_eq!(
        ids(local.port("relations"), "relations", "inverse_of"),
        [None, Some(0)]
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (_a, first) = ingest_bytes(DIRTY).unwrap();
    let (_b, second) = ingest_bytes(DIRTY).unwrap();
    for (port, artifact) in &first.outputs {
        assert_eq!(artifact.digest(), second.port(port).digest(), "{port}");
    }
}

/// The message and the hint of an error, which must be of this kind.
fn failure(kind: ErrorKind, e: OpError) -> (String, String) {
    assert_eq!(e.kind(), kind, "{e}");
    match e {
        OpError::Failed(f) => (f.to_string(), f.hint.unwrap_or_default()),
        OpError::Cancelled => panic!("cancelled"),
    }
}

#[test]
fn a_file_without_a_triple_is_an_error_that_says_why() {
    let (message, hint) = failure(ErrorKind::Data, ingest_bytes(b"\nx\ty\tz\n").err().unwrap());
    assert!(
        message.ends_with("kg.txt:2: no triple in 2 lines"),
        "{message}"
    );
    assert_eq!(
        hint,
        "line 2: expected 3 fields separated by commas, found 1; a line is `head,relation,tail`"
    );
    let (message, hint) = failure(ErrorKind::Data, ingest_bytes(b"").err().unwrap());
    assert!(
        message.ends_with("kg.txt: no triple in 0 lines"),
        "{message}"
    );
    assert!(hint.starts_with("the file is empty"), "{hint}");
}

#[test]
fn a_file_in_another_encoding_is_refused_by_its_name() {
    let text = "ada,lives in,oak town\nben,lives in,elm town\n";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [&b"\xff\xfe"[..], &little].concat();
    let wide: Vec<u8> = text
        .chars()
        .flat_map(|c| u32::from(c).to_be_bytes())
        .collect();
    for (bytes, what, from) in [
        (marked, "UTF-16 (little-endian)", "UTF-16 "),
        (little, "UTF-16 (little-endian)", "UTF-16LE "),
        (wide, "UTF-32 (big-endian)", "UTF-32BE "),
    ] {
        let (message, hint) = failure(ErrorKind::Data, ingest_bytes(&bytes).err().unwrap());
        let want = format!("kg.txt: the file is {what}, not UTF-8");
        assert!(message.ends_with(&want), "{message}");
        assert!(hint.contains(&format!("iconv -f {from}-t UTF-8")), "{hint}");
    }
}

#[test]
fn a_missing_file_and_a_folder_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let missing = common::ingest_file(std::path::Path::new("no/such/kg.txt"), &out);
    let (message, hint) = failure(ErrorKind::User, missing.err().unwrap());
    assert_eq!(message, "no/such/kg.txt: there is no such file");
    assert!(hint.contains("`path`") && hint.contains("-C DIR"), "{hint}");
    let (message, hint) = failure(
        ErrorKind::User,
        common::ingest_file(dir.path(), &out).err().unwrap(),
    );
    assert!(
        message.ends_with("this is a folder, not a kg.txt"),
        "{message}"
    );
    assert!(hint.contains("kg.txt"), "{hint}");
}

#[test]
fn more_rows_than_a_piece_holds() {
    let mut text = String::new();
    for i in 0..150_000u32 {
        text.push_str(&format!("e{},r{},e{}\n", i, i % 3, i + 1));
        if i % 2 == 0 {
            text.push_str("bad\n");
        }
    }
    let (_dir, local) = ingest_bytes(text.as_bytes()).unwrap();
    let triples = triples(&local);
    assert_eq!(triples.len(), 150_000);
    assert!((0u32..).zip(&triples).all(|(i, t)| *t == [i, i % 3, i + 1]));
    let names = texts(local.port("entities"), "entities", "name");
    assert_eq!(names.len(), 150_001);
    assert!(names.iter().enumerate().all(|(i, n)| *n == format!("e{i}")));
    let rejects = rejects(&local);
    assert_eq!(rejects.len(), 75_000);
    assert!(
        rejects[74_999].starts_with("224999|"),
        "{}",
        rejects[74_999]
    );
}
