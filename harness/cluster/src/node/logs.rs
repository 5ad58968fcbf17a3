//! Keeps what containers write, one file for each start of a container, and reads it back.
//!
//! The files have the form that the kubelet's have, so that tools can read them:
//! `<time> stdout F <line>`, with `P` for a piece of a line that goes on.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::Stream;
use k8s_openapi::jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

use crate::clock;

mod reader;

/// A line longer than this is kept in pieces.
const LONGEST_PIECE: usize = 16 * 1024;

/// Which part of a container's log to read; the fields resemble the parameters of the API's `/log`.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogOptions {
    /// Stay and return new lines until the container ends.
    pub(crate) follow: bool,
    /// Which of the container's runs, from 0; without it the latest.
    pub(crate) run: Option<u32>,
    pub(crate) tail_lines: Option<u64>,
    pub(crate) since: Option<Timestamp>,
    /// Begin each line with its time.
    pub(crate) timestamps: bool,
    pub(crate) limit_bytes: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start")]
    NotStarted { pod: String, container: String },
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious { pod: String, container: String },
    #[error("cannot read the log of container \"{container}\" in pod \"{pod}\"")]
    Unreadable {
        pod: String,
        container: String,
        source: io::Error,
    },
}

/// Names a pod in the logs.
#[derive(Clone, Debug)]
pub(crate) struct LogOwner {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

/// The logs of all containers of the node. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Logs(Arc<Inner>);

/// By pod uid and container: the logs of its runs, oldest first.
type Runs = HashMap<(String, String), Vec<Arc<Log>>>;

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    runs: Mutex<Runs>,
}

/// The log of one run of a container.
#[derive(Debug)]
pub(crate) struct Log {
    run: u32,
    path: PathBuf,
    file: Mutex<File>,
    growth: watch::Sender<Growth>,
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    bytes: u64,
    complete: bool,
}

impl Logs {
    /// Logs below `directory`, which is created when the first is written.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let runs = Mutex::default();
        Self(Arc::new(Inner { directory, runs }))
    }

    /// Begins the log of a container's next run.
    pub(crate) fn begin(
        &self,
        owner: &LogOwner,
        container: &str,
        run: u32,
    ) -> io::Result<Arc<Log>> {
        let LogOwner {
            namespace,
            pod,
            uid,
        } = owner;
        let folder = self
            .0
            .directory
            .join(format!("{namespace}_{pod}_{uid}"))
            .join(container);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{run}.log"));
        let file = Mutex::new(File::create(&path)?);
        let log = Arc::new(Log {
            run,
            path,
            file,
            growth: watch::Sender::default(),
        });
        let mut runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (uid.clone(), container.to_owned());
        runs.entry(key).or_default().push(Arc::clone(&log));
        Ok(log)
    }

    /// Forgets a pod that is gone. The files stay, as part of what a run leaves behind.
    pub(crate) fn forget(&self, owner: &LogOwner) {
        let mut runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|(uid, _), _| *uid != owner.uid);
    }

    /// Reads a container's log: complete lines, in pieces of any size.
    pub(crate) fn read(
        &self,
        owner: &LogOwner,
        container: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + use<>, LogError> {
        let log = self.run(owner, container, options.run)?;
        let file = File::open(&log.path).map_err(|source| LogError::Unreadable {
            pod: owner.pod.clone(),
            container: container.to_owned(),
            source,
        })?;
        Ok(reader::read(file.into(), log.growth.subscribe(), options))
    }

    fn run(
        &self,
        owner: &LogOwner,
        container: &str,
        number: Option<u32>,
    ) -> Result<Arc<Log>, LogError> {
        let runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = runs.get(&(owner.uid.clone(), container.to_owned()));
        let mut newest_first = runs.into_iter().flatten().rev();
        let (pod, container) = (owner.pod.clone(), container.to_owned());
        match number {
            Some(number) => newest_first
                .find(|log| log.run == number)
                .cloned()
                .ok_or(LogError::NoPrevious { pod, container }),
            None => newest_first
                .next()
                .cloned()
                .ok_or(LogError::NotStarted { pod, container }),
        }
    }
}

impl Log {
    /// Writes a stream of a container down until it ends.
    pub(crate) async fn keep(&self, stream: &'static str, mut source: impl AsyncRead + Unpin) {
        let mut unfinished: Vec<u8> = Vec::new();
        let mut buffer = vec![0; LONGEST_PIECE];
        loop {
            match source.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => unfinished.extend_from_slice(&buffer[..length]),
            }
            let time = clock::now_precise();
            let mut records = Vec::with_capacity(2 * unfinished.len());
            let mut rest = unfinished.as_slice();
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                write_record(&mut records, time, stream, 'F', &rest[..end]);
                rest = &rest[end + 1..];
            }
            while rest.len() >= LONGEST_PIECE {
                let (piece, more) = rest.split_at(LONGEST_PIECE);
                write_record(&mut records, time, stream, 'P', piece);
                rest = more;
            }
            unfinished = rest.to_vec();
            self.append(&records);
        }
        if !unfinished.is_empty() {
            let mut record = Vec::new();
            write_record(&mut record, clock::now_precise(), stream, 'F', &unfinished);
            self.append(&record);
        }
    }

    /// Nothing follows.
    pub(crate) fn complete(&self) {
        self.growth.send_modify(|growth| growth.complete = true);
    }

    fn append(&self, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(records) {
            tracing::warn!(path = %self.path.display(), %error, "log lines lost");
            return;
        }
        // Under the lock, so that the length never runs ahead of the file.
        self.growth
            .send_modify(|growth| growth.bytes += records.len() as u64);
    }
}

fn write_record(records: &mut Vec<u8>, time: Timestamp, stream: &str, tag: char, text: &[u8]) {
    records.extend_from_slice(format!("{time:.9} {stream} {tag} ").as_bytes());
    records.extend_from_slice(text);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    fn owner() -> LogOwner {
        LogOwner {
            namespace: "shop".to_owned(),
            pod: "app-1".to_owned(),
            uid: "u1".to_owned(),
        }
    }

    async fn text(stream: impl Stream<Item = io::Result<Bytes>>) -> String {
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    async fn logs_with(lines: &str) -> (tempfile::TempDir, Logs) {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(directory.path().to_owned());
        let log = logs.begin(&owner(), "c", 0).unwrap();
        log.keep("stdout", lines.as_bytes()).await;
        log.complete();
        (directory, logs)
    }

    async fn read(logs: &Logs, options: LogOptions) -> String {
        text(logs.read(&owner(), "c", options).unwrap()).await
    }

    #[tokio::test]
    async fn lines_come_back_as_they_were() {
        let long = "x".repeat(3 * LONGEST_PIECE + 7);
        let written = format!("one\n\n{long}\nunfinished");
        let (_directory, logs) = logs_with(&written).await;
        let expected = format!("{written}\n");
        assert_eq!(read(&logs, LogOptions::default()).await, expected);
    }

    #[tokio::test]
    async fn the_tail_and_a_limit_can_be_asked_for() {
        let (_directory, logs) = logs_with("one\ntwo\nthree\n").await;
        let tail = LogOptions {
            tail_lines: Some(2),
            ..LogOptions::default()
        };
        assert_eq!(read(&logs, tail).await, "two\nthree\n");
        let limited = LogOptions {
            limit_bytes: Some(5),
            ..LogOptions::default()
        };
        assert_eq!(read(&logs, limited).await, "one\nt");
    }

    #[tokio::test]
    async fn times_can_be_shown_and_asked_for() {
        let before = clock::now_precise();
        let (_directory, logs) = logs_with("one\n").await;
        let shown = read(
            &logs,
            LogOptions {
                timestamps: true,
                ..LogOptions::default()
            },
        )
        .await;
        let (time, line) = shown.split_once(' ').unwrap();
        assert!(time.parse::<Timestamp>().unwrap() >= before);
        assert_eq!(line, "one\n");
        let later = clock::now_precise() + k8s_openapi::jiff::SignedDuration::from_secs(1);
        let none = LogOptions {
            since: Some(later),
            ..LogOptions::default()
        };
        assert_eq!(read(&logs, none).await, "");
    }

    #[tokio::test]
    async fn following_ends_with_the_container() {
        let (_directory, logs) = logs_with("one\n").await;
        let log = logs.begin(&owner(), "c", 1).unwrap();
        let follow = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let reading = tokio::spawn(text(logs.read(&owner(), "c", follow).unwrap()));
        log.keep("stderr", &b"a\n"[..]).await;
        log.keep("stdout", &b"b\n"[..]).await;
        log.complete();
        assert_eq!(reading.await.unwrap(), "a\nb\n");
        let first = LogOptions {
            run: Some(0),
            ..LogOptions::default()
        };
        assert_eq!(read(&logs, first).await, "one\n");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let logs = Logs::new(PathBuf::from("/nonexistent"));
        let error = logs
            .read(&owner(), "c", LogOptions::default())
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, LogError::NotStarted { .. }));
        let options = LogOptions {
            run: Some(0),
            ..LogOptions::default()
        };
        let error = logs.read(&owner(), "c", options).map(drop).unwrap_err();
        assert!(matches!(error, LogError::NoPrevious { .. }));
    }
}
