//! The items that stages keep: which of them a stored stage was made of, and what changed since the
//! time before.
//!
//! Items are kept by `gfm_pipe_api::items`, below `items/`. A manifest names a table of the items
//! that its stage used. Losing items costs time and no result; `gc` keeps those that the tables of
//! kept stages name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use gfm_pipe_api::items::{self, Folder, Id, Used, UsedItems};
use gfm_pipe_api::kind::col;
use gfm_pipe_api::{ColType, OpResult, TableSpec, columns};
use serde::{Deserialize, Serialize};

use super::entry::ItemList;
use super::layout::Store;
use super::manifest::Manifest;
use crate::plan::Key;

/// Rows that are written at once.
const ROWS: usize = 65_536;

/// The table that a manifest names.
pub(super) static ITEMS: TableSpec = TableSpec {
    name: "items",
    about: "the items that a stage's result was made of",
    columns: &[
        col(
            "folder",
            ColType::Text,
            "the folder below `items` that holds the result",
        ),
        col("name", ColType::Text, "what people call the item"),
        col(
            "id",
            ColType::Text,
            "digest of everything that the result depends on",
        ),
    ],
};

/// The rows of the table, in batches.
pub(super) fn batches(used: &UsedItems) -> impl Iterator<Item = OpResult<RecordBatch>> {
    used.items.chunks(ROWS).map(|some| {
        let folder = |u: &Used| used.folders.get(u.folder as usize).map(String::as_str);
        let folders: StringArray = some.iter().map(folder).collect();
        let names: StringArray = some.iter().map(|u| Some(u.name.as_str())).collect();
        let ids: StringArray = some.iter().map(|u| Some(items::hex(&u.id))).collect();
        columns::batch(
            &ITEMS,
            vec![Arc::new(folders), Arc::new(names), Arc::new(ids)],
        )
    })
}

/// How many items a stage had, and what changed since the time before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemCounts {
    /// All items of the stage.
    pub total: u64,
    /// Those that were computed, and not taken from what was kept.
    pub computed: u64,
    /// Those whose names were not there the time before.
    pub new: u64,
    /// Those whose names were there with other content.
    pub changed: u64,
    /// Names that are not there any more.
    pub gone: u64,
    /// The key of the time before. Missing where nothing can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Key>,
}

impl ItemCounts {
    /// Counts the items of a stage, and compares them with those of the stage as it was stored the
    /// time before.
    pub fn of(used: &UsedItems, before: Option<(Key, Vec<NamedItem>)>) -> Self {
        let now: Vec<NamedItem> = named(used).collect();
        let mut out = ItemCounts {
            total: now.len() as u64,
            computed: used.computed,
            new: 0,
            changed: 0,
            gone: 0,
            before: None,
        };
        if let Some((key, before)) = before
            && let Some(changes) = ItemChanges::between(&before, &now)
        {
            out.new = changes.new.len() as u64;
            out.changed = changes.changed.len() as u64;
            out.gone = changes.gone.len() as u64;
            out.before = Some(key);
        }
        out
    }
}

/// An item as a table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedItem {
    /// The folder that holds its result.
    pub folder: String,
    /// What people call it.
    pub name: String,
    /// The digest of everything its result depends on, in hexadecimal digits.
    pub id: String,
}

fn named(used: &UsedItems) -> impl Iterator<Item = NamedItem> {
    used.items.iter().map(|u| NamedItem {
        folder: used
            .folders
            .get(u.folder as usize)
            .cloned()
            .unwrap_or_default(),
        name: u.name.clone(),
        id: items::hex(&u.id),
    })
}

/// The names of items that differ between two runs of a stage, each in the order of its list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemChanges {
    /// Not there before.
    pub new: Vec<String>,
    /// There before, with other content.
    pub changed: Vec<String>,
    /// There before, and not any more.
    pub gone: Vec<String>,
}

impl ItemChanges {
    /// Compares two lists. `None` where they are of different functions, or their functions have
    /// other parameters, so that no item can be the same.
    pub fn between(before: &[NamedItem], now: &[NamedItem]) -> Option<Self> {
        fn folders(all: &[NamedItem]) -> HashSet<&str> {
            all.iter().map(|i| i.folder.as_str()).collect()
        }
        if folders(before).is_disjoint(&folders(now)) {
            return None;
        }
        let mut was: HashMap<(&str, &str), HashSet<&str>> = HashMap::new();
        for item in before {
            let ids = was.entry((&item.folder, &item.name)).or_default();
            ids.insert(&item.id);
        }
        let is: HashSet<(&str, &str)> = now
            .iter()
            .map(|i| (i.folder.as_str(), i.name.as_str()))
            .collect();
        let mut out = ItemChanges::default();
        for item in now {
            match was.get(&(item.folder.as_str(), item.name.as_str())) {
                None => out.new.push(item.name.clone()),
                Some(ids) if !ids.contains(item.id.as_str()) => out.changed.push(item.name.clone()),
                Some(_) => {}
            }
        }
        let gone = before
            .iter()
            .filter(|i| !is.contains(&(i.folder.as_str(), i.name.as_str())));
        out.gone = gone.map(|i| i.name.clone()).collect();
        Some(out)
    }
}

impl Store {
    /// The folder in which items are kept.
    pub fn items_root(&self) -> PathBuf {
        self.root().join("items")
    }

    /// The items that a stored stage was made of; empty for a stage without items.
    ///
    /// # Errors
    /// When its table is missing or damaged.
    pub fn items(&self, manifest: &Manifest) -> OpResult<Vec<NamedItem>> {
        let Some(ItemList { table, .. }) = &manifest.items else {
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        for batch in self.table(table).batches()? {
            let batch = batch?;
            let folders = columns::text(&batch, "folder")?;
            let names = columns::text(&batch, "name")?;
            let ids = columns::text(&batch, "id")?;
            for ((folder, name), id) in folders.iter().zip(names).zip(ids) {
                out.push(NamedItem {
                    folder: folder.unwrap_or_default().to_owned(),
                    name: name.unwrap_or_default().to_owned(),
                    id: id.unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(out)
    }

    /// Which items these stages are made of, and those that have not ended and work in these
    /// folders.
    pub(super) fn live_items(&self, kept: &[Manifest], workdirs: &[PathBuf]) -> Live {
        let mut live = Live::default();
        for manifest in kept {
            // A list that cannot be read is of a stage that is computed again.
            for item in self.items(manifest).unwrap_or_default() {
                live.named.entry(item.folder).or_default().insert(item.id);
            }
        }
        for workdir in workdirs {
            live.unfinished.extend(items::unfinished(workdir));
        }
        live
    }
}

/// Items that something needs.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Ids by folder.
    named: BTreeMap<String, HashSet<String>>,
    unfinished: HashSet<Id>,
    /// Where there are some: the only items that may go.
    others: Option<Box<Live>>,
}

impl Live {
    /// Lets only these items go, as far as nothing else needs them.
    pub(super) fn sparing_all_but(self, others: Live) -> Self {
        Live {
            others: Some(Box::new(others)),
            ..self
        }
    }

    /// Whether an item of a folder has to stay.
    pub(super) fn needs(&self, folder: &Folder) -> impl Fn(&Id) -> bool {
        let name = folder.name();
        move |id| {
            let may_go = |others: &Live| others.has(&name, id);
            self.has(&name, id) || !self.others.as_deref().is_none_or(may_go)
        }
    }

    fn has(&self, folder: &str, id: &Id) -> bool {
        let named = self.named.get(folder);
        self.unfinished.contains(id) || named.is_some_and(|ids| ids.contains(&items::hex(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[(&str, &str, &str)]) -> Vec<NamedItem> {
        let item = |(folder, name, id): &(&str, &str, &str)| NamedItem {
            folder: (*folder).to_owned(),
            name: (*name).to_owned(),
            id: (*id).to_owned(),
        };
        items.iter().map(item).collect()
    }

    #[test]
    fn items_are_compared_by_name_and_content() {
        let before = list(&[
            ("f", "a", "1"),
            ("f", "b", "2"),
            ("f", "c", "3"),
            ("f", "c", "4"),
        ]);
        let now = list(&[
            ("f", "c", "4"),
            ("f", "a", "9"),
            ("f", "d", "1"),
            ("f", "c", "5"),
        ]);
        let changes = ItemChanges::between(&before, &now).unwrap_or_default();
        assert_eq!(changes.new, ["d"]);
        assert_eq!(changes.changed, ["a", "c"]);
        assert_eq!(changes.gone, ["b"]);
        let same = ItemChanges::between(&now, &now);
        assert_eq!(same, Some(ItemChanges::default()));
        assert_eq!(
            ItemChanges::between(&before, &list(&[("g", "a", "1")])),
            None
        );
    }
}
