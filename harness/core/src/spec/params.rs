//! Parameters: `${name}` in a value of the file stands for the value of `spec.params.name`, of
//! `spec.quick.name` under `--quick`, or of `--set name=value`.
//!
//! References are masked before the YAML is read, byte for byte, because braces mean something
//! else in YAML; so every place in the tree is a place in the original text, and a parameter's
//! value can never change the structure of the file.

use std::collections::{BTreeMap, BTreeSet};

use super::problems::{Problems, nearest};
use super::tree::{Key, Node, Scalar, Value};
use crate::experiment::Profile;

/// Stands for `${`: as many bytes, never assigned in Unicode, and nothing to YAML.
const OPEN: char = '\u{378}';
/// Stands for the `}` of a reference.
const CLOSE: char = ';';

/// The text with every `${name}` masked. The same length, the same places.
pub(super) fn mask(text: &str, problems: &mut Problems) -> String {
    for (offset, found) in text.match_indices(OPEN) {
        problems.report(
            &(offset..offset + found.len()),
            "U+0378 is not a character",
            "allowed: characters assigned in Unicode",
        );
    }
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        masked.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if let Some(name) = reference(rest) {
            masked.push(OPEN);
            masked.push_str(name);
            masked.push(CLOSE);
            rest = &rest[name.len() + "${}".len()..];
        } else {
            // `$${` is an escape: its second dollar begins no reference.
            let literal = if rest.starts_with("$$") { 2 } else { 1 };
            masked.push_str(&rest[..literal]);
            rest = &rest[literal..];
        }
    }
    masked.push_str(rest);
    masked
}

/// The name when `text` begins with `${name}`.
fn reference(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("${")?.split_once('}')?;
    is_name(name).then_some(name)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// The parameters in effect: `spec.params`, with `spec.quick` in their place where that profile is
/// asked for, with the overrides of the command line.
pub(super) fn read(
    root: &Node,
    profile: Profile,
    overrides: &[(String, String)],
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    for (key, value) in declared(root, "params", problems) {
        if !is_name(&key.text) {
            problems.report(
                &key.at,
                format!("`{}` is not a parameter's name", key.text),
                "allowed: a letter, then letters, digits, `_` and `-`",
            );
        } else if let Some(value) = default_value(&key.text, value, problems) {
            params.insert(key.text.clone(), value);
        }
    }
    let quick = declared(root, "quick", problems);
    if quick.is_empty() && profile == Profile::Quick {
        problems.report_command_line(
            "--quick: the experiment has no quick profile".to_owned(),
            "allowed: --quick for an experiment with `spec.quick`, values for its parameters; \
             --set for single ones"
                .to_owned(),
        );
    }
    for (key, value) in quick {
        let value = default_value(&key.text, value, problems);
        match params.get_mut(&key.text) {
            None => problems.report(
                &key.at,
                format!("there is no parameter `{}`", key.text),
                allowed_names(&key.text, &params),
            ),
            Some(known) => match value {
                Some(value) if profile == Profile::Quick => *known = value,
                // Otherwise only its form matters.
                Some(_) | None => {}
            },
        }
    }
    for (name, value) in overrides {
        if let Some(known) = params.get_mut(name) {
            known.clone_from(value);
        } else {
            problems.report_command_line(
                format!("--set {name}={value}: there is no parameter `{name}`"),
                allowed_names(name, &params),
            );
        }
    }
    params
}

/// The entries of a section of `spec`; none when it is left out.
fn declared<'tree>(
    root: &'tree Node,
    section: &str,
    problems: &mut Problems,
) -> &'tree [(Key, Node)] {
    let node = root.entry("spec").and_then(|spec| spec.entry(section));
    match node.filter(|node| !node.is_null()) {
        Some(node) => problems.entries(node, section),
        None => &[],
    }
}

fn default_value(name: &str, node: &Node, problems: &mut Problems) -> Option<String> {
    let text = problems.text(node, name)?;
    if text.contains(OPEN) || text.contains("${") {
        problems.report(
            &node.at,
            format!("the parameter `{name}` refers to another one"),
            "allowed: a plain value; parameters are put in everywhere but in `params` and `quick`",
        );
    }
    Some(text)
}

fn allowed_names(name: &str, params: &BTreeMap<String, String>) -> String {
    if params.is_empty() {
        return "allowed: nothing, because spec.params declares no parameter".to_owned();
    }
    nearest(name, params.keys().map(String::as_str))
}

/// Puts the parameters' values in, everywhere but where they come from, and reports
/// references to nothing and parameters that nothing refers to.
pub(super) fn substitute(
    root: &mut Node,
    params: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let mut substitution = Substitution {
        params,
        used: BTreeSet::new(),
        problems,
    };
    substitution.walk(root, &mut Vec::new());
    let used = substitution.used;
    let declared = root.entry("spec").and_then(|spec| spec.entry("params"));
    let Some(Value::Map(entries)) = declared.map(|node| &node.value) else {
        return;
    };
    for (key, _) in entries {
        if params.contains_key(&key.text) && !used.contains(&key.text) {
            problems.report(
                &key.at,
                format!("the parameter `{}` is never used", key.text),
                format!(
                    "allowed: parameters that a value refers to as ${{{}}}",
                    key.text
                ),
            );
        }
    }
}

struct Substitution<'a> {
    params: &'a BTreeMap<String, String>,
    used: BTreeSet<String>,
    problems: &'a mut Problems,
}

impl Substitution<'_> {
    fn walk(&mut self, node: &mut Node, path: &mut Vec<String>) {
        match &mut node.value {
            Value::Broken => {}
            Value::List(items) => {
                for item in items {
                    self.walk(item, path);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    if key.text.contains(OPEN) {
                        self.problems.report(
                            &key.at,
                            "a field's name cannot be a parameter",
                            "allowed: ${name} in values",
                        );
                    }
                    path.push(key.text.clone());
                    let place = path.iter().map(String::as_str);
                    let plain = [["spec", "params"], ["spec", "quick"]];
                    if !plain.into_iter().any(|plain| place.clone().eq(plain)) {
                        self.walk(value, path);
                    }
                    path.pop();
                }
            }
            Value::Scalar(scalar) => {
                if let Some(message) = self.scalar(scalar) {
                    let (what, allowed) = message;
                    self.problems.report(&node.at, what, allowed);
                    node.value = Value::Broken;
                }
            }
        }
    }

    /// Rewrites one scalar, or says what is wrong with it and what is allowed.
    fn scalar(&mut self, scalar: &mut Scalar) -> Option<(String, String)> {
        let mut text = String::new();
        let mut rest = scalar.text.as_str();
        while let Some(next) = rest.find([OPEN, '$']) {
            text.push_str(&rest[..next]);
            rest = &rest[next..];
            if let Some(after) = rest.strip_prefix(OPEN) {
                let Some((name, after)) = after.split_once(CLOSE) else {
                    return Some(unreadable());
                };
                let Some(value) = self.params.get(name) else {
                    let message = format!("there is no parameter `{name}`");
                    return Some((message, allowed_names(name, self.params)));
                };
                self.used.insert(name.to_owned());
                text.push_str(value);
                scalar.substituted = true;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("$${") {
                text.push_str("${");
                rest = after;
            } else if rest.starts_with("${") {
                return Some(unreadable());
            } else {
                text.push('$');
                rest = &rest[1..];
            }
        }
        text.push_str(rest);
        scalar.text = text;
        None
    }
}

fn unreadable() -> (String, String) {
    (
        "`${` begins no reference to a parameter".to_owned(),
        "allowed: ${name}, or $${ for the two characters themselves".to_owned(),
    )
}
