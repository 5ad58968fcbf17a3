//! Where an experiment runs: nowhere but at a URL, on a local cluster made for it, or in a cluster
//! that is there already.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use holdfast_core::event::Environment;
use holdfast_core::experiment::{Address, ClusterLock, Experiment, System, Target};
use holdfast_core::plan::Plan;
use holdfast_engine::{
    ConditionReader, Drivers, FaultDriver, NoConditions, NoFaults, NoObserver, Observer,
};
use holdfast_faults::{ClusterLockError, Http, KubeConditions, KubeFaults, KubeObserver};
use kube::Client;

use crate::cluster::{self, Choices};
use crate::connection::Connection;
use crate::failure::{Failure, chain};
use crate::interrupts::Interrupts;
use crate::progress::Verbosity;
use crate::site::{self, Layout, Site};
use crate::tenancy::{Faults, Guard, Tenancy};
use crate::{execution, images, system};

/// The ground that an experiment with a system is to stand on.
#[derive(Clone, Copy)]
pub(crate) enum Ground<'a> {
    /// A local cluster, made for it.
    Local,
    /// A cluster that is there already.
    Cluster(Foreign<'a>),
}

/// A cluster that is there already, and how to be in it.
#[derive(Clone, Copy)]
pub(crate) struct Foreign<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) guard: Guard,
    /// Of pods that do harm.
    pub(crate) agent_image: &'a str,
}

/// What a place is made of.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) ground: Ground<'a>,
    pub(crate) run_id: &'a str,
    /// Where the pods of a local cluster log.
    pub(crate) log_directory: &'a Path,
    pub(crate) verbosity: Verbosity,
}

/// Where the experiment runs.
pub(crate) struct Place {
    cluster: Cluster,
    namespace: String,
    target_url: String,
    agent_image: String,
}

enum Cluster {
    None,
    Local(Box<Site>),
    Foreign(Box<Tenancy>),
}

impl Cluster {
    fn site(&self) -> Option<&Site> {
        match self {
            Self::Local(site) => Some(site),
            Self::None | Self::Foreign(_) => None,
        }
    }

    async fn service_url(&self, namespace: &str, name: &str) -> Result<String, Failure> {
        match self {
            Self::None => Err(Failure::input(format!(
                "load.target names service {name}, but the experiment has no system"
            ))),
            Self::Local(site) => system::service_url(&site.client, namespace, name).await,
            Self::Foreign(tenancy) => tenancy.service_url(namespace, name).await,
        }
    }

    /// Returns what could not be put back.
    async fn end(self, faults: Faults) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Local(site) => {
                site.cluster.shutdown().await;
                Vec::new()
            }
            Self::Foreign(tenancy) => tenancy.end(faults).await,
        }
    }
}

/// Refuses a cluster that is not the one the experiment may run on, before anything is done to it.
pub(crate) async fn check_cluster(
    experiment: &Experiment,
    ground: Ground<'_>,
) -> Result<(), Failure> {
    let Some(lock) = &experiment.safety.cluster else {
        return Ok(());
    };
    if experiment.system.is_none() {
        return Err(
            Failure::input("safety.cluster names a cluster, and this run has none").hint(
                "the experiment has no spec.system; leave safety.cluster out or add the system",
            ),
        );
    }
    let checked = match (ground, lock) {
        (Ground::Cluster(Foreign { connection, .. }), lock) => {
            holdfast_faults::check_cluster(&connection.client, connection.name(), lock).await
        }
        (Ground::Local, ClusterLock::Context(wanted)) if wanted == site::CONTEXT => Ok(()),
        // No UID is that of a cluster that is yet to be made.
        (Ground::Local, ClusterLock::Context(wanted) | ClusterLock::Uid(wanted)) => {
            Err(ClusterLockError::Context {
                wanted: wanted.clone(),
                found: site::CONTEXT.to_owned(),
            })
        }
    };
    checked.map_err(|error| lock_failure(&error))
}

/// Another cluster is a wrong input; one that does not say which it is may say so later.
fn lock_failure(error: &ClusterLockError) -> Failure {
    match error {
        ClusterLockError::Context { .. } | ClusterLockError::Uid { .. } => {
            Failure::input(chain(error))
        }
        ClusterLockError::Unknown(_) => Failure::carrying_out(chain(error)),
    }
}

/// The local cluster with a system.
pub(crate) async fn local(
    wanted: Wanted<'_>,
    system: &System,
    interrupts: &Interrupts,
) -> Result<Site, Failure> {
    if system.manifests.is_empty() {
        return Err(Failure::input(
            "the experiment tests what already runs, and on a fresh local cluster nothing does",
        )
        .hint("name the cluster in which it runs with --context, or give system.manifests"));
    }
    let layout = Layout {
        system,
        images: images::Choice::Needed,
        log_directory: wanted.log_directory,
        choices: Choices::default(),
    };
    site::prepare(layout, wanted.verbosity, interrupts).await
}

impl Place {
    pub(crate) async fn prepare(
        wanted: Wanted<'_>,
        interrupts: &Interrupts,
    ) -> Result<Self, Failure> {
        let (cluster, namespace) = match (&wanted.experiment.system, wanted.ground) {
            (None, _) => (Cluster::None, String::new()),
            (Some(system), Ground::Local) => {
                let site = local(wanted, system, interrupts).await?;
                (Cluster::Local(Box::new(site)), system.namespace.clone())
            }
            (Some(system), Ground::Cluster(foreign)) => {
                let tenancy = Tenancy::begin(
                    foreign.connection,
                    foreign.guard,
                    system,
                    wanted.run_id,
                    wanted.verbosity,
                    interrupts,
                );
                (
                    Cluster::Foreign(Box::new(tenancy.await?)),
                    system.namespace.clone(),
                )
            }
        };
        let finding = async {
            match &wanted.experiment.load.target {
                Target::Url(url) => Ok(url.clone()),
                Target::Service(name) => cluster.service_url(&namespace, name).await,
            }
        };
        match interrupts.unless(finding).await {
            Ok(target_url) => Ok(Self {
                cluster,
                namespace,
                target_url,
                agent_image: match wanted.ground {
                    Ground::Local => cluster::AGENT_IMAGE.to_owned(),
                    Ground::Cluster(foreign) => foreign.agent_image.to_owned(),
                },
            }),
            Err(failure) => {
                let left = cluster.end(Faults::Undone).await;
                Err(failure.but_left(&left))
            }
        }
    }

    /// A client for the cluster, where there is one.
    pub(crate) fn client(&self) -> Option<&Client> {
        match &self.cluster {
            Cluster::None => None,
            Cluster::Local(site) => Some(&site.client),
            Cluster::Foreign(tenancy) => Some(&tenancy.client),
        }
    }

    pub(crate) async fn environment(&self) -> Environment {
        let mut environment = Environment {
            namespace: self.namespace.clone(),
            ..execution::environment(&self.target_url)
        };
        if let Some(client) = self.client() {
            // A cluster that does not tell its version shows up at the next request anyway.
            let version = client.apiserver_version().await;
            environment.cluster_version = version.map(|info| info.git_version).unwrap_or_default();
        }
        match &self.cluster {
            Cluster::None => {}
            Cluster::Local(site) => {
                site::CONTEXT.clone_into(&mut environment.cluster);
                environment.emulations = site.cluster.emulations();
                environment.emulations.push(site::DIALS_PODS.to_owned());
            }
            Cluster::Foreign(tenancy) => environment.cluster.clone_from(&tenancy.cluster),
        }
        environment
    }

    /// Drivers for a plan whose load can be carried out.
    pub(crate) async fn drivers(
        &self,
        run_id: &str,
        plan: &Plan,
        verbosity: Verbosity,
    ) -> Result<Drivers, Failure> {
        let site = self.cluster.site();
        let load = &plan.load;
        let load = execution::load_driver(load, &self.target_url, site, None, verbosity).await?;
        let observer: Arc<dyn Observer> = match &self.cluster {
            Cluster::None => Arc::new(NoObserver),
            Cluster::Local(site) => self.observer(&site.client, &site.services),
            Cluster::Foreign(tenancy) => self.observer(&tenancy.client, &tenancy.services),
        };
        let http = Arc::new(self.http(plan).await?);
        Ok(Drivers {
            load,
            // Last: it works in the background from now on, until its end.
            faults: self.faults(run_id, plan).await?,
            observer,
            http,
            conditions: self.conditions(),
        })
    }

    fn conditions(&self) -> Arc<dyn ConditionReader> {
        match self.client() {
            Some(client) => Arc::new(KubeConditions::new(client.clone(), &self.namespace)),
            None => Arc::new(NoConditions),
        }
    }

    /// Who asks the services that the plan names, at their addresses.
    async fn http(&self, plan: &Plan) -> Result<Http, Failure> {
        let mut urls = BTreeMap::new();
        for address in plan.asks() {
            if let Address::Service { name, .. } = address {
                let url = self.cluster.service_url(&self.namespace, name).await?;
                urls.insert(name.clone(), url);
            }
        }
        let addresses = move |name: &str| {
            let url = urls.get(name).cloned();
            url.ok_or_else(|| format!("service {name} is not in this run"))
        };
        Http::new(Box::new(addresses)).map_err(|error| Failure::carrying_out(chain(&error)))
    }

    fn observer(&self, client: &Client, services: &[String]) -> Arc<dyn Observer> {
        let (client, services) = (client.clone(), services.to_vec());
        Arc::new(KubeObserver::new(client, &self.namespace, services))
    }

    /// Nothing is asked of a cluster in which nothing is to be broken.
    async fn faults(&self, run_id: &str, plan: &Plan) -> Result<Arc<dyn FaultDriver>, Failure> {
        let Some(client) = self.client().filter(|_| !plan.faults.is_empty()) else {
            return Ok(Arc::new(NoFaults));
        };
        let installed = holdfast_faults::install(client, &holdfast_faults::definitions()).await;
        installed.map_err(|error| Failure::carrying_out(chain(&error)))?;
        Ok(Arc::new(KubeFaults::start(
            client.clone(),
            &self.namespace,
            run_id,
            &self.agent_image,
            &plan.allow,
        )))
    }

    /// Leaves it as it was; returns what could not be put back.
    pub(crate) async fn end(self, faults: Faults) -> Vec<String> {
        self.cluster.end(faults).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cluster_is_a_wrong_input_and_an_unknown_one_is_not() {
        let (wanted, found) = ("staging".to_owned(), "production".to_owned());
        let other = ClusterLockError::Context { wanted, found };
        assert_eq!(lock_failure(&other).code, 2);
        let unknown = ClusterLockError::Unknown("connection refused".into());
        let failure = lock_failure(&unknown);
        assert_eq!(failure.code, 3);
        assert!(failure.words().ends_with("connection refused"));
    }
}
