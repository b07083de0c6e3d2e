//! A second store that several machines share: a folder, or a bucket in a cloud.
//!
//! It holds the same manifests and objects under `v<cache format>/`. A run fetches from it what the
//! local store lacks, and pushes what the remote lacks. Invariants: nothing enters the local store
//! unless it has the digest that its manifest says; a manifest is pushed only after its objects;
//! and a remote that fails costs a warning and time, never a result. After the first failure, the
//! remote is not used again in the same run.

mod items;

pub use items::RemoteItems;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use gfm_pipe_api::{Cancel, OpEntry, files};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Place;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

use super::atomic;
use super::entry::ObjectEntry;
use super::error::StoreError;
use super::hashing::Arrival;
use super::layout::Store;
use super::manifest::{Manifest, READABLE, fits, parse_json};
use super::sound::{Found, Look, distrusted};
use crate::panics;
use crate::plan::{CACHE_FORMAT, Key};

/// Concurrent transfers.
const AT_ONCE: usize = 4;

/// Size of a part of an upload, in bytes.
const PART: usize = 8 << 20;

/// Manifests are a few kilobytes, and 60 KB for a table of 20 GiB; a file larger than this is not
/// one.
const MAX_MANIFEST: u64 = 16 << 20;

/// Why a remote cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The text is not an address, or its scheme is not supported.
    #[error("remote {name}: {why}")]
    Address {
        /// The address, as the user wrote it.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The address is in a cloud, and this build has no cloud support.
    #[error("remote {0}: this gfm-pipe was built without clouds")]
    NoCloud(String),
    /// The system refused to create threads or timers.
    #[error("failed to start the transfers: {0}")]
    Runtime(std::io::Error),
}

impl RemoteError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            RemoteError::Address { .. } => Some(
                "give a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
            ),
            RemoteError::NoCloud(_) => {
                Some("build it with `cargo build --release --features cloud`, or give a folder")
            }
            RemoteError::Runtime(_) => None,
        }
    }
}

/// What to push of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Give {
    /// Everything, if the remote lacks its manifest; for stages that were cached.
    IfMissing,
    /// Its manifest, and those objects that the remote lacks; for stages that were computed.
    Missing,
    /// Everything, even if it seems to be there; for stages the user asked to compute again.
    All,
}

/// How much was transferred in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Number of stages.
    pub stages: u64,
    /// Size of their objects in bytes; manifests are not counted.
    pub bytes: u64,
}

/// What a run fetched from its remote and pushed to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    /// From the remote to the local store.
    pub fetched: Moved,
    /// From the local store to the remote.
    pub pushed: Moved,
}

#[derive(Default)]
struct State {
    /// Set by the first failure: the remote is not used again.
    gone: bool,
    /// Messages that were not reported to the user yet.
    news: Vec<String>,
    /// Whether any request was made yet.
    met: bool,
    /// Manifests found so far, so that a run asks for each only once.
    found: BTreeMap<Key, Manifest>,
    /// Keys whose manifests cannot be used; the user was told once.
    unusable: BTreeSet<Key>,
    /// The subset of `unusable` that a newer version wrote: these are not replaced.
    newer: BTreeSet<Key>,
    /// Objects that arrived damaged or not at all: they are pushed again even if they seem to be
    /// there.
    bad: BTreeSet<String>,
    /// Folders of items whose packs were fetched.
    folders: BTreeSet<String>,
    exchange: Exchange,
}

/// A remote store.
pub struct Remote {
    name: String,
    objects: Arc<dyn ObjectStore>,
    prefix: Place,
    /// The path of the folder, if the remote is a folder. It is checked before use, because a
    /// missing folder must not look like an empty one.
    folder: Option<PathBuf>,
    push: bool,
    runtime: Runtime,
    state: Mutex<State>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.name)
    }
}

impl Remote {
    /// Prepares a remote; no request is made yet. `address` is a folder or a URL like
    /// `s3://bucket/prefix`. `options` are names and values that the cloud's own tools read from
    /// the environment (`AWS_ACCESS_KEY_ID`); unknown ones are ignored. Without `push`, nothing is
    /// written to the remote.
    ///
    /// # Errors
    /// When the address is invalid or not supported.
    pub fn open(
        address: &str,
        options: &BTreeMap<String, String>,
        push: bool,
    ) -> Result<Self, RemoteError> {
        let wrong = |why: String| RemoteError::Address {
            name: address.to_owned(),
            why,
        };
        if address.trim().is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        let (objects, prefix, folder) = if address.contains("://") && !is_file(address) {
            let (objects, prefix) = cloud(address, options)?;
            (objects, prefix, None)
        } else {
            let folder = PathBuf::from(address.strip_prefix("file://").unwrap_or(address));
            // Resolves `..` and links if the folder exists.
            let folder = folder
                .canonicalize()
                .or_else(|_| std::path::absolute(&folder))
                .map_err(|e| wrong(e.to_string()))?;
            let root = LocalFileSystem::new();
            let prefix = Place::from_absolute_path(&folder).map_err(|e| wrong(e.to_string()))?;
            (Arc::new(root) as Arc<dyn ObjectStore>, prefix, Some(folder))
        };
        let prefix = prefix.join(format!("v{CACHE_FORMAT}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("gfm-pipe-remote")
            .enable_all()
            .build()
            .map_err(RemoteError::Runtime)?;
        Ok(Remote {
            name: address.to_owned(),
            objects,
            prefix,
            folder,
            push,
            runtime,
            state: Mutex::default(),
        })
    }

    /// The address, as the user wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Messages about what went wrong since the last call.
    pub fn news(&self) -> Vec<String> {
        self.with(|s| std::mem::take(&mut s.news))
    }

    /// What was exchanged so far.
    pub fn exchange(&self) -> Exchange {
        self.with(|s| s.exchange.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // Every change is small and cannot be left half done.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the remote has not failed yet and, if it is a folder, exists.
    fn is_there(&self) -> bool {
        if self.with(|s| s.gone) {
            return false;
        }
        if let Some(folder) = &self.folder
            && !folder.is_dir()
        {
            self.give_up("there is no such folder (if it is new, make it: an unmounted disk must not look empty)");
            return false;
        }
        true
    }

    fn give_up(&self, why: &str) {
        self.with(|s| {
            if !std::mem::replace(&mut s.gone, true) {
                let name = &self.name;
                s.news
                    .push(format!("remote {name}: {why}; going on without it"));
            }
        });
    }

    /// Runs a transfer to its end. A panic in it counts as a failure of the remote and does not end
    /// the run.
    fn wait<T>(&self, transfer: impl Future<Output = T>) -> Option<T> {
        match panics::catch(|| self.runtime.block_on(transfer)) {
            Ok(done) => Some(done),
            Err(panic) => {
                let place = panic.place.unwrap_or_default();
                self.give_up(&format!("its client failed: {} {place}", panic.message));
                None
            }
        }
    }

    fn say(&self, text: String) {
        self.with(|s| s.news.push(format!("remote {}: {text}", self.name)));
    }

    fn manifest_place(&self, key: &Key) -> Place {
        self.prefix
            .clone()
            .join("stages")
            .join(format!("{key}.json"))
    }

    fn object_place(&self, digest: &str) -> Place {
        let objects = self.prefix.clone().join("objects");
        objects.join(&digest[..2]).join(format!("{digest}.parquet"))
    }

    /// Looks for a finished stage. `None` when there is no usable one, or the remote cannot be
    /// reached.
    pub fn find(&self, key: &Key, op: &OpEntry) -> Option<Manifest> {
        if let Some(found) = self.with(|s| s.found.get(key).cloned()) {
            return Some(found);
        }
        if !self.is_there() {
            return None;
        }
        if self.with(|s| s.unusable.contains(key)) {
            return None;
        }
        let place = self.manifest_place(key);
        let asked = self.wait(async {
            // A bucket that does not exist answers like an empty one, except to a list request.
            if !self.with(|s| std::mem::replace(&mut s.met, true)) && self.folder.is_none() {
                self.objects.list(Some(&self.prefix)).try_next().await?;
            }
            small(self.objects.as_ref(), &place).await
        });
        let bytes = match asked? {
            Ok(bytes) => bytes?,
            Err(e) => {
                self.give_up(&e.to_string());
                return None;
            }
        };
        let manifest: Result<Manifest, StoreError> =
            parse_json(Path::new(place.as_ref()), &bytes, READABLE);
        // The manifest must have the key it is named by, and the ports that the operator declares.
        let usable = |m: &Manifest| {
            m.fault(key.as_str()).is_none()
                && m.ingredients.key() == *key
                && fits(m, op)
                && m.objects().all(|t| is_digest(&t.digest))
        };
        match manifest {
            Ok(manifest) if usable(&manifest) => {
                self.with(|s| s.found.insert(key.clone(), manifest.clone()));
                return Some(manifest);
            }
            Err(e @ StoreError::Version { .. }) => {
                self.with(|s| s.newer.insert(key.clone()));
                self.say(format!("{e}; it is not used, and stays"));
            }
            _ => self.say(format!("{place} is damaged; it is not used")),
        }
        self.with(|s| s.unusable.insert(key.clone()));
        None
    }

    /// Copies a stage into the local store: its objects, then its manifest. Returns false if that
    /// did not succeed; the stage must then be computed.
    ///
    /// # Errors
    /// When the local store refuses, or the user asked to stop.
    pub fn fetch(
        &self,
        store: &Store,
        manifest: &Manifest,
        cancel: &Cancel,
    ) -> Result<bool, StoreError> {
        if !self.is_there() {
            return Ok(false);
        }
        let arrivals = stream::iter(distinct(manifest))
            .map(|object| self.receive(store, object, cancel))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<Option<u64>>>();
        let bytes = match self.wait(arrivals) {
            None => return Ok(false),
            Some(Ok(bytes)) => bytes,
            Some(Err(Lost::Local(e))) => return Err(e),
            Some(Err(Lost::Remote(e))) => {
                self.give_up(&e.to_string());
                return Ok(false);
            }
        };
        let Some(bytes) = bytes.into_iter().sum::<Option<u64>>() else {
            self.with(|s| s.found.remove(&manifest.key));
            return Ok(false);
        };
        atomic::sync_dir(&store.root().join("objects"))?;
        store.put_manifest(manifest)?;
        self.with(|s| {
            s.exchange.fetched.stages += 1;
            s.exchange.fetched.bytes += bytes;
        });
        Ok(true)
    }

    /// Receives one object; `None` when the remote lacks it or its copy is damaged.
    async fn receive(
        &self,
        store: &Store,
        object: &ObjectEntry,
        cancel: &Cancel,
    ) -> Result<Option<u64>, Lost> {
        if store.check(&object.digest, object.bytes, Look::Stamp)? == Found::Sound {
            return Ok(Some(0));
        }
        let place = self.object_place(&object.digest);
        let bad = |why: &str| {
            self.say(format!("{place} {why}; it is not used"));
            self.with(|s| s.bad.insert(object.digest.clone()));
            Ok(None)
        };
        let got = match self.objects.get(&place).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return bad("is missing"),
            Err(e) => return Err(Lost::Remote(e)),
        };
        if got.meta.size != object.bytes {
            return bad("is damaged");
        }
        let mut arrival = Arrival::start(store)?;
        let mut body = got.into_stream();
        while let Some(chunk) = body.try_next().await.map_err(Lost::Remote)? {
            if cancel.is_cancelled() {
                return Err(Lost::Local(StoreError::Cancelled));
            }
            arrival.write(&chunk)?;
        }
        match arrival.store(store, object)? {
            None => return bad("is damaged"),
            Some(0) => {}
            Some(n) => {
                let told = distrusted(n);
                self.say(format!(
                    "{place} took the place of a damaged object; {told}"
                ));
            }
        }
        Ok(Some(object.bytes))
    }

    /// Pushes stages that the local store has. Best effort: [`Remote::news`] reports what goes
    /// wrong.
    pub fn push(&self, store: &Store, stages: &[(Key, Give)], cancel: &Cancel) {
        if !self.push || stages.is_empty() || !self.is_there() {
            return;
        }
        let all = stream::iter(stages)
            .map(|(key, give)| self.give(store, key, *give, cancel))
            .buffer_unordered(AT_ONCE)
            // Polled to the end even after a failure, because uploads that have begun must be
            // aborted. The other stages see the failure and do not begin.
            .collect::<Vec<Result<(), Lost>>>();
        let ended = self.wait(all).unwrap_or_default();
        for lost in ended.into_iter().filter_map(Result::err) {
            match lost {
                Lost::Local(StoreError::Cancelled) => {
                    self.say("interrupted; the next run gives it the rest".to_owned());
                    return;
                }
                Lost::Local(e) => self.say(format!("not all was given to it: {e}")),
                Lost::Remote(e) => self.give_up(&e.to_string()),
            }
        }
    }

    async fn give(
        &self,
        store: &Store,
        key: &Key,
        give: Give,
        cancel: &Cancel,
    ) -> Result<(), Lost> {
        let place = self.manifest_place(key);
        if self.with(|s| s.gone || s.newer.contains(key)) {
            return Ok(());
        }
        if give == Give::IfMissing
            && (self.with(|s| s.found.contains_key(key)) || self.has(&place).await?.is_some())
        {
            return Ok(());
        }
        let Some(manifest) = store.manifest(key)? else {
            return Ok(());
        };
        let mut bytes = 0;
        for object in distinct(&manifest) {
            if cancel.is_cancelled() {
                return Err(Lost::Local(StoreError::Cancelled));
            }
            match self.send(store, object, give == Give::All, cancel).await? {
                Some(sent) => bytes += sent,
                // A damaged stage is not spread; the next `run` or `verify` handles the local copy.
                None => {
                    self.say(format!(
                        "{} is damaged; it is not given to it",
                        store.object(&object.digest).display()
                    ));
                    return Ok(());
                }
            }
        }
        // Packs before the manifest: a stage that is there has its packs there.
        self.send_packs(store, &manifest, cancel).await?;
        let mut text = serde_json::to_vec_pretty(&manifest)
            .map_err(std::io::Error::other)
            .map_err(StoreError::io("write", &store.manifest_path(key.as_str())))?;
        text.push(b'\n');
        let put = self.objects.put(&place, PutPayload::from(text)).await;
        put.map_err(Lost::Remote)?;
        self.with(|s| {
            s.exchange.pushed.stages += 1;
            s.exchange.pushed.bytes += bytes;
        });
        Ok(())
    }

    /// Sends one object if the remote lacks it, and returns the bytes sent; `None` when its content
    /// does not match its digest.
    async fn send(
        &self,
        store: &Store,
        object: &ObjectEntry,
        anew: bool,
        cancel: &Cancel,
    ) -> Result<Option<u64>, Lost> {
        let place = self.object_place(&object.digest);
        let bad = self.with(|s| s.bad.contains(&object.digest));
        if !anew && !bad && self.has(&place).await? == Some(object.bytes) {
            return Ok(Some(0));
        }
        let path = store.object(&object.digest);
        let read = |e| Lost::Local(StoreError::io("read", &path)(e));
        // Checked before sending: an object with wrong content would damage the remote for
        // everyone.
        let hash = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || files::digest_of(&path))
        };
        let hash = hash.await.map_err(std::io::Error::other).map_err(read)?;
        if hash.map_err(read)? != object.digest {
            return Ok(None);
        }
        let mut file = files::open(&path).map_err(read)?;
        let mut to = BufWriter::with_capacity(Arc::clone(&self.objects), place.clone(), PART);
        let mut buffer = vec![0; 1 << 20];
        let lost = |e: std::io::Error| {
            Lost::Remote(object_store::Error::Generic {
                store: "remote",
                source: Box::new(e),
            })
        };
        // Set before `shutdown`: from then on there is nothing to abort, and calling `abort` is a
        // bug.
        let mut closing = false;
        let sent = async {
            loop {
                if cancel.is_cancelled() {
                    return Err(Lost::Local(StoreError::Cancelled));
                }
                // A blocking read is fine: this thread does nothing but transfers.
                let n = file.read(&mut buffer).map_err(read)?;
                if n == 0 {
                    closing = true;
                    return to.shutdown().await.map_err(lost);
                }
                to.write_all(&buffer[..n]).await.map_err(lost)?;
            }
        };
        if let Err(e) = sent.await {
            if !closing {
                // Otherwise the parts already sent would stay, and cost money.
                let _ = to.abort().await;
            }
            return Err(e);
        }
        self.with(|s| s.bad.remove(&object.digest));
        Ok(Some(object.bytes))
    }

    /// The size of a file on the remote; `None` if it does not exist.
    async fn has(&self, place: &Place) -> Result<Option<u64>, Lost> {
        match self.objects.head(place).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(Lost::Remote(e)),
        }
    }
}

/// The objects of a stage, each once.
fn distinct(manifest: &Manifest) -> Vec<&ObjectEntry> {
    let mut objects: Vec<&ObjectEntry> = manifest.objects().collect();
    objects.sort_by(|a, b| a.digest.cmp(&b.digest));
    objects.dedup_by(|a, b| a.digest == b.digest);
    objects
}

/// Which side failed.
enum Lost {
    Local(StoreError),
    Remote(object_store::Error),
}

impl From<StoreError> for Lost {
    fn from(e: StoreError) -> Self {
        Lost::Local(e)
    }
}

/// Reads a small file completely; `None` if it does not exist.
async fn small(objects: &dyn ObjectStore, place: &Place) -> object_store::Result<Option<Vec<u8>>> {
    let got = match objects.get(place).await {
        Ok(got) => got,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    if got.meta.size > MAX_MANIFEST {
        return Ok(Some(Vec::new()));
    }
    Ok(Some(got.bytes().await?.to_vec()))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_file(address: &str) -> bool {
    address.starts_with("file://")
}

#[cfg(not(feature = "cloud"))]
fn cloud(
    address: &str,
    _options: &BTreeMap<String, String>,
) -> Result<(Arc<dyn ObjectStore>, Place), RemoteError> {
    match address.split("://").next() {
        Some("s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" | "adl" | "https") => {
            Err(RemoteError::NoCloud(address.to_owned()))
        }
        scheme => Err(RemoteError::Address {
            name: address.to_owned(),
            why: format!("`{}://` is not known", scheme.unwrap_or_default()),
        }),
    }
}

#[cfg(feature = "cloud")]
use super::cloud::cloud;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_client_that_panics_is_a_remote_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().to_str().unwrap();
        let remote = Remote::open(address, &BTreeMap::new(), true).unwrap();
        assert_eq!(remote.wait(async { 3 }), Some(3));
        assert!(remote.is_there());
        assert_eq!(
            remote.wait(async { panic!("Already shut down") }),
            None::<()>
        );
        assert!(!remote.is_there());
        let news = remote.news();
        assert_eq!(news.len(), 1, "{news:?}");
        assert!(
            news[0].contains("its client failed: Already shut down"),
            "{news:?}"
        );
        assert!(news[0].ends_with("going on without it"), "{news:?}");
    }
}
