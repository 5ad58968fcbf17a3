//! What differs between SQLite, PostgreSQL and MySQL or MariaDB, so that nobody else need know.

use std::time::Duration;

use sqlx::any::AnyArguments;
use sqlx::error::DatabaseError;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, SqlSafeStr, SqlStr};

use super::{Connection, checkpoint};

/// How long SQLite waits for whoever else writes.
pub(super) const SQLITE_PATIENCE: Duration = Duration::from_secs(10);

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

/// The statements that make the tables of one concern where they are missing. They are run at every
/// start, by several replicas at once.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    pub sqlite: &'static str,
    pub postgres: &'static str,
    pub mysql: &'static str,
}

impl Schema {
    pub(super) fn of(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
            Dialect::MySql => self.mysql,
        }
    }
}

/// A statement for the database at the other end of `connection`, whichever that is. Its parameters
/// are `?`, which must not occur in it otherwise.
pub fn query(
    connection: &Connection<'_>,
    statement: &'static str,
) -> Query<'static, Any, AnyArguments> {
    sqlx::query(Dialect::of(connection.inner).translate(statement))
}

/// Whether a server has ended a statement because its time was over: as PostgreSQL's
/// `query_canceled`, or as MariaDB's interrupted statement.
pub(super) fn ended_by_limit(error: &dyn DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("57014" | "70100"))
}

impl Dialect {
    pub(super) fn of(connection: &AnyConnection) -> Self {
        match connection.backend_name() {
            "SQLite" => Self::Sqlite,
            "PostgreSQL" => Self::Postgres,
            _ => Self::MySql,
        }
    }

    /// The dialect that a URL asks for.
    pub(super) fn of_url(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::MySql),
            _ => None,
        }
    }

    /// PostgreSQL counts its parameters: `$1`, `$2` …
    fn translate(self, statement: &'static str) -> SqlStr {
        match self {
            Self::Sqlite | Self::MySql => statement.into_sql_str(),
            Self::Postgres => {
                let mut parts = statement.split('?');
                let mut counted = parts.next().unwrap_or_default().to_owned();
                for (before, part) in parts.enumerate() {
                    counted.push_str(&format!("${}{part}", before + 1));
                }
                AssertSqlSafe(counted).into_sql_str()
            }
        }
    }

    /// Begins a transaction that writes. In SQLite one that began by reading could not become the
    /// only writer afterwards without a failure.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres | Self::MySql => "BEGIN",
        }
    }

    /// What the first connection does alone, before there are others. SQLite does not wait for them
    /// when it changes the journal mode (`SQLITE_BUSY` in spite of the timeout), and the file keeps
    /// the mode.
    pub(super) fn first_of_all(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => Some("PRAGMA journal_mode = WAL"),
            Self::Postgres | Self::MySql => None,
        }
    }

    /// Makes replicas that start at the same moment make the tables one after the other, where neither
    /// the database nor a lock on its file sees to that. Waiting for the lock, too, may only take as
    /// long as a statement; then the tables are made later, by whoever needs them.
    pub(super) fn before_schema(self) -> Option<&'static str> {
        match self {
            Self::Sqlite | Self::MySql => None,
            Self::Postgres => Some("SELECT pg_advisory_xact_lock(hashtext('schema'))"),
        }
    }

    /// What each new connection is told first: among other things how long a statement may take.
    pub(super) fn connection_settings(self, limit: Duration) -> String {
        let ms = limit.as_millis();
        match self {
            // The write-ahead log lets readers go on while one connection writes. With it, NORMAL
            // loses nothing when the process is killed, only (and at most the last transactions)
            // when the machine is.
            Self::Sqlite => format!(
                "PRAGMA busy_timeout = {}; PRAGMA synchronous = NORMAL; {}",
                SQLITE_PATIENCE.as_millis(),
                checkpoint::SETTINGS,
            ),
            Self::Postgres => format!("SET statement_timeout = {ms}"),
            // READ COMMITTED as PostgreSQL does; it also keeps writers from waiting for gaps between
            // rows. Then MariaDB's limit of all statements (`M!` is for it alone), or MySQL's, which
            // is of SELECT only (MariaDB skips what is marked for MySQL 5.7); others can only wait
            // for locks, and that in whole seconds.
            Self::MySql => format!(
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION innodb_lock_wait_timeout = {lock_wait} \
                 /*M! , max_statement_time = {seconds} */ /*!50708 , max_execution_time = {ms} */",
                lock_wait = limit.as_secs().max(1),
                seconds = limit.as_secs_f64(),
            ),
        }
    }

    /// Takes the lock of the given name for as long as the connection lasts: 1 if nobody had it.
    /// `None` where there is no such lock.
    pub(super) fn try_lock(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => {
                Some("SELECT CASE WHEN pg_try_advisory_lock(hashtext(?)) THEN 1 ELSE 0 END")
            }
            // Names of locks are short, and shared by all databases of a server.
            Self::MySql => Some("SELECT GET_LOCK(MD5(CONCAT(DATABASE(), '.', ?)), 0)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: &str = "UPDATE a SET b = ? WHERE c = ? AND d = ?";

    #[test]
    fn parameters_are_counted_for_postgres_only() {
        assert_eq!(
            Dialect::Postgres.translate(STATEMENT).as_str(),
            "UPDATE a SET b = $1 WHERE c = $2 AND d = $3"
        );
        assert_eq!(Dialect::Postgres.translate("SELECT 1").as_str(), "SELECT 1");
        for dialect in [Dialect::Sqlite, Dialect::MySql] {
            assert_eq!(dialect.translate(STATEMENT).as_str(), STATEMENT);
        }
    }

    #[test]
    fn the_scheme_of_the_url_decides() {
        for (url, dialect) in [
            ("sqlite::memory:", Some(Dialect::Sqlite)),
            ("postgres://localhost/app", Some(Dialect::Postgres)),
            ("postgresql://localhost/app", Some(Dialect::Postgres)),
            ("mysql://localhost/app", Some(Dialect::MySql)),
            ("mariadb://localhost/app", Some(Dialect::MySql)),
            ("oracle://localhost/app", None),
            ("app.db", None),
        ] {
            assert_eq!(Dialect::of_url(url), dialect, "{url}");
        }
    }
}
