//! Reading a container's log file, while it is being written.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use k8s_openapi::jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::{Growth, Log, LogOptions};

/// Nobody listens any longer, or the limit is reached.
struct Enough;

/// Reads a log as asked, from its file that begins at `position`. The stream ends when the log does.
pub(super) fn read(
    log: Arc<Log>,
    file: std::fs::File,
    position: u64,
    options: LogOptions,
) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let (sender, receiver) = mpsc::channel(1);
    let output = Output {
        sender,
        left: options.limit_bytes,
    };
    let growth = log.growth.subscribe();
    let source = Source {
        log,
        file: BufReader::new(file.into()),
        position,
    };
    tokio::spawn(copy(source, growth, options, output));
    ReceiverStream::new(receiver)
}

/// A place in a log.
struct Source {
    log: Arc<Log>,
    file: BufReader<File>,
    position: u64,
}

impl Source {
    /// The next record before `end`, at the end none.
    async fn record(&mut self, end: u64) -> io::Result<Option<Vec<u8>>> {
        while self.position < end {
            let mut record = Vec::new();
            let mut present = (&mut self.file).take(end - self.position);
            let length = present.read_until(b'\n', &mut record).await?;
            if length > 0 {
                self.position += length as u64;
                return Ok(Some(record));
            }
            // This file ends here; the next may have gone, if the reader is slow.
            let (file, position) = self.log.open(self.position)?;
            self.file = BufReader::new(file.into());
            self.position = position;
        }
        Ok(None)
    }
}

struct Output {
    sender: mpsc::Sender<io::Result<Bytes>>,
    left: Option<u64>,
}

impl Output {
    async fn send(&mut self, mut text: Vec<u8>) -> Result<(), Enough> {
        if let Some(left) = &mut self.left {
            text.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= text.len() as u64;
        }
        if !text.is_empty() {
            let sent = self.sender.send(Ok(Bytes::from(text))).await;
            sent.map_err(|_| Enough)?;
        }
        if self.left == Some(0) {
            Err(Enough)
        } else {
            Ok(())
        }
    }
}

async fn copy(
    source: Source,
    growth: watch::Receiver<Growth>,
    options: LogOptions,
    mut output: Output,
) {
    let sender = output.sender.clone();
    match copy_lines(source, growth, options, &mut output).await {
        Ok(Ok(()) | Err(Enough)) => {}
        Err(error) => {
            if sender.send(Err(error)).await.is_err() {
                tracing::debug!("the reader of a log left before its error");
            }
        }
    }
}

/// Copies what is there (the tail of it, if so asked), then what comes.
async fn copy_lines(
    mut source: Source,
    mut growth: watch::Receiver<Growth>,
    options: LogOptions,
    output: &mut Output,
) -> io::Result<Result<(), Enough>> {
    let mut tail = options.tail_lines.map(Tail::new);
    loop {
        let now = *growth.borrow_and_update();
        while let Some(record) = source.record(now.bytes).await? {
            let Some(text) = wanted_text(&record, &options) else {
                continue;
            };
            if let Some(tail) = &mut tail {
                tail.push(text);
            } else if output.send(text).await.is_err() {
                return Ok(Err(Enough));
            }
        }
        for text in tail.take().into_iter().flat_map(|tail| tail.pieces) {
            if output.send(text).await.is_err() {
                return Ok(Err(Enough));
            }
        }
        if now.complete || !options.follow {
            return Ok(Ok(()));
        }
        tokio::select! {
            changed = growth.changed() => if changed.is_err() { return Ok(Ok(())) },
            () = output.sender.closed() => return Ok(Err(Enough)),
        }
    }
}

/// The last lines seen.
struct Tail {
    limit: u64,
    lines: u64,
    pieces: VecDeque<Vec<u8>>,
}

impl Tail {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            lines: 0,
            pieces: VecDeque::new(),
        }
    }

    fn push(&mut self, piece: Vec<u8>) {
        self.lines += u64::from(ends_line(&piece));
        self.pieces.push_back(piece);
        while self.lines > self.limit {
            let Some(dropped) = self.pieces.pop_front() else {
                return;
            };
            self.lines -= u64::from(ends_line(&dropped));
        }
    }
}

fn ends_line(piece: &[u8]) -> bool {
    piece.last() == Some(&b'\n')
}

/// What to return of one record of the file; nothing for one too old.
fn wanted_text(record: &[u8], options: &LogOptions) -> Option<Vec<u8>> {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let mut fields = record.splitn(4, |&byte| byte == b' ');
    let (time, _stream, tag, text) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    if let Some(since) = options.since {
        let written: Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
        if written < since {
            return None;
        }
    }
    let mut wanted = Vec::with_capacity(record.len());
    if options.timestamps {
        wanted.extend_from_slice(time);
        wanted.push(b' ');
    }
    wanted.extend_from_slice(text);
    if tag == b"F" {
        wanted.push(b'\n');
    }
    Some(wanted)
}
