//! What every report says, already in words but not yet laid out: the terminal, Markdown and
//! HTML print the same rows. Nothing here computes a figure; those are in the summary.

pub(crate) mod breakdown;
pub(crate) mod checks;
mod evidence;
pub(crate) mod faults;
pub(crate) mod figures;
pub(crate) mod invariants;
pub(crate) mod reconciliation;
pub(crate) mod run;
pub(crate) mod windows;

/// Which way a column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Align {
    /// Whether the column holds numbers.
    pub(crate) fn is_right(self) -> bool {
        self == Self::Right
    }
}

/// Rows of words under a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// The columns' names.
    pub(crate) head: Vec<(String, Align)>,
    /// The cells, as many per row as there are columns.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new<'a>(head: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let head = head.into_iter();
        Self {
            head: head.map(|(name, align)| (name.to_owned(), align)).collect(),
            rows: Vec::new(),
        }
    }

    /// A row's cells, each with its column's alignment.
    pub(crate) fn aligned<'a>(
        &'a self,
        row: &'a [String],
    ) -> impl Iterator<Item = (Align, &'a String)> {
        let aligns = self.head.iter().map(|(_, align)| *align);
        aligns.zip(row)
    }
}
