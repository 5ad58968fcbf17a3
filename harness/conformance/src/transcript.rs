//! A container's log as it grows, each line with the moment it arrived.

use std::pin::pin;

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::check::{Shortfall, failed};

/// Between two attempts to read the log of a container that has not started.
const RETRY: Duration = Duration::from_millis(100);

/// One line of the victim's log: `<seconds since its start> <words>`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// When it was received.
    pub(crate) at: Instant,
    /// When it was written, since the program's start.
    pub(crate) written: Duration,
    pub(crate) words: String,
}

/// The lines so far, growing until the container ends or it is dropped.
#[derive(Debug)]
pub(crate) struct Transcript {
    lines: watch::Receiver<Vec<Line>>,
    _task: AbortOnDropHandle<()>,
}

impl Transcript {
    /// Of a pod's only container, from its first line on.
    pub(crate) fn of(pods: Api<Pod>, pod: &str) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        let task = tokio::spawn(follow(pods, pod.to_owned(), sender));
        Self {
            lines: receiver,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Everything so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.borrow().clone()
    }

    /// Waits until the container has ended (or its log can no longer be read), and returns all
    /// lines.
    pub(crate) async fn to_end(&self, within: Duration) -> Result<Vec<Line>, Shortfall> {
        let mut receiver = self.lines.clone();
        let ended = async { while receiver.changed().await.is_ok() {} };
        match timeout(within, ended).await {
            Ok(()) => Ok(self.lines()),
            Err(_) => Err(failed(format!(
                "not within {} s: the container ends",
                within.as_secs()
            ))),
        }
    }

    /// Waits until `find` finds something in the lines. Failing to, it fails with `what` should
    /// have been found.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut find: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T, Shortfall> {
        let mut receiver = self.lines.clone();
        let mut found = None;
        let search = receiver.wait_for(|lines| {
            found = find(lines);
            found.is_some()
        });
        let ended = timeout(within, search).await.map(|seen| seen.is_ok());
        match (found, ended) {
            (Some(found), _) => Ok(found),
            (None, Ok(_)) => Err(failed(format!("the log ended before: {what}"))),
            (None, Err(_)) => Err(failed(format!("not within {} s: {what}", within.as_secs()))),
        }
    }
}

async fn follow(pods: Api<Pod>, pod: String, lines: watch::Sender<Vec<Line>>) {
    let parameters = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let stream = loop {
        match pods.log_stream(&pod, &parameters).await {
            Ok(stream) => break stream,
            // Until the container has started there is no log, and the API says so with 400.
            Err(kube::Error::Api(status)) if status.code == 400 => sleep(RETRY).await,
            Err(_) => return,
        }
    };
    let mut stream = pin!(stream.lines());
    while let Ok(Some(text)) = stream.try_next().await {
        if let Some(line) = parse(&text) {
            lines.send_modify(|lines| lines.push(line));
        }
    }
}

fn parse(text: &str) -> Option<Line> {
    let (written, words) = text.split_once(' ')?;
    Some(Line {
        at: Instant::now(),
        written: Duration::try_from_secs_f64(written.parse().ok()?).ok()?,
        words: words.to_owned(),
    })
}
