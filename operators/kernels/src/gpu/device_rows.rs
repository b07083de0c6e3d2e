//! Rows of states on a device.

use super::edges::{Edges, Hub, SPLIT};
use super::layout::kernel_arguments;
use super::{Error, Gpu, Vector, View};
use crate::rows::Rows;

/// Rows of hubs, whose edges are cut into parts.
pub(super) struct Parts {
    /// Of each part its row, first edge and end, one after the other.
    pub(super) parts: Vector<u32>,
    /// Of each row its number, first part and end, one after the other.
    pub(super) joins: Vector<u32>,
}

impl Parts {
    fn new(gpu: &Gpu, rows: &Rows, hubs: &[Hub]) -> Result<Self, Error> {
        let (mut parts, mut joins) = (Vec::new(), Vec::new());
        for hub in hubs {
            for row in rows.of(hub.node as usize) {
                let first = parts.len() as u32 / 3;
                let mut at = hub.first;
                while at < hub.end {
                    let end = (at + SPLIT as u32).min(hub.end);
                    parts.extend([row as u32, at, end]);
                    at = end;
                }
                joins.extend([row as u32, first, parts.len() as u32 / 3]);
            }
        }
        Ok(Parts {
            parts: gpu.vector(&parts)?,
            joins: gpu.vector(&joins)?,
        })
    }

    /// Number of parts.
    pub(super) fn parts(&self) -> usize {
        self.parts.len() / 3
    }

    /// Number of rows that are cut into parts.
    pub(super) fn rows(&self) -> usize {
        self.joins.len() / 3
    }
}

/// [`Rows`] on a device.
pub struct DeviceRows {
    len: usize,
    /// Number of queries, and one more for the background.
    pub(super) width: usize,
    pub(super) offsets: Vector<u32>,
    query: Vector<u32>,
    node: Vector<u32>,
    map: Vector<u32>,
    /// Parts of the edges into these rows' nodes.
    pub(super) receiving: Parts,
    /// Parts of the edges out of these rows' nodes.
    pub(super) sending: Parts,
}

impl DeviceRows {
    /// Copies rows of a graph's nodes to its device.
    ///
    /// # Errors
    /// If there is not enough memory.
    ///
    /// # Panics
    /// If they belong to a graph with another number of nodes.
    pub fn new(edges: &Edges, rows: &Rows) -> Result<Self, Error> {
        assert_eq!(rows.nodes(), edges.nodes, "rows of another graph");
        let gpu = edges.chunks.gpu();
        let width = rows.queries() + 1;
        let out = DeviceRows {
            len: rows.len(),
            width,
            offsets: gpu.vector(rows.offsets())?,
            query: gpu.vector(rows.query())?,
            node: gpu.dirty(rows.len())?,
            map: gpu.dirty(rows.nodes() * width)?,
            receiving: Parts::new(gpu, rows, &edges.into.hubs)?,
            sending: Parts::new(gpu, rows, &edges.out_of.hubs)?,
        };
        let args = RowsMapArgs {
            map: out.map.at,
            row_node: out.node.at,
            offsets: out.offsets.at,
            row_query: out.query.at,
            nodes: rows.nodes() as u32,
            width: width as u32,
        };
        let grid = [rows.nodes().div_ceil(256), 1, 1];
        gpu.launch("rows_map", grid, [256, 1, 1], 0, &args)?;
        Ok(out)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of queries; the background does not count.
    pub fn queries(&self) -> usize {
        self.width - 1
    }

    /// The node of each row.
    pub fn node(&self) -> View<'_, u32> {
        self.node.view()
    }

    /// The query of each row.
    pub fn query(&self) -> View<'_, u32> {
        self.query.view()
    }

    /// The row of each pair of node and query, see [`Rows::find`].
    pub fn map(&self) -> View<'_, u32> {
        self.map.view()
    }
}

kernel_arguments! {
    struct RowsMapArgs {
        map: u64,
        row_node: u64,
        offsets: u64,
        row_query: u64,
        nodes: u32,
        width: u32,
    }
}
