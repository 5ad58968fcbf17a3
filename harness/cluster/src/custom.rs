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
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
};
use serde::Deserialize as _;
use serde_json::Value;

use crate::object::text;
use crate::store::{Description, Names, Subresource, VERBS};
pub(crate) use columns::{CellType, Column};
pub(crate) use schema::{ListKind, Schema};
pub(crate) use version::{Scale, Version};

/// A kind which a definition makes known. Its identity is its group and plural:
/// what a changed definition says about the kind applies to the same objects.
#[derive(Clone, Debug)]
pub(crate) struct CustomResource(Arc<Kind>);

/// What a definition says about its kind.
#[derive(Debug)]
struct Kind {
    group: String,
    names: CustomResourceDefinitionNames,
    namespaced: bool,
    subresources: Vec<Subresource>,
    version_name: String,
    version: Version,
    /// Of the definition.
    generation: Option<u64>,
}

impl CustomResource {
    /// The kind which a definition defines, once its names are accepted.
    pub(crate) fn of_definition(definition: &Value) -> Option<Self> {
        if !condition_is_true(definition, "Established") {
            return None;
        }
        let spec = CustomResourceDefinitionSpec::deserialize(&definition["spec"]).ok()?;
        let kind = Kind::of(spec, generation(definition))?;
        Some(Self(Arc::new(kind)))
    }

    /// Whether a change of its definition has left alone what it says about the kind.
    pub(crate) fn is_as_defined(&self, definition: &Value) -> bool {
        let generation = generation(definition);
        generation.is_some()
            && generation == self.0.generation
            && condition_is_true(definition, "Established")
    }

    pub(crate) fn description(&self) -> Description<'_> {
        let Kind { group, names, .. } = &*self.0;
        Description {
            group,
            version: &self.0.version_name,
            other_versions: &[],
            kind: &names.kind,
            plural: &names.plural,
            singular: names.singular.as_deref().unwrap_or_default(),
            short_names: Names::Custom(names.short_names.as_deref().unwrap_or_default()),
            categories: Names::Custom(names.categories.as_deref().unwrap_or_default()),
            verbs: VERBS,
            subresources: &self.0.subresources,
            namespaced: self.0.namespaced,
            has_generation: true,
        }
    }

    /// What objects of this kind look like and how they are shown.
    pub(crate) fn version(&self) -> &Version {
        &self.0.version
    }

    /// Whether nobody else holds what the definition says.
    #[cfg(test)]
    pub(crate) fn is_held_by_nobody_else(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn identity(&self) -> (&str, &str) {
        (&self.0.group, &self.0.names.plural)
    }
}

impl Kind {
    /// Reads the spec of a definition, which has been checked and has one version.
    fn of(spec: CustomResourceDefinitionSpec, generation: Option<u64>) -> Option<Self> {
        let version = spec.versions.first()?;
        let parts = version.subresources.as_ref();
        let status = parts.is_some_and(|parts| parts.status.is_some());
        let scale = parts.is_some_and(|parts| parts.scale.is_some());
        let subresources = [(status, Subresource::Status), (scale, Subresource::Scale)];
        let present = subresources.into_iter().filter(|(present, _)| *present);
        Some(Self {
            subresources: present.map(|(_, part)| part).collect(),
            version_name: version.name.clone(),
            version: version::read(version, "", &mut Vec::new()),
            group: spec.group,
            names: spec.names,
            namespaced: spec.scope == "Namespaced",
            generation,
        })
    }
}

fn generation(definition: &Value) -> Option<u64> {
    definition["metadata"]["generation"].as_u64()
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
