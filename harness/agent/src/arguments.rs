//! The command line.

use crate::{cpu, disk, freeze, memory, proxy};

/// What the agent is to do.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Mode {
    /// Stand in the way to a Service: delay, slow down, fail, reset or swallow what passes
    Proxy(proxy::Options),
    /// Stop the processes of a pod
    Freeze(freeze::Options),
    /// Burn processor time
    Cpu(cpu::Options),
    /// Hold memory
    Memory(memory::Options),
    /// Fill a file system that belongs to a pod alone
    Disk(disk::Options),
    /// Undo what a freezing agent leaves behind; started by the agent itself
    #[command(name = freeze::WATCH, hide = true)]
    Watch,
}

/// What every mode is told.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Common {
    /// When the harm ends by itself, in seconds since 1970
    #[arg(long, value_name = "UNIX SECONDS")]
    pub(crate) until: u64,
    /// Where /healthz, /status and /metrics are served (0: anywhere)
    #[arg(long, value_name = "PORT", default_value_t = 8099)]
    pub(crate) status_port: u16,
}
