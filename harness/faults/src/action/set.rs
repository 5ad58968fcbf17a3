//! `set`: fields of an object get other values, and then their former ones.
//!
//! Every write names the version it was made from. A request that got no answer may still arrive
//! after the fault has been undone: it is refused then, because undoing makes a new version always,
//! even of an object that looks untouched. And no write hides what somebody else has made of a field
//! since it was planned: undoing would put back what was before that, e.g. open a node that another
//! run has closed.

use kube::ResourceExt;
use kube::api::{DynamicObject, PostParams};
use serde::{Deserialize, Serialize};

use super::{Attempt, Cluster, FaultError};
use crate::field::{Field, Path, brief};
use crate::object::{Object, from_json, to_json};

/// How often a write is tried when something else, such as the object's controller, changes the
/// object at the same time.
const ATTEMPTS: u32 = 20;

/// Makes a new version of an object. A label, because annotations of a Deployment are copied to its
/// ReplicaSets and stay there.
const REVERTED_LABEL: &str = "holdfast.dev/reverted-from";

/// Other values for fields of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Set {
    pub(crate) object: Object,
    /// Planned one after the other: each `from` is what the ones before it leave.
    pub(crate) fields: Vec<Field>,
    /// Is not undone: it leaves what a person's own command would, e.g. a restart's time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lasting: bool,
    /// Is done when the fault is undone, in place of when it is brought about; lasting, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) reverting: bool,
}

impl Set {
    /// The change of `object`'s fields to these values. One that leaves all of them as they are is
    /// refused: it would count as brought about, and nothing would have happened.
    pub(crate) fn plan(
        object: Object,
        found: &DynamicObject,
        values: impl IntoIterator<Item = (Path, Option<serde_json::Value>)>,
    ) -> Result<Self, FaultError> {
        let change = Self::keep(object, found, values);
        if change.fields.iter().all(Field::changes_nothing) {
            let words = |field: &Field| format!("{} is {}", field.path, brief(field.to.as_ref()));
            let words: Vec<_> = change.fields.iter().map(words).collect();
            return Err(FaultError::NoChange {
                what: change.object.to_string(),
                found: words.join(", "),
            });
        }
        Ok(change)
    }

    /// The same, which may leave them as they are: what else changes them is undone with it.
    pub(crate) fn keep(
        object: Object,
        found: &DynamicObject,
        values: impl IntoIterator<Item = (Path, Option<serde_json::Value>)>,
    ) -> Self {
        let mut now = to_json(found);
        let mut fields = Vec::new();
        for (path, to) in values {
            let field = Field::change(&now, path, to);
            field.inject(&mut now);
            fields.push(field);
        }
        Self {
            object,
            fields,
            lasting: false,
            reverting: false,
        }
    }

    pub(super) fn describe(&self) -> String {
        let changes = self.fields.iter().map(|field| {
            let (from, to) = (brief(field.from.as_ref()), brief(field.to.as_ref()));
            format!("{} from {from} to {to}", field.path)
        });
        let changes: Vec<_> = changes.collect();
        format!("{}: {}", self.object, changes.join(", "))
    }

    pub(super) fn describe_undo(&self) -> Option<String> {
        if self.lasting {
            return None;
        }
        let changes = self.fields.iter().rev();
        let changes =
            changes.map(|field| format!("{} to {}", field.path, brief(field.from.as_ref())));
        let changes: Vec<_> = changes.collect();
        Some(format!("{}: {}", self.object, changes.join(", ")))
    }

    pub(super) async fn inject(
        &self,
        cluster: &Cluster,
        attempt: Attempt,
    ) -> Result<Option<String>, FaultError> {
        if self.reverting {
            return Ok(None);
        }
        self.carry_out(cluster, attempt).await.map(Some)
    }

    async fn carry_out(&self, cluster: &Cluster, attempt: Attempt) -> Result<String, FaultError> {
        // At a second attempt the field may have its value by the first one; and of what is lasting
        // nothing is put back.
        let must_be_as_planned = attempt == Attempt::First && !self.lasting;
        let mut was_sent = false;
        for _ in 0..ATTEMPTS {
            let found = cluster.get(self.object.resource, &self.object.name).await?;
            if found.uid().as_deref() != Some(&self.object.uid) {
                return Err(FaultError::Replaced(self.object.to_string()));
            }
            // A write may be stored although the answer is that nobody knows (504). The client sends it
            // again then, and hears of a conflict with itself.
            if was_sent && self.confirm(&found, Field::is_injected).is_ok() {
                return Ok(self.describe());
            }
            let mut object = to_json(&found);
            for field in &self.fields {
                if must_be_as_planned && !field.is_reverted(&object) {
                    return Err(FaultError::Changed {
                        what: format!("{}: {}", self.object, field.path),
                        found: brief(field.path.get(&object)),
                        planned: brief(field.from.as_ref()),
                    });
                }
                field.inject(&mut object);
            }
            was_sent = true;
            if let Some(stored) = self.write(cluster, &from_json(object)?).await? {
                self.confirm(&stored, Field::is_injected)?;
                return Ok(self.describe());
            }
        }
        Err(FaultError::Busy(self.object.to_string()))
    }

    pub(super) async fn revert(&self, cluster: &Cluster) -> Result<Option<String>, FaultError> {
        if self.lasting && !self.reverting {
            return Ok(None);
        }
        for _ in 0..ATTEMPTS {
            let Some(found) = self.find(cluster).await? else {
                return Ok(Some(format!(
                    "{} is gone or was replaced; there is nothing to put back",
                    self.object
                )));
            };
            if self.reverting {
                return self.carry_out(cluster, Attempt::Again).await.map(Some);
            }
            let before = to_json(&found);
            let mut object = before.clone();
            for field in self.fields.iter().rev() {
                field.revert(&mut object);
            }
            let mut object = from_json(object)?;
            let labels = object.labels_mut();
            let version = found.resource_version().unwrap_or_default();
            labels.insert(REVERTED_LABEL.to_owned(), version);
            let Some(stored) = self.write(cluster, &object).await? else {
                continue;
            };
            self.confirm(&stored, Field::is_reverted)?;
            self.remove_label(cluster).await?;
            let untouched = self.fields.iter().all(|field| field.is_reverted(&before));
            return Ok(Some(if untouched {
                format!("{} is as before", self.object)
            } else {
                format!("{} put back: {}", self.object, self.restored())
            }));
        }
        Err(FaultError::Busy(self.object.to_string()))
    }

    async fn remove_label(&self, cluster: &Cluster) -> Result<(), FaultError> {
        for _ in 0..ATTEMPTS {
            let Some(mut found) = self.find(cluster).await? else {
                return Ok(());
            };
            if found.labels_mut().remove(REVERTED_LABEL).is_none() {
                return Ok(());
            }
            if found.labels().is_empty() {
                found.metadata.labels = None;
            }
            if self.write(cluster, &found).await?.is_some() {
                return Ok(());
            }
        }
        Err(FaultError::Busy(self.object.to_string()))
    }

    pub(super) async fn difference(&self, cluster: &Cluster) -> Result<Option<String>, FaultError> {
        if self.lasting {
            return Ok(None);
        }
        let Some(found) = self.find(cluster).await? else {
            return Ok(None);
        };
        let object = to_json(&found);
        let different = self
            .fields
            .iter()
            .filter(|field| !field.is_reverted(&object));
        let words: Vec<_> = different
            .map(|field| {
                let now = brief(field.path.get(&object));
                format!(
                    "{} is {now} instead of {}",
                    field.path,
                    brief(field.from.as_ref())
                )
            })
            .collect();
        Ok((!words.is_empty()).then(|| {
            format!(
                "{}: {}; put it back: kubectl -n {} edit {}",
                self.object,
                words.join(", "),
                cluster.namespace,
                self.object
            )
        }))
    }

    /// The object, unless it is gone or another one has taken its name.
    async fn find(&self, cluster: &Cluster) -> Result<Option<DynamicObject>, FaultError> {
        let found = cluster
            .find(self.object.resource, &self.object.name)
            .await?;
        Ok(found.filter(|found| found.uid().as_deref() == Some(&self.object.uid)))
    }

    /// Replaces the object; `None` when it has changed since it was read.
    async fn write(
        &self,
        cluster: &Cluster,
        object: &DynamicObject,
    ) -> Result<Option<DynamicObject>, FaultError> {
        let api = cluster.any(self.object.resource);
        match api
            .replace(&self.object.name, &PostParams::default(), object)
            .await
        {
            Ok(stored) => Ok(Some(stored)),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(None),
            Err(error) => Err(FaultError::during(format!("change {}", self.object))(error)),
        }
    }

    /// The API's answer says what it stored, which need not be what it was asked for.
    fn confirm(
        &self,
        stored: &DynamicObject,
        holds: impl Fn(&Field, &serde_json::Value) -> bool,
    ) -> Result<(), FaultError> {
        let stored = to_json(stored);
        match self.fields.iter().find(|field| !holds(field, &stored)) {
            None => Ok(()),
            // An earlier field may lie in what a later one replaced.
            Some(field) if self.is_covered(field) => Ok(()),
            Some(field) => Err(FaultError::NotAsAsked {
                what: format!("{}: {}", self.object, field.path),
                found: brief(field.path.get(&stored)),
            }),
        }
    }

    fn is_covered(&self, field: &Field) -> bool {
        let text = field.path.to_string();
        let others = self.fields.iter().filter(|other| *other != field);
        others.map(|other| other.path.to_string()).any(|other| {
            text == other || text.starts_with(&format!("{other}.")) || other.starts_with(&text)
        })
    }

    fn restored(&self) -> String {
        let values = self.fields.iter().rev();
        let values: Vec<_> = values
            .map(|field| format!("{} is {} again", field.path, brief(field.from.as_ref())))
            .collect();
        values.join(", ")
    }
}
