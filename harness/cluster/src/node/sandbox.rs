//! What a pod gets before its containers start: an address and a folder of its own.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::addresses::Addresses;

/// An address and a folder that belong to one pod.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) address: Ipv4Addr,
    /// The containers' working directory.
    pub(crate) directory: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("every pod address is in use")]
    NoAddress,
    // It is told in an event, which has no place for a chain of sources.
    #[error("cannot make the folder {}: {reason}", path.display())]
    Folder { path: PathBuf, reason: io::Error },
}

impl Sandbox {
    /// Makes a sandbox whose folder is in `parent`, which is made if it is not there, and named by
    /// the pod's uid. What fails keeps no address.
    pub(super) fn make(
        addresses: &Addresses,
        parent: &Path,
        uid: &str,
    ) -> Result<Self, SandboxError> {
        let address = addresses.take().ok_or(SandboxError::NoAddress)?;
        let directory = parent.join(uid);
        match fs::create_dir_all(parent).and_then(|()| fs::create_dir(&directory)) {
            Ok(()) => Ok(Self { address, directory }),
            Err(reason) => {
                addresses.release(address);
                Err(SandboxError::Folder {
                    path: directory,
                    reason,
                })
            }
        }
    }

    /// Removes the folder with everything in it. The address is given back by whoever made the
    /// sandbox, when nobody sends there any longer.
    pub(super) fn remove_directory(&self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, directory = %self.directory.display(), "a pod's folder is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subnet::Subnet;

    #[test]
    fn a_failure_keeps_no_address() {
        let subnet = Subnet::new(81).unwrap();
        let addresses = Addresses::new(subnet);
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("namespace");
        fs::write(&parent, "in the way").unwrap();
        for _ in 0..=subnet.pods().count() {
            let error = Sandbox::make(&addresses, &parent, "uid").unwrap_err();
            assert!(matches!(error, SandboxError::Folder { .. }), "{error}");
        }
        fs::remove_file(&parent).unwrap();
        let sandbox = Sandbox::make(&addresses, &parent, "uid").unwrap();
        assert!(sandbox.directory.is_dir());
        sandbox.remove_directory();
        assert!(!sandbox.directory.exists());
    }

    #[test]
    fn without_a_free_address_there_is_none() {
        let addresses = Addresses::new(Subnet::new(81).unwrap());
        while addresses.take().is_some() {}
        let folder = tempfile::tempdir().unwrap();
        let error = Sandbox::make(&addresses, folder.path(), "uid").unwrap_err();
        assert_eq!(error.to_string(), "every pod address is in use");
        assert!(!folder.path().join("uid").exists());
    }
}
