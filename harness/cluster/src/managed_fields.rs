//! Who manages which field of an object: what `metadata.managedFields` records,
//! and server-side apply, which rests on it.
//!
//! Functions over values: nothing is stored here.

mod apply;
mod compare;
mod merge;
mod place;
mod set;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock;
use crate::object::{self, text};
use crate::store::{Resource, Subresource};
pub(crate) use apply::{Applied, Conflict, Conflicts, agreed_fields, apply};
pub(crate) use compare::malformed_list;
use compare::{Changes, compare, fields_of};
use place::Place;
use set::FieldSet;

/// The manager of everything that was there before anybody applied, in an
/// object whose managers are unknown.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The manager of what the oldest of too many managers had changed.
const ANCIENT_CHANGES: &str = "ancient-changes";
const MAX_UPDATERS: usize = 10;

/// What an object says about itself is nobody's field.
const UNMANAGED: [&[&str]; 13] = [
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
    &["metadata", "clusterName"],
];

/// How a manager came to its fields.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub(crate) enum Operation {
    Apply,
    Update,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Apply, Self::Update]
            .into_iter()
            .find(|operation| operation.name() == text)
    }
}

/// Who writes an object, and how.
#[derive(Clone, Debug)]
pub(crate) struct Writer<'a> {
    manager: &'a str,
    api_version: String,
    /// Empty for the object itself.
    subresource: &'a str,
    /// Whether the status has a path of its own, so that writers of the object
    /// itself have no part in it.
    status_apart: bool,
    root: Place<'a>,
    /// The time of the write, in RFC 3339.
    now: String,
}

impl<'a> Writer<'a> {
    /// A writer of an object of this kind or, unless its name is empty, of one
    /// of its subresources.
    pub(crate) fn new(
        resource: &'a Resource,
        subresource: &'a str,
        manager: &'a str,
        now: Timestamp,
    ) -> Self {
        let subresources = resource.description().subresources;
        Self {
            manager,
            api_version: resource.api_version(),
            subresource,
            status_apart: subresources.contains(&Subresource::Status),
            root: Place::root(resource),
            now: clock::rfc3339(now),
        }
    }
}

impl Writer<'_> {
    /// The fields of a set which this writer can manage.
    fn managed(&self, mut fields: FieldSet) -> FieldSet {
        for path in UNMANAGED {
            fields.take_fields(path);
        }
        if self.status_apart && self.subresource.is_empty() {
            fields.take_fields(&["status"]);
        }
        fields.drop_itself("metadata");
        fields
    }

    fn is(&self, entry: &Entry, operation: Operation) -> bool {
        entry.operation == operation
            && entry.manager == self.manager
            && entry.subresource == self.subresource
            && (operation == Operation::Apply || entry.api_version == self.api_version)
    }

    fn entry(&self, operation: Operation, fields: FieldSet) -> Entry {
        Entry {
            operation,
            time: self.now.clone(),
            manager: self.manager.to_owned(),
            api_version: self.api_version.clone(),
            subresource: self.subresource.to_owned(),
            fields,
        }
    }
}

/// The fields of one manager.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    operation: Operation,
    time: String,
    manager: String,
    api_version: String,
    subresource: String,
    fields: FieldSet,
}

/// Why a list of managers cannot be what `managedFields` says.
#[derive(Debug, thiserror::Error)]
#[error("metadata.managedFields[{index}].{field}: {message}")]
pub(crate) struct InvalidEntry {
    pub(crate) index: usize,
    pub(crate) field: &'static str,
    pub(crate) message: &'static str,
}

/// Notes in `after` that a writer created or changed an object other than by
/// applying: what it changed is its own from now on. `before` is null for a
/// new object.
///
/// A client which sends other managers than there were replaces them; with an
/// empty list, or a list of one empty entry, nobody is on record any longer.
pub(crate) fn record_update(before: &Value, after: &mut Value, writer: &Writer<'_>) {
    let sent = &after["metadata"]["managedFields"];
    let is_main = writer.subresource.is_empty();
    let forgets = is_main && is_reset(sent);
    let mut entries = match entries(sent) {
        Ok(sent) if is_main && !sent.is_empty() => sent,
        _ => entries(&before["metadata"]["managedFields"]).unwrap_or_default(),
    };
    if forgets || (entries.is_empty() && !before.is_null()) {
        write(after, Vec::new());
        return;
    }
    let changes = match before {
        Value::Null => compare(writer.root, &always_there(after), after),
        before => compare(writer.root, before, after),
    };
    take_away(&mut entries, &changes);
    let gained = writer.managed(changes.set());
    if !gained.is_empty() {
        match entries
            .iter_mut()
            .find(|entry| writer.is(entry, Operation::Update))
        {
            Some(entry) => {
                entry.fields.add(gained);
                entry.time.clone_from(&writer.now);
            }
            None => entries.push(writer.entry(Operation::Update, gained)),
        }
    }
    write(after, merge_oldest(entries));
}

/// The parts which every object of a kind has, be they empty: nobody adds them.
fn always_there(object: &Value) -> Value {
    let mut there = json!({"metadata": {}, "spec": {}, "status": {}});
    if object["spec"]["strategy"].is_object() {
        there["spec"]["strategy"] = json!({});
    }
    if object["spec"]["template"].is_object() {
        there["spec"]["template"] = json!({"metadata": {}, "spec": {"containers": null}});
    }
    if object["spec"]["containers"].is_array() {
        there["spec"]["containers"] = Value::Null;
    }
    there
}

/// Takes what changed away from all managers.
fn take_away(entries: &mut [Entry], changes: &Changes) {
    let changed = changes.set().union(&changes.removed);
    for entry in entries {
        entry.fields = entry.fields.difference(&changed);
    }
}

fn is_reset(managed_fields: &Value) -> bool {
    managed_fields
        .as_array()
        .is_some_and(|entries| match entries.as_slice() {
            [] => true,
            [only] => only.as_object().is_some_and(serde_json::Map::is_empty),
            _ => false,
        })
}

/// Checks the managers which a client sends.
pub(crate) fn check(object: &Value) -> Result<(), InvalidEntry> {
    let sent = &object["metadata"]["managedFields"];
    if is_reset(sent) {
        return Ok(());
    }
    entries(sent).map(drop)
}

fn entries(managed_fields: &Value) -> Result<Vec<Entry>, InvalidEntry> {
    let entries = managed_fields.as_array().into_iter().flatten();
    entries
        .enumerate()
        .map(|(index, entry)| {
            let invalid = |field, message| InvalidEntry {
                index,
                field,
                message,
            };
            let operation = Operation::parse(text(entry, "/operation"))
                .ok_or_else(|| invalid("operation", "must be `Apply` or `Update`"))?;
            if text(entry, "/fieldsType") != "FieldsV1" {
                return Err(invalid("fieldsType", "must be `FieldsV1`"));
            }
            let fields = match &entry["fieldsV1"] {
                Value::Null => Some(FieldSet::default()),
                json => FieldSet::from_json(json),
            };
            Ok(Entry {
                operation,
                time: text(entry, "/time").to_owned(),
                manager: text(entry, "/manager").to_owned(),
                api_version: text(entry, "/apiVersion").to_owned(),
                subresource: text(entry, "/subresource").to_owned(),
                fields: fields.ok_or_else(|| invalid("fieldsV1", "must be a set of fields"))?,
            })
        })
        .collect()
}

/// Keeps the list short: of too many updaters the oldest become one.
fn merge_oldest(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.retain(|entry| !entry.fields.is_empty());
    let (mut updaters, mut entries): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| entry.operation == Operation::Update);
    if updaters.len() > MAX_UPDATERS {
        updaters.sort_by(|one, other| one.time.cmp(&other.time));
        let newer = updaters.split_off(updaters.len() - (MAX_UPDATERS - 1));
        let ancient = updaters.into_iter().reduce(|mut ancient, entry| {
            ancient.fields.add(entry.fields);
            ancient.time = entry.time;
            ancient.api_version = entry.api_version;
            ancient
        });
        entries.extend(ancient.map(|entry| Entry {
            manager: ANCIENT_CHANGES.to_owned(),
            subresource: String::new(),
            ..entry
        }));
        updaters = newer;
    }
    entries.extend(updaters);
    entries
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    let order = |entry: &Entry| {
        let Entry {
            operation,
            time,
            manager,
            api_version,
            subresource,
            fields: _,
        } = entry.clone();
        (operation, time, manager, api_version, subresource)
    };
    entries.sort_by_cached_key(order);
    let metadata = object::map_at(object, "metadata");
    if entries.is_empty() {
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.remove("managedFields");
        }
        return;
    }
    metadata["managedFields"] = entries.iter().map(entry_json).collect();
}

fn entry_json(entry: &Entry) -> Value {
    let mut json = json!({
        "manager": entry.manager,
        "operation": entry.operation.name(),
        "apiVersion": entry.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields.to_json(),
    });
    if !entry.time.is_empty() {
        json["time"] = entry.time.clone().into();
    }
    if !entry.subresource.is_empty() {
        json["subresource"] = entry.subresource.clone().into();
    }
    json
}

#[cfg(test)]
mod tests;
