//! `--verbose`: one line on standard output for each answer. A thread of its own writes them, so
//! that no request waits for whoever reads; lines it cannot keep up with are dropped and counted.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_load::Ended;
use holdfast_report::{Colours, siege};

/// Lines that wait for the writer.
const WAITING: usize = 10_000;

/// Takes lines.
#[derive(Debug)]
pub(super) struct Lines {
    queue: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
}

/// The writer of the lines.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Order>,
    thread: JoinHandle<()>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Order {
    Write(Line),
    /// Whoever still takes lines takes them in vain.
    End,
}

#[derive(Debug)]
struct Line {
    status: u16,
    time: Duration,
    bytes: u64,
    /// Method and path.
    request: Arc<str>,
}

impl Lines {
    /// Starts a writer. `origin` goes before the paths of requests that have none of their own.
    pub(super) fn start(origin: String, colours: Colours) -> (Self, Writer) {
        let (queue, orders) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn(move || carry_out(&orders, &origin, colours));
        let taker = Self {
            queue: queue.clone(),
            dropped: Arc::clone(&dropped),
        };
        let writer = Writer {
            queue,
            thread,
            dropped,
        };
        (taker, writer)
    }

    /// One line for the answer and for each redirect that led to it; none without an answer, like
    /// siege.
    pub(super) fn take(&self, ended: &Ended<'_>) {
        let request: Arc<str> = ended.request.into();
        let sample = ended.sample;
        let hops: Duration = sample.hops.iter().map(|hop| hop.time).sum();
        let hop_lines = sample
            .hops
            .iter()
            .map(|hop| (hop.status, hop.time, hop.body_bytes));
        let last = sample.status.map(|status| {
            let time = sample.service_time.saturating_sub(hops);
            (status, time, sample.body_bytes)
        });
        for (status, time, bytes) in hop_lines.chain(last) {
            let line = Line {
                status,
                time,
                bytes,
                request: Arc::clone(&request),
            };
            if self.queue.try_send(Order::Write(line)).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Writer {
    /// Waits until every line so far is written, and returns how many were dropped.
    pub(super) fn finish(self) -> u64 {
        // A writer that panicked has written what it could.
        drop(self.queue.send(Order::End));
        drop(self.thread.join());
        self.dropped.load(Ordering::Relaxed)
    }
}

fn carry_out(orders: &Receiver<Order>, origin: &str, colours: Colours) {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // A reader that has gone away is no reason to end the load.
    while let Ok(first) = orders.recv() {
        for order in std::iter::once(first).chain(orders.try_iter()) {
            match order {
                Order::Write(line) => drop(writeln!(out, "{}", line.text(origin, colours))),
                Order::End => {
                    drop(out.flush());
                    return;
                }
            }
        }
        drop(out.flush());
    }
}

impl Line {
    fn text(&self, origin: &str, colours: Colours) -> String {
        let (method, url) = self.request.split_once(' ').unwrap_or(("", &self.request));
        // siege shows the path of a GET and the whole URL of everything else.
        let has_origin = !url.starts_with('/');
        let shown = match (method, has_origin) {
            ("GET", true) => path_of(url).to_owned(),
            ("GET", false) | (_, true) => url.to_owned(),
            (_, false) => format!("{origin}{url}"),
        };
        let time = self.time.as_secs_f64();
        let text = siege::request_line(self.status, time, self.bytes, method, &shown);
        match colours {
            Colours::Never => text,
            Colours::Always => format!("\u{1b}[0;{}m{text}\u{1b}[0m", colour(self.status)),
        }
    }
}

/// siege's own colours.
fn colour(status: u16) -> u8 {
    match status {
        0..300 => 34,
        300..400 => 36,
        400..500 => 35,
        500.. => 31,
    }
}

fn path_of(url: &str) -> &str {
    let behind_scheme = url.find("://").map_or(0, |at| at + 3);
    let path = url[behind_scheme..].find('/');
    path.map_or("/", |at| &url[behind_scheme + at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(request: &str) -> Line {
        Line {
            status: 302,
            time: Duration::from_millis(1234),
            bytes: 612,
            request: request.into(),
        }
    }

    #[test]
    fn lines_are_sieges() {
        let text = |request: &str| line(request).text("http://h:1", Colours::Never);
        assert_eq!(
            text("GET /a?b"),
            "HTTP/1.1 302     1.23 secs:     612 bytes ==> GET  /a?b"
        );
        assert_eq!(
            text("POST /a"),
            "HTTP/1.1 302     1.23 secs:     612 bytes ==> POST http://h:1/a"
        );
        assert!(text("GET http://i/a").ends_with("==> GET  /a"));
        assert!(text("DELETE http://i/a").ends_with("==> DELETE http://i/a"));
        let coloured = line("GET /").text("", Colours::Always);
        assert!(coloured.starts_with("\u{1b}[0;36mHTTP") && coloured.ends_with("/\u{1b}[0m"));
    }
}
