//! A container's process, started through the pod shim (see [`crate::pod_shim`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::sleep;

use crate::pod_shim::{self, Isolation, Verb};

/// The environment variable that tells a container's processes from others where they have no PID
/// namespace.
const CONTAINER_ID: &str = "HOLDFAST_CONTAINER_ID";

/// How long killed processes get to disappear before they are killed once more.
const BETWEEN_KILLS: Duration = Duration::from_millis(5);

/// What to start, where.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// The whole environment: nothing is inherited.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) directory: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The shim is broken, not the container.
    #[error("cannot start the pod shim {}", program.display())]
    Shim {
        program: OsString,
        source: io::Error,
    },
    #[error(
        "PID namespaces are not permitted here: they need root, or unprivileged user namespaces"
    )]
    NotPermitted,
    /// The program could not be executed; the text says why.
    #[error("{0}")]
    Program(String),
}

/// Starts processes through the shim.
#[derive(Clone, Debug)]
pub(crate) struct Shim {
    prefix: Vec<OsString>,
    isolation: Isolation,
}

impl Shim {
    /// Uses the `wanted` isolation, or finds out which is the best one that this machine permits.
    /// `prefix` is the command line that ends in [`pod_shim::main`].
    pub(crate) async fn new(
        prefix: Vec<OsString>,
        wanted: Option<Isolation>,
    ) -> Result<Self, StartError> {
        let mut shim = Self {
            prefix,
            isolation: Isolation::PidNamespace,
        };
        if wanted == Some(Isolation::ProcessGroup) {
            shim.isolation = Isolation::ProcessGroup;
            return Ok(shim);
        }
        let mut check = shim.command(Verb::Check);
        check
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let permitted = check
            .status()
            .await
            .map_err(|source| shim.broken(source))?
            .success();
        if !permitted {
            if wanted.is_some() {
                return Err(StartError::NotPermitted);
            }
            shim.isolation = Isolation::ProcessGroup;
        }
        Ok(shim)
    }

    pub(crate) fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The same for a pod that shares the process ids of the machine.
    pub(crate) fn with_host_processes(&self) -> Self {
        Self {
            prefix: self.prefix.clone(),
            isolation: Isolation::HostProcesses,
        }
    }

    /// Starts a container's program. Returns once it runs.
    pub(crate) async fn run(&self, launch: &Launch) -> Result<Running, StartError> {
        self.start(self.command(Verb::Run), launch).await
    }

    /// By what the processes below a shim can be told from others, where the kernel does not keep
    /// them apart.
    fn mark(&self) -> Option<String> {
        let is_needed = !self.isolation.is_kept_by_the_kernel();
        is_needed.then(|| format!("{:032x}", rand::rng().random::<u128>()))
    }

    /// Starts a command inside the container of `container`.
    pub(crate) async fn run_inside(
        &self,
        container: u32,
        launch: &Launch,
    ) -> Result<Running, StartError> {
        let mut command = self.command(Verb::Join);
        command.arg(container.to_string());
        self.start(command, launch).await
    }

    fn command(&self, verb: Verb) -> Command {
        let mut command = Command::new(self.prefix.first().cloned().unwrap_or_default());
        command
            .env_clear()
            .args(self.prefix.iter().skip(1))
            .arg(verb.name())
            .arg(self.isolation.name());
        command
    }

    fn broken(&self, source: io::Error) -> StartError {
        StartError::Shim {
            program: self.prefix.first().cloned().unwrap_or_default(),
            source,
        }
    }

    async fn start(&self, mut command: Command, launch: &Launch) -> Result<Running, StartError> {
        let broken = |source| self.broken(source);
        let (own_end, shim_end) = StdUnixStream::pair().map_err(broken)?;
        own_end.set_nonblocking(true).map_err(broken)?;
        let mark = self.mark();
        command
            .arg(&launch.program)
            .args(&launch.arguments)
            .envs(&launch.environment)
            .envs(mark.iter().map(|mark| (CONTAINER_ID, mark)))
            .current_dir(&launch.directory)
            // A Ctrl-C at the terminal is for the cluster, not for its pods.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(shim_end)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(broken)?;
        // The command keeps its copy of the shim's end, which would hide the shim's death.
        drop(command);
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let shim = child.id().expect("the shim was not waited for");
        let (receive, send) = UnixStream::from_std(own_end).map_err(broken)?.into_split();
        let program = started(receive).await?;
        Ok(Running {
            control: Control {
                shim,
                program,
                socket: send,
            },
            exit: Exit {
                shim: child,
                orphans: mark.map(|mark| Orphans {
                    group: program,
                    variable: format!("{CONTAINER_ID}={mark}"),
                }),
            },
            stdout,
            stderr,
        })
    }
}

/// Waits for the shim's word that the program runs, and returns its process id.
async fn started(receive: OwnedReadHalf) -> Result<u32, StartError> {
    let mut word = String::new();
    let end = BufReader::new(receive).read_line(&mut word).await;
    let program = word
        .strip_prefix("started ")
        .and_then(|pid| pid.trim().parse().ok());
    match (program, end) {
        (Some(program), Ok(_)) => Ok(program),
        (_, Err(error)) => Err(StartError::Program(error.to_string())),
        (None, Ok(0)) => Err(StartError::Program("the pod shim ended at once".to_owned())),
        (None, Ok(_)) => {
            let reason = word.trim().trim_start_matches("failed ");
            Err(StartError::Program(reason.to_owned()))
        }
    }
}

/// A started process in its parts.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) control: Control,
    pub(crate) exit: Exit,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// Power over a process. Dropping it kills the process and everything it started.
#[derive(Debug)]
pub(crate) struct Control {
    shim: u32,
    program: u32,
    socket: OwnedWriteHalf,
}

impl Control {
    /// The shim's process, from which all of the container's descend.
    pub(crate) fn shim(&self) -> u32 {
        self.shim
    }

    /// The program's process.
    pub(crate) fn program(&self) -> u32 {
        self.program
    }

    /// SIGTERM for the program alone, as PID 1 would get it.
    pub(crate) fn terminate(&self) {
        self.tell(pod_shim::TERMINATE);
    }

    /// SIGKILL for the program and everything it started.
    pub(crate) fn kill(&self) {
        self.tell(pod_shim::KILL);
    }

    fn tell(&self, word: u8) {
        // The only failure is a shim that has ended, and then there is nothing to signal: a few
        // bytes always fit into the socket's buffer.
        match self.socket.try_write(&[word]) {
            Ok(_) | Err(_) => {}
        }
    }
}

/// The end of a process.
#[derive(Debug)]
pub(crate) struct Exit {
    shim: Child,
    orphans: Option<Orphans>,
}

/// What a shim leaves behind that was killed itself, where no PID namespace ends it.
#[derive(Debug)]
struct Orphans {
    group: u32,
    /// An environment variable that nobody else has.
    variable: String,
}

impl Orphans {
    /// SIGKILLs them. Returns when none is left.
    async fn kill(&self) {
        loop {
            let members = pod_shim::members(self.group, &self.variable);
            if members.is_empty() {
                return;
            }
            for pid in members {
                match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                    // It may have ended meanwhile.
                    Ok(()) | Err(_) => {}
                }
            }
            sleep(BETWEEN_KILLS).await;
        }
    }
}

impl Exit {
    /// Waits for it. The exit code is the program's, or 128 + the signal that ended it. Dropping
    /// the future loses nothing.
    pub(crate) async fn code(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let Ok(status) = self.shim.wait().await else {
            // Nobody else waits for it, so this cannot be told from a lost process.
            return 255;
        };
        if let Some(signal) = status.signal() {
            if let Some(orphans) = &self.orphans {
                orphans.kill().await;
            }
            return 128 + signal;
        }
        status.code().unwrap_or_default()
    }
}
