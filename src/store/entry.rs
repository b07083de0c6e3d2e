//! What manifests say about tables and their objects.

use gfm_pipe_api::stored::digest_of;
use serde::{Deserialize, Serialize};

/// An object: a file with all rows of a table, or with some that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEntry {
    /// BLAKE3 digest of its bytes, hex.
    pub digest: String,
    /// Number of rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// What its rows were made of, where the stage may take them over the next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<MadeOf>,
}

/// What the rows of an object were made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeOf {
    /// Digest of everything that they depend on, hex.
    pub sources: String,
    /// What the operator keeps with it: see [`gfm_pipe_api::SourcedSink::part`].
    pub number: u64,
}

/// A table of a stored port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct TableEntry {
    /// Table name.
    pub name: String,
    /// Its digest, hex: see [`digest_of`].
    pub digest: String,
    /// Number of rows.
    pub rows: u64,
    /// Size of all objects in bytes.
    pub bytes: u64,
    /// Its objects, in the order of the rows; never empty.
    pub objects: Vec<ObjectEntry>,
}

/// A table as a manifest has it. A single object is not listed, so that versions before manifest
/// format 3 can read the manifest.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    digest: String,
    rows: u64,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    objects: Vec<ObjectEntry>,
}

impl TableEntry {
    /// The table that consists of these objects.
    pub fn of(name: impl Into<String>, mut objects: Vec<ObjectEntry>) -> Self {
        if let [only] = objects.as_mut_slice() {
            // A manifest does not list a single object. A table as small is made again.
            only.made_of = None;
        }
        TableEntry {
            name: name.into(),
            digest: digest_of(objects.iter().map(|o| o.digest.as_str())),
            rows: objects.iter().map(|o| o.rows).sum(),
            bytes: objects.iter().map(|o| o.bytes).sum(),
            objects,
        }
    }
}

impl From<TableEntry> for Written {
    fn from(table: TableEntry) -> Self {
        Written {
            name: table.name,
            digest: table.digest,
            rows: table.rows,
            bytes: table.bytes,
            objects: if table.objects.len() == 1 {
                Vec::new()
            } else {
                table.objects
            },
        }
    }
}

impl TryFrom<Written> for TableEntry {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let objects = if written.objects.is_empty() {
            vec![ObjectEntry {
                made_of: None,
                digest: written.digest.clone(),
                rows: written.rows,
                bytes: written.bytes,
            }]
        } else {
            written.objects
        };
        let table = TableEntry::of(written.name, objects);
        if table.digest == written.digest
            && table.rows == written.rows
            && table.bytes == written.bytes
        {
            return Ok(table);
        }
        Err(format!(
            "table `{}` is not made of the objects that are listed",
            table.name
        ))
    }
}

/// The items that a stored stage was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemList {
    /// The table that lists them.
    #[serde(flatten)]
    pub table: TableEntry,
    /// The folders below `items` that hold their results.
    pub folders: Vec<String>,
}

/// A stored port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortEntry {
    /// Kind of artifact.
    pub kind: String,
    /// Digest of the artifact, hex.
    pub digest: String,
    /// Its tables, in the kind's order.
    pub tables: Vec<TableEntry>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn object(name: &str, rows: u64) -> ObjectEntry {
        ObjectEntry {
            made_of: None,
            digest: blake3::hash(name.as_bytes()).to_hex().to_string(),
            rows,
            bytes: 10 * rows,
        }
    }

    #[test]
    fn a_single_object_is_written_as_before_there_were_several() {
        let one = object("a", 3);
        let table = TableEntry::of("t", vec![one.clone()]);
        let text = serde_json::to_value(&table).unwrap();
        let old = json!({"name": "t", "digest": one.digest, "rows": 3, "bytes": 30});
        assert_eq!(text, old);
        assert_eq!(serde_json::from_value::<TableEntry>(old).unwrap(), table);
        let list = ItemList {
            table,
            folders: vec!["f".to_owned()],
        };
        let text = serde_json::to_string(&list).unwrap();
        assert!(!text.contains("objects"), "{text}");
        assert_eq!(serde_json::from_str::<ItemList>(&text).unwrap(), list);
    }

    #[test]
    fn the_objects_of_a_table_must_fit_what_it_says() {
        let table = TableEntry::of("t", vec![object("a", 3), object("b", 4)]);
        assert_eq!((table.rows, table.bytes), (7, 70));
        let text = serde_json::to_value(&table).unwrap();
        assert_eq!(text["objects"].as_array().unwrap().len(), 2);
        let again: TableEntry = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(again, table);
        let mut other = text.clone();
        other["objects"].as_array_mut().unwrap().reverse();
        let e = serde_json::from_value::<TableEntry>(other).unwrap_err();
        assert!(e.to_string().contains("not made of the objects"), "{e}");
        let mut other = text;
        other["rows"] = json!(8);
        assert!(serde_json::from_value::<TableEntry>(other).is_err());
    }
}
