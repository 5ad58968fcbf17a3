//! Putting the cluster together: its address, its parts, its end.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rand::Rng as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{self, Api, ServiceAddresses};
use crate::controllers::{self, AutoscalingOptions};
use crate::images::ImageMap;
use crate::metrics::Metrics;
use crate::node::{self, NodeError, NodeHandle, NodeOptions, RELIST_PERIOD};
use crate::pod_shim::Isolation;
use crate::proxy::{self, ProxyHandle, ProxyOptions, ServiceRoutes};
use crate::store::{Holdings, Store};
use crate::subnet::{API_PORT, Subnet};

/// What a cluster is made of.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// The programs which pods run.
    pub images: ImageMap,
    /// The command line (an absolute path first) which ends in
    /// [`crate::pod_shim::main`]. Empty: the cluster has no node, and pods stay
    /// pending, which is enough to work with the API.
    pub pod_shim: Vec<OsString>,
    /// Where the logs of the containers are written.
    pub log_directory: PathBuf,
    /// Listen on `127.0.0.1:<port>` too for each port of each Service.
    pub publish_services: bool,
    /// How the pods' processes are kept apart. `None`: in PID namespaces where that is permitted.
    pub isolation: Option<Isolation>,
    /// How often the node looks for containers that have started or ended. `None`: once a second,
    /// like the kubelet.
    pub relist_period: Option<Duration>,
    /// How often pods are measured and autoscalers decide.
    pub autoscaling: AutoscalingOptions,
}

/// A cluster which could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No loopback address for the API server.
    #[error(
        "the API server cannot listen on {address}: the system must let programs listen on all of 127.0.0.0/8, and not all of it may be in use"
    )]
    Bind {
        /// The address that was tried last.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Pods cannot be started.
    #[error("the node cannot be started")]
    Node(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<NodeError> for StartError {
    fn from(error: NodeError) -> Self {
        Self::Node(Box::new(error))
    }
}

/// A running cluster. Dropping it without [`LocalCluster::shutdown`] leaves the
/// ending of its tasks to the runtime.
#[derive(Debug)]
pub struct LocalCluster {
    address: SocketAddr,
    token: String,
    store: Store,
    node: Option<NodeHandle>,
    proxy: ProxyHandle,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    autoscaling_deviations: Vec<String>,
}

impl LocalCluster {
    /// Starts a cluster on loopback addresses of its own. It is ready for
    /// requests when this returns.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let (listener, subnet, address) = bind().await?;
        let store = Store::new();
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let metrics = Metrics::new(options.autoscaling.metric_resolution);
        let node = if options.pod_shim.is_empty() {
            None
        } else {
            let node = NodeOptions {
                images: options.images,
                pod_shim: options.pod_shim,
                log_directory: options.log_directory,
                subnet,
                isolation: options.isolation,
                relist_period: options.relist_period.unwrap_or(RELIST_PERIOD),
                metrics: metrics.clone(),
            };
            Some(node::spawn(store.of_component("kubelet"), node).await?)
        };
        if node.is_some() {
            tasks.spawn(metrics.clone().run(shutdown.clone()));
        }
        let proxy_options = ProxyOptions {
            publish_services: options.publish_services,
            ..ProxyOptions::default()
        };
        let proxy = proxy::spawn(store.clone(), proxy_options);
        controllers::spawn(
            &store.of_component("kube-controller-manager"),
            &metrics,
            &options.autoscaling,
            &tasks,
            &shutdown,
        );
        let token = random_token();
        let logs = node.as_ref().map(|node| node.logs().clone());
        let addresses = ServiceAddresses::new(subnet, options.publish_services, proxy.listeners());
        let api = Api::new(
            store.clone(),
            addresses,
            token.clone(),
            logs,
            metrics,
            shutdown.clone(),
        );
        tasks.spawn(api::serve(listener, api.router(), shutdown.clone()));
        Ok(Self {
            address,
            token,
            store,
            node,
            proxy,
            tasks,
            shutdown,
            autoscaling_deviations: options.autoscaling.deviations(),
        })
    }

    /// Where the API server listens, over plain HTTP.
    pub fn api_address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig (YAML) for this cluster. Its server URL contains the random
    /// token without which the API server answers nobody: treat it as a secret.
    pub fn kubeconfig(&self) -> String {
        let Self { address, token, .. } = self;
        format!(
            "\
apiVersion: v1
kind: Config
clusters:
- name: holdfast
  cluster:
    server: http://{address}/{token}
users:
- name: holdfast
  user: {{}}
contexts:
- name: holdfast
  context:
    cluster: holdfast
    user: holdfast
    namespace: default
current-context: holdfast
"
        )
    }

    /// What this cluster emulates and how, a line each: figures depend on it.
    pub fn emulations(&self) -> Vec<String> {
        let pods = match self.node.as_ref().map(NodeHandle::isolation) {
            None => "no node: pods stay pending",
            Some(Isolation::PidNamespace) => {
                "pods are process trees in PID namespaces of their own: the kernel's PID-1 signal rule holds"
            }
            // The latter is a pod's own wish, and never what all of them are kept apart by.
            Some(Isolation::ProcessGroup | Isolation::HostProcesses) => {
                "pods are process groups (PID namespaces are not permitted here, or not wanted): the PID-1 signal rule is emulated"
            }
        };
        let ProxyOptions { watch_latency, .. } = ProxyOptions::default();
        let proxy = format!(
            "services are userspace TCP proxies on loopback addresses: endpoint changes reach them after {} ms, at most once a second",
            watch_latency.as_millis()
        );
        let network = "no network namespaces and no cluster DNS: pods listen on $POD_IP and find services by environment variables";
        let mut emulations = vec![pods.to_owned(), proxy, network.to_owned()];
        let relist_period = self.node.as_ref().map(NodeHandle::relist_period);
        if let Some(period) = relist_period.filter(|&period| period != RELIST_PERIOD) {
            emulations.push(format!(
                "containers that have started or ended are noticed every {} ms (every {} ms by the kubelet)",
                period.as_millis(),
                RELIST_PERIOD.as_millis()
            ));
        }
        if !self.autoscaling_deviations.is_empty() {
            let deviations = self.autoscaling_deviations.join(", ");
            emulations.push(format!("autoscaling is set up differently: {deviations}"));
        }
        emulations
    }

    /// How much the cluster keeps in memory, in numbers.
    pub fn holdings(&self) -> Holdings {
        self.store.holdings()
    }

    /// Where connections to Services go, for a client that dials pods itself.
    pub fn service_routes(&self) -> ServiceRoutes {
        self.proxy.routes()
    }

    /// Ends every pod's processes, waits for them, and stops serving.
    pub async fn shutdown(self) {
        if let Some(node) = self.node {
            node.shutdown().await;
        }
        self.proxy.shutdown().await;
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Binds the API server, and thereby takes a free subnet.
async fn bind() -> Result<(TcpListener, Subnet, SocketAddr), StartError> {
    let mut failure = None;
    for subnet in Subnet::all_from_random() {
        let address = SocketAddr::from((subnet.api_server(), API_PORT));
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok((listener, subnet, address)),
            Err(source) => {
                let in_use = source.kind() == io::ErrorKind::AddrInUse;
                failure = Some(StartError::Bind { address, source });
                if !in_use {
                    break;
                }
            }
        }
    }
    Err(failure.expect("there is at least one subnet"))
}

fn random_token() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}
