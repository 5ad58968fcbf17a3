//! Why an agent does not do its work.

use std::io;
use std::path::PathBuf;

/// Why an agent did not begin, or could not end, its harm.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments make no sense, or ask for more than is allowed.
    #[error("{0}")]
    Arguments(String),
    /// Somebody else listens there, or the address is not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Signals cannot be handled.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// There is nothing to break.
    #[error(
        "no process of pod {name} ({uid}) is on this machine: the agent needs `hostPID: true` and the node of the pod"
    )]
    NoProcesses {
        /// The pod's name.
        name: String,
        /// The pod's uid.
        uid: String,
    },
    /// The processes of the pod's containers cannot be told from those that supervise them.
    #[error(
        "pod {name} shares the process ids of its node (hostPID): its processes cannot be told from those that supervise them"
    )]
    SharesProcesses {
        /// The pod's name.
        name: String,
    },
    /// The agent would stop itself.
    #[error("pod {name} is the agent's own")]
    OwnPod {
        /// The pod's name.
        name: String,
    },
    /// A process cannot be stopped.
    #[error(
        "cannot stop process {pid} of pod {name}: the agent needs the pod's user, or CAP_KILL as root"
    )]
    Stop {
        /// The pod's name.
        name: String,
        /// The process.
        pid: i32,
        /// What the system said.
        source: io::Error,
    },
    /// The watcher did not start, or ended before its time.
    #[error("the watcher that undoes the harm is not there: {0}")]
    Watcher(String),
    /// Something that was stopped is not running again.
    #[error("processes of pod {name} are still stopped: {pids:?}")]
    StillStopped {
        /// The pod's name.
        name: String,
        /// The processes.
        pids: Vec<i32>,
    },
    /// The path in the pod cannot be used.
    #[error("cannot fill {} of pod {pod}", path.display())]
    Fill {
        /// The pod's name.
        pod: String,
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is not on a file system of the pod alone.
    #[error(
        "{} of pod {pod} may not be filled: {reason}; only a file system that is mounted for this pod alone may, such as an emptyDir with `medium: Memory`",
        path.display()
    )]
    SharedFileSystem {
        /// The pod's name.
        pod: String,
        /// As it was given.
        path: PathBuf,
        /// Who else would be harmed.
        reason: String,
    },
    /// The machine does not say what it has.
    #[error("cannot read {path}")]
    Machine {
        /// A file below `/proc`.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether other arguments would help.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Arguments(_))
    }
}
