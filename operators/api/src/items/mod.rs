//! Work per item: what a stage computes for each document, text or line on its own, and keeps for
//! the next run.
//!
//! An operator names a function of its own ([`ItemFunction`]) and opens it with everything that all
//! results depend on ([`Items::open`]). An item has a name, for people, and an [`Id`]: a digest of
//! everything that its result depends on. A result must not hold ids of documents, places in a
//! table, or anything else that other items have an influence on; a pass over the columns adds
//! those.
//!
//! Finished items are appended to a log at once, so that a killed process loses none; the log is
//! not synced, so that a power cut may lose what was written last. A complete log is sealed into a
//! pack, a file named by its digest (`pack`). What is damaged, or cannot be read, counts as absent,
//! and is computed again.
//!
//! The engine lists which items a stage used beside its result. `gfm-pipe gc` removes the others.

mod folder;
mod log;
mod pack;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

pub use folder::{Dead, Folder, all as folders, unfinished};
use log::Log;
pub use pack::{Id, hex};

use crate::{OpError, OpResult};

/// How the names of functions begin whose results cost money: answers of language models. They are
/// on the disk before they are used, a stage that is forced to run takes them all the same, and
/// only `gfm-pipe gc --answers` removes them.
pub const PAID: &str = "paid-";

/// A log is sealed once it has this many bytes.
const SEAL_BYTES: u64 = 64 << 20;

/// A function from one item to its result.
#[derive(Debug, Clone, Copy)]
pub struct ItemFunction {
    /// Its name: letters and `-`.
    pub name: &'static str,
    /// Raise it when a result changes although nothing that it depends on does.
    pub version: u32,
}

/// Where items come from that this machine has not computed.
pub trait PackSource: Send + Sync {
    /// Adds packs to a folder of the local store. What goes wrong costs time, and no result.
    fn fetch(&self, folder: &Folder);
}

/// An item that a stage's result was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The folder of its function, as an index of [`UsedItems::folders`].
    pub folder: u32,
    /// What people call it.
    pub name: String,
    /// The digest of everything its result depends on.
    pub id: Id,
}

/// The items that a stage's result was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsedItems {
    /// Folders, as [`Folder::name`] gives them.
    pub folders: Vec<String>,
    /// The items, in the operator's order.
    pub items: Vec<Used>,
    /// How many were computed, and not taken from what was kept.
    pub computed: u64,
}

/// The kept items of a store, as a running stage sees them.
#[derive(Clone)]
pub struct Items {
    /// `None` where nothing is kept.
    root: Option<PathBuf>,
    /// The stage's folder, which says which items an unfinished stage has.
    workdir: PathBuf,
    machine: String,
    source: Option<Arc<dyn PackSource>>,
    /// Whether to compute everything anew.
    anew: bool,
    /// Whether only to read what is kept.
    read_only: bool,
    used: Arc<Mutex<UsedItems>>,
}

impl Items {
    /// Keeps items below `root`. `machine` is the kind of machine: items of another kind are not
    /// used, because floating-point results may differ in their last bits. `workdir` is a
    /// private folder of the stage. Until the stage ends, a file there lists the items that it has.
    pub fn new(root: PathBuf, workdir: PathBuf, machine: String) -> Self {
        Items {
            root: Some(root),
            workdir,
            machine,
            source: None,
            anew: false,
            read_only: false,
            used: Arc::default(),
        }
    }

    /// Reads what is kept below `root`, and keeps nothing.
    pub fn read_only(root: PathBuf, machine: String) -> Self {
        Items {
            read_only: true,
            ..Items::new(root, PathBuf::new(), machine)
        }
    }

    /// Keeps nothing.
    pub fn nowhere() -> Self {
        Items {
            root: None,
            workdir: PathBuf::new(),
            machine: String::new(),
            source: None,
            anew: false,
            read_only: false,
            used: Arc::default(),
        }
    }

    /// The same, with another place to look for items that are not here.
    #[must_use]
    pub fn from_source(self, source: Option<Arc<dyn PackSource>>) -> Self {
        Items { source, ..self }
    }

    /// The same, but nothing that is kept is used: the user has asked to compute it again.
    #[must_use]
    pub fn anew(self, anew: bool) -> Self {
        Items { anew, ..self }
    }

    /// Opens the items of a function. `shared` is everything that all its results depend on:
    /// parameters, digests of weights.
    pub fn open(&self, function: &ItemFunction, shared: &[&str]) -> Work<'_> {
        let version = function.version.to_string();
        // A server answers alike whatever machine asks.
        let machine = if function.is_paid() {
            ""
        } else {
            &self.machine
        };
        let of = [&[function.name, &version, machine], shared].concat();
        let id = digest("gfm-pipe function of items", &of);
        let Some(root) = &self.root else {
            return Work::closed(self, id);
        };
        let folder = Folder::new(root, function.name, &id);
        let anew = self.anew && !function.is_paid();
        if let Some(source) = self.source.as_ref().filter(|_| !anew) {
            source.fetch(&folder);
        }
        Work::new(self, id, folder, anew)
    }

    /// The items used so far; empties the list.
    pub fn take_used(&self) -> UsedItems {
        std::mem::take(&mut self.locked())
    }

    fn locked(&self) -> MutexGuard<'_, UsedItems> {
        // Every change is an addition: a panic elsewhere leaves nothing half done.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A digest of parts for a purpose. Other parts, or another purpose, have another digest.
fn digest(purpose: &str, parts: &[&str]) -> Id {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    for part in parts {
        // The length tells two ways to cut the same characters apart.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    pack::short(&hasher.finalize())
}

/// Computes the ids of the items of one function. Unlike [`Work`], threads may share it.
#[derive(Debug, Clone, Copy)]
pub struct Ids(Id);

impl Ids {
    /// The id of the item that consists of these parts.
    pub fn id(self, parts: &[&str]) -> Id {
        let function = pack::hex(&self.0);
        digest("gfm-pipe item", &[&[function.as_str()], parts].concat())
    }
}

/// Where the bytes of an item are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: u32,
    entry: pack::Entry,
}

/// The items of one function in a running stage.
pub struct Work<'a> {
    items: &'a Items,
    /// Stands for the function and everything that all results depend on.
    function: Id,
    folder: Option<Folder>,
    /// Index of the folder in [`UsedItems::folders`].
    number: u32,
    files: Vec<PathBuf>,
    places: HashMap<Id, Place>,
    log: Option<Log>,
    /// Whether writing failed: nothing is written any more.
    broken: bool,
    trouble: Option<OpError>,
}

impl ItemFunction {
    fn is_paid(&self) -> bool {
        self.name.starts_with(PAID)
    }
}

impl<'a> Work<'a> {
    fn closed(items: &'a Items, function: Id) -> Self {
        Work {
            items,
            function,
            folder: None,
            number: 0,
            files: Vec::new(),
            places: HashMap::new(),
            log: None,
            broken: false,
            trouble: None,
        }
    }

    fn new(items: &'a Items, function: Id, folder: Folder, anew: bool) -> Self {
        let mut work = Work::closed(items, function);
        if !anew {
            work.list(&folder);
        }
        let mut used = items.locked();
        let name = folder.name();
        let known = used.folders.iter().position(|f| *f == name);
        work.number = known.unwrap_or_else(|| {
            used.folders.push(name);
            used.folders.len() - 1
        }) as u32;
        drop(used);
        work.folder = Some(folder);
        work
    }

    /// Finds out what the folder has.
    fn list(&mut self, folder: &Folder) {
        self.files.clear();
        self.places.clear();
        for (path, entries) in folder.open(self.items.read_only) {
            let file = self.files.len() as u32;
            self.files.push(path);
            let place = |entry: pack::Entry| (entry.id, Place { file, entry });
            self.places.extend(entries.into_iter().map(place));
        }
    }

    /// The folder that results are kept in, with its path; `None` where none are kept.
    pub fn kept_as(&self) -> Option<String> {
        let folder = self.folder.as_ref().filter(|_| !self.items.read_only)?;
        Some(folder.path().display().to_string())
    }

    /// The id of the item that consists of these parts.
    pub fn id(&self, parts: &[&str]) -> Id {
        self.ids().id(parts)
    }

    /// What gives items their ids.
    pub fn ids(&self) -> Ids {
        Ids(self.function)
    }

    /// Calls `found` for each id whose result is kept, in any order, with the id's position in
    /// `ids` and the bytes of the result.
    pub fn read(&mut self, ids: &[Id], mut found: impl FnMut(usize, &[u8])) {
        let mut wanted: Vec<usize> = (0..ids.len()).collect();
        // Another process may have merged packs since they were listed: then they are listed again,
        // once.
        for _ in 0..2 {
            let moved = self.read_listed(ids, &wanted, &mut found);
            if moved.is_empty() {
                break;
            }
            wanted = moved;
            if let Some(folder) = self.folder.clone() {
                self.list(&folder);
            }
        }
        let had: Vec<Id> = ids
            .iter()
            .filter(|id| self.places.contains_key(*id))
            .copied()
            .collect();
        if let Some(folder) = self.folder.as_ref().filter(|_| !self.items.read_only) {
            // If this fails, `gc` may remove them before the stage ends, which costs time.
            let _ = folder::note_unfinished(&self.items.workdir, &folder.name(), &had);
        }
    }

    /// Reads the wanted ids. Returns those whose files are gone.
    fn read_listed(
        &self,
        ids: &[Id],
        wanted: &[usize],
        found: &mut impl FnMut(usize, &[u8]),
    ) -> Vec<usize> {
        let place = |i: &usize| self.places.get(&ids[*i]).map(|place| (*place, *i));
        let mut places: Vec<(Place, usize)> = wanted.iter().filter_map(place).collect();
        places.sort_unstable();
        let (mut bytes, mut moved) = (Vec::new(), Vec::new());
        for of_file in places.chunk_by(|a, b| a.0.file == b.0.file) {
            let file = match pack::open(&self.files[of_file[0].0.file as usize], false) {
                Ok(file) => file,
                Err(e) => {
                    if e.kind() == std::io::ErrorKind::NotFound {
                        moved.extend(of_file.iter().map(|(_, i)| *i));
                    }
                    continue;
                }
            };
            for (place, i) in of_file {
                if pack::read(&file, &place.entry, &mut bytes).unwrap_or(false) {
                    found(*i, &bytes);
                }
            }
        }
        moved
    }

    /// Keeps results. A failure costs time in a later run and nothing else; [`Work::trouble`]
    /// returns it.
    pub fn keep(&mut self, results: &[(Id, Vec<u8>)]) {
        let writable = !self.broken && !self.items.read_only;
        let Some(folder) = self.folder.as_ref().filter(|_| writable) else {
            return;
        };
        if results.is_empty() {
            return;
        }
        let kept = keep(&mut self.log, folder, &self.items.workdir, results, false);
        if let Err(e) = kept {
            let e = OpError::wrap("failed to keep results for later runs", e);
            self.broken = true;
            self.trouble = Some(e.file(folder.path()));
        }
    }

    /// Keeps results that cost money: they are on the disk when this returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep_paid(&mut self, results: &[(Id, Vec<u8>)]) -> OpResult<()> {
        let writable = !self.items.read_only;
        let Some(folder) = self.folder.clone().filter(|_| writable) else {
            return Ok(());
        };
        let failed = |e| OpError::wrap("failed to keep an answer", e).file(folder.path());
        let (path, entries) =
            keep(&mut self.log, &folder, &self.items.workdir, results, true).map_err(failed)?;
        let known = self.files.iter().position(|f| *f == path);
        let file = known.unwrap_or_else(|| {
            self.files.push(path);
            self.files.len() - 1
        }) as u32;
        let place = |entry: pack::Entry| (entry.id, Place { file, entry });
        self.places.extend(entries.into_iter().map(place));
        Ok(())
    }

    /// The result of an item, where it is kept.
    pub fn get(&mut self, id: Id) -> Option<Vec<u8>> {
        let mut out = None;
        if self.places.contains_key(&id) {
            self.read(&[id], |_, bytes| out = Some(bytes.to_vec()));
        }
        out
    }

    /// Notes that the stage's result is made of this item.
    pub fn used(&self, name: &str, id: Id) {
        let item = Used {
            folder: self.number,
            name: shown(name),
            id,
        };
        if self.folder.is_some() {
            self.items.locked().items.push(item);
        }
    }

    /// Notes that this many of the items had to be computed.
    pub fn computed(&self, n: usize) {
        self.items.locked().computed += n as u64;
    }

    /// What went wrong when results were kept, the first time it is asked for.
    pub fn trouble(&mut self) -> Option<OpError> {
        self.trouble.take()
    }

    /// Returns the results of items. Results that are kept are read, and `compute` makes the rest.
    ///
    /// `decode` turns kept bytes into a result, and refuses what does not fit the item. It is
    /// called on all threads. `compute` gets positions in `items`, and returns a result and its
    /// bytes for each.
    ///
    /// # Errors
    /// The errors of `compute`, and when it returns another number of results.
    pub fn obtain<T: Send>(
        &mut self,
        items: &[Item<'_>],
        decode: impl Fn(usize, &[u8]) -> Option<T> + Sync,
        compute: impl FnOnce(&[usize]) -> OpResult<Vec<(T, Vec<u8>)>>,
    ) -> OpResult<Vec<T>> {
        let ids: Vec<Id> = items.iter().map(|i| self.id(i.parts)).collect();
        let mut kept: Vec<Option<Vec<u8>>> = vec![None; ids.len()];
        self.read(&ids, |i, bytes| kept[i] = Some(bytes.to_vec()));
        let decoded = kept.into_par_iter().enumerate();
        let decoded = decoded.map(|(i, bytes)| decode(i, &bytes?));
        let mut out: Vec<Option<T>> = decoded.collect();
        let missing: Vec<usize> = (0..ids.len()).filter(|i| out[*i].is_none()).collect();
        if !missing.is_empty() {
            let made = compute(&missing)?;
            let mut results = Vec::with_capacity(made.len());
            for (i, (result, bytes)) in missing.iter().zip(made) {
                results.push((ids[*i], bytes));
                out[*i] = Some(result);
            }
            self.keep(&results);
        }
        self.computed(missing.len());
        for (item, id) in items.iter().zip(&ids) {
            self.used(item.name, *id);
        }
        let all = out.into_iter().collect::<Option<Vec<T>>>();
        all.ok_or_else(|| OpError::internal("an item has no result"))
    }
}

/// A stage that ends, however it does, leaves packs and no log.
impl Drop for Work<'_> {
    fn drop(&mut self) {
        if let (Some(log), Some(folder)) = (self.log.take(), &self.folder) {
            // If this fails, the log stays, and the next stage seals it.
            let _ = log.seal(folder.path());
            folder.merge();
        }
    }
}

/// An item: what people call it, and what its result depends on besides the function.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Its name.
    pub name: &'a str,
    /// Everything that its result depends on.
    pub parts: &'a [&'a str],
}

/// Appends results to the log, and starts one where there is none. Returns the file that they are
/// in, and where.
fn keep(
    log: &mut Option<Log>,
    folder: &Folder,
    workdir: &Path,
    results: &[(Id, Vec<u8>)],
    synced: bool,
) -> std::io::Result<(PathBuf, Vec<pack::Entry>)> {
    let ids: Vec<Id> = results.iter().map(|(id, _)| *id).collect();
    // Before the results: `gc` removes items that nothing names.
    folder::note_unfinished(workdir, &folder.name(), &ids)?;
    let mut open = match log.take() {
        Some(open) => open,
        None => Log::create(folder.path(), synced)?,
    };
    let entries = open.append(results, synced)?;
    let path = open.path().to_owned();
    if open.bytes() < SEAL_BYTES {
        *log = Some(open);
        return Ok((path, entries));
    }
    let sealed = open.seal(folder.path())?;
    Ok((sealed.unwrap_or(path), entries))
}

/// A name as it is kept: one line of at most 80 characters.
fn shown(name: &str) -> String {
    const MOST: usize = 80;
    let mut words = String::new();
    for word in name.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        // A long text is not read to its end.
        if words.len() > 4 * MOST {
            break;
        }
    }
    match words.char_indices().nth(MOST) {
        None => words,
        Some((at, _)) => format!("{}…", &words[..at]),
    }
}

#[cfg(test)]
mod tests;
