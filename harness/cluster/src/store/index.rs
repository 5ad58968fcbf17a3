//! Finding objects by what they refer to, without looking at all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Key, Resource};
use crate::object;
use crate::selector::Selector;

/// Follows every change of the objects.
#[derive(Default, Debug)]
pub(super) struct Index {
    /// By the uid of an owner.
    dependents: BTreeMap<String, BTreeSet<Key>>,
    /// Names of the objects which carry a label.
    labelled: BTreeMap<Term, BTreeSet<String>>,
    /// Names of the objects whose selector asks for a label.
    selecting: BTreeMap<Term, BTreeSet<String>>,
}

/// A label of the objects of one kind in one namespace.
#[derive(Eq, PartialEq, Ord, PartialOrd, Debug)]
struct Term {
    resource: Resource,
    namespace: String,
    key: String,
    value: String,
}

impl Term {
    fn new(resource: &Resource, namespace: &str, key: &str, value: &str) -> Self {
        Self {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }
}

impl Index {
    /// Notes that the object at a place is now another one, or none.
    pub(super) fn change(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        move_entry(&mut self.dependents, before, after, key, owners);
        let labels = |object: &Value| labels(&key.resource, object);
        move_entry(&mut self.labelled, before, after, &key.name, labels);
        let selector = |object: &Value| BTreeSet::from_iter(anchor(&key.resource, object));
        move_entry(&mut self.selecting, before, after, &key.name, selector);
    }

    /// How many entries there are.
    pub(super) fn entries(&self) -> usize {
        let by_label = self.labelled.values().chain(self.selecting.values());
        let by_owner = self.dependents.values().map(BTreeSet::len);
        by_label.map(BTreeSet::len).chain(by_owner).sum()
    }

    /// The objects with an owner reference to this uid.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// The names of the objects among which a selector finds all it matches.
    /// `None` if it asks for no particular label.
    pub(super) fn selected(
        &self,
        resource: &Resource,
        namespace: &str,
        selector: &Selector,
    ) -> Option<impl Iterator<Item = &String>> {
        let sets = selector.equalities().map(|(key, value)| {
            let term = Term::new(resource, namespace, key, value);
            self.labelled.get(&term)
        });
        let smallest = sets.min_by_key(|set| set.map_or(0, BTreeSet::len))?;
        Some(smallest.into_iter().flatten())
    }

    /// The names of the objects among which are all whose selector matches these
    /// labels.
    pub(super) fn selecting(
        &self,
        resource: &Resource,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = &String> {
        let labels = labels.iter().map(|(key, value)| (&**key, &**value));
        let terms = labels.chain([NO_LABEL]);
        terms.flat_map(move |(key, value)| {
            let term = Term::new(resource, namespace, key, value);
            self.selecting.get(&term).into_iter().flatten()
        })
    }
}

/// Stands for a selector which asks for no particular label.
const NO_LABEL: (&str, &str) = ("", "");

fn move_entry<T: Ord, E: Ord + Clone>(
    index: &mut BTreeMap<T, BTreeSet<E>>,
    before: Option<&Value>,
    after: Option<&Value>,
    entry: &E,
    terms: impl Fn(&Value) -> BTreeSet<T>,
) {
    let [before, after] = [before, after].map(|object| object.map(&terms).unwrap_or_default());
    for term in before.difference(&after) {
        if let Some(entries) = index.get_mut(term) {
            entries.remove(entry);
            if entries.is_empty() {
                index.remove(term);
            }
        }
    }
    for term in after {
        if !before.contains(&term) {
            index.entry(term).or_default().insert(entry.clone());
        }
    }
}

fn owners(object: &Value) -> BTreeSet<String> {
    object::owners(object)
        .map(|owner| object::text(owner, "/uid").to_owned())
        .collect()
}

fn labels(resource: &Resource, object: &Value) -> BTreeSet<Term> {
    let namespace = object::namespace(object);
    object::labels(object)
        .iter()
        .map(|(key, value)| Term::new(resource, namespace, key, value))
        .collect()
}

/// One label which everything that an object selects carries. Which one does
/// not matter. The last is the template hash where there is one, which few share.
fn anchor(resource: &Resource, object: &Value) -> Option<Term> {
    let namespace = object::namespace(object);
    let labels = match resource {
        Resource::Services => object::string_map(object, "/spec/selector"),
        _ => object::string_map(object, "/spec/selector/matchLabels"),
    };
    object.pointer("/spec/selector")?;
    let last = labels.iter().next_back();
    let (key, value) = last.map_or(NO_LABEL, |(key, value)| (&**key, &**value));
    Some(Term::new(resource, namespace, key, value))
}
