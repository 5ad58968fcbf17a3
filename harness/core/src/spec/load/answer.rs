//! `save` and `check` of a request: what is kept of its answer and what must hold of it.

use std::collections::BTreeMap;

use http::HeaderName;
use regex::Regex;

use super::journey::Known;
use super::many;
use super::request::template;
use crate::experiment::{Check, Condition, Part};
use crate::spec::problems::{Fields, Problems};
use crate::spec::tree::Node;
use crate::template::is_savable_name;

const PARTS: [&str; 3] = ["json", "header", "regex"];

/// What later requests can use, by name.
pub(super) fn save(node: &Node, problems: &mut Problems) -> Option<BTreeMap<String, Part>> {
    let mut saved = BTreeMap::new();
    let mut complete = true;
    for (key, node) in problems.entries(node, "save") {
        if !is_savable_name(&key.text) {
            problems.report(
                &key.at,
                format!("nothing can be saved as `{}`", key.text),
                "allowed: a letter, then letters, digits, `_` and `-`; not user, iteration, \
                 unique, uuid, which are always there",
            );
        }
        let fields = problems.fields(node, "save", &PARTS, &[]);
        match fields.and_then(|fields| part(&fields, problems)) {
            Some(part) => drop(saved.insert(key.text.clone(), part)),
            None => complete = false,
        }
    }
    complete.then_some(saved)
}

/// What must hold of an answer.
pub(super) fn checks(node: &Node, known: &Known, problems: &mut Problems) -> Option<Vec<Check>> {
    let check = |node: &Node, problems: &mut Problems| check(node, known, problems);
    many(node, "check", check, problems)
}

fn check(node: &Node, known: &Known, problems: &mut Problems) -> Option<Check> {
    let names = ["json", "header", "regex", "equals", "matches"];
    let fields = problems.fields(node, "check", &names, &[])?;
    let part = part(&fields, problems);
    if let Some(equals) = node.entry("equals").filter(|equals| equals.is_null()) {
        problems.report(
            &equals.at,
            "`equals` without a value asks nothing",
            "allowed: text, such as \"null\" for JSON's null; to ask whether the part is there, \
             leave `equals` out",
        );
    }
    let condition = match (fields.get("equals"), fields.get("matches")) {
        (None, None) => Some(Condition::Exists),
        (Some(node), None) => {
            let text = problems.text(node, "equals");
            let text = text.and_then(|text| template(node, &text, known, problems));
            text.map(Condition::Equals)
        }
        (None, Some(node)) => expression(node, "matches", problems).map(Condition::Matches),
        (Some(_), Some(node)) => {
            problems.report(
                &node.at,
                "a check has one condition",
                "allowed: either `equals` or `matches`, or neither: then the part must be there",
            );
            None
        }
    };
    Some(Check {
        part: part?,
        condition: condition?,
    })
}

fn part(fields: &Fields<'_>, problems: &mut Problems) -> Option<Part> {
    let (name, node) = fields.exactly_one(&PARTS, problems)?;
    match name {
        "json" => pointer(node, problems).map(Part::Json),
        "header" => header(node, problems).map(Part::Header),
        _ => expression(node, "regex", problems).map(Part::Regex),
    }
}

fn pointer(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = problems.text(node, "json")?;
    let escapes_are_known = text
        .split('~')
        .skip(1)
        .all(|after| after.starts_with(['0', '1']));
    if text.starts_with('/') && escapes_are_known {
        return Some(text);
    }
    problems.report(
        &node.at,
        format!("not a JSON pointer: `{text}`"),
        "allowed: names and indexes after slashes, such as /items/0/id; ~1 stands for a slash in \
         a name and ~0 for a tilde (RFC 6901)",
    );
    None
}

fn header(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = problems.text(node, "header")?;
    if let Ok(name) = text.parse::<HeaderName>() {
        return Some(name.as_str().to_owned());
    }
    problems.report(
        &node.at,
        format!("not a header's name: `{text}`"),
        "allowed: letters, digits and `-`",
    );
    None
}

fn expression(node: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    let text = problems.text(node, what)?;
    match Regex::new(&text) {
        Ok(_) => Some(text),
        Err(error) => {
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default();
            let reason = last.trim_start_matches("error: ");
            problems.report(
                &node.at,
                format!("`{what}` is not a regular expression: {reason}"),
                "allowed: the syntax of Rust's `regex` crate, without look-around",
            );
            None
        }
    }
}
