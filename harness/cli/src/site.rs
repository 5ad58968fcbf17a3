//! A place to run: the local cluster with the system under test applied and ready.

use std::path::Path;

use holdfast_cluster::LocalCluster;
use holdfast_core::experiment::System;
use kube::Client;

use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::progress::{Step, Verbosity};
use crate::{cluster, images, manifests, system};

/// A running local cluster with the system in it.
pub(crate) struct Site {
    pub(crate) cluster: LocalCluster,
    pub(crate) client: Client,
    /// The Services of the manifests.
    pub(crate) services: Vec<String>,
}

/// Builds what the manifests need, starts a cluster, applies the system and waits until it is
/// ready. An interruption at any point ends everything begun and is an error.
pub(crate) async fn prepare(
    wanted: &System,
    log_directory: &Path,
    publish_services: bool,
    verbosity: Verbosity,
    interrupts: &Interrupts,
) -> Result<Site, Failure> {
    let objects = manifests::read(&wanted.manifests, &wanted.patches, &wanted.namespace)?;
    let needed = manifests::images(&objects);
    let images = interrupts
        .unless(images::resolve(&needed, &wanted.manifests))
        .await?;
    let cluster = cluster::start(images, log_directory, publish_services).await?;
    let bring_up = async {
        let client = cluster::client(&cluster.kubeconfig()).await?;
        let step = Step::begin(verbosity, "applying the system under test");
        system::apply(&client, &wanted.namespace, &objects).await?;
        let deployments = manifests::names(&objects, "Deployment");
        let progress = |name: &str| step.update(format!("waiting until {name} is ready"));
        system::wait_ready(&client, &wanted.namespace, &deployments, &progress).await?;
        let services = manifests::names(&objects, "Service");
        system::wait_reachable(&client, &wanted.namespace, &services).await?;
        Ok(client)
    };
    match interrupts.unless(bring_up).await {
        Ok(client) => Ok(Site {
            cluster,
            client,
            services: manifests::names(&objects, "Service"),
        }),
        Err(failure) => {
            cluster.shutdown().await;
            Err(failure)
        }
    }
}
