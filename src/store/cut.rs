//! Where a large table is cut into objects: by the content of its rows, not by their numbers.
//!
//! A table whose rows were inserted, removed, changed or moved is cut at the same rows as before,
//! except near these. So all other objects are the same, and are neither written nor sent again.
//! This is content-defined chunking, as LBFS (2001) and FastCDC (2016) do it with bytes, here with
//! rows: a Gear hash rolls over the hashes of rows, and its upper bits depend on the last 64 rows.
//! A table ends an object behind a row if the hash there is small. How small depends on the size of
//! the row, so that the sizes of objects do not depend on that of rows.
//!
//! Rows with numbers of other rows (ids of entities, of documents) change where a row is inserted
//! before those. Such a table is the same only up to there, however it is cut.

use super::content::Content;

/// Sizes of objects, as bytes of the values in memory. They are part of what a stored table is:
/// with other sizes, tables are cut elsewhere, have other digests and share nothing with older
/// ones.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    /// A table that is smaller than this is one object.
    pub whole: u64,
    /// An object has at least this size, except the last.
    pub least: u64,
    /// Average size of what an object has beyond `least`.
    pub spread: u64,
    /// An object ends where it has this size.
    pub most: u64,
}

impl Cuts {
    /// The sizes of tables in the format 1. One change costs about an object, so objects should be
    /// small; each also costs a file, a request to a remote, and some 180 bytes in every manifest
    /// that names it. 64 MiB on average are 320 objects for 20 GiB. Only one object in 150 reaches
    /// `most`, where a change moves the cut (e^-5, as cuts are equally likely everywhere).
    pub const FORMAT_1: Cuts = Cuts {
        whole: 48 << 20,
        least: 16 << 20,
        spread: 48 << 20,
        most: 256 << 20,
    };
}

/// Decides behind which rows to cut.
#[derive(Debug)]
pub(super) struct Cutter {
    cuts: Cuts,
    rolling: u64,
    /// Size of the rows since the last cut.
    bytes: u64,
}

impl Cutter {
    pub(super) fn new(cuts: Cuts) -> Self {
        Cutter {
            cuts,
            rolling: 0,
            bytes: 0,
        }
    }

    /// Takes the next row, and says whether an object ends behind it.
    pub(super) fn ends_behind(&mut self, row: Content) -> bool {
        self.rolling = (self.rolling << 1).wrapping_add(row.hash);
        self.bytes += row.bytes;
        let drawn = (u128::from(self.rolling) * u128::from(self.cuts.spread)) >> u64::BITS;
        let chosen = drawn < u128::from(row.bytes) && self.bytes >= self.cuts.least;
        let ends = chosen || self.bytes >= self.cuts.most;
        if ends {
            self.bytes = 0;
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of objects of rows of a size.
    fn sizes(row: u64, rows: u64) -> Vec<u64> {
        let mut cutter = Cutter::new(Cuts::FORMAT_1);
        let (mut out, mut size) = (Vec::new(), 0);
        for i in 0..rows {
            let hash = blake3::hash(&i.to_le_bytes());
            let hash = hash.as_bytes().first_chunk::<8>().copied();
            size += row;
            if cutter.ends_behind(Content {
                hash: u64::from_le_bytes(hash.unwrap_or_default()),
                bytes: row,
            }) {
                out.push(size);
                size = 0;
            }
        }
        out
    }

    #[test]
    fn objects_have_the_sizes_that_are_meant_whatever_the_rows_have() {
        let cuts = Cuts::FORMAT_1;
        for row in [20_000, 200_000, 1 << 20] {
            let sizes = sizes(row, (20 << 30) / row);
            let all: u64 = sizes.iter().sum();
            let average = all / sizes.len() as u64;
            assert!((55 << 20..73 << 20).contains(&average), "{row}: {average}");
            let fits = |size: &u64| (cuts.least..cuts.most + row).contains(size);
            assert!(sizes.iter().all(fits), "{row}: {sizes:?}");
        }
        // Rows that are larger than an object stay whole.
        assert_eq!(sizes(1 << 30, 3), [1 << 30; 3]);
    }
}
