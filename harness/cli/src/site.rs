//! A place to run: the local cluster with the system under test applied and ready.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use holdfast_cluster::{Backend, LocalCluster, ServiceRoutes};
use holdfast_core::experiment::System;
use holdfast_load::workers::Routes;
use holdfast_load::{Connector, Endpoint};
use kube::Client;
use tokio::sync::watch;

use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::progress::{Step, Verbosity};
use crate::{cluster, images, manifests, system};

/// The name of the local cluster, where others have their kubeconfig's context.
pub(crate) const CONTEXT: &str = "local";

/// What [`Site::connector`] does, as reports say it.
pub(crate) const DIALS_PODS: &str = "the load dials a pod for each connection, as kube-proxy would translate the address: no hop, and no endpoint is a refused connection";

/// A running local cluster with the system in it.
pub(crate) struct Site {
    pub(crate) cluster: LocalCluster,
    pub(crate) client: Client,
    /// The Services of the manifests.
    pub(crate) services: Vec<String>,
}

impl Site {
    /// Lets the load dial pods as kube-proxy would, without the local proxy in between: that one
    /// has to accept a connection before it knows whether the pod does.
    pub(crate) fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(PodConnector(self.cluster.service_routes()))
    }

    /// The same for load workers in other processes.
    pub(crate) fn routes(&self) -> watch::Receiver<Routes> {
        let routes = self.cluster.service_routes();
        let (told, telling) = watch::channel(all(&routes));
        tokio::spawn(tell(routes, told));
        telling
    }
}

/// Tells the routes of a cluster as they change, for as long as somebody listens.
async fn tell(mut routes: ServiceRoutes, told: watch::Sender<Routes>) {
    let mut listened_to = true;
    while listened_to {
        listened_to = tokio::select! {
            changed = routes.changed() => changed,
            () = told.closed() => false,
        };
        let now = all(&routes);
        told.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

fn all(routes: &ServiceRoutes) -> Routes {
    let services = routes.all().into_iter();
    let endpoints = |backends: Vec<Backend>| backends.into_iter().map(endpoint).collect();
    services
        .map(|(service, backends)| (service, endpoints(backends)))
        .collect()
}

#[derive(Debug)]
struct PodConnector(ServiceRoutes);

impl Connector for PodConnector {
    fn endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        self.0.endpoint(address).map(endpoint)
    }
}

fn endpoint(backend: Backend) -> Endpoint {
    Endpoint {
        address: backend.address,
        name: backend.pod,
    }
}

/// What a site is made of.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    /// Without manifests the cluster stays empty.
    pub(crate) system: &'a System,
    pub(crate) images: images::Choice,
    pub(crate) log_directory: &'a Path,
    pub(crate) choices: cluster::Choices,
}

/// Builds what the pods need, starts a cluster, applies the system, if there is one, and waits
/// until it is ready. An interruption at any point ends everything begun and is an error.
pub(crate) async fn prepare(
    layout: Layout<'_>,
    verbosity: Verbosity,
    interrupts: &Interrupts,
) -> Result<Site, Failure> {
    let wanted = layout.system;
    let objects = if wanted.manifests.is_empty() {
        Vec::new()
    } else {
        manifests::read(&wanted.manifests, &wanted.patches, &wanted.namespace)?
    };
    let needed = manifests::images(&objects);
    let resolve = images::resolve(&needed, &wanted.manifests, &layout.images);
    let images = interrupts.unless(resolve).await?;
    let cluster = cluster::start(images, layout.log_directory, layout.choices).await?;
    let bring_up = async {
        let client = cluster::client(&cluster.kubeconfig()).await?;
        let words = if objects.is_empty() {
            "preparing an empty cluster"
        } else {
            "applying the manifests"
        };
        let step = Step::begin(verbosity, words);
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
