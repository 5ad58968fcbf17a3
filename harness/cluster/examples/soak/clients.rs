//! Those who load the API: the good, the slow and the ones who never end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::Failure;

const WRITERS: usize = 4;
/// How often a writer creates, changes and deletes its objects.
const ROUND_PERIOD: Duration = Duration::from_millis(150);
/// Watches through kube-rs of the pods, which change all the time.
const WATCHERS: usize = 50;
/// Plain watches of something that changes less often.
const PATIENT: usize = 1000;
/// So often that the history of even the slowest kind is soon full.
const RENEW_PERIOD: Duration = Duration::from_millis(200);
const DEFINE_PERIOD: Duration = Duration::from_millis(500);
/// Connections with a watch that nobody reads.
const DEAF: usize = 20;
/// How long they are kept: longer than the server puts up with.
const DEAF_PERIOD: Duration = Duration::from_secs(320);
/// Connections which read or write a byte at a time.
const SLOW: usize = 20;
/// How many bytes those read.
const SLOW_BYTES: usize = 100;
/// Connections which are opened and dropped in one go.
const FLEETING: usize = 20;
const FLEETING_PERIOD: Duration = Duration::from_millis(100);
const READ_PERIOD: Duration = Duration::from_millis(50);
const NONSENSE_PERIOD: Duration = Duration::from_millis(50);
const HUGE_PERIOD: Duration = Duration::from_secs(2);
const HUGE_BYTES: usize = 900_000;
const SECOND: Duration = Duration::from_secs(1);

/// What a client needs.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) client: Client,
    pub(super) address: SocketAddr,
    /// The path below which everything is served.
    pub(super) base: String,
    pub(super) requests: Arc<AtomicU64>,
}

impl Site {
    fn count(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    async fn send(&self, head: &str, body: &[u8]) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        self.count(1);
        Ok(stream)
    }

    fn get(&self, path: &str) -> String {
        format!("GET {}{path} HTTP/1.1\r\nHost: x\r\n\r\n", self.base)
    }
}

/// Starts all clients. None of them ends unless something is wrong.
pub(super) fn start(site: &Site) -> JoinSet<Result<(), Failure>> {
    let mut clients = JoinSet::new();
    for number in 0..WRITERS {
        clients.spawn(write(site.clone(), number));
    }
    for _ in 0..WATCHERS {
        clients.spawn(watch(site.clone()));
    }
    clients.spawn(renew(site.clone()));
    for _ in 0..PATIENT {
        clients.spawn(be_patient(site.clone()));
    }
    for _ in 0..SLOW {
        clients.spawn(read_slowly(site.clone()));
        clients.spawn(write_slowly(site.clone()));
    }
    clients.spawn(read_pages(site.clone()));
    clients.spawn(define(site.clone()));
    clients.spawn(send_huge_bodies(site.clone()));
    clients.spawn(send_nonsense(site.clone()));
    clients.spawn(come_and_go(site.clone()));
    clients.spawn(stay_deaf(site.clone()));
    clients
}

/// A rate which is not made up for when it could not be kept.
fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(value)
}

/// Creates, changes and deletes, so that every controller has work.
async fn write(site: Site, number: usize) -> Result<(), Failure> {
    let maps: Api<ConfigMap> = Api::default_namespaced(site.client.clone());
    let deployments: Api<Deployment> = Api::default_namespaced(site.client.clone());
    let name = format!("writer-{number}");
    let create = PostParams::default();
    let mut ticks = every(ROUND_PERIOD);
    for round in 0_u64.. {
        ticks.tick().await;
        let map = json!({"metadata": {"name": name}, "data": {"round": round.to_string()}});
        maps.create(&create, &typed(map)?).await?;
        deployments
            .create(&create, &typed(deployment(&name))?)
            .await?;
        for replicas in [3, 1, 2] {
            let patch = Patch::Strategic(json!({"spec": {"replicas": replicas}}));
            let parameters = PatchParams::default();
            deployments.patch(&name, &parameters, &patch).await?;
        }
        maps.delete(&name, &DeleteParams::default()).await?;
        deployments.delete(&name, &DeleteParams::default()).await?;
        site.count(7);
    }
    Ok(())
}

fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    })
}

/// Follows all pods for as long as it takes.
async fn watch(site: Site) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::all(site.client.clone());
    let mut events = watcher(pods, watcher::Config::default().streaming_lists()).boxed();
    // An error is one of the watch, which then begins again.
    while events.next().await.is_some() {}
    Err("a watcher ended".into())
}

/// Changes a lease, as nodes do.
async fn renew(site: Site) -> Result<(), Failure> {
    let leases: Api<Lease> = Api::default_namespaced(site.client.clone());
    let lease = json!({"metadata": {"name": "held"}, "spec": {"holderIdentity": "soak"}});
    leases
        .create(&PostParams::default(), &typed(lease)?)
        .await?;
    let mut ticks = every(RENEW_PERIOD);
    for transitions in 0.. {
        ticks.tick().await;
        let patch = Patch::Merge(json!({"spec": {"leaseTransitions": transitions}}));
        leases
            .patch("held", &PatchParams::default(), &patch)
            .await?;
        site.count(1);
    }
    Ok(())
}

/// Reads a watch as it comes, and opens another when it ends.
async fn be_patient(site: Site) -> Result<(), Failure> {
    let head = site.get("/apis/coordination.k8s.io/v1/leases?watch=1");
    loop {
        let mut stream = site.send(&head, b"").await?;
        let mut part = [0; 1024];
        while stream.read(&mut part).await? > 0 {}
    }
}

/// Reads a watch of what changes all the time, ever further behind, and gives up.
async fn read_slowly(site: Site) -> Result<(), Failure> {
    let head = site.get("/api/v1/configmaps?watch=1");
    loop {
        let mut stream = site.send(&head, b"").await?;
        let mut byte = [0; 1];
        for _ in 0..SLOW_BYTES {
            stream.read_exact(&mut byte).await?;
            sleep(SECOND).await;
        }
    }
}

/// Writes a request of which the end never comes.
async fn write_slowly(site: Site) -> Result<(), Failure> {
    loop {
        let mut stream = site.send("POST /", b"").await?;
        while stream.write_all(b"x").await.is_ok() {
            sleep(SECOND).await;
        }
    }
}

/// Reads all pods page by page.
async fn read_pages(site: Site) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::all(site.client.clone());
    let mut ticks = every(READ_PERIOD);
    let first = ListParams::default().limit(2);
    let mut parameters = first.clone();
    loop {
        ticks.tick().await;
        let page = pods.list(&parameters).await?;
        site.count(1);
        let token = page.metadata.continue_.filter(|token| !token.is_empty());
        parameters = match token {
            Some(token) => first.clone().continue_token(&token),
            None => first.clone(),
        };
    }
}

/// Defines a new kind each time, and deletes it with an object.
async fn define(site: Site) -> Result<(), Failure> {
    let definitions: Api<CustomResourceDefinition> = Api::all(site.client.clone());
    let mut ticks = every(DEFINE_PERIOD);
    for number in 0_u64.. {
        ticks.tick().await;
        let plural = format!("kind{number}s");
        let definition = json!({
            "metadata": {"name": format!("{plural}.soak.test")},
            "spec": {
                "group": "soak.test",
                "scope": "Cluster",
                "names": {"kind": format!("Kind{number}"), "plural": plural},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }],
            },
        });
        let create = PostParams::default();
        definitions.create(&create, &typed(definition)?).await?;
        let name = format!("{plural}.soak.test");
        let object = json!({"apiVersion": "soak.test/v1", "kind": format!("Kind{number}"), "metadata": {"name": "a"}});
        let body = serde_json::to_vec(&object)?;
        let request = http::Request::post(format!("/apis/soak.test/v1/{plural}"))
            .header(http::header::CONTENT_TYPE, "application/json");
        // Whether the kind is served already does not matter.
        drop(site.client.send(request.body(body.into())?).await?);
        definitions.delete(&name, &DeleteParams::default()).await?;
        site.count(3);
    }
    Ok(())
}

/// Replaces an object of nearly a megabyte.
async fn send_huge_bodies(site: Site) -> Result<(), Failure> {
    let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), "kube-system");
    let mut ticks = every(HUGE_PERIOD);
    let empty = json!({"metadata": {"name": "huge"}});
    maps.create(&PostParams::default(), &typed(empty)?).await?;
    for round in 0_u64.. {
        ticks.tick().await;
        let text = format!("{round}{}", "x".repeat(HUGE_BYTES));
        let patch = Patch::Merge(json!({"data": {"text": text}}));
        maps.patch("huge", &PatchParams::default(), &patch).await?;
        site.count(1);
    }
    Ok(())
}

/// Sends bodies that cannot be read and patches that make no sense.
async fn send_nonsense(site: Site) -> Result<(), Failure> {
    let deep = "[".repeat(50_000);
    let bodies: [(&str, &str, &[u8]); 7] = [
        ("POST", "application/json", b"{"),
        ("POST", "application/json", deep.as_bytes()),
        ("POST", "application/yaml", b"a: &a [*a"),
        ("POST", "application/yaml", deep.as_bytes()),
        (
            "POST",
            "application/vnd.kubernetes.protobuf",
            b"k8s\0\xff\xff",
        ),
        ("PUT", "application/json", b"[]"),
        ("BREW", "text/plain", b"tea"),
    ];
    let mut ticks = every(NONSENSE_PERIOD);
    for (method, content_type, body) in bodies.into_iter().cycle() {
        ticks.tick().await;
        let head = format!(
            "{method} {}/api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            site.base,
            body.len()
        );
        let mut stream = site.send(&head, body).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if !answer.starts_with("HTTP/1.1 4") || !answer.contains("\"kind\":\"Status\"") {
            return Err(format!("{method} {content_type} was answered with {answer}").into());
        }
    }
    Ok(())
}

/// Opens watches and drops them at once, in the middle of their answers.
async fn come_and_go(site: Site) -> Result<(), Failure> {
    let watch = site.get("/api/v1/pods?watch=1");
    let half = format!(
        "POST {}/api/v1/namespaces HTTP/1.1\r\nContent-Length: 9",
        site.base
    );
    let heads = [watch, half];
    stay(&site, heads.iter().cycle().take(FLEETING), FLEETING_PERIOD).await
}

/// Keeps watches open without reading them, now and then others.
async fn stay_deaf(site: Site) -> Result<(), Failure> {
    let watch = site.get("/apis/apps/v1/deployments?watch=1");
    stay(&site, std::iter::repeat_n(&watch, DEAF), DEAF_PERIOD).await
}

/// Opens connections with these beginnings again and again, and keeps them for a time.
async fn stay<'a>(
    site: &Site,
    heads: impl Iterator<Item = &'a String> + Clone,
    period: Duration,
) -> Result<(), Failure> {
    loop {
        let mut open = Vec::new();
        for head in heads.clone() {
            open.push(site.send(head, b"").await?);
        }
        sleep(period).await;
        drop(open);
    }
}
