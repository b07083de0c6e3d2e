//! Data sets that are there twice: the same folder through a link, or a copy of its files.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::registry::layout::{CORPUS, MENTIONS, NODES, RELATIONS, SPLITS};

use super::{DataSet, Layout};

/// A data set that was found and is not used, because another one has all its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its folder, as the user would write it.
    pub root: PathBuf,
    /// The folder that is used instead.
    pub of: PathBuf,
    /// Whether it is the same folder, reached through a link.
    pub linked: bool,
}

impl LeftOut {
    /// A description of why it is left out.
    pub fn describe(&self) -> String {
        let what = if self.linked {
            "the same folder as"
        } else {
            "has no file that is not in"
        };
        format!("left out: {what} {}", self.of.display())
    }
}

/// The data sets found in a folder, without those whose files another one has, in the same order,
/// and those left out. Of a folder and links to it, the folder stays; of two copies, the one with
/// more files, or else the first.
pub fn once(folder: &Path, found: Vec<DataSet>) -> (Vec<DataSet>, Vec<LeftOut>) {
    let mut contents = Contents::default();
    let mut order: Vec<usize> = (0..found.len()).collect();
    let real: Vec<PathBuf> = found.iter().map(|set| real(&set.root)).collect();
    // Folders that are reached through a link come last.
    order.sort_by_key(|i| is_linked(folder, &found[*i].root));
    let mut kept: Vec<usize> = Vec::new();
    let mut left_out = Vec::new();
    let leave = |out: usize, of: usize| LeftOut {
        root: found[out].root.clone(),
        of: found[of].root.clone(),
        linked: real[out] == real[of],
    };
    for i in order {
        let files = |k: usize| files(&found[k]);
        if let Some(of) = kept
            .iter()
            .find(|k| contents.within(&files(i), &files(**k)))
        {
            left_out.push(leave(i, *of));
            continue;
        }
        kept.retain(|k| {
            let more = contents.within(&files(*k), &files(i));
            if more {
                left_out.push(leave(*k, i));
            }
            !more
        });
        kept.push(i);
    }
    kept.sort_unstable();
    // What was left out for a set that was left out itself belongs to the one that stayed.
    for i in 0..left_out.len() {
        while let Some(next) = left_out.iter().find(|l| l.root == left_out[i].of) {
            left_out[i].of = next.of.clone();
        }
    }
    left_out.sort_by(|a, b| a.root.cmp(&b.root));
    let mut found: Vec<Option<DataSet>> = found.into_iter().map(Some).collect();
    let kept = kept.into_iter().filter_map(|i| found[i].take());
    (kept.collect(), left_out)
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Whether the path from a folder to one below it goes through a link.
fn is_linked(folder: &Path, below: &Path) -> bool {
    let way = below.ancestors().take_while(|at| *at != folder);
    way.into_iter().any(Path::is_symlink)
}

/// A data set's files by their role: the graph, or the name of the file.
fn files(set: &DataSet) -> BTreeMap<&'static str, PathBuf> {
    let mut out = BTreeMap::from([("graph", set.kg.clone())]);
    let more = match set.layout {
        Layout::One => [CORPUS, MENTIONS],
        Layout::Two => [NODES, RELATIONS],
    };
    for name in more.into_iter().chain(SPLITS.map(|s| s.1)) {
        let path = set.root.join(name);
        if path.is_file() {
            out.insert(name, path);
        }
    }
    out
}

/// Digests of files, each made once and only where sizes agree.
#[derive(Default)]
struct Contents(HashMap<PathBuf, Option<blake3::Hash>>);

impl Contents {
    /// Whether all of `these` files are among `those`, with the same content.
    fn within(
        &mut self,
        these: &BTreeMap<&'static str, PathBuf>,
        those: &BTreeMap<&'static str, PathBuf>,
    ) -> bool {
        let pairs = these
            .iter()
            .map(|(what, path)| Some((path, those.get(what)?)));
        let Some(pairs) = pairs.collect::<Option<Vec<_>>>() else {
            return false;
        };
        let size = |path: &Path| fs::metadata(path).map(|m| m.len()).ok();
        pairs
            .iter()
            .all(|(a, b)| size(a).is_some() && size(a) == size(b))
            && pairs.iter().all(|(a, b)| self.same(a, b))
    }

    fn same(&mut self, a: &Path, b: &Path) -> bool {
        real(a) == real(b) || {
            let digest = self.digest(a);
            digest.is_some() && digest == self.digest(b)
        }
    }

    fn digest(&mut self, path: &Path) -> Option<blake3::Hash> {
        *self.0.entry(path.to_owned()).or_insert_with(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(File::open(path).ok()?).ok()?;
            Some(hasher.finalize())
        })
    }
}
