//! The local cluster, and a client for it.

use std::ffi::OsString;
use std::path::Path;

use holdfast_cluster::{ImageMap, LocalCluster, Options};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::failure::{Failure, chain};

/// The hidden subcommand under which this program is the local cluster's pod shim.
pub(crate) const POD_SHIM: &str = "pod-shim";

/// Starts a local cluster whose node has `images`; pods log into `log_directory`.
pub(crate) async fn start(
    images: ImageMap,
    log_directory: &Path,
    publish_services: bool,
) -> Result<LocalCluster, Failure> {
    LocalCluster::start(Options {
        images,
        pod_shim: pod_shim()?,
        log_directory: log_directory.to_owned(),
        publish_services,
        ..Options::default()
    })
    .await
    .map_err(|error| {
        Failure::carrying_out(format!("cannot start the local cluster: {}", chain(&error)))
    })
}

/// The command line that starts this very program as the pod shim.
pub(crate) fn pod_shim() -> Result<Vec<OsString>, Failure> {
    let own_program = std::env::current_exe()
        .map_err(|error| Failure::carrying_out(format!("cannot find the own program: {error}")))?;
    Ok(vec![own_program.into(), OsString::from(POD_SHIM)])
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
    Client::try_from(config).map_err(|error| cannot(&error))
}
