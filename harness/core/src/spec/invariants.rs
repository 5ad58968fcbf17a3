//! `spec.invariants`: what must be true of the system's data in the end.

use super::problems::Problems;
use super::tree::Node;
use super::{Placed, address};
use crate::experiment::Invariant;

pub(super) fn read(node: Option<&Node>, problems: &mut Problems) -> Option<Vec<Placed<Invariant>>> {
    let Some(node) = node else {
        return Some(Vec::new());
    };
    let items = problems.list(node, "invariants")?;
    let all: Vec<_> = items.iter().map(|item| invariant(item, problems)).collect();
    let all: Vec<Placed<Invariant>> = all.into_iter().collect::<Option<_>>()?;
    for (index, later) in all.iter().enumerate() {
        let name = &later.value.name;
        if all[..index].iter().any(|other| other.value.name == *name) {
            problems.report(
                &later.at,
                format!("two invariants are called `{name}`"),
                "allowed: a name of its own for each invariant",
            );
        }
    }
    Some(all)
}

fn invariant(node: &Node, problems: &mut Problems) -> Option<Placed<Invariant>> {
    let fields = problems.fields(node, "invariant", &["name", "get", "within"], &[])?;
    let name = fields
        .required("name", problems)
        .and_then(|node| problems.label(node, "name"));
    let get = fields
        .required("get", problems)
        .and_then(|node| address::read(node, "get", problems));
    let within = fields
        .required("within", problems)
        .and_then(|node| problems.positive_duration(node, "within"));
    Some(Placed {
        at: fields.at().clone(),
        value: Invariant {
            name: name?,
            get: get?,
            within: within?,
        },
    })
}
