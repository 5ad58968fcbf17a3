//! `holdfast up`: the local cluster with services at `localhost`, in the foreground until Ctrl-C.
//! Short for `holdfast cluster up k8s/services --publish`.

use std::path::PathBuf;

use super::cluster;
use crate::failure::Failure;

/// Options of `holdfast up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files or folders of Kubernetes manifests
    #[arg(default_value = "k8s/services")]
    manifests: Vec<PathBuf>,
    #[command(flatten)]
    options: cluster::up::Options,
}

/// Brings everything up, says where it is, and takes it down at the first interruption.
pub(crate) async fn up(arguments: Arguments) -> Result<u8, Failure> {
    cluster::up::hold_up(cluster::up::Arguments {
        manifests: arguments.manifests,
        publish: true,
        options: arguments.options,
    })
    .await
}
