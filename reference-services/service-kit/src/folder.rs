//! The folder in which a service keeps files of its own.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::env::Env;

/// Where the folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderConfig {
    /// A folder that outlives the process.
    At(PathBuf),
    /// A new folder that begins with `prefix` and is removed at the end.
    Temporary { prefix: String },
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot make the folder {path}")]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot make a temporary folder")]
    MakeTemporary(#[source] io::Error),
    #[error("cannot lock {path}")]
    Lock { path: PathBuf, source: io::Error },
    #[error("cannot read or write the name in {path}")]
    Identity { path: PathBuf, source: io::Error },
    #[error("another process uses the folder {0}")]
    InUse(PathBuf),
}

impl FolderConfig {
    /// Reads `DATA_DIR`; without it, the folder is a temporary one.
    pub fn from_env(env: &Env, name: &str) -> Self {
        match env.text("DATA_DIR") {
            Some(path) => Self::At(PathBuf::from(path)),
            None => Self::Temporary {
                prefix: format!("{name}-"),
            },
        }
    }
}

/// A folder that this process alone uses, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    identity: String,
    _lock: File,
    /// Removed with everything in it when the folder is dropped.
    _temporary: Option<TempDir>,
}

impl Folder {
    /// Makes the folder if there is none.
    pub fn open(config: &FolderConfig) -> Result<Self, FolderError> {
        let (path, temporary) = match config {
            FolderConfig::At(path) => {
                std::fs::create_dir_all(path).map_err(|source| FolderError::Make {
                    path: path.clone(),
                    source,
                })?;
                (path.clone(), None)
            }
            FolderConfig::Temporary { prefix } => {
                let made = tempfile::Builder::new().prefix(prefix).tempdir();
                let made = made.map_err(FolderError::MakeTemporary)?;
                (made.path().to_owned(), Some(made))
            }
        };
        let lock = path.join("lock");
        let failed = |source| FolderError::Lock {
            path: lock.clone(),
            source,
        };
        let file = File::create(&lock).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                identity: identity(&path)?,
                path,
                _lock: file,
                _temporary: temporary,
            }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this folder is called, 32 hexadecimal digits. It goes with the files: who lost them has
    /// a folder of another name.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

fn identity(folder: &Path) -> Result<String, FolderError> {
    let path = folder.join("identity");
    let known = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let new = format!("{:032x}", rand::random::<u128>());
            replace(&path, &new).map_err(|source| FolderError::Identity {
                path: path.clone(),
                source,
            })?;
            new
        }
        Err(source) => return Err(FolderError::Identity { path, source }),
    };
    Ok(known)
}

/// Writes a file as a whole, for good: afterwards, and after a crash at any moment, it has either its
/// former content or `text`.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_folder_of(path)
}

/// Makes the name of a new file durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_used_by_one_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a").join("b");
        let config = FolderConfig::At(path.clone());
        let first = Folder::open(&config).unwrap();
        assert_eq!(first.path(), path);
        let identity = first.identity().to_owned();
        assert_eq!(identity.len(), 32);
        assert!(matches!(
            Folder::open(&config),
            Err(FolderError::InUse(used)) if used == path
        ));
        drop(first);
        let second = Folder::open(&config).unwrap();
        assert_eq!(second.identity(), identity);
    }

    #[test]
    fn a_temporary_folder_goes_with_its_owner() {
        let config = FolderConfig::from_env(&Env::of_pairs([]), "test");
        let folder = Folder::open(&config).unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "text").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = FolderConfig::At(file.path().join("below"));
        assert!(matches!(
            Folder::open(&config),
            Err(FolderError::Make { .. })
        ));
    }
}
