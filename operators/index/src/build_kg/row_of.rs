//! A row of one of the tables that a graph is made from, in eight bytes: there are several of them
//! for each fact.

/// Bits of a row number.
const ROW_BITS: u32 = 62;
/// The tables, in the order of their rows.
const TABLES: [&str; 4] = ["facts", "mentions", "named", "documents"];

/// A row of a table. Those of `facts` come before those of `mentions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowOf(u64);

impl RowOf {
    /// A row of `facts`.
    pub fn facts(row: u64) -> Self {
        Self::of(0, row)
    }

    /// A row of `mentions`.
    pub fn mentions(row: u64) -> Self {
        Self::of(1, row)
    }

    /// A row of `named`.
    pub fn named(row: u64) -> Self {
        Self::of(2, row)
    }

    /// A row of `documents`.
    pub fn documents(row: u64) -> Self {
        Self::of(3, row)
    }

    fn of(table: u64, row: u64) -> Self {
        debug_assert!(row < 1 << ROW_BITS, "no table has so many rows");
        RowOf(table << ROW_BITS | row)
    }

    /// The name of the table.
    pub fn table(self) -> &'static str {
        TABLES[(self.0 >> ROW_BITS) as usize]
    }

    /// The number of the row.
    pub fn row(self) -> u64 {
        self.0 & ((1 << ROW_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_table() {
        let rows = [
            RowOf::facts(7),
            RowOf::facts((1 << ROW_BITS) - 1),
            RowOf::mentions(0),
            RowOf::named(3),
            RowOf::documents(9),
        ];
        assert!(rows.is_sorted());
        let names = rows.map(|row| (row.table(), row.row()));
        assert_eq!(names[0], ("facts", 7));
        assert_eq!(names[1].1, (1 << ROW_BITS) - 1);
        assert_eq!(names[2], ("mentions", 0));
        assert_eq!(names[3..], [("named", 3), ("documents", 9)]);
    }
}
