//! Loads the API of a local cluster with everything that clients do, should not
//! do and fail to end, and prints once a minute what the process holds:
//!
//! `cargo run -p holdfast-cluster --example soak -- --minutes 10`
//!
//! The clients live in the same process, so that the figures are theirs too.
//! Memory grows until the history of each kind is full, and must then be flat.

#![expect(clippy::print_stdout, reason = "it is run for what it prints")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use holdfast_cluster::{LocalCluster, Options};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

type Failure = Box<dyn Error + Send + Sync>;

const WRITERS: usize = 4;
const WATCHERS: usize = 100;
/// Connections with a watch that nobody reads.
const DEAF: usize = 20;
/// Watches which are opened and dropped in one go.
const FLEETING: usize = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// What a client needs.
#[derive(Clone)]
struct Site {
    client: Client,
    address: SocketAddr,
    /// The path below which everything is served.
    base: String,
    requests: Arc<AtomicU64>,
}

impl Site {
    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    async fn send(&self, head: &str, body: &[u8]) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        self.count();
        Ok(stream)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let minutes = minutes(std::env::args().skip(1))?;
    let cluster = LocalCluster::start(Options::default()).await?;
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig())?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    let site = Site {
        base: config.cluster_url.path().trim_end_matches('/').to_owned(),
        client: Client::try_from(config)?,
        address: cluster.api_address(),
        requests: Arc::default(),
    };
    let mut clients = JoinSet::new();
    for number in 0..WRITERS {
        clients.spawn(write(site.clone(), number));
    }
    for _ in 0..WATCHERS {
        clients.spawn(watch(site.clone()));
    }
    clients.spawn(page(site.clone()));
    clients.spawn(come_and_go(site.clone()));
    clients.spawn(send_nonsense(site.clone()));
    clients.spawn(stay_deaf(site.clone()));
    println!("minute   requests   RSS MB   tasks   file descriptors");
    let start = Instant::now();
    for minute in 0..=minutes {
        let next = start + Duration::from_secs(60 * minute);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            Some(ended) = clients.join_next() => return ended?,
        }
        print_figures(minute, &site)?;
    }
    clients.shutdown().await;
    cluster.shutdown().await;
    Ok(())
}

fn minutes(mut arguments: impl Iterator<Item = String>) -> Result<u64, Failure> {
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(1),
        (Some("--minutes"), Some(minutes)) => Ok(minutes.parse()?),
        _ => Err("usage: soak [--minutes <number>]".into()),
    }
}

fn print_figures(minute: u64, site: &Site) -> Result<(), Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: f64 = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS in /proc/self/status")?
        .parse()?;
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
    let requests = site.requests.load(Ordering::Relaxed);
    let megabytes = kibibytes * 1024.0 / 1e6;
    println!("{minute:>6} {requests:>10} {megabytes:>8.1} {tasks:>7} {descriptors:>18}");
    Ok(())
}

/// Creates, changes and deletes, so that every controller has work.
async fn write(site: Site, number: usize) -> Result<(), Failure> {
    let maps: Api<ConfigMap> = Api::default_namespaced(site.client.clone());
    let deployments: Api<Deployment> = Api::default_namespaced(site.client.clone());
    let name = format!("writer-{number}");
    for round in 0_u64.. {
        let map = json!({"metadata": {"name": name}, "data": {"round": round.to_string()}});
        maps.create(&PostParams::default(), &serde_json::from_value(map)?)
            .await?;
        deployments
            .create(&PostParams::default(), &deployment(&name)?)
            .await?;
        for replicas in [3, 1, 2] {
            let patch = json!({"spec": {"replicas": replicas}});
            let parameters = PatchParams::default();
            deployments
                .patch(&name, &parameters, &Patch::Strategic(patch))
                .await?;
            site.count();
            sleep(PAUSE).await;
        }
        maps.delete(&name, &DeleteParams::default()).await?;
        deployments.delete(&name, &DeleteParams::default()).await?;
        for _ in 0..4 {
            site.count();
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn deployment(name: &str) -> Result<Deployment, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
    }))
}

/// Follows all pods for as long as it takes.
async fn watch(site: Site) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::all(site.client.clone());
    let mut events = watcher(pods, watcher::Config::default().streaming_lists()).boxed();
    // An error is one of the watch, which then begins again.
    while events.next().await.is_some() {}
    Err("a watcher ended".into())
}

/// Reads all pods page by page.
async fn page(site: Site) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::all(site.client.clone());
    loop {
        let mut parameters = ListParams::default().limit(2);
        loop {
            let page = pods.list(&parameters).await?;
            site.count();
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => {
                    parameters = parameters.continue_token(&token);
                }
                _ => break,
            }
        }
        sleep(PAUSE).await;
    }
}

/// Opens watches and drops them at once, in the middle of their answers.
async fn come_and_go(site: Site) -> Result<(), Failure> {
    let watch = format!(
        "GET {}/api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        site.base
    );
    let half = format!(
        "POST {}/api/v1/namespaces HTTP/1.1\r\nContent-Length: 9",
        site.base
    );
    loop {
        let mut open = Vec::new();
        for head in [&watch, &half].into_iter().cycle().take(FLEETING) {
            open.push(site.send(head, b"").await?);
        }
        sleep(PAUSE).await;
        drop(open);
    }
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
    for (method, content_type, body) in bodies.into_iter().cycle() {
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
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Keeps watches open without reading them, now and then others.
async fn stay_deaf(site: Site) -> Result<(), Failure> {
    let watch = format!(
        "GET {}/apis/apps/v1/deployments?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        site.base
    );
    loop {
        let mut open = Vec::new();
        for _ in 0..DEAF {
            open.push(site.send(&watch, b"").await?);
        }
        sleep(Duration::from_secs(50)).await;
        drop(open);
    }
}
