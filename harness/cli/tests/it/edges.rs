//! The dependency edges of ARCHITECTURE.md, held.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Workspace crate → the workspace crates it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("holdfast-core", &[]),
    ("holdfast-engine", &["holdfast-core"]),
    ("holdfast-load", &["holdfast-core", "holdfast-engine"]),
    ("holdfast-faults", &["holdfast-core", "holdfast-engine"]),
    ("holdfast-cluster", &[]),
    ("holdfast-conformance", &[]),
    ("holdfast-agent", &[]),
    ("holdfast-report", &["holdfast-core"]),
    (
        "holdfast",
        &[
            "holdfast-agent",
            "holdfast-cluster",
            "holdfast-conformance",
            "holdfast-core",
            "holdfast-engine",
            "holdfast-faults",
            "holdfast-load",
            "holdfast-report",
        ],
    ),
    ("librdkafka", &[]),
    ("service-kit", &["librdkafka"]),
    ("app", &["service-kit"]),
    ("pay", &["service-kit"]),
    ("store", &["service-kit"]),
    ("customer", &["service-kit"]),
    ("marketing", &["service-kit"]),
    ("gateway", &["service-kit"]),
    ("auditor", &["service-kit"]),
    ("contracts", &["service-kit"]),
    ("test-servers", &[]),
    ("end-to-end", &["test-servers"]),
];

/// External crate → the workspace crates that may use it outside their tests.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("goose", &["holdfast-load"]),
    ("indicatif", &["holdfast"]),
    (
        "kube",
        &["holdfast", "holdfast-conformance", "holdfast-faults"],
    ),
    ("clap", &["holdfast", "holdfast-agent"]),
    (
        "serde-saphyr",
        &["holdfast", "holdfast-cluster", "holdfast-core"],
    ),
    ("sqlx", &["app", "pay", "service-kit", "store"]),
];

/// What `core` must never depend on.
const NOT_IN_CORE: &[&str] = &["tokio", "kube", "goose", "clap", "hyper", "reqwest", "jiff"];

/// Each workspace crate's direct dependencies outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let packages = metadata.packages.into_iter().map(|package| {
        let normal = package.dependencies.into_iter();
        let normal = normal.filter(|dependency| dependency.kind != DependencyKind::Development);
        (
            package.name.to_string(),
            normal.map(|dependency| dependency.name).collect(),
        )
    });
    packages.collect()
}

#[test]
fn workspace_crates_depend_only_along_the_edges() {
    let found = dependencies();
    let known: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names, known,
        "a new crate needs its line in EDGES and in ARCHITECTURE.md"
    );
    for (name, allowed) in EDGES {
        let ours = found[*name]
            .iter()
            .filter(|dependency| known.contains(dependency.as_str()));
        let ours: BTreeSet<&str> = ours.map(String::as_str).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            ours.is_subset(&allowed),
            "{name} → {:?}",
            ours.difference(&allowed)
        );
    }
}

#[test]
fn heavy_crates_stay_behind_their_wrappers() {
    for (external, allowed) in WRAPPERS {
        for (name, dependencies) in dependencies() {
            assert!(
                !dependencies.contains(*external) || allowed.contains(&name.as_str()),
                "{name} uses {external}, which belongs to {allowed:?}"
            );
        }
    }
}

#[test]
fn core_is_pure() {
    let core = &dependencies()["holdfast-core"];
    for forbidden in NOT_IN_CORE {
        assert!(!core.contains(*forbidden), "core uses {forbidden}");
    }
}
