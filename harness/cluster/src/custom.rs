//! Custom resources: what a CustomResourceDefinition makes of a kind.
//!
//! Functions over values. The store asks which kinds its definitions make it
//! serve; the API asks what an object of such a kind has to look like.

mod columns;
pub(crate) mod definition;
mod json_path;
mod schema;
mod version;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionSpec;
use serde::Deserialize as _;
use serde_json::Value;

use crate::object::text;
use crate::store::{Description, Subresource, VERBS};
pub(crate) use columns::{CellType, Column};
pub(crate) use schema::{ListKind, Schema};
pub(crate) use version::{Scale, Version};

/// A kind which a definition makes known. Its identity is its group and plural:
/// what a changed definition says about the kind applies to the same objects.
#[derive(Copy, Clone, Debug)]
pub(crate) struct CustomResource(&'static Kind);

/// What a definition says about its kind.
#[derive(Debug)]
struct Kind {
    description: Description,
    version: Version,
}

/// All definitions this process has seen, by their text. They are never freed,
/// so that kinds can be copied and described without a lock or a count, as the
/// built-in ones are. A text seen before, in whichever cluster, costs nothing.
static KNOWN: Mutex<BTreeMap<String, &'static Kind>> = Mutex::new(BTreeMap::new());

impl CustomResource {
    /// The kind which a definition defines, once its names are accepted.
    pub(crate) fn of_definition(definition: &Value) -> Option<Self> {
        if !condition_is_true(definition, "Established") {
            return None;
        }
        let spec = &definition["spec"];
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        match known.entry(spec.to_string()) {
            Entry::Occupied(found) => Some(Self(found.get())),
            Entry::Vacant(place) => {
                let kind = Box::leak(Box::new(Kind::of(spec)?));
                Some(Self(place.insert(kind)))
            }
        }
    }

    pub(crate) const fn description(self) -> &'static Description {
        &self.0.description
    }

    /// What objects of this kind look like and how they are shown.
    pub(crate) const fn version(self) -> &'static Version {
        &self.0.version
    }

    fn identity(self) -> (&'static str, &'static str) {
        (self.0.description.group, self.0.description.plural)
    }
}

impl Kind {
    /// Reads the spec of a definition, which has been checked and has one version.
    fn of(spec: &Value) -> Option<Self> {
        let spec = CustomResourceDefinitionSpec::deserialize(spec).ok()?;
        let (names, version) = (&spec.names, spec.versions.first()?);
        let parts = version.subresources.as_ref();
        let status = parts.is_some_and(|parts| parts.status.is_some());
        let scale = parts.is_some_and(|parts| parts.scale.is_some());
        let subresources = [(status, Subresource::Status), (scale, Subresource::Scale)];
        let present = subresources.into_iter().filter(|(present, _)| *present);
        Some(Self {
            description: Description {
                group: leaked(&spec.group),
                version: leaked(&version.name),
                other_versions: &[],
                kind: leaked(&names.kind),
                plural: leaked(&names.plural),
                singular: leaked(names.singular.as_deref().unwrap_or_default()),
                short_names: all_leaked(names.short_names.as_ref()),
                categories: all_leaked(names.categories.as_ref()),
                verbs: VERBS,
                subresources: present.map(|(_, part)| part).collect::<Vec<_>>().leak(),
                namespaced: spec.scope == "Namespaced",
                has_generation: true,
            },
            version: version::read(version, "", &mut Vec::new()),
        })
    }
}

fn all_leaked(texts: Option<&Vec<String>>) -> &'static [&'static str] {
    let texts = texts.into_iter().flatten();
    texts.map(|text| leaked(text)).collect::<Vec<_>>().leak()
}

fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn condition_is_true(definition: &Value, wanted: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| text(condition, "/type") == wanted && text(condition, "/status") == "True")
}

impl PartialEq for CustomResource {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for CustomResource {}

impl PartialOrd for CustomResource {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CustomResource {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for CustomResource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}
