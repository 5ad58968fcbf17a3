//! The local cluster, and a client for it.

use holdfast_cluster::pod_shim::Isolation;
use holdfast_cluster::{ImageMap, LocalCluster, Options, Program};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::ffi::OsString;
use std::path::Path;

use crate::commands::agent;
use crate::failure::{Failure, chain};

/// The hidden subcommand under which this program is the local cluster's pod shim.
pub(crate) const POD_SHIM: &str = "pod-shim";

/// The hidden subcommand under which this program is the victim of conformance checks.
pub(crate) const VICTIM: &str = "victim";

/// The image of the victim, which a local cluster has without an image map.
pub(crate) const VICTIM_IMAGE: &str = "holdfast/victim:dev";

/// This very program as the victim.
pub(crate) fn victim() -> Result<Program, Failure> {
    Ok(Program {
        path: own_program()?,
        arguments: vec![OsString::from(VICTIM)],
    })
}

/// The image of the agent that does harm, which a local cluster has without an image map.
pub(crate) const AGENT_IMAGE: &str = "holdfast/agent:dev";

/// This very program as the agent.
pub(crate) fn agent() -> Result<Program, Failure> {
    Ok(Program {
        path: own_program()?,
        arguments: vec![OsString::from(agent::NAME)],
    })
}

/// What users may choose of the local cluster.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Choices {
    /// Whether the ports of Services are at 127.0.0.1, too.
    pub(crate) publish_services: bool,
    /// How pods are kept apart. `None`: in PID namespaces where that is permitted.
    pub(crate) isolation: Option<Isolation>,
}

/// Understands an isolation on the command line.
pub(crate) fn isolation(text: &str) -> Result<Isolation, String> {
    Isolation::parse(text).ok_or_else(|| {
        let names = Isolation::ALL.map(Isolation::name);
        format!("the isolations are {}", names.join(", "))
    })
}

/// Starts a local cluster whose node has `images`; pods log into `log_directory`.
pub(crate) async fn start(
    images: ImageMap,
    log_directory: &Path,
    choices: Choices,
) -> Result<LocalCluster, Failure> {
    LocalCluster::start(Options {
        images,
        pod_shim: pod_shim()?,
        log_directory: log_directory.to_owned(),
        publish_services: choices.publish_services,
        isolation: choices.isolation,
        ..Options::default()
    })
    .await
    .map_err(|error| {
        Failure::carrying_out(format!("cannot start the local cluster: {}", chain(&error)))
    })
}

/// The command line that starts this very program as the pod shim.
pub(crate) fn pod_shim() -> Result<Vec<OsString>, Failure> {
    Ok(vec![own_program()?, OsString::from(POD_SHIM)])
}

/// The file of this very program.
pub(crate) fn own_program() -> Result<OsString, Failure> {
    let path = std::env::current_exe()
        .map_err(|error| Failure::carrying_out(format!("cannot find the own program: {error}")))?;
    Ok(path.into())
}

/// A client for the cluster that a kubeconfig describes.
pub(crate) async fn client(kubeconfig: &str) -> Result<Client, Failure> {
    let cannot = |error: &dyn std::error::Error| {
        Failure::carrying_out(format!(
            "cannot talk to the local cluster: {}",
            chain(error)
        ))
    };
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|error| cannot(&error))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| cannot(&error))?;
    // The cluster is on loopback, where a proxy from the environment has no business.
    config.proxy_url = None;
    holdfast_faults::client(config).map_err(|error| cannot(&error))
}
