//! The kinds of object this cluster knows by itself: one table.
//!
//! Everything that depends on a kind's name, group or scope (paths, discovery,
//! the store's keys) reads it here. To add a kind, add a variant and its row;
//! the compiler then asks for the rest. Which custom kinds are served besides
//! these, the store knows: [`super::Store::served`].

use serde::Serialize;

use crate::custom::CustomResource;

/// A kind of object, named by its plural as in a request path. Only a custom kind
/// costs something to clone: a count.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub(crate) enum Resource {
    Namespaces,
    Nodes,
    Pods,
    Services,
    ConfigMaps,
    Events,
    EndpointSlices,
    Deployments,
    ReplicaSets,
    Jobs,
    HorizontalPodAutoscalers,
    PodDisruptionBudgets,
    Leases,
    PodMetrics,
    NodeMetrics,
    CustomResourceDefinitions,
    /// A kind which a CustomResourceDefinition defines.
    Custom(CustomResource),
}

/// What discovery says about a [`Resource`].
#[derive(Copy, Clone, Debug)]
pub(crate) struct Description<'a> {
    /// Empty for the core group.
    pub(crate) group: &'a str,
    /// The preferred version, in which objects are stored.
    pub(crate) version: &'a str,
    /// Older versions in which the same objects are served.
    pub(crate) other_versions: &'static [&'static str],
    pub(crate) kind: &'a str,
    pub(crate) plural: &'a str,
    pub(crate) singular: &'a str,
    pub(crate) short_names: Names<'a>,
    pub(crate) categories: Names<'a>,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) subresources: &'a [Subresource],
    pub(crate) namespaced: bool,
    /// Whether `metadata.generation` counts changes of the desired state.
    pub(crate) has_generation: bool,
}

/// Names of a built-in kind, or those which a definition gives.
#[derive(Copy, Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Names<'a> {
    BuiltIn(&'static [&'static str]),
    Custom(&'a [String]),
}

/// A part of an object with its own path.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Subresource {
    Status,
    Scale,
    Log,
    Eviction,
}

impl Subresource {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Log => "log",
            Self::Eviction => "eviction",
        }
    }
}

/// What can be done with what is stored.
pub(crate) const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

const CORE: Description<'_> = Description {
    group: "",
    version: "v1",
    other_versions: &[],
    kind: "",
    plural: "",
    singular: "",
    short_names: Names::BuiltIn(&[]),
    categories: Names::BuiltIn(&[]),
    verbs: VERBS,
    subresources: &[],
    namespaced: true,
    has_generation: false,
};

const APPS: Description<'_> = Description {
    group: "apps",
    categories: Names::BuiltIn(&["all"]),
    subresources: &[Subresource::Status, Subresource::Scale],
    has_generation: true,
    ..CORE
};

const NAMESPACES: Description<'_> = Description {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: Names::BuiltIn(&["ns"]),
    // All namespaces at once are nobody's to delete.
    verbs: &[
        "create", "delete", "get", "list", "patch", "update", "watch",
    ],
    subresources: &[Subresource::Status],
    namespaced: false,
    ..CORE
};
const NODES: Description<'_> = Description {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: Names::BuiltIn(&["no"]),
    subresources: &[Subresource::Status],
    namespaced: false,
    ..CORE
};
const PODS: Description<'_> = Description {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: Names::BuiltIn(&["po"]),
    categories: Names::BuiltIn(&["all"]),
    subresources: &[Subresource::Status, Subresource::Log, Subresource::Eviction],
    ..CORE
};
const SERVICES: Description<'_> = Description {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: Names::BuiltIn(&["svc"]),
    categories: Names::BuiltIn(&["all"]),
    subresources: &[Subresource::Status],
    ..CORE
};
const CONFIG_MAPS: Description<'_> = Description {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: Names::BuiltIn(&["cm"]),
    ..CORE
};
const EVENTS: Description<'_> = Description {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: Names::BuiltIn(&["ev"]),
    ..CORE
};
const ENDPOINT_SLICES: Description<'_> = Description {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    has_generation: true,
    ..CORE
};
const DEPLOYMENTS: Description<'_> = Description {
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: Names::BuiltIn(&["deploy"]),
    ..APPS
};
const REPLICA_SETS: Description<'_> = Description {
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: Names::BuiltIn(&["rs"]),
    ..APPS
};
const JOBS: Description<'_> = Description {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: Names::BuiltIn(&["all"]),
    subresources: &[Subresource::Status],
    has_generation: true,
    ..CORE
};
const HORIZONTAL_POD_AUTOSCALERS: Description<'_> = Description {
    group: "autoscaling",
    version: "v2",
    other_versions: &["v1"],
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: Names::BuiltIn(&["hpa"]),
    categories: Names::BuiltIn(&["all"]),
    subresources: &[Subresource::Status],
    ..CORE
};
const POD_DISRUPTION_BUDGETS: Description<'_> = Description {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: Names::BuiltIn(&["pdb"]),
    subresources: &[Subresource::Status],
    has_generation: true,
    ..CORE
};
const LEASES: Description<'_> = Description {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    ..CORE
};

/// Measured when asked for, never stored.
const METRICS: Description<'_> = Description {
    group: "metrics.k8s.io",
    version: "v1beta1",
    verbs: &["get", "list"],
    ..CORE
};
const POD_METRICS: Description<'_> = Description {
    kind: "PodMetrics",
    plural: "pods",
    ..METRICS
};
const NODE_METRICS: Description<'_> = Description {
    kind: "NodeMetrics",
    plural: "nodes",
    namespaced: false,
    ..METRICS
};
const CUSTOM_RESOURCE_DEFINITIONS: Description<'_> = Description {
    group: "apiextensions.k8s.io",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: Names::BuiltIn(&["crd", "crds"]),
    categories: Names::BuiltIn(&["api-extensions"]),
    subresources: &[Subresource::Status],
    namespaced: false,
    has_generation: true,
    ..CORE
};

impl<'a> Description<'a> {
    /// The versions in which objects of this kind are served, the preferred one first.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::once(self.version).chain(self.other_versions.iter().copied())
    }

    pub(crate) fn serves(&self, version: &str) -> bool {
        self.versions().any(|served| served == version)
    }
}

impl Resource {
    /// All built-in kinds, in the order in which discovery shows them.
    pub(crate) const ALL: [Self; 16] = [
        Self::Namespaces,
        Self::Nodes,
        Self::Pods,
        Self::Services,
        Self::ConfigMaps,
        Self::Events,
        Self::EndpointSlices,
        Self::Deployments,
        Self::ReplicaSets,
        Self::Jobs,
        Self::HorizontalPodAutoscalers,
        Self::PodDisruptionBudgets,
        Self::Leases,
        Self::PodMetrics,
        Self::NodeMetrics,
        Self::CustomResourceDefinitions,
    ];

    pub(crate) fn description(&self) -> Description<'_> {
        match self {
            Self::Namespaces => NAMESPACES,
            Self::Nodes => NODES,
            Self::Pods => PODS,
            Self::Services => SERVICES,
            Self::ConfigMaps => CONFIG_MAPS,
            Self::Events => EVENTS,
            Self::EndpointSlices => ENDPOINT_SLICES,
            Self::Deployments => DEPLOYMENTS,
            Self::ReplicaSets => REPLICA_SETS,
            Self::Jobs => JOBS,
            Self::HorizontalPodAutoscalers => HORIZONTAL_POD_AUTOSCALERS,
            Self::PodDisruptionBudgets => POD_DISRUPTION_BUDGETS,
            Self::Leases => LEASES,
            Self::PodMetrics => POD_METRICS,
            Self::NodeMetrics => NODE_METRICS,
            Self::CustomResourceDefinitions => CUSTOM_RESOURCE_DEFINITIONS,
            Self::Custom(custom) => custom.description(),
        }
    }

    pub(crate) fn kind(&self) -> &str {
        self.description().kind
    }

    pub(crate) fn plural(&self) -> &str {
        self.description().plural
    }

    pub(crate) fn group(&self) -> &str {
        self.description().group
    }

    pub(crate) fn version(&self) -> &str {
        self.description().version
    }

    pub(crate) fn namespaced(&self) -> bool {
        self.description().namespaced
    }

    /// Whether a part of objects of this kind has its own path.
    pub(crate) fn has(&self, part: Subresource) -> bool {
        self.description().subresources.contains(&part)
    }

    /// The `apiVersion` field of an object of this kind: `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        api_version(self.group(), self.version())
    }

    /// Plural and group as error messages name a kind: `pods`, `deployments.apps`.
    pub(crate) fn qualified_name(&self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// The kind among `served` with this plural name in this group and version.
    pub(crate) fn find(served: &[Self], group: &str, version: &str, plural: &str) -> Option<Self> {
        let found = served.iter().find(|resource| {
            let known = resource.description();
            (known.group, known.plural) == (group, plural) && known.serves(version)
        });
        found.cloned()
    }

    /// The kind among `served` which an `apiVersion` and `kind` in a reference name.
    pub(crate) fn of_kind(served: &[Self], api_version: &str, kind: &str) -> Option<Self> {
        let found = served
            .iter()
            .find(|resource| resource.kind() == kind && resource.api_version() == api_version);
        found.cloned()
    }
}

/// Joins a group and a version as the `apiVersion` field does.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}
