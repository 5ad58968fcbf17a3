//! A cluster that is there already: of the user's kubeconfig, or the one around this process.

use std::time::Duration;

use holdfast_core::experiment::ClusterLock;
use holdfast_faults::{ClusterLockError, check_cluster};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cluster::AGENT_IMAGE;
use crate::failure::{Failure, chain};

/// A cluster that takes longer to accept a connection cannot be worked with.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The name of the cluster around this process.
const IN_CLUSTER: &str = "in-cluster";

/// A client, and which cluster it is for.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The kubeconfig's context; none for the cluster around this process.
    pub(crate) context: Option<String>,
    /// The API server's address.
    pub(crate) server: String,
}

/// Which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// The context of the kubeconfig (`$KUBECONFIG`) whose cluster it is [default: the current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Choice {
    /// A client for it.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        connect(self.context.as_deref()).await
    }
}

/// Which part of which cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct Scope {
    #[command(flatten)]
    pub(crate) cluster: Choice,
    /// Only what is in this namespace [default: in all]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// What does harm inside it.
#[derive(Debug, clap::Args)]
pub(crate) struct Agent {
    /// The image of the pods that do harm in a cluster that is not local, with the entry point
    /// `holdfast agent`; its nodes must have it or be able to pull it
    #[arg(long = "agent-image", value_name = "IMAGE", default_value = AGENT_IMAGE)]
    pub(crate) image: String,
}

impl Connection {
    /// For people and for records: the context.
    pub(crate) fn name(&self) -> &str {
        self.context.as_deref().unwrap_or(IN_CLUSTER)
    }

    /// Refuses another cluster than the one that is `wanted`: by the UID of its namespace
    /// kube-system, or by the name of the context.
    pub(crate) async fn must_be(&self, wanted: &str) -> Result<(), Failure> {
        if self.name() == wanted {
            return Ok(());
        }
        let lock = ClusterLock::Uid(wanted.to_owned());
        let uid = match check_cluster(&self.client, self.name(), &lock).await {
            Ok(()) => return Ok(()),
            Err(ClusterLockError::Uid { found, .. }) => found,
            Err(error) => return Err(Failure::carrying_out(chain(&error))),
        };
        let name = self.name();
        Err(Failure::input(format!(
            "this is to be done to cluster {wanted}, but context {name} is cluster {uid}"
        ))
        .hint(format!(
            "name the other context, or say --cluster {uid} if you mean this one"
        )))
    }
}

/// A client for the cluster of a context of the kubeconfig. Without one: of its current context,
/// or, where there is no kubeconfig, for the cluster around this process.
pub(crate) async fn connect(context: Option<&str>) -> Result<Connection, Failure> {
    let (mut config, context) = match (Kubeconfig::read(), context) {
        (Ok(kubeconfig), Some(context)) => of_context(kubeconfig, context).await?,
        (Ok(kubeconfig), None) => {
            let current = kubeconfig.current_context.clone().ok_or_else(|| {
                Failure::input("the kubeconfig has no current context")
                    .hint("give --context NAME, or: kubectl config use-context NAME")
            })?;
            of_context(kubeconfig, &current).await?
        }
        (Err(unread), None) => {
            let config = Config::incluster().map_err(|_not_in_a_cluster| unreadable(&unread))?;
            (config, None)
        }
        (Err(unread), Some(_)) => return Err(unreadable(&unread)),
    };
    config.connect_timeout = Some(CONNECT_WITHIN);
    let server = config.cluster_url.to_string();
    let client = holdfast_faults::client(config).map_err(|error| unusable(&server, &error))?;
    Ok(Connection {
        client,
        context,
        server,
    })
}

async fn of_context(
    kubeconfig: Kubeconfig,
    context: &str,
) -> Result<(Config, Option<String>), Failure> {
    let names: Vec<_> = kubeconfig.contexts.iter().map(|one| &*one.name).collect();
    if !names.contains(&context) {
        let known = names.join(", ");
        return Err(
            Failure::input(format!("the kubeconfig has no context {context}"))
                .hint(format!("it has {known}")),
        );
    }
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| unusable(&format!("context {context}"), &error))?;
    Ok((config, Some(context.to_owned())))
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::input(format!("cannot read the kubeconfig: {}", chain(error)))
        .hint("set KUBECONFIG to the file that has the context")
}

fn unusable(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::input(format!("cannot use {what}: {}", chain(error)))
}
