//! Where everything in a store is.
//!
//! ```text
//! .gfm-pipe/
//!   version              format version of the store
//!   .gitignore           the store ignores itself
//!   objects/ab/<digest>.parquet   a table, or a part of a large one
//!   stages/<key>.json    one finished stage each
//!   last/<pipeline>/<stage>.json  what the stage looked like when it was last asked for
//!   runs/<id>.json, runs/latest, runs/sequence   journals, and the order of runs
//!   runs/<id>.events.jsonl, runs/<id>.metrics.parquet   what happens in a run, while it goes on
//!   logs/<id>.log        messages of a run
//!   locks/<key>          operating system locks; never a reason to clean up
//!   work/<key>/          private folders of running or killed stages
//!   tmp/                 objects being written
//!   codes/<version>/ab/<digest>   codes of the vectors of an object (`gfm_pipe_api::vector_table`)
//!   items/<function>/<shared>/<digest>.pack   results of single items (`gfm_pipe_api::items`)
//!   files.json           digests of input files, with their stamps
//!   objects.json         digests of objects as they were last read, with their stamps
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gfm_pipe_api::files;

use super::atomic;
use super::digests::Digests;
use super::error::StoreError;

/// Format version of the layout.
pub const VERSION: u32 = 1;

/// The maximum number of objects whose digests are remembered.
const MOST_OBJECTS: usize = 100_000;

const FOLDERS: [&str; 10] = [
    "objects", "stages", "last", "runs", "logs", "locks", "work", "tmp", "items", "codes",
];

/// Where earlier versions kept what is now in `items`; `gc` removes it.
const OLD_CACHE: &str = "cache";

/// A store on disk.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Digests of the objects' bytes when they were last read.
    pub(super) read: Arc<Digests>,
}

impl Store {
    /// Opens a store for writing; creates it if the folder does not exist or is empty.
    ///
    /// # Errors
    /// When the folder is not a store, has an unknown version, or cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Store::at(root.into());
        if !store.check_version()? {
            let strangers = fs::read_dir(&store.root).is_ok_and(|mut d| {
                d.any(|e| e.is_ok_and(|e| !is_ours(&e.file_name().to_string_lossy())))
            });
            if strangers {
                return Err(StoreError::NotAStore { path: store.root });
            }
        }
        for folder in FOLDERS {
            fs::create_dir_all(store.root.join(folder))
                .map_err(StoreError::io("create the store", &store.root))?;
        }
        let ignore = store.root.join(".gitignore");
        if !ignore.exists() {
            atomic::write(&ignore, b"*\n")?;
        }
        // The version file is written last: a store without one is still being created, and
        // creating it again is harmless.
        let version = store.root.join("version");
        if !version.exists() {
            atomic::write(&version, format!("{VERSION}\n").as_bytes())?;
        }
        atomic::sweep(&store.root.join("tmp"));
        Ok(store)
    }

    fn at(root: PathBuf) -> Self {
        let read = Digests::new(root.join("objects.json"), MOST_OBJECTS);
        Store {
            root,
            read: Arc::new(read),
        }
    }

    /// Opens a store for reading only: nothing is created, and a store that does not exist counts
    /// as empty.
    ///
    /// # Errors
    /// When it has an unknown version.
    pub fn open_readonly(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Store::at(root.into());
        store.check_version()?;
        Ok(store)
    }

    /// Whether there is a store; an error if its version is unknown.
    fn check_version(&self) -> Result<bool, StoreError> {
        let path = self.root.join("version");
        let text = match files::read_text(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(StoreError::io("read", &path)(e)),
        };
        if text.trim() == VERSION.to_string() {
            return Ok(true);
        }
        Err(StoreError::Version {
            path,
            found: text.trim().chars().take(20).collect(),
            known: VERSION,
        })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a store was created here.
    pub fn exists(&self) -> bool {
        self.root.join("version").exists()
    }

    /// The path of an object's file.
    pub fn object(&self, digest: &str) -> PathBuf {
        let shard = digest.get(..2).unwrap_or("__");
        self.root
            .join("objects")
            .join(shard)
            .join(format!("{digest}.parquet"))
    }

    /// The folder in which objects are written before their digest is known.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The path of a stage's manifest.
    pub fn manifest_path(&self, key: &str) -> PathBuf {
        self.root.join("stages").join(format!("{key}.json"))
    }

    /// The private folder of a stage that is running, or was killed.
    pub fn workdir(&self, key: &str) -> PathBuf {
        self.root.join("work").join(key)
    }

    /// The folder in which earlier versions kept results of single items.
    pub(super) fn old_cache(&self) -> PathBuf {
        self.root.join(OLD_CACHE)
    }

    /// The path of a key's lock file.
    pub fn lock_path(&self, key: &str) -> PathBuf {
        self.root.join("locks").join(key)
    }

    /// The path of the lock file of a run.
    pub fn run_lock_path(&self, run: &str) -> PathBuf {
        self.lock_path(&format!("run-{run}"))
    }

    /// The path of the record of what a stage looked like when it was last asked for.
    pub fn last_path(&self, pipeline: &str, stage: &str) -> PathBuf {
        self.root
            .join("last")
            .join(file_name(pipeline))
            .join(format!("{}.json", file_name(stage)))
    }

    /// The path of a run's journal.
    pub fn journal_path(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(format!("{run}.json"))
    }

    /// The path of a run's events.
    pub fn events_path(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(format!("{run}.events.jsonl"))
    }

    /// The path of the table of a run's metrics.
    pub fn metrics_path(&self, run: &str) -> PathBuf {
        self.root
            .join("runs")
            .join(format!("{run}.metrics.parquet"))
    }

    /// The path of the file that names the latest run.
    pub fn latest_path(&self) -> PathBuf {
        self.root.join("runs").join("latest")
    }

    /// The path of the file that holds the sequence number of the run that started last.
    pub fn sequence_path(&self) -> PathBuf {
        self.root.join("runs").join("sequence")
    }

    /// The path of a run's log.
    pub fn log_path(&self, run: &str) -> PathBuf {
        self.root.join("logs").join(format!("{run}.log"))
    }

    /// The path of the cache of input file digests.
    pub fn files_path(&self) -> PathBuf {
        self.root.join("files.json")
    }

    /// Total size of all objects and codes of vectors in bytes; those that cannot be listed are not
    /// counted.
    pub fn disk_used(&self) -> u64 {
        let objects = self.objects().unwrap_or_default();
        let codes = self.codes().unwrap_or_default();
        objects.iter().chain(&codes).map(|(_, bytes)| bytes).sum()
    }
}

/// The store's files outside its folders.
const FILES: [&str; 3] = ["version", "files.json", "objects.json"];

fn is_ours(name: &str) -> bool {
    let known = FILES.contains(&name) || FOLDERS.contains(&name);
    name.starts_with('.') || known || name == OLD_CACHE
}

/// Turns a name into one that is a valid file name on every system and still readable: other
/// characters are written as `%xx`, and a long name is cut and made unique by its digest.
pub(crate) fn file_name(name: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02x}");
        }
    }
    if out.len() > 120 {
        out.truncate(100);
        let digest = blake3::hash(name.as_bytes()).to_hex();
        out.push('-');
        out.push_str(&digest[..16]);
    }
    if out.is_empty() { "%".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_unknown_version_and_a_strange_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("s");
        Store::open(&root).unwrap();
        Store::open(&root).unwrap();
        fs::write(root.join("version"), "7\n").unwrap();
        let e = Store::open(&root).unwrap_err();
        assert!(e.to_string().contains("format version 7"), "{e}");
        assert!(Store::open_readonly(&root).is_err());

        let strange = dir.path().join("home");
        fs::create_dir(&strange).unwrap();
        fs::write(strange.join("thesis.tex"), "…").unwrap();
        assert!(matches!(
            Store::open(&strange),
            Err(StoreError::NotAStore { .. })
        ));
        assert_eq!(fs::read_dir(&strange).unwrap().count(), 1);
    }

    #[test]
    fn looking_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_readonly(dir.path().join("s")).unwrap();
        assert!(!store.exists());
        assert!(!store.root().exists());
        assert_eq!(store.disk_used(), 0);
    }

    #[test]
    fn names_become_distinct_file_names() {
        assert_eq!(file_name("kg[a]"), "kg%5ba%5d");
        assert_eq!(file_name("../x"), "%2e%2e%2fx");
        let long = "é".repeat(200);
        assert!(file_name(&long).len() < 130);
        assert_ne!(file_name(&long), file_name(&"é".repeat(201)));
    }
}
