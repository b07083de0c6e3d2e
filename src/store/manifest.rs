//! Manifests: what a finished stage produced, and whether all of it is still there.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use gfm_pipe_api::{Artifact, OpEntry, files};
use serde::{Deserialize, Serialize};

use super::atomic;
use super::entry::{ItemList, ObjectEntry, PortEntry, TableEntry};
use super::error::StoreError;
use super::layout::Store;
use super::sound::{Found, Look};
use crate::plan::{Ingredients, Key};

/// Format version of a manifest. Version 1 had no items. Version 2 had no tables of several objects
/// and named all files one by one.
pub const MANIFEST_FORMAT: u32 = 3;

/// The format of manifests that need nothing of later ones: earlier versions read it too.
pub(super) const EARLIER_FORMAT: u32 = 2;

/// The versions that can be read.
pub(super) const READABLE: RangeInclusive<u32> = 1..=MANIFEST_FORMAT;

/// The machine a stage was computed on. Not part of any key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeOn {
    /// `cpu` or `cuda`.
    pub device: String,
    /// Vector instruction sets that the CPU had.
    pub cpu_features: Vec<String>,
    /// Version of gfm-pipe.
    pub gfm_pipe: String,
}

impl MadeOn {
    /// Describes this machine. `device` is the device asked for; `on_gpu` says whether the operator
    /// computes on a GPU when given one.
    pub fn here(device: &str, on_gpu: bool) -> Self {
        // Several GPUs of one machine are not told apart.
        let cuda = on_gpu && device.starts_with("cuda");
        let device = if cuda { "cuda" } else { "cpu" };
        MadeOn {
            device: device.to_owned(),
            cpu_features: cpu_features(),
            gfm_pipe: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// A name for the kind of machine. On CPUs of one kind, results are equal bit by bit; all GPUs
    /// count as one kind.
    pub fn kind(&self) -> String {
        format!("{} {}", self.device, self.cpu_features.join(" "))
    }

    /// What to tell the user about an artifact made elsewhere, such as `made on cuda`; `None` if it
    /// could have been made here.
    pub fn differs_from(&self, here: &MadeOn) -> Option<String> {
        if self.device != here.device {
            return Some(format!("made on {}", self.device));
        }
        if self.cpu_features != here.cpu_features {
            return Some(format!(
                "made on a CPU with {}",
                self.cpu_features.join(" ")
            ));
        }
        None
    }
}

fn cpu_features() -> Vec<String> {
    #[cfg(target_arch = "x86_64")]
    let found: &[(&str, bool)] = &[
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found: &[(&str, bool)] = &[("neon", true)];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: &[(&str, bool)] = &[];
    let names = found.iter().filter(|(_, has)| *has);
    std::iter::once(std::env::consts::ARCH.to_owned())
        .chain(names.map(|(name, _)| (*name).to_owned()))
        .collect()
}

/// A finished stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version: [`MANIFEST_FORMAT`], or the earliest that has what it needs.
    pub format: u32,
    /// The key, hex.
    pub key: Key,
    /// What the key was computed from.
    pub ingredients: Ingredients,
    /// Output ports by name.
    pub ports: BTreeMap<String, PortEntry>,
    /// The table of the items that the result was made of, for a stage that has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemList>,
    /// The table of the files that `ingredients` leaves out, for a stage with very many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<TableEntry>,
    /// Wall-clock seconds that the computation took.
    pub seconds: f64,
    /// The step of the checkpoint it resumed from, if it did.
    pub resumed_at_step: Option<u64>,
    /// The machine it was computed on.
    pub made_on: MadeOn,
    /// When it was finished, UTC.
    pub made_at: String,
    /// Whether every input that the operator read was compared with its digest. Earlier versions
    /// did not compare.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inputs_checked: bool,
    /// BLAKE3 digest of all other fields, so that damage to the manifest itself is noticed.
    /// [`Manifest::sealed`] sets it.
    #[serde(default)]
    pub seal: Option<String>,
}

impl Manifest {
    fn digest(&self) -> String {
        let bare = Manifest {
            seal: None,
            ..self.clone()
        };
        // Serializing a manifest cannot fail, and the order of its keys is fixed.
        let bytes = serde_json::to_vec(&bare).unwrap_or_default();
        blake3::hash(&bytes).to_hex().to_string()
    }

    /// The manifest with its seal.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.seal = Some(self.digest());
        self
    }

    /// What is wrong with it as the manifest of `key` (the name of its file); `None` if it is what
    /// was written for that key.
    pub fn fault(&self, key: &str) -> Option<String> {
        if self.key.as_str() != key {
            return Some(format!("it is the manifest of another key, {}", self.key));
        }
        let whole = self.seal.as_deref() == Some(self.digest().as_str());
        (!whole).then(|| "it is not as it was written".to_owned())
    }

    /// Total number of rows in all tables.
    pub fn rows(&self) -> u64 {
        self.tables().map(|t| t.rows).sum()
    }

    /// Every table of every port.
    pub fn tables(&self) -> impl Iterator<Item = &TableEntry> {
        self.ports.values().flat_map(|p| &p.tables)
    }

    /// Every object of every port.
    pub fn port_objects(&self) -> impl Iterator<Item = &ObjectEntry> {
        self.tables().flat_map(|table| &table.objects)
    }

    /// Every object that it names: those of the tables of its ports, of its items and of its files.
    /// An object may be there several times.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectEntry> {
        let items = self.items.iter().map(|items| &items.table);
        let lists = items.chain(&self.listing).flat_map(|table| &table.objects);
        self.port_objects().chain(lists)
    }
}

/// The result of looking up a key.
#[derive(Debug)]
pub enum Lookup {
    /// No such stage is stored.
    Missing,
    /// A stage with all its objects.
    Hit(Box<Manifest>),
    /// A stage that must be computed again.
    Damaged {
        /// Whether the file is missing, rather than damaged.
        missing: bool,
        /// The file concerned.
        path: PathBuf,
    },
}

impl Store {
    /// Looks for a finished stage and checks ([`Look::Stamp`]) that its objects are what was
    /// written.
    ///
    /// # Errors
    /// When the store cannot be read, or the manifest has an unknown version.
    pub fn lookup(&self, key: &Key, op: &OpEntry) -> Result<Lookup, StoreError> {
        let path = self.manifest_path(key.as_str());
        let manifest = match self.manifest(key) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(Lookup::Missing),
            Err(StoreError::Damaged { path, .. }) => {
                return Ok(Lookup::Damaged {
                    missing: false,
                    path,
                });
            }
            Err(e) => return Err(e),
        };
        if !fits(&manifest, op) {
            return Ok(Lookup::Damaged {
                missing: false,
                path,
            });
        }
        Ok(match self.flaw(manifest.objects(), Look::Stamp)? {
            Some((found, path)) => Lookup::Damaged {
                missing: found == Found::Missing,
                path,
            },
            None => Lookup::Hit(Box::new(manifest)),
        })
    }

    /// Reads a manifest without looking at its objects.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or has an unknown version.
    pub fn manifest(&self, key: &Key) -> Result<Option<Manifest>, StoreError> {
        let path = self.manifest_path(key.as_str());
        let manifest: Option<Manifest> = read_json(&path, READABLE)?;
        match manifest.as_ref().and_then(|m| m.fault(key.as_str())) {
            Some(why) => Err(StoreError::Damaged { path, why }),
            None => Ok(manifest),
        }
    }

    /// Stores a manifest: the last step of storing a stage, all of whose objects must be on disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        fail::fail_point!("before-manifest");
        write_json(&self.manifest_path(manifest.key.as_str()), manifest)
    }

    /// The artifacts of a stored stage, by port.
    pub fn artifacts(
        &self,
        stage: &str,
        op: &OpEntry,
        manifest: &Manifest,
    ) -> BTreeMap<String, Artifact> {
        op.outputs
            .iter()
            .filter_map(|port| {
                let entry = manifest.ports.get(port.name)?;
                let tables = entry.tables.iter().map(|t| self.table(t)).collect();
                let artifact = Artifact {
                    kind: port.kind,
                    name: format!("{stage}.{}", port.name),
                    tables,
                };
                Some((port.name.to_owned(), artifact))
            })
            .collect()
    }
}

/// Whether a manifest has exactly the tables that the operator declares; an edited or foreign
/// manifest may not.
pub(super) fn fits(manifest: &Manifest, op: &OpEntry) -> bool {
    manifest.ports.len() == op.outputs.len()
        && op.outputs.iter().all(|port| {
            manifest.ports.get(port.name).is_some_and(|entry| {
                let have = entry.tables.iter().map(|t| t.name.as_str());
                entry.kind == port.kind.name && have.eq(port.kind.tables.iter().map(|t| t.name))
            })
        })
}

/// Reads one of the store's JSON files; `None` if it does not exist. Its `format` is checked before
/// anything else, so that a newer file is refused as newer and not as damaged.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    known: RangeInclusive<u32>,
) -> Result<Option<T>, StoreError> {
    let bytes = match files::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", path)(e)),
    };
    parse_json(path, &bytes, known).map(Some)
}

/// Parses the text of one of the store's JSON files; `path` is only for error messages.
pub(super) fn parse_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    known: RangeInclusive<u32>,
) -> Result<T, StoreError> {
    let damaged = |why: String| StoreError::Damaged {
        path: path.to_owned(),
        why,
    };
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(v) if u32::try_from(v).is_ok_and(|v| known.contains(&v)) => {}
        Some(v) => {
            return Err(StoreError::Version {
                path: path.to_owned(),
                found: v.to_string(),
                known: *known.end(),
            });
        }
        None => return Err(damaged("it has no format version".to_owned())),
    }
    serde_json::from_value(value).map_err(|e| damaged(e.to_string()))
}

/// Writes one of the store's JSON files.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| StoreError::io("write", path)(std::io::Error::other(e)))?;
    bytes.push(b'\n');
    atomic::write(path, &bytes)
}
