//! Where a database is and how its connections are shared.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Dialect, OpenError};
use crate::env::Env;
use crate::gate::Handoff;

/// Where the database is and how its connections are shared.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub location: Location,
    /// How many connections there are for requests.
    pub connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// How long a database may take to accept a connection, or to become reachable again, before a
    /// request is refused.
    pub connect_timeout: Duration,
    /// How long a server may work on a statement, and wait for locks in it. SQLite has its own limit.
    pub statement_timeout: Duration,
    pub handoff: Handoff,
}

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A URL such as `postgres://app@db/app`, `mariadb://store@db/store` or
    /// `sqlite:///var/lib/app.db`.
    Url(String),
    /// An SQLite file that outlives the process.
    File(PathBuf),
    /// An SQLite file of this process alone, in a new folder that begins with `prefix` and is removed
    /// at the end: like a container's own file system, it does not outlive a restart, and two replicas
    /// do not share it.
    Temporary { prefix: String },
}

impl DatabaseConfig {
    /// Reads `DATABASE_URL`, else `DATA_DIR` (the SQLite file is `<name>.db` in it), else uses a
    /// temporary SQLite file; `DB_POOL` (default 10), `DB_ACQUIRE_TIMEOUT` (default 30 s),
    /// `DB_CONNECT_TIMEOUT` (default 2 s), `DB_STATEMENT_TIMEOUT` (default 10 s), `DB_POOL_HANDOFF`
    /// (`fair` or `barging`) and `DB_POOL_HANDOFF_DELAY` (for `barging`, default 200 µs).
    pub fn from_env(env: &mut Env, name: &str) -> Self {
        let location = match (env.text("DATABASE_URL"), env.text("DATA_DIR")) {
            (Some(url), _) => Location::Url(url),
            (None, Some(folder)) => {
                Location::File(PathBuf::from(folder).join(format!("{name}.db")))
            }
            (None, None) => Location::Temporary {
                prefix: format!("{name}-"),
            },
        };
        let connections = env.parse("DB_POOL", 10);
        if connections == 0 {
            env.complain("DB_POOL=\"0\": must be at least 1".to_owned());
        }
        let statement_timeout = env.duration("DB_STATEMENT_TIMEOUT", Duration::from_secs(10));
        if statement_timeout.as_millis() == 0 {
            // To the servers that would mean: no limit.
            env.complain("DB_STATEMENT_TIMEOUT: must be at least 1ms".to_owned());
        }
        let barging = Handoff::Barging {
            delay: env.duration("DB_POOL_HANDOFF_DELAY", Duration::from_micros(200)),
        };
        Self {
            location,
            connections,
            acquire_timeout: env.duration("DB_ACQUIRE_TIMEOUT", Duration::from_secs(30)),
            connect_timeout: env.duration("DB_CONNECT_TIMEOUT", Duration::from_secs(2)),
            statement_timeout,
            handoff: env.choice(
                "DB_POOL_HANDOFF",
                Handoff::Fair,
                &[("fair", Handoff::Fair), ("barging", barging)],
            ),
        }
    }
}

/// A location that exists and can be connected to.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dialect: Dialect,
    pub(super) url: String,
    /// The file of an SQLite database.
    pub(super) file: Option<PathBuf>,
    /// Removed with everything in it when dropped.
    pub(super) _folder: Option<TempDir>,
}

impl Location {
    pub(super) fn resolve(&self) -> Result<Place, OpenError> {
        match self {
            Self::Url(url) => self.of_url(url),
            Self::File(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(OpenError::Folder)?;
                }
                Ok(Place::of_file(path.clone(), None))
            }
            Self::Temporary { prefix } => {
                let folder = tempfile::Builder::new().prefix(prefix).tempdir();
                let folder = folder.map_err(OpenError::Folder)?;
                Ok(Place::of_file(
                    folder.path().join("service.db"),
                    Some(folder),
                ))
            }
        }
    }

    fn of_url(&self, url: &str) -> Result<Place, OpenError> {
        let location = || self.clone();
        match Dialect::of_url(url) {
            None => Err(OpenError::UnknownKind {
                location: location(),
            }),
            Some(Dialect::Sqlite) => {
                let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
                match path.split_once('?').map_or(path, |(path, _)| path) {
                    ":memory:" | "" => Err(OpenError::InMemory {
                        location: location(),
                    }),
                    path => Ok(Place::of_file(PathBuf::from(path), None)),
                }
            }
            Some(dialect) => Ok(Place {
                dialect,
                url: url.to_owned(),
                file: None,
                _folder: None,
            }),
        }
    }
}

impl Place {
    fn of_file(path: PathBuf, folder: Option<TempDir>) -> Self {
        Self {
            dialect: Dialect::Sqlite,
            url: sqlite_url(&path),
            file: Some(path),
            _folder: folder,
        }
    }
}

fn sqlite_url(path: &Path) -> String {
    let mut escaped = String::new();
    for character in path.to_string_lossy().chars() {
        match character {
            '%' => escaped.push_str("%25"),
            '?' => escaped.push_str("%3F"),
            '#' => escaped.push_str("%23"),
            other => escaped.push(other),
        }
    }
    format!("sqlite:{escaped}?mode=rwc")
}

/// As people may see it: without the password and whatever else may be secret.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => {
                let url = url.split_once('?').map_or(url.as_str(), |(url, _)| url);
                match (url.split_once("://"), url.rsplit_once('@')) {
                    (Some((scheme, _)), Some((_, rest))) => write!(f, "{scheme}://{rest}"),
                    _ => f.write_str(url),
                }
            }
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Temporary { prefix } => write!(f, "in a temporary folder {prefix}…"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::sqlite::SqliteConnectOptions;

    #[test]
    fn a_path_with_strange_letters_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("50%3F of #1? 주문.db");
        let place = Location::File(path.clone()).resolve().unwrap();
        let options: SqliteConnectOptions = place.url.parse().unwrap();
        assert_eq!(options.get_filename(), path);
    }

    #[test]
    fn the_folder_of_a_file_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/app.db");
        Location::File(path.clone()).resolve().unwrap();
        assert!(path.parent().unwrap().is_dir());
    }

    #[test]
    fn locations_that_are_no_database_are_refused() {
        let resolve = |url: &str| Location::Url(url.to_owned()).resolve();
        for url in ["sqlite::memory:", "sqlite://:memory:?cache=shared"] {
            assert!(matches!(resolve(url), Err(OpenError::InMemory { .. })));
        }
        for url in ["oracle://db", "app.db"] {
            assert!(matches!(resolve(url), Err(OpenError::UnknownKind { .. })));
        }
        for url in ["sqlite:app.db", "sqlite://app.db?mode=rw"] {
            assert_eq!(resolve(url).unwrap().file, Some(PathBuf::from("app.db")));
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for (url, shown) in [
            (
                "postgres://app:s@cret@db:5432/app?password=x",
                "postgres://db:5432/app",
            ),
            ("mysql://db/store", "mysql://db/store"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            let location = Location::Url(url.to_owned());
            assert_eq!(location.to_string(), shown);
            assert_eq!(format!("{location:?}"), format!("Location({shown})"));
        }
    }
}
