//! Fills a file system of a pod with a file that has no name: when the agent ends, however it does,
//! the kernel frees it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, OpenHow, ResolveFlag, fallocate, openat, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use serde_json::json;
use tokio::time::sleep;

use crate::arguments::Common;
use crate::error::Error;
use crate::machine_memory::{available, most};
use crate::pod::Pod;
use crate::quantity::bytes;
use crate::session::Session;

mod mounts;

/// How soon space that became free is taken, too.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Taken at a time.
const PIECE: u64 = 64 << 20;

/// Fills a file system that belongs to a pod alone.
#[derive(Debug, clap::Args)]
#[group(id = "amount", required = true, multiple = false, args = ["leave", "bytes"])]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pod: Pod,
    /// A folder, as the pod's programs see it
    #[arg(long, value_name = "FOLDER")]
    path: PathBuf,
    /// Take all but this much, also what becomes free later
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    leave: Option<u64>,
    /// Take this much
    #[arg(long, value_parser = bytes, value_name = "BYTES")]
    bytes: Option<u64>,
}

pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let target = Target::find(&options)?;
    let free_before = target.free()?;
    target.check_amount(&options, free_before)?;
    let file = Arc::new(target.nameless_file()?);
    let (taken, told) = (Arc::new(AtomicU64::new(0)), Arc::clone(&file));
    let (seen, name) = (Arc::clone(&taken), options.pod.name.clone());
    let evidence = Arc::new(move || {
        json!({
            "podName": name,
            "takenBytes": seen.load(Ordering::Relaxed),
            "freeBytesBefore": free_before,
            "freeBytes": free(&told).ok(),
        })
    });
    let session = Session::begin("disk", options.common, evidence).await?;
    let mut has_begun = false;
    while !session.over.is_cancelled() {
        let wish = match (options.leave, options.bytes) {
            (Some(leave), _) => target.free()?.saturating_sub(leave),
            (None, bytes) => bytes.unwrap_or_default() - taken.load(Ordering::Relaxed),
        };
        let piece = whole_blocks(wish, target.block).min(PIECE);
        if piece > 0 && target.take(&file, taken.load(Ordering::Relaxed), piece)? {
            taken.fetch_add(piece, Ordering::Relaxed);
            continue;
        }
        if !std::mem::replace(&mut has_begun, true) {
            session.began();
        }
        tokio::select! {
            () = session.over.cancelled() => {}
            () = sleep(BETWEEN_LOOKS) => {}
        }
    }
    nix::unistd::ftruncate(&*file, 0).map_err(|error| target.cannot(error.into()))?;
    taken.store(0, Ordering::Relaxed);
    session.ended();
    Ok(())
}

/// The folder to be filled.
#[derive(Debug)]
struct Target {
    folder: File,
    pod: String,
    path: PathBuf,
    block: u64,
    is_memory: bool,
}

impl Target {
    /// Finds the folder in one of the pod's containers.
    fn find(options: &Options) -> Result<Self, Error> {
        let mut refusal = None;
        for pid in options.pod.some_processes()? {
            match Self::open(pid, options) {
                Ok(target) => return Ok(target),
                // Another container may have something else there. That it may not be filled says
                // more than that a process has nothing there, or has ended.
                Err(error @ Error::SharedFileSystem { .. }) => refusal = Some(error),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| Error::NoProcesses {
            name: options.pod.name.clone(),
            uid: options.pod.uid.clone(),
        }))
    }

    fn open(pid: i32, options: &Options) -> Result<Self, Error> {
        let (pod, path) = (options.pod.name.clone(), options.path.clone());
        let cannot = |source| Error::Fill {
            pod: pod.clone(),
            path: path.clone(),
            source,
        };
        let folder: File = open_inside(pid, &path).map_err(&cannot)?.into();
        let device = folder.metadata().map_err(&cannot)?.dev();
        let mounts =
            fs::read_to_string(mounts::OF_THE_MACHINE).map_err(|source| Error::Machine {
                path: mounts::OF_THE_MACHINE,
                source,
            })?;
        mounts::check(device, &mounts, &options.pod.uid).map_err(|reason| {
            Error::SharedFileSystem {
                pod: pod.clone(),
                path: path.clone(),
                reason,
            }
        })?;
        let system = fstatfs(&folder).map_err(|error| cannot(error.into()))?;
        Ok(Self {
            block: u64::try_from(system.block_size()).unwrap_or(1).max(1),
            is_memory: system.filesystem_type() == TMPFS_MAGIC,
            folder,
            pod,
            path,
        })
    }

    fn free(&self) -> Result<u64, Error> {
        free(&self.folder).map_err(|error| self.cannot(error))
    }

    /// Refuses more than there is, and what would take the machine's memory.
    fn check_amount(&self, options: &Options, free: u64) -> Result<(), Error> {
        let wanted = match (options.leave, options.bytes) {
            (Some(leave), _) => free.saturating_sub(leave),
            (None, bytes) => bytes.unwrap_or_default(),
        };
        if wanted > free {
            return Err(Error::Arguments(format!(
                "--bytes {wanted}: {} has only {free} bytes free",
                self.path.display()
            )));
        }
        let limit = most(available()?);
        if self.is_memory && wanted > limit {
            return Err(Error::Arguments(format!(
                "{} is in memory, and {wanted} bytes are more than half of what the machine has available: at most {limit}",
                self.path.display()
            )));
        }
        Ok(())
    }

    /// A file that is gone with its last descriptor.
    fn nameless_file(&self) -> Result<File, Error> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let owner_only = Mode::S_IRUSR | Mode::S_IWUSR;
        let opened = openat(&self.folder, ".", flags, owner_only);
        opened
            .map(File::from)
            .map_err(|error| self.cannot(error.into()))
    }

    /// Whether there was room for `length` more bytes.
    fn take(&self, file: &File, offset: u64, length: u64) -> Result<bool, Error> {
        let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else {
            return Ok(false);
        };
        match fallocate(file, FallocateFlags::empty(), offset, length) {
            Ok(()) => Ok(true),
            // The pod was faster.
            Err(Errno::ENOSPC | Errno::EINTR) => Ok(false),
            Err(error) => Err(self.cannot(error.into())),
        }
    }

    fn cannot(&self, source: io::Error) -> Error {
        Error::Fill {
            pod: self.pod.clone(),
            path: self.path.clone(),
            source,
        }
    }
}

/// Opens a folder as a process sees it: no link leads out of its root.
fn open_inside(pid: i32, path: &Path) -> io::Result<OwnedFd> {
    let root = File::open(format!("/proc/{pid}/root"))?;
    let how = OpenHow::new()
        .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    Ok(openat2(&root, path, how)?)
}

/// Bytes that ordinary users may still write.
fn free(folder: impl AsFd) -> io::Result<u64> {
    let system = fstatfs(folder)?;
    let block = u64::try_from(system.block_size()).unwrap_or_default();
    Ok(system.blocks_available().saturating_mul(block))
}

fn whole_blocks(bytes: u64, block: u64) -> u64 {
    bytes / block * block
}
