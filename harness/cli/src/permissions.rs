//! The permissions that a run takes, as Kubernetes' own roles: generated from what it will do.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_faults::{HALT_NAME, HALT_NAMESPACE, READYZ, Rule, reading_health};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

const LOOK: &[&str] = &["get", "list", "watch"];
const MAKE: &[&str] = &["get", "watch", "list", "create", "delete"];

/// What every run with faults needs in its namespace: the faults' objects, the leases that say who
/// is alive, and a look at the Services. What its faults take comes on top. A test holds a run and its
/// janitor to them.
const OF_EVERY_RUN: [(&str, &str, &[&str]); 5] = [
    (
        "holdfast.dev",
        "faultinjections",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("holdfast.dev", "faultinjections/status", &["patch"]),
    (
        "coordination.k8s.io",
        "leases",
        &["get", "list", "watch", "create", "update", "delete"],
    ),
    ("", "services", &["get", "list"]),
    ("discovery.k8s.io", "endpointslices", &["list", "watch"]),
];

/// Kinds of objects that belong to no namespace.
const OF_THE_CLUSTER: [&str; 1] = ["nodes"];

/// Verbs by group and resource.
type Rules = BTreeMap<(String, String), BTreeSet<&'static str>>;

/// Permissions in one namespace, and those that no namespace can give.
#[derive(Debug)]
pub(crate) struct Permissions {
    namespace: String,
    namespaced: Rules,
    of_the_cluster: Rules,
    /// What the API server serves apart from objects, to be got.
    paths: BTreeSet<&'static str>,
}

impl Permissions {
    /// Those of every run in `namespace`.
    pub(crate) fn of_a_run(namespace: &str) -> Self {
        let mut namespaced = Rules::new();
        for (group, resource, verbs) in OF_EVERY_RUN {
            add(&mut namespaced, group, resource, verbs);
        }
        let mut of_the_cluster = Rules::new();
        // Whether faults are allowed in the namespace.
        add(&mut of_the_cluster, "", "namespaces", &["get"]);
        // Whether the kinds are defined, which an administrator does.
        let (group, definitions) = ("apiextensions.k8s.io", "customresourcedefinitions");
        add(&mut of_the_cluster, group, definitions, LOOK);
        Self {
            namespace: namespace.to_owned(),
            namespaced,
            of_the_cluster,
            paths: BTreeSet::new(),
        }
    }

    /// Those of a fault or a stop condition.
    pub(crate) fn add(&mut self, rule: &Rule) {
        let rules = if OF_THE_CLUSTER.contains(&rule.resource.as_str()) {
            &mut self.of_the_cluster
        } else {
            &mut self.namespaced
        };
        add(rules, &rule.group, &rule.resource, &rule.verbs);
    }

    /// Those to read the health of the cluster.
    pub(crate) fn add_cluster_health(&mut self) {
        self.add(&reading_health());
        self.paths.insert(READYZ);
    }

    /// Those to apply an object of a kind, and to remove it.
    pub(crate) fn add_made(&mut self, group: &str, resource: &str) {
        add(&mut self.namespaced, group, resource, MAKE);
    }

    /// Those to make the namespace, and to remove it, and to say why its pods are not ready.
    pub(crate) fn add_manifests(&mut self) {
        let verbs = &["create", "delete", "watch", "list"];
        add(&mut self.of_the_cluster, "", "namespaces", verbs);
        add(&mut self.namespaced, "", "pods", &["list"]);
        add(&mut self.namespaced, "", "pods/log", &["get"]);
    }

    /// The roles, without the bindings: who is to have them is not known here.
    pub(crate) fn roles(&self) -> Vec<Value> {
        let role = |kind: &str, namespace: Option<&str>, rules: Value| {
            let name = format!("holdfast-{}", self.namespace);
            let mut role = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": name},
                "rules": rules,
            });
            if let Some(namespace) = namespace {
                role["metadata"]["namespace"] = namespace.into();
            }
            role
        };
        let switch = json!([{
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [HALT_NAME],
            "verbs": LOOK,
        }]);
        let mut of_the_cluster = listed(&self.of_the_cluster);
        if !self.paths.is_empty() {
            of_the_cluster.push(json!({"nonResourceURLs": self.paths, "verbs": ["get"]}));
        }
        let namespaced = listed(&self.namespaced);
        vec![
            role("Role", Some(&self.namespace), namespaced.into()),
            role("Role", Some(HALT_NAMESPACE), switch),
            role("ClusterRole", None, of_the_cluster.into()),
        ]
    }
}

fn add(rules: &mut Rules, group: &str, resource: &str, verbs: &[&'static str]) {
    let known = rules.entry((group.to_owned(), resource.to_owned()));
    known.or_default().extend(verbs);
}

fn listed(rules: &Rules) -> Vec<Value> {
    let rules = rules.iter().map(|((group, resource), verbs)| {
        json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
    });
    rules.collect()
}

/// Objects as a YAML stream, as kubectl reads it.
pub(crate) fn yaml<T: Serialize>(objects: &[T]) -> Result<String, Failure> {
    let cannot = |error| Failure::carrying_out(format!("cannot write YAML: {error}"));
    let mut documents = Vec::new();
    for object in objects {
        let text = serde_saphyr::to_string(object).map_err(cannot)?;
        documents.push(text.trim_end().to_owned());
    }
    Ok(documents.join("\n---\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_no_namespace_is_no_part_of_the_role() {
        let mut permissions = Permissions::of_a_run("shop");
        for resource in ["nodes", "pods"] {
            permissions.add(&Rule {
                group: String::new(),
                resource: resource.to_owned(),
                verbs: vec!["delete"],
            });
        }
        let roles = permissions.roles();
        let verbs = |role: &Value, resource: &str| {
            let mut rules = role["rules"].as_array().unwrap().iter();
            let rule = rules.find(|rule| rule["resources"][0] == resource)?;
            Some(rule["verbs"].clone())
        };
        assert_eq!(roles[0]["metadata"]["namespace"], "shop");
        assert_eq!(verbs(&roles[0], "nodes"), None);
        assert_eq!(verbs(&roles[0], "pods"), Some(json!(["delete"])));
        assert_eq!(roles[2]["metadata"].get("namespace"), None);
        assert_eq!(verbs(&roles[2], "nodes"), Some(json!(["delete"])));
        assert!(roles.iter().all(|role| verbs(role, "secrets").is_none()));
    }

    #[test]
    fn the_health_of_the_cluster_is_no_object() {
        let mut permissions = Permissions::of_a_run("shop");
        permissions.add_cluster_health();
        let roles = permissions.roles();
        let rules = roles[2]["rules"].as_array().unwrap();
        let readyz = json!({"nonResourceURLs": ["/readyz"], "verbs": ["get"]});
        assert_eq!(rules.last(), Some(&readyz));
        let nodes = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]});
        assert!(rules.contains(&nodes), "{rules:?}");
    }

    #[test]
    fn yaml_says_the_same() {
        let roles = Permissions::of_a_run("shop").roles();
        let text = yaml(&roles).unwrap();
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(read, roles);
    }
}
