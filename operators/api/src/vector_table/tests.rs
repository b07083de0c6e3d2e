#![allow(clippy::unwrap_used)]
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codes::LARGEST;
use super::*;
use crate::points::{dot, unit};
use crate::random::mix;
use crate::stored::{ObjectFile, TableFile};
use crate::{Artifact, kinds};
use gfm_pipe_testing::Random;
use proptest::prelude::*;

/// The dot products of a query with all vectors of a table.
fn cosines(table: &VectorTable, query: &[f32]) -> Vec<f64> {
    let mut out = Vec::new();
    let query = [Query::new(query)];
    let each = |_, row, cosine| {
        assert_eq!(row, out.len());
        out.push(cosine);
    };
    table.dots(&query, 0..table.len(), each).unwrap();
    out
}

fn table(keep: Keep, dim: usize, rows: &[f32]) -> VectorTable {
    let mut table = VectorTable::new(keep, dim);
    table.extend(rows);
    table
}

fn coded(dim: usize, rows: &[f32]) -> Codes {
    let mut codes = Codes::new(dim);
    codes.extend(rows);
    codes
}

proptest! {
    #[test]
    fn coded_cosines_are_near_the_exact_ones(
        dim in 1_usize..300, rows in 1_usize..8, seed in prop::collection::vec(-1.0..1.0f32, 2400),
    ) {
        let rows = &seed[..rows * dim];
        let exact = table(Keep::Exact, dim, rows);
        let coded = table(Keep::Coded, dim, rows);
        prop_assert_eq!((coded.len(), coded.dim()), (exact.len(), dim));
        let query: Vec<f32> = unit(&seed[2400 - dim..]).collect();
        let query = query.as_slice();
        // With the decoded vectors, the products are those that the query's own codes allow.
        let VectorTable::Coded(codes) = &coded else { panic!() };
        let decoded = codes.decoded(0..codes.len()).unwrap();
        for (row, product) in cosines(&coded, query).into_iter().enumerate() {
            let error = (product - dot(query, decoded.row(row))).abs();
            prop_assert!(error < Query::new(query).error(), "{error}");
        }
        // Half a step for each number, of which each has its share of the query.
        let of_query: f64 = query.iter().map(|x| f64::from(x.abs())).sum();
        for (a, b) in cosines(&exact, query).iter().zip(cosines(&coded, query)) {
            prop_assert!((a - b).abs() < of_query / LARGEST / 2.0 + 1e-3, "{a} {b}");
        }
    }

    /// The order of vectors and the parts they are read in change no bit.
    #[test]
    fn a_code_depends_on_its_vector_alone(seed in prop::collection::vec(-1.0..1.0f32, 60)) {
        let dim = 4;
        let query: Vec<f32> = unit(&seed[..dim]).collect();
        let all = cosines(&table(Keep::Coded, dim, &seed), &query);
        let mut in_blocks = VectorTable::new(Keep::Coded, dim);
        seed.chunks(8).for_each(|rows| in_blocks.extend(rows));
        prop_assert_eq!(&cosines(&in_blocks, &query), &all);
        let reversed: Vec<f32> = seed.chunks(dim).rev().flatten().copied().collect();
        let mut reversed = cosines(&table(Keep::Coded, dim, &reversed), &query);
        reversed.reverse();
        prop_assert_eq!(all, reversed);
    }
}

#[test]
fn hand_computed_codes() {
    // (3, 4) / 5: the step is 0.8 / 127, and 0.6 is 95.25 steps.
    let rows = [3.0, 4.0, 0.0, 0.0, -2.0, 0.0];
    let codes = coded(2, &rows);
    let (first, last) = (0.8 / 127.0, 1.0 / 127.0_f32);
    let want = [95.0 * first, 127.0 * first, 0.0, 0.0, -127.0 * last, 0.0];
    assert_eq!(codes.decoded(0..3).unwrap().rows(0, 3), want);
    let got = cosines(&VectorTable::Coded(codes), &[0.0, 1.0]);
    assert!(
        (got[0] - 0.8).abs() < 1e-6 && got[1..] == [0.0, 0.0],
        "{got:?}"
    );
    // The zero vector is like nothing.
    assert_eq!(
        cosines(&table(Keep::Coded, 2, &rows), &[0.0, 0.0]),
        [0.0; 3]
    );
    assert!(table(Keep::Coded, 0, &[]).is_empty());
    let e = coded(2, &rows).decoded(2..4).unwrap_err();
    assert!(e.to_string().contains("of 3 vectors"), "{e}");
}

#[test]
fn no_sum_overflows() {
    for dim in [1, 256, 515, 4096, 100_000] {
        let ones = vec![1.0_f32; dim];
        let query: Vec<f32> = unit(&ones).collect();
        let got = cosines(&table(Keep::Coded, dim, &ones), &query)[0];
        assert!((got - 1.0).abs() < 1e-4, "{dim}: {got}");
    }
}

#[test]
fn only_large_tables_are_coded() {
    assert_eq!(Keep::of(MOST_BYTES / 1024, 256), Keep::Exact);
    assert_eq!(Keep::of(MOST_BYTES / 1024 + 1, 256), Keep::Coded);
    assert_eq!(Keep::of(usize::MAX, 256), Keep::Coded);
    assert!(!Keep::sketched(MOST_COMPARED / 260, 256));
    assert!(Keep::sketched(MOST_COMPARED / 260 + 1, 256));
    assert!(Keep::sketched(usize::MAX, 256));
}

const DIM: usize = 70;
/// Number of rows of each object of the stored table.
const ROWS: [usize; 4] = [700, 1, 12_000, 90];

fn estimates(codes: &Codes, query: &SketchQuery, rows: Range<usize>) -> Vec<f32> {
    let mut out = Vec::new();
    codes.estimates(query, rows, &mut out);
    out
}

/// A stored table of vectors in a folder like a store's.
struct Lab {
    dir: tempfile::TempDir,
    rows: Vec<f32>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let all = ROWS.iter().sum::<usize>() * DIM;
        let rows = (0..all).map(|i| ((i * 7919) % 2003) as f32 - 1001.0);
        Lab {
            dir,
            rows: rows.collect(),
        }
    }

    fn folder(&self) -> CodesFolder {
        CodesFolder {
            path: self.dir.path().join("codes"),
            tmp: self.dir.path().join("tmp"),
        }
    }

    fn object(&self, path: &Path, rows: &[f32]) -> ObjectFile {
        let spec = &kinds::EMBEDDINGS.tables[0];
        let schema = Arc::new(spec.schema(DIM));
        let mut writer = table::writer(File::create(path).unwrap(), schema).unwrap();
        // Several parts.
        for rows in rows.chunks(3000 * DIM) {
            let column = columns::build_vectors(DIM, rows.to_vec()).unwrap();
            let batch = columns::batch(spec, vec![column]).unwrap();
            writer.write(&batch).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        ObjectFile {
            codes: Some(Arc::new(self.folder())),
            ..ObjectFile::of(path, (rows.len() / DIM) as u64).unwrap()
        }
    }

    fn artifact(&self) -> Artifact {
        let (mut objects, mut rest) = (Vec::new(), &self.rows[..]);
        for (at, rows) in ROWS.iter().enumerate() {
            let (rows, behind) = rest.split_at(rows * DIM);
            objects.push(self.object(&self.dir.path().join(at.to_string()), rows));
            rest = behind;
        }
        Artifact {
            kind: &kinds::EMBEDDINGS,
            name: "s.vectors".to_owned(),
            tables: vec![TableFile::of("vectors", objects)],
        }
    }

    /// The files with codes, with their content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut out = Vec::new();
        let mut folders = vec![self.folder().path];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    out.push((path.clone(), fs::read(path).unwrap()));
                }
            }
        }
        out.sort();
        assert_eq!(
            fs::read_dir(self.dir.path().join("tmp")).unwrap().count(),
            0
        );
        out
    }

    /// Checks that codes have the bits of those in memory.
    fn check(&self, codes: &Codes) {
        let want = coded(DIM, &self.rows);
        assert_eq!(codes.len(), want.len());
        let all = |codes: &Codes| codes.decoded(0..want.len()).unwrap();
        assert_eq!(
            all(codes).rows(0, want.len()),
            all(&want).rows(0, want.len())
        );
        let queries = [&self.rows[..DIM], &self.rows[40..40 + DIM]];
        let sketched = queries.map(SketchQuery::new);
        let queries = queries.map(Query::new);
        // In one object, and across several.
        for rows in [0..want.len(), 650..701, 699..12_750, 12_702..12_703, 7..7] {
            let dots = |codes: &Codes| {
                let mut out = Vec::new();
                let each = |q, row, dot: f64| out.push((q, row, dot.to_bits()));
                codes.dots(&queries, rows.clone(), each).unwrap();
                // Pieces, and so the order of queries, depend on where the rows are.
                out.sort_unstable();
                out
            };
            assert_eq!(dots(codes), dots(&want));
            assert_eq!(dots(codes).len(), 2 * rows.len());
            if codes.has_sketches() {
                let want = coded(DIM, &self.rows).sketched().unwrap();
                for query in &sketched {
                    let estimates = |codes: &Codes| estimates(codes, query, rows.clone());
                    assert_eq!(estimates(codes), estimates(&want));
                    assert_eq!(estimates(codes).len(), rows.len());
                }
            }
        }
    }
}

#[test]
fn codes_on_disk_are_made_once_and_have_the_same_bits() {
    let lab = Lab::new();
    let artifact = lab.artifact();
    lab.check(&Codes::open(&artifact).unwrap());
    let files = lab.files();
    assert_eq!(files.len(), ROWS.len());
    for object in &artifact.tables[0].objects {
        assert!(is_sound(&lab.folder().file(&object.digest), &object.digest, true).unwrap());
        // What the objects hold is not needed any more, but for the length of a vector.
        let bytes = fs::metadata(&object.path).unwrap().len();
        let start = fs::read(&object.path).unwrap();
        let mut changed = start.clone();
        changed[bytes as usize / 3] ^= 1;
        fs::write(&object.path, changed).unwrap();
    }
    let codes = Codes::open(&artifact).unwrap();
    lab.check(&codes);
    assert!(!codes.has_sketches());
    let mut codes = codes.sketched().unwrap();
    lab.check(&codes);
    codes.load(0).unwrap();
    let mut table = VectorTable::Coded(codes);
    table.load().unwrap();
    // They are in memory: without the files, nothing changes.
    for (path, _) in &files {
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    let VectorTable::Coded(codes) = &table else {
        panic!()
    };
    lab.check(codes);
    // A damaged object is noticed when codes have to be made of it.
    let e = Codes::open(&artifact).unwrap_err().to_string();
    assert!(e.contains("is damaged"), "{e}");
}

#[test]
fn without_a_store_codes_are_in_memory() {
    let lab = Lab::new();
    let mut outside = lab.artifact();
    for object in &mut outside.tables[0].objects {
        object.codes = None;
    }
    lab.check(&Codes::open(&outside).unwrap().sketched().unwrap());
    assert!(lab.files().is_empty());
    // A folder in which nothing can be made.
    fs::write(lab.folder().path, "").unwrap();
    lab.check(&Codes::open(&lab.artifact()).unwrap().sketched().unwrap());
}

#[test]
fn a_damaged_or_foreign_file_is_made_again() {
    let lab = Lab::new();
    let artifact = lab.artifact();
    Codes::open(&artifact).unwrap();
    let files = lab.files();
    let object = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let (path, whole) = &files[0];
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    let mut longer = whole.clone();
    longer.push(0);
    let damages = [
        Vec::new(),
        whole[..whole.len() - 1].to_vec(),
        longer,
        flipped(0),
        flipped(8),
        flipped(12),
        flipped(20),
        flipped(30),
        flipped(whole.len() - 1),
        b"gfmcodes".repeat(90),
    ];
    for damaged in damages {
        fs::write(path, damaged).unwrap();
        assert!(!is_sound(path, &object(path), true).unwrap());
        lab.check(&Codes::open(&artifact).unwrap());
        assert_eq!(lab.files(), files);
    }
    // One that is sound, and of another object with as many rows.
    let others: Vec<f32> = lab.rows.iter().map(|x| x + 1.0).collect();
    let mut second = artifact.clone();
    let of_one = &others[..DIM];
    second.tables[0].objects = vec![lab.object(&lab.dir.path().join("other"), of_one)];
    Codes::open(&second).unwrap();
    let other = lab.folder().file(&second.tables[0].objects[0].digest);
    let one = lab.folder().file(&artifact.tables[0].objects[1].digest);
    let foreign = fs::read(&other).unwrap();
    assert_eq!(foreign.len(), fs::read(&one).unwrap().len());
    fs::write(&one, foreign).unwrap();
    assert!(is_sound(&one, &object(&one), false).unwrap());
    assert!(!is_sound(&one, &object(&one), true).unwrap());
    lab.check(&Codes::open(&artifact).unwrap());
    // A folder in its place is left alone.
    fs::remove_file(&one).unwrap();
    fs::create_dir(&one).unwrap();
    lab.check(&Codes::open(&artifact).unwrap());
    assert!(one.is_dir());
}

/// What is read while it is taken away is an error and no panic.
#[test]
fn codes_that_are_cut_off_are_an_error() {
    let lab = Lab::new();
    let codes = Codes::open(&lab.artifact()).unwrap();
    for (path, _) in lab.files() {
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(60)
            .unwrap();
    }
    let e = codes.decoded(300..400).unwrap_err();
    assert!(e.to_string().contains("codes of vectors"), "{e}");
    let query = [Query::new(&lab.rows[..DIM])];
    assert!(codes.dots(&query, 0..900, |_, _, _| ()).is_err());
    assert!(codes.sketched().is_err());
}

#[test]
fn estimates_are_off_by_as_much_as_they_say() {
    for dim in [64, 100, 256, 768] {
        let rows = Random::new(dim as u64).clustered(3000, 3000, dim);
        let codes = coded(dim, &rows).sketched().unwrap();
        let (mut squares, mut sum, mut far, mut count) = (0.0, 0.0, 0, 0.0);
        for row in [0, 5, 7, 2999] {
            let query: Vec<f32> = unit(&rows[row * dim..(row + 1) * dim]).collect();
            let sketched = SketchQuery::new(&query);
            let decoded = codes.decoded(0..3000).unwrap();
            for (i, estimate) in estimates(&codes, &sketched, 0..3000)
                .into_iter()
                .enumerate()
            {
                let error = f64::from(estimate) - dot(&query, decoded.row(i));
                far += usize::from(error.abs() > sketched.error());
                (squares, sum, count) = (squares + error * error, sum + error, count + 1.0);
            }
            // What is the same vector is seen to be.
            let same = f64::from(estimates(&codes, &sketched, row..row + 1)[0]);
            assert!((same - 1.0).abs() < 0.01, "{same}");
        }
        let said = SketchQuery::new(&[1.0 / (dim as f32).sqrt()].repeat(dim)).error() / 4.0;
        let deviation = f64::sqrt(squares / count);
        assert!(deviation < said * 1.05, "{dim}: {deviation} of {said}");
        assert!(deviation > said * 0.5, "{dim}: {deviation} of {said}");
        assert!(
            f64::abs(sum / count) < said / 10.0,
            "{dim}: {}",
            sum / count
        );
        assert!(far <= 4, "{dim}: {far}");
    }
}

#[test]
fn a_sketch_depends_on_its_vector_alone() {
    let rows = Random::new(1).clustered(50, 7, 80);
    let query = SketchQuery::new(&rows[..80]);
    let all = estimates(&coded(80, &rows).sketched().unwrap(), &query, 0..50);
    let reversed: Vec<f32> = rows.chunks(80).rev().flatten().copied().collect();
    let mut codes = Codes::new(80);
    reversed.chunks(80 * 7).for_each(|rows| codes.extend(rows));
    let codes = codes.sketched().unwrap();
    let mut out = estimates(&codes, &query, 0..50);
    out.reverse();
    assert_eq!(out, all);
    // The zero vector is like nothing, and nothing is like it.
    let zeros = coded(80, &[0.0; 160]).sketched().unwrap();
    assert_eq!(estimates(&zeros, &query, 0..2), [0.0; 2]);
    assert_eq!(
        estimates(&codes, &SketchQuery::new(&[0.0; 80]), 0..1),
        [0.0]
    );
    // Those that are too short or too long are not sketched.
    for dim in [63, (1 << 16) + 1] {
        let ones = vec![1.0; dim];
        let codes = coded(dim, &ones).sketched().unwrap();
        assert!(!codes.has_sketches());
        assert!(estimates(&codes, &SketchQuery::new(&ones), 0..1).is_empty());
    }
    // In the longest, no sum overflows: all numbers are as large as can be, and in the second case
    // the first round adds them all up.
    let dim = 1 << 16;
    let added = (0..dim as u64).map(|i| 1.0 - 2.0 * (mix(i) & 1) as f32);
    for vector in [vec![1.0; dim], added.collect()] {
        let codes = coded(dim, &vector).sketched().unwrap();
        let query: Vec<f32> = unit(&vector).collect();
        let same = estimates(&codes, &SketchQuery::new(&query), 0..1)[0];
        assert!((same - 1.0).abs() < 0.01, "{same}");
    }
}
