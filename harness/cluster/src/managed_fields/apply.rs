//! Server-side apply: one manager says all the fields it wants to have.

use serde_json::Value;

use super::merge::{merge, remove};
use super::set::FieldSet;
use super::{BEFORE_FIRST_APPLY, Changes, Entry, Operation, Place, Writer};
use super::{compare, entries, fields_of, take_away, write};
use crate::store::Subresource;

/// Whether an apply takes over fields which others manage.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Conflicts {
    Refuse,
    TakeOver,
}

/// Fields which another manager set to something else.
#[derive(Clone, Debug)]
pub(crate) struct Conflict {
    /// `"kubectl-edit" using v1`
    pub(crate) manager: String,
    pub(crate) fields: FieldSet,
}

impl Conflict {
    /// The conflict without those fields; nothing when no others are left.
    pub(crate) fn without(mut self, fields: &FieldSet) -> Option<Self> {
        self.fields = self.fields.difference(fields);
        (!self.fields.is_empty()).then_some(self)
    }
}

/// What an apply leads to, before defaults and checks.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) object: Value,
    others: Vec<Entry>,
    /// What the manager had applied before.
    last: Option<Entry>,
    wanted: FieldSet,
}

/// Applies `config` in the name of a writer to what is there, which is null when
/// nothing is.
pub(crate) fn apply(
    live: &Value,
    config: &Value,
    writer: &Writer<'_>,
    conflicts: Conflicts,
) -> Result<Applied, Vec<Conflict>> {
    let root = writer.root;
    let mut others = known_entries(live, writer);
    let position = others
        .iter()
        .position(|entry| writer.is(entry, Operation::Apply));
    let last = position.map(|position| others.remove(position));
    let config = writer.own_part(config);
    let sent = fields_of(root, &config);
    let wanted = writer.managed(sent.clone());
    let mut object = match live {
        Value::Null => Value::Object(serde_json::Map::new()),
        live => live.clone(),
    };
    merge(root, &mut object, &config);
    if let Some(last) = &last {
        let kept = others
            .iter()
            .fold(sent, |kept, entry| kept.union(&entry.fields));
        object = pruned(root, &object, &last.fields, &kept);
    }
    let changes = compare(root, live, &object);
    let changed = changes.set();
    let contested: Vec<Conflict> = others
        .iter()
        .map(|entry| Conflict {
            manager: entry.described(),
            fields: entry.fields.intersection(&changed),
        })
        .filter(|conflict| !conflict.fields.is_empty())
        .collect();
    if conflicts == Conflicts::Refuse && !contested.is_empty() {
        return Err(contested);
    }
    take_away(&mut others, &changes);
    Ok(Applied {
        object,
        others,
        last,
        wanted,
    })
}

impl Applied {
    /// Notes the managers in the object as it will be stored. The time of the
    /// apply is noted only when it changed something: what is the same as before
    /// is not written.
    pub(crate) fn record(self, live: &Value, stored: &mut Value, writer: &Writer<'_>) {
        let present = compare(writer.root, &Value::Null, stored).added;
        let fields = self.wanted.intersection(&present);
        let mut own = writer.entry(Operation::Apply, fields);
        let difference = compare(writer.root, live, stored);
        let nothing_else = writer.everything(&difference).is_empty();
        if let Some(last) = self.last
            && nothing_else
            && last.fields == own.fields
            && last.api_version == own.api_version
        {
            own.time = last.time;
        }
        let mut entries = self.others;
        entries.push(own);
        write(stored, entries);
    }
}

impl Writer<'_> {
    /// The part of an applied object which can be written on this path.
    fn own_part(&self, config: &Value) -> Value {
        let mut part = config.clone();
        let Some(fields) = part.as_object_mut() else {
            return part;
        };
        if self.subresource == Subresource::Status.name() {
            fields.retain(|field, _| matches!(field.as_str(), "metadata" | "status"));
            if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|field, _| {
                    matches!(
                        field.as_str(),
                        "annotations" | "finalizers" | "ownerReferences"
                    )
                });
            }
        } else if self.status_apart {
            fields.remove("status");
        }
        part
    }

    /// All that changed but for what belongs to nobody.
    fn everything(&self, changes: &Changes) -> FieldSet {
        let all = Writer {
            status_apart: false,
            ..self.clone()
        };
        all.managed(changes.set().union(&changes.removed))
    }
}

impl Entry {
    fn described(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// The managers on record. Where there are none, everything belongs to one.
fn known_entries(live: &Value, writer: &Writer<'_>) -> Vec<Entry> {
    let known = entries(&live["metadata"]["managedFields"]).unwrap_or_default();
    if !known.is_empty() || live.is_null() {
        return known;
    }
    let before = Writer {
        manager: BEFORE_FIRST_APPLY,
        subresource: "",
        ..writer.clone()
    };
    let fields = before.managed(fields_of(writer.root, live));
    vec![before.entry(Operation::Update, fields)]
}

/// Takes out what the manager applied last time, unless it is kept: applied
/// again or managed by others. What nobody manages goes with the field in which
/// it is, such as a probe with its defaults, but never because of a neighbour.
fn pruned(root: Place<'_>, merged: &Value, last: &FieldSet, kept: &FieldSet) -> Value {
    let present = |object: &Value| fields_of(root, object).with_fields_on_the_way();
    let without = |fields: &FieldSet| {
        let mut object = merged.clone();
        remove(root, &mut object, fields);
        object
    };
    let last = last.with_fields_on_the_way();
    let all = present(merged);
    let staying = present(&without(&last)).union(&kept.with_fields_on_the_way());
    let staying = present(&without(&all.difference(&staying)));
    without(&all.difference(&staying).intersection(&last))
}

/// The fields of `object` which `live` has with the same values.
pub(crate) fn agreed_fields(object: &Value, live: &Value, writer: &Writer<'_>) -> FieldSet {
    let root = writer.root;
    let changes = compare(root, object, live);
    fields_of(root, object).difference(&changes.set().union(&changes.removed))
}
