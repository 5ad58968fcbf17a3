//! A service of ours as a process: started from its program, on a free port, with no settings but
//! those it is given.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// How long a service may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running service; it is killed with this value.
#[derive(Debug)]
pub struct Service {
    id: u32,
    /// Until it is waited for.
    process: Option<Child>,
    /// Until somebody waited for it to listen.
    log: Option<ChildStdout>,
    /// Where it makes temporary files; what a killed process leaves goes with it.
    temporary: TempDir,
}

/// What a service left when it ended by itself.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// What it wrote to standard error.
    pub last_words: String,
    /// How many temporary files and folders it left behind.
    pub left_behind: usize,
}

impl Service {
    /// Starts `program` and returns at once.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn start<'a>(
        program: &str,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder can be made");
        let mut process = Command::new(program)
            .env_clear()
            .env("BIND_ADDR", "127.0.0.1")
            .env("PORT", "0")
            .env("TMPDIR", temporary.path())
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
        Self {
            id: process.id(),
            log: process.stdout.take(),
            process: Some(process),
            temporary,
        }
    }

    /// Waits until it listens, and tells where. To be called once.
    ///
    /// # Panics
    /// When it ends before that.
    pub fn url(&mut self) -> String {
        let log = self.log.take().expect("nobody asked before");
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let mut seen = Vec::new();
        for line in lines.by_ref() {
            if let Some((_, address)) = line.split_once("listening address=") {
                let url = format!("http://{}", address.trim());
                // The log must be read to its end, or its next line would stop the service.
                std::thread::spawn(move || lines.for_each(drop));
                return url;
            }
            seen.push(line);
        }
        let ended = self.wait();
        panic!("{}\n{}", seen.join("\n"), ended.last_words);
    }

    /// Sends a signal, such as `TERM`.
    ///
    /// # Panics
    /// When there is no such signal.
    pub fn signal(&self, name: &str) {
        let id = self.id.to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// SIGKILL: nothing is finished.
    pub fn kill(self) {
        drop(self);
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not end.
    pub fn ended(mut self) -> Ended {
        if let Some(mut log) = self.log.take() {
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        }
        self.wait()
    }

    fn wait(&mut self) -> Ended {
        let mut process = self.process.take().expect("nobody waited before");
        let mut stderr = process.stderr.take().expect("it is a pipe");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut last_words = String::new();
            let read = stderr.read_to_string(&mut last_words);
            let status = read.and_then(|_| process.wait());
            drop(tell.send((status, last_words)));
        });
        let (status, last_words) = told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            self.signal("KILL");
            panic!("the service does not end");
        });
        let left_behind = std::fs::read_dir(self.temporary.path());
        Ended {
            status: status.expect("it can be waited for"),
            last_words,
            left_behind: left_behind.expect("the folder is there").count(),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            drop(process.kill());
            drop(process.wait());
        }
    }
}
