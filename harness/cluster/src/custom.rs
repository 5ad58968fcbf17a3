//! Custom resources: what a CustomResourceDefinition makes of a kind.
//!
//! Functions over values. The store asks which kinds its definitions make it
//! serve; the API asks what an object of such a kind has to look like.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::object::{self, text};
use crate::store::{Description, Subresource, VERBS};

/// A kind which a definition makes known. Its identity is its group and plural:
/// what a changed definition says about the kind applies to the same objects.
#[derive(Copy, Clone, Debug)]
pub(crate) struct CustomResource(&'static Kind);

/// What a definition says about its kind.
#[derive(Debug)]
struct Kind {
    description: Description,
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
        let kind = known
            .entry(spec.to_string())
            .or_insert_with(|| Box::leak(Box::new(Kind::of(spec))));
        Some(Self(kind))
    }

    pub(crate) const fn description(self) -> &'static Description {
        &self.0.description
    }

    fn identity(self) -> (&'static str, &'static str) {
        (self.0.description.group, self.0.description.plural)
    }
}

impl Kind {
    /// Reads the spec of an accepted definition, which has one version.
    fn of(spec: &Value) -> Self {
        let version = &spec["versions"][0];
        let names = &spec["names"];
        let has = |part: &str| version["subresources"][part].is_object();
        let parts = [Subresource::Status, Subresource::Scale].into_iter();
        Self {
            description: Description {
                group: leaked(text(spec, "/group")),
                version: leaked(text(version, "/name")),
                other_versions: &[],
                kind: leaked(text(names, "/kind")),
                plural: leaked(text(names, "/plural")),
                singular: leaked(text(names, "/singular")),
                short_names: object::strings(names, "/shortNames")
                    .map(leaked)
                    .collect::<Vec<_>>()
                    .leak(),
                categories: object::strings(names, "/categories")
                    .map(leaked)
                    .collect::<Vec<_>>()
                    .leak(),
                verbs: VERBS,
                subresources: parts
                    .filter(|part| has(part.name()))
                    .collect::<Vec<_>>()
                    .leak(),
                namespaced: text(spec, "/scope") == "Namespaced",
                has_generation: true,
            },
        }
    }
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
