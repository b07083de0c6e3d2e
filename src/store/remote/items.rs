//! Packs of items on a remote, under `items/FUNCTION/SHARED/` as in the local store.
//!
//! A stage that has to be computed first gets the packs of its function, and a stage that was
//! computed gives those that the remote lacks: whole packs, which may hold results of other
//! documents that the same function was given. What is merged in the local store is a new pack, and
//! the packs that it was made of stay on the remote, which nothing cleans up.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use gfm_pipe_api::Cancel;
use gfm_pipe_api::items::{Folder, PackSource};
use object_store::path::Path as Place;
use object_store::{ObjectStoreExt, PutPayload};

use super::{Lost, Remote};
use crate::store::StoreError;
use crate::store::layout::Store;
use crate::store::manifest::Manifest;

/// A pack is sealed when it has 64 MB, and one result may be larger; what is larger than this is no
/// pack of ours.
const MAX_PACK: u64 = 1 << 30;

impl Remote {
    fn items_place(&self, folder: &str) -> Place {
        let items = self.prefix.clone().join("items");
        folder
            .split('/')
            .fold(items, |place, part| place.join(part))
    }

    /// The names of the packs of a folder, with their sizes.
    async fn packs(&self, folder: &str) -> object_store::Result<BTreeMap<String, u64>> {
        let mut out = BTreeMap::new();
        let place = self.items_place(folder);
        let mut listing = self.objects.list(Some(&place));
        while let Some(meta) = listing.try_next().await? {
            if let Some(name) = meta.location.filename() {
                out.insert(name.to_owned(), meta.size);
            }
        }
        Ok(out)
    }

    async fn receive_packs(&self, folder: &Folder, cancel: &Cancel) -> Result<(), Lost> {
        for (name, size) in self.packs(&folder.name()).await.map_err(Lost::Remote)? {
            if cancel.is_cancelled() {
                return Err(Lost::Local(StoreError::Cancelled));
            }
            if !Folder::is_pack_name(&name) || folder.has(&name) || folder.was_added(&name) {
                continue;
            }
            let place = self.items_place(&folder.name()).join(name.as_str());
            let bad = |why: &str| self.say(format!("{place} {why}; it is not used"));
            let got = match self.objects.get(&place).await {
                // Removed since it was listed.
                Err(object_store::Error::NotFound { .. }) => continue,
                got => got.map_err(Lost::Remote)?,
            };
            if size.max(got.meta.size) > MAX_PACK {
                bad("is too large for a pack");
                continue;
            }
            let bytes = got.bytes().await.map_err(Lost::Remote)?;
            let added = folder.add(&name, &bytes);
            if !added.map_err(|e| Lost::Local(StoreError::io("write to", folder.path())(e)))? {
                bad("is damaged");
                self.with(|s| s.bad.insert(name));
            }
        }
        Ok(())
    }

    /// Sends the packs of a stage's functions that the remote lacks.
    pub(super) async fn send_packs(
        &self,
        store: &Store,
        manifest: &Manifest,
        cancel: &Cancel,
    ) -> Result<(), Lost> {
        let folders = manifest.items.iter().flat_map(|items| &items.folders);
        for name in folders {
            let Some(folder) = Folder::named(&store.items_root(), name) else {
                continue;
            };
            let there = self.packs(name).await.map_err(Lost::Remote)?;
            for (path, size) in folder.packs() {
                if cancel.is_cancelled() {
                    return Err(Lost::Local(StoreError::Cancelled));
                }
                let Some(file) = path.file_name().and_then(|n| n.to_str()) else {
                    continue;
                };
                let bad = self.with(|s| s.bad.contains(file));
                if size > MAX_PACK || (there.get(file) == Some(&size) && !bad) {
                    continue;
                }
                let bytes = match Folder::sound(&path) {
                    // Another process has merged it since it was listed.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    bytes => bytes.map_err(|e| Lost::Local(StoreError::io("read", &path)(e)))?,
                };
                // A damaged pack is not sent. `verify` reports it.
                let Some(bytes) = bytes else {
                    continue;
                };
                let place = self.items_place(name).join(file);
                let sent = self.objects.put(&place, PutPayload::from(bytes)).await;
                sent.map_err(Lost::Remote)?;
            }
        }
        Ok(())
    }
}

/// The items of a remote, for one run.
pub struct RemoteItems {
    /// The remote.
    pub remote: Arc<Remote>,
    /// Set when the user asks to stop.
    pub cancel: Cancel,
}

impl PackSource for RemoteItems {
    fn fetch(&self, folder: &Folder) {
        let remote = &self.remote;
        let name = folder.name();
        if !remote.is_there() || !remote.with(|s| s.folders.insert(name)) {
            return;
        }
        match remote.wait(remote.receive_packs(folder, &self.cancel)) {
            None | Some(Ok(()) | Err(Lost::Local(StoreError::Cancelled))) => {}
            Some(Err(Lost::Local(e))) => remote.say(format!("not all was taken from it: {e}")),
            Some(Err(Lost::Remote(e))) => remote.give_up(&e.to_string()),
        }
    }
}
