//! Where an object is.

use std::fmt;

use serde_json::Value;

use super::Resource;
use crate::object;

/// The place of an object. No two objects are at one place at the same time.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) resource: Resource,
    /// Empty for kinds without namespaces.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The place of an object of this kind.
    pub(crate) fn of(resource: Resource, object: &Value) -> Self {
        Self::new(resource, object::namespace(object), object::name(object))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resource,
            namespace,
            name,
        } = self;
        write!(formatter, "{} ", resource.qualified_name())?;
        if !namespace.is_empty() {
            write!(formatter, "{namespace}/")?;
        }
        formatter.write_str(name)
    }
}
