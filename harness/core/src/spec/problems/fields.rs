//! A map whose fields are known by name, and which of them are given.

use std::ops::Range;

use super::super::tree::{Key, Node};
use super::{Problems, quoted};

/// The fields of a map with a known set of names.
#[derive(Debug)]
pub(in crate::spec) struct Fields<'tree> {
    pub(super) at: Range<usize>,
    pub(super) what: &'static str,
    pub(super) known: String,
    /// Whether a field was given that is not known, which is reported.
    pub(super) has_unknown: bool,
    pub(super) entries: &'tree [(Key, Node)],
}

impl<'tree> Fields<'tree> {
    /// The field's value; `None` when it is left out or null.
    pub(in crate::spec) fn get(&self, name: &str) -> Option<&'tree Node> {
        self.entries
            .iter()
            .find(|(key, node)| key.text == name && !node.is_null())
            .map(|(_, node)| node)
    }

    /// The field's value, which must be there.
    pub(in crate::spec) fn required(
        &self,
        name: &str,
        problems: &mut Problems,
    ) -> Option<&'tree Node> {
        let found = self.get(name);
        if found.is_none() {
            problems.report(
                &self.at,
                format!("`{}` needs the field `{name}`", self.what),
                format!("allowed: `{}` with the fields {}", self.what, self.known),
            );
        }
        found
    }

    /// The only one of `names` that is given, which must be exactly one.
    pub(in crate::spec) fn exactly_one<'name>(
        &self,
        names: &[&'name str],
        problems: &mut Problems,
    ) -> Option<(&'name str, &'tree Node)> {
        let mut given = names
            .iter()
            .filter_map(|name| Some((*name, self.get(name)?)));
        match (given.next(), given.next()) {
            (Some(only), None) => Some(only),
            // It is the one, misspelt.
            (None, _) if self.has_unknown => None,
            (None, _) => {
                problems.report(
                    &self.at,
                    format!("`{}` needs one of {}", self.what, quoted(names)),
                    format!("allowed: one of {}", quoted(names)),
                );
                None
            }
            (Some((first, _)), Some((second, _))) => {
                problems.report(
                    &self.at,
                    format!("`{}` has both `{first}` and `{second}`", self.what),
                    format!("allowed: one of {}", quoted(names)),
                );
                None
            }
        }
    }

    /// Only `names` are given: other fields of the map belong to another choice than `choice`.
    pub(in crate::spec) fn without_others(
        &self,
        choice: &str,
        names: &[&str],
        problems: &mut Problems,
    ) -> Option<()> {
        let given = self.entries.iter().filter(|(_, node)| !node.is_null());
        let mut others = given.filter(|(key, _)| !names.contains(&key.text.as_str()));
        let (key, _) = match others.next() {
            None => return Some(()),
            // An unknown field is reported already.
            Some(_) if self.has_unknown => return None,
            Some(other) => other,
        };
        problems.report(
            &key.at,
            format!("`{}` does not go with `{choice}`", key.text),
            format!("allowed: {}", quoted(names)),
        );
        None
    }

    /// What to underline for the map as a whole.
    pub(in crate::spec) fn at(&self) -> &Range<usize> {
        &self.at
    }
}
