//! Names as Kubernetes has them, and maps of free names.

use std::collections::BTreeMap;

use super::super::tree::{Node, Value};
use super::Problems;

impl Problems {
    /// A name as Kubernetes has it for namespaces: an RFC 1123 label.
    pub(in crate::spec) fn label(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if text.len() <= 63 && is_label(&text) {
            return Some(text);
        }
        self.report(
            &node.at,
            format!("`{what}` is not a DNS label: `{text}`"),
            "allowed: 1 to 63 of a-z, 0-9 and `-`, not at either end",
        );
        None
    }

    /// A name as Kubernetes has it for most objects: DNS labels joined by dots.
    pub(in crate::spec) fn object_name(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Some(text);
        }
        self.report(
            &node.at,
            format!("`{what}` is not a name of Kubernetes: `{text}`"),
            "allowed: 1 to 253 of a-z, 0-9, `-` and `.`, each part beginning and ending with a \
             letter or a digit",
        );
        None
    }

    /// Values by a free name, each text that may be empty; at least one. `is_name` says which
    /// names there can be, `form` the same in words.
    pub(in crate::spec) fn texts_by_name(
        &mut self,
        node: &Node,
        what: &str,
        is_name: fn(&str) -> bool,
        form: &str,
    ) -> Option<BTreeMap<String, String>> {
        let entries = self.entries(node, what);
        if entries.is_empty() {
            if matches!(&node.value, Value::Map(_)) {
                let message = format!("`{what}` is empty");
                self.report(&node.at, message, "allowed: a map with at least one entry");
            }
            return None;
        }
        let mut all = Some(BTreeMap::new());
        for (key, value) in entries {
            if !is_name(&key.text) {
                let message = format!("`{}` cannot be a name in `{what}`", key.text);
                self.report(&key.at, message, format!("allowed: {form}"));
                all = None;
            }
            let text = match &value.value {
                Value::Scalar(scalar) if !value.is_null() && scalar.text.is_empty() => {
                    Some(String::new())
                }
                _ => self.text(value, &key.text),
            };
            match (text, &mut all) {
                (Some(text), Some(all)) => drop(all.insert(key.text.clone(), text)),
                (None, all) => *all = None,
                (Some(_), None) => {}
            }
        }
        all
    }
}

fn is_label(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}
