//! Keeps what containers write, and reads it back.
//!
//! Of each container the present run and the one before are kept, and of each run what was written
//! last: a run's log is a row of files, of which the oldest goes when the newest is full. The files have the form that the kubelet's have, so that tools can read them:
//! `<time> stdout F <line>`, with `P` for a piece of a line that goes on.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::Stream;
use k8s_openapi::jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

use crate::clock;

mod reader;

/// A line longer than this is kept in pieces.
const LONGEST_PIECE: usize = 16 * 1024;
const READ_AT_ONCE: usize = 8 * 1024;
/// How many runs of a container are kept.
const RUNS: usize = 2;
/// The kubelet's bounds for the log of a run.
const LONGEST_FILE: u64 = 10 * 1024 * 1024;
const FILES: usize = 5;

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
    longest_file: u64,
    runs: Mutex<Runs>,
}

/// The log of one run of a container.
#[derive(Debug)]
pub(crate) struct Log {
    run: u32,
    folder: PathBuf,
    files: Mutex<Files>,
    longest_file: u64,
    growth: watch::Sender<Growth>,
}

/// The files of a log, whose first is `<run>.log` and the others `<run>.<number>.log`.
#[derive(Debug)]
struct Files {
    newest: File,
    /// Oldest first: the paths, and how much of the log comes before each.
    pieces: VecDeque<(PathBuf, u64)>,
    /// How many there have been.
    count: u64,
}

/// How far a log has come, counted from its beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    bytes: u64,
    complete: bool,
}

impl Logs {
    /// Logs below `directory`, which is created when the first is written.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self::with_files_of(LONGEST_FILE, directory)
    }

    fn with_files_of(longest_file: u64, directory: PathBuf) -> Self {
        Self(Arc::new(Inner {
            directory,
            longest_file,
            runs: Mutex::default(),
        }))
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
        let log = Arc::new(Log::create(folder, run, self.0.longest_file)?);
        let mut runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (uid.clone(), container.to_owned());
        let runs = runs.entry(key).or_default();
        runs.push(Arc::clone(&log));
        let too_many = runs.len().saturating_sub(RUNS);
        for old in runs.drain(..too_many) {
            old.remove();
        }
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
        let (file, position) = log.open(0).map_err(|source| LogError::Unreadable {
            pod: owner.pod.clone(),
            container: container.to_owned(),
            source,
        })?;
        Ok(reader::read(log, file, position, options))
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
    fn create(folder: PathBuf, run: u32, longest_file: u64) -> io::Result<Self> {
        let path = folder.join(format!("{run}.log"));
        let newest = File::create(&path)?;
        let files = Files {
            newest,
            pieces: VecDeque::from([(path, 0)]),
            count: 1,
        };
        Ok(Self {
            run,
            folder,
            files: Mutex::new(files),
            longest_file,
            growth: watch::Sender::default(),
        })
    }

    /// The first file that does not begin before `position`, and where it begins.
    fn open(&self, position: u64) -> io::Result<(File, u64)> {
        // Under the lock, so that the file does not go before it is open.
        let files = self.files();
        let mut pieces = files.pieces.iter();
        let piece = pieces.find(|(_, start)| *start >= position);
        let (path, start) = piece.ok_or(io::ErrorKind::NotFound)?;
        Ok((File::open(path)?, *start))
    }

    /// Removes the files of a run that nobody may ask for any longer.
    fn remove(&self) {
        for (path, _) in &self.files().pieces {
            remove(path);
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a stream of a container down until it ends.
    pub(crate) async fn keep(&self, stream: &'static str, mut source: impl AsyncRead + Unpin) {
        let mut unfinished: Vec<u8> = Vec::new();
        let mut buffer = vec![0; READ_AT_ONCE];
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
        let mut files = self.files();
        let present = self.growth.borrow().bytes;
        let written = self
            .make_room(&mut files, present, records.len() as u64)
            .and_then(|()| files.newest.write_all(records));
        if let Err(error) = written {
            tracing::warn!(folder = %self.folder.display(), run = self.run, %error, "log lines lost");
            return;
        }
        // Under the lock, so that the length never runs ahead of the files.
        self.growth
            .send_modify(|growth| growth.bytes += records.len() as u64);
    }

    /// Begins a new file if the newest is full, and lets the oldest go if there are too many.
    fn make_room(&self, files: &mut Files, present: u64, more: u64) -> io::Result<()> {
        let start = files.pieces.back().map_or(0, |(_, start)| *start);
        if present == start || present - start + more <= self.longest_file {
            return Ok(());
        }
        let name = format!("{}.{}.log", self.run, files.count);
        let path = self.folder.join(name);
        files.newest = File::create(&path)?;
        files.count += 1;
        files.pieces.push_back((path, present));
        if files.pieces.len() > FILES
            && let Some((oldest, _)) = files.pieces.pop_front()
        {
            remove(&oldest);
        }
        Ok(())
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an old log file stays");
    }
}

fn write_record(records: &mut Vec<u8>, time: Timestamp, stream: &str, tag: char, text: &[u8]) {
    records.extend_from_slice(format!("{time:.9} {stream} {tag} ").as_bytes());
    records.extend_from_slice(text);
    records.push(b'\n');
}

#[cfg(test)]
mod tests;
