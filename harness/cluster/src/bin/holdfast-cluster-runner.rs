//! A local cluster in a process of its own, which this crate's tests can kill.
//!
//! Arguments: the pod shim, the image's program, the folder for logs, and optionally how to keep
//! pods apart (`process-group`). The image is named `victim`.
//! Writes the kubeconfig and a line `---` to standard output; ends when standard input does.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use holdfast_cluster::pod_shim::Isolation;
use holdfast_cluster::{ImageMap, LocalCluster, Options, Program};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [shim, program, logs, isolation @ ..] = arguments.as_slice() else {
        return Err("expected: pod shim, program, folder for logs".into());
    };
    let isolation = match isolation {
        [] => None,
        [word] if word == "process-group" => Some(Isolation::ProcessGroup),
        _ => return Err("expected nothing or process-group after the folder for logs".into()),
    };
    let mut images = ImageMap::default();
    images.insert("victim", Program::new(program));
    let cluster = LocalCluster::start(Options {
        images,
        pod_shim: vec![shim.clone()],
        log_directory: PathBuf::from(logs),
        isolation,
        ..Options::default()
    })
    .await?;
    let mut output = std::io::stdout();
    writeln!(output, "{}\n---", cluster.kubeconfig())?;
    output.flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    cluster.shutdown().await;
    Ok(())
}
