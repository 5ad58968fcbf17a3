//! Telling clients what is served: versions, groups, kinds, and the OpenAPI
//! document by which kubectl learns that fields are validated here.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::store::{Description, Resource, Subresource, api_version};

/// The Kubernetes release whose behaviour is kept to: the oldest for which
/// there are types in k8s-openapi.
const MAJOR: &str = "1";
const MINOR: &str = "33";
pub(super) const GIT_VERSION: &str = "v1.33.0+holdfast";

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(super) fn version() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// The groups (without the core) with their versions, the preferred one first.
fn groups(served: &[Resource]) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for known in served.iter().map(|resource| resource.description()) {
        let versions = groups.entry(known.group).or_default();
        for version in known.versions() {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
    }
    groups.remove("");
    groups
}

fn descriptions<'a>(
    served: &'a [Resource],
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = Description<'a>> {
    served
        .iter()
        .map(|resource| resource.description())
        .filter(move |known| known.group == group && known.serves(version))
}

/// Whether the client understands the one-document form.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|form| {
        let form = form.replace(' ', "");
        form.contains("g=apidiscovery.k8s.io") && form.contains("v=v2;") | form.ends_with("v=v2")
    })
}

/// `/api`: content type and document.
pub(super) fn core(served: &[Resource], headers: &HeaderMap) -> (&'static str, Value) {
    if wants_aggregated(headers) {
        return (AGGREGATED, aggregated(served, [("", vec!["v1"])]));
    }
    let document = json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    });
    ("application/json", document)
}

/// `/apis`: content type and document.
pub(super) fn apis(served: &[Resource], headers: &HeaderMap) -> (&'static str, Value) {
    if wants_aggregated(headers) {
        return (AGGREGATED, aggregated(served, groups(served)));
    }
    let groups: Vec<_> = groups(served)
        .into_keys()
        .filter_map(|name| group(served, name))
        .collect();
    (
        "application/json",
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
    )
}

/// `/apis/<group>`.
pub(super) fn group(served: &[Resource], name: &str) -> Option<Value> {
    let groups = groups(served);
    let versions = groups.get(name)?.iter();
    let versions: Vec<_> = versions
        .map(|version| json!({"groupVersion": api_version(name, version), "version": version}))
        .collect();
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name,
        "versions": versions, "preferredVersion": versions[0],
    }))
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub(super) fn resources(served: &[Resource], group: &str, version: &str) -> Option<Value> {
    let known: Vec<_> = descriptions(served, group, version).collect();
    if known.is_empty() {
        return None;
    }
    let of_kind = |known| api_resources(known, version);
    let resources: Vec<_> = known.iter().flat_map(of_kind).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": resources,
    }))
}

fn api_resources(known: &Description<'_>, version: &str) -> Vec<Value> {
    let main = json!({
        "name": known.plural,
        "singularName": known.singular,
        "namespaced": known.namespaced,
        "kind": known.kind,
        "verbs": known.verbs,
        "shortNames": known.short_names,
        "categories": known.categories,
    });
    let parts = known.subresources.iter().map(|part| {
        let (group, version, kind) = response_kind(known, version, *part);
        json!({
            "name": format!("{}/{}", known.plural, part.name()),
            "singularName": "",
            "namespaced": known.namespaced,
            "group": group,
            "version": version,
            "kind": kind,
            "verbs": subresource_verbs(*part),
        })
    });
    std::iter::once(main).chain(parts).collect()
}

fn response_kind<'a>(
    known: &Description<'a>,
    version: &'a str,
    part: Subresource,
) -> (&'a str, &'a str, &'a str) {
    match part {
        Subresource::Status | Subresource::Log => (known.group, version, known.kind),
        Subresource::Scale => ("autoscaling", "v1", "Scale"),
        Subresource::Eviction => ("policy", "v1", "Eviction"),
    }
}

pub(super) fn subresource_verbs(part: Subresource) -> &'static [&'static str] {
    match part {
        Subresource::Status | Subresource::Scale => &["get", "patch", "update"],
        Subresource::Log => &["get"],
        Subresource::Eviction => &["create"],
    }
}

fn aggregated<'a>(
    served: &'a [Resource],
    groups: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
) -> Value {
    let in_version = |group, version| {
        let resources: Vec<_> = descriptions(served, group, version)
            .map(|known| aggregated_resource(&known, version))
            .collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let items: Vec<_> = groups
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<_> = versions
                .into_iter()
                .map(|version| in_version(group, version))
                .collect();
            json!({
                "metadata": {"name": group, "creationTimestamp": null},
                "versions": versions,
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(known: &Description<'_>, version: &str) -> Value {
    let response =
        |(group, version, kind)| json!({"group": group, "version": version, "kind": kind});
    let subresources: Vec<_> = known
        .subresources
        .iter()
        .map(|part| {
            json!({
                "subresource": part.name(),
                "responseKind": response(response_kind(known, version, *part)),
                "verbs": subresource_verbs(*part),
            })
        })
        .collect();
    json!({
        "resource": known.plural,
        "responseKind": response((known.group, version, known.kind)),
        "scope": if known.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": known.singular,
        "verbs": known.verbs,
        "shortNames": known.short_names,
        "categories": known.categories,
        "subresources": subresources,
    })
}

/// `/openapi/v3`: where the document of each group and version is. `base` is the
/// path below which everything is served.
pub(super) fn openapi_index(served: &[Resource], base: &str) -> Value {
    let mut paths = serde_json::Map::new();
    let core = std::iter::once(("", vec!["v1"]));
    for (group, versions) in core.chain(groups(served)) {
        for version in versions {
            let path = path_prefix(group, version);
            let url = format!("{base}/openapi/v3/{path}?hash={GIT_VERSION}");
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn path_prefix(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// The OpenAPI document of a group and version: no schemas, but for each kind
/// the PATCH operation in which kubectl looks for `fieldValidation`. Strategic
/// merge is not advertised, so that kubectl uses its built-in merge keys.
pub(super) fn openapi(served: &[Resource], group: &str, version: &str) -> Option<Value> {
    let known: Vec<_> = descriptions(served, group, version).collect();
    if known.is_empty() {
        return None;
    }
    let paths: serde_json::Map<_, _> = known
        .into_iter()
        .filter(|known| known.verbs.contains(&"patch"))
        .map(|known| openapi_path(&known, version))
        .collect();
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Holdfast local cluster", "version": GIT_VERSION},
        "paths": paths,
        "components": {"schemas": {}},
    }))
}

fn openapi_path(known: &Description, version: &str) -> (String, Value) {
    let prefix = path_prefix(known.group, version);
    let scope = if known.namespaced {
        "namespaces/{namespace}/"
    } else {
        ""
    };
    let parameters: Vec<_> = ["dryRun", "fieldManager", "fieldValidation", "force"]
        .into_iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
        .collect();
    let operation = json!({
        "patch": {
            "operationId": format!("patch{}", known.kind),
            "parameters": parameters,
            "requestBody": {"content": {"application/json-patch+json": {"schema": {"type": "object"}}}},
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind":
                {"group": known.group, "version": version, "kind": known.kind},
        }
    });
    (
        format!("/{prefix}/{scope}{}/{{name}}", known.plural),
        operation,
    )
}
