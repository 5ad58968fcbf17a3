//! The permissions of a fault or a stop condition are what is asked of the API for it: no less, and
//! no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use holdfast_core::condition::ObjectKind;
use holdfast_core::experiment::SafetyNet;
use holdfast_engine::{ConditionReader, FaultDriver};
use holdfast_faults::{KubeConditions, KubeFaults, READYZ, Rule, reading, reading_health, rules};
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};

use crate::catalogue::{catalogue, step};
use crate::cluster::{AGENT, NAMESPACE, TestCluster, in_time};

/// Verbs by `group/resource`.
type Asked = BTreeMap<String, BTreeSet<String>>;

/// What a request asks of one namespace or of the nodes, besides what every fault takes.
fn asked(request: &Request<Body>) -> Option<(String, String)> {
    let path: Vec<_> = request.uri().path().trim_matches('/').split('/').collect();
    let (group, rest) = match path.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", NAMESPACE, rest @ ..] => rest,
        ["nodes", ..] => rest,
        _ => return None,
    };
    let (resource, is_named) = match rest {
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, part] => (format!("{resource}/{part}"), true),
        _ => return None,
    };
    if group == "holdfast.dev" || resource == "leases" {
        return None;
    }
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    let verb = match *request.method() {
        Method::GET if is_named => "get",
        Method::GET if is_watch => "watch",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return None,
    };
    Some((format!("{group}/{resource}"), verb.to_owned()))
}

/// Each kind of fault, and what a safety net that is switched off makes of it.
fn rows() -> Vec<((&'static str, Value), Vec<SafetyNet>)> {
    let with_nets = catalogue().into_iter();
    let mut rows: Vec<_> = with_nets
        .map(|row| (row, vec![SafetyNet::BlastRadius]))
        .collect();
    let without_budgets = json!({"podKill": {"deployment": "kill-all", "count": 1}});
    rows.push((("kill-all", without_budgets), vec![SafetyNet::Pdb]));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn are_what_a_fault_asks_for() {
    let test = TestCluster::start().await;
    let _kubelet = test.kubelet();
    let (mut all_seen, mut all_permitted) = (BTreeMap::new(), BTreeMap::new());
    for (row, allow) in rows() {
        let step = step(&row);
        test.create_targets(&step.name).await;
        let seen = Arc::new(Mutex::new(Asked::new()));
        let noted = Arc::clone(&seen);
        let client = test.watched_client(move |request| {
            if let Some((resource, verb)) = asked(request) {
                noted
                    .lock()
                    .unwrap()
                    .entry(resource)
                    .or_default()
                    .insert(verb);
            }
            true
        });
        let run = format!("Run-{}", step.name);
        let faults = KubeFaults::start(client, NAMESPACE, &run, AGENT, &allow);
        faults.check(&step, &[]).await.unwrap();
        faults.prepare(&step).await.unwrap();
        in_time(faults.inject(&step)).await.unwrap();
        in_time(faults.recover(&step)).await.unwrap();
        assert_eq!(faults.residue().await, Vec::<String>::new());
        faults.end().await;

        let mut permitted = Asked::new();
        for rule in rules(&step.fault, &allow) {
            let verbs = rule.verbs.iter().map(|verb| (*verb).to_owned()).collect();
            permitted.insert(format!("{}/{}", rule.group, rule.resource), verbs);
        }
        let mut seen = seen.lock().unwrap().clone();
        for (resource, verbs) in &mut seen {
            // What the first look shows need not be watched.
            let may_watch = permitted
                .get(resource)
                .is_some_and(|verbs| verbs.contains("watch"));
            if may_watch && verbs.contains("list") {
                verbs.insert("watch".to_owned());
            }
        }
        all_seen.insert(step.name.clone(), seen);
        all_permitted.insert(step.name, permitted);
    }
    assert_eq!(all_seen, all_permitted);
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn are_what_reading_a_condition_asks_for() {
    let test = TestCluster::start().await;
    for kind in ObjectKind::ALL {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let client = test.watched_client(move |request| {
            noted.lock().unwrap().push(asked(request));
            true
        });
        let reader = KubeConditions::new(client, NAMESPACE);
        assert_eq!(reader.conditions(kind, "pay").await.unwrap(), None);
        assert_eq!(*seen.lock().unwrap(), permitted(&reading(kind)));
    }
    test.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn are_what_reading_the_health_of_the_cluster_asks_for() {
    let test = TestCluster::start().await;
    let (seen, paths) = (Arc::new(Mutex::new(Vec::new())), Arc::default());
    let (noted, noted_paths) = (Arc::clone(&seen), Arc::<Mutex<Vec<_>>>::clone(&paths));
    let client = test.watched_client(move |request| {
        match asked(request) {
            Some(asked) => noted.lock().unwrap().push(Some(asked)),
            None => noted_paths.lock().unwrap().push(request.uri().to_string()),
        }
        true
    });
    let reader = KubeConditions::new(client, NAMESPACE);
    reader.cluster_health().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), permitted(&reading_health()));
    assert_eq!(*paths.lock().unwrap(), [READYZ]);
    test.shutdown().await;
}

/// The requests that a rule permits.
fn permitted(rule: &Rule) -> Vec<Option<(String, String)>> {
    let resource = format!("{}/{}", rule.group, rule.resource);
    let verbs = rule.verbs.iter();
    verbs
        .map(|verb| Some((resource.clone(), (*verb).to_owned())))
        .collect()
}
