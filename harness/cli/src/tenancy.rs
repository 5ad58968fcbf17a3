//! The system under test in a cluster that is not ours: applied if the experiment says how, and
//! removed again; otherwise found as it runs.

mod made;

use holdfast_core::experiment::System;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

pub(crate) use made::{Made, remove};

use crate::connection::Connection;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::janitor::Janitor;
use crate::manifests;
use crate::progress::{Step, Verbosity};
use crate::system::{self, Reached};

/// Who undoes what is begun if this process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A process beside this one.
    Janitor,
    /// A controller that is started again.
    Controller,
}

/// What has become of a run's faults when its place is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Also: there were none.
    Undone,
    /// Somebody has to go on trying.
    NotUndone,
}

/// A namespace of a cluster, with the system in it.
pub(crate) struct Tenancy {
    pub(crate) client: Client,
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// The Services of the system.
    pub(crate) services: Vec<String>,
    run: String,
    made: Vec<Made>,
    janitor: Option<Janitor>,
}

impl Tenancy {
    /// Applies the system, if the experiment says how, and waits until it is ready. An interruption
    /// at any point removes everything that was made.
    pub(crate) async fn begin(
        connection: &Connection,
        guard: Guard,
        wanted: &System,
        run: &str,
        verbosity: Verbosity,
        interrupts: &Interrupts,
    ) -> Result<Self, Failure> {
        let objects = objects(wanted)?;
        let starting = async {
            match guard {
                Guard::Janitor => Janitor::start(connection, &wanted.namespace, run)
                    .await
                    .map(Some),
                Guard::Controller => Ok(None),
            }
        };
        let mut tenancy = Self {
            client: connection.client.clone(),
            cluster: connection.name().to_owned(),
            services: Vec::new(),
            run: run.to_owned(),
            made: Vec::new(),
            janitor: interrupts.unless(starting).await?,
        };
        let namespace = &wanted.namespace;
        let bring_up = async {
            if objects.is_empty() {
                tenancy.services = services(&tenancy.client, namespace).await?;
                return Ok(());
            }
            let step = Step::begin(verbosity, "applying the manifests");
            tenancy.make(namespace, &objects).await?;
            let deployments = manifests::names(&objects, "Deployment");
            let progress = |name: &str| step.update(format!("waiting until {name} is ready"));
            system::wait_ready(&tenancy.client, namespace, &deployments, &progress).await?;
            tenancy.services = manifests::names(&objects, "Service");
            Ok(())
        };
        match interrupts.unless(bring_up).await {
            Ok(()) => Ok(tenancy),
            Err(failure) => {
                let left = tenancy.end(Faults::Undone).await;
                Err(failure.but_left(&left))
            }
        }
    }

    async fn make(
        &mut self,
        namespace: &str,
        objects: &[serde_json::Value],
    ) -> Result<(), Failure> {
        let plan = made::plan(&self.client, namespace, objects).await?;
        for (object, one) in plan {
            // Known before it is there: whatever happens in between, it is looked for.
            if let Some(janitor) = &mut self.janitor {
                janitor.note(&one).await?;
            }
            self.made.push(one.clone());
            made::create(&self.client, &one, object, &self.run).await?;
        }
        Ok(())
    }

    /// The address of a Service, which must lead there from here.
    pub(crate) async fn service_url(&self, namespace: &str, name: &str) -> Result<String, Failure> {
        let url = system::service_url(&self.client, namespace, name).await?;
        let address = url.trim_start_matches("http://");
        let why = match system::reach(&self.client, namespace, name, address).await? {
            // Whether a pod listens is for the load to find out.
            Reached::Accepted | Reached::NoEndpoint | Reached::Refused => return Ok(url),
            Reached::Lost(why) => why,
        };
        Err(Failure::input(format!(
            "service {namespace}/{name} at {address} cannot be reached from here: {why}"
        ))
        .hint(
            "the address of a Service is known inside its cluster only: run the experiment there \
             (k8s/controller), or on a node, or let load.target.url name an address that leads to \
             the Service from here, such as that of a load balancer",
        ))
    }

    /// Removes what was made, and nothing else; returns what could not be removed.
    pub(crate) async fn end(self, faults: Faults) -> Vec<String> {
        let left = made::remove(&self.client, &self.run, &self.made).await;
        match self.janitor {
            Some(janitor) if left.is_empty() && faults == Faults::Undone => janitor.dismiss().await,
            // It tries for longer than a person waits.
            Some(_) | None => {}
        }
        left
    }
}

/// What a run makes of this system; nothing is changed.
pub(crate) async fn to_be_made(client: &Client, wanted: &System) -> Result<Vec<Made>, Failure> {
    let objects = objects(wanted)?;
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    made::of(client, &wanted.namespace, &objects).await
}

fn objects(wanted: &System) -> Result<Vec<serde_json::Value>, Failure> {
    if wanted.manifests.is_empty() {
        return Ok(Vec::new());
    }
    manifests::read(&wanted.manifests, &wanted.patches, &wanted.namespace)
}

async fn services(client: &Client, namespace: &str) -> Result<Vec<String>, Failure> {
    let api = Api::<Service>::namespaced(client.clone(), namespace);
    let found = api.list(&ListParams::default()).await.map_err(|error| {
        let words = chain(&error);
        Failure::carrying_out(format!("cannot list the services of {namespace}: {words}"))
    })?;
    Ok(found.iter().map(ResourceExt::name_any).collect())
}
