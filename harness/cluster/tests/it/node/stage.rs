//! A local cluster with the victim program, and ways to look at it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_cluster::{ImageMap, LocalCluster, Options, Program};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The machine may be busy: what takes longer than this does not happen at all.
pub(super) const DEADLINE: Duration = Duration::from_secs(120);

pub(super) const IMAGE: &str = "victim";

/// A cluster of its own for a test.
pub(super) struct Stage {
    cluster: LocalCluster,
    pub(super) client: Client,
    logs: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    /// With these options in place of the defaults.
    pub(super) async fn with(options: Options) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let mut images = ImageMap::default();
        images.insert(
            IMAGE,
            Program::new(env!("CARGO_BIN_EXE_holdfast-cluster-victim")),
        );
        images.insert("shell", Program::new("/bin/sh"));
        images.insert("unbuilt", Program::new(logs.path().join("unbuilt")));
        let cluster = LocalCluster::start(Options {
            images,
            pod_shim: vec![env!("CARGO_BIN_EXE_holdfast-cluster-pod-shim").into()],
            log_directory: logs.path().to_owned(),
            ..options
        })
        .await
        .unwrap();
        let client = client_for(&cluster.kubeconfig()).await;
        Self {
            cluster,
            client,
            logs,
        }
    }

    /// Where the program of the image `unbuilt` should be, and is not yet.
    pub(super) fn unbuilt(&self) -> PathBuf {
        self.logs.path().join("unbuilt")
    }

    /// Where the containers' logs are.
    pub(super) fn log_directory(&self) -> &Path {
        self.logs.path()
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(super) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Waits until an object is as wanted, and returns it.
    pub(super) async fn until<K>(&self, name: &str, wanted: impl Condition<K>) -> K
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let reached = timeout(DEADLINE, await_condition(self.api::<K>(), name, wanted)).await;
        match reached {
            Ok(object) => object.unwrap().expect("the object was deleted"),
            Err(_) => panic!("{name} is still {:#?}", self.api::<K>().get_opt(name).await),
        }
    }

    /// Deletes a pod and returns its last state when it is gone.
    pub(super) async fn delete_pod(&self, name: &str) -> Pod {
        let pods = self.api::<Pod>();
        let fields = format!("metadata.name={name}");
        let version = pods
            .get(name)
            .await
            .unwrap()
            .metadata
            .resource_version
            .unwrap();
        let only = WatchParams::default().fields(&fields);
        let mut changes = pods.watch(&only, &version).await.unwrap().boxed();
        pods.delete(name, &DeleteParams::default()).await.unwrap();
        let gone = async {
            while let Some(change) = changes.try_next().await.unwrap() {
                if let WatchEvent::Deleted(pod) = change {
                    return pod;
                }
            }
            panic!("the watch ended before the pod was deleted");
        };
        timeout(DEADLINE, gone)
            .await
            .expect("the pod should be gone")
    }

    /// Waits for an event about an object, by its reason.
    pub(super) async fn event(&self, about: &str, reason: &str) -> Event {
        let events = self.api::<Event>();
        let fields =
            ListParams::default().fields(&format!("involvedObject.name={about},reason={reason}"));
        let version = "0";
        let only =
            WatchParams::default().fields(&format!("involvedObject.name={about},reason={reason}"));
        let present = events.list(&fields).await.unwrap();
        let from = present
            .metadata
            .resource_version
            .clone()
            .unwrap_or_else(|| version.to_owned());
        if let Some(event) = present.items.into_iter().next() {
            return event;
        }
        let mut changes = events.watch(&only, &from).await.unwrap().boxed();
        let seen = async {
            loop {
                match changes.try_next().await.unwrap() {
                    Some(WatchEvent::Added(event) | WatchEvent::Modified(event)) => return event,
                    Some(_) => {}
                    None => panic!("the watch ended before {reason} was seen"),
                }
            }
        };
        timeout(DEADLINE, seen)
            .await
            .unwrap_or_else(|_| panic!("no event {reason} about {about}"))
    }

    /// Waits until a container's log says this, and returns the log.
    pub(super) async fn log_line(&self, pod: &str, wanted: &str) -> String {
        let parameters = kube::api::LogParams {
            follow: true,
            ..kube::api::LogParams::default()
        };
        let log = self
            .api::<Pod>()
            .log_stream(pod, &parameters)
            .await
            .unwrap();
        let mut lines = futures::AsyncBufReadExt::lines(log);
        let found = async {
            let mut seen = String::new();
            while let Some(line) = lines.try_next().await.unwrap() {
                let hit = line.contains(wanted);
                seen.push_str(&line);
                seen.push('\n');
                if hit {
                    return seen;
                }
            }
            panic!("the log of {pod} ended without {wanted:?}: {seen}");
        };
        timeout(DEADLINE, found)
            .await
            .unwrap_or_else(|_| panic!("{pod} never wrote {wanted:?}"))
    }

    pub(super) fn kubeconfig(&self) -> String {
        self.cluster.kubeconfig()
    }

    pub(super) async fn shutdown(self) {
        self.cluster.shutdown().await;
    }
}

pub(super) async fn client_for(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

/// A pod with one victim `c`. `container` and `spec` are put over the defaults.
pub(super) fn pod(name: &str, container: &Value, spec: &Value) -> Value {
    let mut all = json!({"containers": [over(json!({"name": "c", "image": IMAGE}), container)]});
    all = over(all, spec);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": all,
    })
}

/// A deployment of victims called `name`, with the label `app`.
pub(super) fn deployment(name: &str, replicas: u32, container: &Value) -> Value {
    let template = pod(name, container, &json!({}));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    })
}

/// A service for the pods with the label `app` = `name`.
pub(super) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 8000, "targetPort": 8080}]},
    })
}

fn over(mut base: Value, top: &Value) -> Value {
    for (key, value) in top.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

/// Environment variables as a container has them.
pub(super) fn env(variables: &[(&str, &str)]) -> Value {
    variables
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

pub(super) fn http_probe(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5})
}

pub(super) fn is_ready() -> impl Condition<Pod> {
    |pod: Option<&Pod>| condition(pod, "Ready") == Some("True")
}

pub(super) fn is_unready() -> impl Condition<Pod> {
    |pod: Option<&Pod>| condition(pod, "Ready") == Some("False")
}

fn condition<'a>(pod: Option<&'a Pod>, type_: &str) -> Option<&'a str> {
    let conditions = pod?.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == type_)?;
    Some(found.status.as_str())
}

/// The status of a pod's only container.
pub(super) fn container(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

pub(super) fn exit_code(pod: &Pod) -> Option<i32> {
    Some(
        container(pod)?
            .state
            .as_ref()?
            .terminated
            .as_ref()?
            .exit_code,
    )
}

pub(super) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Where a pod's victim listens.
pub(super) fn address(pod: &Pod) -> SocketAddr {
    let ip = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref())
        .unwrap();
    SocketAddr::new(ip.parse().unwrap(), 8080)
}

/// A connection to a victim.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) async fn open(to: SocketAddr) -> io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(to).await?)))
    }

    /// The answer's body.
    pub(super) async fn ask(&mut self, request: &str) -> io::Result<String> {
        self.0
            .write_all(format!("{request} HTTP/1.1\r\nhost: victim\r\n\r\n").as_bytes())
            .await?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok(String::from_utf8(body).unwrap())
    }
}

/// One request on a connection of its own.
pub(super) async fn ask(to: SocketAddr, request: &str) -> io::Result<String> {
    Connection::open(to).await?.ask(request).await
}
