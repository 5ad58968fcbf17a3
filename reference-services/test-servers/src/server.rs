//! One server, its data and its life.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::programs::{command, find, give_away, run};

/// Starts a server, and kills it when told to or when whoever holds the other end of the standard
/// input is gone. Then the data goes too, unless it is to be kept. Only the server holds the log, so
/// that the log ends with it.
const LIFELINE: &str = r#"
folder=$1; shift
exec 3>&2 2>/dev/null
"$@" </dev/null 2>&3 3>&- &
server=$!
exec 3>&-
read -r word
kill -9 $server
wait $server
[ "$word" = keep ] || rm -rf "$folder"
"#;

/// How often a server may fail to start: after a kill, what is left of the last one may still be
/// on its way out.
const ATTEMPTS: usize = 20;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MariaDb,
}

/// A running server of this process alone.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    /// `None` while it is down.
    running: Option<Running>,
    databases: AtomicUsize,
    folder: TempDir,
}

impl Server {
    /// Starts a server with no data, or returns `None` and says so where its programs are missing.
    ///
    /// # Panics
    /// When it does not start, and when programs are missing although `HOLDFAST_REQUIRE_TOOLS=1`.
    pub fn start(kind: Kind) -> Option<Self> {
        if let Some(missing) = kind.programs().iter().find(|name| find(name).is_none()) {
            let required = std::env::var_os("HOLDFAST_REQUIRE_TOOLS").is_some_and(|it| it == "1");
            assert!(
                !required,
                "{missing} is missing, and HOLDFAST_REQUIRE_TOOLS=1"
            );
            say_skipped(missing);
            return None;
        }
        let folder = tempfile::Builder::new().prefix("server-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        give_away(folder.path());
        run(&mut kind.installation(folder.path()));
        let mut server = Self {
            kind,
            running: None,
            databases: AtomicUsize::new(0),
            folder,
        };
        server.start_again();
        Some(server)
    }

    /// A server that all tests of this process share, so that it is not each that waits for one.
    /// Not for being killed.
    ///
    /// # Panics
    /// As [`Server::start`] does.
    pub fn shared(kind: Kind) -> Option<&'static Self> {
        static POSTGRES: OnceLock<Option<Server>> = OnceLock::new();
        static MARIADB: OnceLock<Option<Server>> = OnceLock::new();
        let server = match kind {
            Kind::Postgres => &POSTGRES,
            Kind::MariaDb => &MARIADB,
        };
        server.get_or_init(|| Self::start(kind)).as_ref()
    }

    /// The URL of a new database, empty and of the caller alone.
    ///
    /// # Panics
    /// When the server is down.
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run(&mut self.kind.creation(self.folder.path(), &name));
        self.kind.url(self.folder.path(), &name)
    }

    /// Kills the server, as `kill -9` does, and returns when it is dead.
    ///
    /// # Panics
    /// When it is down already.
    pub fn kill(&mut self) {
        let running = self.running.take().expect("the server is up");
        running.end(b"keep\n");
    }

    /// Starts the server again on the data it had, and returns when it accepts connections.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "the server is up");
        let mut log = Vec::new();
        for _ in 0..ATTEMPTS {
            match Running::begin(self.attempt()) {
                Ok(running) => {
                    self.running = Some(running);
                    return;
                }
                Err(seen) => log = seen,
            }
        }
        panic!("{:?} does not start:\n{}", self.kind, log.join("\n"));
    }

    fn attempt(&self) -> Child {
        let folder = self.folder.path();
        let (server, arguments) = self.kind.server(folder);
        command(Path::new("/bin/sh"))
            .args(["-c", LIFELINE, "lifeline"])
            .arg(folder)
            .arg(program(server))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("there is a shell")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end(b"");
        }
    }
}

/// A server that is up.
#[derive(Debug)]
struct Running {
    lifeline: Child,
    /// Ends when the last process of the server has: all of them hold the log.
    log: JoinHandle<()>,
}

impl Running {
    /// Returns once the server accepts connections, or its log if it ends before.
    fn begin(mut lifeline: Child) -> Result<Self, Vec<String>> {
        let log = lifeline.stderr.take().expect("the log is a pipe");
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let mut seen = Vec::new();
        for line in lines.by_ref() {
            if line.contains("ready to accept connections")
                || line.contains("ready for connections")
            {
                // The log must be read to its end, or its next line would stop the server.
                let log = std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { lifeline, log });
            }
            seen.push(line);
        }
        tell(lifeline, b"keep\n");
        Err(seen)
    }

    fn end(self, word: &[u8]) {
        tell(self.lifeline, word);
        self.log.join().expect("reading lines does not panic");
    }
}

/// Tells a lifeline its word, and waits until it has ended.
fn tell(mut lifeline: Child, word: &[u8]) {
    let mut words = lifeline.stdin.take().expect("the word is told on a pipe");
    words.write_all(word).expect("the lifeline reads");
    drop(words);
    lifeline.wait().expect("the lifeline can be waited for");
}

impl Kind {
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["initdb", "postgres", "createdb"],
            Self::MariaDb => &["mariadb-install-db", "mariadbd", "mariadb"],
        }
    }

    /// Makes the files of a server that has no data. What is lost with the machine need not be
    /// written through.
    fn installation(self, folder: &Path) -> Command {
        let data = folder.join("data");
        match self {
            Self::Postgres => {
                let mut initdb = command(&program("initdb"));
                initdb.arg("-D").arg(data);
                initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
                initdb.args(["--no-sync", "--no-locale"]);
                initdb
            }
            Self::MariaDb => {
                let mut install = command(&program("mariadb-install-db"));
                install.arg("--no-defaults").arg(option("--datadir", &data));
                install.arg(option("--tmpdir", folder));
                install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                install.args(MARIADB_OPTIONS);
                install
            }
        }
    }

    /// The server and its arguments.
    fn server(self, folder: &Path) -> (&'static str, Vec<OsString>) {
        let data = folder.join("data");
        match self {
            Self::Postgres => {
                let mut arguments: Vec<OsString> = vec!["-D".into(), data.into()];
                arguments.extend(["-k".into(), folder.into()]);
                for setting in ["listen_addresses=", "fsync=off", "max_connections=300"] {
                    arguments.extend(["-c".into(), setting.into()]);
                }
                ("postgres", arguments)
            }
            Self::MariaDb => {
                let mut arguments = vec!["--no-defaults".into(), option("--datadir", &data)];
                arguments.push(option("--socket", &folder.join("socket")));
                // A server that starts removes what others have in a shared one.
                arguments.push(option("--tmpdir", folder));
                arguments.push(option("--pid-file", &folder.join("pid")));
                arguments.extend(["--skip-networking", "--max-connections=300"].map(Into::into));
                arguments.extend(MARIADB_OPTIONS.map(Into::into));
                ("mariadbd", arguments)
            }
        }
    }

    fn creation(self, folder: &Path, name: &str) -> Command {
        match self {
            Self::Postgres => {
                let mut createdb = command(&program("createdb"));
                createdb
                    .arg("-h")
                    .arg(folder)
                    .args(["-U", "postgres", name]);
                createdb
            }
            Self::MariaDb => {
                let mut client = command(&program("mariadb"));
                client.arg("--no-defaults");
                client.arg(option("--socket", &folder.join("socket")));
                client.args(["-u", "root", "-e", &format!("CREATE DATABASE {name}")]);
                client
            }
        }
    }

    fn url(self, folder: &Path, name: &str) -> String {
        let folder = folder.display();
        match self {
            Self::Postgres => format!("postgres://postgres@localhost/{name}?host={folder}"),
            Self::MariaDb => format!("mariadb://root@localhost/{name}?socket={folder}/socket"),
        }
    }
}

const MARIADB_OPTIONS: [&str; 4] = [
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=8M",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
];

fn program(name: &str) -> PathBuf {
    find(name).expect("it was found when the server was made")
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests must hear of it"
)]
fn say_skipped(missing: &str) {
    eprintln!("SKIPPED: {missing} is not installed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_databases_when_it_is_killed_and_leaves_nothing_when_dropped() {
        for kind in [Kind::Postgres, Kind::MariaDb] {
            let Some(mut server) = Server::start(kind) else {
                continue;
            };
            let folder = server.folder.path().to_owned();
            assert!(server.new_database().contains("test_0"));
            server.kill();
            server.start_again();
            let again = std::panic::catch_unwind(|| {
                run(&mut kind.creation(&folder, "test_0"));
            });
            assert!(again.is_err(), "the database was forgotten");
            drop(server);
            assert!(!folder.exists());
        }
    }
}
