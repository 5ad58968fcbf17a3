//! How a container's processes are kept apart and ended: the two ways and their system calls.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getgid, getuid};

use super::process_tree::{descendants, would_handle_sigterm};
use super::signal;

/// How long a container with the machine's process ids may take to tidy up, and the pause between two
/// looks: ends of processes that are not children are told to nobody.
const MOMENT: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(2);

/// What a pod's processes run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each container has a PID namespace and its program is PID 1: the kernel itself applies the
    /// signal rule of PID 1 and ends the whole tree with it.
    PidNamespace,
    /// Namespaces are not permitted here: each container is a process group. Whether SIGTERM would
    /// reach a PID 1 is decided by looking at the program's signal masks.
    ProcessGroup,
    /// As a pod with `hostPID` asks for: a process group that sees and signals the machine's
    /// processes, and whose program is not PID 1.
    HostProcesses,
}

impl Isolation {
    /// Those that pods may be kept apart by, the better one first.
    pub const ALL: [Self; 2] = [Self::PidNamespace, Self::ProcessGroup];

    /// Its name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PidNamespace => "pid-namespace",
            Self::ProcessGroup => "process-group",
            Self::HostProcesses => "host-processes",
        }
    }

    /// The one of this name that pods may be kept apart by.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|isolation| text == isolation.name())
    }

    /// The one that the shim was given.
    pub(super) fn of_argument(text: &str) -> Option<Self> {
        Self::parse(text)
            .or_else(|| (text == Self::HostProcesses.name()).then_some(Self::HostProcesses))
    }

    /// Whether the kernel keeps the processes together and ends them with the first one.
    pub(crate) fn is_kept_by_the_kernel(self) -> bool {
        match self {
            Self::PidNamespace => true,
            Self::ProcessGroup | Self::HostProcesses => false,
        }
    }

    /// Arranges that the next child of this process starts an isolation of its own.
    pub(super) fn enter_new(self) -> io::Result<()> {
        match self {
            Self::PidNamespace => new_pid_namespace(),
            // Orphans come to the supervisor instead of escaping to the system's init.
            Self::ProcessGroup | Self::HostProcesses => Ok(prctl::set_child_subreaper(true)?),
        }
    }

    /// Arranges that the next child of this process runs in the isolation of `target`.
    pub(super) fn enter_existing(self, target: i32) -> io::Result<()> {
        match self {
            Self::PidNamespace => {
                let namespaces = Path::new("/proc").join(target.to_string()).join("ns");
                let pid_namespace = fs::File::open(namespaces.join("pid"))?;
                let user = namespaces.join("user");
                if fs::read_link(&user)? != fs::read_link("/proc/self/ns/user")? {
                    setns(fs::File::open(user)?, CloneFlags::CLONE_NEWUSER)?;
                }
                setns(pid_namespace, CloneFlags::CLONE_NEWPID)?;
                Ok(())
            }
            Self::ProcessGroup | Self::HostProcesses => Ok(prctl::set_child_subreaper(true)?),
        }
    }

    /// Delivers SIGTERM as the kernel would, in a container to its PID 1.
    pub(super) fn terminate(self, program: Pid) {
        match self {
            Self::PidNamespace | Self::HostProcesses => signal(program, Signal::SIGTERM),
            Self::ProcessGroup if would_handle_sigterm(program) => {
                signal(program, Signal::SIGTERM);
            }
            Self::ProcessGroup => {}
        }
    }

    /// SIGKILLs the program and everything it started.
    pub(super) fn kill(self, program: Pid) {
        match self {
            Self::PidNamespace => signal(program, Signal::SIGKILL),
            Self::ProcessGroup | Self::HostProcesses => {
                match killpg(program, Signal::SIGKILL) {
                    Ok(()) | Err(_) => {}
                }
                // What left the group; what is still left afterwards is the work of `kill_remains`.
                for pid in descendants(Pid::this().as_raw()) {
                    signal(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
        }
    }

    /// SIGKILLs what the program left behind, once it has been reaped. Returns when none is left.
    pub(super) fn kill_remains(self) {
        match self {
            // The kernel did it when PID 1 ended.
            Self::PidNamespace => {}
            Self::ProcessGroup | Self::HostProcesses => {
                let own = Pid::this().as_raw();
                if self == Self::HostProcesses {
                    let_them_end(own);
                }
                loop {
                    let remains = descendants(own);
                    if remains.is_empty() {
                        return;
                    }
                    for pid in remains {
                        signal(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                    if waitpid(None, None) == Err(Errno::ECHILD) {
                        return;
                    }
                }
            }
        }
    }
}

/// Nothing but a runtime that gets round to it ends what a container with the machine's process ids
/// leaves behind: what undoes something at its program's end has a moment for it.
fn let_them_end(own: i32) {
    let deadline = Instant::now() + MOMENT;
    while !descendants(own).is_empty() && Instant::now() < deadline {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(LOOK),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// As root directly; otherwise through a user namespace in which the user keeps the own ids.
fn new_pid_namespace() -> io::Result<()> {
    match unshare(CloneFlags::CLONE_NEWPID) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    // The kernel permits a group mapping to an ordinary user only after this.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}
