//! `holdfast cluster up`: the local cluster in the foreground until Ctrl-C, empty or with
//! manifests.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use holdfast_cluster::pod_shim::Isolation;
use holdfast_core::experiment::System;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::cluster::{self, Choices};
use crate::failure::Failure;
use crate::images;
use crate::interrupts::Interrupts;
use crate::progress::Verbosity;
use crate::site::{self, Layout, Site};
use crate::terminal;

/// Options of `holdfast cluster up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files or folders of Kubernetes manifests [default: an empty cluster]
    pub(crate) manifests: Vec<PathBuf>,
    /// Let the ports of Services be at localhost, too
    #[arg(long)]
    pub(crate) publish: bool,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What does not depend on how the command is called.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The namespace the manifests are applied to
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// Where to write the kubeconfig: a new file, removed at the end [default: in a temporary folder]
    #[arg(long, value_name = "FILE")]
    kubeconfig_out: Option<PathBuf>,
    /// The programs that pods run, by image [default: images.yaml beside the manifests]
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// How pods are kept apart: pid-namespace or process-group [default: the first, where permitted]
    #[arg(long, value_parser = cluster::isolation)]
    isolation: Option<Isolation>,
}

/// Brings everything up, says where it is, and takes it down at the first interruption.
pub(crate) async fn hold_up(arguments: Arguments) -> Result<u8, Failure> {
    let interrupts = Interrupts::listen()?;
    let folder = tempfile::Builder::new()
        .prefix("holdfast-")
        .tempdir()
        .map_err(|error| {
            Failure::carrying_out(format!("cannot make a temporary folder: {error}"))
        })?;
    let options = arguments.options;
    let system = System {
        namespace: options.namespace,
        manifests: arguments.manifests,
        patches: Vec::new(),
    };
    for path in &system.manifests {
        if !path.exists() {
            return Err(
                Failure::input(format!("there is no {}", path.display())).hint(
                    "name a manifest file or folder, or run in the folder that has k8s/services",
                ),
            );
        }
    }
    let layout = Layout {
        system: &system,
        images: images::Choice::Everything(options.images),
        log_directory: &folder.path().join("logs"),
        choices: Choices {
            publish_services: arguments.publish,
            isolation: options.isolation,
        },
    };
    let site = site::prepare(layout, Verbosity::Normal, &interrupts).await?;
    let kubeconfig = options
        .kubeconfig_out
        .unwrap_or_else(|| folder.path().join("kubeconfig"));
    let shown = show(&site, &system.namespace, &kubeconfig, arguments.publish).await;
    if shown.is_ok() {
        interrupts.wait().await;
        terminal::say("stopping");
    }
    site.cluster.shutdown().await;
    if shown.is_ok() {
        // Without the cluster the file leads nowhere; if it is gone already, so much the better.
        drop(std::fs::remove_file(&kubeconfig));
    }
    // Ctrl-C is how this command is meant to end.
    shown.map(|()| 0)
}

async fn show(
    site: &Site,
    namespace: &str,
    kubeconfig: &Path,
    published: bool,
) -> Result<(), Failure> {
    write_kubeconfig(kubeconfig, &site.cluster.kubeconfig())?;
    let services = Api::<Service>::namespaced(site.client.clone(), namespace)
        .list(&ListParams::default())
        .await
        .map_err(|error| Failure::carrying_out(format!("cannot list the services: {error}")))?;
    for service in services {
        let name = service.name_any();
        let spec = service.spec.unwrap_or_default();
        let own = spec.cluster_ip.unwrap_or_default();
        let host = if published { "localhost" } else { &own };
        for port in spec.ports.unwrap_or_default() {
            terminal::say(&format!("{name:<12} http://{host}:{}", port.port));
        }
    }
    for emulation in site.cluster.emulations() {
        terminal::say(&format!("emulated     {emulation}"));
    }
    terminal::say(&format!(
        "kubectl      kubectl --kubeconfig {} --namespace {namespace} get deploy,po,svc,endpointslices",
        kubeconfig.display()
    ));
    terminal::say("Ctrl-C ends everything");
    Ok(())
}

/// Writes a new file that only this user can read: who has it can start programs.
fn write_kubeconfig(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| {
            Failure::input(format!("cannot write {}: {error}", path.display()))
                .hint("give the name of a new file in a folder that exists")
        })
}
