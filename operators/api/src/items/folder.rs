//! The folder with the items of one function: packs, and logs of running or killed processes.
//!
//! `items/FUNCTION/SHARED`, where SHARED stands for the function's version and everything that all
//! its results depend on. Several processes may read and write it at once: a pack gets its name
//! only when it is complete, and a log is sealed by others only when its process has ended.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use super::pack::{self, Entry, Id};
use super::{log, log::Log};

/// More packs than this are merged into one.
pub(super) const MOST_PACKS: usize = 32;
/// A pack of this size or more is not merged any more.
const LARGE: u64 = 64 << 20;

/// The file with the names of packs that came from elsewhere.
const ADDED: &str = "added";

/// The items of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    function: String,
    shared: String,
}

/// The part of a pack that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// The folder that holds it.
    pub folder: Folder,
    /// Number of results.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
}

fn is_pack(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str());
    name.is_some_and(Folder::is_pack_name)
}

fn ending(path: &Path) -> Option<&str> {
    path.extension().and_then(|e| e.to_str())
}

/// The index of a pack; `None` where it is damaged.
fn index_of(path: &Path) -> io::Result<Option<Vec<Entry>>> {
    pack::index(&pack::open(path, false)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The files in a folder, the oldest first; links and folders are left out.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut out: Vec<PathBuf> = entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_file()))
        .map(|e| e.path())
        .collect();
    out.sort();
    out.sort_by_cached_key(|path| crate::files::metadata(path).and_then(|m| m.modified()).ok());
    out
}

/// The folders of a store's items.
pub fn all(root: &Path) -> Vec<Folder> {
    let within = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut out: Vec<PathBuf> = entries
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.path())
            .collect();
        out.sort();
        out
    };
    let name = |path: &Path| path.file_name()?.to_str().map(ToOwned::to_owned);
    let mut out = Vec::new();
    for function in within(root) {
        for path in within(&function) {
            if let (Some(function), Some(shared)) = (name(&function), name(&path)) {
                out.push(Folder {
                    path,
                    function,
                    shared,
                });
            }
        }
    }
    out
}

impl Folder {
    pub(super) fn new(root: &Path, function: &str, shared: &Id) -> Self {
        let shared = pack::hex(shared);
        Folder {
            path: root.join(function).join(&shared),
            function: function.to_owned(),
            shared,
        }
    }

    /// The folder that [`Folder::name`] calls so; `None` where it is no such name.
    pub fn named(root: &Path, name: &str) -> Option<Self> {
        let (function, shared) = name.split_once('/')?;
        let plain = |part: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !part.is_empty() && part.bytes().all(plain)
        };
        (plain(function) && plain(shared)).then(|| Folder {
            path: root.join(function).join(shared),
            function: function.to_owned(),
            shared: shared.to_owned(),
        })
    }

    /// Whether a file name is that of a pack.
    pub fn is_pack_name(name: &str) -> bool {
        let stem = name
            .strip_suffix(pack::ENDING)
            .and_then(|s| s.strip_suffix('.'));
        stem.is_some_and(|s| s.len() == 64 && s.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// Whether it has a pack of this name.
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).is_file()
    }

    /// Whether a pack of this name was added from elsewhere earlier. It may have been merged since,
    /// or removed because nothing needed it: then it is not fetched again.
    pub fn was_added(&self, name: &str) -> bool {
        let added = crate::files::read_text(&self.path.join(ADDED)).unwrap_or_default();
        added.lines().any(|line| line == name)
    }

    /// Reads a pack to give it to others. `None` where it is damaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sound(path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = pack::open(path, false)?;
        let entries = pack::index(&file)?.filter(|_| pack::is_named(path, &file));
        let mut result = Vec::new();
        for entry in entries.iter().flatten() {
            if !pack::read(&file, entry, &mut result)? {
                return Ok(None);
            }
        }
        match entries {
            Some(_) => crate::files::read(path).map(Some),
            None => Ok(None),
        }
    }

    /// Adds a pack from elsewhere. False where the bytes are not what the name says, and nothing is
    /// added. Results are compared with their digests when they are read.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        let (mut file, path) = pack::create(&self.path, pack::ASIDE)?;
        file.write_all(bytes)?;
        let sealed = self.path.join(name);
        let sound = pack::index(&file)?.is_some() && pack::is_named(&sealed, &file);
        if !sound {
            remove(&path)?;
            return Ok(false);
        }
        file.sync_all()?;
        std::fs::rename(path, sealed)?;
        crate::files::sync_folder(&self.path)?;
        let added = self.path.join(ADDED);
        let mut added = File::options().create(true).append(true).open(added)?;
        added.write_all(format!("{name}\n").as_bytes())?;
        Ok(true)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its results cost money ([`super::PAID`]).
    pub fn is_paid(&self) -> bool {
        self.function.starts_with(super::PAID)
    }

    /// `FUNCTION/SHARED`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.function, self.shared)
    }

    /// The names of its packs, with their sizes.
    pub fn packs(&self) -> Vec<(PathBuf, u64)> {
        let files = files_in(&self.path).into_iter();
        files
            .filter(|path| is_pack(path))
            .filter_map(|path| {
                let bytes = std::fs::metadata(&path).ok()?.len();
                Some((path, bytes))
            })
            .collect()
    }

    /// The files that have items, with what is in them; damaged ones are left out. Logs of
    /// processes that have ended are sealed first, unless this is to be `read_only`.
    pub(super) fn open(&self, read_only: bool) -> Vec<(PathBuf, Vec<Entry>)> {
        /// Another process may merge packs meanwhile: then what was listed is gone, and there is a
        /// new one.
        const TRIES: usize = 5;
        let mut out = Vec::new();
        for _ in 0..TRIES {
            let mut moved = false;
            out.clear();
            for path in files_in(&self.path) {
                let read = match ending(&path) {
                    Some(pack::ENDING) => index_of(&path).map(|i| i.map(|i| (path, i))),
                    Some(log::ENDING) if read_only => pack::open(&path, false)
                        .and_then(|file| pack::scan(&file))
                        .map(|(entries, _)| Some((path, entries))),
                    Some(log::ENDING) => self.adopt(&path, false).map(Some),
                    _ => continue,
                };
                match read {
                    Ok(read) => out.extend(read),
                    Err(e) => moved |= e.kind() == io::ErrorKind::NotFound,
                }
            }
            if !moved {
                break;
            }
        }
        out
    }

    /// Reads a log, and seals it if nobody appends to it any more. `alone` says that no other
    /// process uses the folder, which counts where the file system has no locks.
    fn adopt(&self, path: &Path, alone: bool) -> io::Result<(PathBuf, Vec<Entry>)> {
        let file = pack::open(path, true)?;
        let ended = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => alone,
        };
        // Between opening and locking, another process may have sealed it.
        if ended && !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (entries, end) = pack::scan(&file)?;
        let mut place = path.to_owned();
        if ended && let Some(sealed) = pack::seal(&file, path, &self.path, &entries, end)? {
            place = sealed;
        }
        Ok((place, entries))
    }

    /// Joins small packs once there are many of them. A failure leaves them as they are.
    pub(super) fn merge(&self) {
        let small = self.packs().into_iter().filter(|(_, bytes)| *bytes < LARGE);
        let small: Vec<PathBuf> = small.map(|(path, _)| path).collect();
        if small.len() > MOST_PACKS {
            let _ = self.rewrite(&small, &|_| true);
        }
    }

    /// Writes the items of these packs that stay into new ones, each once, and then removes the
    /// packs. A pack that cannot be read is an error, and nothing is removed; a damaged one is of
    /// no use to anybody.
    fn rewrite(&self, packs: &[PathBuf], stays: &dyn Fn(&Id) -> bool) -> io::Result<()> {
        let mut made: HashSet<PathBuf> = HashSet::new();
        let mut new: Option<Log> = None;
        let mut seen = HashSet::new();
        let mut result = Vec::new();
        // Where an item is there twice, the later one was made because the earlier one was damaged.
        for path in packs.iter().rev() {
            let file = match pack::open(path, false) {
                // Another process has merged it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            for entry in pack::index(&file)?.unwrap_or_default() {
                if !stays(&entry.id) || seen.contains(&entry.id) {
                    continue;
                }
                if !pack::read(&file, &entry, &mut result)? {
                    continue;
                }
                seen.insert(entry.id);
                let mut log = match new.take() {
                    Some(log) => log,
                    None => Log::create(&self.path, false)?,
                };
                log.append(&[(entry.id, std::mem::take(&mut result))], false)?;
                if log.bytes() < super::SEAL_BYTES {
                    new = Some(log);
                } else {
                    made.extend(log.seal(&self.path)?);
                }
            }
        }
        if let Some(log) = new {
            made.extend(log.seal(&self.path)?);
        }
        // The new one may be equal to one of them.
        for path in packs.iter().filter(|p| !made.contains(*p)) {
            remove(path)?;
        }
        Ok(())
    }

    /// What of this folder is not among the items in `live`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn dead(&self, live: &dyn Fn(&Id) -> bool) -> io::Result<Option<Dead>> {
        let mut dead = Dead {
            folder: self.clone(),
            items: 0,
            bytes: 0,
        };
        for path in files_in(&self.path) {
            let file = pack::open(&path, false)?;
            let entries = match ending(&path) {
                Some(pack::ENDING) => pack::index(&file)?.unwrap_or_default(),
                Some(log::ENDING) => pack::scan(&file)?.0,
                Some(pack::ASIDE) => Vec::new(),
                _ => continue,
            };
            // A file without a single readable item is of no use.
            if entries.is_empty() {
                dead.items += 1;
                dead.bytes += file.metadata()?.len();
            }
            let gone = entries.iter().filter(|e| !live(&e.id));
            for entry in gone {
                dead.items += 1;
                dead.bytes += entry.length;
            }
        }
        Ok((dead.items > 0).then_some(dead))
    }

    /// Removes everything that is not among the items in `live`. No other process may use the
    /// folder meanwhile.
    ///
    /// # Errors
    /// When the disk refuses; nothing live is lost then.
    pub fn remove_dead(&self, live: &dyn Fn(&Id) -> bool) -> io::Result<()> {
        for path in files_in(&self.path) {
            match ending(&path) {
                Some(log::ENDING) => drop(self.adopt(&path, true)?),
                Some(pack::ASIDE) => remove(&path)?,
                _ => {}
            }
        }
        for (path, _) in self.packs() {
            let entries = index_of(&path)?;
            let whole = entries.is_some_and(|all| all.iter().all(|e| live(&e.id)));
            if !whole {
                self.rewrite(&[path], live)?;
            }
        }
        if self.packs().is_empty() {
            remove(&self.path.join(ADDED))?;
        }
        // Only an empty folder can be removed this way.
        let _ = std::fs::remove_dir(&self.path);
        if let Some(function) = self.path.parent() {
            let _ = std::fs::remove_dir(function);
        }
        Ok(())
    }

    /// Calls `each` with every result that can be read, in any order; some may come twice.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn for_each(&self, mut each: impl FnMut(&Id, &[u8])) -> io::Result<()> {
        let mut result = Vec::new();
        for path in files_in(&self.path) {
            let file = pack::open(&path, false)?;
            let entries = match ending(&path) {
                Some(pack::ENDING) => pack::index(&file)?.unwrap_or_default(),
                Some(log::ENDING) => pack::scan(&file)?.0,
                _ => continue,
            };
            for entry in entries {
                if pack::read(&file, &entry, &mut result)? {
                    each(&entry.id, &result);
                }
            }
        }
        Ok(())
    }

    /// Reads the indexes of all packs and, with `deep`, every result. Returns the number of
    /// results, their bytes, and the damaged files with what is wrong with them. Complete results
    /// in logs count too.
    pub fn check(&self, deep: bool) -> (u64, u64, Vec<(PathBuf, String)>) {
        let (mut items, mut bytes, mut damages) = (0, 0, Vec::new());
        let mut result = Vec::new();
        for path in files_in(&self.path) {
            if ending(&path) == Some(log::ENDING)
                && let Ok((entries, _)) = pack::open(&path, false).and_then(|f| pack::scan(&f))
            {
                items += entries.len() as u64;
                bytes += entries.iter().map(|e| e.length).sum::<u64>();
            }
            if ending(&path) != Some(pack::ENDING) {
                continue;
            }
            let file = match pack::open(&path, false) {
                Ok(file) => file,
                Err(e) => {
                    damages.push((path, format!("it cannot be read: {e}")));
                    continue;
                }
            };
            let entries = pack::index(&file).ok().flatten();
            let Some(entries) = entries.filter(|_| pack::is_named(&path, &file)) else {
                damages.push((path, "it is not as it was written".to_owned()));
                continue;
            };
            items += entries.len() as u64;
            bytes += entries.iter().map(|e| e.length).sum::<u64>();
            let mut sound = |entry| !deep || pack::read(&file, entry, &mut result).unwrap_or(false);
            let bad = entries.iter().filter(|entry| !sound(entry)).count();
            if bad > 0 {
                let of = entries.len();
                damages.push((path, format!("{bad} of its {of} items are damaged")));
            }
        }
        (items, bytes, damages)
    }
}

/// How the names of the files start that say which items an unfinished stage has.
const UNFINISHED: &str = "items-";

/// Notes in a stage's folder that it has these items, which nothing else may name until it ends.
pub(super) fn note_unfinished(workdir: &Path, folder: &str, ids: &[Id]) -> io::Result<()> {
    if workdir.as_os_str().is_empty() || ids.is_empty() {
        return Ok(());
    }
    let path = workdir.join(format!("{UNFINISHED}{}", folder.replace('/', "-")));
    let mut how = File::options();
    let mut file = how.create(true).truncate(false).write(true).open(path)?;
    // What was written in part would move all ids that follow.
    let whole = file.metadata()?.len() / 16 * 16;
    file.seek(io::SeekFrom::Start(whole))?;
    file.write_all(&ids.concat())
}

/// The items that an unfinished stage has, by its folder.
pub fn unfinished(workdir: &Path) -> HashSet<Id> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str());
        name.is_some_and(|n| n.starts_with(UNFINISHED))
    };
    let mut out = HashSet::new();
    for path in files_in(workdir).iter().filter(|p| ours(p)) {
        let bytes = crate::files::read(path).unwrap_or_default();
        out.extend(bytes.as_chunks::<16>().0);
    }
    out
}
