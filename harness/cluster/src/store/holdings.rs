//! What a store keeps in memory, counted: who looks for a leak looks here first.

/// How much a cluster holds at a moment.
#[derive(Copy, Clone, Eq, PartialEq, Default, Debug)]
pub struct Holdings {
    /// Kinds of which there is, or was, an object, and those which are defined.
    pub kinds: usize,
    /// Objects of all kinds, also Events.
    pub objects: usize,
    /// Changes which watches can look back on.
    pub history: usize,
    /// About how many bytes the objects and those in the history take. What a
    /// change leaves of an object counts once more.
    pub weight_bytes: usize,
    /// What is kept to find objects by their owners, labels and selectors.
    pub index_entries: usize,
    /// Watches of clients, the node and the proxy.
    pub watches: usize,
}
