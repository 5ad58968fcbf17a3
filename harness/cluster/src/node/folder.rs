//! The folder of the pods' files: removed with its cluster, or else by the next one.
//!
//! A cluster keeps its folder locked. However it ends, the system releases the lock, and a folder
//! that nobody locks is one that was left behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "holdfast-node-";

/// A locked folder in the system's folder for temporary files.
#[derive(Debug)]
pub(super) struct Folder {
    directory: TempDir,
    /// Holds the lock.
    lock: File,
}

impl Folder {
    /// Makes a folder, and removes those of clusters that are gone.
    pub(super) fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(parent)?.flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && entry.file_name().to_string_lossy().starts_with(PREFIX) {
                remove_if_left_behind(&entry.path());
            }
        }
        loop {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            if let Some(lock) = lock_if_present(directory.path())? {
                return Ok(Self { directory, lock });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes the folder.
    pub(super) fn close(self) -> io::Result<()> {
        let Self { directory, lock } = self;
        let closed = directory.close();
        drop(lock);
        closed
    }
}

/// Locks a new folder, unless another cluster has taken it for left behind before that.
fn lock_if_present(folder: &Path) -> io::Result<Option<File>> {
    let lock = match File::open(folder) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    lock.lock()?;
    Ok(folder.exists().then_some(lock))
}

fn remove_if_left_behind(folder: &Path) {
    let outcome = match File::open(folder) {
        Ok(lock) => match lock.try_lock() {
            // The lock is held until the folder is gone.
            Ok(()) => fs::remove_dir_all(folder),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => {}
        // Its cluster, or another one that is starting, was faster; or it is another user's.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) => {}
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "a folder that a cluster left behind stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_cluster_or_with_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let alive = Folder::new_in(parent.path()).unwrap();
        let killed = Folder::new_in(parent.path()).unwrap();
        fs::write(killed.path().join("file"), "left").unwrap();
        let Folder { directory, lock } = killed;
        let left_behind = directory.keep();
        drop(lock);
        let next = Folder::new_in(parent.path()).unwrap();
        assert!(!left_behind.exists());
        assert!(alive.path().exists());
        alive.close().unwrap();
        next.close().unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
