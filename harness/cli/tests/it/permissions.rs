//! The permissions that `holdfast plan` prints are what a run asks the API for: no less, and, for
//! what every run takes, no more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::holdfast::{ended_with, finish, wait};
use crate::relay::Relay;
use crate::standing::{CONTEXT, LONG, Standing, pid};

/// What Kubernetes lets everybody read who is known to it (the ClusterRole `system:discovery`).
const OF_EVERYBODY: [&str; 4] = ["/api", "/apis", "/openapi", "/version"];

/// What a run asks for and can do without: whoever may not define kinds uses those that are defined.
const NOT_NEEDED: &str = "patch apiextensions.k8s.io/customresourcedefinitions";

/// One verb of one rule that is printed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    /// None: in the whole cluster.
    namespace: Option<String>,
    verb: String,
    /// `group/resource`, or a path.
    what: String,
    /// None: whatever its name is.
    name: Option<String>,
}

impl Permission {
    /// Those of all rules of these roles.
    fn all(roles: &[Value]) -> BTreeSet<Self> {
        let mut all = BTreeSet::new();
        for role in roles {
            let namespace = role["metadata"]["namespace"].as_str();
            for rule in role["rules"].as_array().unwrap() {
                let texts = |field: &str| {
                    let texts = rule[field].as_array().into_iter().flatten();
                    texts.map(|text| text.as_str().unwrap().to_owned())
                };
                let mut names: Vec<_> = texts("resourceNames").map(Some).collect();
                if names.is_empty() {
                    names.push(None);
                }
                let objects = texts("apiGroups").flat_map(|group| {
                    texts("resources").map(move |resource| format!("{group}/{resource}"))
                });
                for what in objects.chain(texts("nonResourceURLs")) {
                    for (verb, name) in texts("verbs")
                        .flat_map(|verb| names.iter().map(move |name| (verb.clone(), name)))
                    {
                        all.insert(Self {
                            namespace: namespace.map(str::to_owned),
                            verb,
                            what: what.clone(),
                            name: name.clone(),
                        });
                    }
                }
            }
        }
        all
    }

    fn covers(&self, asked: &Self) -> bool {
        (self.namespace.is_none() || self.namespace == asked.namespace)
            && (self.name.is_none() || self.name == asked.name)
            && self.verb == asked.verb
            && self.what == asked.what
    }
}

/// What a request asks for, as an API server takes it apart; nothing where everybody may.
fn asked(method: &str, target: &str) -> Option<Permission> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // The local cluster has its token in front.
    let (_, path) = path.trim_start_matches('/').split_once('/').unwrap();
    let parts: Vec<_> = path.split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => ("", [].as_slice()),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let (resource, named) = match rest {
        [] => {
            let path = format!("/{path}");
            let is_of = |of: &str| path == of || path.starts_with(&format!("{of}/"));
            let permission = Permission {
                namespace: None,
                verb: method.to_lowercase(),
                what: path.clone(),
                name: None,
            };
            return (!OF_EVERYBODY.iter().any(|of| is_of(of))).then_some(permission);
        }
        [resource] => ((*resource).to_owned(), None),
        [resource, name] => ((*resource).to_owned(), Some(*name)),
        [resource, name, part @ ..] => (format!("{resource}/{}", part.join("/")), Some(*name)),
    };
    let has = |word: &str| query.split('&').any(|field| field == word);
    let verb = match (method, named) {
        ("GET", _) if has("watch=true") => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", None) => "deletecollection",
        ("DELETE", Some(_)) => "delete",
        _ => panic!("{method} {target}"),
    };
    // One object of a list is chosen by a field.
    let chosen = query.split('&').find_map(|field| {
        field
            .strip_prefix("fieldSelector=metadata.name%3D")
            .or(field.strip_prefix("fieldSelector=metadata.name="))
    });
    Some(Permission {
        namespace: namespace.map(str::to_owned),
        verb: verb.to_owned(),
        what: format!("{group}/{resource}"),
        name: named.or(chosen).map(str::to_owned),
    })
}

/// What was asked for, by whether it was permitted.
#[derive(Clone, Default)]
struct Seen {
    used: Arc<Mutex<BTreeSet<Permission>>>,
    refused: Arc<Mutex<BTreeSet<Permission>>>,
}

impl Seen {
    /// The way to an API server that permits nothing else.
    fn relay(&self, standing: &Standing, permitted: BTreeSet<Permission>) -> Relay {
        let seen = self.clone();
        Relay::permitting(standing, move |method, target| {
            let Some(asked) = asked(method, target) else {
                return true;
            };
            let covering: Vec<_> = permitted.iter().filter(|one| one.covers(&asked)).collect();
            if covering.is_empty() {
                seen.refused.lock().unwrap().insert(asked);
                return false;
            }
            seen.used
                .lock()
                .unwrap()
                .extend(covering.into_iter().cloned());
            true
        })
    }

    /// What was asked for in vain, but for what is not needed.
    fn missing(&self) -> Vec<String> {
        let refused = self.refused.lock().unwrap();
        let refused = refused
            .iter()
            .map(|one| format!("{} {}", one.verb, one.what));
        refused.filter(|one| one != NOT_NEEDED).collect()
    }
}

/// The permissions that `holdfast plan` prints for this file, whether or not the system is there.
fn planned(standing: &Standing, file: &str) -> BTreeSet<Permission> {
    let planned = finish(&mut standing.holdfast(&["plan", file, "--context", CONTEXT, "--json"]));
    let plan: Value = serde_json::from_str(&planned.out)
        .unwrap_or_else(|_| panic!("no plan of {file}: {}", planned.err));
    Permission::all(plan["permissions"].as_array().unwrap())
}

/// What an administrator does once.
fn define_kinds(standing: &Standing) {
    let printed = finish(&mut standing.holdfast(&["controller", "--print-definitions"]));
    std::fs::write(standing.file("definitions.yaml"), printed.out).unwrap();
    standing.kubectl(&["apply", "-f", "definitions.yaml"]);
}

#[test]
fn are_enough_for_a_run_and_for_its_janitor_and_none_of_every_run_is_idle() {
    let Some(standing) = Standing::start() else {
        return;
    };
    define_kinds(&standing);
    standing.bring_up();
    let text = std::fs::read_to_string(standing.file("running.yaml")).unwrap();
    let (before, rest) = text.split_once("  method:\n").unwrap();
    let (_, after) = rest.split_once("  steadyState").unwrap();
    // Of the parameters, those of the fault are gone with it.
    let params = ("hold: 2s, length: 6s, replicas: 1", "length: 6s");
    assert!(before.contains(params.0), "{before}");
    let calm = format!("{before}  steadyState{after}").replace(params.0, params.1);
    std::fs::write(standing.file("calm.yaml"), calm).unwrap();
    let of_every_run = planned(&standing, "calm.yaml");
    let health = "  safety: {stopConditions: [{clusterHealth: {every: 1s}}]}\n";
    std::fs::write(standing.file("watched.yaml"), text + health).unwrap();

    let seen = Seen::default();
    let _relay = seen.relay(&standing, planned(&standing, "watched.yaml"));
    let run = |arguments: &[&str]| {
        let mut run = standing.run("watched.yaml", arguments);
        run.env("KUBECONFIG", Relay::kubeconfig(&standing));
        run
    };
    ended_with(&finish(&mut run(&["--yes"])), 0);
    let child = run(&LONG).spawn().unwrap();
    standing.until_injected();
    kill(pid(&child), Signal::SIGKILL).unwrap();
    // This waits for its janitor, which writes where the run did.
    let killed = wait(child);
    assert!(standing.is_as_before(), "{}", killed.err);
    assert_eq!(seen.missing(), [""; 0]);

    let mut used = seen.used.lock().unwrap().clone();
    for one in seen.used.lock().unwrap().iter() {
        // What the first look shows need not be watched.
        if one.verb == "list" {
            used.insert(Permission {
                verb: "watch".to_owned(),
                ..one.clone()
            });
        }
    }
    let idle: Vec<_> = of_every_run.difference(&used).collect();
    assert_eq!(idle, Vec::<&Permission>::new());
}

#[test]
fn are_enough_for_a_run_that_applies_its_system_and_for_who_removes_it() {
    let Some(standing) = Standing::start() else {
        return;
    };
    define_kinds(&standing);
    let seen = Seen::default();
    let _relay = seen.relay(&standing, planned(&standing, "tiny.yaml"));
    let mut run = standing.run("tiny.yaml", &LONG);
    let child = run
        .env("KUBECONFIG", Relay::kubeconfig(&standing))
        .spawn()
        .unwrap();
    standing.until_injected();
    kill(pid(&child), Signal::SIGKILL).unwrap();
    let killed = wait(child);
    assert_eq!(seen.missing(), [""; 0], "{}", killed.err);
    assert!(standing.has_no_system(), "{}", killed.err);
}
