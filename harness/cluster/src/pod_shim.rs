//! The small program between the cluster and a container's process.
//!
//! It exists for two promises that the cluster process cannot keep from the outside:
//!
//! * **Nothing survives.** Whoever dies first and however, no process of a container outlives the
//!   cluster. The *supervisor* holds one end of a socket to the cluster: end of file means the
//!   cluster is gone. The *init* stage, which becomes the program by `exec`, asks the kernel to be
//!   killed when the supervisor dies, and starts the program only after the supervisor has
//!   confirmed that it was still there afterwards.
//! * **The program is PID 1**, in its own PID namespace, so the kernel's rule applies that SIGTERM
//!   without a handler is ignored, and killing it kills everything it started. (A pod with `hostPID`
//!   asks for the contrary.)
//!
//! ```text
//! cluster ──socket── supervisor ──socket── init ──exec──▶ program
//!         'T' 'K' ▶             ◀ armed
//!         ◀ started <pid>       go ▶
//! ```
//!
//! The supervisor ends with the program's exit code, or 128 + the number of the signal that ended it.
//! It must run in a process that has started no thread: entering a user namespace requires it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

mod isolation;
mod process_tree;

pub use isolation::Isolation;
pub(crate) use process_tree::{descendants_of_each, members};

/// Sent by the cluster: deliver SIGTERM to the program.
pub(crate) const TERMINATE: u8 = b'T';
/// Sent by the cluster: SIGKILL the program and everything it started.
pub(crate) const KILL: u8 = b'K';

const ARMED: u8 = b'A';
const GO: u8 = b'G';

/// The exit code of a shim that could not start its program, as containerd reports it.
const START_ERROR: u8 = 128;

/// What the first argument of the shim may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    /// `run <isolation> <program> <argument>…`: a container.
    Run,
    /// `join <isolation> <pid> <program> <argument>…`: a command inside the container whose program is `pid`.
    Join,
    /// `check <isolation>`: exit code 0 if this machine permits the isolation.
    Check,
    /// `init <program> <argument>…`: the second stage, started by the shim itself.
    Init,
    /// Ends at once with exit code 0: what `check` starts.
    Nothing,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Join => "join",
            Self::Check => "check",
            Self::Init => "init",
            Self::Nothing => "nothing",
        }
    }

    fn parse(text: &OsStr) -> Option<Self> {
        [
            Self::Run,
            Self::Join,
            Self::Check,
            Self::Init,
            Self::Nothing,
        ]
        .into_iter()
        .find(|verb| text == verb.name())
    }
}

/// Runs the shim. `arguments` are the last arguments of this very process: what follows the prefix
/// given to the cluster as `Options::pod_shim`.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let Some((verb, rest)) = arguments.split_first() else {
        return ExitCode::from(START_ERROR);
    };
    match Verb::parse(verb) {
        Some(Verb::Run) => supervise(arguments, rest, Place::New),
        Some(Verb::Join) => supervise(arguments, rest, Place::Existing),
        Some(Verb::Check) => check(arguments, rest),
        Some(Verb::Init) => init(rest),
        Some(Verb::Nothing) => ExitCode::SUCCESS,
        None => ExitCode::from(START_ERROR),
    }
}

/// A command line that runs `program` below the shim, for other programs than pods that must not
/// outlive this process: `prefix` starts the shim. Give one end of a socket pair as its standard
/// input and keep the other: when that is closed, by whatever means, the program and its process
/// group are killed.
pub fn guarded(prefix: &[OsString], program: &OsStr) -> Vec<OsString> {
    let mut line = prefix.to_vec();
    line.push(Verb::Run.name().into());
    line.push(Isolation::ProcessGroup.name().into());
    line.push(program.to_owned());
    line
}

/// Whether the program gets an isolation of its own or enters that of a running one.
#[derive(Clone, Copy, Debug)]
enum Place {
    New,
    Existing,
}

/// The command line that starts this program as a shim again.
fn own_prefix(arguments: &[OsString]) -> Vec<OsString> {
    let all: Vec<OsString> = env::args_os().collect();
    all[1..all.len() - arguments.len()].to_vec()
}

fn check(arguments: &[OsString], rest: &[OsString]) -> ExitCode {
    let attempt = || -> io::Result<bool> {
        let isolation = parse_isolation(rest.first())?;
        isolation.enter_new()?;
        let status = Command::new("/proc/self/exe")
            .args(own_prefix(arguments))
            .arg(Verb::Nothing.name())
            .status()?;
        Ok(status.success())
    };
    match attempt() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn parse_isolation(text: Option<&OsString>) -> io::Result<Isolation> {
    text.and_then(|text| text.to_str())
        .and_then(Isolation::of_argument)
        .ok_or_else(|| io::Error::other("the pod shim needs to know its isolation"))
}

/// The supervisor stage: starts the program, then waits for whichever comes first, the program's end
/// or a word (or the silence) of the cluster.
fn supervise(arguments: &[OsString], rest: &[OsString], place: Place) -> ExitCode {
    let mut cluster = match stdin_socket() {
        Ok(cluster) => cluster,
        Err(_) => return ExitCode::from(START_ERROR),
    };
    let started = start(arguments, rest, place);
    let (isolation, program, exits) = match started {
        Ok(started) => started,
        Err(error) => {
            // If the cluster is gone, nobody is left to be told.
            drop(writeln!(cluster, "failed {error}"));
            return ExitCode::from(START_ERROR);
        }
    };
    // A cluster that is gone shows as end of file below.
    drop(writeln!(cluster, "started {program}"));
    let code = watch(&mut cluster, isolation, program, &exits);
    if matches!(place, Place::New) {
        isolation.kill_remains();
    }
    ExitCode::from(code)
}

fn stdin_socket() -> io::Result<UnixStream> {
    let descriptor: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(UnixStream::from(descriptor))
}

/// Starts the init stage, and through it the program.
fn start(
    arguments: &[OsString],
    rest: &[OsString],
    place: Place,
) -> io::Result<(Isolation, Pid, SignalFd)> {
    let isolation = parse_isolation(rest.first())?;
    let mut command = &rest[1..];
    match place {
        Place::New => isolation.enter_new()?,
        Place::Existing => {
            let target = command
                .first()
                .and_then(|text| text.to_str()?.parse().ok())
                .ok_or_else(|| io::Error::other("the pod shim needs the process to join"))?;
            command = &command[1..];
            isolation.enter_existing(target)?;
        }
    }
    let mut exit_signal = SigSet::empty();
    exit_signal.add(Signal::SIGCHLD);
    exit_signal.thread_block()?;
    let exits = SignalFd::with_flags(&exit_signal, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let (mut link, far_end) = UnixStream::pair()?;
    let mut init = Command::new("/proc/self/exe");
    init.args(own_prefix(arguments))
        .arg(Verb::Init.name())
        .args(command)
        .stdin(Stdio::from(OwnedFd::from(far_end)));
    if !isolation.is_kept_by_the_kernel() {
        init.process_group(0);
    }
    let child = init.spawn()?;
    // `Command` keeps its copy of the far end, which would hide the end of file.
    drop(init);
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // From here on the child is reaped through `waitpid`, so that orphans are too.
    drop(child);

    let mut armed = [0; 1];
    link.read_exact(&mut armed)?;
    link.write_all(&[GO])?;
    // End of file: `exec` closed the socket. Text: it failed.
    let mut failure = String::new();
    link.read_to_string(&mut failure)?;
    if failure.is_empty() {
        Ok((isolation, Pid::from_raw(pid), exits))
    } else {
        Err(io::Error::other(failure))
    }
}

/// The init stage: it is killed with the supervisor, or never becomes the program.
fn init(command: &[OsString]) -> ExitCode {
    let become_program = || -> io::Result<()> {
        let mut supervisor = stdin_socket()?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        supervisor.write_all(&[ARMED])?;
        let mut go = [0; 1];
        supervisor.read_exact(&mut go)?;
        SigSet::empty().thread_set_mask()?;
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::other("no program given"))?;
        let error = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .exec();
        write!(supervisor, "exec {}: {error}", program.display())
    };
    // Either the supervisor was told above, or it is gone.
    drop(become_program());
    ExitCode::from(START_ERROR)
}

/// Waits for the program's end and returns its exit code; obeys the cluster until then.
fn watch(cluster: &mut UnixStream, isolation: Isolation, program: Pid, exits: &SignalFd) -> u8 {
    let mut connected = true;
    loop {
        if let Some(code) = reap(program) {
            return code;
        }
        let mut sources = vec![PollFd::new(exits.as_fd(), PollFlags::POLLIN)];
        if connected {
            sources.push(PollFd::new(cluster.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => isolation.kill(program),
        }
        let told = sources
            .get(1)
            .is_some_and(|source| source.any().unwrap_or(false));
        while matches!(exits.read_signal(), Ok(Some(_))) {}
        if !told {
            continue;
        }
        let mut word = [0; 1];
        match cluster.read(&mut word) {
            Ok(1) if word[0] == TERMINATE => isolation.terminate(program),
            Ok(1) if word[0] == KILL => isolation.kill(program),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                connected = false;
                isolation.kill(program);
            }
        }
    }
}

/// Collects every child that has ended; the program's exit code if it is among them.
fn reap(program: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        let (pid, this) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, u8::try_from(status & 0xff).ok()),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                (pid, u8::try_from(128 + signal as i32).ok())
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => continue,
        };
        if pid == program {
            code = this;
        }
    }
}

/// Sends a signal to a process that may have ended meanwhile.
fn signal(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        Ok(()) | Err(_) => {}
    }
}
