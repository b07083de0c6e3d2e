//! Writes a first pipeline for a folder of data: checks which files are there, and what can be done
//! with them.
//!
//! Knows the layout of the training guide (`processed/stage1/kg.txt` and beside it questions,
//! `raw/dataset_corpus.json`) and that of GFM-RAG 2.0 (`processed/stage1/nodes.csv`, relations.csv,
//! edges.csv), for one data set or for a folder of several, a bare `kg.txt`, and documents without
//! a graph. Where a folder has files of both layouts, those of 1.0 count. Invariant: the pipeline
//! written loads, and names only files that were found.
//!
//! A pipeline is for one layout: on graphs of 1.0 it trains a GNNRetriever, on graphs of 2.0 a
//! GraphReasoner. So a folder with data sets of both is refused.

#[cfg(feature = "demo")]
mod atlas;
mod documents;
mod example;
mod same;
mod settings;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use crate::registry::layout::{CORPUS, EDGES, KG, MENTIONS, NODES, RELATIONS, SPLITS};
use crate::registry::sizes::{self, MANY};
use gfm_pipe_api::{Absent, files};

#[cfg(feature = "demo")]
pub use atlas::{ATLAS, PIPELINE};
pub use documents::Documents;
pub use example::EXAMPLE;
pub use same::LeftOut;
pub use write::pipeline;

/// Where the graph of a data set is.
const STAGE1: &str = "processed/stage1";
/// A graph without the other files of a data set.
const BARE: &str = "kg.txt";

/// Deepest folder looked at below the one given.
const DEPTH: usize = 2;
/// Largest number of data sets in a folder.
const MOST: usize = 100;

/// The layout of a data set's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// kg.txt, and documents apart from it.
    One,
    /// nodes.csv, relations.csv and edges.csv of GFM-RAG 2.0.
    Two,
}

/// A data set that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// The name of its folder, made valid as the name of a pipeline.
    pub name: String,
    /// Its folder, as the user would write it.
    pub root: PathBuf,
    /// The layout of its files.
    pub layout: Layout,
    /// Whether it also has a graph in the layout of GFM-RAG 2.0, which is not used.
    pub both: bool,
    /// The file of its graph: kg.txt or edges.csv.
    pub kg: PathBuf,
    /// Whether there are documents: their texts and their entities, or nodes that are documents.
    pub documents: bool,
    /// Number of training questions; `None` where there are none. It is [`MANY`] where the file
    /// cannot be read: the stage that reads it says what is wrong.
    pub train: Option<u64>,
    /// Number of validation questions.
    pub valid: Option<u64>,
    /// Number of test questions.
    pub test: Option<u64>,
}

impl DataSet {
    /// Whether a retriever can be trained on its questions.
    pub fn asked(&self) -> bool {
        self.documents && self.train.is_some()
    }

    /// Whether a retriever can be evaluated on its questions.
    pub fn tested(&self) -> bool {
        self.documents && self.test.is_some()
    }

    /// Whether its documents are read with its questions: there are some to train on or to evaluate
    /// on.
    pub fn questioned(&self) -> bool {
        self.asked() || self.tested()
    }

    /// A description of what was found.
    pub fn describe(&self) -> String {
        let graph = match (self.layout, self.both) {
            (Layout::One, false) => "a graph",
            (Layout::One, true) => "a graph (kg.txt; nodes.csv beside it is not used)",
            (Layout::Two, _) => "a graph of GFM-RAG 2.0",
        };
        let mut found = vec![graph.to_owned()];
        if self.documents {
            found.push("documents".to_owned());
        }
        for (count, what) in [
            (self.train, "training"),
            (self.valid, "validation"),
            (self.test, "test"),
        ] {
            match count {
                None => {}
                Some(1) => found.push(format!("1 {what} question")),
                Some(n) if n < MANY => found.push(format!("{n} {what} questions")),
                Some(_) => found.push(format!("{what} questions")),
            }
        }
        found.join(", ")
    }

    /// What is missing for training and evaluating a retriever; empty when nothing is.
    pub fn missing(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.documents {
            out.push(match self.layout {
                Layout::One => format!("{CORPUS} and {MENTIONS} (documents)"),
                Layout::Two => format!("nodes of type `document` in {NODES} (documents)"),
            });
        }
        let [(_, train), _, (_, test)] = SPLITS;
        if self.train.is_none() {
            out.push(format!("{train} (training questions)"));
        }
        if self.test.is_none() {
            out.push(format!("{test} (test questions)"));
        }
        out
    }
}

/// Why no pipeline can be written for a folder.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", folder.display())]
    Read {
        /// The folder, or the file in it.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no graph in it.
    #[error("{}: found no {KG}, no {NODES} with its relations.csv and edges.csv, and no {BARE}, here or in the folders below", .0.display())]
    NoGraph(PathBuf),
    /// There is neither a graph nor a document in it.
    #[error("{}: found no graph ({KG}, {NODES} or {BARE}) and no documents: {}", folder.display(), absent.why)]
    Nothing {
        /// The folder.
        folder: PathBuf,
        /// Why nothing was read as documents.
        absent: Absent,
    },
    /// It is not a folder, and its documents cannot be read.
    #[error("{}: {}", path.display(), absent.why)]
    NoDocuments {
        /// A file or a pattern.
        path: PathBuf,
        /// Why.
        absent: Absent,
    },
    /// There are data sets of both layouts.
    #[error("{}: data sets in two layouts, which are trained as different models: {} has kg.txt, {} has nodes.csv", folder.display(), one.display(), two.display())]
    Mixed {
        /// The folder.
        folder: PathBuf,
        /// A data set in the layout of GFM-RAG 1.0.
        one: PathBuf,
        /// One in the layout of 2.0.
        two: PathBuf,
    },
    /// There are more data sets than a pipeline should name.
    #[error("{}: more than {MOST} data sets", .0.display())]
    TooMany(PathBuf),
}

impl InitError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            InitError::Read { .. } => None,
            InitError::NoGraph(_) => Some(
                "a graph is a text file with one `head,relation,tail` a line: \
                 DATA/processed/stage1/kg.txt, or DATA/kg.txt for a graph alone; \
                 or nodes.csv, relations.csv and edges.csv in DATA/processed/stage1 (GFM-RAG 2.0)",
            ),
            InitError::Nothing { absent, .. } | InitError::NoDocuments { absent, .. } => {
                Some(&absent.hint)
            }
            InitError::Mixed { .. } => Some(
                "name the folder of one data set, or a folder with data sets of one layout; \
                 `write-dataset` with `layout: gfm-rag-2` writes those of 1.0 in the layout of 2.0",
            ),
            InitError::TooMany(_) => Some("name a folder further down"),
        }
    }
}

/// What is in a folder.
#[derive(Debug, Default)]
pub struct Found {
    /// Data sets, each once.
    pub sets: Vec<DataSet>,
    /// Copies of these, and links to them.
    pub left_out: Vec<LeftOut>,
}

impl Found {
    /// Checks that one pipeline fits all data sets found in `folder`.
    ///
    /// # Errors
    /// When they have different layouts.
    pub fn one_layout(&self, folder: &Path) -> Result<(), InitError> {
        let of = |layout| self.sets.iter().find(|set| set.layout == layout);
        match (of(Layout::One), of(Layout::Two)) {
            (Some(one), Some(two)) => Err(InitError::Mixed {
                folder: folder.to_owned(),
                one: one.root.clone(),
                two: two.root.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// What a first pipeline is written for.
#[derive(Debug)]
pub enum Data {
    /// Data sets with graphs.
    Sets(Found),
    /// Documents without a graph.
    Documents(Documents),
}

/// Looks for data sets in a folder and, where there are none, for documents. A file or a pattern of
/// files can only name documents.
///
/// # Errors
/// When there is neither, or the folder cannot be read.
pub fn look_at(path: &Path) -> Result<Data, InitError> {
    if !path.is_dir() {
        return match documents::find(path) {
            Ok(documents) => Ok(Data::Documents(documents)),
            Err(absent) => Err(InitError::NoDocuments {
                path: path.to_owned(),
                absent,
            }),
        };
    }
    match find(path) {
        Ok(found) => Ok(Data::Sets(found)),
        // Where only the graph of a data set is missing, its other files (the entities of its
        // documents) would be mistaken for documents.
        Err(InitError::NoGraph(folder)) if !folder.join(STAGE1).is_dir() => {
            match documents::find(&folder) {
                Ok(documents) => Ok(Data::Documents(documents)),
                Err(absent) => Err(InitError::Nothing { folder, absent }),
            }
        }
        Err(e) => Err(e),
    }
}

/// Looks for data sets in a folder and the folders below, in the order of their names.
///
/// # Errors
/// When there is none, or the folder cannot be read.
pub fn find(folder: &Path) -> Result<Found, InitError> {
    fs::read_dir(folder).map_err(|source| InitError::Read {
        folder: folder.to_owned(),
        source,
    })?;
    let mut found = Vec::new();
    look(folder, 0, &mut found);
    for root in std::iter::once(folder).chain(found.iter().map(|set| set.root.as_path())) {
        regular(root)?;
    }
    if found.is_empty() {
        return Err(InitError::NoGraph(folder.to_owned()));
    }
    if found.len() > MOST {
        return Err(InitError::TooMany(folder.to_owned()));
    }
    let (mut sets, left_out) = same::once(folder, found);
    let mut names = std::collections::BTreeSet::new();
    for set in &mut sets {
        let name = set.name.clone();
        let mut n = 1;
        while !names.insert(set.name.clone()) {
            n += 1;
            set.name = format!("{name}-{n}");
        }
    }
    Ok(Found { sets, left_out })
}

/// Refuses a pipe or a folder in the place of a file, so that it is not overlooked.
fn regular(root: &Path) -> Result<(), InitError> {
    let splits = SPLITS.map(|(_, name)| name);
    let graphs = [KG, BARE, NODES, RELATIONS, EDGES];
    let all = graphs.into_iter().chain([CORPUS, MENTIONS]).chain(splits);
    for name in all {
        let path = root.join(name);
        match files::metadata(&path) {
            Err(source) if path.exists() => {
                return Err(InitError::Read {
                    folder: path,
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn look(folder: &Path, depth: usize, out: &mut Vec<DataSet>) {
    if let Some(set) = data_set(folder) {
        out.push(set);
        return;
    }
    if depth == DEPTH || out.len() > MOST {
        return;
    }
    // A folder that cannot be read has nothing to offer.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut below: Vec<PathBuf> = entries
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'))
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    below.sort();
    for folder in below {
        look(&folder, depth + 1, out);
    }
}

fn data_set(root: &Path) -> Option<DataSet> {
    let has = |name: &str| root.join(name).is_file();
    let two = [NODES, RELATIONS, EDGES].into_iter().all(has);
    let one = [KG, BARE].into_iter().find(|name| has(name));
    let kg = one.or(two.then_some(EDGES))?;
    let layout = match one {
        Some(_) => Layout::One,
        None => Layout::Two,
    };
    let [train, valid, test] = SPLITS.map(|(_, name)| {
        let count = has(name).then(|| sizes::questions(&root.join(name)));
        count.filter(|n| *n > 0)
    });
    Some(DataSet {
        name: name_of(root),
        root: root.to_owned(),
        layout,
        both: two && layout == Layout::One,
        kg: root.join(kg),
        documents: match layout {
            Layout::One => has(CORPUS) && has(MENTIONS),
            Layout::Two => sizes::has_document(&root.join(NODES)),
        },
        train,
        valid,
        test,
    })
}

/// The name of a folder, made valid as the name of a pipeline.
fn name_of(folder: &Path) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = whole.components().rev().find_map(|c| match c {
        std::path::Component::Normal(n) => Some(n.to_string_lossy().into_owned()),
        _ => None,
    });
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = name.unwrap_or_default().chars().map(fit).take(60).collect();
    match name.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => name,
        _ => format!("data{name}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Writes files of a data set, with content that no other set has.
    fn give(root: &Path, files: &[&str]) {
        for f in files {
            let path = root.join(f);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = if f.ends_with(".txt") {
                format!("a,b,{}\n", root.display())
            } else if f.ends_with(".csv") {
                let kind = if *f == NODES { "document" } else { "x" };
                format!("name,type\n\"{}\",{kind}\n", root.display())
            } else {
                format!("[{{\"id\": {:?}}}]", root.display())
            };
            fs::write(path, text).unwrap();
        }
    }

    const DOCS: [&str; 2] = [CORPUS, MENTIONS];
    const TYPED: [&str; 3] = [NODES, RELATIONS, EDGES];
    const TRAIN: &str = SPLITS[0].1;

    /// For all forms of data, alone and together, the written pipeline loads.
    #[cfg(feature = "gfm")]
    #[test]
    fn whatever_is_found_the_pipeline_loads() {
        const VALID: &str = SPLITS[1].1;
        const TEST: &str = SPLITS[2].1;
        let ops = crate::registry::builtin();
        let one: [&[&str]; 6] = [
            &[KG],
            &["kg.txt"],
            &[KG, DOCS[0], DOCS[1]],
            &[KG, DOCS[0], DOCS[1], TRAIN],
            &[KG, DOCS[0], DOCS[1], TEST],
            &[KG, DOCS[0], DOCS[1], TRAIN, VALID, TEST],
        ];
        let typed = |splits: &[&'static str]| [&TYPED, splits].concat();
        let two = [&[][..], &[TRAIN], &[TEST], &[TRAIN, VALID, TEST]].map(typed);
        let two: Vec<&[&str]> = two.iter().map(Vec::as_slice).collect();
        for kinds in [&one[..], &two] {
            loads(kinds, &ops);
        }
    }

    #[cfg(feature = "gfm")]
    fn loads(kinds: &[&[&str]], ops: &[gfm_pipe_api::OpEntry]) {
        use crate::spec::{LoadOptions, load};
        let mut stages = std::collections::BTreeSet::new();
        for picked in 1..1usize << kinds.len() {
            let dir = tempfile::tempdir().unwrap();
            for (i, files) in kinds
                .iter()
                .enumerate()
                .filter(|(i, _)| picked >> i & 1 == 1)
            {
                // Names that are not text in YAML, and some that are hard to write.
                let name = ["true", "null", "a {{ b }}", "set: \"b\"", "1e3", "~"][i];
                give(&dir.path().join(name), files);
            }
            let found = find(dir.path()).unwrap().sets;
            assert_eq!(found.len(), picked.count_ones() as usize);
            let yaml = pipeline("p", &found);
            let file = dir.path().join("p.yaml");
            fs::write(&file, &yaml).unwrap();
            let p = load(&file, &LoadOptions::default(), ops);
            let p = p.unwrap_or_else(|e| panic!("{e}\n{yaml}"));
            let names: Vec<&str> = p.stages.iter().map(|s| s.op.name).collect();
            let asked = found.iter().any(DataSet::asked);
            assert_eq!(names.contains(&"finetune"), asked);
            let tested = found.iter().filter(|s| s.tested()).count();
            let evaluated = names.iter().filter(|n| **n == "evaluate").count();
            assert_eq!(evaluated, tested);
            let modelled = |op: &str| {
                let of = p.stages.iter().filter(|s| s.op.name == op);
                of.filter(|s| s.inputs.contains_key("model")).count()
            };
            assert_eq!(modelled("evaluate"), if asked { tested } else { 0 });
            let typed = found.iter().all(|set| set.layout == Layout::Two);
            let explained = if asked && !typed { tested } else { 0 };
            assert_eq!(modelled("explain"), explained);
            let questioned = found.iter().filter(|s| s.questioned()).count();
            assert_eq!(modelled("retriever"), if asked { questioned } else { 0 });
            stages.insert(p.stages.len());
        }
        assert!(stages.len() > 6);
    }

    #[test]
    fn graphs_of_gfm_rag_2_are_found_with_all_their_files_and_apart_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        give(&at("typed"), &[&TYPED[..], &[TRAIN]].concat());
        let found = find(dir.path()).unwrap().sets;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].layout, found[0].asked()), (Layout::Two, true));
        assert_eq!(
            found[0].describe(),
            "a graph of GFM-RAG 2.0, documents, 1 training question"
        );
        assert_eq!(
            found[0].missing(),
            ["processed/stage1/test.json (test questions)"]
        );
        // Without a node that is a document there is nothing to rank.
        let nodes = at("typed").join(NODES);
        fs::write(&nodes, "name,type\na,entity\n").unwrap();
        let found = find(dir.path()).unwrap().sets;
        assert!(!found[0].asked());
        assert!(found[0].missing()[0].starts_with("nodes of type `document`"));
        // With kg.txt beside it, that is the graph.
        give(&at("typed"), &[KG]);
        let found = find(dir.path()).unwrap();
        assert_eq!(
            (found.sets[0].layout, found.sets[0].both),
            (Layout::One, true)
        );
        assert!(
            found.sets[0]
                .describe()
                .contains("nodes.csv beside it is not used")
        );
        assert!(found.one_layout(dir.path()).is_ok());
        // A pipeline is for one layout; a graph without all its files is none.
        give(&at("other"), &TYPED);
        give(&at("half"), &TYPED[..2]);
        let found = find(dir.path()).unwrap();
        assert_eq!(found.sets.len(), 2);
        let error = found.one_layout(dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("typed has kg.txt") && text.contains("other has nodes.csv"),
            "{text}"
        );
        assert!(error.hint().unwrap().contains("layout: gfm-rag-2"));
        let error = find(&at("half")).unwrap_err();
        assert!(error.hint().unwrap().contains("edges.csv"), "{error}");
    }

    #[test]
    fn a_copy_of_a_graph_of_gfm_rag_2_is_found_once() {
        let dir = tempfile::tempdir().unwrap();
        give(&dir.path().join("set"), &TYPED);
        for name in TYPED {
            let path = dir.path().join("twin").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(dir.path().join("set").join(name), path).unwrap();
        }
        let found = find(dir.path()).unwrap();
        assert_eq!((found.sets.len(), found.left_out.len()), (1, 1));
        let nodes = dir.path().join("twin").join(NODES);
        fs::write(nodes, "name,type\nanother,entity\n").unwrap();
        assert_eq!(find(dir.path()).unwrap().sets.len(), 2);
    }

    #[test]
    fn copies_and_links_are_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let all = [KG, DOCS[0], DOCS[1], TRAIN];
        give(&at("set"), &all);
        give(&at("other"), &[KG]);
        // A graph alone before the whole set, a copy after it, and one that differs in its
        // questions.
        let copy = |to: &str, files: &[&str]| {
            for f in files {
                let path = at(to).join(f);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::copy(at("set").join(f), path).unwrap();
            }
        };
        copy("backup", &[KG]);
        copy("set-copy", &all);
        copy("split", &all);
        fs::write(at("split").join(TRAIN), "[{\"id\": 2}]").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(at("set"), at("a-link")).unwrap();
            symlink(dir.path(), at("loop")).unwrap();
        }
        let found = find(dir.path()).unwrap();
        let roots: Vec<&Path> = found.sets.iter().map(|s| s.root.as_path()).collect();
        assert_eq!(roots, [at("other"), at("set"), at("split")]);
        let left = |name: &str| {
            let one = found.left_out.iter().find(|l| l.root == at(name));
            one.map(|l| (l.of == at("set"), l.linked))
        };
        assert_eq!(left("backup"), Some((true, false)));
        assert_eq!(left("set-copy"), Some((true, false)));
        if cfg!(unix) {
            assert_eq!(left("a-link"), Some((true, true)));
            assert_eq!(left("loop/set"), Some((true, true)));
        }
        let text = found.left_out.iter().map(LeftOut::describe);
        assert!(text.into_iter().all(|t| t.starts_with("left out: ")));
    }

    #[test]
    fn files_without_a_question_are_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        give(dir.path(), &[KG, DOCS[0], DOCS[1]]);
        fs::write(dir.path().join(TRAIN), "[]").unwrap();
        fs::write(dir.path().join(SPLITS[2].1), "[{").unwrap();
        let found = find(dir.path()).unwrap().sets;
        assert_eq!((found[0].asked(), found[0].tested()), (false, true));
        assert_eq!(found[0].describe(), "a graph, documents, test questions");
    }

    #[test]
    fn what_is_there_and_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let e = find(dir.path()).unwrap_err();
        assert!(
            e.to_string().contains("found no processed/stage1/kg.txt"),
            "{e}"
        );
        assert!(
            find(&dir.path().join("no"))
                .unwrap_err()
                .to_string()
                .contains("cannot read")
        );
        give(
            &dir.path().join("deep/2024 x"),
            &[KG, DOCS[0], DOCS[1], TRAIN],
        );
        give(&dir.path().join("2024 x"), &["kg.txt"]);
        give(&dir.path().join(".hidden"), &[KG]);
        let found = find(dir.path()).unwrap().sets;
        let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["data2024_x", "data2024_x-2"]);
        assert_eq!(found[0].describe(), "a graph");
        assert_eq!(
            found[1].describe(),
            "a graph, documents, 1 training question"
        );
        assert_eq!(
            found[1].missing(),
            ["processed/stage1/test.json (test questions)"]
        );
    }
}
